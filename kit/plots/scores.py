"""Scores of models: with intervals, paired, by perturbation, by similarity to training, and of blends."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..expression.similarity import most_similar
from .style import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    SKY,
    bars,
    height_of,
    intervals,
    name_rows,
    new_figure,
    number_map,
    percent,
    with_legend,
)

SCORE, GAIN = ["score", "low", "high"], ["difference", "difference_low", "difference_high"]


def constants(
    effects: pd.DataFrame, weights: pd.DataFrame, mean: pd.Series, constant: pd.Series
) -> Figure:
    """Draw two constant predictions among the effects of the eight genes where they differ most.

    effects, weights: perturbation x gene; mean, constant: by gene; log2.
    """
    farther = (constant.abs() > mean.abs()).mean()
    shown = (weights.sum() * (constant - mean).abs()).nlargest(8).index
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
    axis.set(xlabel="effect, log2 (a dot a perturbation, its area the weight)")
    return with_legend(figure, axis)


def comparison(
    table: pd.DataFrame, reference: str | None = None, ceiling: float | None = None
) -> Figure:
    """Draw scores with intervals, a row a model, and the paired gains over the model `reference`.

    table: as `compare` gives it (columns `score`, `low`, `high`, and with a reference `difference` and
    its ends), or `compare_grouped`, whose two kinds of folds share a row. ceiling: the noise ceiling.
    """
    names = table.index.get_level_values(-1).unique()
    grouped = table.index.nlevels > 1
    kinds = {"": table}
    if grouped:
        kinds = {f"{kind} folds": table.loc[kind] for kind in table.index.unique(0)}
    titles = (_verdict(part, reference, kind) for kind, part in kinds.items())
    columns = 2 if reference else 1
    figure, axes = new_figure("\n".join(titles), columns=columns, height=2 + 0.3 * len(names))
    for axis, three in zip(axes, (SCORE, GAIN), strict=False):
        parts = {kind or "90 % interval": part.loc[names, three] for kind, part in kinds.items()}
        intervals(axis, parts, apart=0.3)
        name_rows(axis, names if axis is axes[0] else [""] * len(names), size=9)
    if ceiling is not None:
        axes[0].axvline(ceiling, color=RED, linestyle="--", label="noise ceiling: half the cells")
    axes[0].set(xlabel="score for 60 rows (hollow: the interval includes 0)")
    if reference:
        axes[1].set(xlabel=f"gain over {reference}, paired")
    return with_legend(figure, axes[0])


def cell_line_gains(scores: pd.DataFrame, reference: str = "constant") -> Figure:
    """Draw gains over `reference` in each cell line by model.

    scores: by (line, model), columns as of `compare`.
    """
    others = scores.drop(index=reference, level=1)
    models, names = others.index.unique(1), others.index.unique(0)
    last = others.xs(models[-1], level=1)
    figure, (axis,) = new_figure(
        f"“{models[-1]}” is better than “{reference}” in {(last['difference'] > 0).sum()} of {len(last)} "
        f"cell lines,\nthe 90 % interval is above 0 in {(last['difference_low'] > 0).sum()}",
        height=1.6 + 0.2 * len(others) + 0.2 * len(names),
    )
    parts = {model: others.xs(model, level=1).loc[names, GAIN] for model in models}
    intervals(axis, parts, apart=0.25)
    floor = scores["score"].xs(reference, level=1)
    name_rows(axis, [f"{name}\n{reference} {floor[name]:.1f}" for name in names], size=8)
    axis.set(xlabel=f"gain over {reference} for 60 rows, paired (hollow: the interval includes 0)")
    return with_legend(figure, axis)


def gains(w: pd.Series, other: pd.Series, names: Sequence[str]) -> Figure:
    """Draw what each perturbation gains in W by one model over another, sorted.

    w, other: terms of W by perturbation, log2(WMAE of the mean / WMAE of the model), 0 for the mean;
    names: of the two models.
    """
    gain = (w - other[w.index]).sort_values(ascending=False)
    won, lost = gain[gain > 0], gain[gain < 0]
    figure, (axis,) = new_figure(
        f"“{names[0]}” is closer than “{names[1]}” for {len(won)} of {len(gain)} held-out "
        f"perturbations,\n{won.sum():+.2f} in W, farther for {len(lost)}, {lost.sum() + 0.0:+.2f}",
        height=height_of(gain),
    )
    bars(axis, gain, color=np.where(gain > 0, BLUE, ORANGE))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"gain in W by “{names[0]}” over “{names[1]}”")
    return figure


def nearness(nearest: pd.Series, w: pd.Series, bins: pd.DataFrame) -> Figure:
    """Draw each perturbation's term of W by its similarity to the nearest training one, and bins' means.

    nearest, w: by perturbation; bins: as `by_nearness` gives it.
    """
    known = bins.drop(index="unknown", errors="ignore")
    ends = [
        f"{part['score'] + 0.0:.2f} ({part['low'] + 0.0:.2f} to {part['high'] + 0.0:.2f})"
        for part in (known.iloc[0], known.iloc[-1])
    ]
    figure, (axis,) = new_figure(
        f"Score for 60 rows with the least similar training perturbations {ends[0]},\n"
        f"with the most similar {ends[1]}; in brackets the 90 % interval"
    )
    axis.scatter(nearest, w[nearest.index], 18, SKY, linewidth=0, label="held-out perturbation")
    label = "mean of a bin, 90 % interval"
    for _, part in known.iterrows():
        inside = w[nearest.index[nearest.between(part["least"], part["most"])]]
        reach = 1.645 * inside.std() / np.sqrt(len(inside)) if len(inside) > 1 else np.nan
        mean, span = inside.mean(), [part["least"], part["most"]]
        axis.hlines(mean, *span, BLUE, linewidth=3, label=label)
        axis.fill_between(span, mean - reach, mean + reach, color=BLUE, alpha=0.2)
        label = None
    axis.axhline(0, color="black", linewidth=0.8, label="the fold's mean effect")
    axis.set(xlabel="similarity to the nearest training perturbation", ylabel="term of W")
    return with_legend(figure, axis)


def model_similarity(cosine: pd.DataFrame) -> Figure:
    """Draw a map of the cosines between base models' predictions, each less the mean effect.

    cosine: model x model; NaN where a model predicts nothing but the mean.
    """
    similar = most_similar(cosine).dropna()
    pairs = [f"“{one}” and “{other}”, {size:.2f}" for (one, other), size in similar.items()]
    title = "One base model alone: nothing to compare"
    if pairs:
        title = f"Most similar: {pairs[0]}"
    if len(pairs) > 1:
        title += f";\nleast: {pairs[-1]}"
    figure, (axis,) = new_figure(title, height=1.7 + 0.35 * len(cosine))
    rows = [f"{name}  {number}" for number, name in enumerate(cosine.index, 1)]
    image = number_map(axis, cosine, rows, "RdBu_r", -1, 1)
    axis.set_xticks(range(len(cosine)), range(1, len(cosine) + 1), fontsize=9)
    figure.colorbar(image, label="cosine")
    axis.set(xlabel="out-of-fold predictions less the mean effect")
    return figure


def blend_path(path: pd.DataFrame, best: float, robust: int) -> Figure:
    """Draw the nested score of the best blend of each size, with intervals, and the two submitted ones.

    path: by size, `score`, `low`, `high`; best: nested score for 60 rows of the submitted best, after
    shares by group and stretch; robust: size of the robust blend.
    """
    top, kept = path["score"].max(), path.at[robust, "score"]
    title = f"The robust blend of {robust} scores {kept:.2f}, the best size {top:.2f};\n"
    figure, (axis,) = new_figure(f"{title}the best blend as submitted: {best:.2f}", height=3.8)
    sizes, reach = path.index, path[["low", "high"]].sub(path["score"], axis=0).abs().T
    style = {"fmt": "o-", "color": BLUE, "capsize": 3, "label": "blend"}
    axis.errorbar(sizes, path["score"], yerr=reach, **style)
    axis.plot(robust, kept, "o", color=GREEN, markersize=12, alpha=0.6, label="robust")
    axis.plot(path["score"].idxmax(), best, "D", color=ORANGE, markersize=7, label="best", zorder=4)
    axis.axhline(0, color="black", linewidth=1, label="floor: the mean")
    axis.set(xticks=sizes, xlim=(sizes.min() - 0.5, sizes.max() + 0.5))
    axis.set(xlabel="base models at most", ylabel="out-of-fold score for 60 rows,\n90 % interval")
    return with_legend(figure, axis)


def _verdict(table, reference, kind):
    if reference is None:
        best, score = table["score"].idxmax(), table["score"].max()
        text = f"best: {best}, {score:.2f} for 60 rows out of fold; the mean scores 0"
    else:
        others = table.drop(index=reference)
        better, worse = (others["difference_low"] > 0).sum(), (others["difference_high"] < 0).sum()
        text = f"{better} of {len(others)} models are better than “{reference}”, {worse} worse, "
        text += "by the paired 90 % interval"
    text = f"{kind}: {text}" if kind else text
    return text[0].upper() + text[1:]
