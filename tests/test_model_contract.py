"""The contract of all model families: one can stand where another stands, and none sees held-out rows."""

import copy
import inspect
import pickle
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from small_merged import write_cells
from small_networks import NETWORKS as SMALL_NETWORKS
from small_planted import atlas_of, noisy, planted, turned
from threadpoolctl import threadpool_limits

from kit import models
from kit.competition import CONTROL
from kit.knowledge import Knowledge, Pathways
from kit.networks.cells import screen_cells
from kit.networks.screen_data import atlas_data
from kit.networks.training import FoldCache, Settings

LEARN = Settings(steps=2, rate=1e-2, every=1)
NETWORK = {"members": 2, "batch": 8, "pretraining": LEARN, "tuning": LEARN}
NETWORKS = {name: partial(kind, **NETWORK) for name, kind in SMALL_NETWORKS.items()}
FEW = {"trees": 20, "jobs": 1}
RANDOM = {
    "GeneTrees": partial(models.GeneTrees, **FEW),
    "ComponentTrees": partial(models.ComponentTrees, **FEW, parts=2),
    "PooledTrees": partial(models.PooledTrees, **FEW),
    **NETWORKS,
}
WITH_RESPONSES = {
    "Neighbours": models.Neighbours,
    "PairwiseRegression": models.PairwiseRegression,
    "Transfer": models.Transfer,
    "Blend": partial(models.Blend, recipe=(0.4, 0.25)),
    **NETWORKS,
}
WITH_KNOWLEDGE = {
    "Ridge": models.Ridge,
    "OnTargetGene": lambda knowledge: models.OnTargetGene(models.Ridge(knowledge)),
    "ResidualDistribution": lambda knowledge: models.ResidualDistribution(models.Ridge(knowledge)),
    "Propagation": models.Propagation,
    **RANDOM,
    **WITH_RESPONSES,
}
FLOORS = {"Mean": lambda knowledge: models.Mean(), "Zero": lambda knowledge: models.Zero()}
FAMILIES = {**FLOORS, "Constant": lambda knowledge: models.Constant(), **WITH_KNOWLEDGE}
NAMES = ["P1", "NOWHERE", "X1", "P23"]
HELD_OUT = ["P0", "P1"]
ABSURD = 50.0


def each(families):
    return pytest.mark.parametrize("family", families)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Data are small here: on a busy machine threads and processes would wait for each other."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setattr(models.blend, "ComponentTrees", RANDOM["ComponentTrees"])
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A competition of 24 perturbations and 12 genes, of which two are perturbed, and its pathways."""
    competition, pathways = planted(tmp_path_factory.mktemp("data"), rows=24, genes=12, modules=6)
    names = ["P1", "P2", *competition.genes[2:]]
    frames = {name: getattr(competition, name).copy() for name in ("effects", "weights", "control")}
    frames = {name: frame.set_axis(names, axis=frame.ndim - 1) for name, frame in frames.items()}
    return replace(competition, **frames), pathways


@pytest.fixture(scope="module")
def knowledge(data):
    competition, pathways = data
    return Knowledge(pathways, noisy(competition.effects.iloc[2:], 0.1))


@pytest.fixture(scope="module")
def fitted(data, knowledge):
    """Fitted models by family, each made when it is first asked for."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = FAMILIES[family](knowledge).fit(data[0])
        return made[family]

    return get


def answers(model, names=NAMES):
    """The prediction; of a network, which may be shrunk to nothing, its logit shift as well."""
    frames = [model.predict(names)]
    if hasattr(model, "logit_shift"):
        whole = copy.copy(model)
        whole.shrinkage_ = 1.0
        frames.append(whole.logit_shift(names))
    return pd.concat(frames)


@each(FAMILIES)
def test_a_perturbation_of_which_nothing_is_known_gets_the_constant(family, data, fitted):
    competition, _ = data
    effect = FLOORS.get(family, FAMILIES["Constant"])(None).fit(competition).effect_
    prediction = fitted(family).predict(NAMES)
    np.testing.assert_array_equal(prediction.loc["NOWHERE"], effect)
    if family in WITH_KNOWLEDGE and family not in NETWORKS:
        assert (prediction.loc["P23"] != effect).any()
    empty = FAMILIES[family](Knowledge()).fit(competition).predict(["NOWHERE", "P23"])
    np.testing.assert_array_equal(empty, [effect] * 2)


@each(FAMILIES)
def test_genes_come_in_the_order_of_the_competition_which_changes_nothing(family, data, fitted):
    competition, pathways = data
    assert list(fitted(family).predict(NAMES).index) == NAMES
    other = turned(competition)
    model = FAMILIES[family](Knowledge(pathways, noisy(competition.effects.iloc[2:], 0.1)))
    found = answers(model.fit(other), NAMES[::-1])
    assert list(found.columns) == list(other.genes) == list(competition.genes[::-1])
    expected = answers(fitted(family))
    assert list(expected.columns) == list(competition.genes)
    for name in NAMES:
        np.testing.assert_allclose(
            found.loc[[name], competition.genes], expected.loc[[name]], rtol=1e-4, atol=1e-5
        )


@each(FAMILIES)
def test_the_same_seed_gives_the_same_result(family, data, knowledge, fitted):
    again = FAMILIES[family](knowledge).fit(data[0])
    pd.testing.assert_frame_equal(answers(again), answers(fitted(family)), check_exact=True)
    if family in NETWORKS:
        assert (again.logit_shift(NAMES).dtypes == np.float32).all()
    if family in RANDOM:
        other = RANDOM[family](knowledge, seed=1).fit(data[0])
        assert not answers(other).equals(answers(again))


@each(FAMILIES)
def test_a_model_fitted_again_equals_one_fitted_for_the_first_time(family, data, knowledge, fitted):
    competition, _ = data
    model = FAMILIES[family](knowledge)
    model.fit(competition.subset(competition.effects.index[:15])).predict(NAMES)
    again = copy.deepcopy(model).fit(competition)
    pd.testing.assert_frame_equal(answers(again), answers(fitted(family)), check_exact=True)


@each(WITH_KNOWLEDGE)
def test_the_constructor_only_stores_and_fit_returns_the_model(family, data, knowledge):
    competition, _ = data
    untouched = object()  # whatever is done with it fails
    model = FAMILIES[family](untouched)
    inner = getattr(model, "base", getattr(model, "model", model))
    assert inner.knowledge is untouched
    model = FAMILIES[family](knowledge)
    before = dict(vars(model))
    for name in inspect.signature(type(model).__init__).parameters:
        assert name in ("self", "options", "settings") or name in before
    assert not [name for name in before if name.endswith("_")]
    assert model.fit(competition) is model
    assert all(vars(model)[name] is value for name, value in before.items())
    assert all(name.endswith("_") for name in vars(model) if name not in before)


def state(value):
    """All that a model holds, but for the knowledge and what folds share, in comparable form."""
    if isinstance(value, Knowledge | FoldCache):
        return None
    if isinstance(value, torch.nn.Module):
        return value.training, {name: part.tolist() for name, part in value.state_dict().items()}
    if isinstance(value, dict):
        return {name: state(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [state(part) for part in value]
    if type(value).__module__.startswith("kit."):
        return type(value).__name__, state(vars(value))
    return pickle.dumps(value)


@each(FAMILIES)
def test_predict_gives_the_same_twice_and_leaves_the_model_unchanged(family, fitted):
    model = fitted(family)
    before = state(model)
    first = model.predict(NAMES)
    assert state(model) == before
    if hasattr(model, "predict_distribution"):
        model.predict_distribution(NAMES)
        assert state(model) == before
    pd.testing.assert_frame_equal(model.predict(NAMES), first, check_exact=True)


@each(FAMILIES)
def test_a_prediction_does_not_know_the_held_out_rows(family, data):
    """Not even through the weights, errors and baselines of the competition that it is part of."""
    competition, pathways = data
    other = replace(
        competition,
        effects=competition.effects.copy(),
        weights=competition.weights.copy(),
        baseline_wmae=competition.baseline_wmae.copy(),
    )
    other.effects.loc[HELD_OUT], other.weights.loc[HELD_OUT] = ABSURD, 1.0
    other.baseline_wmae[HELD_OUT] = ABSURD
    names = competition.effects.index.difference(HELD_OUT, sort=False)
    first, second = (
        answers(FAMILIES[family](Knowledge(pathways)).fit(one.subset(names)), HELD_OUT)
        for one in (competition, other)
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def knowledge_with(data, folder, *, own):
    """Knowledge of a screen beside which lie cells; both end with P0 and an absurd effect.

    own: whether these come from the competition's own cells, None: they are not there at all.
    """
    competition, pathways = data
    folder = folder / str(own)
    folder.mkdir()
    held = competition.effects.iloc[2:] + 0.1
    effects = (
        held if own is None else pd.concat([held, held.iloc[:1].set_axis(["P0"]) * 0 + ABSURD])
    )
    mask = np.arange(len(effects)) >= len(held)
    # Of the same dataset as the rest: alone in its own it would be centred to nothing.
    atlas = atlas_of(effects, datasets="other", n_cells=100, own=mask & bool(own))
    # One cell of each perturbation, and control cells of both data sets.
    names = [*effects.index, *[CONTROL] * 8]
    cells = pd.DataFrame({"sgrna_symbol": names, "competition": [*mask & bool(own), *[False] * 8]})
    cells = cells.assign(dataset="other", batch="one", RNAcount=1e4)
    counts = np.random.default_rng(0).poisson(3, (len(held), len(effects.columns)))
    extra = np.full((len(effects) - len(held), counts.shape[1]), 90)
    control = np.random.default_rng(1).poisson(3, (8, counts.shape[1]))
    measured = pd.DataFrame({"other": True}, effects.columns)
    write_cells(folder / "cells.h5ad", np.vstack([counts, extra, control]), cells, measured)
    return Knowledge(pathways, replace(atlas, source=folder / "responses.h5ad"))


@pytest.fixture(scope="module")
def leaks(data, tmp_path_factory):
    """Knowledge without the planted row, with it as one of the competition's own, and as another's."""
    folder = tmp_path_factory.mktemp("leaks")
    return [knowledge_with(data, folder, own=own) for own in (None, True, False)]


STRANGERS = [f"S{i}" for i in range(25)]
MEASURED = [f"G{i}" for i in range(2, 12)]  # genes of `data` that are not perturbed
SETS, EDGES = ["source", "pathway", "gene"], ["one", "other", "weight", "source"]


def with_sets(pathways, genes):
    """The pathways and, before them, a source of three sets of these genes."""
    rows = [("strange", f"set {place % 3}", gene) for place, gene in enumerate(genes)]
    return replace(pathways, sets=pd.concat([pd.DataFrame(rows, columns=SETS), pathways.sets]))


def with_edges(pathways, genes):
    rows = [(one, other, 1.0, "strange") for one, other in pairwise(genes)]
    return replace(pathways, edges=pd.DataFrame(rows, columns=EDGES))


def with_table(pathways, genes):
    table = pd.DataFrame(np.random.default_rng(3).normal(size=(len(genes), 4)), genes)
    return pathways.with_knowledge(table, "strange")


def with_screen(atlas, symbols, effect):
    """The atlas and, before it, a screen of these perturbations: random effects x `effect`."""
    genes = atlas.effects.columns
    values = effect * np.random.default_rng(4).normal(size=(len(symbols), len(genes)))
    strange = atlas_of(pd.DataFrame(values, columns=genes), symbols, datasets="strange")
    frames = {name: [getattr(one, name) for one in (strange, atlas)] for name in ("effects", "obs")}
    index = [f"row {place}" for place in range(len(symbols) + len(atlas.obs))]
    return replace(
        atlas, **{name: pd.concat(parts).set_axis(index) for name, parts in frames.items()}
    )


# What makes pathways and atlas with a source or screen that is silent about every pair.
SILENT = {
    "sets": lambda pathways, atlas: (with_sets(pathways, STRANGERS), atlas),
    "edges": lambda pathways, atlas: (with_edges(pathways, STRANGERS), atlas),
    "table": lambda pathways, atlas: (with_table(pathways, STRANGERS), atlas),
    "sets of measured genes": lambda pathways, atlas: (with_sets(pathways, MEASURED), atlas),
    "sets with one perturbation": lambda pathways, atlas: (
        with_sets(pathways, ["P3", *STRANGERS, *MEASURED]),
        atlas,
    ),
    "sets of strangers in a screen": lambda pathways, atlas: (
        with_sets(pathways, STRANGERS),
        with_screen(atlas, STRANGERS, 1.0),
    ),
    "screen": lambda pathways, atlas: (pathways, with_screen(atlas, STRANGERS, 1.0)),
    "screen of unmeasured genes": lambda pathways, atlas: (
        pathways,
        with_screen(atlas, [f"P{place}" for place in range(24)], np.nan),
    ),
}


@pytest.mark.parametrize("kind", SILENT)
@each(WITH_KNOWLEDGE)
def test_a_source_that_is_silent_about_every_pair_changes_nothing(
    family, kind, data, knowledge, fitted
):
    silent = Knowledge(*SILENT[kind](knowledge.pathways, knowledge.atlas))
    found = answers(FAMILIES[family](silent).fit(data[0]))
    pd.testing.assert_frame_equal(found, answers(fitted(family)), check_exact=True)


@pytest.mark.parametrize("kind", ["sets", "edges", "table"])
@each(WITH_RESPONSES)
def test_silent_pathways_beside_screens_alone_change_nothing(family, kind, data, knowledge):
    silent = Knowledge(SILENT[kind](Pathways(), None)[0], knowledge.atlas)
    first, second = (
        answers(FAMILIES[family](one).fit(data[0]))
        for one in (Knowledge(None, knowledge.atlas), silent)
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)


@each(WITH_RESPONSES)
def test_an_atlas_of_strangers_beside_pathways_changes_nothing(family, data):
    competition, pathways = data
    atlas = noisy(competition.effects.iloc[:20].set_axis(STRANGERS[:20]), 0.1)
    first, second = (
        answers(FAMILIES[family](Knowledge(pathways, one)).fit(competition))
        for one in (None, atlas)
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def values(parts):
    return [np.asarray(part, dtype=float) for part in parts]


READERS = {
    "kernels": lambda known, _: known.kernels(["P0", "P2", "X1"]).values(),
    "kernels without the own response": lambda known, _: known.kernels(
        ["P0", "P6", "X1"], exclude_own_response=True
    ).values(),
    "response": lambda known, _: [known.response(["P0", "P2", "X1"])],
    "has_response": lambda known, _: [known.has_response(["P0", "P2"])],
    "rows of pretraining": lambda known, train: [
        part for rows in atlas_data(known, train.genes) for part in (rows.effects, rows.weights)
    ],
    "cells": lambda known, train: [
        cells.values for cells in screen_cells(known.atlas.source.parent / "cells.h5ad", train)
    ],
}


def same(one, other):
    one, other = values(one), values(other)
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_sees_a_held_out_row_of_the_competitions_own_in_an_atlas(reader, data, leaks):
    train = data[0].subset(data[0].effects.index[1:])
    clean, own, foreign = (READERS[reader](known, train) for known in leaks)
    assert same(clean, own)
    assert not same(clean, foreign)  # a row of another screen would be seen


@each(WITH_KNOWLEDGE)
def test_no_model_sees_a_held_out_row_of_the_competitions_own_in_an_atlas(family, data, leaks):
    train = data[0].subset(data[0].effects.index[1:])
    names = ["P0", "P6", "X1"]  # P6 shares a pathway with P0
    found = (answers(FAMILIES[family](known).fit(train), names) for known in leaks)
    clean, own = next(found), next(found)
    pd.testing.assert_frame_equal(clean, own, check_exact=True)
    assert family not in WITH_RESPONSES or not clean.equals(next(found))
