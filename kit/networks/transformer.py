"""A transformer that has no embedding to learn of a knockdown: it attends to knockdowns that were seen.

Two attentions follow each other (`attention`). Between *knockdowns*: the one asked for is the query,
those of the same screen are the keys, by likeness that is known beforehand (`views`), and the values are
their effects, gene by gene: an attentive neural process (Kim et al. 2019), learned in episodes of a few
rows beside 80 others. Between *genes*: each gene is a token of what the heads found for it, its identity,
its expression in control cells, whether it is the gene knocked down and how near that is by pathways.
Tokens exchange through a few latents (Set Transformer, Lee et al. 2019; Perceiver, Jaegle et al. 2021),
so that memory grows with the number of genes, not with its square. Odds are read from each gene's token.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from ..io.device import device
from ..knowledge import Knowledge
from .attention import Block, Heads, cross, first_mix
from .context import views_of
from .context_features import (
    CHANNELS,
    LOOKED_AT,
    answers,
    averaged,
    look,
    of_knockdowns,
    ramps,
    regressed,
    root,
    shares,
    spread_of_genes,
    standardised,
)
from .trained import Trained
from .training import Settings

IDENTITY = 8  # numbers by which a gene is told from others
CROSS = 2  # heads by likeness of rows' effects to the response elsewhere, alike and opposed


@dataclass(frozen=True)
class Shape:
    """Size of the network.

    heads: attentions over knockdowns whose weights are a power of likeness; solved: those that weigh as
    kernel ridge regression does; width: of gene tokens; latents: through which they exchange; blocks: of
    attention between genes; hidden: share of knockdowns treated in training as if no other screen held
    them, so that those without a response elsewhere are practised too.
    """

    heads: int = 12
    solved: int = 4
    width: int = 32
    latents: int = 16
    blocks: int = 1
    hidden: float = 0.3


SHAPE = Shape()
OPTIONS = {
    "batch": 8,
    "pretraining": Settings(steps=400, rate=2e-3),
    "tuning": Settings(steps=120, rate=1e-3, every=10),
}


class Transformer(Trained):
    """The transformer behind the models' door; shape: its size, the rest as in `Trained`."""

    def __init__(self, knowledge: Knowledge | None = None, *, shape=SHAPE, **options):
        super().__init__(knowledge, **OPTIONS | options)
        self.shape = shape

    def attention(self, perturbations):
        """Share of attention that each training row gets, mean over heads: perturbation x row frame."""
        names, rows = list(perturbations), self.rows_.to(device())
        with torch.no_grad():
            parts = [network.look(names, rows, [0])[1] for network in self.networks_]
        found = torch.stack([shares(part).mean(dim=1) for part in parts]).mean(dim=0)
        looked = [self.rows_.perturbations[place] for place in rows.spread(LOOKED_AT)]
        return pd.DataFrame(found.cpu().numpy(), pd.Index(names, name="perturbation"), looked)

    def mixtures(self):
        """What heads take for likeness, as learned and at the start: two head x kernel frames."""
        kernels = self.networks_[0].views.kernels
        learned = torch.stack([network.heads.mixture() for network in self.networks_]).mean(dim=0)
        start, names = first_mix(kernels, self.shape).softmax(dim=1), self._sources()
        names = [name for name in names if name.startswith(("head", "solved"))]
        values = [part.detach().cpu().numpy() for part in (learned, start)]
        return [pd.DataFrame(part, names, kernels) for part in values]

    def contributions(self, perturbations):
        """Share of each head and other source in what tells these knockdowns apart, a series."""
        names, rows = list(perturbations), self.rows_.to(device())
        genes, total = np.arange(len(rows.genes)), 0.0
        with torch.no_grad():
            for network in self.networks_:
                found, of_shift, _ = network.findings(names, rows, genes)
                parts = (of_shift * found).unflatten(2, (-1, CHANNELS)).sum(dim=3)
                parts = parts - parts.mean(dim=0)  # what is said of all alike is taken off
                total = total + parts.abs().mean(dim=(0, 1)).cpu().numpy()
        return pd.Series(total / max(total.sum(), 1e-12), self._sources())

    def _sources(self):
        """Names of what a network finds, in the order of its features."""
        names = [f"head {place + 1}" for place in range(self.shape.heads)]
        names += ["alike effect", "opposed effect"]
        names += [f"solved {place + 1}" for place in range(self.shape.solved)]
        return [*names, "response elsewhere", "own slope"]

    def _network(self, genes):
        control = self.train_.control.reindex(genes).to_numpy()
        return Network(views_of(self, genes), control, self.shape)

    def _key(self, stage, *parts):
        return super()._key(stage, self.shape, *parts)


class Network(torch.nn.Module):
    """Shift and width of each gene's odds: (names, seen Rows, places of genes) -> twice (names, genes).

    views: what is known of knockdowns; control: (genes,), mean log2 expression of control cells.
    """

    def __init__(self, views, control, shape):
        super().__init__()
        self.views, self.shape = views, shape
        fixed = np.column_stack([standardised(control), _identity(views.genes)])
        self.register_buffer("genes", torch.from_numpy(fixed.astype(np.float32)), persistent=False)
        self.channels = torch.nn.Parameter(ramps())
        self.heads = Heads(views.kernels, shape)
        soft = shape.heads + CROSS
        features = (soft + shape.solved) * CHANNELS + 3 + CHANNELS
        row = 3 + 2 * soft + shape.solved
        self.common = torch.nn.Parameter(torch.zeros(2, features))
        self.scaled = torch.nn.LayerNorm(features)
        token = 2 * features + fixed.shape[1] + 3 + row
        self.enter = torch.nn.Linear(token, shape.width)
        self.blocks = torch.nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.leave = torch.nn.Sequential(
            torch.nn.LayerNorm(shape.width), _zero(torch.nn.Linear(shape.width, 2 * features))
        )

    def forward(self, names, seen, genes):
        found, of_shift, of_width = self.findings(names, seen, genes)
        said = (of_shift * found).sum(dim=2), (of_width * found.abs()).sum(dim=2)
        # What holds for every knockdown the genes' odds hold: `Trained` takes it off what is said.
        return tuple(part - part.mean(dim=0) for part in said) if self.training else said

    def findings(self, names, seen, genes):
        """What is found and how far each gene's token believes it: three of (names, genes, features)."""
        known, weights, solved = self.look(names, seen, genes)
        genes = torch.as_tensor(genes, device=seen.effects.device)
        values, measured = answers(seen, genes, self.channels)
        weights = torch.cat([weights, cross(known, values[..., 0])], dim=1)
        found = [averaged(weights, values, measured)]
        found.append(torch.einsum("qhs,sgc->qghc", solved, values))
        features = [torch.cat(found, dim=2).flatten(2)]  # (names, genes, all heads x channels)
        response = known.response
        features.append(torch.stack([response, root(response), known.near], dim=2))
        features.append(regressed(known, values, measured))
        features = torch.cat(features, dim=2)
        row = of_knockdowns(known, weights, values, measured, solved)
        tokens = self._tokens(known, seen, genes, features, row)
        for block in self.blocks:
            tokens = block(tokens)
        out = self.leave(tokens)
        # A token says how far each finding is right for its gene; of nothing found nothing follows.
        return features, *(self.common + out.unflatten(2, (2, -1))).unbind(2)

    def look(self, names, seen, genes):
        """Who is looked at: Known, weights (names, heads, looked), solved weights of the same shape."""
        known, _ = look(self, names, seen, genes)
        return known, *self.heads(known)

    def _tokens(self, known, seen, genes, features, row):
        """One token a gene: (names, genes, width)."""
        fixed = torch.cat([self.genes[genes], spread_of_genes(seen, genes)[:, None]], dim=1)
        count = features.shape[:2]
        scaled = self.scaled(features)
        parts = [scaled, scaled.abs(), fixed.expand(*count, -1), row[:, None].expand(*count, -1)]
        parts += [known.knocked_down[..., None], known.related[..., None]]
        return F.gelu(self.enter(torch.cat(parts, dim=2)))


def _zero(layer):
    """A layer that starts silent: an untrained network says what the gene's own odds say."""
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    return layer


def _identity(genes):
    """Numbers of about unit size made from each gene's name, whatever the order: (genes, IDENTITY)."""
    raw = b"".join(hashlib.sha256(str(name).encode()).digest()[:IDENTITY] for name in genes)
    return (np.frombuffer(raw, np.uint8).reshape(len(genes), IDENTITY) - 127.5) / 73.9
