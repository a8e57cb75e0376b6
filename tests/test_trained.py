"""What the networks share, by a small linear network on pathway knowledge."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
import torch
from small_networks import QUICK, Linear, linear, small
from small_planted import an_atlas, gains, killed, planted

import kit.networks
from kit import InputError, out_of_fold
from kit.io import locate
from kit.knowledge import Knowledge
from kit.models import Constant
from kit.networks.episodes import Episodes
from kit.networks.gnn import GNN
from kit.networks.losses import LossWeights
from kit.networks.stack import device
from kit.networks.trained import SHRINKAGES, Trained
from kit.networks.training import Settings
from kit.networks.transformer import Transformer
from kit.networks.vae import VAE
from kit.networks.variant_comparison import variants


def test_a_network_beats_the_constant_where_pathways_share_effects(tmp_path):
    competition, pathways = planted(tmp_path)
    found, constant = gains(small(pathways), competition)
    assert found > constant + 20


def test_the_network_of_the_docstring_is_a_model_as_any_other(tmp_path):
    example = dedent(kit.networks.__doc__.split("::")[1]).split("model = ")[0]
    exec(example, names := {"torch": torch})
    competition, pathways = planted(tmp_path)
    knowledge, options = Knowledge(pathways), {"policy": "competition", "tuning": QUICK}
    model = Trained(names["KernelMean"], knowledge, **options)
    found, constant = gains(model, competition)
    assert found > constant + 20
    prediction = model.fit(competition).predict(["P1", "NOBODY", "X1"])
    pd.testing.assert_frame_equal(prediction, model.predict(["P1", "NOBODY", "X1"]))
    assert list(prediction.columns) == list(competition.genes)
    np.testing.assert_array_equal(prediction.loc["NOBODY"], Constant().fit(competition).effect_)
    assert not np.allclose(prediction.loc["P1"], prediction.loc["NOBODY"])
    screens = Trained(names["KernelMean"], Knowledge(pathways, an_atlas(competition)), **options)
    variant = variants(screens, competition)["pretrain"].fit(competition)
    assert set(variant.history_["stage"]) == {"screens", "competition"}


def test_a_module_that_fails_is_an_error_of_one_fit_and_not_of_the_next(tmp_path):
    competition, pathways = planted(tmp_path, rows=18)

    class Broken(Linear):
        def forward(self, context):
            return super().forward(context)[0]

    with pytest.raises(InputError, match="Broken"):
        small(pathways, make_module=partial(linear, kind=Broken)).fit(competition)
    assert small(pathways).fit(competition).networks_


def test_a_network_that_finds_nothing_is_shrunk_to_nothing(tmp_path):
    competition, pathways = planted(tmp_path, shuffle=True, seed=3)
    model = small(pathways).fit(competition)
    assert model.shrinkage_ <= 0.25
    assert model.shrinkage_curve_[0.0] == pytest.approx(0, abs=1e-6)


def test_at_a_shrinkage_of_0_the_prediction_is_the_constants(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways).fit(competition)
    model.shrinkage_ = 0.0
    found, constant = model.predict(["P1"]), Constant().fit(competition).effect_
    np.testing.assert_array_equal(found.loc["P1"], constant)


def test_a_screen_teaches_what_few_rows_do_not(tmp_path):
    competition, pathways = planted(tmp_path, noise=0.2)
    few, atlas = competition.subset(competition.effects.index[:8]), an_atlas(competition)
    held_out = competition.effects.index[-16:]
    truth, scores = competition.effects.loc[held_out].stack(), {}
    for policy in ("competition", "screens", "pretrain"):
        shift = small(pathways, atlas, policy=policy).fit(few).logit_shift(held_out).stack()
        scores[policy] = shift.corr(truth, method="spearman") if shift.std() else 0.0
    assert scores["screens"] > scores["competition"] + 0.1
    assert scores["pretrain"] > scores["competition"] + 0.1


def test_genes_that_a_screen_lacks_change_nothing_by_their_values(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    atlas = an_atlas(competition, lost=["G0", "G1"])
    model = small(pathways, atlas, policy="screens").fit(competition)
    assert np.isfinite(model.history_[["loss", "check"]].to_numpy()).all()
    network = model.networks_[0]
    lost = model.rows_.genes.get_indexer(["G0", "G1"])
    # No gradient reached what only these genes use; weight decay of zeros stays zero.
    assert not network.shift.weight[lost].any()
    assert network.shift.weight.any()


def test_pretraining_is_done_once_for_all_folds(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways, an_atlas(competition), policy="screens")
    names = list(competition.effects.index)
    out_of_fold(model, competition, [names[:12], names[12:]])
    assert len([name for name in model.cache.kept if isinstance(name, str)]) == 1


def test_without_a_screen_there_is_a_remark(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways, policy="pretrain").fit(competition)
    assert "no screen" in model.remarks_[0]


def test_a_network_predicts_in_evaluation_mode(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)

    class Restless(Linear):
        def forward(self, *args):
            assert not self.training or torch.is_grad_enabled()
            return super().forward(*args)

    model = small(pathways, an_atlas(competition), partial(linear, kind=Restless), policy="screens")
    model.fit(competition)
    assert not any(network.training for network in model.networks_)
    pd.testing.assert_frame_equal(model.logit_shift(["P1", "P2"]), model.logit_shift(["P1", "P2"]))


def test_shifts_have_no_mean_over_the_rows(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways).fit(competition)
    model.shrinkage_ = 1.0
    shift = model.logit_shift(competition.effects.index)
    np.testing.assert_allclose(shift.mean(), 0, atol=1e-5)


def test_a_gain_of_few_rows_gives_a_shrinkage_of_0(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    losses = np.zeros((24, 5))
    losses[:, 1:] = np.array([[-0.1, -0.2, -0.3, -0.4]])
    losses[0, 1:] -= 100  # one row gains much, the others lose
    losses[1:, 1:] += 1
    for table, shrinkage in ((losses, 0.0), (np.linspace(0, -1, 5) + np.zeros((24, 1)), 1.0)):
        rows = iter(table.tolist())
        monkeypatch.setattr(
            Episodes,
            "row_losses",
            lambda *args, rows=rows: [[next(rows) for _ in left.effects] for left in args[0].left],
        )
        assert small(pathways).fit(competition).shrinkage_ == shrinkage


def test_an_unknown_policy_is_refused(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    with pytest.raises(InputError, match="policy is `both`, want one of screens"):
        small(pathways, policy="both").fit(competition)


def test_a_killed_fit_goes_on_from_its_checkpoints_to_the_same_prediction(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    whole = small(pathways).fit(competition).logit_shift(["P1"])
    fitted = small(pathways, checkpoints=tmp_path / "kept")
    killed(monkeypatch, Linear, 25, lambda: fitted.fit(competition))
    assert len(list((tmp_path / "kept").glob("*.pt"))) == 1
    resumed = small(pathways, checkpoints=tmp_path / "kept").fit(competition).logit_shift(["P1"])
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


@pytest.mark.parametrize("kind", [partial(Trained, linear), GNN, Transformer, VAE])
def test_a_checkpoint_of_other_knowledge_is_not_taken_up(kind, tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    (tmp_path / "other").mkdir()
    _, shuffled = planted(tmp_path / "other", rows=24, shuffle=True)  # of just as many genes
    screen, other = an_atlas(competition), an_atlas(competition, seed=1)
    settings, files = Settings(steps=2, every=1), []
    for known in ((pathways, screen), (shuffled, screen), (pathways, other), (pathways, screen)):
        options = {"tuning": settings, "pretraining": settings, "checkpoints": tmp_path / "kept"}
        kind(Knowledge(*known), members=1, **options).fit(competition)
        files.append(len(list((tmp_path / "kept").glob("*.pt"))))
    assert files == [2, 4, 6, 6]  # each learns twice, on the screen and on the competition


@pytest.mark.parametrize("mount", ["esg-05-vae", "notebooks/someone/esg-05-vae"])
def test_a_fit_goes_on_from_the_attached_output_of_an_earlier_run(mount, tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    earlier = tmp_path / "input" / mount / "checkpoints"
    whole = small(pathways, checkpoints=earlier).fit(competition).logit_shift(["P1"])
    monkeypatch.setattr(locate, "KAGGLE_INPUT", tmp_path / "input")
    steps = []
    original = Linear.forward

    def counted(self, *args):
        steps.append(self.training)
        return original(self, *args)

    monkeypatch.setattr(Linear, "forward", counted)
    resumed = small(pathways, checkpoints=tmp_path / "working").fit(competition).logit_shift(["P1"])
    assert not any(steps)  # nothing was trained again
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


def test_resampled_cells_have_checkpoints_of_their_own(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    drawn = np.random.default_rng(0).normal(size=(2, *competition.effects.shape))
    monkeypatch.setattr(Trained, "_resampled", lambda self, train: drawn if self.draws else None)
    shift = [
        small(pathways, draws=draws, checkpoints=tmp_path / "kept")
        .fit(competition)
        .logit_shift(["P1"])
        for draws in (0, 2)
    ]
    assert not np.allclose(*shift)


def test_cells_are_resampled_once_for_all_fits_on_the_same_rows(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=18)
    competition, calls = replace(competition, cells=tmp_path / "cells.h5ad"), []

    def resampled(train, draws, *, seed):
        calls.append(len(train.effects))
        return np.stack([train.effects.to_numpy()] * draws)

    monkeypatch.setattr("kit.networks.trained.bootstrap_effects", resampled)
    model = small(pathways, draws=2, tuning=Settings(steps=1), members=1)
    few = competition.subset(competition.effects.index[:8])
    for data in (competition, few, competition, few):
        deepcopy(model).fit(data)
    assert calls == [18, 8]


def test_probabilities_and_masses_sum_to_one(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    distribution = small(pathways).fit(competition).predict_distribution(["P1", "P2"])
    np.testing.assert_allclose(distribution.chances().sum(axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(distribution.masses().sum(axis=2).mean(axis=0), 1, rtol=1e-5)


def test_effects_lie_in_the_bins_that_the_network_learned_them_in(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways).fit(competition)
    model.shrinkage_ = 0.0
    distribution, rows = model.predict_distribution(["P1"]), model.rows_
    values = competition.effects[rows.genes].to_numpy(dtype=np.float32)
    above = values[:, None] > rows.thresholds.numpy()  # (rows, levels, genes)
    # At a shrinkage of 0 a threshold is passed with the gene's own odds, by the rows above it.
    order = competition.genes.get_indexer(rows.genes)
    passed = np.einsum("ga,alg->lg", distribution.chance[order, 0], above)
    wanted = torch.sigmoid(rows.odds).numpy()
    some = above.any(axis=0)
    np.testing.assert_allclose(passed[some], wanted[some], atol=0.03)


def test_gains_under_another_loss_count_from_a_shrinkage_of_0(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    rows = iter(np.random.default_rng(0).normal(0, 9, (24, 1)) - 0.5 * np.array(SHRINKAGES))
    monkeypatch.setattr(
        Episodes,
        "row_losses",
        lambda *args: [[list(next(rows)) for _ in left.effects] for left in args[0].left],
    )
    model = small(pathways, loss=LossWeights(0, 1, 0.2)).fit(competition)
    assert model.shrinkage_ == 1.0  # every row gains as much, however far apart they lie
    np.testing.assert_allclose(model.shrinkage_curve_, -0.5 * np.array(SHRINKAGES))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows_is_enough_to_run(tmp_path, rows):
    competition, pathways = planted(tmp_path, rows=24)
    few = competition.subset(competition.effects.index[:rows])
    prediction = small(pathways).fit(few).predict(["P20"])
    assert np.isfinite(prediction.to_numpy()).all()


def test_the_device_holds_a_tensor():
    assert torch.zeros(1, device=device()).device.type == device().type


def test_one_thing_changes_at_a_time(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    model = small(pathways, an_atlas(competition))
    found = variants(model, replace(competition, cells=tmp_path / "cells.h5ad"))
    assert [one.policy for one in found.values()] == ["screens", "competition", *3 * ["pretrain"]]
    assert [one.draws > 0 for one in found.values()] == [False, False, False, True, False]
    assert [one.loss == LossWeights() for one in found.values()] == [True] * 4 + [False]


def test_without_cells_and_screens_only_the_loss_is_left_to_change(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    found = variants(small(pathways), competition)
    assert list(found) == ["competition", "competition, metric loss"]


def test_variants_learn_from_screens_once_and_leave_the_model_as_it_was(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways, an_atlas(competition))
    found = variants(model, competition)
    for name in ("screens", "pretrain"):
        prediction = found[name].fit(competition).predict(["P1"])
        assert np.isfinite(prediction.to_numpy()).all()
    assert len([name for name in model.cache.kept if isinstance(name, str)]) == 1
    assert model.policy == "competition"
    assert not hasattr(model, "networks_")
