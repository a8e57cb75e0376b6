"""Figures of uncertainty: do intervals hold as often as they say, by size and by knockdown."""

import numpy as np

from .style import (
    BLUE,
    COLOURS,
    RED,
    new_figure,
    percent,
    strips,
)

LEVEL = 0.9  # of which the title speaks, where it was asked for


def calibration(found):
    """Observed against nominal coverage by size of what is expected, and coverage of each knockdown.

    found: a `calibration.Calibration`. Bars: 90 % interval over perturbations. Crosses: the chance that
    the belief itself gives to its intervals, above the nominal level where many effects are equal. Most
    knockdowns: all but a tenth at either end.
    """
    table = found.table()
    levels = list(found.inside)
    level = LEVEL if LEVEL in levels else levels[-1]
    row, by_row = table.loc[("all", level)], found.by_perturbation(level)
    low, high = np.quantile(by_row, [0.1, 0.9])
    figure, (left, right) = new_figure(
        f"Of unseen effects {_share(row['observed'])} lie in their {percent(level)} interval "
        f"({_share(row['low'])} to {_share(row['high'])}),\nof the metric's weight "
        f"{_share(row['by_weight'])}; for most knockdowns between {_share(low)} and {_share(high)}",
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
    said = table.loc["all", "probability"]
    left.plot(100 * said.index, 100 * said, "x", color=RED, markersize=7, label="as believed")
    first = 100 * min(levels[0], table["low"].min()) - 5
    left.set(xlabel="nominal coverage, %", ylabel="observed coverage, %")
    left.set(xlim=(100 * levels[0] - 6, 101), ylim=(max(first, 0), 101))
    strips(right, {percent(one): 100 * found.by_perturbation(one) for one in levels}, "knockdown")
    right.vlines(100 * np.array(levels), *_places(levels), BLUE, linestyle="--", label="nominal")
    right.set(xlabel="share of a knockdown's genes inside, %", ylabel="nominal coverage")
    right.legend(frameon=False, fontsize=8, loc="lower left")
    left.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _share(value):
    return f"{100 * value:.1f} %"


def _places(levels):
    places = np.arange(len(levels))
    return places - 0.42, places + 0.42
