"""Weighted ranks and quantiles by hand, and the constant left out against a plain loop."""

import numpy as np
import pandas as pd
from small_planted import planted

from kit import wmae
from kit.models import Constant
from kit.models.baselines import (
    entry_weights,
    leave_one_out_constant,
    weighted_median,
    weighted_quantiles,
)
from kit.models.ridge import Ranks, weighted_ranks


def test_weighted_ranks_and_quantiles_by_hand():
    values = np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0]])
    weights = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    ranks = weighted_ranks(values, weights)
    np.testing.assert_allclose(ranks, [[0.875, 0.25], [0.25, 0.25], [0.625, 0.75]])
    levels = np.array([[0.0, 0.0], [0.5, 0.5], [0.6, 0.6], [1.0, 1.0]])
    quantiles = weighted_quantiles(values, weights, levels)
    np.testing.assert_allclose(quantiles, [[1.0, 1.0], [1.5, 3.0], [2.0, 5.0], [3.0, 5.0]])


def test_the_left_out_constant_equals_a_median_of_the_other_rows(tmp_path):
    competition, _ = planted(tmp_path, rows=9, genes=12)
    row_weights = Constant().fit(competition).row_weights_
    fast = leave_one_out_constant(competition).to_numpy()
    weights = entry_weights(competition, row_weights)
    for row in range(9):
        rest = np.delete(np.arange(9), row)
        levels = np.full((1, 12), 0.5)
        slow = weighted_quantiles(competition.effects.to_numpy()[rest], weights[rest], levels)
        np.testing.assert_allclose(fast[[row]], slow)


def test_row_weights_are_one_over_the_error_under_the_constant(tmp_path):
    competition, _ = planted(tmp_path, rows=9, genes=12)
    constant = Constant().fit(competition)
    error = wmae(competition.effects, constant.effect_, competition.weights)
    pd.testing.assert_series_equal(constant.error_, error)
    weights = 1 / (error + 0.1 * error.median())
    np.testing.assert_allclose(constant.row_weights_, weights / weights.mean())


def test_a_column_that_has_lost_all_weight_is_its_plain_mean():
    values, weights = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    left_out = weighted_quantiles(values, weights, np.full((3, 1), 0.5), leave_out=True)
    np.testing.assert_allclose(left_out, [[4.0], [1.0], [1.0]])


def test_quantiles_with_ties_and_zero_weights_equal_a_plain_loop():
    random = np.random.default_rng(0)
    values = random.integers(0, 6, (11, 40)).astype(float)
    weights = random.integers(0, 3, (11, 40)).astype(float)
    levels = random.choice([0.0, 0.25, 0.5, 0.9, 1.0], (11, 40))
    found = weighted_quantiles(values, weights, levels)
    left_out = weighted_quantiles(values, weights, levels, leave_out=True)
    for column in range(40):
        for row in range(11):
            others, level = np.arange(11) != row, levels[row, column]
            pair = values[:, column], weights[:, column]
            assert found[row, column] == quantile(*pair, level)
            assert left_out[row, column] == quantile(*(part[others] for part in pair), level)


def quantile(values, weights, level):
    """Middle of the least values below which lies `level` of the weight, and more than it."""
    if not weights.sum():
        return values.mean()
    found = sorted(set(values[weights > 0]))
    below = [weights[values <= value].sum() - level * weights.sum() for value in found]
    least = next(value for value, more in zip(found, below, strict=True) if more > -1e-9)
    over = (value for value, more in zip(found, below, strict=True) if more > 1e-9)
    return (least + next(over, found[-1])) / 2


def test_no_deviation_is_the_weighted_median(tmp_path):
    competition, _ = planted(tmp_path, rows=9, genes=12)
    constant = Constant().fit(competition)
    constant.row_weights_ = pd.Series(1.0, competition.effects.index)
    ranks = Ranks(competition, constant)
    median = weighted_median(competition.effects, competition.weights)
    np.testing.assert_allclose(ranks.predict(np.zeros((2, 24))), [median, median], atol=1e-6)


def test_entry_weights_have_mean_one_and_are_even_where_a_gene_has_none(tmp_path):
    competition, _ = planted(tmp_path, rows=9, genes=12)
    competition.weights["G3"] = 0.0
    weights = entry_weights(competition, pd.Series(range(1, 10), competition.effects.index))
    np.testing.assert_allclose(weights.mean(axis=0), 1.0)
    np.testing.assert_array_equal(weights[:, 3], 1.0)
    expected = competition.weights["G0"] * range(1, 10)
    np.testing.assert_allclose(weights[:, 0], expected / expected.mean())
