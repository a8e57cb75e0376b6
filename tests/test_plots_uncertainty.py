"""The figure of calibration: its title states the right numbers, its marks stand where they should."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit import plots
from kit.forecast import Calibration


def found(levels):
    """Ten knockdowns of forty genes: at each level the first genes lie outside, more in later rows."""
    rows, genes = [f"P{i}" for i in range(10)], [f"G{i}" for i in range(40)]
    outside = np.arange(10)[:, None] > np.arange(40)[None, :] * 2
    frames = {
        level: pd.DataFrame(~(outside & (np.arange(40) < 40 * (1 - level))), rows, genes)
        for level in levels
    }
    ones = pd.DataFrame(1.0, rows, genes)
    size = ones * np.geomspace(0.01, 1, 40)
    probability = {level: ones * (level + 0.02) for level in levels}
    return Calibration(
        frames, probability, {level: 3 * ones * level for level in levels}, size, ones
    )


def test_the_calibration_states_coverage_with_its_interval_and_its_spread(tmp_path):
    one = found((0.5, 0.8, 0.9))
    figure = plots.calibration(one)
    row, by_row = one.table().loc[("all", 0.9)], one.by_perturbation(0.9)
    low, high = (f"{100 * row[end]:.1f} %" for end in ("low", "high"))
    least, most = (f"{100 * by_row.quantile(share):.1f} %" for share in (0.1, 0.9))
    observed = f"{100 * one.inside[0.9].to_numpy().mean():.1f} %"
    assert title(figure) == (
        f"Of unseen effects {observed} lie in their 90 % interval ({low} to {high}), of the metric's "
        f"weight {observed}; for most knockdowns between {least} and {most}"
    )
    left, right = figure.axes
    marks = {line.get_label(): line.get_ydata() for line in left.lines}
    assert marks["all"] == pytest.approx(100 * one.table().loc["all", "observed"])
    assert marks["as believed"] == pytest.approx([52, 82, 92])
    assert sum(label.startswith("|expected|") for label in marks) == 4
    assert labels(right) == ["50 %", "80 %", "90 %"]
    dots = right.collections[0].get_offsets()
    assert sorted(dots[:, 0]) == pytest.approx(sorted(100 * one.by_perturbation(0.5)))
    assert fits(figure, tmp_path / "figure.png")


def test_levels_without_the_usual_one_and_without_misses_are_drawn(tmp_path):
    one = found((0.6,))
    assert "their 60 % interval" in title(plots.calibration(one))
    one.inside[0.6].loc[:] = True
    figure = plots.calibration(one)
    assert "Of unseen effects 100.0 %" in title(figure)
    assert fits(figure, tmp_path / "figure.png")
