"""The competition's own data: its cells, effects and weights, and the metric's gate."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..competition import CONTROL
from ..expression.similarity import cluster_order, most_similar, rank_correlation
from ..models.baselines import weighted_median
from .style import (
    BLUE,
    COLOURS,
    GREEN,
    ORANGE,
    RED,
    colours_of,
    density,
    height_of,
    name_rows,
    new_figure,
    percent,
    sentence,
    span,
    with_legend,
)

SMALL, LARGE = 0.1, 0.25  # effects (log2) whose shares are published


def cells_per_perturbation(obs: pd.DataFrame) -> Figure:
    """Draw bars of the number of cells of each perturbation, stacked by channel.

    obs: `sgrna_symbol` and `channel` by cell.
    """
    by = ["sgrna_symbol", "channel"]
    counts = obs[by].astype(str).groupby(by).size().unstack(fill_value=0)
    total = counts.sum(axis=1).sort_values(ascending=False)
    perturbed = total.drop(CONTROL)
    figure, (axis,) = new_figure(
        f"{perturbed.median():.0f} cells a perturbation in median, from {perturbed.min()} "
        f"({perturbed.idxmin()}) to {perturbed.max():,}; {total[CONTROL]:,} control cells",
        height=height_of(total),
    )
    counts.loc[total.index].plot.barh(ax=axis, stacked=True, width=0.8, color=colours_of(counts))
    name_rows(axis, total.index)
    axis.set(xlabel="cells", ylabel=None)
    axis.legend(title="channel", frameon=False)
    return figure


def cell_embedding(coordinates: np.ndarray, obs: pd.DataFrame) -> Figure:
    """Draw cells in two dimensions, coloured by channel and by perturbed or non-targeting control.

    coordinates: (cells, at least 2), such as principal components; obs: by cell, `sgrna_symbol` and
    `channel`. The title gives the share of the variance along the first two that a grouping explains,
    less what as many random groups would (adjusted R squared).
    """
    places = pd.DataFrame(np.asarray(coordinates)[:, :2], obs.index)
    symbols, channels = obs["sgrna_symbol"].astype(str), obs["channel"].astype(str)
    control = (symbols == CONTROL).map({True: "control", False: "perturbed"})
    explained = []
    for group in (channels, symbols):
        rest = (places - places.groupby(group).transform("mean")) ** 2
        rest = rest.sum() / max(len(places) - group.nunique(), 1)
        explained.append(percent(max(0.0, 1 - rest.sum() / places.var().sum())))
    figure, axes = new_figure(
        f"Of the variance of {len(places):,} cells along the first two axes channels explain "
        f"{explained[0]},\nperturbations {explained[1]}",
        columns=2,
        height=4.2,
    )
    kinds = colours_of(sorted(channels.unique())), {"perturbed": BLUE, "control": ORANGE}
    for axis, group, shown in zip(axes, (channels, control), kinds, strict=True):
        for label, colour in shown.items():
            axis.scatter(*places[group == label].to_numpy().T, s=4, color=colour, label=label)
        axis.set(xlabel="first axis", ylabel="second axis")
        axis.legend(frameon=False, markerscale=3)
    return figure


def depth(obs: pd.DataFrame) -> Figure:
    """Draw distributions over cells of UMI, genes and mitochondrial share, a line a channel or screen.

    obs: by cell, of the competition (`channel`, `nCount_RNA`, `nFeature_RNA`, `percent.mt`) or of
    merged cells (`dataset`, `RNAcount`, `featurecount`, `mitocount`). What no cell has is left out.
    """
    if merged := "RNAcount" in obs:
        values = [obs["RNAcount"], obs["featurecount"], 100 * obs["mitocount"] / obs["RNAcount"]]
    else:
        values = [obs[name] for name in ("nCount_RNA", "nFeature_RNA", "percent.mt")]
    groups = obs["dataset" if merged else "channel"].astype(str)
    kind = "screen" if merged else "channel"
    median = values[0].groupby(groups, sort=False).median()
    labels = ("UMI in a cell", "genes in a cell", "% mitochondrial in a cell")
    known = [pair for pair in zip(labels, values, strict=True) if pair[1].max() > 0]
    if not known:
        return sentence("UMI, genes and mitochondrial share are known of no cell.")
    title = "UMI are known of no cell"
    if median.max() > 0:
        title = f"The median cell of a {kind} has {span(median, '{:,.0f}')} UMI"
    others = [f"{of.median():,.0f} {label.split()[0]}" for label, of in known if label[0] != "%"]
    title += f";\nof all: {', '.join(others)}" if others else ""
    figure, axes = new_figure(title, columns=len(known), height=4.2)
    for axis, (label, value) in zip(axes, known, strict=True):
        reach = value.quantile(0.995) or value.max()  # a few cells go far beyond
        for name, colour in colours_of(median.index).items():
            own = value[groups == name].dropna()
            share = np.full(len(own), 100 / max(len(own), 1))
            style = {"histtype": "step", "color": colour, "label": name}
            axis.hist(own, 40, range=(0, reach), weights=share, **style)
        axis.set(xlabel=label, ylabel=f"% of a {kind}'s cells")
        axis.locator_params(axis="x", nbins=4)
    return with_legend(figure, axes[0])


def on_target_effects(
    effects: pd.DataFrame, control: pd.Series, predictions: Mapping[str, pd.DataFrame] | None = None
) -> Figure:
    """Draw each on-target effect against the gene's control level, with its bound.

    effects: perturbation x gene, log2; control: by gene; predictions: frames as `effects` by name,
    drawn as curves. Only perturbations whose gene is measured and expressed have a place.
    """
    level = control[control.index.isin(effects.index) & (control > 0)].sort_values()
    names = level.index
    if not len(level):
        return sentence(f"None of {len(effects)} perturbed genes is measured and expressed.")
    effect = np.diag(effects.loc[names, names])
    curves = {name: np.diag(frame.loc[names, names]) for name, frame in (predictions or {}).items()}
    missed = [
        f"{name} {np.sqrt(np.mean((curve - effect) ** 2)):.3f}" for name, curve in curves.items()
    ]
    change = effect / level
    title = (
        f"{len(level)} of {len(effects)} perturbed genes are measured and expressed; their level "
    )
    title += f"changes by {percent(change.median())} in median,\nfrom {percent(change.min())} "
    title += f"({change.idxmin()}) to {percent(change.max())} ({change.idxmax()})"
    if missed:
        title = f"Root mean square error on the {len(level)} on-target effects: {', '.join(missed)}"
    figure, (axis,) = new_figure(title, height=4)
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.plot([0, level.max()], [0, -level.max()], color="black", label="bound: no transcript left")
    axis.scatter(level, effect, color=BLUE, zorder=3, label="on-target effect")
    for (name, curve), colour, style in zip(
        curves.items(), (RED, GREEN), ("-", "--"), strict=False
    ):
        axis.plot(level, curve, style, color=colour, label=name)
    axis.set(xlabel="control level of the gene, log2(1 + CP10k)", ylabel="on-target effect, log2")
    axis.legend(frameon=False)
    return figure


def effect_distribution(effects: pd.DataFrame) -> Figure:
    """Draw a histogram of all effects beside a normal, and the strength of each perturbation.

    effects: perturbation x gene, log2. Strength: share of the squares of all effects, of any scale.
    """
    values = effects.to_numpy().ravel()
    size, sd = np.abs(values), values.std()
    strength = (effects**2).sum(axis=1).sort_values(ascending=False)
    strength = strength / (strength.sum() or 1.0)
    tenth = -(-len(strength) // 10)
    figure, (left, right) = new_figure(
        f"{percent((size > SMALL).mean())} of the effects exceed {SMALL}, "
        f"{percent((size > LARGE).mean())} exceed {LARGE} (sd {sd:.3f});\n"
        f"the strongest {tenth} of {len(strength)} perturbations hold "
        f"{percent(strength.iloc[:tenth].sum())} of the squares of all effects",
        columns=2,
    )
    counts, edges, _ = left.hist(values, 80, color=BLUE, log=True, label="effects")
    middle, area = (edges[1:] + edges[:-1]) / 2, len(values) * (edges[1] - edges[0])
    if sd > 0:
        normal = area * np.exp(-0.5 * (middle / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        left.plot(middle, normal, color=RED, label="normal of the same sd")
    left.set(xlabel="effect, log2", ylabel="perturbation-gene pairs", ylim=(0.5, 30 * counts.max()))
    left.legend(frameon=False, loc="upper left")
    right.bar(np.arange(1, len(strength) + 1), 100 * strength, color=ORANGE)
    right.locator_params(axis="x", integer=True)
    right.set(xlabel="perturbations, strongest first", ylabel="share of the squared effects, %")
    right.legend([], title="strongest:\n" + "\n".join(strength.index[:5]), frameon=False)
    return figure


def similarity_map(similarity: pd.DataFrame) -> Figure:
    """Draw a map of cosines between perturbations (square frame) in clustered order, a name a row."""
    order, pairs = cluster_order(similarity), most_similar(similarity)
    figure, (axis,) = new_figure(
        f"Of {len(pairs):,} pairs {(pairs > 0.5).sum()} have a cosine above 0.5, "
        f"{(pairs < -0.5).sum()} below -0.5;\n"
        f"most similar: {' and '.join(pairs.index[0])}, {pairs.iloc[0]:.2f}",
        height=1 + height_of(order),
    )
    limits = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
    image = axis.imshow(similarity.loc[order, order], aspect="auto", interpolation="none", **limits)
    name_rows(axis, order)
    axis.set(xticks=[], xlabel="the same perturbations in the same order")
    figure.colorbar(image, label="cosine of centred effects", shrink=0.6)
    return figure


def weight_distribution(weights: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """Draw a histogram of the positive weights, and weight against the size of the effect."""
    values, size = weights.to_numpy().ravel(), effects.abs().to_numpy().ravel()
    heavy = np.sort(values)[-max(1, len(values) // 20) :].sum() / values.sum()
    figure, (left, right) = new_figure(
        f"The heaviest 5 % of entries hold {percent(heavy)} of all weight; median "
        f"{np.median(values):.2g}, {percent((values > 1).mean())} above 1\n"
        f"(rank correlation with |effect| {rank_correlation(effects.abs(), weights):.2f})",
        columns=2,
    )
    positive = values[values > 0]
    left.hist(positive, np.geomspace(positive.min() * 0.9, positive.max() * 1.1, 60), color=BLUE)
    left.axvline(1, color="black", linestyle="--")
    left.set(xscale="log", ylabel="perturbation-gene pairs")
    left.xaxis.set_minor_formatter("")  # or labels overprint within a decade
    left.set(xlabel="weight (dashed: 1, the mean of a row)")
    density(right, size, values, xlabel="|effect|, log2", ylabel="weight in WMAE")
    return figure


def weight_agreement(shipped: pd.DataFrame, recomputed: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw shipped weights against recomputed ones: frames by name, of some of the rows and genes."""
    taken = {name: shipped.loc[frame.index, frame.columns] for name, frame in recomputed.items()}
    rank = {name: rank_correlation(taken[name], frame) for name, frame in recomputed.items()}
    best = max(rank, key=rank.get)
    title = f"Recomputed and shipped weights agree most in rank by {best}, {rank[best]:.2f}"
    figure, axes = new_figure(title, columns=len(recomputed), height=4)
    for axis, (name, frame) in zip(axes, recomputed.items(), strict=True):
        x, y = taken[name].to_numpy().ravel(), frame.to_numpy().ravel()
        density(axis, x, y, xlabel="shipped weight", ylabel="recomputed weight")
        axis.axline((1, 1), (10, 10), color=RED, label="equal")
        axis.set_title(f"{name}: rank correlation {rank[name]:.2f}", fontsize=10)
        axis.legend(frameon=False)
    return figure


def gate_and_weight(
    effects: pd.DataFrame, weights: pd.DataFrame, gene: str, gates: Sequence[float]
) -> Figure:
    """Draw the metric at work: the cosine's gate, and the error of one value for one gene.

    Left the factor by which a gene counts in Wcos; right the mean absolute error when one value is
    predicted for `gene` in all perturbations, plain and weighted as in WMAE.
    """
    truth, weight = effects[gene], weights[gene]
    best = weighted_median(effects[[gene]], weights[[gene]])[gene]
    figure, (left, right) = new_figure(
        f"Effects below a quarter of the gate hardly count in the cosine; for {gene} the weights\n"
        f"move the best single value from {truth.median():.2f} (median; mean {truth.mean():.2f}) "
        f"to {best:.2f}",
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
