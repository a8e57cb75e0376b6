"""What two networks make of the rows that they look at: answers in each gene's own terms, and findings.

Rows of a screen, evenly spread, are looked at by every knockdown that is asked for, but for itself. Their
values are (looked, genes, channels), less the gene's mean and 0 where not measured, and weights (names,
heads, looked); the numbers that hold for a knockdown or a gene as a whole stand beside.
"""

import numpy as np
import torch

from .screen_data import LEVELS

LOOKED_AT = 256  # rows of a screen that are looked at, at most
CHANNELS = 3  # numbers that stand for an effect: overall, far up, far down


def ramps():
    """How far each threshold that an effect passes counts in each channel: (levels, channels)."""
    levels = torch.as_tensor(LEVELS, dtype=torch.float32)
    found = [torch.ones_like(levels), (levels > 0.75).float(), (levels < 0.25).float()]
    found = torch.stack(found, dim=1)
    return 2 * found / found.sum(dim=0)


def look(network, names, seen, genes):
    """What is known of the names beside the rows that are looked at, and these rows' names.

    In training a share `hidden` of the names is taken as if no other screen held them.
    """
    looked = [seen.perturbations[place] for place in seen.spread(LOOKED_AT)]
    hide = torch.rand(len(names)) < network.shape.hidden if network.training else None
    view = network.views.view(seen.name, [*names, *looked])
    return view.known(names, looked, genes, hide=hide, device=seen.effects.device), looked


def answers(seen, genes, channels):
    """Values of the rows looked at, and where they were measured: (looked, genes), 0 or 1."""
    places = seen.spread(LOOKED_AT)
    measured = (seen.weights[places][:, genes] > 0).float()
    effects, thresholds = seen.effects[places][:, genes], seen.thresholds[:, genes]
    values = (effects[:, :, None] > thresholds.T[None]).float() @ channels
    counted = measured[..., None]
    mean = (values * counted).sum(dim=0) / (counted.sum(dim=0) + 1e-6)
    return (values - mean) * counted, measured


def averaged(weights, values, measured, mass=None):
    """Mean of rows' values where measured, by head: (names, genes, heads, channels).

    mass: weights that the sum is divided by, where these are not those of the values.
    """
    total = torch.einsum("qhs,sgc->qghc", weights, values)
    mass = torch.einsum("qhs,sg->qgh", weights if mass is None else mass, measured)
    return total / (mass + 1e-6)[..., None]


def regressed(known, values, measured):
    """Values by each gene's own slope on responses elsewhere, shrunk to all genes': as heads' shape."""
    mean = known.responses.sum(dim=0) / max(len(values), 1)
    centred = (known.responses - mean) * measured
    square = (centred**2).sum(dim=0)
    prior = 10 * square.mean() / max(len(values), 1) + 1e-6  # ten rows' worth
    product = torch.einsum("sg,sgc->gc", centred, values)
    common = product.sum(dim=0) / (square.sum() + 1e-6)
    slope = (product + prior * common) / (square + prior)[:, None]
    return (known.response - mean)[..., None] * slope


def of_knockdowns(known, weights, values, measured, solved=None):
    """What holds for all genes of a knockdown: (names, numbers).

    Whether and how strongly it answered elsewhere, how strong the rows are that it looks at, by `solved`
    weights too, and the log of how many these are.
    """
    strength = (values[..., 0] ** 2).sum(dim=1) / (measured.sum(dim=1) + 1e-6)
    mean = strength.sum() / max(len(strength), 1)
    strength = strength / (mean + 1e-6) - 1  # against the mean of the rows
    share = shares(weights)
    rows = -torch.log((share**2).sum(dim=2) + 1e-9)
    size = known.response.abs().mean(dim=1, keepdim=True)
    hidden = known.hidden[:, None]
    strengths = [part @ strength for part in (share, solved) if part is not None]
    return torch.cat([hidden, size, size * hidden, *strengths, rows], dim=1)


def spread_of_genes(seen, genes):
    """Log spread of each gene's effects in a screen, in standard deviations over genes: (genes,)."""
    spread = torch.log(seen.thresholds[-2, genes] - seen.thresholds[1, genes] + 1e-3)
    return (spread - spread.mean()) / (spread.std(correction=0) + 1e-3)


def standardised(control):
    """Levels in control cells, (genes,), in standard deviations over genes, 0 where unknown: numpy."""
    return np.nan_to_num((control - np.nanmean(control)) / (np.nanstd(control) + 1e-9))


def shares(weights):
    """Weights of rows as shares: (names, heads, looked)."""
    return weights / (weights.sum(dim=2, keepdim=True) + 1e-9)


def root(values):
    return values.sign() * values.abs().sqrt()
