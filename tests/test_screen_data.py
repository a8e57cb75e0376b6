"""Rows as networks see them: genes by name, odds by gene, nothing from what was not measured."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from small_planted import planted

from kit.knowledge import Knowledge
from kit.models.baselines import Constant
from kit.networks.screen_data import LEVELS, PRIOR, atlas_data, competition_data
from kit.screens.atlas import Atlas


def screens(effects, se=None, dataset="other", competition=None, names=None):
    """Knowledge of one screen with these effects and standard errors."""
    labels = pd.Index([f"{dataset}|{i}" for i in range(len(effects))])
    obs = pd.DataFrame({"sgrna_symbol": names or list(effects.index), "dataset": dataset}, labels)
    obs["n_cells"] = 100.0
    if competition is not None:
        obs["competition"] = competition
    se = None if se is None else se.set_axis(labels)
    return Knowledge(None, Atlas(effects.set_axis(labels), obs, se, None))


def table(rows=30, genes=("B", "A", "C"), seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, len(genes)))
    return pd.DataFrame(values, [f"P{i}" for i in range(rows)], list(genes))


def test_genes_stand_in_order_of_name_and_values_with_them(tmp_path):
    competition, _ = planted(tmp_path, rows=10)
    rows = competition_data(competition)
    assert list(rows.genes) == sorted(competition.genes)
    expected = competition.effects[rows.genes].to_numpy()
    np.testing.assert_allclose(rows.effects, expected, rtol=1e-6)
    np.testing.assert_allclose(rows.weights, competition.weights[rows.genes], rtol=1e-5, atol=1e-5)
    weights = Constant().fit(competition).row_weights_
    np.testing.assert_allclose(rows.row_weights, weights, rtol=1e-6)
    assert rows.effects.dtype == rows.weights.dtype == rows.odds.dtype == torch.float32


def test_thresholds_odds_and_values_are_those_of_a_slow_loop():
    effects = table(rows=23)
    effects.iloc[4:9, 1] = np.nan
    (rows,) = atlas_data(screens(effects), effects.columns)
    for column, gene in enumerate(rows.genes):
        known = np.sort(effects[gene].dropna().to_numpy())
        for level, share in enumerate(LEVELS):
            threshold = known[int(np.ceil(share * len(known))) - 1]
            assert float(rows.thresholds[level, column]) == pytest.approx(threshold, rel=1e-6)
            beyond = ((known > threshold).sum() + PRIOR * (1 - share)) / (len(known) + PRIOR)
            assert float(rows.odds[level, column]) == pytest.approx(
                np.log(beyond / (1 - beyond)), rel=1e-4, abs=1e-5
            )
        edges = [-np.inf, *rows.thresholds[:, column].double().numpy() + 1e-7, np.inf]
        for one, (low, high) in enumerate(pairwise(edges)):
            inside = known[(known > low) & (known <= high)]
            if len(inside):
                assert float(rows.values[one, column]) == pytest.approx(inside.mean(), rel=1e-4)


def test_what_a_screen_did_not_measure_has_no_weight_and_no_value_that_counts():
    effects = table(rows=25, genes=("A", "B", "C", "D"))
    effects.iloc[:3, 0] = np.nan
    effects["C"] = np.nan
    effects.iloc[3:, 3] = np.nan  # three measured: too few for quantiles
    (rows,) = atlas_data(screens(effects), ["A", "B", "C", "D", "E"])
    measured = rows.measured.numpy()
    assert not measured[:3, 0].any()
    assert measured[3:, 0].all()
    assert measured[:, 1].all()
    assert not measured[:, 2:].any()
    for part in (rows.effects, rows.weights, rows.thresholds, rows.odds, rows.values):
        assert np.isfinite(part.numpy()).all()
    np.testing.assert_allclose(rows.weights.sum(dim=1), measured.sum(axis=1), rtol=1e-4)


def test_the_competitions_own_cells_and_small_screens_do_not_teach():
    own, foreign = table(30), table(30, seed=1)
    atlas = screens(pd.concat([own, foreign]), competition=[True] * 30 + [False] * 30)
    (rows,) = atlas_data(atlas, own.columns)
    np.testing.assert_allclose(rows.effects, foreign[rows.genes], rtol=1e-6)
    assert atlas_data(screens(table(19)), ["A"]) == []
    assert len(atlas_data(screens(table(20)), ["A"])) == 1


@pytest.mark.parametrize("errors", [False, True])
def test_a_gene_that_was_not_measured_takes_no_weight_from_others(errors):
    effects = table(rows=25, genes=("A", "B", "C", "D"))
    se = effects * 0 + 0.3 if errors else None
    three = [frame if frame is None else frame[["A", "B", "C"]] for frame in (effects, se)]
    (whole,) = atlas_data(screens(*three), ["A", "B", "C"])
    (rows,) = atlas_data(screens(effects.assign(D=np.nan), se), ["A", "B", "C", "D"])
    np.testing.assert_allclose(rows.weights[:, :3], whole.weights, rtol=1e-5)
    assert whole.weights.std() > 0.5


def test_the_control_is_no_perturbation():
    names = ["non-targeting", *[f"P{i}" for i in range(29)]]
    (rows,) = atlas_data(screens(table(30), names=names), ["A"])
    assert rows.perturbations == names[1:]


def test_rows_left_out_take_the_marginals_of_those_seen(tmp_path):
    competition, _ = planted(tmp_path, rows=12)
    rows = competition_data(competition)
    seen, left = rows.split(range(8, 12))
    again = competition_data(competition.subset(competition.effects.index[:8]))
    torch.testing.assert_close(seen.thresholds, again.thresholds)
    torch.testing.assert_close(left.odds, seen.odds)
    assert left.perturbations == list(competition.effects.index[8:])
    torch.testing.assert_close(rows.subset([1, 3], marginals=True).odds, rows.odds)


def test_rows_at_some_genes_are_the_same_genes_in_every_part(tmp_path):
    competition, _ = planted(tmp_path, rows=12)
    rows = competition_data(competition)
    few = rows.rows.at(torch.tensor([2, 5]))
    for name in ("effects", "weights", "thresholds", "odds", "values"):
        torch.testing.assert_close(getattr(few, name), getattr(rows, name)[:, [2, 5]])
    assert torch.equal(few.row_weights, rows.row_weights)
    beyond = rows.rows.beyond()  # (rows, genes, levels)
    assert torch.equal(few.beyond(), beyond[:, [2, 5]])
    for place, threshold in enumerate(rows.thresholds):
        assert torch.equal(beyond[:, :, place] > 0, rows.effects > threshold)
