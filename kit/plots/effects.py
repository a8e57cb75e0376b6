"""Figures of effects: of the own gene, of all together, and how alike they are."""

import numpy as np

from ..expression.similarity import cluster_order, most_similar
from .style import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    diagonal,
    height_of,
    name_rows,
    new_figure,
    percent,
)

SMALL, LARGE = 0.1, 0.25  # effects (log2) whose shares are published


def own_gene(effects, control, predictions=None):
    """Effect of each knockdown on its own gene against that gene's control level, with the bound.

    control: series by gene; predictions: perturbation x gene frames by name, drawn as curves. Only
    knockdowns whose gene is measured and expressed have a place.
    """
    level = control[control.index.isin(effects.index) & (control > 0)].sort_values()
    drop = -diagonal(effects, level.index) / level
    title = f"{len(level)} of {len(effects)} knocked-down genes are measured and expressed"
    if not len(level):
        figure, (axis,) = new_figure(f"{title}: nothing to show", height=0.6)
        axis.set_axis_off()
        return figure
    figure, (axis,) = new_figure(
        f"{title}; their level falls by {percent(drop.median())} in median,\n"
        f"from {percent(drop.min())} ({drop.idxmin()}) to {percent(drop.max())} ({drop.idxmax()})",
        height=4,
    )
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.plot([0, level.max()], [0, -level.max()], color="black", label="bound: no transcript left")
    axis.scatter(level, -drop * level, color=BLUE, zorder=3, label="a knockdown's own gene")
    curves = zip((predictions or {}).items(), (RED, GREEN), ("-", "--"), strict=False)
    for (name, prediction), colour, style in curves:
        axis.plot(level, diagonal(prediction, level.index), style, color=colour, label=name)
    axis.set(xlabel="control level of the own gene, log2(1 + CP10k)", ylabel="effect on it, log2")
    axis.legend(frameon=False)
    return figure


def effect_distribution(effects):
    """Histogram of all effects against a normal, and the strong effects of each perturbation."""
    values = effects.to_numpy().ravel()
    size, sd = np.abs(values), values.std()
    strong = (effects.abs() > LARGE).sum(axis=1).sort_values(ascending=False)
    tenth = -(-len(strong) // 10)
    held = strong.iloc[:tenth].sum() / max(strong.sum(), 1)
    figure, axes = new_figure(
        f"{percent((size > SMALL).mean())} of the effects exceed {SMALL}, "
        f"{percent((size > LARGE).mean())} exceed {LARGE} (sd {sd:.3f});\n"
        f"of the latter the strongest {tenth} of {len(strong)} knockdowns hold {percent(held)}",
        columns=2,
    )
    counts, edges, _ = axes[0].hist(values, 80, color=BLUE, log=True, label="effects")
    middle, area = (edges[1:] + edges[:-1]) / 2, len(values) * (edges[1] - edges[0])
    normal = area * np.exp(-0.5 * (middle / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
    axes[0].plot(middle, normal, color=RED, label="normal of the same sd")
    axes[0].set(xlabel="effect, log2", ylabel="knockdown-gene pairs", ylim=(0.5, 30 * counts.max()))
    axes[0].legend(frameon=False, loc="upper left")
    axes[1].bar(np.arange(1, len(strong) + 1), strong, color=ORANGE)
    axes[1].set(xlabel="knockdowns, strongest first", ylabel=f"genes with an effect beyond {LARGE}")
    axes[1].legend([], title="strongest:\n" + "\n".join(strong.index[:5]), frameon=False)
    return figure


def similarity_map(similarity):
    """Heat map of a similarity frame in clustered order, a name a row."""
    order, pairs = cluster_order(similarity), most_similar(similarity)
    figure, (axis,) = new_figure(
        f"{(pairs > 0.5).sum()} of {len(pairs):,} pairs answer alike (cosine above 0.5), "
        f"{(pairs < -0.5).sum()} oppositely (below -0.5);\n"
        f"closest: {' and '.join(pairs.index[0])}, {pairs.iloc[0]:.2f}",
        height=1 + height_of(order),
    )
    span = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
    image = axis.imshow(similarity.loc[order, order], aspect="auto", interpolation="none", **span)
    name_rows(axis, order)
    axis.set(xticks=[], xlabel="the same knockdowns in the same order")
    figure.colorbar(image, label="cosine of centred effects", shrink=0.6)
    return figure
