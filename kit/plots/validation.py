"""Figures of validation: models side by side and paired, rows that carry Wcos, gain by nearness."""

import numpy as np

from ..io.files import InputError
from .style import (
    BLUE,
    COLOURS,
    ORANGE,
    RED,
    SKY,
    legend_below,
    name_rows,
    new_figure,
    percent,
)

SHOWN = 30  # rows of a bar chart that can still be read


def comparison(table, reference, ceiling=None):
    """Scores with intervals, and the paired gains over the model `reference`: a row a model.

    table: as `validation.compare` gives it, or `compare_grouped`, whose two kinds of folds share a row.
    """
    names = table.index.get_level_values(-1).unique()
    grouped = table.index.nlevels > 1
    kinds = {kind: table.loc[kind] for kind in table.index.unique(0)} if grouped else {"": table}
    figure, (left, right) = new_figure(
        "\n".join(_verdict(part, reference, kind) for kind, part in kinds.items()),
        columns=2,
        height=2 + 0.3 * len(names),
    )
    for number, (kind, part) in enumerate(kinds.items()):
        places = np.arange(len(names)) + 0.3 * (number - (len(kinds) - 1) / 2)
        label = f"{kind} folds" if kind else "90 % interval"
        for axis, column, ends in (
            (left, "score", ("low", "high")),
            (right, "difference", ("difference_low", "difference_high")),
        ):
            value, low, high = (part[name].loc[names].to_numpy() for name in (column, *ends))
            sure = (low > 0) | (high < 0)
            axis.hlines(places, low, high, COLOURS[number], linewidth=1.5, label=label)
            face = np.where(sure, COLOURS[number], "white")
            axis.scatter(value, places, 28, face, edgecolor=COLOURS[number], zorder=3)
    for axis in (left, right):
        axis.axvline(0, color="black", linewidth=1)
    if ceiling is not None:
        left.axvline(ceiling, color=RED, linestyle="--", label="ceiling: half the cells")
    name_rows(left, names, size=9)
    name_rows(right, [""] * len(names))
    left.set(xlabel="score for 60 rows (0: the mean; hollow: unsure)")
    right.set(xlabel=f"gain over {reference}, paired")
    legend_below(figure, left)
    return figure


def cosine_share_bars(shares):
    """Each row's share of Wcos's numerator, the largest first; shares: series by perturbation."""
    if shares.isna().any():
        raise InputError(
            "the shares are not numbers: no row agrees in anything; draw another model"
        )
    shares = shares.sort_values(ascending=False)
    half = int(np.argmax(shares.cumsum().to_numpy() >= 0.5)) + 1
    shown = shares
    if len(shares) > SHOWN:
        shown = shares.reindex([*shares.index[: SHOWN - 5], *shares.index[-5:]])
    hidden = len(shares) - len(shown)
    figure, (axis,) = new_figure(
        f"{half} of {len(shares)} knockdowns make half of the agreement that Wcos counts,"
        f"\nthe strongest, {shares.index[0]}, {percent(round(shares.iloc[0], 3))}",
        height=1.6 + 0.16 * len(shown),
    )
    places = np.arange(len(shown)) + (np.arange(len(shown)) >= SHOWN - 5) * (hidden > 0)
    axis.barh(places, 100 * shown, color=np.where(shown > 0, BLUE, ORANGE))
    axis.set_yticks(places, shown.index, fontsize=8)
    axis.set_ylim(places[-1] + 0.5, -0.5)
    if hidden:
        rest = shares.iloc[SHOWN - 5 : -5].sum()
        axis.text(
            0, SHOWN - 5, f"  {hidden} others: {percent(round(rest, 3))} together", va="center"
        )
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel="share of sum g² × truth × prediction, %")
    return figure


def nearness(nearest, w, bins):
    """Each knockdown's term of W by its similarity to the nearest training one, and the bins' means.

    nearest, w: series by perturbation; bins: frame as `validation.by_nearness` gives it.
    """
    known = bins.drop(index="unknown", errors="ignore")
    far, near = known.iloc[0], known.iloc[-1]
    figure, (axis,) = new_figure(
        f"A knockdown far from all training ones gains {_signed(far['w_per_row'])} in W, "
        f"one near to some {_signed(near['w_per_row'])};\n"
        f"for 60 rows the score is {far['score']:.2f} among the far, {near['score']:.2f} among the near"
    )
    axis.scatter(nearest, w[nearest.index], 18, SKY, linewidth=0, label="a knockdown held out")
    label = "mean of a bin"
    for row in known.itertuples():
        axis.hlines(row.w_per_row, row.least, row.most, BLUE, linewidth=3, label=label)
        label = None
    axis.axhline(0, color="black", linewidth=0.8, label="the fold's mean effect")
    axis.set(xlabel="similarity to the nearest training knockdown", ylabel="term of W")
    legend_below(figure, axis)
    return figure


def _verdict(table, reference, kind):
    others = table.drop(index=reference)
    better, worse = (others["difference_low"] > 0).sum(), (others["difference_high"] < 0).sum()
    folds = f"{kind.capitalize()} folds: " if kind else ""
    return (
        f"{folds}{better} of {len(others)} models are better than “{reference}”, {worse} "
        "worse, by the paired 90 % interval"
    )


def _signed(value):
    return f"{value + 0.0:+.2f}"
