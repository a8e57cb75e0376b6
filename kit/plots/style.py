"""What the figures share: size, title, colours, names of rows, legends, maps, rows of dots."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill, shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK = "#56B4E9", "#CC79A7"
# Okabe and Ito: distinct for colour-blind readers
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, "black")
WIDTH = 95  # letters on a line of a title
SHORTEST = 0.5  # axis of scores for 60 rows: differences far below it are noise


def new_figure(title: str, *, columns: int = 1, height: float = 3.6) -> tuple[Figure, np.ndarray]:
    """Return a figure 8 inches wide with its title, long lines broken, and a row of axes."""
    title = "\n".join(fill(line, WIDTH) for line in title.splitlines())
    size = (8, height)
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(title, fontsize=11)
    strip = 0.18 / height  # kept free at the foot for the mark on simulated data
    figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def sentence(text: str) -> Figure:
    """Return a figure of one sentence, for where a picture would show nothing."""
    figure, (axis,) = new_figure(text, height=0.45 + 0.2 * -(-len(text) // WIDTH))
    axis.set_axis_off()
    return figure


def height_of(names: Sequence) -> float:
    """Return the height, in inches, of a figure with a row for each name."""
    return max(3.6, 1.2 + 0.125 * len(names))


def name_rows(axis: Axes, names: Sequence[str], size: float = 8) -> None:
    """Label the rows of an axis from the top."""
    axis.set_yticks(range(len(names)), names, fontsize=size)
    axis.set_ylim(len(names) - 0.5, -0.5)


def bars(axis: Axes, values: pd.Series, size: float = 8, **style: object) -> None:
    """Draw a row with a bar for each named value, from the top; size: of the names' letters."""
    axis.barh(range(len(values)), values, **{"color": BLUE, **style})
    name_rows(axis, values.index, size)


def strips(axis: Axes, groups: Mapping[str, Sequence], label: str | None = None) -> None:
    """Draw a row of dots for each group of values, with a bar at its median; groups: values by name."""
    for place, values in enumerate(groups.values()):
        spread = np.arange(len(values)) * 0.618034 % 1 - 0.5  # golden ratio: evenly, never in step
        shown = None if place else label
        axis.scatter(values, place + 0.6 * spread, 14, BLUE, alpha=0.5, linewidth=0, label=shown)
    places, median = np.arange(len(groups)), [np.median(values) for values in groups.values()]
    axis.vlines(median, places - 0.35, places + 0.35, ORANGE, linewidth=2.5, label="median")
    name_rows(axis, list(groups))


def intervals(axis: Axes, kinds: Mapping[str, pd.DataFrame], apart: float = 0.3) -> None:
    """Draw values with their intervals, a row a name and kinds side by side; hollow: includes 0.

    kinds: by name, frames of value, low and high with the same rows; apart: distance of kinds, in rows.
    A value far below most others does not stretch the axis: its number stands at the edge.
    """
    left, right = readable(pd.concat(kinds.values()))
    for number, (kind, colour) in enumerate(colours_of(kinds).items()):
        value, low, high = kinds[kind].to_numpy().T
        places = np.arange(len(value)) + apart * (number - (len(kinds) - 1) / 2)
        axis.hlines(places, low, high, colour, linewidth=1.5, label=kind)
        face = np.where((low > 0) | (high < 0), colour, "white")
        axis.scatter(value, places, 28, face, edgecolor=colour, zorder=3)
        style = {"va": "center", "fontsize": 8, "color": colour, "zorder": 4}
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over its own line
        for place in np.flatnonzero(value < left):
            axis.text(left, places[place], f"← {value[place]:.1f}", **style)
    axis.set_xlim(left, right)
    axis.axvline(0, color="black", linewidth=1)
    axis.plot([], [], "o", color="0.4", markerfacecolor="white", label="interval includes 0")


def readable(table: pd.DataFrame) -> tuple[float, float]:
    """Return ends of an axis that shows the best whole and what is near the better half.

    table: columns value, low and high; larger is better. Rows without one of them have no say; (-1, 1)
    where all are such.
    """
    table = table.dropna()
    if table.empty:
        return -1.0, 1.0
    value, low, high = table.to_numpy(dtype=float).T
    middle, third = np.quantile(value, [0.5, 0.75])
    room = max(3 * (third - middle), 3 * np.median(high - low), SHORTEST)
    shown = (value >= middle - room) & (value <= third + room)
    left = max(low[shown].min(), middle - room)
    right = max(min(high[shown].max(), third + room), high[value.argmax()])
    margin = max(0.06 * (right - left), (SHORTEST - (right - left)) / 2)
    return left - margin, right + margin


def draw_ceiling(axis: Axes, ceiling: tuple[float, float, float]) -> None:
    """Draw the noise ceiling as the band of its interval: it is an estimate, which a model may exceed.

    ceiling: score, low and high. The axis keeps its ends, so that a far band does not squeeze the rest.
    """
    ends, (score, low, high) = axis.get_xlim(), ceiling
    away = ", not on this axis" if low > ends[1] or high < ends[0] else ""
    label = f"noise ceiling: {score:.1f} ({low:.1f} to {high:.1f}{away})"
    axis.axvspan(low, high, color="0.88", zorder=0, label=label)
    axis.set_xlim(ends)


def number_map(
    axis: Axes, table: pd.DataFrame, rows: Sequence[str], cmap: str, low: float, high: float
):
    """Draw a map with its numbers, a dash where there is none; returns the image."""
    values = table.to_numpy(dtype=float)
    masked = np.ma.masked_invalid(values)
    image = axis.imshow(masked, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
        colour = "white" if abs(value) > 0.6 * high else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    name_rows(axis, rows, size=8.5)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    return image


def density(axis: Axes, x: np.ndarray, y: np.ndarray, **labels: str) -> None:
    """Draw counts of pairs on two logarithmic axes; pairs with a zero have no place there."""
    seen = (x > 0) & (y > 0)
    bins = [np.geomspace(0.9 * v[seen].min(), 1.1 * v[seen].max(), 60) for v in (x, y)]
    axis.hist2d(x[seen], y[seen], bins, cmin=1, norm="log")
    axis.set(xscale="log", yscale="log", **labels)
    for part in (axis.xaxis, axis.yaxis):
        part.set_minor_formatter("")  # or labels overprint within a decade


def with_legend(figure: Figure, axis: Axes) -> Figure:
    """Return the figure with a legend of what `axis` shows at its foot, on as many lines as it needs."""
    handles, labels = axis.get_legend_handles_labels()
    rows = -(-sum(len(label) + 7 for label in labels) // 92)
    columns = -(-len(labels) // rows) if labels else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, in order, again from the first where there are many."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def percent(share: float) -> str:
    """Return a share as a percentage of three digits."""
    return f"{100 * share:.3g} %"


def span(values: pd.Series, form: str) -> str:
    """Return `low to high` of a series, or its one value."""
    return " to ".join(dict.fromkeys(form.format(value) for value in (values.min(), values.max())))


def cut(text: str, width: int = 40) -> str:
    """Return a text of at most so many letters, with dots where it is cut."""
    return shorten(text, width, placeholder=" ...")
