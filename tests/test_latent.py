"""Frames of what an autoencoder has learned are what the network holds."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_planted import planted

from kit.competition import CONTROL
from kit.knowledge import Knowledge, smallest_sets
from kit.networks.cells import Cells
from kit.networks.training import Settings
from kit.networks.vae import VAE, Size


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    competition, pathways = planted(tmp_path_factory.mktemp("planted"))
    size = Size(latent=8, hidden=16, features=16, samples=8, cells=32)
    model = VAE(
        Knowledge(pathways), size=size, members=1, tuning=Settings(steps=120, rate=2e-2, every=10)
    )
    return model.fit(competition.subset(competition.effects.index[:36])), competition, pathways


def test_perturbations_of_a_module_have_the_shift_of_their_module(fitted):
    model, _, _ = fitted
    shift, gates = model.latent_shifts(["P36", "P42", "P37", "NOBODY"])  # 36 and 42: module 0
    np.testing.assert_allclose(shift.loc["P36"], shift.loc["P42"], atol=1e-4)
    assert not np.allclose(shift.loc["P36"], shift.loc["P37"], atol=1e-2)
    assert not shift.loc["NOBODY"].any()
    assert gates.stack().between(0, 1).all()


def test_the_decoder_predicts_held_out_perturbations(fitted):
    model, competition, _ = fitted
    names = list(competition.effects.index[36:])
    found = model.decoded_effects(names)
    assert found.columns.equals(competition.genes)
    fit = [found.loc[name].corr(competition.effects.loc[name]) for name in names]
    assert np.mean(fit) > 0.6


def test_the_state_of_a_cell_does_not_depend_on_its_name(fitted):
    model, competition, _ = fitted
    random, genes = np.random.default_rng(0), len(competition.genes)
    values = random.normal(size=(3, genes)).astype(np.float16)
    values[2] = values[0]
    cells = Cells(
        name="competition",
        values=values,
        perturbation=pd.Categorical([CONTROL, CONTROL, "P1"]),
        measured=torch.ones(genes, dtype=torch.bool),
        spread=torch.ones(genes),
    )
    states = model.cell_states(cells, np.arange(3))
    assert list(states.index) == [CONTROL, CONTROL, "P1"]
    np.testing.assert_allclose(states.iloc[0], states.iloc[2], rtol=1e-5)
    assert not np.allclose(states.iloc[0], states.iloc[1])


def test_perturbations_are_named_by_the_smallest_set_that_three_share(fitted):
    _, _, pathways = fitted
    found = smallest_sets(pathways, ["P0", "P6", "P12", "P1", "P7", "NOBODY"])
    expected = ["module 0"] * 3 + [""] * 3
    pd.testing.assert_series_equal(found, pd.Series(expected, found.index))
    assert (smallest_sets(None, ["P0", "P1", "P2"]) == "").all()
