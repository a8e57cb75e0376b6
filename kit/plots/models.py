"""Figures of models on pathways: how much they shrink, what they ask, whom a prediction rests on."""

from textwrap import shorten

import numpy as np
import pandas as pd

from .style import (
    BLUE,
    COLOURS,
    ORANGE,
    RED,
    height_of,
    legend_below,
    name_rows,
    new_figure,
    percent,
)


def shrinkage(curves, by_rank):
    """Leave-one-out errors, % of those without pathways, by ridge's penalty and by rank.

    curves: series by penalty under a name each, as `Ridge.curve_`, with an infinite penalty among
    them; by_rank: series of shares by number of directions kept.
    """
    shares = {name: curve / curve[np.inf] for name, curve in curves.items()}
    best = {name: share.idxmin() for name, share in shares.items()}
    verdicts = [
        f"Ridge of {name} errs least at penalty {best[name]:.3g}: "
        f"{percent(share.min())} of the error without pathways"
        if np.isfinite(best[name])
        else f"Ridge of {name} errs least without pathways"
        for name, share in shares.items()
    ]
    figure, (left, right) = new_figure("\n".join(verdicts), columns=2, height=4)
    for (name, share), colour in zip(shares.items(), COLOURS, strict=False):
        finite = share[np.isfinite(share.index)]
        left.plot(finite.index, 100 * finite, "o-", color=colour, markersize=4, label=name)
        if np.isfinite(best[name]):
            left.plot(best[name], 100 * share.min(), "o", color=colour, markersize=10, alpha=0.5)
    lowest = 100 * min(share.min() for share in shares.values())
    highest = 100 * max(share.max() for share in shares.values())
    left.set_ylim(top=min(highest + 1, 102 + 4 * (100 - lowest)))  # a believer's error may be huge
    left.set(xscale="log", xlabel="penalty", ylabel="leave-one-out error, %")
    right.plot(by_rank.index, 100 * by_rank, "o-", color=BLUE, markersize=4)
    right.set(xlabel="directions of the response that are kept")
    for axis in (left, right):
        axis.axhline(100, color=RED, linestyle="--", label="without pathways")
    legend_below(figure, left)
    return figure


def importances(gain):
    """Bars of the share of all gain that each feature brings; gain: series by feature."""
    share = (gain / gain.sum()).sort_values(ascending=False)
    first = ", ".join(share.index[:3])
    figure, (axis,) = new_figure(
        f"Of {len(share)} features {first} bring {percent(round(share.iloc[:3].sum(), 3))} of the gain",
        height=1.4 + 0.22 * len(share),
    )
    axis.barh(range(len(share)), 100 * share, color=BLUE)
    name_rows(axis, share.index, size=9)
    axis.set(xlabel="share of the gain of all splits, %")
    return figure


def contributions(effects, name, genes=9, pathways=8):
    """Map of what a knockdown's pathways add to its prediction, on the genes that they move most.

    effects: pathway x gene, log2, of the pathways that hold the knockdown (`source: pathway`).
    """
    size = effects.abs().sum(axis=1).sort_values(ascending=False)
    size = size[size > 0]  # the trees never asked for the others
    shown = size.index[:pathways]
    moved = effects.sum().abs().nlargest(genes).index
    table = effects.loc[shown, moved]
    rest = effects.loc[size.index[pathways:], moved]
    labels = [shorten(label.partition(": ")[2], 44, placeholder=" ...") for label in shown]
    if len(rest):
        table, labels = _with_row(table, rest.sum()), [*labels, f"{len(rest)} others"]
    table, labels = _with_row(table, effects[moved].sum()), [*labels, "all together"]
    figure, (axis,) = new_figure(
        f"{name}, pathways that speak for it: {len(size)};\n“{labels[0]}” moves genes most, "
        f"{percent(round(size.iloc[0] / size.sum(), 3))} of all that they move",
        height=1.9 + 0.27 * len(labels),
    )
    values = table.to_numpy()
    reach = max(np.abs(values).max(), 1e-9)
    axis.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * reach else "black"
        text = f"{value:.2f}".replace("-0.00", "0.00")
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    axis.axhline(len(labels) - 1.5, color="black", linewidth=1)
    name_rows(axis, labels, size=8)
    axis.set_xticks(range(len(moved)), moved, rotation=40, ha="right", fontsize=8)
    axis.tick_params(length=0)
    axis.set(xlabel="genes that they move most (log2 added to the constant)")
    axis.spines[["left", "bottom"]].set_visible(False)
    return figure


def wins(w, other, names=("model", "constant")):
    """Bars of what each knockdown gains in W by one model over another; w, other: series of terms."""
    gain = (w - other[w.index]).sort_values(ascending=False)
    won, lost = gain[gain > 0], gain[gain < 0]
    figure, (axis,) = new_figure(
        f"“{names[0]}” is nearer than “{names[1]}” for {len(won)} of {len(gain)} unseen knockdowns,\n"
        f"{won.sum():+.2f} in W, farther for {len(lost)}, {lost.sum() + 0.0:+.2f}",
        height=height_of(gain),
    )
    axis.barh(range(len(gain)), gain, color=np.where(gain > 0, BLUE, ORANGE))
    axis.axvline(0, color="black", linewidth=0.8)
    name_rows(axis, gain.index)
    axis.set(xlabel=f"gain in W by “{names[0]}” over “{names[1]}”")
    return figure


def _with_row(table, row):
    """The table with one more row, without a name."""
    return pd.DataFrame(np.vstack([table, row]), columns=table.columns)
