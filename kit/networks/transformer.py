"""A transformer that learns no embedding of a perturbation: it attends to context perturbations.

Two attentions follow each other. Between *perturbations*: the one to predict is the query, the context
perturbations of the same screen are the keys, similarity is that of prior knowledge, and the values are
their effects, gene by gene: an attentive neural process (Kim et al. 2019), trained in episodes of a few
rows beside 80 others. A head mixes the kernels to a similarity of its own. Most heads weigh by a power of
it; some solve for weights as kernel ridge regression does, so that similar rows do not count twice.
Between *genes*: each gene is a token of what the heads found for it, its identity, its expression in
control cells, whether it is the perturbed gene and how similar to it by pathways. Tokens exchange through
a few latents (Set Transformer, Lee et al. 2019; Perceiver, Jaegle et al. 2021), so that memory grows with
the number of genes, not with its square. Shift and scale are read from each gene's token.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ..knowledge import Knowledge
from .context import OWN, Context, channels
from .context_network import (
    ContextNetwork,
    Decoder,
    averaged,
    of_perturbations,
    regressed,
    shares,
    signed_root,
    standardised,
)
from .screen_data import to_frame, to_tensor
from .trained import Setup, Trained
from .training import Settings

IDENTITY = 8  # numbers that identify a gene
CROSS = 2  # heads by cosine of context effects and response in other screens: same, opposed
FIRST = 4.0  # logit by which a head prefers one kernel at the start
SPEED = 10.0  # of mixtures against other parameters, which move by hundredths and not by units
# Kernels that solved heads start from, first.
STRONG = ("all_sets", "smoothed_response", "neighbour_response", "response_cosine")


@dataclass(frozen=True)
class Shape:
    """Size of the transformer.

    heads: attentions over perturbations whose weights are a power of similarity; solved: those that weigh
    as kernel ridge regression does; width: of gene tokens; latents: through which they exchange.
    """

    heads: int = 12
    solved: int = 4
    width: int = 32
    latents: int = 16


OPTIONS = {
    "batch": 8,
    "pretraining": Settings(steps=400, rate=2e-3),
    "tuning": Settings(steps=120, rate=1e-3, every=10),
}


class Transformer(Trained):
    """The transformer as a model; shape: its size, the other options are those of `Trained`."""

    def __init__(self, knowledge: Knowledge | None = None, *, shape: Shape = Shape(), **options):
        super().__init__(self._make, knowledge, **OPTIONS | options)
        self.shape = shape

    def _make(self, setup: Setup):
        return AttentionNetwork(setup, self.shape)

    def attention(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return each training row's share of attention, mean over heads: perturbation x row."""
        context = self._context(perturbations, [0])
        found = self._averaged(lambda one: shares(one.heads(context)[0]).mean(dim=1))
        return to_frame(found, perturbations, self._seen())

    def mixtures(self) -> list[pd.DataFrame]:
        """Return each head's mixture of kernels, as learned and at the start: head x kernel each."""
        learned, kernels = self._averaged(lambda one: one.heads.mixture()), self.priors_.kernels
        start = first_mix(kernels, self.shape).softmax(dim=1)
        names = [name for name in self._sources() if name.startswith(("head", "solved"))]
        return [pd.DataFrame(part.cpu().numpy(), names, kernels) for part in (learned, start)]

    def contributions(self, perturbations: Sequence[str]) -> pd.Series:
        """Return the share of each head and other source in the differences between perturbations."""
        context = self._context(perturbations)

        def sizes(network):
            found, of_shift, _ = network.findings(context)
            parts = (of_shift * found).unflatten(2, (-1, CHANNELS)).sum(dim=3)
            parts = parts - parts.mean(dim=0)  # what all have in common is subtracted
            return parts.abs().mean(dim=(0, 1))

        total = self._averaged(sizes).cpu().numpy()
        return pd.Series(total / max(total.sum(), 1e-12), self._sources())

    def _sources(self):
        """Names of what a network finds, in the order of its findings."""
        names = [f"head {place + 1}" for place in range(self.shape.heads)]
        names += ["similar effect", "opposed effect"]
        names += [f"solved {place + 1}" for place in range(self.shape.solved)]
        return [*names, "other screens", "gene's slope"]


CHANNELS = channels().shape[1]


class AttentionNetwork(ContextNetwork):
    """The module: a Context -> logit shift and log scale, (perturbations, genes) each."""

    def __init__(self, setup: Setup, shape: Shape):
        super().__init__()
        fixed = np.column_stack([standardised(setup.control), _identity(setup.genes)])
        self.register_buffer("genes", to_tensor(fixed), persistent=False)
        self.channels = torch.nn.Parameter(channels())
        self.heads = Heads(setup.kernels, shape)
        soft = shape.heads + CROSS
        findings = (soft + shape.solved) * CHANNELS + 3 + CHANNELS

        def middle():
            return torch.nn.Sequential(Block(shape), torch.nn.LayerNorm(shape.width))

        others = fixed.shape[1] + 6 + 2 * soft + shape.solved
        self.decoder = Decoder(findings, others, shape.width, middle)

    def findings(self, context: Context) -> tuple[Tensor, ...]:
        """Findings, and how much each counts for shift and scale: (perturbations, genes, findings)."""
        weights, solved = self.heads(context)
        values = context.values(self.channels)
        weights = torch.cat([weights, _cross(context, values[..., 0])], dim=1)
        found = [averaged(weights, values, context.measured)]
        found.append(torch.einsum("qhs,sgc->qghc", solved, values))
        response = context.response
        elsewhere = [response, signed_root(response), context.neighbour_response]
        found = [torch.cat(found, dim=2).flatten(2), torch.stack(elsewhere, dim=2)]
        found = torch.cat([*found, regressed(context, values)], dim=2)
        single = of_perturbations(context, weights, values, solved)
        fixed = torch.cat([self.genes[context.genes], context.spread[:, None]], dim=1)
        pairs = context.on_target, context.pathway_similarity
        return found, *self.decoder(found, fixed, single, *pairs)


class Heads(torch.nn.Module):
    """Attention over perturbations: each head mixes the kernels to a similarity of its own."""

    def __init__(self, kernels: list[str], shape: Shape):
        super().__init__()
        self.kernels, self.count = kernels, shape.heads
        own = torch.tensor([name in OWN for name in kernels])
        self.register_buffer("own", own, persistent=False)
        self.mix = torch.nn.Parameter(first_mix(kernels, shape) / SPEED)
        self.power = torch.nn.Parameter(torch.full((shape.heads, 1), math.log(2.0)))
        self.floor = torch.nn.Parameter(torch.full((shape.heads, 1), math.log(0.01)))
        self.ridge = torch.nn.Parameter(torch.zeros(shape.solved))

    def forward(self, context: Context) -> tuple[Tensor, Tensor]:
        """Weights, (perturbations, heads, context), not yet shares; solved ones, of any sign."""
        hidden, other = context.hidden[:, None, None] > 0, context.other[:, None]
        open_, closed = (context.kernels @ self.mixture(flag).T for flag in (False, True))
        similarity = torch.where(hidden, closed, open_).transpose(1, 2)
        similarity = similarity * other  # a perturbation does not attend to itself
        power, floor = self.power.exp(), self.floor.exp()
        weights = ((similarity[:, : self.count] + 1e-6) ** power + floor) * other
        solvers = [self._solver(context.context_kernels, flag) for flag in (False, True)]
        asked = similarity[:, self.count :]
        open_, closed = (torch.einsum("qhs,hst->qht", asked, solver) for solver in solvers)
        return weights, torch.where(hidden, closed, open_)

    def mixture(self, hidden: bool = False) -> Tensor:
        """Share of each kernel in a head's similarity: (all heads, kernels).

        hidden: without those that need a response of the perturbation itself.
        """
        return (SPEED * self.mix).masked_fill(self.own & hidden, -1e4).softmax(dim=1)

    def _solver(self, kernels, hidden):
        """Inverse of the context's similarity plus a ridge: (solved, context, context)."""
        mixed = (kernels @ self.mixture(hidden).T)[..., self.count :].permute(2, 0, 1)
        mixed = (mixed + mixed.transpose(1, 2)) / 2
        size = mixed.diagonal(dim1=1, dim2=2).sum(dim=1) / max(mixed.shape[1], 1) + 1e-3
        ridge = (0.1 + self.ridge.exp()) * size
        return torch.linalg.inv(mixed + torch.diag_embed(ridge[:, None].expand(mixed.shape[:2])))


class Block(torch.nn.Module):
    """Attention between genes through latents: memory and time linear in genes."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.width
        self.latents = torch.nn.Parameter(torch.randn(shape.latents, width) / 2)
        self.norm = torch.nn.LayerNorm(width)
        self.read = torch.nn.Linear(width, 2 * width)  # keys and values of genes
        self.spread = torch.nn.Linear(width, 2 * width)  # keys and values of latents
        self.query = torch.nn.Linear(width, width)
        self.mlp = torch.nn.Sequential(
            torch.nn.LayerNorm(width),
            torch.nn.Linear(width, 2 * width),
            torch.nn.GELU(),
            torch.nn.Linear(2 * width, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(perturbations, genes, width) -> the same; fused attention, no (genes, genes) matrix."""
        normed = self.norm(tokens)
        latents = self.latents.expand(len(tokens), -1, -1)
        latents = F.scaled_dot_product_attention(latents, *self.read(normed).chunk(2, dim=2))
        spread = self.spread(latents).chunk(2, dim=2)
        tokens = tokens + F.scaled_dot_product_attention(self.query(normed), *spread)
        return tokens + self.mlp(tokens)


def first_mix(kernels: list[str], shape: Shape) -> torch.Tensor:
    """Logits with which heads start, one kernel each in turn: (all heads, kernels)."""
    first = torch.zeros(shape.heads + shape.solved, len(kernels))
    turn = torch.arange(shape.heads)
    first[turn, turn % len(kernels)] = FIRST
    order = sorted(kernels, key=lambda name: STRONG.index(name) if name in STRONG else len(STRONG))
    for place in range(shape.solved):
        first[shape.heads + place, kernels.index(order[place % len(order)])] = FIRST / 2
    return first


def _cross(context, values):
    """Weights by cosine of context effects and response in other screens: (perturbations, 2, context)."""
    cosine = F.normalize(context.response, dim=1) @ F.normalize(values, dim=1).T
    weights = torch.stack([cosine.clamp(min=0), (-cosine).clamp(min=0)], dim=1) ** 2
    return (weights + 0.01) * context.other[:, None]


def _identity(genes):
    """Numbers of about unit size made from each gene's name, whatever the order: (genes, IDENTITY)."""
    raw = b"".join(hashlib.sha256(str(name).encode()).digest()[:IDENTITY] for name in genes)
    return (np.frombuffer(raw, np.uint8).reshape(len(genes), IDENTITY) - 127.5) / 73.9
