"""Prior knowledge: which perturbations are similar, by which source, and what is known at all."""

import re
from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..knowledge import Pathways
from .style import (
    BLUE,
    ORANGE,
    RED,
    cut,
    empty_figure,
    height_of,
    name_rows,
    new_figure,
    number_map,
    percent,
    with_legend,
)

NEAR = 0.1  # of a mean kernel: below it hardly more is shared than large sets


def neighbourhood(
    pathways: Pathways, perturbation: str, others: Sequence[str], *, top: int = 12
) -> Figure:
    """Draw a map of the most similar of `others`: kernel by part, and the rarest set they share.

    Rows: the `top` most similar by the mean of the parts. Columns: that mean and each part, a dash
    where the part does not know one of the two.
    """
    others = [name for name in dict.fromkeys(others) if name != perturbation]
    mean = pathways.kernel([perturbation], others).iloc[0]
    mean = mean[mean > 0].sort_values(ascending=False, kind="stable")
    if mean.empty:
        return empty_figure(f"{perturbation} is similar to none of {len(others)} perturbations")
    near = list(mean.index[:top])
    each = [pathways.kernel([perturbation], others, [part]).iloc[0] for part in pathways.parts]
    first = sum(0 < row.max() <= row[near[0]] + 1e-6 for row in each)
    figure, (axis,) = new_figure(
        f"{perturbation} is most similar to {near[0]} (kernel {mean.iloc[0]:.2f}), "
        f"which is first in {first} of {len(each)} parts;\n"
        f"{(mean > NEAR).sum()} of {len(others)} perturbations have a kernel above {NEAR}",
        height=2.1 + 0.26 * len(near),
    )
    table = pd.DataFrame({"mean": mean[near]})
    for part, kernel in pathways.kernels([perturbation, *near]).items():
        known = np.diag(kernel) > 0
        table[part] = kernel.iloc[0].where(known & known[0])[near]
    number_map(axis, table, table.index, "Blues", 0, 1)
    axis.axvline(0.5, color="white", linewidth=3)
    axis.set_xticks(range(table.shape[1]), [_wrapped(name, 12) for name in table], fontsize=7)
    axis.set(ylabel="most similar perturbations")
    beside = axis.secondary_yaxis("right")
    beside.set_yticks(range(len(near)), [_shared(pathways, perturbation, name) for name in near])
    beside.tick_params(length=0, labelsize=7.5)
    beside.spines["right"].set_visible(False)
    beside.set_ylabel("rarest set with both (its genes)")
    return figure


def pathway_coverage(coverage: pd.DataFrame) -> Figure:
    """Draw bars of the share of perturbations that each source knows, from `Pathways.coverage`."""
    known = coverage["known"]
    counts = coverage.drop(columns="known")
    lost = list(known.index[~known])
    more = " ..." if len(lost) > 3 else ""
    named = f" ({', '.join(lost[:3])}{more})" if lost else ""
    figure, (axis,) = new_figure(
        f"{known.sum()} of {len(known)} perturbations are in some source, {len(lost)} in none{named}",
        height=1.3 + 0.4 * counts.shape[1],
    )
    share = (counts > 0).mean()
    axis.barh(range(len(share)), 100 * share, color=BLUE)
    for place, name in enumerate(counts):
        number = "" if counts[name].dtype == bool else f", in median {counts[name].median():.3g}"
        axis.text(100 * share[name] + 1, place, f"{percent(share[name])}{number}", va="center")
    name_rows(axis, [_wrapped(name, 24) for name in counts], size=9)
    axis.set(xlabel="% of perturbations known (median: number of sets or edges)", xlim=(0, 135))
    axis.set_xticks(range(0, 101, 20))
    return figure


def complexes(
    inside: pd.DataFrame, overall: pd.Series, null: tuple[float, float] | None = None
) -> Figure:
    """Draw the mean centred cosine within complexes, measured and predicted, beside that of all pairs.

    inside: complex x kind, at most three kinds; overall: mean over all pairs by kind. null: (low, high)
    of two perturbations without any effect.
    """
    means = [f"{kind} {inside[kind].mean():.2f} ({overall[kind]:.2f})" for kind in inside]
    figure, (axis,) = new_figure(
        f"Mean cosine within {len(inside)} complexes or pathways (of all pairs):\n{', '.join(means)}",
        height=height_of(inside) + 0.1 * len(inside),
    )
    if null is not None:
        axis.axvspan(*null, color="0.9", linewidth=0, label="non-targeting, 90 %")
    for kind, mark, colour in zip(inside, ("D", "o", "s"), (RED, BLUE, ORANGE), strict=False):
        places = np.arange(len(inside))
        axis.plot(inside[kind], places, mark, color=colour, markersize=7, label=kind, alpha=0.85)
        axis.axvline(overall[kind], color=colour, linewidth=1, linestyle=":")
    low, high = inside.min(axis=1), inside.max(axis=1)
    axis.hlines(range(len(inside)), low, high, "0.8", linewidth=1.5, zorder=0)
    name_rows(axis, inside.index, size=8)
    axis.set(xlabel="mean cosine of pairs less the mean effect (dotted: all pairs)")
    return with_legend(figure, axis)


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
    return f"{cut(sets.index[0].partition(': ')[2])} ({sets.iloc[0]})"
