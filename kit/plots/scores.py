"""Scores of models: with intervals, paired, by perturbation, by similarity to training, and of blends."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..evaluation.predictions import OutOfFold
from ..expression.similarity import most_similar
from .style import (
    BLUE,
    ORANGE,
    RED,
    SKY,
    bars,
    cut,
    draw_ceiling,
    height_of,
    intervals,
    name_rows,
    new_figure,
    number_map,
    percent,
    readable,
    sentence,
    with_legend,
)

SAME = 1e-6  # log2: predictions that differ less between perturbations are those of a constant
EQUAL = 0.01  # of W on each row: an error that differs by 0.7 %
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
    table: pd.DataFrame,
    reference: str | None = None,
    ceiling: tuple[float, float, float] | None = None,
) -> Figure:
    """Draw scores with intervals, a row a model, and the paired gains over the model `reference`.

    table: as `compare` gives it (columns `score`, `low`, `high`, and with a reference `difference` and
    its ends), or `compare_grouped`, whose two kinds of folds share a row. ceiling: the noise ceiling, an
    estimate too, and its interval.
    """
    names = table.index.get_level_values(-1).unique()
    kinds = {"": table}
    if table.index.nlevels > 1:
        kinds = {f"{kind} folds": table.loc[kind] for kind in table.index.unique(0)}
    title = "\n".join(_verdict(part, reference, kind) for kind, part in kinds.items())
    height = 2.4 + 0.3 * len(names)
    figure, axes = new_figure(title, columns=2 if reference else 1, height=height)
    for axis, three in zip(axes, (SCORE, GAIN), strict=False):
        parts = {kind or "90 % interval": part.loc[names, three] for kind, part in kinds.items()}
        intervals(axis, parts)
        rows = [fill(name, 30) for name in names] if axis is axes[0] else [""] * len(names)
        name_rows(axis, rows)
    if ceiling is not None:
        draw_ceiling(axes[0], ceiling)
    axes[0].set(xlabel="score for 60 rows")
    if reference:
        axes[1].set(xlabel=fill(f"gain over “{reference}”, paired", 40))
    return with_legend(figure, axes[0])


def cell_line_gains(scores: pd.DataFrame, reference: str = "constant") -> Figure:
    """Draw gains over `reference` in each cell line by model.

    scores: by (line, model), columns as of `compare`.
    """
    others = scores.drop(index=reference, level=1)
    if others.empty:
        return sentence(f"“{reference}” is the only model: nothing to compare it with.")
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
    floor = floor.round(1) + 0.0  # no -0.0
    name_rows(axis, [f"{name}\n{reference} {floor[name]:.1f}" for name in names], size=8)
    axis.set(xlabel=f"gain over “{reference}” for 60 rows, paired, 90 % interval")
    return with_legend(figure, axis)


def gains(w: pd.Series, other: pd.Series, names: Sequence[str]) -> Figure:
    """Draw what each perturbation gains in W by one model over another, sorted.

    w, other: terms of W by perturbation, log2(WMAE of the mean / WMAE of the model), 0 for the mean;
    names: of the two models.
    """
    gain = (w - other[w.index]).sort_values(ascending=False)
    won, lost = gain[gain > 0], gain[gain < 0]
    one, two = (f"“{name}”" for name in names)
    if gain.abs().max() < EQUAL:
        text = f"{one} and {two} differ by less than {EQUAL} in W on each of {len(gain)} held-out rows."
        return sentence(text)
    title = f"{one} is closer than {two} for {len(won)} of {len(gain)} held-out perturbations,\n"
    title += f"{won.sum():+.2f} in W, farther for {len(lost)}, {lost.sum() + 0.0:+.2f}"
    figure, (axis,) = new_figure(title, height=height_of(gain))
    bars(axis, gain, color=np.where(gain > 0, BLUE, ORANGE))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"gain in W by {one} over {two}")
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


def model_similarity(runs: Mapping[str, OutOfFold]) -> Figure:
    """Draw a map of the cosines between base models' predictions, each less its mean over its fold.

    runs: by model. The mean over a fold, which a constant predicts too, and on-target effects are the
    same in most models: they are taken off. A dash where a model predicts nothing else.
    """
    cosine = _cosines(runs)
    similar = most_similar(cosine).dropna()
    if similar.empty:
        return sentence("Fewer than two base models distinguish perturbations: nothing to compare.")
    pairs = [
        f"“{one}” and “{other}”, {size:.2f}"
        for (one, other), size in similar.round(2).add(0.0).items()
    ]
    title = f"Most similar: {pairs[0]}"
    if len(pairs) > 1:
        title += f";\nleast: {pairs[-1]}"
    figure, (axis,) = new_figure(title, height=1.7 + 0.35 * len(cosine))
    rows = [f"{cut(name)}  {number}" for number, name in enumerate(cosine.index, 1)]
    image = number_map(axis, cosine, rows, "RdBu_r", -1, 1)
    axis.set_xticks(range(len(cosine)), range(1, len(cosine) + 1), fontsize=9)
    figure.colorbar(image, label="cosine")
    axis.set(xlabel="out-of-fold predictions, less their mean and on-target effects")
    return figure


def blend_path(path: pd.DataFrame, submitted: pd.DataFrame) -> Figure:
    """Draw the held-out score of the blend of each size, and the nested ones of the submitted blends.

    path: by size, `score`, `low`, `high`; submitted: `best` and `robust`, the same columns for 60 rows
    and `size`.
    """
    nested = [f"{name} {row['score']:.2f}" for name, row in submitted.iterrows()]
    title = f"Nested score for 60 rows, all choices included: {', '.join(nested)}"
    if len(path) == 1:
        return sentence(f"One base model alone is left, nothing is blended. {title}.")
    figure, (axis,) = new_figure(title, height=3.8)
    shown = pd.concat([path[SCORE], submitted[SCORE]])
    kinds = {
        "learned without each fold": (path, BLUE, "o-"),
        "as submitted": (submitted, ORANGE, "D"),
    }
    first = 0
    for label, (table, colour, form) in kinds.items():
        places = np.arange(first, first + len(table))
        reach = table[["low", "high"]].sub(table["score"], axis=0).abs().T
        style = {"fmt": form, "color": colour, "capsize": 3, "label": label}
        axis.errorbar(places, table["score"], yerr=reach, **style)
        first += len(table)
    ends = readable(shown)
    if ends[0] <= 0 <= ends[1]:
        axis.axhline(0, color="black", linewidth=1, label="floor: the mean")
    blends = [f"{name},\nsize {row['size']:.0f}" for name, row in submitted.iterrows()]
    axis.set_xticks(range(len(shown)), [*path.index, *blends])
    axis.set(ylim=ends, xlabel="base models at most, and the submitted blends")
    axis.set(ylabel="out-of-fold score for 60 rows,\n90 % interval")
    return with_legend(figure, axis)


def _cosines(runs):
    """Cosine of every two models' predictions, less what all perturbations of a fold have in common."""
    parts = {}
    for name, run in runs.items():
        rows, genes = run.prediction.axes
        effects = run.prediction.mask(rows.to_numpy()[:, None] == genes.to_numpy())  # on-target
        effects = effects - effects.groupby(run.fold).transform("mean")
        parts[name] = effects.fillna(0.0).to_numpy().ravel()
    values = pd.DataFrame(parts)
    size = np.sqrt((values**2).mean())
    unit = values / size.where(size > SAME)
    return unit.T @ unit / len(unit)


def _verdict(table, reference, kind):
    best, score = table["score"].idxmax(), table["score"].max()
    text = f"{kind}: best" if kind else "best"
    on = f", {table.at[best, 'rows']:.0f} rows" if "rows" in table else ""
    text += f" “{best}”, {score:.2f} for 60 rows (out of fold{on}; mean: 0)"
    if reference is not None:
        others = table.drop(index=reference, errors="ignore")  # it may be left off the figure
        better, worse = (others["difference_low"] > 0).sum(), (others["difference_high"] < 0).sum()
        text += f";\n{better} of {len(others)} models are better than “{reference}”, {worse} worse "
        text += "(paired 90 % interval)"
    return text[0].upper() + text[1:]
