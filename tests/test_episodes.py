"""Episodes: each network draws from its own rows alone, and is checked on those left out of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_networks import Linear
from small_planted import atlas_of, planted

from kit.knowledge import Knowledge
from kit.networks.context import Priors
from kit.networks.episodes import HIDDEN, SUPPORT, Episode, Episodes
from kit.networks.losses import LossWeights, loss, predict_logits
from kit.networks.screen_data import atlas_data, competition_data
from kit.networks.stack import Stack

PARTS = [range(6), range(6, 9), range(20, 24)]  # rows left out of each network


@pytest.fixture
def screen(tmp_path):
    """Rows of a competition whose first gene tells which row it is, and their Priors."""
    competition, pathways = planted(tmp_path, rows=24, genes=20)
    competition.effects.iloc[:, 0] = np.arange(24.0)
    rows = competition_data(competition)
    priors = Priors(Knowledge(pathways), rows.genes)
    priors.expect([*rows.perturbations, "X1"])
    return rows, priors


def one_of(episodes, drawn, place):
    """What one network is to predict, and its context."""
    marginals = tuple(part[place] for part in episodes.marginals)
    return episodes.given(marginals, Episode(*(part[place] for part in drawn)))


def names(context, places):
    return [context.prior.names[place] for place in places.tolist()]


def test_a_network_draws_its_own_rows_and_none_left_out(screen):
    rows, priors = screen
    pairs, random = [rows.split(part) for part in PARTS], np.random.default_rng(0)
    episodes, met = Episodes(pairs, priors, 8, 99), [set() for _ in PARTS]
    assert (episodes.batch, episodes.support, episodes.genes) == (8, 10, 20)  # 18 rows at least
    order = {name: place for place, name in enumerate(rows.perturbations)}
    for _ in range(40):
        drawn = episodes.draw(random)
        for place, (seen, left) in enumerate(pairs):
            truth, context = one_of(episodes, drawn, place)
            asked, given = names(context, context.rows), names(context, context.columns)
            assert (len(asked), len(given)) == (8, 10)
            assert len({*asked, *given}) == 18
            assert {*asked, *given} <= set(seen.perturbations)
            assert not {*asked, *given} & set(left.perturbations)
            for part, some in ((truth, asked), (context.seen, given)):
                where, genes = [order[name] for name in some], context.genes
                assert torch.equal(part.effects, rows.effects[where][:, genes])
                assert torch.equal(part.effects[:, 0], torch.tensor(where, dtype=torch.float32))
                assert torch.equal(part.weights, rows.weights[where][:, genes])
                assert torch.equal(part.row_weights, rows.row_weights[where])
                for name in ("thresholds", "odds", "values"):  # without the rows left out
                    assert torch.equal(getattr(part, name), getattr(seen, name)[:, genes])
            met[place] |= {*asked, *given}
    assert met == [set(seen.perturbations) for seen, _ in pairs]


def test_networks_draw_apart_and_genes_anew(screen):
    rows, priors = screen
    episodes = Episodes([rows.split([]), rows.split([])], priors, 4, 5)
    drawn = episodes.draw(np.random.default_rng(0))
    assert drawn.genes.shape == (2, 5)
    assert (drawn.genes.diff(dim=1) > 0).all()  # ascending, none twice
    assert not torch.equal(drawn.genes[0], drawn.genes[1])
    assert not torch.equal(drawn.rows[0], drawn.rows[1] - 24)
    again = episodes.draw(np.random.default_rng(0))
    assert all(map(torch.equal, drawn, again))


def test_sizes_are_those_that_the_fewest_rows_allow(screen):
    rows, priors = screen
    few = rows.split(range(3, 24)), rows.split([0])
    episodes = Episodes(few, priors, 16, 99)
    assert (episodes.batch, episodes.support) == (1, 2)
    many = Episodes([rows.split([])], priors, 99, 99)
    assert (many.batch, many.support) == (12, 12)
    assert SUPPORT == 80
    assert (len(episodes), len(many)) == (22, 0)


def test_a_share_of_the_asked_rows_is_hidden(screen):
    rows, _ = screen
    effects = pd.DataFrame(rows.effects.numpy(), rows.perturbations, rows.genes)
    priors = Priors(Knowledge(None, atlas_of(effects)), rows.genes)
    priors.expect(rows.perturbations)
    episodes, random, share = (
        Episodes([rows.split([])], priors, 12, 99),
        np.random.default_rng(0),
        [],
    )
    for _ in range(100):
        _, context = one_of(episodes, episodes.draw(random), 0)
        share.append(float(context.hidden.mean()))
    assert np.mean(share) == pytest.approx(HIDDEN, abs=0.04)


def test_effects_are_samples_of_cells_or_of_their_errors_or_themselves(tmp_path, screen):
    _, priors = screen
    competition, _ = planted(tmp_path, rows=24, genes=20)
    plain, random = competition_data(competition), np.random.default_rng(0)
    episodes = Episodes([plain.split(part) for part in PARTS], priors, 8, 5)
    truth, context = one_of(episodes, episodes.draw(random), 2)
    order = {name: place for place, name in enumerate(plain.perturbations)}
    rows = [order[name] for name in names(context, context.rows)]
    assert torch.equal(truth.effects, plain.effects[rows][:, context.genes])

    draws = np.random.default_rng(1).normal(size=(5, 24, 20)).astype(np.float32)
    sampled = competition_data(competition, draws)
    episodes, met = Episodes([sampled.split(part) for part in PARTS], priors, 8, 5), set()
    columns = torch.tensor(competition.genes.get_indexer(plain.genes))
    for _ in range(20):
        drawn = episodes.draw(random)
        for place in range(3):
            truth, context = one_of(episodes, drawn, place)
            genes = columns[context.genes]
            for name, found in zip(names(context, context.rows), truth.effects, strict=True):
                same = [np.array_equal(found, draw[order[name]][genes]) for draw in draws]
                assert sum(same) == 1
                met.add((order[name], same.index(True)))
            rows = [order[name] for name in names(context, context.columns)]
            assert torch.equal(context.seen.effects, plain.effects[rows][:, context.genes])
    assert len(met) > 100  # of 120 rows and samples

    effects = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=["B", "A", "C"])
    effects.index = [f"P{place}" for place in range(200)]
    se = np.tile([0.0, 0.1, 0.5], (200, 1))
    atlas = atlas_of(effects, datasets="other", n_cells=100, se=se)
    known = Knowledge(None, atlas)
    (other,) = atlas_data(known, effects.columns)
    episodes = Episodes([other.split([])], Priors(known, other.genes), 100, 99)
    truth, context = one_of(episodes, episodes.draw(random), 0)
    order = {name: place for place, name in enumerate(other.perturbations)}
    rows = [order[name] for name in names(context, context.rows)]
    noise = (truth.effects - other.effects[rows]).numpy().std(axis=0)
    np.testing.assert_allclose(noise, [0.1, 0.0, 0.5], rtol=0.2)  # genes by name: A, B, C
    rows = [order[name] for name in names(context, context.columns)]
    assert torch.equal(context.seen.effects, other.effects[rows])


def random_networks(priors, count):
    """Linear networks that have learned something."""
    random = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        network = Linear(priors.knowledge, ["P0", "P1", "P2"], priors.genes)
        for part in network.parameters():
            part.data = 0.3 * torch.randn(part.shape, generator=random)
        found.append(network.eval())
    return found


@pytest.mark.parametrize("parts", [PARTS, [range(6), range(6, 12), range(12, 18)]])
def test_rows_left_out_are_predicted_as_each_network_does_alone(screen, parts):
    rows, priors = screen
    pairs, networks = [rows.split(part) for part in parts], random_networks(priors, 3)
    episodes, terms = Episodes(pairs, priors, 8, 99), LossWeights(1, 1, 0.2)
    stack = Stack(networks)
    with torch.no_grad():
        together, checked = episodes.logits(stack), episodes.check(stack, terms)
        for place, (network, (seen, left)) in enumerate(zip(networks, pairs, strict=True)):
            own = [part[place, : len(left)] for part in together]
            # Of the rows seen as many are context as of the network with the fewest.
            few = seen.subset(
                seen.spread(min(map(len, [pair[0] for pair in pairs]))), marginals=True
            )
            alone = predict_logits(network, priors, left.perturbations, few)
            for one, other in zip(own, alone, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
                assert one.abs().max() > 0.1
            # Rows by which the shorter ones are filled up weigh nothing.
            torch.testing.assert_close(checked[place], loss(terms, left.rows, *own))


def test_a_check_knows_no_effects_of_rows_left_out_but_as_truth(screen):
    rows, priors = screen
    changed, networks = replace(rows, effects=rows.effects.clone()), random_networks(priors, 3)
    changed.effects[:6] = 50.0  # left out of the first network, seen by the others
    found = []
    for one in (rows, changed):
        episodes = Episodes([one.split(part) for part in PARTS], priors, 8, 99)
        with torch.no_grad():
            found.append((*episodes.logits(Stack(networks)), *episodes.marginals))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one[0], other[0])
    assert not torch.equal(found[0][2][1], found[1][2][1])  # thresholds of the second
