"""Predictive distributions: the score-optimal value, coverage of intervals, expected scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..decision import Distribution, ExpectedScore
from ..forecast import Calibration
from ..metric import GATE
from .style import (
    BLUE,
    COLOURS,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    legend_below,
    new_figure,
    percent,
    strips,
)

MARKS, RULES = ("s", "o", "D", "*"), ("black", GREEN, PINK, RED)  # distinct without colour too
LEVEL = 0.9  # of the title, where it was asked for


def distributions(
    distribution: Distribution,
    values: Mapping[str, pd.DataFrame],
    pairs: Sequence[tuple[str, str]],
    truth: pd.DataFrame | None = None,
) -> Figure:
    """Draw predictive distributions of (perturbation, gene) pairs, and the value that each rule takes.

    values: by rule, perturbation x gene, the last of them `decide`'s. Upward the probability of each
    support point, downward its share of the expected metric weight. truth: measured effects.
    """
    decided, mean = list(values.values())[-1], distribution.mean()
    large = np.maximum(decided.abs(), mean.abs()) > GATE / 2
    farther = ((decided.abs() > mean.abs()) & large).to_numpy().sum() / max(large.sum().sum(), 1)
    figure, axes = new_figure(
        f"Of {large.sum().sum():,} pairs with a mean or score-optimal value beyond {GATE / 2:g},\n"
        f"the score-optimal one is farther from 0 than the mean in {percent(round(farther, 3))}",
        columns=len(pairs),
        height=4,
    )
    for axis, (perturbation, gene) in zip(axes, pairs, strict=True):
        chance, weight = support_points(distribution, perturbation, gene)
        axis.vlines(chance.index, 0, 100 * chance, SKY, linewidth=2, label="probability")
        axis.vlines(weight.index, -100 * weight, 0, ORANGE, linewidth=2, label="weight")
        axis.axhline(0, color="black", linewidth=0.8)
        for (rule, frame), mark, colour in zip(values.items(), MARKS, RULES, strict=False):
            where = frame.at[perturbation, gene]
            axis.axvline(where, color=colour, linewidth=0.8, linestyle=":")
            style = {"markersize": 13 if mark == "*" else 8, "markeredgecolor": "white"}
            axis.plot(where, 0, mark, color=colour, label=rule, **style)
        if truth is not None:
            measured = truth.at[perturbation, gene]
            axis.plot(measured, 0, "kx", markersize=14, zorder=1.9, label="measured")
        axis.set_title(f"{perturbation}: {gene}", fontsize=9)
        axis.set(xlabel="effect, log2")
        axis.yaxis.set_major_formatter(lambda share, _: f"{abs(share):g}")
    axes[0].set(ylabel="% of probability (up), of weight (down)")
    legend_below(figure, axes[0], rows=2)
    return figure


def support_points(
    distribution: Distribution, perturbation: str, gene: str
) -> tuple[pd.Series, pd.Series]:
    """Return the probability, and the share of the metric's expected weight, by effect, log2."""
    row = distribution.perturbations.get_loc(perturbation)
    column = distribution.genes.get_loc(gene)
    values = distribution.values[gene].to_numpy()  # rows with the same effect are one point
    chance, weight = (
        pd.Series(part[column, row], values).groupby(level=0).sum()
        for part in (distribution.chances(), distribution.masses())
    )
    return chance / max(chance.sum(), 1e-12), weight / max(weight.sum(), 1e-12)


def exchange(
    distribution: Distribution,
    values: Mapping[str, pd.DataFrame] | None = None,
    *,
    gate: float = GATE,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the expected score along `decide`'s rates of exchange, and that of other rules.

    Columns `w` (for 60 rows), `wcos` and `score`, expected by the distribution itself; rows the rates
    (infinite: the weighted medians), and the rules of `values` (perturbation x gene by name), each
    value rounded to the nearest candidate.
    """
    expected = ExpectedScore(distribution, gate)
    path = {rate: state for rate, _, state in expected.path()}
    rules = {}
    for rule, frame in (values or {}).items():
        wanted = frame.loc[distribution.perturbations, distribution.genes].to_numpy()
        near = [np.abs(expected.candidates - row[:, None]).argmin(axis=1) for row in wanted]
        rules[rule] = expected.expected(np.array(near))
    rows = len(distribution.perturbations)
    path, rules = (
        pd.DataFrame(
            [(60 * state.w / rows, state.wcos) for state in states.values()],
            list(states),
            ["w", "wcos"],
        )
        for states in (path, rules)
    )
    return tuple(
        table.assign(score=table["w"] * table["wcos"].clip(lower=0)) for table in (path, rules)
    )


def trade(path: pd.DataFrame, rules: pd.DataFrame) -> Figure:
    """Draw expected W against expected Wcos along the rates of exchange, beside other rules.

    path, rules: as `exchange` gives them, rules without the score-optimal one, which is the best of the
    path; on a grey line the product is the same.
    """
    best, first = path.loc[path["score"].idxmax()], rules.index[0]
    figure, (axis,) = new_figure(
        f"Expected score for 60 rows of the {first} {rules['score'].iloc[0]:.2f}, score-optimal "
        f"{best['score']:.2f}:\nWcos {rules['wcos'].iloc[0]:.2f} becomes {best['wcos']:.2f}, "
        f"W {rules['w'].iloc[0]:.1f} becomes {best['w']:.1f}",
        height=4.4,
    )
    axis.plot(path["wcos"], path["w"], "o-", color=BLUE, markersize=4, label="rates tried")
    for place, word in ((0, "W counts most"), (-1, "Wcos counts most")):
        at = (path["wcos"].iloc[place], path["w"].iloc[place])
        axis.annotate(word, at, (6, 6), textcoords="offset points", fontsize=8, color=BLUE)
    for (rule, row), mark, colour in zip(rules.iterrows(), MARKS[:-1], RULES, strict=False):
        axis.plot(row["wcos"], row["w"], mark, color=colour, markersize=9, label=rule)
    style = {"color": RED, "markersize": 15, "label": "score-optimal"}
    axis.plot(best["wcos"], best["w"], MARKS[-1], **style)
    axis.margins(0.12)
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    x, y = np.meshgrid(np.linspace(left, right, 100), np.linspace(low, high, 100))
    drawn = axis.contour(x, y, x * y, 6, colors="0.85", linewidths=1, linestyles="-", zorder=0)
    axis.clabel(drawn, fontsize=7, fmt="%.3g")
    axis.set(xlabel="expected Wcos", ylabel="expected W for 60 rows")
    legend_below(figure, axis, rows=2)
    return figure


def calibration(found: Calibration) -> Figure:
    """Draw observed against nominal coverage by size of the effect, and coverage by perturbation.

    found: from `kit.forecast.calibration`. Bars: 90 % interval over perturbations. Crosses: the
    probability that the predictive distribution itself gives to its intervals, above the nominal level
    where many effects are equal.
    """
    table = found.table()
    levels = list(found.inside)
    level = LEVEL if LEVEL in levels else levels[-1]
    row, by_row = table.loc[("all", level)], found.by_perturbation(level)
    ends = *row[["observed", "low", "high", "by_weight"]], *np.quantile(by_row, [0.1, 0.9])
    observed, low, high, by_weight, least, most = (f"{100 * share:.1f} %" for share in ends)
    figure, (left, right) = new_figure(
        f"Of left-out effects {observed} lie in their {percent(level)} interval ({low} to {high}),\n"
        f"of the metric's weight {by_weight}; for most perturbations between {least} and {most}",
        columns=2,
        height=4.2,
    )
    left.plot([0, 100], [0, 100], color="black", linewidth=0.8, zorder=0)
    sizes = [size for size in table.index.unique("size") if size != "on-target gene"]  # too few
    for number, size in enumerate(sizes):
        part, colour = table.loc[size], COLOURS[number] if number else "0.4"
        nominal = 100 * (part.index + 0.012 * (number - (len(sizes) - 1) / 2))
        left.vlines(nominal, 100 * part["low"], 100 * part["high"], colour, linewidth=1.5)
        label = "all" if size == "all" else f"|expected| {size}"
        left.plot(nominal, 100 * part["observed"], "o", color=colour, markersize=5, label=label)
    predicted = 100 * table.loc["all", "probability"]
    left.plot(100 * predicted.index.to_numpy(), predicted, "x", color=RED, label="predicted")
    first = 100 * min(levels[0], table["low"].min()) - 5
    left.set(xlabel="nominal coverage, %", ylabel="observed coverage, %")
    left.set(xlim=(100 * levels[0] - 6, 101), ylim=(max(first, 0), 101))
    by_level = {percent(one): 100 * found.by_perturbation(one) for one in levels}
    strips(right, by_level, "perturbation")
    places = np.arange(len(levels))
    nominal = 100 * np.array(levels)
    right.vlines(nominal, places - 0.42, places + 0.42, BLUE, linestyle="--", label="nominal")
    right.set(xlabel="share of a perturbation's genes inside, %", ylabel="nominal coverage")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    left.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def expected_scores(draws: pd.DataFrame, estimate: float, ceiling: float | None = None) -> Figure:
    """Draw what new rows may score, and how public and private rows of one submission differ.

    draws: `score`, `public`, `private` as `expected_spread` gives them; estimate: out of fold; ceiling:
    the noise ceiling; all for 60 rows.
    """
    low, high = draws["score"].quantile([0.05, 0.95])
    gap = (draws["public"] - draws["private"]).abs().quantile(0.9)
    below = (draws["score"] < 0).mean()
    figure, (left, right) = new_figure(
        f"Expected of all targets: {low:.2f} to {high:.2f} for 60 rows (90 %), below the mean in "
        f"{percent(round(below, 3))};\none time in ten public and private differ by {gap:.2f} or more",
        columns=2,
        height=3.8,
    )
    left.hist(draws["score"], 40, color=SKY)
    left.axvspan(low, high, color=BLUE, alpha=0.12, label="90 %")
    left.axvline(estimate, color=BLUE, linewidth=2, label="out-of-fold score")
    left.axvline(0, color="black", linewidth=1, label="floor")
    if ceiling is not None:
        left.axvline(ceiling, color=RED, linestyle="--", label="noise ceiling")
    left.set(xlabel="score for 60 rows", ylabel="draws")
    right.scatter(draws["public"], draws["private"], 5, SKY, alpha=0.5, linewidth=0)
    ends = draws[["public", "private"]].quantile([0.002, 0.998])
    ends = [ends.min().min(), ends.max().max()]
    right.plot(ends, ends, color="0.6", linewidth=1)
    right.set(xlim=ends, ylim=ends, xlabel="public rows", ylabel="private rows, same draw")
    legend_below(figure, left)
    return figure
