"""The transformer: what it learns, what it must not see, and how its heads weigh."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd
import pytest
import torch
from small_planted import an_atlas, gains, killed, planted

from kit.knowledge import Knowledge
from kit.networks.context import HELD, OWN, Context, Priors
from kit.networks.context_network import averaged, regressed
from kit.networks.losses import LossWeights, expected_effect, loss
from kit.networks.screen_data import competition_data
from kit.networks.trained import Setup
from kit.networks.training import Settings, train
from kit.networks.transformer import AttentionNetwork, Block, Shape, Transformer
from kit.screens.atlas import Atlas

SMALL = Shape(heads=4, solved=2, width=8, latents=4)
QUICK = Settings(steps=20, rate=1e-2, every=10)
TENSORS = [name for name, one in vars(Context).items() if isinstance(one, cached_property)]


def transformer(pathways, atlas=None, **options):
    defaults = {"shape": SMALL, "policy": "competition", "members": 2, "tuning": QUICK}
    return Transformer(Knowledge(pathways, atlas), **defaults | {"pretraining": QUICK} | options)


def network_and_rows(competition, pathways, atlas=None, shape=SMALL):
    """An untrained network, the competition's rows and their Priors."""
    rows = competition_data(competition)
    priors = Priors(Knowledge(pathways, atlas), rows.genes)
    priors.expect(rows.perturbations)
    torch.manual_seed(0)
    control = competition.control.reindex(rows.genes).to_numpy()
    setup = Setup(rows.genes, priors.kernels, control, competition, priors.knowledge)
    return AttentionNetwork(setup, shape), rows, priors


def stirred(network):
    """The same network with nothing silent any more."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in network.parameters():
            part += 0.1 * torch.randn(part.shape, generator=random)
    return network.eval()


def test_a_planted_similarity_is_found_and_beats_the_constant(tmp_path):
    competition, pathways = planted(tmp_path)
    found, constant = gains(transformer(pathways), competition)
    assert found > constant + 20


@pytest.mark.parametrize("seed", [3, 4])
def test_shuffled_pathways_gain_hardly_anything_and_do_no_harm(tmp_path, seed):
    gain = {}
    for shuffle in (False, True):
        (tmp_path / str(shuffle)).mkdir()
        competition, pathways = planted(tmp_path / str(shuffle), shuffle=shuffle, seed=seed)
        gain[shuffle] = transformer(pathways).fit(competition).shrinkage_curve_.min()
    assert gain[False] < -0.5
    assert gain[True] > -0.05
    found, constant = gains(transformer(pathways), competition)
    assert found == pytest.approx(constant, abs=3)


def test_five_rows_are_learned_by_heart(tmp_path):
    competition, pathways = planted(tmp_path, rows=24, shuffle=True)  # relatives do not help
    network, rows, priors = network_and_rows(competition, pathways, shape=replace(SMALL, width=32))
    asked, seen = (rows.subset(part, marginals=True) for part in (range(5), range(5, 24)))

    def of_five(network):
        context = Context.of(priors, asked.perturbations, seen)
        return loss(LossWeights(), asked.rows, *network(context))

    def five(stack, step, random):
        return stack.map(of_five)

    (history,) = train([network], five, Settings(steps=150, rate=4e-2, every=10))
    assert history["loss"].iloc[-1] < -3  # -5.5, where each entry's bin is certain
    network.train()  # as it was trained: less the mean of all five
    with torch.no_grad():
        out = network(Context.of(priors, asked.perturbations, seen))
    found = expected_effect(rows.rows, *out)
    assert np.corrcoef(found.flatten(), asked.effects.flatten())[0, 1] > 0.85


def test_an_untrained_network_keeps_the_genes_own_odds(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    network, rows, priors = network_and_rows(competition, pathways, an_atlas(competition))
    with torch.no_grad():
        shift, width = network.eval()(Context.of(priors, ["P1", "P2"], rows))
    assert shift.shape == width.shape == (2, len(rows.genes))
    assert shift.dtype == width.dtype == torch.float32
    assert not shift.any()
    assert not width.any()


def test_a_network_is_equivariant_to_genes_and_blind_to_the_order_of_rows(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    network, rows, priors = network_and_rows(competition, pathways, an_atlas(competition))
    stirred(network)
    genes = np.random.default_rng(0).permutation(len(rows.genes))
    turned = rows.subset(np.random.default_rng(1).permutation(len(rows)), marginals=True)
    with torch.no_grad():
        plain = network(Context.of(priors, ["P1", "P2"], rows))
        for found, wanted in zip(
            network(Context.of(priors, ["P1", "P2"], turned, genes)), plain, strict=True
        ):
            torch.testing.assert_close(found, wanted[:, genes], rtol=1e-4, atol=1e-5)


def test_a_perturbation_does_not_attend_to_itself(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    network, rows, priors = network_and_rows(competition, pathways, an_atlas(competition))
    stirred(network)
    with torch.no_grad():
        weights, solved = network.heads(Context.of(priors, ["P1"], rows))
    assert not weights[0, :, 1].any()
    assert weights[0, :, 2:].all()
    np.testing.assert_array_equal(rows.perturbations[1], "P1")
    assert solved.shape == (1, SMALL.solved, 24)


def test_a_screen_is_not_predicted_from_its_own_responses(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    rows = competition_data(competition)
    priors = Priors(Knowledge(pathways, an_atlas(competition)), rows.genes)
    priors.expect(competition.effects.index)
    own, others = (
        Context.of(priors, ["P1", "P2", "P3"], replace(rows, name=name))
        for name in ("other", "competition")
    )
    closed = [priors.kernels.index(name) for name in OWN]
    assert own.hidden.all()
    assert not own.kernels[..., closed].any()
    assert not own.response.any()
    assert own.kernels[..., 0].any()  # pathways know them all the same
    assert not others.hidden.any()
    assert others.kernels[..., closed].any()
    assert others.response.any()


def test_hidden_perturbations_lose_their_own_response_only(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    network, rows, priors = network_and_rows(competition, pathways, an_atlas(competition))
    context = Context.of(priors, ["P1", "P1"], rows, [0, 1, 2])
    context.hidden = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(context.response[0], context.neighbour_response[0])
    torch.testing.assert_close(context.response[1], context.context_response[1])
    network.heads.mix.data[:] = 20.0 * torch.tensor(
        [name == "response_cosine" for name in priors.kernels]
    )
    weights, _ = network.heads(context)
    # With its response hidden, the head of that kernel alone falls back on all others.
    assert not torch.allclose(weights[0], weights[1])
    similarity = context.kernels[1, :, priors.kernels.index("response_cosine")] + 1e-6
    wanted = (similarity**2 + 0.01) * context.other[1]
    torch.testing.assert_close(weights[1, 0], wanted, rtol=1e-3, atol=1e-5)


def test_the_perturbed_gene_is_marked(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    rows = competition_data(competition)
    genes = rows.genes.where(rows.genes != "G7", "P1")
    context = Context.of(Priors(Knowledge(pathways), genes), ["P0", "P1"], rows)
    assert not context.on_target[0].any()
    assert context.on_target[1].nonzero().flatten().tolist() == [list(genes).index("P1")]
    similarity = context.pathway_similarity[1]
    assert similarity[context.on_target[1] > 0] == similarity.max()


def test_large_screens_are_read_in_parts_that_agree(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    assert HELD > 1000
    rows, found = competition_data(competition).subset([3, 4, 5]), []
    for most in (HELD, 10):
        monkeypatch.setattr("kit.networks.context.HELD", most)
        priors = Priors(Knowledge(pathways, an_atlas(competition)), rows.genes)
        priors.expect(competition.effects.index)
        context = Context.of(priors, ["P1", "P2"], rows)
        assert len(context.prior.names) == (24 if most == HELD else 5)
        found.append({name: getattr(context, name) for name in TENSORS})
    for name, part in found[0].items():
        torch.testing.assert_close(part, found[1][name])


def test_what_holds_for_every_perturbation_is_left_to_the_genes_odds(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = transformer(pathways).fit(competition)
    shift = model.logit_shift(competition.effects.index)
    assert shift.abs().mean(axis=None) > 0.1
    np.testing.assert_allclose(shift.mean(), 0, atol=1e-4)


def test_averages_count_only_what_was_measured():
    weights = torch.tensor([[[1.0, 3.0, 4.0]]])  # one name, one head, three rows
    values = torch.tensor([[[2.0], [9.0]], [[4.0], [9.0]], [[9.0], [5.0]]])
    measured = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = averaged(weights, values * measured[..., None], measured)
    torch.testing.assert_close(found.flatten(), torch.tensor([14 / 4, 5.0]), rtol=1e-5, atol=1e-5)


def test_a_gene_with_many_rows_is_predicted_by_its_own_slope(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    rows = competition_data(competition)
    priors = Priors(Knowledge(pathways, an_atlas(competition)), rows.genes)
    slopes = torch.tensor([2.0, -1.0])
    context = Context.of(priors, rows.perturbations, rows, [0, 1])
    context.context_response = context.context_response.repeat(200, 1)
    context.measured = torch.ones(context.context_response.shape)
    mean = context.context_response.mean(dim=0)
    values = ((context.context_response - mean) * slopes)[..., None].repeat(1, 1, 3)
    wanted = (context.response - mean) * slopes
    found = regressed(context, values)
    torch.testing.assert_close(found[..., 0], wanted, rtol=0.05, atol=0.05)


def test_attention_between_genes_is_that_of_a_plain_softmax():
    torch.manual_seed(0)
    block, tokens = Block(SMALL), torch.randn(2, 7, SMALL.width)
    found = block(tokens)

    def attend(asked, keys, values):
        return (asked @ keys.transpose(1, 2) / SMALL.width**0.5).softmax(dim=2) @ values

    normed = block.norm(tokens)
    read = block.read(normed)
    latents = block.latents.expand(2, -1, -1)
    latents = attend(latents, read[..., : SMALL.width], read[..., SMALL.width :])
    spread = block.spread(latents)
    wanted = tokens + attend(
        block.query(normed), spread[..., : SMALL.width], spread[..., SMALL.width :]
    )
    wanted = wanted + block.mlp(wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_memory_is_linear_in_genes():
    block = Block(SMALL)
    largest = []
    for genes in (512, 1024):
        kept = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda one, kept=kept: kept.append(one.numel()) or one, lambda one: one
        )
        with hooks:
            block(torch.randn(1, genes, SMALL.width))
        largest.append(sum(kept))
    assert largest[1] < 2.1 * largest[0]


def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=24)
    whole = transformer(pathways).fit(competition).logit_shift(["P1"])
    fitted = transformer(pathways, checkpoints=tmp_path / "kept")
    killed(monkeypatch, AttentionNetwork, 15, lambda: fitted.fit(competition))
    assert len(list((tmp_path / "kept").glob("*.pt"))) == 1
    resumed = (
        transformer(pathways, checkpoints=tmp_path / "kept").fit(competition).logit_shift(["P1"])
    )
    pd.testing.assert_frame_equal(whole, resumed, check_exact=True)


def test_checkpoints_of_other_knowledge_are_not_taken(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    for atlas in (None, an_atlas(competition)):
        transformer(pathways, atlas, checkpoints=tmp_path / "kept").fit(competition)
    # One of all members each.
    assert len(list((tmp_path / "kept").glob("*.pt"))) == 2


def test_what_was_not_measured_counts_neither_as_seen_nor_as_asked(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    network, rows, priors = network_and_rows(competition, pathways, an_atlas(competition))
    stirred(network)
    lost = torch.rand(rows.effects.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    found = []
    for value in (0.0, 99.0):
        part = replace(
            rows,
            effects=rows.effects.masked_fill(lost, value),
            weights=rows.weights.masked_fill(lost, 0.0),
        )
        asked, seen = (part.subset(some, marginals=True) for some in (range(5), range(5, 24)))
        out = network(Context.of(priors, asked.perturbations, seen))
        found.append(torch.stack([*out[0], loss(LossWeights(), asked.rows, *out).expand(60)]))
    torch.testing.assert_close(*found)


def test_genes_that_a_screen_lacks_do_no_harm(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    atlas = an_atlas(competition, lost=["G0", "G1"])
    model = transformer(pathways, atlas, policy="screens").fit(competition)
    assert np.isfinite(model.history_[["loss", "check"]].to_numpy()).all()
    assert np.isfinite(model.predict(["P1"]).to_numpy()).all()


def test_screens_teach_what_a_response_elsewhere_is_worth(tmp_path):
    competition, pathways = planted(tmp_path, noise=0.2, shuffle=True)  # relatives do not help
    few = competition.subset(competition.effects.index[:8])
    screens = [an_atlas(competition, seed=seed) for seed in (0, 1)]
    screens[1].obs["dataset"] = "third"
    labels = pd.Index([f"{place}" for place in range(2 * len(competition.effects))])
    effects, obs = (
        pd.concat([getattr(one, name) for one in screens]).set_axis(labels)
        for name in ("effects", "obs")
    )
    atlas = Atlas(effects, obs, None, screens[0].source)
    held_out = competition.effects.index[-16:]
    model = transformer(pathways, atlas, policy="screens").fit(few)
    found = model.logit_shift(held_out).stack().corr(competition.effects.loc[held_out].stack())
    assert found > 0.6


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows_and_no_knowledge_are_enough_to_run(tmp_path, rows):
    competition, pathways = planted(tmp_path, rows=24)
    few = competition.subset(competition.effects.index[:rows])
    for known in (None, pathways):
        prediction = transformer(known).fit(few).predict(["P20"])
        assert np.isfinite(prediction.to_numpy()).all()


def test_attention_is_shared_out_among_training_rows(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = transformer(pathways).fit(competition)
    found = model.attention(["P1", "X1"])
    assert list(found.columns) == list(competition.effects.index)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert found.at["P1", "P1"] == 0
    relatives = [f"P{place}" for place in range(7, 24, 6)]
    assert found.loc["P1", relatives].min() > found.loc["P1"].drop(relatives).max()


def test_mixtures_are_shares_of_kernels(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = transformer(pathways, an_atlas(competition)).fit(competition)
    learned, start = model.mixtures()
    assert list(learned.index) == [f"head {i}" for i in range(1, 5)] + ["solved 1", "solved 2"]
    for part in (learned, start):
        np.testing.assert_allclose(part.sum(axis=1), 1, rtol=1e-5)
    assert not np.allclose(learned, start, atol=1e-3)


def test_contributions_name_the_source_that_counts(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = transformer(pathways, an_atlas(competition)).fit(competition)
    for network in model.networks_:
        for part in network.decoder.leave.parameters():
            part.data.zero_()
        network.decoder.common.data.zero_()
        network.decoder.common.data[0, -3:] = 1.0  # nothing counts but the last source
    found = model.contributions(["P1", "P2"])
    assert found["gene's slope"] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.drop("gene's slope"), 0, atol=1e-6)
    assert list(found.index[:4]) == [f"head {place}" for place in range(1, 5)]
