"""The autoencoder finds sparse shifts that are there, and none that are not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_planted import gains, killed, planted

from kit.competition import CONTROL, load_competition
from kit.knowledge import Knowledge, load_pathways
from kit.networks import cells as cells_module
from kit.networks.cells import Cells
from kit.networks.context import Context
from kit.networks.sparse_shift import Size, SparseShift
from kit.networks.training import Settings, train
from kit.networks.vae import VAE
from kit.screens.atlas import Atlas

SMALL = Size(latent=8, hidden=16, features=16, samples=8, cells=32)
QUICK = Settings(steps=30, rate=1e-2, every=10)
LONG = Settings(steps=120, rate=2e-2, every=10)


def small(pathways, atlas=None, **options):
    options = {"size": SMALL, "tuning": QUICK, "pretraining": QUICK} | options
    return VAE(Knowledge(pathways, atlas), **options)


def an_atlas(competition, effects, folder, dataset="other"):
    """A screen of these effects without standard errors, beside which lie no cells."""
    labels = pd.Index([f"{name}|{dataset}" for name in effects.index])
    obs = pd.DataFrame({"sgrna_symbol": effects.index, "dataset": dataset}, labels)
    return Atlas(effects.set_axis(labels), obs.assign(n_cells=100), None, folder / "responses.h5ad")


def module(genes=30, size=SMALL, held=("A", "B"), width=4):
    """A network alone; features of a perturbation are drawn by its name, of the control 0."""
    torch.manual_seed(0)
    return SparseShift(Drawn(width), list, held, genes, size, {}).eval()


class Drawn:
    """Features of names that nothing is known of but how they are spelled."""

    def __init__(self, width):
        self.width = width

    def __call__(self, names):
        rows = np.zeros((len(names), self.width), dtype=np.float32)
        for row, name in zip(rows, names, strict=True):
            if name != CONTROL:
                row[:] = np.random.default_rng(list(name.encode())).standard_normal(self.width)
        return rows


def evidence(network, values, measured, names, known=None):
    """A network's evidence of cells in all genes; known: of the names, where it is at hand."""
    parts = torch.arange(values.shape[1]), values, measured, measured.sum(dim=1)
    return network.evidence(*parts, *(known or network.known(names)))


def test_the_autoencoder_beats_the_constant_where_pathways_share_effects(tmp_path):
    competition, pathways = planted(tmp_path)
    found, constant = gains(small(pathways, tuning=LONG), competition)
    assert found > constant + 40


def test_shuffled_pathways_neither_gain_nor_cost(tmp_path):
    competition, pathways = planted(tmp_path, shuffle=True, seed=3)
    model = small(pathways, tuning=LONG)
    found, constant = gains(model, competition, held_out=16)
    assert abs(found - constant) < 5
    # Where they hold all, the same steps gain more than 2.
    assert model.fit(competition).shrinkage_curve_.min() > -0.3


def test_five_rows_are_learned_by_heart(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    few = competition.subset(competition.effects.index[:5])
    size, steps = replace(SMALL, forget=0.0), replace(LONG, steps=300)
    model = small(pathways, members=1, size=size, tuning=steps).fit(few)
    context = Context.of(model.priors_, model.rows_.perturbations, model.rows_)
    with torch.no_grad():
        shift, _ = model.networks_[0](context)
    truth = model.rows_.effects - model.rows_.effects.mean(dim=0)
    for one, came in zip(shift, truth, strict=True):
        assert np.corrcoef(one, came)[0, 1] > 0.8


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    atlas = an_atlas(competition, competition.effects, tmp_path)
    whole = small(pathways, atlas).fit(competition).logit_shift(["P1"])
    fitted = small(pathways, atlas, checkpoints=tmp_path / "kept")
    # In the competition's first member.
    killed(monkeypatch, SparseShift, 45, lambda: fitted.fit(competition))
    assert len(list((tmp_path / "kept").glob("*.pt"))) == 2
    resumed = small(pathways, atlas, checkpoints=tmp_path / "kept").fit(competition)
    pd.testing.assert_frame_equal(whole, resumed.logit_shift(["P1"]), check_exact=True)


def test_what_a_perturbation_did_by_itself_in_a_screen_is_predicted_beyond_its_pathway(tmp_path):
    competition, pathways = planted(tmp_path, noise=0.2)
    module_of = np.arange(48) % 6
    few, held_out = competition.effects.index[:24], competition.effects.index[24:]
    alone = competition.effects - competition.effects.groupby(module_of).transform("mean")
    fit = {}
    for kind, names in {"seen": competition.effects.index, "not seen": few}.items():
        atlas = an_atlas(competition, competition.effects.loc[names], tmp_path)
        model = small(pathways, atlas, policy="screens", pretraining=LONG)
        shift = model.fit(competition.subset(few)).logit_shift(held_out)
        shift = shift - shift.groupby(module_of[24:]).transform("mean")
        # Members of a module that are not seen are predicted the same.
        fit[kind] = np.sum(shift.to_numpy() * alone.loc[held_out].to_numpy())
    assert fit["seen"] > 5 * abs(fit["not seen"])


def test_all_numbers_are_single_precision():
    network = module()
    kinds = {value.dtype for value in network.state_dict().values()}
    assert kinds == {torch.float32}
    values = torch.randn(6, 30)
    bound = evidence(network, values, torch.ones_like(values), ["A"] * 6)
    assert bound.shape == ()
    assert bound.dtype == torch.float32


def test_genes_that_are_not_measured_teach_nothing():
    network, names = module(), ["A", "B", "C", CONTROL]
    measured = torch.ones(4, 30)
    measured[:, :7] = 0
    values = torch.randn(4, 30) * measured
    evidence(network, values, measured, names).backward()
    assert not network.outer.grad[:7].any()
    assert not network.log_noise.grad[:7].any()
    assert network.outer.grad[7:].any()


def test_the_decoders_mean_is_taken_over_states_not_at_their_mean():
    network = module(size=replace(SMALL, samples=512))
    shift = torch.tensor([[2.0, 0, 0, 0, -1, 0, 0, 0]])
    with torch.no_grad():
        found = network.moved(shift)[0]
        slow = [network.hidden(one + shift[0]) - network.hidden(one) for one in network.states]
        at_mean = network.hidden(shift[0]) - network.hidden(torch.zeros(8))
    torch.testing.assert_close(found, torch.stack(slow).mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:8], shift[0])  # the linear part moves by the shift itself
    assert (found[8:] - at_mean[8:]).abs().max() > 0.05
    torch.testing.assert_close(network.states.mean(dim=0), torch.zeros(8), atol=1e-6, rtol=0)


def test_a_shut_gate_lets_nothing_through_and_an_open_one_all():
    network = module()
    with torch.no_grad():
        network.own[:] = 1.0
        network.gate.bias[:] = torch.tensor([5.0, -5.0] * 4)
    network.gate.weight.data[:] = 0
    known, own = network.known(["A"])
    assert network.shift(known, own)[0].tolist() == [1.0, 0.0] * 4
    assert network.shift(known).abs().max() == 0
    assert network.shift(*network.known([CONTROL])).abs().max() == 0
    chance = network.open(known)[0]
    assert (chance[::2] > 0.99).all()
    assert (chance[1::2] < 0.01).all()


def test_the_more_sparsity_weighs_the_fewer_gates_are_open(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    names, shares = list(competition.effects.index), []
    for sparsity in (0.0, 0.3, 10.0):
        size = replace(SMALL, sparsity=sparsity)
        model = small(pathways, members=1, size=size, tuning=LONG).fit(competition)
        network = model.networks_[0]
        shares.append(network.open(network.known(names)[0]).mean().item())
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.1


def test_shifts_that_cells_have_are_found_in_cells():
    random, names = np.random.default_rng(0), np.repeat(["A", "B", CONTROL], 60)
    moved = {"A": random.normal(0, 1, 30), "B": random.normal(0, 1, 30), CONTROL: np.zeros(30)}
    states = random.normal(size=(180, 2)) @ random.normal(size=(2, 30))  # what all cells vary by
    values = np.array([moved[name] for name in names]) + states + random.normal(size=(180, 30))
    values, measured = torch.tensor(values, dtype=torch.float32), torch.ones(180, 30)
    network = module(size=replace(SMALL, forget=0.0))

    known = network.known(list(names))

    def loss(stack, step, random):
        return stack.map(lambda network: -evidence(network, values, measured, names, known))

    train([network], loss, Settings(steps=300, rate=1e-2))
    with torch.no_grad():
        moved_by = network.moved(network.shift(*network.known(["A", "B"]))) @ network.outer.T
        right = evidence(network, values, measured, list(names))
        wrong = evidence(network, values, measured, list(np.roll(names, 60)))
    for name, one in zip("AB", moved_by, strict=True):
        assert np.corrcoef(one, moved[name])[0, 1] > 0.9
    assert right > wrong + 0.1


def test_cells_are_read_and_learned_from(twin):
    competition = load_competition(twin)
    pathways = load_pathways(folder=competition.source)
    steps = Settings(steps=4, every=2)
    model = small(pathways, tuning=steps).fit(competition)
    assert isinstance(model.cells_["competition"], Cells)
    assert not [line for line in model.remarks_ if "cells" in line]
    blind = small(pathways, tuning=steps, size=replace(SMALL, evidence=0.0)).fit(competition)
    assert blind.cells_ == {}
    assert (model.history_["loss"] != blind.history_["loss"]).all()


def test_without_anndata_rows_stand_in_for_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "find_spec", lambda name: None)
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways).fit(competition)
    assert any("no anndata" in line for line in model.remarks_)
    assert np.isfinite(model.predict(["P1"]).to_numpy()).all()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows_is_enough_to_run(tmp_path, rows):
    competition, pathways = planted(tmp_path, rows=24)
    few = competition.subset(competition.effects.index[:rows])
    assert np.isfinite(small(pathways).fit(few).predict(["P20"]).to_numpy()).all()
