"""Figures of the graph network: titles state what arrives, who carries and which gates are open."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit.plots.graph import carriers, gates, routes

CARRIED = pd.Series({"A": 0.5, "B": 0.25, "C": 0.05, "D": -0.1}, name="KRAS")
SIGNAL = pd.DataFrame(
    {"sets": [0.4, 0.1, 0.0, 0.0], "shape": [0.1, 0.3, 0.1, 0.0]}, ["A", "B", "C", "D"]
)


def test_the_title_of_routes_says_where_the_signal_gets(tmp_path):
    ways = pd.DataFrame(
        [("A", "sets", "a set", 0.4), ("A", "shape", "", 0.1), ("B", "shape", "", 0.3)],
        columns=["row", "type", "hub", "amount"],
    )
    figure = routes(ways, CARRIED)
    assert title(figure) == (
        "The signal of KRAS reaches A most; the 2 rows shown get 100 % of it and carry 75 % of the "
        "prediction, 1 hubs lead there"
    )
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["KRAS", "a set", "A  50 %", "B  25 %"]
    widths = sorted(line.get_linewidth() for line in figure.axes[0].lines if len(line.get_xdata()))
    assert widths == pytest.approx([0.3 + 7 * part / 0.4 for part in (0.1, 0.3, 0.4, 0.4)])
    assert fits(figure, tmp_path / "figure.png")


def test_a_signal_that_reaches_nobody_is_said_to(tmp_path):
    figure = routes(pd.DataFrame(columns=["row", "type", "hub", "amount"]), CARRIED)
    assert title(figure) == "No signal of KRAS reaches a training knockdown"
    assert fits(figure, tmp_path / "figure.png")


def test_carriers_are_coloured_by_their_widest_way(tmp_path):
    figure = carriers(CARRIED, SIGNAL)
    assert title(figure) == (
        "KRAS: 1 of 4 training knockdowns carry half of the answers' part; "
        "A carries most, 50 % of all that is said"
    )
    axis = figure.axes[0]
    assert labels(axis) == ["A", "B", "C", "D"]
    widths = {label: [bar.get_width() for bar in bars] for bars, label in _bars(axis)}
    assert widths["sets"] == pytest.approx([50])
    assert widths["shape"] == pytest.approx([25, 5])
    assert widths["hardly any signal: as all rows"] == pytest.approx([-10])
    assert fits(figure, tmp_path / "figure.png")


def test_gates_stand_beside_where_they_started(tmp_path):
    columns = ["sets", "shape"]
    learned = pd.DataFrame([[0.7, 0.3], [1.0, np.nan]], ["first", "second"], columns)
    start = pd.DataFrame([[0.5, 0.5], [1.0, np.nan]], ["first", "second"], columns)
    figure = gates(learned, start)
    assert title(figure) == (
        "Widest open in the first round: sets (70 %), in the second: sets (100 %); "
        "gates moved 10 % of their share"
    )
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(bars, [70, 30])
    assert fits(figure, tmp_path / "figure.png")


def _bars(axis):
    return [(container, container.get_label()) for container in axis.containers]
