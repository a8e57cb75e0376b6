"""Figures of models: constant predictions, scores with their intervals, gains by knockdown."""

import numpy as np

from .style import (
    BLUE,
    ORANGE,
    RED,
    SKY,
    height_of,
    name_rows,
    new_figure,
    percent,
)


def constants(effects, weights, mean, constant, genes=8):
    """Two constant rows (series by gene) among the effects of the genes where they differ most."""
    farther = (constant.abs() > mean.abs()).mean()
    shown = (weights.sum() * (constant - mean).abs()).nlargest(genes).index
    figure, (axis,) = new_figure(
        f"The best constant lies farther from 0 than the mean in {percent(farther)} of the genes",
        height=1.4 + 0.4 * len(shown),
    )
    for place, gene in enumerate(shown):
        area = 150 * weights[gene] / weights[gene].max()
        axis.scatter(effects[gene], np.full(len(effects), place), area, color=SKY, alpha=0.6)
    axis.plot(mean[shown], range(len(shown)), "|", color="black", markersize=14, label="mean")
    axis.plot(constant[shown], range(len(shown)), "D", color=RED, label="metric-optimal constant")
    axis.axvline(0, color="0.6", linewidth=0.8)
    name_rows(axis, shown, size=10)
    axis.set(xlabel="effect, log2 (a dot a knockdown, its area the weight)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def forest(scores, ceiling=None):
    """Scores for 60 rows with their intervals, a row a model, beside floor (0) and ceiling.

    scores: frame by model of `score`, `low`, `high`.
    """
    best = scores["score"].idxmax()
    figure, (axis,) = new_figure(
        f"Best: {best}, {scores['score'].max():.2f} for 60 unseen knockdowns;\nthe mean scores 0"
        + (f", half the cells {ceiling:.1f}" if ceiling is not None else ""),
        height=1.3 + 0.35 * len(scores),
    )
    reach = (scores["score"] - scores["low"], scores["high"] - scores["score"])
    axis.errorbar(scores["score"], range(len(scores)), xerr=reach, fmt="o", color=BLUE, capsize=3)
    axis.axvline(0, color="black", linewidth=1, label="floor: the mean")
    if ceiling is not None:
        axis.axvline(ceiling, color=RED, linestyle="--", label="ceiling: half the cells")
    name_rows(axis, scores.index, size=10)
    axis.set(xlabel="out-of-fold score for 60 rows, 90 % interval")
    axis.legend(frameon=False)
    return figure


def gains(w):
    """Bars of the knockdowns' terms of W, sorted; w: series by perturbation."""
    w = w.sort_values(ascending=False)
    figure, (axis,) = new_figure(
        f"{(w > 0).sum()} of {len(w)} unseen knockdowns are nearer than the mean: "
        f"they give {w[w > 0].sum():.2f} to W, the others {w[w <= 0].sum():.2f}",
        height=height_of(w),
    )
    axis.barh(range(len(w)), w, color=np.where(w > 0, BLUE, ORANGE))
    axis.axvline(0, color="black", linewidth=0.8)
    name_rows(axis, w.index)
    axis.set(xlabel="term of W: log2(WMAE of the mean / WMAE of the model)")
    return figure
