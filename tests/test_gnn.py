"""The graph network: what it finds, what it must not see, and what carries a prediction."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_planted import an_atlas, gains, killed, planted

from kit.knowledge import Knowledge
from kit.networks.context import Context
from kit.networks.gnn import GNN, GraphNetwork, Shape
from kit.networks.training import Settings

QUICK = Settings(steps=40, rate=1e-2, every=10)
SMALL = Shape(heads=6, rank=16, width=12)


def small(pathways, atlas=None, **options):
    options = {"policy": "competition", "tuning": QUICK, "pretraining": QUICK} | options
    return GNN(Knowledge(pathways, atlas), **{"shape": SMALL} | options)


def test_the_graph_predicts_held_out_perturbations(tmp_path):
    competition, pathways = planted(tmp_path)
    found, constant = gains(small(pathways), competition)
    assert found > constant + 20


def test_a_shuffled_graph_gains_hardly_anything(tmp_path):
    gained = {}
    for shuffle in (False, True):
        competition, pathways = planted(tmp_path, shuffle=shuffle, seed=3)
        gained[shuffle] = -small(pathways).fit(competition).shrinkage_curve_.min()
    assert gained[True] < gained[False] / 10


def test_it_learns_five_rows_by_heart(tmp_path):
    competition, pathways = planted(tmp_path, rows=15, modules=5)
    five = competition.subset(competition.effects.index[:5])
    screen = an_atlas(five)
    settings = Settings(steps=300, rate=1e-2, every=100)
    model = small(pathways, screen, members=1, tuning=settings, batch=2).fit(five)
    assert model.history_["loss"].iloc[-1] < -2


def test_untrained_it_shifts_nothing(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    model = small(pathways, policy="screens").fit(competition)
    assert not model.logit_shift(["P1", "P2"]).to_numpy().any()
    assert "no screen" in model.remarks_[0]


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    whole = small(pathways).fit(competition).logit_shift(["P1"])
    fitted = small(pathways, checkpoints=tmp_path / "kept")
    killed(monkeypatch, GraphNetwork, 25, lambda: fitted.fit(competition))
    resumed = small(pathways, checkpoints=tmp_path / "kept").fit(competition).logit_shift(["P1"])
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


def test_values_of_genes_that_a_screen_did_not_measure_change_nothing(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways).fit(competition)
    network, rows = model.networks_[0], model.rows_
    lost = rows.genes.get_indexer(["G0", "G1"])
    shift = []
    for value in (0.0, 7.0):
        effects, weights = rows.effects.clone(), rows.weights.clone()
        effects[:, lost], weights[:, lost] = value, 0.0
        seen = replace(rows, effects=effects, weights=weights)
        with torch.no_grad():
            shift.append(network(Context.of(model.priors_, ["X1", "P1"], seen))[0])
    torch.testing.assert_close(*shift)
    atlas = an_atlas(competition, lost=["G0", "G1"])
    model = small(pathways, atlas, policy="screens").fit(competition)
    assert np.isfinite(model.history_[["loss", "check"]].to_numpy()).all()


def test_a_signal_never_comes_back_to_the_gene_it_was_sent_by(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways).fit(competition)
    network = model.networks_[0]
    context = Context.of(model.priors_, ["P1", "P2"], model.rows_, [0])
    arrived = network.walk(network.graph, context)
    for row, place in enumerate(context.rows):
        own = context.columns == place
        assert own.sum() == 1
        assert not arrived.weights[row, :, own].any()
        assert (arrived.weights[row].sum(dim=1) > 0).all()
    assert (arrived.flow.sum(dim=1) <= 1).all()


def test_a_prediction_is_carried_by_the_members_of_its_pathway(tmp_path):
    competition, pathways = planted(tmp_path)
    train = competition.subset([name for name in competition.effects.index if name != "P7"])
    model = small(pathways).fit(train)
    carried, signal = model.carried("P7"), model.signal("P7")
    module = {f"P{place}" for place in range(1, 48, 6)} - {"P7"}
    assert set(carried.index[: len(module)]) == module
    assert signal.to_numpy().sum() == pytest.approx(1, abs=1e-5)
    assert signal.drop(columns="relayed").loc[list(module)].to_numpy().sum() > 0.9


def test_gates_are_shares_in_each_round(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways, an_atlas(competition), policy="pretrain").fit(competition)
    learned, start = model.gates()
    for gates in (learned, start):
        np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-5)
        assert list(gates.index) == ["first", "second"]
        assert gates["response_components"].isna().tolist() == [False, True]
    assert not np.allclose(learned.loc["first"], start.loc["first"], atol=1e-3)


def test_the_ways_of_a_signal_add_up_to_it(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways, an_atlas(competition), policy="pretrain").fit(competition)
    ways, signal = model.routes("X1"), model.signal("X1")
    assert ways.empty
    ways, signal = model.routes("P1"), model.signal("P1").drop(columns="relayed")
    added = ways.groupby(["row", "type"])["amount"].sum()
    wanted = signal.rename_axis("row").stack()
    np.testing.assert_allclose(added, wanted[added.index], rtol=1e-4)
    assert set(ways["hub"][ways["type"] == "planted"]) == {"module 1"}
    assert set(ways["hub"][ways["type"] == "response_components"]) == {""}
