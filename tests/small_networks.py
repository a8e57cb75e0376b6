"""A small linear network on pathway knowledge, and small ones of the three kinds."""

from functools import partial

import torch

from kit.knowledge import Knowledge
from kit.networks import gnn, transformer, vae
from kit.networks.trained import Trained
from kit.networks.training import Settings

QUICK = Settings(steps=60, rate=3e-2, every=10)


class Linear(torch.nn.Module):
    def __init__(self, knowledge, anchors, genes):
        super().__init__()
        self.knowledge, self.anchors = knowledge, anchors
        self.shift = torch.nn.Linear(len(anchors), len(genes), bias=False)
        self.scale = torch.nn.Linear(len(anchors), len(genes), bias=False)
        torch.nn.init.zeros_(self.shift.weight)
        torch.nn.init.zeros_(self.scale.weight)

    def forward(self, context):
        values = context.prior.keep("to anchors", lambda: self._table(context))[context.rows]
        return self.shift(values)[:, context.genes], self.scale(values)[:, context.genes]

    def _table(self, context):
        kernel = self.knowledge.pathways.kernel(context.prior.names, self.anchors)
        return torch.tensor(kernel.to_numpy(), device=context.device)


def linear(setup, kind=Linear):
    return kind(setup.knowledge, [f"P{i}" for i in range(48)], setup.genes)


def small(pathways, atlas=None, make_module=linear, **options):
    """The linear network as a model."""
    options = {"policy": "competition", "tuning": QUICK, "pretraining": QUICK} | options
    return Trained(make_module, Knowledge(pathways, atlas), **options)


NETWORKS = {
    "VAE": partial(vae.VAE, size=vae.Size(latent=4, hidden=6, features=8, samples=4, cells=8)),
    "Transformer": partial(
        transformer.Transformer, shape=transformer.Shape(heads=2, solved=2, width=4, latents=2)
    ),
    "GNN": partial(gnn.GNN, shape=gnn.Shape(heads=2, rank=8, width=4)),
}
