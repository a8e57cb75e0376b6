"""What networks are trained for: the chance of each range of effects, and the competition's own terms.

A network says two numbers of each (knockdown, gene) pair: a shift s of the log odds that the effect lies
beyond each of the gene's thresholds, and a log width t by which these odds are drawn together. At
s = t = 0 the belief is the gene's own distribution in the screen, whose decided values are the best
constant: a network that has learned nothing does no harm.
"""

from dataclasses import dataclass

import torch

from ..metric import GATE

LIMIT = 10.0  # x the mean: no entry weighs more
EPS = 1e-6
APART = 80.0  # largest -log width: exp of 89 is infinite in float32


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss's pieces, 0 switches one off.

    chance: log loss of lying beyond each threshold, half of it by the metric's weights; wmae: weighted
    absolute error of the expected effect, relative to the best constant's; cosine: 1 - gated cosine.
    """

    chance: float = 1.0
    wmae: float = 0.0
    cosine: float = 0.0


def beyond(rows, shift, width):
    """Log odds to lie beyond each threshold, descending along the last axis: (rows, genes, levels).

    shift, width: (rows, genes) or (rows, 1).
    """
    odds = rows.odds.T[None]  # (1, genes, levels)
    # Without log loss nothing holds the width back, and infinity times an odds or a slope of 0 is NaN.
    apart = torch.exp(-width.clamp(min=-APART))
    return odds * apart[:, :, None] + shift[:, :, None]


def bin_chances(rows, shift, width):
    """Chance of each bin, from below the first threshold up: (rows, genes, levels + 1)."""
    over = torch.sigmoid(beyond(rows, shift, width))
    one = torch.ones_like(over[:, :, :1])
    return torch.cat([one, over], dim=2) - torch.cat([over, 0 * one], dim=2)


def expected_effect(rows, shift, width):
    """Mean effect under the chances, log2: (rows, genes)."""
    return (bin_chances(rows, shift, width) * rows.values.T[None]).sum(dim=2)


def chance_loss(rows, shift, width, effects, weights, row_weights):
    """Log loss over all thresholds, less that of the gene's own odds: 0 for a blind network."""
    target = rows.beyond(effects)
    found = torch.nn.functional.binary_cross_entropy_with_logits(
        beyond(rows, shift, width), target, reduction="none"
    ).sum(dim=2)
    blind = torch.nn.functional.binary_cross_entropy_with_logits(
        rows.odds.T[None].expand_as(target), target, reduction="none"
    ).sum(dim=2)
    pull = entry_pull(weights, row_weights)
    return (pull * (found - blind)).sum() / (pull.sum() + EPS)


def entry_pull(weights, row_weights):
    """How much an entry counts: half alike, half as the metric weighs it; 0 where not measured."""
    measured = (weights > 0).float()
    pull = weights * row_weights[:, None]
    pull = pull / ((pull * measured).sum() / (measured.sum() + EPS) + EPS)
    return measured * (0.5 + 0.5 * pull.clamp(max=LIMIT))


def wmae_loss(prediction, effects, weights, row_weights, constant):
    """Weighted absolute error over that of the constant (genes,), both summed by row weights."""
    error = (weights * (effects - prediction).abs()).sum(dim=1)
    blind = (weights * (effects - constant).abs()).sum(dim=1)
    return (row_weights * error).sum() / ((row_weights * blind).sum() + EPS)


def cosine_loss(prediction, effects, measured, gate=GATE):
    """1 - the competition's gated cosine over all rows; differentiable but for the gate's corners."""
    size = torch.maximum(effects.abs(), prediction.detach().abs())
    ramp = (size / gate).clamp(max=1)
    square = (ramp * ramp * (3 - 2 * ramp)) ** 2 * measured
    dot = (square * effects * prediction).sum()
    norm = (square * effects**2).sum() * (square * prediction**2).sum()
    return 1 - dot / torch.sqrt(norm + EPS)


def loss(pieces, rows, shift, width, effects, weights, row_weights):
    """Sum of the pieces for one batch of rows of a screen, a scalar tensor.

    rows: the Rows that hold the screen's marginals; shift, width: what the network says; effects,
    weights: (rows, genes) of the batch; row_weights: (rows,).
    """
    total = shift.sum() * 0.0
    if pieces.chance:
        total = total + pieces.chance * chance_loss(
            rows, shift, width, effects, weights, row_weights
        )
    if pieces.wmae or pieces.cosine:
        prediction = expected_effect(rows, shift, width)
        constant = expected_effect(rows, torch.zeros_like(shift[:1]), torch.zeros_like(width[:1]))
        if pieces.wmae:
            error = wmae_loss(prediction, effects, weights, row_weights, constant[0])
            total = total + pieces.wmae * (error - 1)
        if pieces.cosine:
            total = total + pieces.cosine * cosine_loss(prediction, effects, weights > 0)
    return total
