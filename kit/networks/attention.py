"""Attention between knockdowns, whose effects speak for one that is not measured, and between genes.

A head mixes the kernels of `views` to a likeness of its own. Most weigh rows by a power of it, as an
attention does; some solve for weights as kernel ridge regression does, so that rows that say the same do
not count twice. All values are (looked, genes, channels): the effects of the rows that are looked at.
"""

import math

import torch
import torch.nn.functional as F

from .context import OWN

FIRST = 4.0  # logit by which a head prefers one kernel at the start
SPEED = 10.0  # of mixtures against other parameters, which move by hundredths and not by units
STRONG = (
    "all_sets",
    "smoothed_response",
    "neighbour_response",
    "response_cosine",
)  # kernels that solved heads start from, first


class Heads(torch.nn.Module):
    """Attention over knockdowns: each head mixes kernels to a likeness of its own."""

    def __init__(self, kernels, shape):
        super().__init__()
        self.count = shape.heads
        own = torch.tensor([name in OWN for name in kernels])
        self.register_buffer("own", own, persistent=False)
        self.mix = torch.nn.Parameter(first_mix(kernels, shape) / SPEED)
        self.power = torch.nn.Parameter(torch.full((shape.heads, 1), math.log(2.0)))
        self.floor = torch.nn.Parameter(torch.full((shape.heads, 1), math.log(0.01)))
        self.ridge = torch.nn.Parameter(torch.zeros(shape.solved))

    def forward(self, known):
        """Known -> weights (asked, heads, looked), not yet shares; solved, same shape, of any sign."""
        hidden = known.hidden[:, None, None] > 0
        open_, closed = (self._mixed(known.kernels, flag) for flag in (False, True))
        like = torch.where(hidden, closed, open_).transpose(1, 2)
        other = known.other[:, None]  # a knockdown does not look at itself
        like = like * other
        power, floor = self.power.exp(), self.floor.exp()
        weights = ((like[:, : self.count] + 1e-6) ** power + floor) * other
        solvers = [self._solver(known.among, flag) for flag in (False, True)]
        asked = like[:, self.count :]
        open_, closed = (torch.einsum("qhs,hst->qht", asked, solver) for solver in solvers)
        return weights, torch.where(hidden, closed, open_)

    def mixture(self, hidden=False):
        """Share of each kernel in a head's likeness: (all heads, kernels)."""
        logits = SPEED * self.mix
        return (logits.masked_fill(self.own, -1e4) if hidden else logits).softmax(dim=1)

    def _mixed(self, kernels, hidden):
        """Likeness by head, without responses of their own for those hidden: (..., all heads)."""
        return kernels @ self.mixture(hidden).T

    def _solver(self, among, hidden):
        """Inverse of likeness among looked rows plus a ridge: (solved, looked, looked)."""
        mixed = self._mixed(among, hidden)[..., self.count :].permute(2, 0, 1)
        mixed = (mixed + mixed.transpose(1, 2)) / 2
        size = mixed.diagonal(dim1=1, dim2=2).sum(dim=1) / max(mixed.shape[1], 1) + 1e-3
        ridge = (0.1 + self.ridge.exp()) * size
        return torch.linalg.inv(mixed + torch.diag_embed(ridge[:, None].expand(mixed.shape[:2])))


class Block(torch.nn.Module):
    """Attention between genes through latents: memory and time linear in genes."""

    def __init__(self, shape):
        super().__init__()
        width = shape.width
        self.latents = torch.nn.Parameter(torch.randn(shape.latents, width) / 2)
        self.norm = torch.nn.LayerNorm(width)
        self.read = torch.nn.Linear(width, 2 * width)  # keys and values of genes
        self.told = torch.nn.Linear(width, 2 * width)  # keys and values of latents
        self.ask = torch.nn.Linear(width, width)
        self.think = torch.nn.Sequential(
            torch.nn.LayerNorm(width),
            torch.nn.Linear(width, 2 * width),
            torch.nn.GELU(),
            torch.nn.Linear(2 * width, width),
        )

    def forward(self, tokens):
        """(names, genes, width) -> the same; fused attention, no (genes, genes) matrix."""
        normed = self.norm(tokens)
        latents = self.latents.expand(len(tokens), -1, -1)
        latents = F.scaled_dot_product_attention(latents, *self.read(normed).chunk(2, dim=2))
        told = self.told(latents).chunk(2, dim=2)
        tokens = tokens + F.scaled_dot_product_attention(self.ask(normed), *told)
        return tokens + self.think(tokens)


def first_mix(kernels, shape):
    """Logits with which heads start, one kernel each in turn: (all heads, kernels)."""
    first = torch.zeros(shape.heads + shape.solved, len(kernels))
    turn = torch.arange(shape.heads)
    first[turn, turn % len(kernels)] = FIRST
    order = sorted(kernels, key=lambda name: STRONG.index(name) if name in STRONG else len(STRONG))
    for place in range(shape.solved):
        first[shape.heads + place, kernels.index(order[place % len(order)])] = FIRST / 2
    return first


def cross(known, values):
    """Weights by whose effect here is like, or opposed to, the response elsewhere: (names, 2, looked)."""
    alike = F.normalize(known.response, dim=1) @ F.normalize(values, dim=1).T
    weights = torch.stack([alike.clamp(min=0), (-alike).clamp(min=0)], dim=1) ** 2
    return (weights + 0.01) * known.other[:, None]
