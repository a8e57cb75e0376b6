"""Plain propagation: where the walk gets, by hand, and what the ridge makes of it."""

import numpy as np
import pytest
from small_planted import gains, planted

from kit.knowledge import Knowledge, load_pathways
from kit.models import Propagation, ridge
from kit.screens.gene_names import GeneNames


def test_the_walk_finds_pathways_that_share_effects(tmp_path):
    competition, pathways = planted(tmp_path)
    found, constant = gains(Propagation(Knowledge(pathways)), competition)
    assert found > constant + 20


def test_of_a_shuffled_graph_no_more_than_noise_is_taken(tmp_path):
    competition, pathways = planted(tmp_path, shuffle=True, seed=3)
    found, constant = gains(Propagation(Knowledge(pathways)), competition)
    assert abs(found - constant) < 5


def test_two_steps_of_a_walk_by_hand(tmp_path, monkeypatch):
    # P0 - P1 - P2: degrees 1, 2, 1; edges count 1 / sqrt(2) once degrees are evened out.
    edges = tmp_path / "bonds.tsv"
    edges.write_text("P0 P1\nP1 P2\n")
    pathways = load_pathways(edges, names=GeneNames())
    competition, _ = planted(tmp_path, rows=12)
    monkeypatch.setattr(ridge, "RESTART", 0.5)
    monkeypatch.setattr(ridge, "STEPS", 2)
    model = Propagation(Knowledge(pathways)).fit(competition)
    genes, _ = model.knowledge.graph
    visits = model._rows(["P0"])[0, genes.get_indexer(["P0", "P1", "P2"])]
    # To B in one step .5 x .5 / sqrt 2, to C in two .25 x .5; the start itself does not count.
    wanted = np.array([0, 0.25 / np.sqrt(2), 0.125])
    np.testing.assert_allclose(visits, wanted / np.linalg.norm(wanted), rtol=1e-5)


def test_interactions_and_sets_are_one_symmetric_graph(tmp_path):
    files = tmp_path / "sets.gmt", tmp_path / "bonds.tsv"
    files[0].write_text("one\t\tA\tB\tC\nother\t\tC\tD\tE\n")
    files[1].write_text("A D\n")
    genes, graph = Knowledge(load_pathways(*files, names=GeneNames())).graph
    assert graph.shape == (7, 7)
    dense = graph.toarray()
    np.testing.assert_allclose(dense, dense.T, atol=1e-6)
    assert np.linalg.eigvalsh(dense).max() == pytest.approx(1, abs=1e-5)
    a, d = genes.get_indexer(["A", "D"])
    assert dense[a, d] > 0
