"""Transfer from other screens: the same knockdown, its neighbours there, and held-out truth kept out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_planted import atlas_of, gains, noisy, planted
from threadpoolctl import threadpool_limits

from kit import InputError, load_competition
from kit.knowledge import Knowledge
from kit.models import Constant, OnTargetGene, ScreenResponse, reference_models
from kit.models.transfer import Transfer


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are small here: on a busy machine threads would wait for each other."""
    with threadpool_limits(1):
        yield


def test_responses_of_the_same_knockdown_are_found(tmp_path):
    """Knockdowns that are like no other: only their own response tells."""
    competition, _ = planted(tmp_path, modules=48)
    transfer, constant = gains(
        Transfer(Knowledge(None, noisy(competition.effects, 0.1)), share=0.2), competition
    )
    assert transfer > constant + 10


def test_responses_of_pathway_neighbours_are_found(tmp_path):
    competition, pathways = planted(tmp_path)
    others = competition.effects.iloc[:-10]  # none of the held-out rows is in the atlas
    transfer, constant = gains(Transfer(Knowledge(pathways, noisy(others, 0.2))), competition)
    assert transfer > constant + 10


def test_shuffled_labels_of_the_atlas_gain_nothing(tmp_path):
    differences = []
    for seed in range(4):
        competition, _ = planted(tmp_path, seed=seed)
        effects = competition.effects
        mixed = effects.sample(frac=1, random_state=seed).set_axis(effects.index)
        transfer, constant = gains(Transfer(Knowledge(None, noisy(mixed, 0.1))), competition)
        differences.append(transfer - constant)
    assert np.mean(differences) < 2


def test_covered_and_uncovered_perturbations_have_an_expert_each(tmp_path):
    competition, pathways = planted(tmp_path, rows=20, genes=10, modules=4)
    atlas = noisy(competition.effects.iloc[:15], 0.2)
    model = Transfer(Knowledge(pathways, atlas)).fit(competition)
    names = ["P19", "P3", "NOWHERE", "X1"]
    prediction = model.predict(names)
    assert list(prediction.index) == names
    assert {flag: expert.exclude_own_response for flag, expert in model.experts_.items()} == {
        True: False,
        False: True,
    }
    scenarios, apart = model.distributions(names)
    assert list(scenarios.perturbations) == list(apart.perturbations) == names
    for expert, one in ((True, "P3"), (False, "P19")):
        alone, _ = model.experts_[expert].distributions([one])
        np.testing.assert_allclose(scenarios.rows.loc[one], alone.rows.loc[one])


def test_only_the_experts_that_are_asked_for_are_fitted(tmp_path):
    competition, pathways = planted(tmp_path, rows=20, genes=10, modules=4)
    knowledge = Knowledge(pathways, noisy(competition.effects.iloc[:15], 0.2))
    every = Transfer(knowledge).fit(competition)
    for names, expert in ((["P3", "P4"], True), (["P19", "NOWHERE"], False)):
        model = Transfer(knowledge).fit(competition, names)
        assert list(model.experts_) == [expert]
        pd.testing.assert_frame_equal(model.predict(names), every.predict(names))


def test_without_pathways_an_uncovered_perturbation_gets_the_constant(tmp_path):
    competition, _ = planted(tmp_path, rows=20, genes=10, modules=4)
    atlas = noisy(competition.effects.iloc[:15], 0.2)
    model = Transfer(Knowledge(None, atlas)).fit(competition)
    prediction = model.predict(["P19", "P3"])
    np.testing.assert_array_equal(prediction.loc["P19"], Constant().fit(competition).effect_)
    # What is said of the others does not suffer from it.
    assert np.isfinite(prediction).to_numpy().all()
    assert np.corrcoef(prediction.loc["P3"], competition.effects.loc["P3"])[0, 1] > 0.5


def test_genes_that_a_screen_did_not_measure_do_no_harm(tmp_path):
    competition, _ = planted(tmp_path, modules=12)
    atlas = noisy(competition.effects, 0.1)
    gaps = atlas.effects.copy()
    gaps.iloc[:, :30] = np.nan
    gaps.iloc[::3, 40:50] = np.nan
    atlas = atlas_of(gaps.to_numpy(), atlas.obs["sgrna_symbol"])
    atlas.effects.columns = competition.genes
    transfer, constant = gains(Transfer(Knowledge(None, atlas)), competition)
    assert transfer > constant + 5


def test_reference_models_use_the_knowledge_that_there_is(tmp_path):
    competition, pathways = planted(tmp_path)
    atlas = noisy(competition.effects, 0.1)
    known = {"none": None, "empty": Knowledge(), "pathways": Knowledge(pathways)}
    known["both"] = Knowledge(pathways, atlas)
    found = {name: reference_models(each, seed=7) for name, each in known.items()}
    assert list(found["none"]) == list(found["empty"]) == ["mean", "constant"]
    assert list(found["pathways"]) == ["mean", "constant", "neighbours", "transfer"]
    screens = ["screen response", "screen response, scaled"]
    assert list(found["both"]) == ["mean", "constant", "neighbours, atlas", "transfer", *screens]
    for models in found.values():
        fitted = [one for name, one in models.items() if name not in ("mean", *screens)]
        assert all(isinstance(one, OnTargetGene) for one in fitted)
    assert found["both"]["transfer"].base.seed == 7
    assert found["both"]["neighbours, atlas"].base.knowledge is known["both"]


def test_the_screen_response_is_the_screens_mean_and_response_whatever_the_competition(tmp_path):
    competition, _ = planted(tmp_path)
    names = list(competition.effects.index[:6])
    one = noisy(competition.effects, 0.05)
    knowledge = Knowledge(None, one)
    plain = ScreenResponse(knowledge).fit(competition)
    want = one.effects.set_axis(one.obs["sgrna_symbol"].astype(str)).loc[names]
    np.testing.assert_allclose(plain.predict(names), want, atol=1e-6)
    unknown = plain.predict(["NOBODY"]).loc["NOBODY"]
    np.testing.assert_allclose(unknown, one.effects.mean(), atol=1e-6)
    other = replace(competition, effects=competition.effects * -3)
    again = ScreenResponse(knowledge).fit(other).predict(names)
    pd.testing.assert_frame_equal(again, plain.predict(names))
    assert ScreenResponse(knowledge, scaled=True).fit(competition).scale_ == 1  # one screen alone
    with pytest.raises(InputError, match="needs an atlas"):
        ScreenResponse().fit(competition)


def test_the_scale_of_the_screen_response_is_the_slope_between_screens(tmp_path):
    competition, _ = planted(tmp_path)
    one = noisy(competition.effects, 1e-6)
    half = replace(
        one,
        effects=0.5 * one.effects.set_axis([f"{name}b" for name in one.effects.index]),
        obs=one.obs.assign(dataset="half").set_axis([f"{name}b" for name in one.obs.index]),
        se=None,
    )
    both = replace(
        one,
        effects=pd.concat([one.effects, half.effects]),
        obs=pd.concat([one.obs.astype(object), half.obs.astype(object)]),
        se=None,
    )
    scale = ScreenResponse(Knowledge(None, both), scaled=True).fit(competition).scale_
    # Pairs (x, x / 2) and (x / 2, x): slope (1/2 + 1/2) / (1 + 1/4).
    assert scale == pytest.approx(0.8, abs=1e-3)


def test_two_screens_of_which_one_is_noise_are_better_than_none(tmp_path):
    competition, _ = planted(tmp_path, modules=12)
    good, bad = noisy(competition.effects, 0.1), noisy(competition.effects, 1.0, seed=1)
    effects = pd.concat([good.effects, bad.effects])
    symbols = [*good.obs["sgrna_symbol"], *bad.obs["sgrna_symbol"]]
    rows = len(good.effects)
    se = np.repeat([0.1, 1.0], rows)[:, None] * np.ones(effects.shape)
    atlas = atlas_of(effects.to_numpy(), symbols, datasets=np.repeat(["a", "b"], rows), se=se)
    atlas.effects.columns = atlas.se.columns = competition.genes
    transfer, constant = gains(Transfer(Knowledge(None, atlas)), competition)
    assert transfer > constant + 10


@pytest.mark.filterwarnings("ignore:.*SIMULATED")
def test_on_the_twin_knowledge_helps_and_shuffled_knowledge_does_not(twin, tmp_path):
    from kit.knowledge import load_pathways
    from kit.twin import simulate

    found = {}
    for name, folder in {"true": twin, "null": simulate(tmp_path / "null", null=True)}.items():
        competition = load_competition(folder)
        pathways = load_pathways(folder=folder, download=False)
        transfer, constant = gains(Transfer(Knowledge(pathways)), competition, held_out=15)
        found[name] = transfer - constant
    assert found["null"] < 1.5
    assert found["true"] > 1
