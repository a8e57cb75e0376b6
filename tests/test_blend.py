"""The blend, and what every model on beliefs must do: small data, odd data, refits, no leak."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from small_planted import gains, noisy, planted
from threadpoolctl import threadpool_limits

from kit.knowledge import Knowledge
from kit.metric import weights_from_t
from kit.models import blend
from kit.models.blend import Blend
from kit.models.neighbours import Neighbours
from kit.models.pairwise_regression import PairwiseRegression
from kit.models.transfer import Transfer
from kit.models.trees import ComponentTrees

MODELS = {
    "neighbours": Neighbours,
    "pairs": PairwiseRegression,
    "transfer": Transfer,
    "blend": partial(Blend, parts=0),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
NAMES = ["P1", "NOWHERE", "X1"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Data are small here: on a busy machine threads and processes would wait for each other."""
    monkeypatch.setattr(blend, "ComponentTrees", partial(ComponentTrees, jobs=1))
    with threadpool_limits(1):
        yield


def discrete(competition):
    """Calls of -1, 0 and 1 as in real/k562: genes that never answer, weight 0 where nothing is called."""
    effects = np.sign(competition.effects).where(competition.effects.abs() > 0.25, 0.0)
    effects.iloc[:, :4] = 0.0
    size = effects.abs()
    weights = size.mul(size.shape[1] / size.sum(axis=1), axis=0)
    return replace(competition, effects=effects, weights=weights)


@every_model
@pytest.mark.parametrize("rows", [6, 15])
def test_small_competitions_work(tmp_path, make, rows):
    competition, pathways = planted(tmp_path, rows=rows, genes=20, modules=3)
    held = noisy(competition.effects.iloc[:-2], 0.2)
    for knowledge in ((pathways, held), (None, held)):
        prediction = make(Knowledge(*knowledge)).fit(competition).predict(NAMES)
        assert np.isfinite(prediction).to_numpy().all()
        assert list(prediction.index) == NAMES
        assert list(prediction.columns) == list(competition.genes)


@every_model
def test_discrete_values_and_columns_of_zeros_work(tmp_path, make):
    competition, pathways = planted(tmp_path, rows=24, genes=20, modules=3)
    competition = discrete(competition)
    model = make(Knowledge(pathways, noisy(competition.effects, 0.3))).fit(competition)
    prediction = model.predict(["P1", "X1"])
    assert np.isfinite(prediction).to_numpy().all()
    assert not prediction.iloc[:, :4].to_numpy().any()


@every_model
def test_a_single_gene_works(tmp_path, make):
    competition, pathways = planted(tmp_path, rows=15, genes=1, modules=3)
    model = make(Knowledge(pathways, noisy(competition.effects, 0.2))).fit(competition)
    assert np.isfinite(model.predict(["P1", "X1"])).to_numpy().all()


@every_model
def test_one_perturbation_alone_is_predicted_nearly_as_among_others(tmp_path, make):
    competition, pathways = planted(tmp_path, rows=30, genes=40)
    names = list(competition.effects.index[-4:])
    train = competition.subset(competition.effects.index[:-4])
    model = make(Knowledge(pathways, noisy(competition.effects, 0.2))).fit(train)
    together = model.predict(names)
    alone = pd.concat([model.predict([name]) for name in names])
    assert list(alone.index) == names
    # Direction is one cosine over all rows of a batch, so that values may differ a little.
    for name in names:
        assert np.corrcoef(alone.loc[name], together.loc[name])[0, 1] > 0.95


@pytest.mark.parametrize("name", ["neighbours", "pairs", "transfer"])
def test_order_of_rows_and_genes_means_nothing(tmp_path, name):
    competition, pathways = planted(tmp_path, rows=18, genes=12, modules=3, noise=0.1)
    random = np.random.default_rng(0)
    rows = random.permutation(competition.effects.index)
    genes = random.permutation(competition.genes)
    shuffled = replace(
        competition,
        effects=competition.effects.loc[rows, genes],
        weights=competition.weights.loc[rows, genes],
        control=competition.control[genes],
    )
    atlas = noisy(competition.effects, 0.2)
    first = MODELS[name](Knowledge(pathways, atlas)).fit(competition).predict_distribution(NAMES)
    second = (
        MODELS[name](Knowledge(pathways, atlas)).fit(shuffled).predict_distribution(NAMES[::-1])
    )
    there = second.mean().loc[NAMES, first.genes]
    np.testing.assert_allclose(first.mean(), there, atol=2e-3)
    np.testing.assert_allclose(first.rows, second.rows.loc[NAMES, first.rows.columns], atol=1e-6)


def test_the_blend_finds_pathways_and_responses_elsewhere(tmp_path):
    competition, pathways = planted(tmp_path)
    for knowledge in ((pathways, None), (None, noisy(competition.effects, 0.1))):
        found, constant = gains(Blend(Knowledge(*knowledge), parts=0), competition)
        assert found > constant + 10


def test_the_blend_of_shuffled_knowledge_gains_nothing(tmp_path):
    differences = []
    for seed in range(3):
        competition, pathways = planted(tmp_path, rows=30, genes=24, seed=seed, shuffle=True)
        effects = competition.effects
        mixed = effects.sample(frac=1, random_state=seed).set_axis(effects.index)
        model = Blend(Knowledge(pathways, noisy(mixed, 0.1)), parts=2)
        found, constant = gains(model, competition)
        differences.append(found - constant)
    assert np.mean(differences) < 2


def test_recipes_are_compared_on_inner_folds_where_there_are_rows_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(blend, "ENOUGH", 12)
    competition, pathways = planted(tmp_path, rows=12, genes=10, modules=3)
    model = Blend(Knowledge(pathways), parts=2).fit(competition)
    table = model.recipes_
    assert list(table.columns) == ["score", "difference", "low", "high"]
    assert len(table) > 2
    assert table.loc[model.default_, "difference"] == 0
    assert model.recipe_ in list(table.index)
    if model.recipe_ != model.default_:
        assert table.loc[model.recipe_, "low"] > 0
    assert set(model.inner_.prediction.index) == set(competition.effects.index)
    score = model.inner_.score().score_per_60
    assert score == pytest.approx(table.loc[model.recipe_, "score"])
    assert np.isfinite(model.predict(NAMES)).to_numpy().all()


def test_with_few_rows_nothing_is_chosen(tmp_path):
    competition, pathways = planted(tmp_path, rows=15, genes=12, modules=3)
    model = Blend(Knowledge(pathways), parts=2).fit(competition)
    assert model.recipe_ == model.default_
    assert list(model.recipes_.index) == [model.default_]
    assert model.inner_ is not None
    still = Blend(Knowledge(pathways), parts=0).fit(competition)
    assert still.inner_ is None
    assert still.recipe_ == model.recipe_
    pd.testing.assert_frame_equal(still.predict(NAMES), model.predict(NAMES))


def test_the_inner_score_of_pure_noise_promises_nothing(tmp_path):
    scores = []
    for seed in range(2):
        competition, pathways = planted(tmp_path, rows=24, genes=20, seed=seed)
        noise = competition.effects * 0
        noise += np.random.default_rng(seed + 50).normal(0, 0.2, noise.shape)
        competition = replace(competition, effects=noise, weights=weights_from_t(noise / 0.1))
        scores.append(
            Blend(Knowledge(pathways), parts=3).fit(competition).inner_.score().score_per_60
        )
    assert np.mean(scores) < 1


def test_perturbations_predicted_in_blocks_are_predicted_as_at_once(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=20, genes=10, modules=4)
    knowledge = Knowledge(pathways, noisy(competition.effects.iloc[:15], 0.2))
    model = Blend(knowledge, recipe=(0.3, 0.25)).fit(competition)
    names = ["P19", "P3", "NOWHERE", "X1", "P4"]
    at_once = model.predict_distribution(names)
    monkeypatch.setattr(blend, "AT_ONCE", 2 * 10 * 20)  # two perturbations
    in_blocks = model.predict_distribution(names)
    assert list(in_blocks.perturbations) == names
    for one, other in ((at_once.chance, in_blocks.chance), (at_once.mass, in_blocks.mass)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_the_models_of_points_can_be_part_of_the_recipe(tmp_path):
    competition, pathways = planted(tmp_path, rows=12, genes=8, modules=3)
    atlas = noisy(competition.effects, 0.2)
    model = Blend(Knowledge(pathways, atlas), recipe=(0.4, 0.25)).fit(competition)
    assert model.recipe_ == (0.4, 0.25)
    belief = model.predict_distribution(NAMES)
    np.testing.assert_allclose(belief.chances().sum(axis=2), 1, rtol=1e-4)
    assert np.isfinite(model.predict(NAMES)).to_numpy().all()
