"""Cells as networks see them: centred on the control of their batch, bounded, nothing held out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_merged import small_competition, write_cells
from small_planted import atlas_of

from kit import InputError
from kit.competition import CONTROL, load_competition
from kit.knowledge import Knowledge
from kit.networks import cells as module
from kit.networks.cells import competition_cells, gather_cells, screen_cells
from kit.networks.training import FoldCache

GENES = pd.Index(["G1", "G0"])  # not sorted: cells are
CONTROL_MEAN = pd.Series(1.0, GENES)


def merged(path, rows, genes=GENES, totals=10_000):
    """Merged cells of (symbol, dataset, batch, counts, own) rows; dataset `two` lacks the last gene."""
    symbols, datasets, batches, counts, own = zip(*rows, strict=True)
    obs = pd.DataFrame(
        {"sgrna_symbol": symbols, "dataset": datasets, "batch": batches, "RNAcount": float(totals)}
    )
    measured = pd.DataFrame({name: True for name in dict.fromkeys(datasets)}, genes)
    if "two" in measured:
        measured.loc[genes[-1], "two"] = False
    return write_cells(path / "cells.h5ad", np.array(counts), obs.assign(competition=own), measured)


def test_a_cell_is_its_distance_from_the_control_of_its_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHRINKAGE", 0)
    rows = [
        (CONTROL, "one", "a", [3, 0], False),  # log2(1 + 3) = 2
        ("KRAS", "one", "a", [15, 1], False),  # 4 and 1
        (CONTROL, "one", "b", [0, 7], False),
        ("KRAS", "one", "b", [1, 7], False),
    ]
    (found,) = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    expected = [[0, 0], [1, 2], [0, 0], [0, 1]]  # G0 before G1
    np.testing.assert_allclose(found.values, expected, atol=1e-3)
    assert found.names(np.arange(4)) == [CONTROL, "KRAS", CONTROL, "KRAS"]


def test_a_batch_with_few_control_cells_is_pulled_to_the_screens_control(tmp_path):
    rows = [(CONTROL, "one", "a", [1, 1], False)] * 20 + [(CONTROL, "one", "b", [3, 3], False)] * 20
    rows += [("KRAS", "one", "b", [3, 3], False)]
    (found,) = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    # Batch b: control 2, the screen's 1.5; 20 cells, so its own counts half: 1.75.
    np.testing.assert_allclose(found.values[-1], [0.25, 0.25], atol=1e-3)


def test_what_a_screen_did_not_measure_is_zero_and_masked(tmp_path):
    rows = [(CONTROL, "two", "a", [3, 0], False), ("KRAS", "two", "a", [15, 0], False)]
    (found,) = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    assert found.measured.tolist() == [False, True]
    assert found.spread[0] == 1
    np.testing.assert_array_equal(found.values[:, 0], 0)


def test_the_competitions_own_cells_are_no_screen(tmp_path):
    rows = [(CONTROL, "one", "a", [3, 0], False), ("KRAS", "one", "a", [15, 0], False)]
    rows += [("KRAS", "ours", "a", [9, 9], True), (CONTROL, "ours", "a", [9, 9], True)]
    found = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    assert [cells.name for cells in found] == ["one"]


def test_a_screen_without_control_cells_is_left_out(tmp_path):
    rows = [("KRAS", "one", "a", [3, 0], False), (CONTROL, "two", "a", [3, 0], False)]
    found = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    assert [cells.name for cells in found] == ["two"]


def test_of_a_common_perturbation_only_some_cells_are_kept_of_a_rare_one_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EACH", 5)
    rows = [
        (name, "one", "a", [3, 1], False) for name in [CONTROL] * 9 + ["KRAS"] * 9 + ["TFAM"] * 2
    ]
    (found,) = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    counts = pd.Series(found.names(np.arange(len(found)))).value_counts()
    assert counts.to_dict() == {CONTROL: 9, "KRAS": 5, "TFAM": 2}


def test_cells_asked_for_are_those_of_the_names_and_the_control(tmp_path):
    rows = [(name, "one", "a", [3, 1], False) for name in (CONTROL, "KRAS", "TFAM", CONTROL)]
    (found,) = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    assert found.of(["TFAM", "NOBODY"]).tolist() == [0, 2, 3]


def test_cells_of_held_out_rows_are_not_seen(twin):
    competition = load_competition(twin)
    train = competition.subset(competition.effects.index[:7])
    found = competition_cells(train)
    assert set(found.perturbation) == {CONTROL, *train.effects.index}
    assert found.values.shape[1] == len(competition.genes)


def test_the_mean_of_cells_is_near_the_effect(twin, monkeypatch):
    monkeypatch.setattr(module, "EACH", 1000)
    competition = load_competition(twin)
    found = competition_cells(competition)
    genes = competition.genes.sort_values()
    mean = pd.DataFrame(found.values.astype(float), columns=genes)
    mean = mean.groupby(found.names(np.arange(len(found)))).mean().drop(CONTROL)
    strongest = competition.effects.abs().mean(axis=1).nlargest(10).index
    expected = competition.effects.loc[strongest, genes]
    fit = [np.corrcoef(mean.loc[name], expected.loc[name])[0, 1] for name in strongest]
    # Not equal: effects are taken from one control, cells from that of their channel.
    assert min(fit) > 0.9


def test_without_the_package_or_the_files_remarks_say_so(tmp_path, twin, monkeypatch):
    competition = replace(load_competition(twin), cells=None)
    atlas = replace(atlas_of(competition.effects), source=tmp_path / "responses.h5ad")
    known, cache = Knowledge(None, atlas), FoldCache()
    found, remarks = gather_cells(competition, known, "pretrain", cache=cache)
    assert found == {}
    assert "competition has no cells" in remarks[0]
    assert "no cells.h5ad beside the atlas" in remarks[1]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "no anndata" in gather_cells(competition, known, "pretrain", cache=cache)[1][0]


def test_genes_that_the_cells_lack_are_refused(twin):
    competition = load_competition(twin)
    effects = competition.effects.assign(NOBODY=0.0)
    with pytest.raises(InputError, match="cells lack the genes NOBODY"):
        competition_cells(replace(competition, effects=effects))


def test_values_are_small_and_standard_ones_single_precision(tmp_path):
    rows = [(name, "one", "a", [3, 1], False) for name in (CONTROL, "KRAS")]
    (found,) = screen_cells(merged(tmp_path, rows), small_competition(CONTROL_MEAN))
    assert found.values.dtype == np.float16
    assert found.standard(np.array([1, 1])).dtype == torch.float32
