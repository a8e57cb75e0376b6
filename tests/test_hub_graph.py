"""The graph that messages pass on: cosines by hubs, names, and what a perturbed gene receives."""

import numpy as np
import pytest
import torch

from kit.knowledge import Knowledge, load_pathways
from kit.networks.hub_graph import NONE, HubGraph
from kit.screens.gene_names import GeneNames


@pytest.fixture
def pathways(tmp_path):
    sets = tmp_path / "sets.gmt"
    sets.write_text("one\t\tA\tB\tC\nother\t\tB\tC\tD\nfar\t\tX\tY\tZ\n")
    edges = tmp_path / "bonds.tsv"
    edges.write_text("A B\nB D\nX A\n")
    return load_pathways(sets, edges, names=GeneNames())


def passed(graph, kind, sender, receivers):
    """What some genes receive when another sends 1."""
    sent = graph.edges(kind, [sender]).to_dense().T
    return torch.sparse.mm(graph.edges(kind, receivers), sent)[:, 0].numpy()


def test_a_message_by_hubs_is_the_pathways_own_kernel(pathways):
    graph = HubGraph(Knowledge(pathways), ["A", "B", "C", "D", "X"])
    for kind in ("sets", "sets, small"):
        kernel = pathways.kernels(["B", "A", "D", "X"])[kind]
        received = passed(graph, kind, "B", ["A", "D", "X"])
        np.testing.assert_allclose(received, kernel.loc["B", ["A", "D", "X"]], atol=1e-6)


def test_partners_are_those_of_the_normalised_graph_by_hand(pathways):
    # Degrees with oneself: A 3, B 3, D 2, X 2.
    a = np.array([1 / 3, 1 / 3, 0, 1 / 2]) ** 0.5  # to A, B, D, X
    b = np.array([1 / 3, 1 / 3, 1 / 2, 0]) ** 0.5
    wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    graph = HubGraph(Knowledge(pathways), ["A"])
    assert passed(graph, "bonds", "A", ["B"])[0] == pytest.approx(wanted, abs=1e-6)


def test_a_gene_that_a_type_does_not_know_neither_sends_nor_receives(pathways):
    graph = HubGraph(Knowledge(pathways), ["A", "NOBODY"])
    assert not passed(graph, "sets", "NOBODY", ["A"]).any()
    assert not passed(graph, "sets", "A", ["NOBODY"]).any()
    assert graph.places(["NOWHERE"])[0] == -1


def test_a_perturbed_node_receives_nothing_and_no_other(pathways):
    graph = HubGraph(Knowledge(pathways), ["D", "A", "B"])
    np.testing.assert_array_equal(
        graph.receiving(["B", "NOBODY"]).numpy(), [[1, 1], [0, 1], [1, 1]]
    )


def test_hubs_carry_their_part_of_a_message(pathways):
    graph = HubGraph(Knowledge(pathways), ["A"])
    carried = graph.through("sets", "B", "C")
    assert set(carried.index) == {"one", "other"}
    assert carried.sum() == pytest.approx(passed(graph, "sets", "B", ["C"])[0], abs=1e-6)
    assert graph.through("sets", "A", "X").empty


def test_without_pathways_the_graph_is_silent():
    graph = HubGraph(Knowledge(), ["A", "B"])
    assert graph.types == [NONE]
    assert not passed(graph, NONE, "A", ["A", "B"]).any()
    assert not (graph.to_nodes[NONE] @ (graph.to_hubs[NONE] @ torch.ones(2, 3))).any()


def test_old_names_meet_new_ones(tmp_path):
    (tmp_path / "sets.gmt").write_text("one\t\tAARS1\tKARS1\tB\nother\t\tX\tY\tZ\n")
    names = GeneNames(symbols={"AARS1", "KARS1"}, previous={"AARS": {"AARS1"}})
    pathways = load_pathways(tmp_path / "sets.gmt", names=names)
    graph = HubGraph(Knowledge(pathways), ["AARS", "AARS1", "B"])
    assert list(graph.symbols) == ["AARS1", "B"]
    assert graph.places(["AARS"])[0] == 0
    assert passed(graph, "sets", "AARS", ["KARS1"])[0] > 0
    np.testing.assert_array_equal(graph.receiving(["AARS"]).numpy(), [[0], [1]])
