"""Figures of prior knowledge: whom a knockdown is near, by which source, and what is known at all."""

import re
from textwrap import fill, shorten

import numpy as np
import pandas as pd

from .style import BLUE, name_rows, new_figure, percent

NEAR = 0.1  # of a mean kernel: below it hardly more is shared than large sets


def neighbourhood(pathways, perturbation, others, *, top=12):
    """Map of a knockdown's nearest among `others`: kernel by part, and the rarest set they share.

    Rows: the `top` nearest by the mean of the parts. Columns: that mean and each part; the darker the
    nearer, a dash where the part does not know one of the two.
    """
    others = [name for name in dict.fromkeys(others) if name != perturbation]
    mean = pathways.kernel([perturbation], others).iloc[0]
    mean = mean[mean > 0].sort_values(ascending=False, kind="stable")
    if mean.empty:
        figure, (axis,) = new_figure(
            f"{perturbation} is near none of {len(others)} knockdowns: nothing to show", height=0.6
        )
        axis.set_axis_off()
        return figure
    near = list(mean.index[:top])
    each = [pathways.kernel([perturbation], others, [part]).iloc[0] for part in pathways.parts]
    first = sum(0 < row.max() <= row[near[0]] + 1e-6 for row in each)
    figure, (axis,) = new_figure(
        f"{perturbation} is nearest to {near[0]} (kernel {mean.iloc[0]:.2f}), "
        f"which is first in {first} of {len(each)} parts;\n"
        f"{(mean > NEAR).sum()} of {len(others)} knockdowns are nearer than {NEAR}",
        height=2.1 + 0.26 * len(near),
    )
    table = _by_part(pathways, perturbation, near)
    table.insert(0, "mean", mean[near])
    _draw_map(axis, table)
    axis.set(ylabel="nearest knockdowns")
    beside = axis.secondary_yaxis("right")
    beside.set_yticks(range(len(near)), [_shared(pathways, perturbation, name) for name in near])
    beside.tick_params(length=0, labelsize=7.5)
    beside.spines["right"].set_visible(False)
    beside.set_ylabel("rarest set with both (its genes)")
    return figure


def pathway_coverage(coverage):
    """Bars of the share of knockdowns that each source knows; `Pathways.coverage` gives the frame."""
    known = coverage["known"]
    counts = coverage.drop(columns="known")
    lost = list(known.index[~known])
    more = " ..." if len(lost) > 3 else ""
    named = f" ({', '.join(lost[:3])}{more})" if lost else ""
    figure, (axis,) = new_figure(
        f"{known.sum()} of {len(known)} knockdowns are known to some source, {len(lost)} to none{named}",
        height=1.3 + 0.4 * counts.shape[1],
    )
    share = (counts > 0).mean()
    axis.barh(range(len(share)), 100 * share, color=BLUE)
    for place, name in enumerate(counts):
        number = "" if counts[name].dtype == bool else f", in median {counts[name].median():.3g}"
        axis.text(100 * share[name] + 1, place, f"{percent(share[name])}{number}", va="center")
    name_rows(axis, [_wrapped(name, 24) for name in counts], size=9)
    axis.set(xlabel="% of knockdowns known (median: number of sets or edges)", xlim=(0, 135))
    axis.set_xticks(range(0, 101, 20))
    return figure


def _by_part(pathways, perturbation, near):
    """Kernel with each of `near`, knockdown x part; NaN where the part does not know one of the two."""
    columns = {}
    for part, kernel in pathways.kernels([perturbation, *near]).items():
        known = np.diag(kernel) > 0
        columns[part] = kernel.iloc[0].where(known & known[0])[near]
    return pd.DataFrame(columns)


def _draw_map(axis, table):
    """Shaded cells with their numbers; rows and columns named."""
    values = table.to_numpy(dtype=float)
    axis.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if value > 0.6 else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    axis.axvline(0.5, color="white", linewidth=3)
    name_rows(axis, table.index, size=8.5)
    axis.set_xticks(range(table.shape[1]), [_wrapped(name, 12) for name in table], fontsize=7)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)


def _wrapped(name, width):
    name = name.replace("_", " ")
    if max(map(len, name.split())) > width:
        name = re.sub("(?<=[a-z])(?=[A-Z])", " ", name)  # ReactomePathways
    return fill(name, width)


def _shared(pathways, one, other):
    """Name and size of the rarest set that holds both, without its source."""
    sets = pathways.shared(one, other, top=1)
    if sets.empty:
        return "no common set"
    _, _, name = sets.index[0].partition(": ")
    return f"{shorten(name, 40, placeholder=' ...')} ({sets.iloc[0]})"
