"""Folds fitted side by side: each as alone, none from a row that it holds out, one call for all."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from small_merged import write_cells
from small_networks import NETWORKS, linear
from small_planted import noisy, planted

from kit import Run, compare, out_of_fold
from kit.competition import CONTROL
from kit.evaluation.comparison import fit_each
from kit.knowledge import Knowledge
from kit.models import Constant, Mean, OnTargetGene
from kit.networks import vae
from kit.networks.episodes import Episodes
from kit.networks.trained import Trained
from kit.networks.training import Settings

KINDS = {"linear": partial(Trained, linear), **NETWORKS}
LEARN = Settings(steps=8, rate=1e-2, every=2, patience=2)
SOME, LONG = (Settings(steps=steps, rate=2e-2, every=10) for steps in (60, 120))
WIDE = vae.Size(latent=8, hidden=16, features=16, samples=8, cells=64)
HELD_OUT = [[f"P{i}" for i in range(5)], [f"P{i}" for i in range(5, 13)]]  # of unlike size
ABSURD = 50.0


@pytest.fixture
def data(tmp_path):
    return planted(tmp_path, rows=24, genes=12)


def folds_of(competition, held_out=HELD_OUT):
    """The competition without each part, and at the end the whole."""
    rows = competition.effects.index
    parts = [competition.subset(rows.difference(part, sort=False)) for part in held_out]
    return [*parts, competition]


def planted_in(competition, names, size):
    """The competition with an effect of this size in some rows, in a memory of its own."""
    changed = {
        name: getattr(competition, name).copy() for name in ("effects", "weights", "baseline_wmae")
    }
    changed["effects"].loc[names] += size * np.arange(1, len(competition.genes) + 1)
    changed["weights"].loc[names] **= 1 / (1 + size)
    changed["baseline_wmae"][names] += size
    return replace(competition, **changed)


def everything(model, names):
    """All that a fitted model has learned, to compare to the bit."""
    parts = [part for one in model.networks_ for part in one.state_dict().values()]
    frames = [model.predict(names), unshrunk(model).logit_shift(names)]
    numbers = [model.shrinkage_, *model.shrinkage_curve_]
    return [*(np.asarray(part) for part in [*parts, *frames, numbers])]


def unshrunk(model):
    """The same model with all of what its networks return."""
    other = copy.copy(model)
    other.shrinkage_ = 1.0
    return other


def same(one, other):
    """Whether lists of arrays are the same to the bit."""
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@pytest.mark.parametrize("policy", ["competition", "pretrain"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [1, 2])
def test_no_fold_sees_a_row_that_it_holds_out(kind, policy, members, data):
    """Not even through the other folds, which learn from that row in the same computation."""
    competition, pathways = data
    names = [*competition.effects.index, "X1"]
    options = {"policy": policy, "members": members, "batch": 8, "genes": 9}
    options |= {"tuning": LEARN, "pretraining": LEARN}
    found, histories = [], []
    for size in (0.0, ABSURD):
        one = planted_in(competition, HELD_OUT[0][:1], size)
        known = Knowledge(pathways, noisy(competition.effects.iloc[2:], 0.1))
        model = KINDS[kind](known, **options)
        fitted = list(fit_each(model, folds_of(one)))
        assert not hasattr(model, "networks_")
        assert len({id(network) for part in fitted for network in part.networks_}) == 3 * members
        found.append([everything(part, names) for part in fitted])
        histories.append(fitted[0].history_)
    (first, *others), (again, *changed) = found
    assert same(first, again)
    assert not any(map(same, others, changed))  # both others learn from the row
    # How long it goes on without a gain is up to the others.
    one, other = histories
    assert len(one.merge(other)) == min(len(one), len(other)) > 0


def with_cells(competition, folder, extra):
    """The competition with cells beside it, where `extra` is added to the counts of P0."""
    random, genes = np.random.default_rng(0), len(competition.genes)
    names = [*np.repeat(competition.effects.index, 3), *[CONTROL] * 12]
    counts = random.poisson(4, (len(names), genes))
    counts[:3] += extra
    obs = pd.DataFrame({"sgrna_symbol": names, "batch": ["a", "b"] * (len(names) // 2)})
    measured = pd.DataFrame({"competition": True}, competition.genes)
    folder.mkdir()
    return replace(competition, cells=write_cells(folder / "cells.h5ad", counts, obs, measured))


@pytest.mark.parametrize("draws", [0, 2])
def test_no_fold_sees_cells_of_a_row_that_it_holds_out(draws, data, tmp_path):
    competition, pathways = data
    found = []
    for extra in (0, np.arange(12) * 20):
        one = with_cells(competition, tmp_path / f"{np.sum(extra)}", extra)
        options = {"policy": "competition", "members": 1, "tuning": LEARN, "draws": draws}
        model = vae.VAE(Knowledge(pathways), size=WIDE, **options)
        fitted = fit_each(model, folds_of(one))
        found.append([everything(part, ["P0", "P6", "X1"]) for part in fitted])
    (first, *others), (again, *changed) = found
    assert same(first, again)
    assert not any(map(same, others, changed))


@pytest.mark.parametrize("kind", KINDS)
def test_folds_side_by_side_end_near_what_each_learns_alone(kind, tmp_path):
    competition, pathways = planted(tmp_path, genes=30)
    held_out = [[f"P{i}" for i in range(12)], [f"P{i}" for i in range(12, 24)]]
    trains = folds_of(competition, held_out)[:2]
    options = {"policy": "competition", "tuning": SOME}
    if kind == "VAE":
        options |= {"size": WIDE, "tuning": LONG}

    def make():
        return KINDS[kind](Knowledge(pathways), **options)

    together = list(fit_each(make(), trains))
    for part, train, names in zip(together, trains, held_out, strict=True):
        alone = make().fit(train)
        shifts = [unshrunk(one).logit_shift(names).stack() for one in (part, alone)]
        truth = (competition.effects.loc[names] - train.effects.mean()).stack()
        predictions = [one.predict(names).stack() for one in (part, alone)]
        assert shifts[0].corr(shifts[1]) > 0.9
        assert predictions[0].corr(predictions[1]) > 0.9
        near, single = (shift.corr(truth) for shift in shifts)
        assert near > 0.8
        assert near == pytest.approx(single, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_falls_ill_leaves_the_others_as_they_are(kind, data, monkeypatch):
    """Nor does a network whose parameters are not finite stop what is computed for all."""
    competition, pathways = data
    original, found, settings = Episodes.losses, [], replace(LEARN, every=4)

    def losses(self, stack, terms, random):
        steps.append(len(steps))
        factor = torch.ones(len(stack))
        factor[0] = np.nan if steps[-1] == ill else 1.0
        return factor * original(self, stack, terms, random)

    monkeypatch.setattr(Episodes, "losses", losses)
    for ill in (None, 5):  # of 8 steps, with a check after 4
        steps, model = [], KINDS[kind](Knowledge(pathways), policy="competition", tuning=settings)
        if ill is None:
            model.fit(competition)
        else:
            with pytest.warns(RuntimeWarning, match="network 1 of 3 .* between steps 4 and 8"):
                model.fit(competition)
        states = [list(map(np.asarray, one.state_dict().values())) for one in model.networks_]
        assert all(np.isfinite(part).all() for state in states for part in state)
        assert np.isfinite(model.predict(["P1", "X1"])).all(axis=None)
        found.append(states)
    (_, *others), (_, *beside) = found
    assert all(map(same, others, beside))


class Several(Constant):
    """A constant whose `fit_each` notes how many rows each fit has."""

    def __init__(self):
        self.calls = []

    def fit_each(self, trains):
        self.calls.append([len(train.effects) for train in trains])
        return [Constant().fit(train) for train in trains]

    def fit(self, train):
        raise AssertionError("fitted alone")


def test_folds_are_fitted_in_one_call_where_a_model_can(data):
    competition, _ = data
    for wrap in (lambda model: model, OnTargetGene):
        model, several = wrap(Constant()), Several()
        found = out_of_fold(wrap(several), competition, HELD_OUT)
        assert several.calls == [[19, 16]]
        wanted = out_of_fold(model, competition, HELD_OUT)
        pd.testing.assert_frame_equal(found.prediction, wanted.prediction, check_exact=True)
        assert not hasattr(model, "effect_")  # other models are copied, and stay as they are
        assert found.seconds > 0
    models = list(fit_each(Mean(), folds_of(competition)))
    assert len(set(map(id, models))) == 3
    for one, train in zip(models, folds_of(competition), strict=True):
        np.testing.assert_array_equal(one.effect_, train.effects.mean())


def test_the_fit_on_all_rows_is_one_of_the_same_call(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(tmp_path))
    competition, _ = data
    splits = [HELD_OUT, [HELD_OUT[1], HELD_OUT[0]]]
    for run, calls in ((None, [[19, 16, 16, 19]]), ("x", [[19, 16, 16, 19, 24]])):
        several = Several()
        recorder = run and Run(run, competition)
        models = {"constant": OnTargetGene(several)}
        _, runs = compare(models, competition, splits, reference=None, run=recorder)
        assert several.calls == calls
        assert len(runs["constant"]) == 2
    wanted = OnTargetGene(Constant()).fit(competition).predict(["X1"])
    pd.testing.assert_frame_equal(recorder.tests["constant"], wanted, check_exact=True)
    for found, split in zip(runs["constant"], splits, strict=True):
        once = out_of_fold(OnTargetGene(Constant()), competition, split)
        pd.testing.assert_frame_equal(found.prediction, once.prediction, check_exact=True)


def test_a_model_that_fails_on_one_fold_is_a_row_of_the_table(data):
    class Failing(Constant):
        def fit_each(self, trains):
            for place, train in enumerate(trains):
                if place == 1:
                    raise ValueError("no luck")
                yield Constant().fit(train)

    models = {"failing": OnTargetGene(Failing()), "constant": Constant()}
    with pytest.warns(UserWarning, match="failing failed: ValueError: no luck"):
        table, runs = compare(models, data[0], HELD_OUT)
    assert list(runs) == ["constant"]
    assert table.at["failing", "failed"] == "ValueError: no luck"


def test_members_that_cannot_share_a_computation_are_trained_in_turn(data):
    """One row is too few to leave any out: such a fold has one member, another has two."""
    competition, pathways = data
    options = {"policy": "competition", "members": 2, "tuning": LEARN}
    few = competition.subset(competition.effects.index[:2])
    found = Trained(linear, Knowledge(pathways), **options).fit_each([few, competition])
    assert [len(one.networks_) for one in found] == [1, 2]
    alone = Trained(linear, Knowledge(pathways), **options).fit(few)
    assert same(everything(found[0], ["P5"]), everything(alone, ["P5"]))
    assert found[0].shrinkage_ == 0
