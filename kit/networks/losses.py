"""What networks return, and their loss: the log loss of ranges of effects, and the competition's terms.

A network returns two numbers of each (perturbation, gene): a shift s of the log odds that the effect
exceeds each of the gene's thresholds, and a log scale t by which these odds are divided. At s = t = 0 the
predictive distribution is the gene's own in the screen, whose score-optimal values are the best constant:
a network that has learned nothing does no harm.

Networks learn in episodes: some rows of a screen are predicted from others, their context.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..io.files import InputError
from ..metric import GATE
from .context import Context, Contexts
from .screen_data import ScreenData

LIMIT = 10.0  # x the mean: no entry weighs more
EPS = 1e-6
APART = 80.0  # largest -log scale: exp of 89 is infinite in float32
SUPPORT = 80  # context rows in training: as many as the competition has
AT_ONCE = 32  # perturbations predicted at once
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


@dataclass(frozen=True, eq=False)
class Episodes:
    """How a network is trained and checked: rows of a screen, predicted from others.

    batch, genes: at most so many rows and genes a step; hide: share of the rows that in training are
    treated as if no other screen held them.
    """

    contexts: Contexts
    weights: LossWeights
    batch: int
    genes: int
    hide: float

    def step_loss(self, network: torch.nn.Module, screen: ScreenData, random: np.random.Generator):
        """Loss of rows drawn from a screen, at some of its genes: a scalar."""
        order = random.permutation(len(screen))
        count = max(1, min(self.batch, len(screen) // 2))
        rows, support = order[:count], order[count : count + SUPPORT]
        genes = np.sort(random.permutation(len(screen.genes))[: self.genes])
        effects, weights = screen.resample(rows, random)[:, genes], screen.weights[rows][:, genes]
        names = [screen.perturbations[row] for row in rows]
        seen = screen.subset(support, marginals=True)
        out = outputs(network, self.contexts(names, seen, genes, hide=self.hide))
        truth = effects, weights, screen.row_weights[rows]
        return loss(self.weights, screen.columns(genes), *out, *truth)

    def check_loss(self, network: torch.nn.Module, seen: ScreenData, left: ScreenData):
        """Loss of rows left out, by the marginals of those seen: a scalar."""
        out = predict_logits(network, self.contexts, left.perturbations, seen)
        return loss(self.weights, left, *out, left.effects, left.weights, left.row_weights)

    def row_losses(
        self, network: torch.nn.Module, seen: ScreenData, left: ScreenData, shares: Sequence[float]
    ) -> list[list[float]]:
        """Loss of each row left out if only a share of the network's output counted: lists by share."""
        place = next(network.parameters()).device
        seen, left, found = seen.to(place), left.to(place), []
        with torch.no_grad():
            out = predict_logits(network, self.contexts, left.perturbations, seen)
        for row in range(len(left)):
            one = slice(row, row + 1)
            truth = left.effects[one], left.weights[one], left.row_weights[one]
            parts = ([share * part[one] for part in out] for share in shares)
            found.append([float(loss(self.weights, left, *part, *truth)) for part in parts])
        return found


def outputs(network: torch.nn.Module, context: Context) -> tuple[Tensor, Tensor]:
    """Return a network's logit shift and log scale: (perturbations, genes) each.

    Raises InputError where the network returns anything else.
    """
    out, wanted = network(context), 2 * [(len(context.perturbations), len(context.genes))]
    found = [tuple(part.shape) for part in out]
    if found != wanted:
        name = type(network).__name__
        raise InputError(f"{name} returns shapes {found}, want {wanted}: shift and scale")
    return out


def predict_logits(
    network: torch.nn.Module, contexts: Contexts, perturbations: Sequence[str], seen: ScreenData
) -> list[Tensor]:
    """Return logit shift and log scale of any number of perturbations: (perturbations, genes) each.

    Less the network's mean over the rows seen: the genes' odds hold that. A tilt common to all
    perturbations would lower the loss, whose weights lean to large effects, and spoil the decision.
    """
    some = [seen.perturbations[place] for place in seen.spread(COMMON)]
    out, common = (_in_blocks(network, contexts, names, seen) for names in (perturbations, some))
    return [part - other.mean(dim=0) for part, other in zip(out, common, strict=True)]


def _in_blocks(network, contexts, names, seen):
    blocks = (names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE))
    parts = [outputs(network, contexts(block, seen)) for block in blocks]
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def beyond(screen: ScreenData, shift: Tensor, scale: Tensor) -> Tensor:
    """Log odds to exceed each threshold, descending along the last axis: (rows, genes, levels).

    shift, scale: (rows, genes) or (rows, 1).
    """
    odds = screen.odds.T[None]  # (1, genes, levels)
    # Without log loss nothing bounds the scale, and infinity times odds or a slope of 0 is NaN.
    apart = torch.exp(-scale.clamp(min=-APART))
    return odds * apart[:, :, None] + shift[:, :, None]


def bin_chances(screen: ScreenData, shift: Tensor, scale: Tensor) -> Tensor:
    """Probability of each bin, from below the first threshold up: (rows, genes, levels + 1)."""
    over = torch.sigmoid(beyond(screen, shift, scale))
    one = torch.ones_like(over[:, :, :1])
    return torch.cat([one, over], dim=2) - torch.cat([over, 0 * one], dim=2)


def expected_effect(screen: ScreenData, shift: Tensor, scale: Tensor) -> Tensor:
    """Mean effect under the probabilities, log2: (rows, genes)."""
    return (bin_chances(screen, shift, scale) * screen.values.T[None]).sum(dim=2)


def chance_loss(screen: ScreenData, shift, scale, effects, weights, row_weights):
    """Log loss over all thresholds, less that of the gene's own odds: 0 at shift = scale = 0."""
    target = screen.beyond(effects)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    found = loss_of(beyond(screen, shift, scale), target, reduction="none").sum(dim=2)
    own = screen.odds.T[None].expand_as(target)
    own = loss_of(own, target, reduction="none").sum(dim=2)
    pull = entry_weights(weights, row_weights)
    return (pull * (found - own)).sum() / (pull.sum() + EPS)


def entry_weights(weights: Tensor, row_weights: Tensor) -> Tensor:
    """Weight of an entry in the log loss: half the same for all, half the metric's; 0 if not measured."""
    measured = (weights > 0).float()
    pull = weights * row_weights[:, None]
    pull = pull / ((pull * measured).sum() / (measured.sum() + EPS) + EPS)
    return measured * (0.5 + 0.5 * pull.clamp(max=LIMIT))


def wmae_loss(prediction, effects, weights, row_weights, constant):
    """Weighted absolute error over that of the constant (genes,), both summed by row weights."""
    error = (weights * (effects - prediction).abs()).sum(dim=1)
    own = (weights * (effects - constant).abs()).sum(dim=1)
    return (row_weights * error).sum() / ((row_weights * own).sum() + EPS)


def cosine_loss(prediction, effects, measured, gate: float = GATE):
    """1 - the competition's gated cosine over all rows; differentiable but for the gate's corners."""
    size = torch.maximum(effects.abs(), prediction.detach().abs())
    ramp = (size / gate).clamp(max=1)
    square = (ramp * ramp * (3 - 2 * ramp)) ** 2 * measured
    dot = (square * effects * prediction).sum()
    norm = (square * effects**2).sum() * (square * prediction**2).sum()
    return 1 - dot / torch.sqrt(norm + EPS)


def loss(terms: LossWeights, screen: ScreenData, shift, scale, effects, weights, row_weights):
    """Sum of the terms for some rows of a screen: a scalar.

    screen: holds the marginals; shift, scale: what the network returns; effects, weights: (rows, genes);
    row_weights: (rows,).
    """
    truth = effects, weights, row_weights
    total = shift.sum() * 0.0
    if terms.chance:
        total = total + terms.chance * chance_loss(screen, shift, scale, *truth)
    if terms.wmae or terms.cosine:
        prediction = expected_effect(screen, shift, scale)
        constant = expected_effect(screen, torch.zeros_like(shift[:1]), torch.zeros_like(scale[:1]))
        if terms.wmae:
            total = total + terms.wmae * (wmae_loss(prediction, *truth, constant[0]) - 1)
        if terms.cosine:
            total = total + terms.cosine * cosine_loss(prediction, effects, weights > 0)
    return total
