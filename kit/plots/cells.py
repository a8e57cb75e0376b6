"""Figures of the cells: how many a knockdown has, and how deep they are read."""

from ..competition import CONTROL
from .style import colours_of, height_of, name_rows, new_figure


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
