"""What networks return, and their loss: the log loss of ranges of effects, and the competition's terms.

A network returns two numbers of each (perturbation, gene): a shift s of the log odds that the effect
exceeds each of the gene's thresholds, and a log scale t by which these odds are divided. At s = t = 0 the
predictive distribution is the gene's own in the screen, whose score-optimal values are the best constant:
a network that has learned nothing does no harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..io.files import InputError
from ..metric import GATE
from .context import Context, Priors
from .screen_data import Rows, ScreenData

LIMIT = 10.0  # x the mean: no entry weighs more
EPS = 1e-6
APART = 80.0  # largest -log scale: exp of 89 is infinite in float32
AT_ONCE = 2**20  # (perturbation, gene) pairs predicted at once
COMMON = 64  # rows over which the mean of a network's output is taken


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss's terms, 0 switches one off.

    chance: log loss of exceeding each threshold, half of it by the metric's weights; wmae: weighted
    absolute error of the expected effect, relative to the best constant's; cosine: 1 - gated cosine.
    """

    chance: float = 1.0
    wmae: float = 0.0
    cosine: float = 0.0


def outputs(network: torch.nn.Module, context: Context) -> tuple[Tensor, Tensor]:
    """Return a network's logit shift and log scale: (perturbations, genes) each.

    Raises InputError where the network returns anything else.
    """
    out, wanted = network(context), 2 * [(len(context.rows), len(context.genes))]
    found = [tuple(part.shape) for part in out]
    if found != wanted:
        name = type(network).__name__
        raise InputError(f"{name} returns shapes {found}, want {wanted}: shift and scale")
    return out


def predict_logits(
    network: torch.nn.Module, priors: Priors, perturbations: Sequence[str], seen: ScreenData
) -> tuple[Tensor, Tensor]:
    """Return logit shift and log scale of any number of perturbations: (perturbations, genes) each.

    seen: the rows to predict them from. Less the network's mean over these rows, as `centred_logits`.
    """
    some = [seen.perturbations[place] for place in seen.spread(COMMON)]
    context = Context.of(priors, [*perturbations, *some], seen)
    at_once = max(1, AT_ONCE // len(context.genes))
    return centred_logits(network, context, len(perturbations), at_once)


def centred_logits(
    network: torch.nn.Module, context: Context, count: int, at_once: int
) -> tuple[Tensor, Tensor]:
    """Return logit shift and log scale of the first `count` rows of a Context, less the others' mean.

    The others are rows seen: the genes' odds hold what they have in common. A tilt common to all
    perturbations would lower the loss, whose weights lean to large effects, and spoil the decision.
    """
    parts = [outputs(network, context.asking(block)) for block in context.rows.split(at_once)]
    both = (torch.cat(part) for part in zip(*parts, strict=True))
    return tuple(part[:count] - part[count:].mean(dim=0) for part in both)


def loss(terms: LossWeights, truth: Rows, shift: Tensor, scale: Tensor) -> Tensor:
    """Return the sum of the terms for the rows of a screen, by its marginals: a scalar.

    shift, scale: what the network returns for them.
    """
    total = shift.sum() * 0.0
    if terms.chance:
        total = total + terms.chance * chance_loss(truth, shift, scale)
    if terms.wmae or terms.cosine:
        prediction = expected_effect(truth, shift, scale)
        constant = expected_effect(truth, torch.zeros_like(shift[:1]), torch.zeros_like(scale[:1]))
        total = total + terms.wmae * (wmae_loss(truth, prediction, constant[0]) - 1)
        total = total + terms.cosine * cosine_loss(truth, prediction)
    return total


def beyond(screen: Rows, shift: Tensor, scale: Tensor) -> Tensor:
    """Log odds to exceed each threshold, descending along the last axis: (rows, genes, levels).

    shift, scale: (rows, genes) or (rows, 1).
    """
    odds = screen.odds.T[None]  # (1, genes, levels)
    # Without log loss nothing bounds the scale, and infinity times odds or a slope of 0 is NaN.
    apart = torch.exp(-scale.clamp(min=-APART))
    return odds * apart[:, :, None] + shift[:, :, None]


def bin_chances(screen: Rows, shift: Tensor, scale: Tensor) -> Tensor:
    """Probability of each bin, from below the first threshold up: (rows, genes, levels + 1)."""
    over = torch.sigmoid(beyond(screen, shift, scale))
    one = torch.ones_like(over[:, :, :1])
    return torch.cat([one, over], dim=2) - torch.cat([over, 0 * one], dim=2)


def expected_effect(screen: Rows, shift: Tensor, scale: Tensor) -> Tensor:
    """Mean effect under the probabilities, log2: (rows, genes)."""
    return (bin_chances(screen, shift, scale) * screen.values.T[None]).sum(dim=2)


def chance_loss(truth: Rows, shift: Tensor, scale: Tensor) -> Tensor:
    """Log loss over all thresholds, less that of the gene's own odds: 0 at shift = scale = 0."""
    target = truth.beyond()
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    found = loss_of(beyond(truth, shift, scale), target, reduction="none").sum(dim=2)
    own = truth.odds.T[None].expand_as(target)
    own = loss_of(own, target, reduction="none").sum(dim=2)
    pull = entry_weights(truth)
    return (pull * (found - own)).sum() / (pull.sum() + EPS)


def row_losses(
    terms: LossWeights, truth: Rows, shift: Tensor, scale: Tensor, share: float
) -> Tensor:
    """Return the loss of each row by itself, if only a share of shift and scale counted: (rows,)."""

    def one(effects, weights, row_weights, shift, scale):
        row = Rows(effects[None], weights[None], row_weights[None], *truth[3:])
        return loss(terms, row, share * shift[None], share * scale[None])

    return torch.vmap(one)(*truth[:3], shift, scale)


def entry_weights(truth: Rows) -> Tensor:
    """Weight of an entry in the log loss: half the same for all, half the metric's; 0 if not measured."""
    measured = truth.measured.float()
    pull = truth.weights * truth.row_weights[:, None]
    pull = pull / ((pull * measured).sum() / (measured.sum() + EPS) + EPS)
    return measured * (0.5 + 0.5 * pull.clamp(max=LIMIT))


def wmae_loss(truth: Rows, prediction: Tensor, constant: Tensor) -> Tensor:
    """Weighted absolute error over that of the constant (genes,), both summed by row weights."""
    error, own = (
        (truth.row_weights * (truth.weights * (truth.effects - guess).abs()).sum(dim=1)).sum()
        for guess in (prediction, constant)
    )
    return error / (own + EPS)


def cosine_loss(truth: Rows, prediction: Tensor, gate: float = GATE) -> Tensor:
    """1 - the competition's gated cosine over all rows; differentiable but for the gate's corners."""
    size = torch.maximum(truth.effects.abs(), prediction.detach().abs())
    ramp = (size / gate).clamp(max=1)
    square = (ramp * ramp * (3 - 2 * ramp)) ** 2 * truth.measured
    dot = (square * truth.effects * prediction).sum()
    norm = (square * truth.effects**2).sum() * (square * prediction**2).sum()
    return 1 - dot / torch.sqrt(norm + EPS)
