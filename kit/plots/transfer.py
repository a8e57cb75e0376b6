"""Figures of neighbours and transfer: beliefs, what `decide` trades, who speaks, other cell lines."""

import numpy as np
import pandas as pd

from ..decision import ExpectedScore
from ..metric import GATE
from .style import (
    BLUE,
    COLOURS,
    GREEN,
    ORANGE,
    RED,
    SKY,
    height_of,
    legend_below,
    name_rows,
    new_figure,
    percent,
)

MARKS = ("s", "o", "D", "*")  # of rules: told apart without colour


def beliefs(belief, values, pairs, truth=None):
    """Belief about some (perturbation, gene) pairs, and what each rule makes of it.

    values: by rule a perturbation x gene frame, the last of them `decide`'s. Upward the chance of each
    atom, downward the share of the metric's weight expected on it. truth: what came true, a frame.
    """
    decided, mean = list(values.values())[-1], belief.mean()
    stake = np.maximum(decided.abs(), mean.abs()) > GATE / 2
    farther = ((decided.abs() > mean.abs()) & stake).to_numpy().sum() / max(stake.sum().sum(), 1)
    figure, axes = new_figure(
        f"Of {stake.sum().sum():,} pairs with a mean or decided value beyond {GATE / 2:g}, the decided "
        f"one\nis farther from 0 than the mean in {percent(round(farther, 3))}",
        columns=len(pairs),
        height=4,
    )
    for axis, (perturbation, gene) in zip(axes, pairs, strict=True):
        chance, mass = atoms(belief, perturbation, gene)
        axis.vlines(chance.index, 0, 100 * chance, SKY, linewidth=2, label="chance")
        axis.vlines(mass.index, -100 * mass, 0, ORANGE, linewidth=2, label="weight")
        axis.axhline(0, color="black", linewidth=0.8)
        for (rule, frame), mark, colour in zip(values.items(), MARKS, _RULES, strict=False):
            where = frame.at[perturbation, gene]
            axis.axvline(where, color=colour, linewidth=0.8, linestyle=":")
            style = {"markersize": 13 if mark == "*" else 8, "markeredgecolor": "white"}
            axis.plot(where, 0, mark, color=colour, label=rule, **style)
        if truth is not None:
            came = truth.at[perturbation, gene]
            axis.plot(came, 0, "kx", markersize=14, zorder=1.9, label="came true")
        axis.set_title(f"{perturbation}: {gene}", fontsize=9)
        axis.set(xlabel="effect, log2")
        axis.yaxis.set_major_formatter(lambda share, _: f"{abs(share):g}")
    axes[0].set(ylabel="% of chance (up), of weight (down)")
    _two_lines_of_legend(figure, axes[0])
    return figure


def atoms(belief, perturbation, gene):
    """Chance and expected share of the metric's weight of each effect: two series by effect, log2."""
    row, column = belief.perturbations.get_loc(perturbation), belief.genes.get_loc(gene)
    parts = (belief.chances()[column, row], belief.masses()[column, row])
    values = belief.values[gene].to_numpy()  # rows with the same effect are one atom
    sums = [pd.Series(part, values).groupby(level=0).sum() for part in parts]
    return tuple(part / max(part.sum(), 1e-12) for part in sums)


def exchange(belief, values=None, *, gate=GATE):
    """What `decide` expects along its rates of exchange, and of other rules: two frames.

    Columns `w` (for 60 rows), `wcos` and `score`, expected by the belief itself; rows the rates
    (infinite: the weighted medians), and the rules of `values` (perturbation x gene frames by name),
    each value rounded to the nearest candidate.
    """
    outlook = ExpectedScore(belief, gate)
    path = {rate: _expected(state, belief) for rate, _, state in outlook.path()}
    rules = {}
    for rule, frame in (values or {}).items():
        wanted = frame.loc[belief.perturbations, belief.genes].to_numpy()
        near = [np.abs(outlook.candidates - row[:, None]).argmin(axis=1) for row in wanted]
        rules[rule] = _expected(outlook.expected(np.array(near)), belief)
    return tuple(
        pd.DataFrame.from_dict(rows, "index", columns=["w", "wcos", "score"])
        for rows in (path, rules)
    )


def trade(path, rules):
    """Expected W against expected Wcos along the rates of exchange, beside other rules' predictions.

    path, rules: as `exchange` gives them, rules without the decided one, which is the best of the path;
    on a grey line the product is the same.
    """
    best, first = path.loc[path["score"].idxmax()], rules.index[0]
    figure, (axis,) = new_figure(
        f"By the belief itself the {first} is to score {rules['score'].iloc[0]:.2f} for 60 rows, "
        f"the best trade {best['score']:.2f}:\nWcos {rules['wcos'].iloc[0]:.2f} becomes "
        f"{best['wcos']:.2f}, W {rules['w'].iloc[0]:.1f} becomes {best['w']:.1f}",
        height=4.4,
    )
    axis.plot(path["wcos"], path["w"], "o-", color=BLUE, markersize=4, label="rates tried")
    for place, word in ((0, "W is dear"), (-1, "Wcos is dear")):
        at = (path["wcos"].iloc[place], path["w"].iloc[place])
        axis.annotate(word, at, (6, 6), textcoords="offset points", fontsize=8, color=BLUE)
    for (rule, row), mark, colour in zip(rules.iterrows(), MARKS[:-1], _RULES, strict=False):
        axis.plot(row["wcos"], row["w"], mark, color=colour, markersize=9, label=rule)
    axis.plot(best["wcos"], best["w"], MARKS[-1], color=RED, markersize=15, label="decided")
    axis.margins(0.12)
    _same_products(axis)
    axis.set(xlabel="expected Wcos", ylabel="expected W for 60 rows")
    _two_lines_of_legend(figure, axis)
    return figure


def speakers(chances, reasons):
    """Bars of the training rows that speak for one knockdown, and why.

    chances: series by training row, named by the knockdown, sums to 1; reasons: text of the rows to show.
    """
    chances = chances.sort_values(ascending=False, kind="stable")
    half = int(np.argmax(chances.cumsum().to_numpy() >= 0.5)) + 1
    shown = chances[[name for name in chances.index if name in reasons]]
    even = 1 / len(chances)
    figure, (axis,) = new_figure(
        f"{chances.name}: {half} of {len(chances)} training knockdowns hold half of the chance;\n"
        f"{chances.index[0]} speaks loudest, {chances.iloc[0] / even:.1f} times an even chance",
        height=1.7 + 0.3 * len(shown),
    )
    axis.barh(range(len(shown)), 100 * shown, color=BLUE)
    axis.axvline(100 * even, color=RED, linestyle="--", label="all alike")
    style = {"va": "center", "fontsize": 8, "bbox": {"fc": "white", "lw": 0, "pad": 0.5}}
    for place, name in enumerate(shown.index):
        axis.text(100 * shown[name] + shown.max(), place, reasons[name], **style)
    name_rows(axis, shown.index, size=9)
    axis.set(xlabel="chance that the answer is this knockdown's, %", xlim=(0, 250 * shown.max()))
    axis.legend(frameon=False, loc="lower right")
    return figure


def complexes(inside, overall, null=None):
    """Mean centred cosine within complexes, of the truth and of predictions, beside that of all pairs.

    inside: complex x kind frame, at most three kinds; overall: mean over all pairs by kind, a series.
    null: (low, high) of two knockdowns that do nothing.
    """
    said = [f"{kind} {inside[kind].mean():.2f} ({overall[kind]:.2f})" for kind in inside]
    figure, (axis,) = new_figure(
        f"Mean cosine within {len(inside)} complexes or pathways (of all pairs):\n{', '.join(said)}",
        height=height_of(inside) + 0.1 * len(inside),
    )
    if null is not None:
        label = "non-targeting, 90 %"
        axis.axvspan(*null, color="0.9", linewidth=0, label=label)
    for kind, mark, colour in zip(inside, ("D", "o", "s"), (RED, BLUE, ORANGE), strict=False):
        places = np.arange(len(inside))
        axis.plot(inside[kind], places, mark, color=colour, markersize=7, label=kind, alpha=0.85)
        axis.axvline(overall[kind], color=colour, linewidth=1, linestyle=":")
    low, high = inside.min(axis=1), inside.max(axis=1)
    axis.hlines(range(len(inside)), low, high, "0.8", linewidth=1.5, zorder=0)
    name_rows(axis, inside.index, size=8)
    axis.set(xlabel="mean cosine of pairs less the mean effect (dotted: all pairs)")
    legend_below(figure, axis)
    return figure


def lines(scores, reference="constant"):
    """Gains over `reference` in each cell line by model; scores: frame by (line, model), of `compare`."""
    others = scores.drop(index=reference, level=1)
    models, names = others.index.unique(1), others.index.unique(0)
    last = others.xs(models[-1], level=1)
    figure, (axis,) = new_figure(
        f"“{models[-1]}” is better than “{reference}” in {(last['difference'] > 0).sum()} of "
        f"{len(last)} cell lines, surely in {(last['difference_low'] > 0).sum()}",
        height=1.6 + 0.2 * len(others) + 0.2 * len(names),
    )
    for number, (model, colour) in enumerate(zip(models, COLOURS, strict=False)):
        part = others.xs(model, level=1).loc[names]
        places = np.arange(len(names)) + 0.25 * (number - (len(models) - 1) / 2)
        reach = part["difference_low"], part["difference_high"]
        axis.hlines(places, *reach, colour, linewidth=1.5)
        axis.plot(part["difference"], places, "o", color=colour, label=model)
    axis.axvline(0, color="black", linewidth=0.8)
    floor = scores["score"].xs(reference, level=1)
    name_rows(axis, [f"{name}\n{reference} {floor[name]:.1f}" for name in names], size=8)
    axis.set(xlabel=f"gain over {reference} for 60 rows, paired, 90 % interval")
    legend_below(figure, axis)
    return figure


_RULES = ("black", GREEN, "#CC79A7", RED)


def _expected(state, belief):
    w = 60 * state.w / len(belief.perturbations)
    return w, state.wcos, w * max(state.wcos, 0)


def _same_products(axis):
    """Grey lines along which W x Wcos is the same, under what is drawn already."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    x, y = np.meshgrid(np.linspace(left, right, 100), np.linspace(low, high, 100))
    drawn = axis.contour(x, y, x * y, 6, colors="0.85", linewidths=1, linestyles="-", zorder=0)
    axis.clabel(drawn, fontsize=7, fmt="%.3g")


def _two_lines_of_legend(figure, axis):
    handles, labels = axis.get_legend_handles_labels()
    columns = -(-len(labels) // 2)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
