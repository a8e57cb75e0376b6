"""The pooled regression: planted coefficients, chances that are chances, and tilted atoms."""

import numpy as np
import pytest

from kit.models import pooled_regression
from kit.models.pooled_regression import LEAST, PooledOrdinal, gene_quantiles, tilted


def logistic_pairs(seed=0, rows=60, genes=80, slopes=(1.2, -0.7, 0.0)):
    """Features, effects whose excess over a gene's level is logistic around them, and weights."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, genes, len(slopes))).astype(np.float32)
    level = random.normal(0, 0.5, genes)
    effects = features @ np.array(slopes) + level + random.logistic(size=(rows, genes))
    return features, effects, np.ones((rows, genes)), level


def test_planted_coefficients_and_gene_levels_are_recovered():
    features, effects, weights, level = logistic_pairs()
    thresholds = np.full((2, 80), [[-0.5], [0.7]])
    model = PooledOrdinal(thresholds, penalty=1.0).fit(features, effects, weights)
    assert model.coefficients_.shape == (2, 3)
    np.testing.assert_allclose(model.coefficients_, [[1.2, -0.7, 0.0]] * 2, atol=0.12)
    assert model.intercepts_.shape == (2, 80)
    for intercepts, threshold in zip(model.intercepts_, (-0.5, 0.7), strict=True):
        assert np.corrcoef(intercepts, level - threshold)[0, 1] > 0.8
        assert intercepts.mean() == pytest.approx((level - threshold).mean(), abs=0.15)


def test_coefficients_equal_a_plain_logistic_regression():
    features, effects, weights, _ = logistic_pairs(rows=200, genes=1)
    model = PooledOrdinal(np.zeros((1, 1)), penalty=1e-6).fit(features, effects, weights)
    design = np.column_stack([features[:, 0], np.ones(200)])
    beyond, slopes = effects[:, 0] > 0, np.zeros(4)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ slopes))
        curvature = design.T @ (design * (chance * (1 - chance))[:, None])
        slopes += np.linalg.solve(curvature, design.T @ (beyond - chance))
    np.testing.assert_allclose(model.coefficients_[0], slopes[:3], atol=0.01)
    np.testing.assert_allclose(model.intercepts_[0], slopes[3], atol=0.02)


def test_weights_count_as_repeated_rows():
    features, effects, weights, _ = logistic_pairs(rows=12, genes=20)
    weights[3] = 2
    twice = [*range(12), 3]
    one = PooledOrdinal(np.zeros((1, 20)), 1.0).fit(features, effects, weights)
    ones = np.ones((13, 20))
    other = PooledOrdinal(np.zeros((1, 20)), 1.0).fit(features[twice], effects[twice], ones)
    np.testing.assert_allclose(one.coefficients_, other.coefficients_, atol=2e-3)
    np.testing.assert_allclose(one.intercepts_, other.intercepts_, atol=2e-2)


def test_coefficients_can_be_learned_from_some_genes():
    features, effects, weights, _ = logistic_pairs()
    thresholds, some = np.zeros((1, 80)), np.arange(30)
    model = PooledOrdinal(thresholds, 1.0).fit(features, effects, weights, some)
    alone = PooledOrdinal(thresholds[:, :30], 1.0)
    alone.fit(features[:, :30], effects[:, :30], weights[:, :30])
    np.testing.assert_allclose(model.coefficients_, alone.coefficients_)
    np.testing.assert_allclose(model.intercepts_[:, :30], alone.intercepts_)
    assert model.intercepts_.shape == (1, 80)


def test_chances_are_chances_and_fall_with_the_threshold():
    features, effects, weights, _ = logistic_pairs(seed=1, rows=20, genes=30)
    thresholds = gene_quantiles(effects, weights, np.arange(1, 10) / 10)
    model = PooledOrdinal(thresholds, 1.0).fit(features, effects, weights)
    chances = model.chances(10 * features)
    assert chances.shape == (20, 30, 10)
    assert (chances >= 0).all()
    np.testing.assert_allclose(chances.sum(axis=2), 1, atol=1e-6)
    beyond = 1 - chances.cumsum(axis=2)
    assert (np.diff(beyond, axis=2) <= 1e-9).all()


def test_useless_features_leave_the_shares_of_each_gene():
    random = np.random.default_rng(0)
    rows, genes = 80, 40
    effects = random.normal(random.normal(size=genes), 1, (rows, genes))
    features = random.normal(size=(rows, genes, 4)).astype(np.float32)
    thresholds = np.full((1, genes), 0.0)
    model = PooledOrdinal(thresholds, penalty=10.0 * genes).fit(features, effects, effects * 0 + 1)
    own = (effects > 0).mean(axis=0)
    beyond = model.chances(features)[:, :, 1]
    assert np.abs(model.coefficients_).max() < 0.1
    assert np.abs(beyond.mean(axis=0) - own).max() < 0.1
    assert beyond.std(axis=0).max() < 0.05


def test_a_gene_without_cases_is_drawn_to_the_others():
    features, effects, weights, _ = logistic_pairs(slopes=(0.0,))
    effects[:, 0] = -50.0
    model = PooledOrdinal(np.zeros((1, 80)), 1.0).fit(features, effects, weights)
    chance = model.chances(features)[:, 0, 1]
    assert (chance < 0.1).all()
    assert (chance > 0).all()


def test_features_that_tell_all_do_not_break_the_fit():
    random = np.random.default_rng(0)
    effects = random.normal(size=(20, 15))
    features = np.stack([effects * 100, effects * 0], axis=2).astype(np.float32)
    thresholds = gene_quantiles(effects, np.ones_like(effects), [0.25, 0.5, 0.75])
    model = PooledOrdinal(thresholds, 1.0).fit(features, effects, np.ones_like(effects))
    chances = model.chances(features)
    assert np.isfinite(chances).all()
    assert (model.coefficients_[:, 1] == 0).all()
    assert (chances.argmax(axis=2) == model.bins(effects)).mean() > 0.8


def test_bins_count_the_thresholds_below():
    model = PooledOrdinal(np.array([[0.0, -1.0], [0.0, 2.0], [3.0, 2.5]]), 1.0)
    effects = np.array([[0.0, -1.0], [0.1, 2.5], [5.0, 2.6]])
    assert model.bins(effects).tolist() == [[0, 0], [2, 2], [3, 3]]


def test_tilted_atoms_have_the_wanted_chances_of_bins():
    random = np.random.default_rng(0)
    base = random.dirichlet(np.ones(30), (1, 2)).astype(np.float32)  # alike for all genes
    bins = np.stack([random.permutation(np.arange(30) % 3) for _ in range(5)], axis=1)
    chances = random.dirichlet(np.ones(3), (2, 5))
    after = tilted(base, chances, bins)
    assert after.shape == (5, 2, 30)
    np.testing.assert_allclose(after.sum(axis=2), 1, rtol=1e-5)
    for gene in range(5):
        for row in range(2):
            shares = [after[gene, row, bins[:, gene] == one].sum() for one in range(3)]
            before = [base[0, row, bins[:, gene] == one].sum() for one in range(3)]
            # A bin is taken to have had a little more than it had, so that empty ones do no harm.
            wanted = chances[row, gene] * before / (np.array(before) + LEAST)
            np.testing.assert_allclose(shares, wanted / wanted.sum(), rtol=1e-4)
            np.testing.assert_allclose(shares, chances[row, gene], atol=0.03)
            # Within a bin atoms share as before.
            inside = bins[:, gene] == 1
            ratio = after[gene, row, inside] / base[0, row, inside]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_an_empty_bin_leaves_its_chance_to_the_others():
    base = np.full((1, 1, 4), 0.25, dtype=np.float32)
    after = tilted(base, np.array([[[0.2, 0.5, 0.3]]]), np.array([[0], [0], [2], [2]]))
    np.testing.assert_allclose(after[0, 0], [0.2, 0.2, 0.3, 0.3], atol=1e-3)


def test_a_chance_that_is_all_in_an_empty_bin_leaves_the_atoms_as_they_were():
    base = np.array([[[0.1, 0.2, 0.3, 0.4]]], dtype=np.float32)
    bins = np.array([[0, 0], [0, 0], [2, 1], [2, 2]])  # the second gene has no empty bin
    after = tilted(base, np.array([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]), bins)
    np.testing.assert_allclose(after[:, 0], [base[0, 0], [0, 0, 1, 0]], rtol=1e-6)


def test_gene_quantiles_equal_a_slow_weighted_quantile():
    random = np.random.default_rng(0)
    effects = random.normal(size=(17, 6)).round(1)
    weights = random.exponential(size=(17, 6))
    weights[:, 4] = 0.0  # all rows then count alike
    levels = [0.1, 0.35, 0.5, 0.9]
    found = gene_quantiles(effects, weights, levels)
    for gene in range(6):
        mass = weights[:, gene] if gene != 4 else np.ones(17)
        for level, value in zip(levels, found[:, gene], strict=True):
            below = [
                one
                for one in effects[:, gene]
                if mass[effects[:, gene] <= one].sum() >= level * mass.sum()
            ]
            assert value == min(below)
    assert (np.diff(found, axis=0) >= 0).all()


def test_order_of_rows_and_genes_means_nothing():
    features, effects, weights, _ = logistic_pairs(rows=15, genes=12)
    random = np.random.default_rng(1)
    rows, genes = random.permutation(15), random.permutation(12)
    thresholds = gene_quantiles(effects, weights, [0.3, 0.6])
    first = PooledOrdinal(thresholds, 1.0).fit(features, effects, weights).chances(features)
    turned = np.ix_(rows, genes)
    other = PooledOrdinal(thresholds[:, genes], 1.0)
    other.fit(features[turned], effects[turned], weights[turned])
    np.testing.assert_allclose(other.chances(features[turned]), first[turned], atol=1e-4)


def test_intercepts_are_those_at_which_the_penalised_gradient_is_zero():
    features, effects, weights, _ = logistic_pairs(rows=40, genes=60)
    weights = weights * np.random.default_rng(1).uniform(0.1, 3, size=weights.shape)
    model = PooledOrdinal(np.zeros((1, 60)), penalty=1.0).fit(features, effects, weights)
    linear = features @ model.coefficients_[0]
    middle = model.intercepts_[0].mean()
    intercepts = pooled_regression._intercepts(linear, effects > 0, middle, weights)
    chance = 1 / (1 + np.exp(-linear - intercepts))
    shrinkage = pooled_regression.PRIOR * (intercepts - middle)
    np.testing.assert_allclose(
        (weights * ((effects > 0) - chance)).sum(axis=0), shrinkage, atol=1e-4
    )


def test_tilted_in_blocks_of_genes_is_tilted_at_once(monkeypatch):
    random = np.random.default_rng(0)
    base, chances = random.random((7, 2, 5)), random.dirichlet(np.ones(3), size=(2, 7))
    bins = random.integers(0, 3, size=(5, 7))
    at_once = tilted(base, chances, bins)
    monkeypatch.setattr(pooled_regression, "AT_ONCE", 30)
    np.testing.assert_array_equal(tilted(base, chances, bins), at_once)
