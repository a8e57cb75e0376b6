"""What the transformer and the graph network share: findings of context perturbations, and their decoder.

Both weigh the context perturbations of each perturbation, average their effects, add what other screens
hold, and let a decoder decide by gene how much each of these findings counts. Nothing found, no shift.
Values are (context, genes, channels), weights (perturbations, heads, context).
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .context import Context


class Decoder(torch.nn.Module):
    """How much each finding counts for a gene's shift and scale, from the findings themselves.

    findings: their number; others: how many numbers there are beside them; middle: makes the module
    between the two layers; weights: of all, and of what is not common to all genes. The last layer starts
    at 0: an untrained network changes nothing.
    """

    def __init__(self, findings: int, others: int, width: int, middle: Callable, *weights: float):
        super().__init__()
        self.gain, self.share = weights or (1.0, 1.0)
        self.common = torch.nn.Parameter(torch.zeros(2, findings))
        self.scaled = torch.nn.LayerNorm(findings)
        self.enter = torch.nn.Linear(2 * findings + others, width)
        self.middle = middle()
        self.leave = torch.nn.Linear(width, 2 * findings)
        torch.nn.init.zeros_(self.leave.weight)
        torch.nn.init.zeros_(self.leave.bias)

    def forward(self, findings: Tensor, fixed: Tensor, single: Tensor, *more: Tensor):
        """(perturbations, genes, findings) -> of shift, of scale, the same shape each.

        fixed: (genes, numbers); single: (perturbations, numbers); more: (perturbations, genes) each.
        """
        count, scaled = findings.shape[:2], self.scaled(findings)
        parts = [scaled, scaled.abs(), fixed.expand(*count, -1), single[:, None].expand(*count, -1)]
        parts += [part[..., None] for part in more]
        out = self.leave(self.middle(F.gelu(self.enter(torch.cat(parts, dim=2)))))
        return (self.gain * (self.common + self.share * out.unflatten(2, (2, -1)))).unbind(2)


class ContextNetwork(torch.nn.Module):
    """A network whose shift is a sum of findings, each times what its decoder makes of it."""

    def forward(self, context: Context, *options):
        """Logit shift and log scale: (perturbations, genes) each."""
        found, of_shift, of_scale = self.findings(context, *options)
        out = (of_shift * found).sum(dim=2), (of_scale * found.abs()).sum(dim=2)
        # What holds for all perturbations is in the genes' own odds: `predict_logits` subtracts it.
        return tuple(part - part.mean(dim=0) for part in out) if self.training else out


def averaged(weights: Tensor, values: Tensor, measured: Tensor, mass: Tensor | None = None):
    """Mean of the context's values where measured, by head: (perturbations, genes, heads, channels).

    mass: weights that the sum is divided by, where these are not those of the values.
    """
    total = torch.einsum("qhs,sgc->qghc", weights, values)
    mass = torch.einsum("qhs,sg->qgh", weights if mass is None else mass, measured)
    return total / (mass + 1e-6)[..., None]


def regressed(context: Context, values: Tensor) -> Tensor:
    """Values by each gene's own slope on responses in other screens: (perturbations, genes, channels).

    Slopes shrink to that of all genes.
    """
    mean = context.context_response.sum(dim=0) / max(len(values), 1)
    centred = (context.context_response - mean) * context.measured
    square = (centred**2).sum(dim=0)
    prior = 10 * square.mean() / max(len(values), 1) + 1e-6  # worth ten rows
    product = torch.einsum("sg,sgc->gc", centred, values)
    common = product.sum(dim=0) / (square.sum() + 1e-6)
    slope = (product + prior * common) / (square + prior)[:, None]
    return (context.response - mean)[..., None] * slope


def of_perturbations(
    context: Context, weights: Tensor, values: Tensor, solved: Tensor | None = None
) -> Tensor:
    """What holds for all genes of a perturbation: (perturbations, 3 + 2 heads + solved heads).

    Whether and how strong its response in other screens is, the strength of its context by `weights` and
    by `solved` weights, and the log of how many rows share a head's weight.
    """
    strength = (values[..., 0] ** 2).sum(dim=1) / (context.measured.sum(dim=1) + 1e-6)
    mean = strength.sum() / max(len(strength), 1)
    strength = strength / (mean + 1e-6) - 1  # against the mean of the rows
    share = shares(weights)
    rows = -torch.log((share**2).sum(dim=2) + 1e-9)
    size = context.response.abs().mean(dim=1, keepdim=True)
    hidden = context.hidden[:, None]
    strengths = [part @ strength for part in (share, solved) if part is not None]
    return torch.cat([hidden, size, size * hidden, *strengths, rows], dim=1)


def standardised(control: np.ndarray) -> np.ndarray:
    """Control means in standard deviations over genes, 0 where unknown: (genes,)."""
    return np.nan_to_num((control - np.nanmean(control)) / (np.nanstd(control) + 1e-9))


def shares(weights: Tensor) -> Tensor:
    """Weights as shares of the context: (perturbations, heads, context)."""
    return weights / (weights.sum(dim=2, keepdim=True) + 1e-9)


def signed_root(values: Tensor) -> Tensor:
    """Square root of the size, with the sign."""
    return values.sign() * values.abs().sqrt()
