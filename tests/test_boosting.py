"""Trees on pathways: planted and shuffled knowledge, LightGBM's own settings, unknown knockdowns."""

import numpy as np
import pandas as pd
import pytest
from small_planted import gains, planted

from kit.knowledge import Knowledge
from kit.models import ComponentTrees, GeneTrees, PooledTrees

FAMILIES = [GeneTrees, ComponentTrees, PooledTrees]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_effect_of_pathway_members_is_found(tmp_path, family):
    competition, pathways = planted(tmp_path)
    trees, constant = gains(family(Knowledge(pathways), jobs=1), competition)
    assert trees > constant + 5


@pytest.mark.parametrize("family", FAMILIES)
def test_shuffled_pathways_gain_nothing(tmp_path, family):
    differences = []
    for seed in range(3):
        competition, pathways = planted(tmp_path, seed=seed, shuffle=True)
        trees, constant = gains(family(Knowledge(pathways), jobs=1), competition)
        differences.append(trees - constant)
    assert np.mean(differences) < 2


def test_the_settings_of_lightgbm_itself_leave_plain_constants(tmp_path):
    from lightgbm import LGBMRegressor

    competition, pathways = planted(tmp_path)
    names = competition.effects.index
    features = pathways.one_hot(names).to_numpy(dtype=float)
    labels = competition.effects["G0"].to_numpy()
    plain = LGBMRegressor(verbosity=-1, num_threads=1).fit(features, labels).predict(features)
    assert np.ptp(plain) < 1e-12
    fitted = GeneTrees(Knowledge(pathways), jobs=1).fit(competition).predict(names)
    assert (fitted.std() > 1e-6).mean() > 0.9


def test_the_number_of_processes_changes_nothing(tmp_path):
    competition, pathways = planted(tmp_path, genes=150)
    one, two = (
        GeneTrees(Knowledge(pathways), jobs=jobs).fit(competition).predict(["P1"])
        for jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize("family", FAMILIES)
def test_order_of_rows_means_nothing(tmp_path, family):
    competition, pathways = planted(tmp_path, rows=24, genes=20)
    names = np.random.default_rng(0).permutation(competition.effects.index)
    first, second = (
        family(Knowledge(pathways), jobs=1).fit(train).predict(["P3", "P0"])
        for train in (competition, competition.subset(names))
    )
    pd.testing.assert_frame_equal(first, second, check_names=False, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_fifteen_rows_are_enough(tmp_path, family):
    competition, pathways = planted(tmp_path, rows=15, modules=4, genes=20)
    options = {} if family is PooledTrees else {"parts": 3}
    model = family(Knowledge(pathways), jobs=1, **options).fit(competition)
    assert np.isfinite(model.predict(["P1", "X1"])).to_numpy().all()
    assert np.isfinite(model.residuals_).to_numpy().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_residuals_are_those_of_rows_not_seen(tmp_path, family):
    competition, pathways = planted(tmp_path, rows=36, shuffle=True)
    options = {} if family is PooledTrees else {"parts": 4}
    model = family(Knowledge(pathways), jobs=1, **options).fit(competition)
    seen = competition.effects - model.predict(competition.effects.index)
    unseen = model.residuals_
    assert list(unseen.index) == list(competition.effects.index)
    assert unseen.abs().to_numpy().mean() > 1.01 * seen.abs().to_numpy().mean()


def test_effects_of_pathways_add_up_to_the_prediction(tmp_path):
    competition, pathways = planted(tmp_path)
    model = GeneTrees(Knowledge(pathways), jobs=1).fit(competition)
    features = pathways.one_hot(["P1", "P2"])[model.pathways_]
    expected = features.to_numpy(dtype=float) @ model.pathway_effects_.to_numpy()
    expected = expected + model.constant_.effect_.to_numpy() + model.offset_
    np.testing.assert_allclose(model.predict(["P1", "P2"]), expected)
    assert model.residuals_ is None
