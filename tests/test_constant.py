"""Constant models: the floors, the metric-optimal row, the knocked-down gene itself."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kit import load_competition, score, wmae
from kit.models import Constant, Mean, OnTargetGene, Zero, baselines
from kit.models.baselines import weighted_median


@pytest.fixture(scope="module")
def competition(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        return load_competition(twin)


def planted(competition, effects, control=None):
    """The twin's competition with other effects and even weights."""
    control = competition.control if control is None else control
    return replace(competition, effects=effects, weights=effects * 0 + 1.0, control=control)


def summed_log_error(train, effect):
    error = wmae(train.effects, effect, train.weights)
    floor = 0.1 * wmae(train.effects, train.effects.mean(), train.weights).median()
    return np.log(error + floor).sum()


def test_mean_and_zero_say_the_same_for_every_perturbation(competition):
    names = list(competition.targets["perturbation"])
    mean = Mean().fit(competition).predict(names)
    assert list(mean.index) == names
    assert list(mean.columns) == list(competition.genes)
    np.testing.assert_array_equal(mean.to_numpy()[0], competition.effects.mean().to_numpy())
    assert (mean.to_numpy() == mean.to_numpy()[0]).all()
    assert (Zero().fit(competition).predict(names).to_numpy() == 0).all()


def test_the_weighted_median_of_each_column_by_hand():
    values = pd.DataFrame(
        {"a": [3.0, 1.0, 2.0], "b": [1.0, 2.0, 9.0], "c": [0.0, 4.0, 8.0], "d": [1.0, 2.0, 6.0]}
    )
    weights = pd.DataFrame(
        {"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 5.0], "c": [1.0, 1.0, 2.0], "d": [0.0] * 3}
    )
    median = weighted_median(values, weights)
    assert median.to_dict() == {"a": 2.0, "b": 9.0, "c": 6.0, "d": 3.0}


def test_the_weighted_median_minimises_the_weighted_error():
    random = np.random.default_rng(0)
    values = pd.DataFrame(random.normal(size=(9, 40)))
    weights = pd.DataFrame(random.exponential(size=(9, 40)))
    best = weighted_median(values, weights)

    def loss(row):
        return (weights * (values - row).abs()).sum()

    for candidate in values.to_numpy():
        assert (loss(best) <= loss(pd.Series(candidate)) + 1e-12).all()


def test_the_constant_beats_mean_and_zero_and_every_nudge_on_what_it_minimises(competition):
    best = Constant().fit(competition).effect_
    loss = summed_log_error(competition, best)
    assert loss < summed_log_error(competition, competition.effects.mean()) - 1
    assert loss < summed_log_error(competition, best * 0)
    random = np.random.default_rng(1)
    for step in (1e-3, 1e-2, 1e-1):
        for _ in range(5):
            nudged = best + step * random.normal(size=len(best))
            assert loss <= summed_log_error(competition, nudged)


def test_one_row_that_can_be_hit_exactly_does_not_swallow_the_rest(competition):
    names, genes = list("abcdef"), [f"G{i}" for i in range(30)]
    random = np.random.default_rng(2)
    effects = pd.DataFrame(1.0 + 0.1 * random.normal(size=(6, 30)), names, genes)
    effects.loc["a"] = 0.0
    effect = Constant().fit(planted(competition, effects)).effect_
    assert effect.mean() > 0.9


def test_the_own_gene_finds_planted_escapers_and_thinning(competition):
    random = np.random.default_rng(3)
    names = [f"G{i}" for i in range(40)]
    control = pd.Series(random.uniform(0.2, 6, 40), names)
    drop = (1 - 0.2) * (np.log2(1 + 0.15 * (2**control - 1)) - control)
    effects = pd.DataFrame(np.diag(drop), names, names)
    model = OnTargetGene(Zero()).fit(planted(competition, effects.iloc[:30], control))
    assert model.escaped_ == pytest.approx(0.2, abs=0.011)
    assert model.kept_ == pytest.approx(0.15, abs=0.011)
    prediction = model.predict(names[30:])
    own = pd.Series({name: prediction.at[name, name] for name in names[30:]})
    np.testing.assert_allclose(own, drop[30:], atol=0.05)
    assert (prediction.to_numpy() != 0).sum() == 10  # nothing but the own genes is touched
    fraction = OnTargetGene(Zero(), shape="fraction").fit(
        planted(competition, effects.iloc[:30], control)
    )

    def rest(model):
        return sum((model.predict([n]).at[n, n] - drop[n]) ** 2 for n in names[30:])

    assert rest(model) < rest(fraction)


def test_the_own_gene_never_falls_below_what_is_there(competition):
    model = OnTargetGene(Mean()).fit(competition)
    names = list(competition.targets["perturbation"])
    prediction = model.predict(names)
    own = [name for name in names if name in prediction.columns]
    assert own
    for name in own:
        assert -competition.control[name] <= prediction.at[name, name] <= 0
    for name in set(names) - set(own):
        np.testing.assert_array_equal(prediction.loc[name], Mean().fit(competition).effect_)


def test_a_gene_that_is_not_expressed_neither_teaches_nor_changes(competition):
    names = ["x", "y", "d"]
    control = pd.Series({"x": 4.0, "y": 0.0, "d": 0.0})
    effects = pd.DataFrame(np.diag([-4.0, 3.0, 3.0]), names, names)
    model = OnTargetGene(Mean()).fit(planted(competition, effects, control))
    assert (model.escaped_, model.kept_) == (0.0, 0.0)  # learned from x alone, whose cells lose all
    np.testing.assert_array_equal(model.predict(["d"]).loc["d"], effects.mean())


def test_without_any_own_gene_to_learn_from_the_base_prediction_stays(competition):
    names, genes = list("abc"), ["x", "y", "d"]
    effects = pd.DataFrame(np.arange(9.0).reshape(3, 3), names, genes)
    model = OnTargetGene(Mean()).fit(planted(competition, effects, pd.Series(1.0, genes)))
    np.testing.assert_array_equal(model.predict(["d"]).loc["d"], effects.mean())


def test_the_mean_scores_zero_and_the_constant_does_not_on_the_training_rows(competition):
    names = competition.effects.index
    base = wmae(competition.effects, competition.effects.mean(), competition.weights)
    mean = Mean().fit(competition).predict(names)
    assert score(competition.effects, mean, competition.weights, base).score == 0
    best = Constant().fit(competition).predict(names)
    assert score(competition.effects, best, competition.weights, base).w > 0


def test_models_of_one_competition_share_the_fit_and_no_frames(competition, monkeypatch):
    train, fitted = replace(competition), []
    monkeypatch.setattr(baselines, "wmae", lambda *args: fitted.append(1) or wmae(*args))
    one, calls = Constant().fit(train), len(fitted)
    other = Constant().fit(train)
    assert len(fitted) == calls > 0
    pd.testing.assert_series_equal(one.row_weights_, other.row_weights_)
    one.effect_ += 1.0
    assert (one.effect_ - other.effect_ > 0.9).all()
    Constant().fit(replace(train))
    assert len(fitted) == 2 * calls


def test_what_is_kept_for_a_competition_goes_with_it(competition):
    train, made = replace(competition), []
    kept = baselines.once_each(lambda one: made.append(1) or one.effects.shape)
    assert kept(train) == kept(train) == competition.effects.shape
    assert len(made) == 1
    gone = weakref.ref(train)
    del train
    gc.collect()
    assert gone() is None


def test_effects_changed_in_place_are_fitted_anew(competition):
    train = replace(
        competition, effects=competition.effects.copy(), weights=competition.weights.copy()
    )
    before = Constant().fit(train).effect_
    train.effects.iloc[:] *= 2.0
    pd.testing.assert_series_equal(Constant().fit(train).effect_, 2 * before, rtol=0.05)
    train.weights.iloc[:5] = 0.0
    assert not Constant().fit(train).error_.iloc[:5].any()
