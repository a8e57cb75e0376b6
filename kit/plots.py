"""Every figure of the notebooks: frames in, a matplotlib Figure out, its title computed from the data.

Frames are perturbation x gene as in `Competition`. Each function draws one figure 8 inches wide and
neither reads nor writes a file: `Run.save_figure` keeps and marks it. Colours are those of Okabe and
Ito, distinct for colour-blind readers. The one module that needs matplotlib; `import kit` leaves it out.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .competition import CONTROL
from .models.constant import weighted_median
from .similarity import cluster_order, most_similar, rank_correlation

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY = "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", SKY, RED, "black")
SMALL, LARGE = 0.1, 0.25  # effects (log2) whose shares are published


def cells_per_perturbation(obs):
    """Bars of cells a perturbation, stacked by channel; obs: `sgrna_symbol`, `channel` by cell."""
    by = ["sgrna_symbol", "channel"]
    counts = obs[by].astype(str).groupby(by).size().unstack(fill_value=0)
    total = counts.sum(axis=1).sort_values(ascending=False)
    knocked = total.drop(CONTROL)
    figure, (axis,) = _figure(
        f"{knocked.median():.0f} cells a knockdown in median, from {knocked.min()} "
        f"({knocked.idxmin()}) to {knocked.max():,}; {total[CONTROL]:,} control cells",
        height=_height(total),
    )
    counts.loc[total.index].plot.barh(ax=axis, stacked=True, width=0.8, color=_colours(counts))
    _name_rows(axis, total.index)
    axis.set(xlabel="cells", ylabel=None)
    axis.legend(title="channel", frameon=False)
    return figure


def depth(obs):
    """Distributions over cells of UMI, genes and mitochondrial share, a line a channel."""
    panels = {"nCount_RNA": "UMI", "nFeature_RNA": "genes", "percent.mt": "% mitochondrial"}
    channels = obs.groupby(obs["channel"].astype(str))
    umi, genes, mitochondrial = obs[list(panels)].median()
    by_channel = channels["nCount_RNA"].median()
    figure, axes = _figure(
        f"The median cell: {umi:,.0f} UMI of {genes:,.0f} genes, {mitochondrial:.1f} % mitochondrial\n"
        f"(UMI medians of the channels: {by_channel.min():,.0f} to {by_channel.max():,.0f})",
        columns=3,
    )
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        span = (obs[name].min(), obs[name].quantile(0.995))  # a few cells reach far beyond
        for channel, colour in _colours(by_channel.index).items():
            values = channels.get_group(channel)[name]
            axis.hist(values, 40, range=span, histtype="step", color=colour, label=channel)
        axis.set(xlabel=f"{label} in a cell", ylabel="cells")
    axes[0].legend(title="channel", frameon=False)
    return figure


def own_gene(effects, control, predictions=None):
    """Effect of each knockdown on its own gene against that gene's control level, with the bound.

    control: series by gene; predictions: perturbation x gene frames by name, drawn as curves. Only
    knockdowns whose gene is measured and expressed have a place.
    """
    level = control[control.index.isin(effects.index) & (control > 0)].sort_values()
    drop = -_diagonal(effects, level.index) / level
    title = f"{len(level)} of {len(effects)} knocked-down genes are measured and expressed"
    if not len(level):
        figure, (axis,) = _figure(f"{title}: nothing to show", height=0.6)
        axis.set_axis_off()
        return figure
    figure, (axis,) = _figure(
        f"{title}; their level falls by {_percent(drop.median())} in median,\n"
        f"from {_percent(drop.min())} ({drop.idxmin()}) to {_percent(drop.max())} ({drop.idxmax()})",
        height=4,
    )
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.plot([0, level.max()], [0, -level.max()], color="black", label="bound: no transcript left")
    axis.scatter(level, -drop * level, color=BLUE, zorder=3, label="a knockdown's own gene")
    curves = zip((predictions or {}).items(), (RED, GREEN), ("-", "--"), strict=False)
    for (name, prediction), colour, style in curves:
        axis.plot(level, _diagonal(prediction, level.index), style, color=colour, label=name)
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
    figure, axes = _figure(
        f"{_percent((size > SMALL).mean())} of the effects exceed {SMALL}, "
        f"{_percent((size > LARGE).mean())} exceed {LARGE} (sd {sd:.3f});\n"
        f"of the latter the strongest {tenth} of {len(strong)} knockdowns hold {_percent(held)}",
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
    figure, (axis,) = _figure(
        f"{(pairs > 0.5).sum()} of {len(pairs):,} pairs answer alike (cosine above 0.5), "
        f"{(pairs < -0.5).sum()} oppositely (below -0.5);\n"
        f"closest: {' and '.join(pairs.index[0])}, {pairs.iloc[0]:.2f}",
        height=1 + _height(order),
    )
    span = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
    image = axis.imshow(similarity.loc[order, order], aspect="auto", interpolation="none", **span)
    _name_rows(axis, order)
    axis.set(xticks=[], xlabel="the same knockdowns in the same order")
    figure.colorbar(image, label="cosine of centred effects", shrink=0.6)
    return figure


def weight_distribution(weights, effects):
    """Histogram of the positive weights, and weight against the size of the effect."""
    values, size = weights.to_numpy().ravel(), effects.abs().to_numpy().ravel()
    heavy = np.sort(values)[-max(1, len(values) // 20) :].sum() / values.sum()
    figure, axes = _figure(
        f"The heaviest 5 % of entries hold {_percent(heavy)} of all weight; median "
        f"{np.median(values):.2g}, {_percent((values > 1).mean())} above 1\n"
        f"(rank correlation with |effect| {rank_correlation(effects.abs(), weights):.2f})",
        columns=2,
    )
    positive = values[values > 0]
    axes[0].hist(positive, np.geomspace(positive.min() * 0.9, positive.max() * 1.1, 60), color=BLUE)
    axes[0].axvline(1, color=RED)
    axes[0].set(xscale="log", xlabel="weight (red: 1, a row's mean)", ylabel="knockdown-gene pairs")
    _density(axes[1], size, values, xlabel="|effect|, log2", ylabel="weight in WMAE")
    return figure


def weight_agreement(shipped, recomputed):
    """Shipped weights against recomputed ones: frames by name, whose rows and genes are taken."""
    taken = {name: shipped.loc[frame.index, frame.columns] for name, frame in recomputed.items()}
    rank = {name: rank_correlation(taken[name], frame) for name, frame in recomputed.items()}
    best = max(rank, key=rank.get)
    figure, axes = _figure(
        f"Weights recomputed from the cells rank most like the shipped ones by {best}",
        columns=len(recomputed),
        height=4,
    )
    for axis, (name, frame) in zip(axes, recomputed.items(), strict=True):
        x, y = taken[name].to_numpy().ravel(), frame.to_numpy().ravel()
        _density(axis, x, y, xlabel="shipped weight", ylabel="recomputed weight")
        axis.axline((1, 1), (10, 10), color=RED, label="equal")
        axis.set_title(f"{name}: rank correlation {rank[name]:.2f}", fontsize=10)
        axis.legend(frameon=False)
    return figure


def gate_and_weight(effects, weights, gene, gates):
    """Worked picture of the metric: the cosine's gate, and the error of one value for one gene.

    Left the factor by which a gene counts in Wcos; right the mean absolute error when every
    knockdown is predicted to have the same effect on `gene`, plain and weighted as in WMAE.
    """
    truth, weight = effects[gene], weights[gene]
    best = weighted_median(effects[[gene]], weights[[gene]])[gene]
    figure, (left, right) = _figure(
        f"Small effects count for nothing in the cosine; for {gene} the weights move the best\n"
        f"single value from {truth.median():.2f} (median; mean {truth.mean():.2f}) to {best:.2f}",
        columns=2,
    )
    size = np.linspace(0, 1.5 * max(gates), 200)
    for gate, colour in zip(gates, COLOURS, strict=False):
        t = np.clip(size / gate, 0, 1)
        left.plot(size, (t**2 * (3 - 2 * t)) ** 2, color=colour, label=f"gate {gate}")
    left.set(xlabel="larger of |effect| and |prediction|, log2", ylabel="factor in the cosine, g²")
    guess = np.linspace(*np.quantile(truth, [0, 1]), 400)
    distance = np.abs(truth.to_numpy()[:, None] - guess)
    right.plot(guess, distance.mean(axis=0), color=BLUE, label="plain")
    right.plot(guess, weight @ distance / weight.sum(), color=ORANGE, label="weighted")
    right.axvline(best, color=ORANGE, linestyle=":")
    right.plot(truth, np.zeros(len(truth)), "|", color="black", label="the effects")
    right.set(xlabel=f"one effect on {gene} for all, log2", ylabel="mean absolute error, log2")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure


def constants(effects, weights, mean, constant, genes=8):
    """Two constant rows (series by gene) among the effects of the genes where they differ most."""
    farther = (constant.abs() > mean.abs()).mean()
    shown = (weights.sum() * (constant - mean).abs()).nlargest(genes).index
    figure, (axis,) = _figure(
        f"The best constant lies farther from 0 than the mean in {_percent(farther)} of the genes",
        height=1.4 + 0.4 * len(shown),
    )
    for place, gene in enumerate(shown):
        area = 150 * weights[gene] / weights[gene].max()
        axis.scatter(effects[gene], np.full(len(effects), place), area, color=SKY, alpha=0.6)
    axis.plot(mean[shown], range(len(shown)), "|", color="black", markersize=14, label="mean")
    axis.plot(constant[shown], range(len(shown)), "D", color=RED, label="metric-optimal constant")
    axis.axvline(0, color="0.6", linewidth=0.8)
    _name_rows(axis, shown, size=10)
    axis.set(xlabel="effect, log2 (a dot a knockdown, its area the weight)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def forest(scores, ceiling=None):
    """Scores for 60 rows with their intervals, a row a model, beside floor (0) and ceiling.

    scores: frame by model of `score`, `low`, `high`.
    """
    best = scores["score"].idxmax()
    figure, (axis,) = _figure(
        f"Best: {best}, {scores['score'].max():.2f} for 60 unseen knockdowns;\nthe mean scores 0"
        + (f", half the cells {ceiling:.1f}" if ceiling is not None else ""),
        height=1.3 + 0.35 * len(scores),
    )
    reach = (scores["score"] - scores["low"], scores["high"] - scores["score"])
    axis.errorbar(scores["score"], range(len(scores)), xerr=reach, fmt="o", color=BLUE, capsize=3)
    axis.axvline(0, color="black", linewidth=1, label="floor: the mean")
    if ceiling is not None:
        axis.axvline(ceiling, color=RED, linestyle="--", label="ceiling: half the cells")
    _name_rows(axis, scores.index, size=10)
    axis.set(xlabel="out-of-fold score for 60 rows, 90 % interval")
    axis.legend(frameon=False)
    return figure


def gains(w):
    """Bars of the knockdowns' terms of W, sorted; w: series by perturbation."""
    w = w.sort_values(ascending=False)
    figure, (axis,) = _figure(
        f"{(w > 0).sum()} of {len(w)} unseen knockdowns are nearer than the mean: "
        f"they give {w[w > 0].sum():.2f} to W, the others {w[w <= 0].sum():.2f}",
        height=_height(w),
    )
    axis.barh(range(len(w)), w, color=np.where(w > 0, BLUE, ORANGE))
    axis.axvline(0, color="black", linewidth=0.8)
    _name_rows(axis, w.index)
    axis.set(xlabel="term of W: log2(WMAE of the mean / WMAE of the model)")
    return figure


def _figure(title, *, columns=1, height=3.6):
    size = (8, height)
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(title, fontsize=11)
    strip = 0.18 / height  # kept free at the foot for the mark on simulated data
    figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def _height(names):
    return max(3.6, 1.2 + 0.125 * len(names))


def _name_rows(axis, names, size=8):
    axis.set_yticks(range(len(names)), names, fontsize=size)
    axis.set_ylim(len(names) - 0.5, -0.5)


def _percent(share):
    return f"{100 * share:.3g} %"


def _colours(names):
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def _diagonal(effects, names):
    return pd.Series([effects.at[name, name] for name in names], index=names, dtype=float)


def _density(axis, x, y, **labels):
    """Counts of pairs on two logarithmic axes; pairs with a zero have no place there."""
    seen = (x > 0) & (y > 0)
    bins = [np.geomspace(0.9 * v[seen].min(), 1.1 * v[seen].max(), 60) for v in (x, y)]
    axis.hist2d(x[seen], y[seen], bins, cmin=1, norm="log")
    axis.set(xscale="log", yscale="log", **labels)
