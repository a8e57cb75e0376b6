"""Predictive distributions: the score-optimal value, and the scores to expect."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..decision import Distribution, ExpectedScore
from ..metric import GATE
from .style import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    draw_ceiling,
    new_figure,
    percent,
    sentence,
    with_legend,
)

MARKS, RULES = ("s", "o", "D", "*"), ("black", GREEN, PINK, RED)  # distinct without colour too


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
    if not pairs:
        return sentence("All rules give the same values.")
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
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.4 * (high - low))
        heights = np.linspace(0.95, 0.77, len(values))  # of the panel: rules often agree
        for (rule, frame), mark, colour, height in zip(
            values.items(), MARKS, RULES, heights, strict=False
        ):
            where = frame.at[perturbation, gene]
            axis.axvline(where, color=colour, linewidth=0.8, linestyle=":")
            style = {
                "markersize": 11 if mark == "*" else 7,
                "transform": axis.get_xaxis_transform(),
            }
            axis.plot(where, height, mark, color=colour, label=rule, **style)
        if truth is not None:
            measured = truth.at[perturbation, gene]
            axis.plot(measured, 0, "kx", markersize=10, label="measured")
        axis.set_title(f"{perturbation}: {gene}", fontsize=9)
        axis.set(xlabel="effect, log2")
        axis.yaxis.set_major_formatter(lambda share, _: f"{abs(share):g}" if share <= 100 else "")
    axes[0].set(ylabel="% of probability (up),\n% of weight (down)")
    return with_legend(figure, axes[0])


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
    return _expected(path, rows), _expected(rules, rows)


def trade(path: pd.DataFrame, rules: pd.DataFrame, held_out: pd.DataFrame) -> Figure:
    """Draw expected W against expected Wcos along the rates of exchange, and of rules held-out ones too.

    path, rules: as `exchange` gives them, rules without the score-optimal one, which is the best of the
    path; held_out: as `compare` gives it for the rules, an open mark each. On a grey line the product
    is the same.
    """
    best, optimal = path.loc[path["score"].idxmax()], held_out.index[-1]
    shown = pd.concat([rules, best.to_frame(optimal).T])
    scores = [
        f"{rule} {shown.at[rule, 'score']:.2f} and {held_out.at[rule, 'score']:.2f}"
        for rule in (rules.index[0], optimal)
    ]
    title = f"Score for 60 rows, expected and on held-out rows:\n{', '.join(scores)}"
    figure, (axis,) = new_figure(title, height=4.4)
    axis.plot(path["wcos"], path["w"], "o-", color=BLUE, markersize=4, label="rates tried")
    style = {"textcoords": "offset points", "fontsize": 8, "color": BLUE}
    ends = [tuple(path[["wcos", "w"]].iloc[place]) for place in (0, -1)]
    axis.annotate("W counts most", ends[0], (-6, -14), ha="right", **style)
    axis.annotate("Wcos counts most", ends[1], (8, -4), **style)
    marks = dict(zip(rules.index, zip(MARKS, RULES, strict=True), strict=False))
    marks[optimal] = MARKS[-1], RULES[-1]
    for rule, (mark, colour) in marks.items():
        size = 15 if mark == "*" else 9
        expected = shown.loc[rule, ["wcos", "w"]]
        axis.plot(*expected, mark, color=colour, markersize=size, label=rule)
        real = held_out.loc[rule, ["wcos", "w_per_60"]]
        axis.plot(*real, mark, color=colour, markersize=size, markerfacecolor="none")
    axis.plot([], [], "o", color="0.4", markerfacecolor="none", label="on held-out rows")
    axis.margins(0.12)
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    x, y = np.meshgrid(np.linspace(left, right, 100), np.linspace(low, high, 100))
    drawn = axis.contour(x, y, x * y, 6, colors="0.85", linewidths=1, linestyles="-", zorder=0)
    axis.clabel(drawn, fontsize=7, fmt="%.3g")
    axis.set(xlabel="Wcos", ylabel="W for 60 rows")
    return with_legend(figure, axis)


def expected_scores(
    draws: pd.DataFrame,
    estimate: float,
    ceiling: tuple[float, float, float] | None = None,
    *,
    rows: int,
) -> Figure:
    """Draw what new rows may score, and how public and private rows of one submission differ.

    draws: `score`, `public`, `private` as `expected_spread` gives them; estimate: the score to
    expect; ceiling: the noise ceiling and its interval; all for 60 rows. rows: training rows that the
    estimate rests on.
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
    left.axvline(estimate, color=BLUE, linewidth=2, label=f"estimate, on {rows} training rows")
    left.axvline(0, color="black", linewidth=1, label="floor")
    if ceiling is not None:
        draw_ceiling(left, ceiling)
    left.set(xlabel="score for 60 rows", ylabel="draws")
    right.scatter(draws["public"], draws["private"], 5, SKY, alpha=0.5, linewidth=0)
    ends = draws[["public", "private"]].quantile([0.002, 0.998])
    ends = [ends.min().min(), ends.max().max()]
    right.plot(ends, ends, color="0.6", linewidth=1)
    right.set(xlim=ends, ylim=ends, xlabel="public rows", ylabel="private rows, same draw")
    return with_legend(figure, left)


def _expected(states, rows):
    """Expected W for 60 of so many rows, Wcos and score of each state, by its name."""
    parts = [(60 * state.w / rows, state.wcos) for state in states.values()]
    table = pd.DataFrame(parts, list(states), ["w", "wcos"])
    return table.assign(score=table["w"] * table["wcos"].clip(lower=0))
