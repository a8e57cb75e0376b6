"""What the figures share: size, title, colours, names of rows, and small conversions."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY = "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", SKY, RED, "black")


def new_figure(title, *, columns=1, height=3.6):
    size = (8, height)
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(title, fontsize=11)
    strip = 0.18 / height  # kept free at the foot for the mark on simulated data
    figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def height_of(names):
    return max(3.6, 1.2 + 0.125 * len(names))


def name_rows(axis, names, size=8):
    axis.set_yticks(range(len(names)), names, fontsize=size)
    axis.set_ylim(len(names) - 0.5, -0.5)


def percent(share):
    return f"{100 * share:.3g} %"


def colours_of(names):
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def diagonal(effects, names):
    return pd.Series([effects.at[name, name] for name in names], index=names, dtype=float)


def density(axis, x, y, **labels):
    """Counts of pairs on two logarithmic axes; pairs with a zero have no place there."""
    seen = (x > 0) & (y > 0)
    bins = [np.geomspace(0.9 * v[seen].min(), 1.1 * v[seen].max(), 60) for v in (x, y)]
    axis.hist2d(x[seen], y[seen], bins, cmin=1, norm="log")
    axis.set(xscale="log", yscale="log", **labels)


def strips(axis, groups, label=None):
    """A row of dots for each group of values, with a bar at its median; groups: values by name."""
    for place, values in enumerate(groups.values()):
        spread = np.arange(len(values)) * 0.618034 % 1 - 0.5  # golden ratio: evenly, never in step
        shown = None if place else label
        axis.scatter(values, place + 0.6 * spread, 14, BLUE, alpha=0.5, linewidth=0, label=shown)
    places, median = np.arange(len(groups)), [np.median(values) for values in groups.values()]
    axis.vlines(median, places - 0.35, places + 0.35, ORANGE, linewidth=2.5, label="median")
    name_rows(axis, groups)


def legend_below(figure, axis):
    """One line of legend at the foot, of what `axis` shows."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
