"""Pairs of knockdown and gene: a planted signal, features that do not know the answer, slow loops."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_planted import gains, noisy, planted
from threadpoolctl import threadpool_limits

from kit.knowledge import Knowledge
from kit.metric import weights_from_t
from kit.models.pairwise_regression import (
    FLOOR,
    RIDGE,
    SMOOTHING,
    PairwiseRegression,
    _Evidence,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are small here: on a busy machine threads would wait for each other."""
    with threadpool_limits(1):
        yield


def pure_noise(competition, seed=0):
    """The competition with effects that nothing can foresee."""
    random = np.random.default_rng(seed)
    noise = competition.effects * 0 + random.normal(0, 0.1, competition.effects.shape)
    return replace(competition, effects=noise, weights=weights_from_t(noise / 0.05))


def correlation(one, other):
    one = np.broadcast_to(one, np.shape(other)).ravel()
    return np.corrcoef(one, np.ravel(other))[0, 1] if one.std() > 0 else 0.0


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_shared_effect_of_pathway_members_is_found(tmp_path, share):
    competition, pathways = planted(tmp_path)
    pairs, constant = gains(PairwiseRegression(Knowledge(pathways), share=share), competition)
    assert pairs > constant + 10


def test_what_the_same_knockdown_did_elsewhere_is_found(tmp_path):
    """Knockdowns that are like no other: only their own response tells."""
    competition, _ = planted(tmp_path, modules=48)
    pairs, constant = gains(
        PairwiseRegression(Knowledge(None, noisy(competition.effects, 0.1)), share=0.0), competition
    )
    assert pairs > constant + 10


def test_shuffled_knowledge_gains_nothing(tmp_path):
    differences = []
    for seed in range(4):
        competition, pathways = planted(tmp_path, seed=seed, shuffle=True)
        effects = competition.effects
        mixed = effects.sample(frac=1, random_state=seed).set_axis(effects.index)
        pairs, constant = gains(
            PairwiseRegression(Knowledge(pathways, noisy(mixed, 0.1))), competition
        )
        differences.append(pairs - constant)
    assert np.mean(differences) < 2


@pytest.mark.parametrize("rows", [15, 60])
def test_features_of_training_pairs_foresee_nothing_in_noise(tmp_path, rows):
    found = []
    for seed in range(3):
        competition, pathways = planted(tmp_path, rows=rows, modules=5, seed=seed)
        competition = pure_noise(competition, seed)
        atlas = noisy(competition.effects * 0, 0.3, seed + 50)
        model = PairwiseRegression(Knowledge(pathways, atlas)).fit(competition)
        features = model._features(competition.effects.index, training=True)[0] / model.scale_
        deviation = (competition.effects - competition.effects.mean()).to_numpy()
        by_feature = [correlation(features[:, :, k], deviation) for k in range(features.shape[2])]
        plain = model.regressions_[0]
        chances = plain.chances(features)
        expected = chances @ np.arange(chances.shape[2])
        found.append([*by_feature, correlation(expected, deviation)])
    *by_feature, expected = np.mean(found, axis=0)
    assert np.abs(by_feature).max() < 0.15
    assert expected < 0.3  # what coefficients fit by chance, in 15 rows


@pytest.mark.parametrize("alone", [False, True])
def test_features_of_a_row_do_not_change_with_its_own_effects(tmp_path, alone):
    competition, pathways = planted(tmp_path, rows=24, genes=20, noise=0.3)
    atlas = noisy(competition.effects, 0.3)
    other = competition.effects.copy()
    other.loc["P5"] = other.loc["P5"].to_numpy()[::-1]  # sizes stay, which set the channels
    model = PairwiseRegression(Knowledge(pathways, atlas), exclude_own_response=alone).fit(
        competition
    )
    features = []
    for effects in (competition.effects, other):
        model.train_ = replace(competition, effects=effects)
        features.append(model._features(effects.index, training=True)[0][5] / model.scale_)
    apart = np.abs(features[0] - features[1]).max(axis=0)
    # But for the slope that all genes share, and a penalty chosen over all rows.
    assert np.median(apart) < 1e-5
    assert apart.max() < 0.5


def evidence_of(seed=0, rows=9, genes=6, training=True):
    random = np.random.default_rng(seed)
    effects = random.normal(0, 0.3, (rows, genes))
    weights = random.exponential(size=(rows, genes))
    half = random.normal(size=(rows, 4))
    kernel = np.maximum(half @ half.T, 0) + np.eye(rows)
    return _Evidence(effects, weights, training), effects, weights, kernel


def test_evidence_of_similar_rows_equals_a_slow_loop():
    evidence, effects, weights, kernel = evidence_of()
    kernel = kernel + FLOOR
    found = evidence.near(kernel)
    for row in range(9):
        rest = [other for other in range(9) if other != row]
        share = kernel[row, rest] / kernel[row, rest].sum()
        usual = effects[rest].mean(axis=0)
        np.testing.assert_allclose(found[0][row], share @ effects[rest] - usual)
        size = np.abs(effects[rest]).mean(axis=1)
        np.testing.assert_allclose(found[-3][row], share @ size - size.mean())
        weighted = (weights * effects)[rest].mean(axis=0) / weights[rest].mean(axis=0)
        near = share @ (weights * effects)[rest] + SMOOTHING * weighted
        near /= share @ weights[rest] + SMOOTHING
        np.testing.assert_allclose(found[-1][row], near - weighted)


def test_ridge_of_a_left_out_row_equals_an_explicit_refit():
    evidence, effects, _, kernel = evidence_of()
    found = evidence.ridge(kernel, kernel)[0]
    refits = {}
    for penalty in RIDGE * np.trace(kernel) / 9:
        left, usual = np.empty_like(effects), np.empty_like(effects)
        for row in range(9):
            rest = np.delete(np.arange(9), row)
            usual[row] = effects[rest].mean(axis=0)
            inner = kernel[np.ix_(rest, rest)] + penalty * np.eye(8)
            slopes = np.linalg.solve(inner, effects[rest] - usual[row])
            left[row] = usual[row] + kernel[row, rest] @ slopes
        refits[((effects - left) ** 2).mean()] = left - usual
    np.testing.assert_allclose(found, refits[min(refits)], atol=1e-9)


def test_ridge_of_new_rows_is_kernel_ridge_on_deviations():
    evidence, effects, _, kernel = evidence_of(training=False)
    new = np.random.default_rng(1).uniform(size=(3, 9))
    found = evidence.ridge(kernel, new)[0]
    deviation = effects - effects.mean(axis=0)
    fits = [
        new @ np.linalg.solve(kernel + penalty * np.eye(9), deviation)
        for penalty in RIDGE * np.trace(kernel) / 9
    ]
    assert min(np.abs(found - fit).max() for fit in fits) < 1e-9


def test_a_kernel_that_knows_nothing_tells_nothing():
    evidence, *_ = evidence_of()
    nothing = np.zeros((9, 9))
    for part in (*evidence.near(nothing + FLOOR), *evidence.ridge(nothing, nothing)):
        np.testing.assert_allclose(part, 0, atol=1e-9)


def test_what_the_response_elsewhere_is_worth_equals_an_explicit_refit():
    evidence, effects, _, _ = evidence_of(rows=12, genes=40)
    random = np.random.default_rng(3)
    response = effects + random.normal(0, 0.2, effects.shape)
    found = evidence.elsewhere(response, response)
    np.testing.assert_array_equal(found[0], response)
    np.testing.assert_array_equal(found[1], np.sign(response))
    centred = response - response.mean(axis=0)
    square = (centred**2).sum(axis=0)
    prior = 10 * square.mean() / 12
    deviation = effects - effects.mean(axis=0)
    pooled = (centred * deviation).sum() / square.sum()
    for row in range(12):
        rest = np.delete(np.arange(12), row)
        usual, middle = effects[rest].mean(axis=0), response[rest].mean(axis=0)
        x, y = response[rest] - middle, effects[rest] - usual
        slope = ((x * y).sum(axis=0) + prior * pooled) / ((x * x).sum(axis=0) + prior)
        np.testing.assert_allclose(found[3][row], (response[row] - middle) * slope, atol=1e-9)


def test_an_atlas_that_knows_no_training_row_tells_nothing(tmp_path):
    competition, _ = planted(tmp_path, rows=12, genes=10, modules=3)
    strangers = competition.effects.set_axis([f"S{i}" for i in range(12)])
    model = PairwiseRegression(Knowledge(None, noisy(strangers, 0.1))).fit(competition)
    prediction = model.predict(["S1", "X1"])
    assert np.isfinite(prediction).to_numpy().all()


def test_genes_of_the_atlas_meet_by_name(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=10, modules=3)
    atlas = noisy(competition.effects, 0.2)
    names = ["P1", "X1"]
    first = PairwiseRegression(Knowledge(pathways, atlas)).fit(competition).predict(names)
    turned = replace(atlas, effects=atlas.effects.iloc[:, ::-1])
    second = PairwiseRegression(Knowledge(pathways, turned)).fit(competition).predict(names)
    pd.testing.assert_frame_equal(first, second, atol=1e-3)
    wider = atlas.effects.iloc[:, 2:].assign(FOREIGN=0.5)
    other = (
        PairwiseRegression(Knowledge(pathways, replace(atlas, effects=wider)))
        .fit(competition)
        .predict(names)
    )
    assert list(other.columns) == list(competition.genes)


def test_the_belief_is_a_mixture_of_scenarios_and_genes_told_apart(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=10, modules=3)
    model = PairwiseRegression(Knowledge(pathways), share=0.25).fit(competition)
    scenarios, apart = model.distributions(["P1", "X1"])
    assert scenarios.scenarios == 1
    assert apart.scenarios == 0
    belief = model.predict_distribution(["P1", "X1"])
    np.testing.assert_allclose(belief.chances().sum(axis=2), 1, rtol=1e-4)
    np.testing.assert_allclose(apart.masses().sum(axis=2).mean(axis=0), 1, rtol=1e-4)
    wanted = 0.25 * scenarios.mean() + 0.75 * apart.mean()
    np.testing.assert_allclose(belief.mean(), wanted, atol=1e-5)
