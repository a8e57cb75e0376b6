"""Networks that are trained side by side compute what each does by itself, in hardly more operations."""

import pytest
import torch
from small_planted import an_atlas, planted
from torch.utils._python_dispatch import TorchDispatchMode

from kit.knowledge import Knowledge
from kit.networks import GNN, VAE, Context, Settings, Transformer
from kit.networks import training as training_module
from kit.networks.episodes import Episode
from kit.networks.losses import loss, outputs
from kit.networks.stack import Stack
from kit.networks.training import reseeded

NETWORKS = {"vae": VAE, "transformer": Transformer, "gnn": GNN}
ASKED = ["P1", "P20", "X1", "NOBODY"]


def begun(name, folder, members, **options):
    """A model that has read its data, and its untrained members, with nothing silent any more."""
    competition, pathways = planted(folder)
    knowledge = Knowledge(pathways, an_atlas(competition))
    options = {"policy": "competition", "members": members} | options
    model = NETWORKS[name](knowledge, **options)
    model._begin(competition)
    parts, random = list(model._ensemble()), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for network in model.networks_:
            for part in network.parameters():
                part += 0.1 * torch.randn(part.shape, generator=random)
    return model, model._episodes([(one.seen, one.left) for one in parts])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stack_computes_what_each_network_does(name, tmp_path):
    model, _ = begun(name, tmp_path, 3)
    context, stack = Context.of(model.priors_, ASKED, model.rows_), Stack(model.networks_)
    stack.train(False)
    with torch.no_grad():
        found = stack.map(lambda network: network(context))
        each = [network.eval()(context) for network in model.networks_]
    for part, wanted in zip(found, zip(*each, strict=True), strict=True):
        assert part.shape == (3, len(ASKED), len(model.rows_.genes))
        torch.testing.assert_close(part, torch.stack(wanted), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0][0], found[0][1], atol=1e-2)


@pytest.mark.parametrize("name", ["transformer", "gnn"])  # the autoencoder draws random numbers
def test_a_stack_learns_in_episodes_what_each_network_does_in_its_own(name, tmp_path):
    model, episodes = begun(name, tmp_path, 3)
    stack, drawn = Stack(model.networks_), episodes.draw(reseeded(0, 0))
    assert len({tuple(rows.tolist()) for rows in drawn.rows}) == 3

    def of(network, marginals, *episode):
        truth, context = episodes.given(marginals, Episode(*episode))
        out = outputs(network, context)
        return *out, loss(model.loss, truth, *out)

    stack.train()
    found = stack.map(of, episodes.marginals, *drawn)
    found[2].sum().backward()
    for place, network in enumerate(model.networks_):
        network.train()
        marginals = tuple(part[place] for part in episodes.marginals)
        wanted = of(network, marginals, *(part[place] for part in drawn))
        for part, one in zip(found, wanted, strict=True):
            torch.testing.assert_close(part[place], one, atol=1e-5, rtol=1e-5)
        wanted[2].backward()
        slopes = dict(network.named_parameters())
        largest = max(part.grad.abs().max() for part in slopes.values()).item()
        for kind, part in slopes.items():
            slope = stack.parameters[f"network.{kind}"].grad[place] / largest
            torch.testing.assert_close(slope, part.grad / largest, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_many_networks_takes_few_operations(name, tmp_path, monkeypatch):
    monkeypatch.setattr("kit.networks.stack.ON_CPU", None)  # all at once, as on a GPU
    counts = {many: operations(name, tmp_path, many, monkeypatch) for many in (1, 15)}
    assert counts[15] <= 15 * 150
    assert counts[15] <= 1.6 * counts[1]


class Operations(TorchDispatchMode):
    """Counts operations but views, which compute nothing."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        aliases = [one.alias_info for one in function._schema.returns]
        view = any(one is not None and not one.is_write for one in aliases)
        self.count += not (view or "view" in function.__name__)
        return function(*args, **(kwargs or {}))


def operations(name, folder, members, monkeypatch):
    """Operations of one training step of so many networks."""
    model, episodes = begun(name, folder, members, tuning=Settings(steps=2, every=2))
    one_step, counted = training_module._Loop.one_step, []

    def counting(self):
        with Operations() as found:
            one_step(self)
        counted.append(found.count)

    with monkeypatch.context() as patch:
        patch.setattr(training_module._Loop, "one_step", counting)
        model._learn(model.networks_, [episodes], "competition")
    return counted[-1]
