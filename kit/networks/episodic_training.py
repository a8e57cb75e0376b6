"""How a network is taught, checked and asked: some rows of a screen beside others that it may look at.

A network is a torch module: (names, seen Rows, places of genes) -> shift and width of the genes' odds,
(names, genes) each. What it is does not matter here, nor for how many steps it learns: `training`.
"""

import numpy as np
import torch

from .losses import loss

SUPPORT = 80  # rows looked at beside those asked for: as many as the competition has
AT_ONCE = 32  # rows asked for at once
COMMON = 64  # rows of which it is asked what a network says of every knockdown


def step_loss(network, rows, random, *, pieces, batch, genes):
    """Loss of `batch` rows drawn from a screen, at most `genes` of its genes, beside others: a scalar."""
    order = random.permutation(len(rows))
    count = max(1, min(batch, len(rows) // 2))
    asked, support = order[:count], order[count : count + SUPPORT]
    places = np.sort(random.permutation(len(rows.genes))[:genes])
    effects, weights = rows.resample(asked, random)[:, places], rows.weights[asked][:, places]
    names = [rows.perturbations[one] for one in asked]
    said = network(names, rows.subset(support, marginals=True), places)
    return loss(pieces, rows.columns(places), *said, effects, weights, rows.row_weights[asked])


def check_loss(network, seen, left, pieces):
    """Loss of rows left out, in the terms of those seen: a scalar."""
    said = predict_logits(network, left.perturbations, seen)
    return loss(pieces, left, *said, left.effects, left.weights, left.row_weights)


def row_losses(network, seen, left, pieces, shares):
    """Loss of each row left out if only a share of what is said were believed: lists by share."""
    place = next(network.parameters()).device
    seen, left = seen.to(place), left.to(place)
    with torch.no_grad():
        said = predict_logits(network, left.perturbations, seen)
    found = []
    for row in range(len(left)):
        one = slice(row, row + 1)
        told = [part[one] for part in said]
        truth = left.effects[one], left.weights[one], left.row_weights[one]
        of_shares = ([share * part for part in told] for share in shares)
        found.append([float(loss(pieces, left, *part, *truth)) for part in of_shares])
    return found


def predict_logits(network, names, seen):
    """What a network says of any number of names: shift and width, (names, genes).

    Less what it says of the rows seen, on average: the genes' odds hold that. A tilt common to all
    knockdowns would please the loss, whose weights lean to large effects, and spoil the decision.
    """
    some = [seen.perturbations[place] for place in seen.spread(COMMON)]
    said, common = (_said(network, one, seen) for one in (names, some))
    return [part - other.mean(dim=0) for part, other in zip(said, common, strict=True)]


def _said(network, names, seen):
    genes = np.arange(len(seen.genes))
    parts = [
        network(names[first : first + AT_ONCE], seen, genes)
        for first in range(0, len(names), AT_ONCE)
    ]
    return [torch.cat(part) for part in zip(*parts, strict=True)]
