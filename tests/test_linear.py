"""Ridge on pathways: exact leave-one-out, planted and shuffled knowledge, unknown knockdowns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_planted import gains, planted

from kit.knowledge import Knowledge
from kit.models import Constant, Ridge
from kit.models.baselines import entry_weights, leave_one_out_constant, weighted_quantiles
from kit.models.ridge import leave_one_out, smoother, weighted_ranks


@pytest.mark.parametrize(
    "options", [{}, {"response": "effects"}, {"rank": 4}, {"response": "effects", "rank": 4}]
)
def test_a_shared_effect_of_pathway_members_is_found(tmp_path, options):
    competition, pathways = planted(tmp_path)
    ridge, constant = gains(Ridge(Knowledge(pathways), **options), competition)
    assert ridge > constant + 10


@pytest.mark.parametrize("response", ["ranks", "effects"])
def test_shuffled_pathways_gain_nothing(tmp_path, response):
    differences = []
    for seed in range(4):
        competition, pathways = planted(tmp_path, seed=seed, shuffle=True)
        ridge, constant = gains(Ridge(Knowledge(pathways), response=response), competition)
        differences.append(ridge - constant)
    assert abs(np.mean(differences)) < 2


@pytest.mark.parametrize("rank", [None, 3])
def test_the_left_out_smoother_equals_an_explicit_loop(rank):
    random = np.random.default_rng(1)
    features, row_weights = random.normal(size=(9, 14)), random.uniform(0.5, 2, 9)
    responses = random.normal(size=(9, 5))
    reduction = {} if rank is None else {"rank": rank, "gram": responses @ responses.T}
    fast = leave_one_out(features @ features.T, row_weights, 0.7, **reduction) @ responses
    for row in range(9):
        rest = np.delete(np.arange(9), row)
        expected = weighted_ridge(
            features[rest], responses[rest], row_weights[rest], 0.7, features[row], rank
        )
        np.testing.assert_allclose(fast[row], expected, atol=1e-9)


def weighted_ridge(features, responses, row_weights, penalty, new, rank=None):
    """Ridge between pathways from the normal equations; deviation from the weighted mean."""
    centre = np.average(features, axis=0, weights=row_weights)
    x, y = features - centre, responses - np.average(responses, axis=0, weights=row_weights)
    gram = x.T @ (row_weights[:, None] * x) + penalty * np.eye(x.shape[1])
    slopes = np.linalg.solve(gram, x.T @ (row_weights[:, None] * y))
    if rank is not None:
        # Of all slopes of that rank these have the least penalised error.
        _, vectors = np.linalg.eigh(slopes.T @ gram @ slopes)
        slopes = slopes @ vectors[:, -rank:] @ vectors[:, -rank:].T
    return (new - centre) @ slopes


@pytest.mark.parametrize("response", ["ranks", "effects"])
def test_the_penalty_is_the_best_of_an_explicit_leave_one_out(tmp_path, response):
    competition, pathways = planted(tmp_path, rows=18, genes=15, modules=3, noise=0.3)
    model = Ridge(Knowledge(pathways), response=response, penalties=(0.01, 0.3, 3.0, 100.0)).fit(
        competition
    )
    row_weights = Constant().fit(competition).row_weights_
    effects = competition.effects.to_numpy()
    features = pathways.one_hot(competition.effects.index).to_numpy(dtype=float)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weights = entry_weights(competition, row_weights)
    ranks = weighted_ranks(effects, weights) - 0.5
    floor = leave_one_out_constant(competition).to_numpy()
    losses, predictions = {}, {}
    for penalty in model.penalties:
        total, predicted = 0.0, np.empty_like(effects)
        for row in range(18):
            rest = np.delete(np.arange(18), row)
            new, x = features[row], features[rest]
            if response == "effects":
                r = row_weights.to_numpy()[rest]
                predicted[row] = floor[row] + weighted_ridge(x, effects[rest], r, penalty, new)
                error = competition.weights.to_numpy()[row] * np.abs(effects - predicted)[row]
            else:
                mass, weighted = (
                    z[rest].mean(axis=0) + weighted_ridge(x, z[rest], np.ones(17), penalty, new)
                    for z in (weights, weights * ranks)
                )
                level = np.clip(0.5 + weighted / np.maximum(mass, 0.2), 0, 1)
                column = weighted_quantiles(effects[rest], weights[rest], level[None])
                predicted[row] = column[0]
                error = weights[row] * np.abs(ranks[row] + 0.5 - level)
            total += np.log(error.sum())
        losses[penalty], predictions[penalty] = total, predicted
    np.testing.assert_allclose(model.curve_, np.exp(pd.Series(losses) / 18), rtol=1e-9)
    assert model.penalty_ == min(losses, key=losses.get)
    np.testing.assert_allclose(model.residuals_, effects - predictions[model.penalty_], atol=1e-9)


def test_order_of_rows_and_genes_means_nothing(tmp_path):
    competition, pathways = planted(tmp_path)
    names = ["P3", "P0", "X9"]
    first = Ridge(Knowledge(pathways)).fit(competition).predict(names)
    random = np.random.default_rng(0)
    rows = random.permutation(competition.effects.index)
    genes = random.permutation(competition.genes)
    shuffled = replace(
        competition,
        effects=competition.effects.loc[rows, genes],
        weights=competition.weights.loc[rows, genes],
        control=competition.control[genes],
    )
    second = Ridge(Knowledge(pathways)).fit(shuffled).predict(names[::-1])
    pd.testing.assert_frame_equal(first, second.loc[names, first.columns], check_names=False)


@pytest.mark.parametrize("options", [{}, {"response": "effects"}, {"rank": 2}])
def test_a_knockdown_without_a_trained_pathway_gets_the_constant(tmp_path, options):
    competition, pathways = planted(tmp_path)
    model = Ridge(Knowledge(pathways), **options).fit(competition)
    prediction = model.predict(["NOWHERE", "P1", "X1"])
    constant = Constant().fit(competition).effect_.to_numpy()
    np.testing.assert_array_equal(prediction.loc["NOWHERE"], constant)
    np.testing.assert_array_equal(prediction.loc["X1"], constant)
    assert (prediction.loc["P1"] != constant).any()
    assert list(prediction.columns) == list(competition.genes)


def test_knowledge_of_no_training_row_leaves_the_constant(tmp_path):
    competition, pathways = planted(tmp_path)
    strangers = competition.effects.index.map(lambda name: f"S{name}")
    frames = ("effects", "weights", "baseline_wmae")
    renamed = {name: getattr(competition, name).set_axis(strangers) for name in frames}
    model = Ridge(Knowledge(pathways)).fit(replace(competition, **renamed))
    assert model.penalty_ == np.inf
    prediction = model.predict(["P1"])
    np.testing.assert_array_equal(prediction, [model.constant_.effect_])


def test_fifteen_rows_are_enough(tmp_path):
    competition, pathways = planted(tmp_path, rows=15, modules=4)
    model = Ridge(Knowledge(pathways)).fit(competition)
    assert np.isfinite(model.predict(["P1", "X1"])).to_numpy().all()
    assert np.isfinite(model.residuals_).to_numpy().all()


def test_a_huge_penalty_predicts_the_constant_or_the_weighted_median(tmp_path):
    competition, pathways = planted(tmp_path)
    constant = Constant().fit(competition)
    weights = entry_weights(competition, constant.row_weights_)
    levels = np.full((1, competition.effects.shape[1]), 0.5)
    median = weighted_quantiles(competition.effects.to_numpy(), weights, levels)[0]
    for response, expected in (("ranks", median), ("effects", constant.effect_)):
        model = Ridge(Knowledge(pathways), response=response, penalties=(1e12,)).fit(competition)
        np.testing.assert_allclose(model.predict(["P1"]).iloc[0], expected, atol=1e-6)


def test_a_smoother_of_full_rank_is_the_plain_one():
    random = np.random.default_rng(2)
    features, responses = random.normal(size=(6, 8)), random.normal(size=(6, 4))
    kernel = features @ features.T
    arguments = kernel, np.ones(6), 0.5, kernel
    full = smoother(*arguments, rank=4, gram=responses @ responses.T) @ responses
    np.testing.assert_allclose(full, smoother(*arguments) @ responses, atol=1e-9)
