"""Figures of the metric: its weights, its gate, and where they put the best single value."""

import numpy as np

from ..expression.similarity import rank_correlation
from ..models.baselines import weighted_median
from .style import (
    BLUE,
    COLOURS,
    ORANGE,
    RED,
    density,
    new_figure,
    percent,
)


def weight_distribution(weights, effects):
    """Histogram of the positive weights, and weight against the size of the effect."""
    values, size = weights.to_numpy().ravel(), effects.abs().to_numpy().ravel()
    heavy = np.sort(values)[-max(1, len(values) // 20) :].sum() / values.sum()
    figure, axes = new_figure(
        f"The heaviest 5 % of entries hold {percent(heavy)} of all weight; median "
        f"{np.median(values):.2g}, {percent((values > 1).mean())} above 1\n"
        f"(rank correlation with |effect| {rank_correlation(effects.abs(), weights):.2f})",
        columns=2,
    )
    positive = values[values > 0]
    axes[0].hist(positive, np.geomspace(positive.min() * 0.9, positive.max() * 1.1, 60), color=BLUE)
    axes[0].axvline(1, color=RED)
    axes[0].set(xscale="log", xlabel="weight (red: 1, a row's mean)", ylabel="knockdown-gene pairs")
    density(axes[1], size, values, xlabel="|effect|, log2", ylabel="weight in WMAE")
    return figure


def weight_agreement(shipped, recomputed):
    """Shipped weights against recomputed ones: frames by name, whose rows and genes are taken."""
    taken = {name: shipped.loc[frame.index, frame.columns] for name, frame in recomputed.items()}
    rank = {name: rank_correlation(taken[name], frame) for name, frame in recomputed.items()}
    best = max(rank, key=rank.get)
    figure, axes = new_figure(
        f"Weights recomputed from the cells rank most like the shipped ones by {best}",
        columns=len(recomputed),
        height=4,
    )
    for axis, (name, frame) in zip(axes, recomputed.items(), strict=True):
        x, y = taken[name].to_numpy().ravel(), frame.to_numpy().ravel()
        density(axis, x, y, xlabel="shipped weight", ylabel="recomputed weight")
        axis.axline((1, 1), (10, 10), color=RED, label="equal")
        axis.set_title(f"{name}: rank correlation {rank[name]:.2f}", fontsize=10)
        axis.legend(frameon=False)
    return figure


def gate_and_weight(effects, weights, gene, gates):
    """Worked picture of the metric: the cosine's gate, and the error of one value for one gene.

    Left the factor by which a gene counts in Wcos; right the mean absolute error when every
    knockdown is predicted to have the same effect on `gene`, plain and weighted as in WMAE.
    """
    truth, weight = effects[gene], weights[gene]
    best = weighted_median(effects[[gene]], weights[[gene]])[gene]
    figure, (left, right) = new_figure(
        f"Small effects count for nothing in the cosine; for {gene} the weights move the best\n"
        f"single value from {truth.median():.2f} (median; mean {truth.mean():.2f}) to {best:.2f}",
        columns=2,
    )
    size = np.linspace(0, 1.5 * max(gates), 200)
    for gate, colour in zip(gates, COLOURS, strict=False):
        t = np.clip(size / gate, 0, 1)
        left.plot(size, (t**2 * (3 - 2 * t)) ** 2, color=colour, label=f"gate {gate}")
    left.set(xlabel="larger of |effect| and |prediction|, log2", ylabel="factor in the cosine, g²")
    guess = np.linspace(*np.quantile(truth, [0, 1]), 400)
    distance = np.abs(truth.to_numpy()[:, None] - guess)
    right.plot(guess, distance.mean(axis=0), color=BLUE, label="plain")
    right.plot(guess, weight @ distance / weight.sum(), color=ORANGE, label="weighted")
    right.axvline(best, color=ORANGE, linestyle=":")
    right.plot(truth, np.zeros(len(truth)), "|", color="black", label="the effects")
    right.set(xlabel=f"one effect on {gene} for all, log2", ylabel="mean absolute error, log2")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
