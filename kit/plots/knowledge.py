"""Prior knowledge: what is known, which perturbations are similar, and how models predict from it."""

import re
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..knowledge import Pathways
from .style import (
    BLUE,
    COLOURS,
    ORANGE,
    RED,
    bars,
    cut,
    height_of,
    name_rows,
    new_figure,
    number_map,
    percent,
    sentence,
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
        return sentence(f"{perturbation} is similar to none of {len(others)} perturbations.")
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
    shared = [_shared(pathways, perturbation, name) for name in near]
    _name_right(axis, shared, "rarest set with both (its genes)")
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
        height=max(2.3, 1.3 + 0.4 * counts.shape[1]),
    )
    share = (counts > 0).mean()
    bars(axis, 100 * share.rename(lambda name: _wrapped(name, 24)), size=9)
    texts = []
    for name in counts:
        number = "" if counts[name].dtype == bool else f", in median {counts[name].median():.3g}"
        texts.append(f"{percent(share[name])}{number}")
    _name_right(axis, texts, "median: sets or edges")
    axis.set(xlabel="% of perturbations known", xlim=(0, 100))
    return figure


def complexes(
    inside: pd.DataFrame, overall: pd.Series, null: tuple[float, float] | None = None
) -> Figure:
    """Draw the mean centred cosine within complexes, measured and predicted, beside that of all pairs.

    inside: complex (its size in brackets) x kind, at most three kinds; overall: mean over all pairs by
    kind. null: (low, high) of two perturbations without any effect.
    """
    means = [f"{kind} {inside[kind].mean():.2f} ({overall[kind]:.2f})" for kind in inside]
    figure, (axis,) = new_figure(
        f"Mean cosine within {len(inside)} complexes or pathways (of all pairs):\n{', '.join(means)}",
        height=height_of(inside) + 0.1 * len(inside),
    )
    if null is not None:
        axis.axvspan(*null, color="0.9", linewidth=0, zorder=-1, label="non-targeting pairs, 90 %")
    for kind, mark, colour in zip(inside, ("D", "o", "s"), (RED, BLUE, ORANGE), strict=False):
        places = np.arange(len(inside))
        axis.plot(inside[kind], places, mark, color=colour, markersize=7, label=kind, alpha=0.85)
        axis.axvline(overall[kind], color=colour, linewidth=1, linestyle=":")
    low, high = inside.min(axis=1), inside.max(axis=1)
    axis.hlines(range(len(inside)), low, high, "0.7", linewidth=1.5, zorder=0)
    parts = (label.rpartition(" (") for label in inside.index)  # the size stays whole
    name_rows(axis, [f"{cut(name)} ({size}" for name, _, size in parts], size=8)
    axis.set(xlabel="mean cosine of pairs less the mean effect\n(dotted: all pairs)")
    return with_legend(figure, axis)


def shrinkage(curves: Mapping[str, pd.Series], by_rank: pd.Series) -> Figure:
    """Draw leave-one-out errors, % of those without pathways, by ridge's penalty and by rank.

    curves: by name, errors by penalty as `Ridge.curve_`, with an infinite penalty among them; by_rank:
    shares by number of directions kept.
    """
    shares = {name: curve / curve[np.inf] for name, curve in curves.items()}
    verdicts = []
    for name, share in shares.items():
        text = (
            f"Ridge on {name}: pathways lower the leave-one-out error by {percent(1 - share.min())}"
        )
        if np.isfinite(best := share.idxmin()):
            text += f", at penalty {best:.3g}"
        verdicts.append(text)
    figure, (left, right) = new_figure("\n".join(verdicts), columns=2, height=4)
    for (name, share), colour in zip(shares.items(), COLOURS, strict=False):
        finite, best = share[np.isfinite(share.index)], share.idxmin()
        left.plot(finite.index, 100 * finite, "o-", color=colour, markersize=4, label=name)
        if np.isfinite(best):
            left.plot(best, 100 * share.min(), "o", color=colour, markersize=10, alpha=0.5)
    lowest = 100 * min(share.min() for share in shares.values())
    highest = 100 * max(share.max() for share in shares.values())
    left.set_ylim(top=min(highest + 1, 102 + 4 * (100 - lowest)))  # small penalties may err hugely
    left.set(xscale="log", xlabel="penalty", ylabel="leave-one-out error, %")
    right.plot(by_rank.index, 100 * by_rank, "o-", color=BLUE, markersize=4)
    right.set(xlabel="directions of the response that are kept")
    for axis in (left, right):
        axis.axhline(100, color=RED, linestyle="--", label="without pathways")
    return with_legend(figure, left)


def importances(gain: pd.Series) -> Figure:
    """Draw bars of the share of all gain that each feature brings; gain: by feature."""
    if not gain.any():
        return sentence("The trees make no split: no feature brings a gain.")
    share = (gain / gain.sum()).sort_values(ascending=False)
    first = ", ".join(share.index[:3])
    figure, (axis,) = new_figure(
        f"Of {len(share)} features {first} bring {percent(round(share.iloc[:3].sum(), 3))} of the gain",
        height=1.4 + 0.22 * len(share),
    )
    bars(axis, 100 * share, size=9)
    axis.set(xlabel="share of the gain of all splits, %")
    return figure


def contributions(effects: pd.DataFrame, name: str, genes: int = 9, pathways: int = 8) -> Figure:
    """Draw a map of what a perturbation's pathways add to its prediction, on the genes with most change.

    effects: pathway x gene, log2, of the pathways that hold the perturbation `name` (`source:
    pathway`).
    """
    size = effects.abs().sum(axis=1).sort_values(ascending=False)
    size = size[size > 0]  # the trees use no other
    moved = effects.sum().abs().nlargest(genes).index
    table = effects.loc[size.index[:pathways], moved]
    rest = effects.loc[size.index[pathways:], moved]
    table.index = [cut(label.partition(": ")[2], 44) for label in table.index]
    if len(rest):
        table.loc[f"{len(rest)} others"] = rest.sum()
    table.loc["all together"] = effects[moved].sum()
    figure, (axis,) = new_figure(
        f"{name} is in {len(size)} pathways that the trees use;\n“{table.index[0]}” adds most, "
        f"{percent(round(size.iloc[0] / size.sum(), 3))} of all that they add",
        height=1.9 + 0.27 * len(table),
    )
    reach = max(np.abs(table.to_numpy()).max(), 1e-9)
    number_map(axis, table, table.index, "RdBu_r", -reach, reach)
    axis.axhline(len(table) - 1.5, color="black", linewidth=1)
    axis.set_xticks(range(len(moved)), moved, rotation=40, ha="right", fontsize=8)
    axis.set(xlabel="genes with the largest change (log2 added to the constant)")
    return figure


def training_probabilities(probability: pd.Series, reasons: Mapping[str, str]) -> Figure:
    """Draw bars of the training perturbations most probable as scenarios of one perturbation, and why.

    probability: by training perturbation, named by the perturbation, sums to 1; reasons: text of the
    rows to show.
    """
    probability = probability.sort_values(ascending=False, kind="stable")
    half = int(np.argmax(probability.cumsum().to_numpy() >= 0.5)) + 1
    shown = probability[[name for name in probability.index if name in reasons]]
    uniform = 1 / len(probability)
    figure, (axis,) = new_figure(
        f"{probability.name}: half of the probability is on {half} of {len(probability)} training "
        f"rows;\nmost on {probability.index[0]}, {probability.iloc[0] / uniform:.1f} times uniform",
        height=1.7 + 0.3 * len(shown),
    )
    bars(axis, 100 * shown, size=9)
    axis.axvline(100 * uniform, color=RED, linestyle="--", label="uniform")
    _name_right(axis, [reasons[name] for name in shown.index])
    axis.set(xlabel="probability as a scenario, %", xlim=(0, min(100, 105 * shown.max())))
    return with_legend(figure, axis)


def _name_right(axis, texts, label=None):
    """A text beside each row, right of the axis, and what they are."""
    beside = axis.secondary_yaxis("right")
    beside.set_yticks(range(len(texts)), texts)
    beside.tick_params(length=0, labelsize=7.5)
    beside.spines["right"].set_visible(False)
    beside.set_ylabel(label, fontsize=8)  # along the axis, which may be short


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
