"""Figures of the cells: how many a perturbation has, how deep they are sequenced, and an embedding."""

import numpy as np
import pandas as pd

from ..competition import CONTROL
from .style import BLUE, ORANGE, colours_of, height_of, name_rows, new_figure, plt


def cells_per_perturbation(obs):
    """Bars of cells a perturbation, stacked by channel; obs: `sgrna_symbol`, `channel` by cell."""
    by = ["sgrna_symbol", "channel"]
    counts = obs[by].astype(str).groupby(by).size().unstack(fill_value=0)
    total = counts.sum(axis=1).sort_values(ascending=False)
    knocked = total.drop(CONTROL)
    figure, (axis,) = new_figure(
        f"{knocked.median():.0f} cells a knockdown in median, from {knocked.min()} "
        f"({knocked.idxmin()}) to {knocked.max():,}; {total[CONTROL]:,} control cells",
        height=height_of(total),
    )
    counts.loc[total.index].plot.barh(ax=axis, stacked=True, width=0.8, color=colours_of(counts))
    name_rows(axis, total.index)
    axis.set(xlabel="cells", ylabel=None)
    axis.legend(title="channel", frameon=False)
    return figure


def depth(obs):
    """Distributions over cells of UMI, genes and mitochondrial share, a line a channel."""
    panels = {"nCount_RNA": "UMI", "nFeature_RNA": "genes", "percent.mt": "% mitochondrial"}
    channels = obs.groupby(obs["channel"].astype(str))
    umi, genes, mitochondrial = obs[list(panels)].median()
    by_channel = channels["nCount_RNA"].median()
    figure, axes = new_figure(
        f"The median cell: {umi:,.0f} UMI of {genes:,.0f} genes, {mitochondrial:.1f} % mitochondrial\n"
        f"(UMI medians of the channels: {by_channel.min():,.0f} to {by_channel.max():,.0f})",
        columns=3,
    )
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        span = (obs[name].min(), obs[name].quantile(0.995))  # a few cells reach far beyond
        for channel, colour in colours_of(by_channel.index).items():
            values = channels.get_group(channel)[name]
            axis.hist(values, 40, range=span, histtype="step", color=colour, label=channel)
        axis.set(xlabel=f"{label} in a cell", ylabel="cells")
    axes[0].legend(title="channel", frameon=False)
    return figure


def cell_embedding(coordinates: np.ndarray, obs: pd.DataFrame) -> plt.Figure:
    """Draw cells in two dimensions, coloured by channel and by perturbed or non-targeting control.

    coordinates: (cells, at least 2), such as principal components; obs: by cell, `sgrna_symbol` and
    `channel`. The title gives the share of the variance along the first two that a grouping explains,
    less what as many random groups would (adjusted R squared).
    """
    places = pd.DataFrame(np.asarray(coordinates)[:, :2], obs.index)
    symbols, channels = obs["sgrna_symbol"].astype(str), obs["channel"].astype(str)
    control = (symbols == CONTROL).map({True: "control", False: "perturbed"})
    explained = {}
    for name, group in {"channels": channels, "perturbations": symbols}.items():
        rest = (places - places.groupby(group).transform("mean")) ** 2
        rest = rest.sum() / max(len(places) - group.nunique(), 1)
        explained[name] = max(0.0, 1 - rest.sum() / places.var().sum())
    figure, axes = new_figure(
        f"Of the variance of {len(places):,} cells along the first two axes channels explain "
        f"{explained['channels']:.1%},\nperturbations {explained['perturbations']:.1%}",
        columns=2,
        height=4.2,
    )
    kinds = {"perturbed": BLUE, "control": ORANGE}
    for axis, group, shown in (
        (axes[0], channels, colours_of(sorted(channels.unique()))),
        (axes[1], control, kinds),
    ):
        for label, colour in shown.items():
            axis.scatter(*places[group == label].to_numpy().T, s=4, color=colour, label=label)
        axis.set(xlabel="first axis", ylabel="second axis")
        axis.legend(frameon=False, markerscale=3)
    return figure
