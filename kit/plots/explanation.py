"""Why a model predicts what it does: shrinkage, features, pathways and training perturbations."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import (
    BLUE,
    COLOURS,
    RED,
    cut,
    name_rows,
    new_figure,
    number_map,
    percent,
    with_legend,
)


def shrinkage(curves: Mapping[str, pd.Series], by_rank: pd.Series) -> Figure:
    """Draw leave-one-out errors, % of those without pathways, by ridge's penalty and by rank.

    curves: by name, errors by penalty as `Ridge.curve_`, with an infinite penalty among them; by_rank:
    shares by number of directions kept.
    """
    shares = {name: curve / curve[np.inf] for name, curve in curves.items()}
    verdicts = []
    for name, share in shares.items():
        text = "without pathways"
        if np.isfinite(share.idxmin()):
            text = (
                f"at penalty {share.idxmin():.3g}: {percent(share.min())} of that without pathways"
            )
        verdicts.append(f"Error of ridge on {name} least {text}")
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


def contributions(effects: pd.DataFrame, name: str, genes: int = 9, pathways: int = 8) -> Figure:
    """Draw a map of what a perturbation's pathways add to its prediction, on the genes with most change.

    effects: pathway x gene, log2, of the pathways that hold the perturbation `name` (`source:
    pathway`).
    """
    size = effects.abs().sum(axis=1).sort_values(ascending=False)
    size = size[size > 0]  # the trees use no other
    moved = effects.sum().abs().nlargest(genes).index
    table, rest = (
        effects.loc[size.index[:pathways], moved],
        effects.loc[size.index[pathways:], moved],
    )
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
    axis.barh(range(len(shown)), 100 * shown, color=BLUE)
    axis.axvline(100 * uniform, color=RED, linestyle="--", label="uniform")
    style = {"va": "center", "fontsize": 8, "bbox": {"fc": "white", "lw": 0, "pad": 0.5}}
    for place, name in enumerate(shown.index):
        axis.text(100 * shown[name] + shown.max(), place, reasons[name], **style)
    name_rows(axis, shown.index, size=9)
    axis.set(xlabel="probability as a scenario, %", xlim=(0, 250 * shown.max()))
    axis.legend(frameon=False, loc="lower right")
    return figure
