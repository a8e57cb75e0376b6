"""Folds, out-of-fold predictions, intervals and the ceiling."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kit import InputError, folds, interval, load_competition, out_of_fold, score
from kit.models import Constant, Mean, Zero
from kit.validation import ceiling


@pytest.fixture(scope="module")
def competition(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        return load_competition(twin)


class Recorder(Mean):
    """Notes in a list which rows each fit has seen."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return Recorder(self.seen)

    def fit(self, train):
        self.seen.append(list(train.effects.index))
        assert train.solution is None
        return super().fit(train)


def test_folds_part_all_rows_and_depend_on_the_seed():
    names = [f"P{i}" for i in range(23)]
    parts = folds(names, 5, seed=1)
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert {len(part) for part in parts} == {4, 5}
    assert parts == folds(names, 5, seed=1)
    assert parts != folds(names, 5, seed=2)


@pytest.mark.parametrize("parts", [1, 24])
def test_impossible_folds_are_refused(parts):
    with pytest.raises(InputError, match=f"{parts} folds of 23 perturbations; want 2 to 23"):
        folds(range(23), parts)


def test_no_fit_sees_a_row_that_it_predicts(competition):
    held_out = folds(competition.effects.index, 4)
    fits = []
    result = out_of_fold(Recorder(fits), competition, held_out)
    assert len(fits) == 4
    for seen, names in zip(fits, held_out, strict=True):
        assert set(seen) | set(names) == set(competition.effects.index)
        assert not set(seen) & set(names)
        fold_mean = competition.effects.loc[seen].mean()
        np.testing.assert_allclose(result.prediction.loc[names[0]], fold_mean, rtol=1e-12)


@pytest.mark.parametrize("gate", [0.2, 0.3])
def test_the_mean_baseline_scores_zero_out_of_fold(competition, gate):
    result = out_of_fold(Mean(), competition, folds(competition.effects.index))
    assert result.score(gate).w == 0
    assert result.score(gate).score == 0


def test_scores_do_not_depend_on_the_order_of_held_out_rows(competition):
    parts = folds(competition.effects.index)
    turned = [part[::-1] for part in parts[::-1]]
    first, second = (out_of_fold(Constant(), competition, held) for held in (parts, turned))
    assert first.score().score == pytest.approx(second.score().score, rel=1e-12)


def test_an_unknown_held_out_row_is_named(competition):
    with pytest.raises(InputError, match="not in the data: NOBODY"):
        out_of_fold(Mean(), competition, [["NOBODY"]])


def small_scores(rows=40, seed=0):
    random = np.random.default_rng(seed)
    labels = [f"P{i}" for i in range(rows)], [f"G{i}" for i in range(25)]
    truth = pd.DataFrame(random.normal(size=(rows, 25)), *labels)
    ones, base = truth * 0 + 1, pd.Series(1.0, labels[0])
    miss = random.normal(size=truth.shape)
    near, far = truth + 0.3 * miss, truth + 0.5 * miss + 0.1 * random.normal(size=truth.shape)
    return score(truth, near, ones, base), score(truth, far, ones, base)


def test_the_interval_holds_the_score_and_shrinks_with_rows():
    few, many = small_scores(20)[1], small_scores(320)[1]
    low, high = interval(few)
    assert low < few.score_per_60 < high
    wide, narrow = high - low, np.diff(interval(many))[0]
    assert narrow == pytest.approx(wide / 4, rel=0.35)  # root of 16 times the rows
    assert interval(few) == interval(few)


def test_the_interval_agrees_with_rescored_bootstrap_rows():
    result = small_scores(30)[1]
    random = np.random.default_rng(5)
    draws = []
    for _ in range(2000):
        table = result.table.iloc[random.integers(0, 30, 30)]
        norm = np.sqrt(table["truth_truth"].sum() * table["prediction_prediction"].sum())
        draws.append(2 * table["w"].sum() * table["truth_prediction"].sum() / norm)
    np.testing.assert_allclose(interval(result), np.quantile(draws, [0.05, 0.95]), rtol=0.05)


def test_a_paired_difference_is_surer_than_two_intervals():
    near, far = small_scores()
    low, high = interval(near, than=far)
    assert low < near.score_per_60 - far.score_per_60 < high
    assert interval(near, than=near) == (0.0, 0.0)
    alone = np.diff(interval(near))[0] + np.diff(interval(far))[0]
    assert high - low < alone


def test_the_ceiling_is_above_every_constant_and_none_without_cells(competition):
    best = ceiling(competition).score()
    held_out = folds(competition.effects.index)
    assert best.score_per_60 > out_of_fold(Constant(), competition, held_out).score().score_per_60
    assert best.score_per_60 == ceiling(competition).score().score_per_60
    assert ceiling(replace(competition, cells=None)) is None


def test_zero_is_below_the_mean_where_knockdowns_share_a_response(competition):
    result = out_of_fold(Zero(), competition, folds(competition.effects.index))
    assert result.score().w < 0
