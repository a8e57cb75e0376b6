"""Figures of the graph network: the ways of a signal, who carries a prediction, which edges are open."""

from textwrap import shorten

import numpy as np
import pandas as pd

from .style import (
    BLUE,
    COLOURS,
    ORANGE,
    legend_below,
    name_rows,
    new_figure,
    percent,
)

HUBS, ROWS = 9, 7  # shown of the ways of a signal
CARRIERS = 12  # training rows shown of those that carry a prediction
FAINT = 0.002  # of the whole signal: a way that brings less explains nothing


def routes(ways, carried):
    """The ways of a signal from the knocked-down gene by hubs to training knockdowns.

    ways: frame (row, type, hub, amount), amounts of all rows sum to 1 or less; hub "" where an edge leads
    straight to the row. carried: share of the prediction that each row carries, a series named after the
    knockdown. Lines are the wider the more signal they bring; shown are the rows that most arrives at.
    """
    ways = ways.astype({"amount": float})
    ways = ways.assign(
        type=ways["type"].str.removesuffix(", small")
    )  # the same hubs, counted twice
    ways = ways.groupby(["row", "type", "hub"], sort=False, as_index=False)["amount"].sum()
    rows = ways.groupby("row")["amount"].sum().nlargest(ROWS).index
    shown = ways[ways["row"].isin(rows)]
    by_hub = shown[shown["hub"] != ""].groupby("hub")["amount"].sum()
    hubs = by_hub.nlargest(HUBS).index
    figure, (axis,) = new_figure(_way_title(ways, by_hub, carried, len(rows)), height=4.6)
    hubs_at = pd.Series(np.linspace(0.97, 0.03, max(len(hubs), 1))[: len(hubs)], hubs)
    rows_at = pd.Series(np.linspace(0.97, 0.03, len(rows)), rows)
    types = list(dict.fromkeys(ways["type"]))
    colour = dict(zip(types, COLOURS * (1 + len(types) // len(COLOURS)), strict=False))
    widest = max(by_hub.max() if len(by_hub) else 0, shown["amount"].max(), 1e-12)
    straight = list(dict.fromkeys(shown["type"][shown["hub"] == ""]))
    beside = {
        kind: 0.015 * (place - (len(straight) - 1) / 2) for place, kind in enumerate(straight)
    }
    for (hub, kind), part in shown.groupby(["hub", "type"], sort=False):
        for _, way in part.iterrows():
            style = {"color": colour[kind], "alpha": 0.75, "solid_capstyle": "butt"}
            width = 0.3 + 7 * way["amount"] / widest
            if hub == "":
                ends = np.array([0.5, rows_at[way["row"]]]) + beside[kind]
                axis.plot([0, 1], ends, linewidth=width, ls=(0, (4, 1)), **style)
            elif hub in hubs_at.index:
                axis.plot([0.45, 1], [hubs_at[hub], rows_at[way["row"]]], linewidth=width, **style)
        if hub in hubs_at.index:
            width = 0.3 + 7 * part["amount"].sum() / widest
            axis.plot([0, 0.45], [0.5, hubs_at[hub]], linewidth=width, **style)
    box = {"va": "center", "bbox": {"fc": "white", "ec": "0.7", "boxstyle": "round,pad=0.25"}}
    axis.text(0, 0.5, carried.name, ha="center", fontsize=10, weight="bold", **box)
    for hub, place in hubs_at.items():
        text = shorten(hub.partition(" (GO:")[0], 40, placeholder=" ...")
        axis.text(0.45, place, text, ha="center", fontsize=7, **box)
    for row, place in rows_at.items():
        axis.text(
            1, place, f"{row}  {round(100 * carried[row]) + 0} %", ha="left", fontsize=9, **box
        )
    for kind in types:
        if kind in set(shown["type"]):
            axis.plot([], [], color=colour[kind], linewidth=3, label=_plain(kind))
    axis.set(xlim=(-0.12, 1.25), ylim=(-0.05, 1.05))
    axis.set_axis_off()
    legend_below(figure, axis)
    return figure


def carriers(carried, signal):
    """Training rows that carry a prediction, coloured by the type of edge that brings most signal.

    carried: share of what is said, a series named after the knockdown, largest first; signal: row x type.
    """
    largest = carried.abs().sort_values(ascending=False, kind="stable").index[:CARRIERS]
    shown = carried[[name for name in carried.index if name in set(largest)]]
    main = signal.loc[shown.index].idxmax(axis=1)
    none = signal.loc[shown.index].max(axis=1) < FAINT
    types = list(dict.fromkeys(main[~none]))
    colour = dict(zip(types, COLOURS * (1 + len(types) // len(COLOURS)), strict=False))
    positive = carried.clip(lower=0)
    half = int(np.argmax(positive.cumsum().to_numpy() >= positive.sum() / 2)) + 1
    figure, (axis,) = new_figure(
        f"{carried.name}: {half} of {len(carried)} training knockdowns carry half of the answers' part;\n"
        f"{carried.index[0]} carries most, {percent(round(carried.iloc[0], 3))} of all that is said",
        height=1.6 + 0.26 * len(shown),
    )
    for kind in types:
        rows = np.flatnonzero((main == kind) & ~none)
        axis.barh(rows, 100 * shown.iloc[rows], color=colour[kind], label=_plain(kind))
    if none.any():
        rows = np.flatnonzero(none)
        axis.barh(rows, 100 * shown.iloc[rows], color="0.6", label="hardly any signal: as all rows")
    axis.axvline(0, color="black", linewidth=0.8)
    name_rows(axis, shown.index, size=9)
    axis.set(xlabel="share of what is said that its answer carries, % (below 0: speaks against)")
    legend_below(figure, axis)
    return figure


def gates(learned, start):
    """How far each type of edge is open in the two rounds, beside where it started.

    learned, start: round x type, each round sums to 1; NaN where a type has no part in a round.
    """
    said = [
        f"{_plain(row.idxmax())} ({percent(round(row.max(), 3))})" for _, row in learned.iterrows()
    ]
    moved = (learned - start).clip(lower=0).sum(axis=1).mean()
    figure, axes = new_figure(
        f"Widest open in the first round: {said[0]},\nin the second: {said[1]};\n"
        f"gates moved {percent(round(moved, 3))} of their share",
        columns=2,
        height=2.3 + 0.24 * learned.shape[1],
    )
    for axis, (name, row) in zip(axes, learned.iterrows(), strict=True):
        axis.barh(range(len(row)), 100 * row.fillna(0), color=BLUE, label="learned")
        axis.plot(100 * start.loc[name], range(len(row)), "D", color=ORANGE, label="at the start")
        name_rows(
            axis, [_plain(kind) for kind in row.index] if axis is axes[0] else [""] * len(row)
        )
        axis.set(xlabel="share of the gates, %", title=f"{name} round")
        axis.title.set_fontsize(10)
    legend_below(figure, axes[0])
    return figure


def _way_title(ways, by_hub, carried, count):
    """Which way brings most, and what part of the signal and of the prediction is shown."""
    name, total = carried.name, ways["amount"].sum()
    if not total:
        return f"No signal of {name} reaches a training knockdown"
    rows = ways.groupby("row")["amount"].sum().nlargest(count)
    said = f"The signal of {name} reaches {rows.index[0]} most; the {len(rows)} rows shown get "
    said += f"{percent(round(rows.sum() / total, 3))} of it\nand carry "
    said += f"{percent(round(carried[rows.index].sum(), 3))} of the prediction"
    return said + (f", {len(by_hub)} hubs lead there" if len(by_hub) else "")


def _plain(kind):
    return kind.replace("_", " ")
