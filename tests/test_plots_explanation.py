"""Figures that explain models: the right numbers, marks where they should be."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, beside, fits, labels, numbers, title  # noqa: F401

from kit import plots


def test_shrinkage_names_the_best_penalty_and_its_share_of_the_error_without_pathways(tmp_path):
    penalties = [0.1, 1.0, 10.0, np.inf]
    curves = {
        "ranks": pd.Series([3.0, 1.9, 1.95, 2.0], penalties),
        "effects": pd.Series([50.0, 4.4, 4.1, 4.0], penalties),
    }
    figure = plots.shrinkage(curves, pd.Series({1: 1.01, 3: 0.97, 10: 0.98}))
    assert numbers(figure) == {5, 1, 0}  # % at penalty 1, and 0 % where pathways add nothing
    left, right = figure.axes
    ranks, best, effects, line = left.lines
    np.testing.assert_allclose(ranks.get_xdata(), penalties[:3])
    np.testing.assert_allclose(ranks.get_ydata(), [150, 95, 97.5])
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([1.0], [95.0])
    np.testing.assert_allclose(effects.get_ydata(), [1250, 110, 102.5])
    assert set(line.get_ydata()) == {100}
    assert left.get_ylim()[1] < 125  # and not 1250
    np.testing.assert_allclose(right.lines[0].get_ydata(), [101, 97, 98])
    assert fits(figure, tmp_path / "figure.png")


def test_importances_are_shares_of_all_gain(tmp_path):
    figure = plots.importances(pd.Series({"a": 1.0, "b": 5.0, "c": 3.0, "d": 1.0}))
    assert numbers(figure) == {4, 90}
    assert "b, c, a" in title(figure)
    (axis,) = figure.axes
    assert labels(axis) == ["b", "c", "a", "d"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([50, 30, 10, 10])
    assert fits(figure, tmp_path / "figure.png")


def test_contributions_add_up_and_those_not_shown_are_summed(tmp_path):
    effects = pd.DataFrame(
        [[0.1, 0.0, 0.0], [-0.5, 0.2, 0.0], [0.1, 0.1, 0.0], [0.0, 0.0, 0.0]],
        ["S: weak", "S: strong", "T: middle", "T: never asked"],
        ["g", "h", "i"],
    )
    figure = plots.contributions(effects, "TP53", genes=2, pathways=1)
    assert numbers(figure) == {3, 70}
    assert "“strong”" in title(figure)
    (axis,) = figure.axes
    assert labels(axis) == ["strong", "2 others", "all together"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["g", "h"]
    shown = [[-0.5, 0.2], [0.2, 0.1], [-0.3, 0.3]]
    np.testing.assert_allclose(axis.images[0].get_array(), shown, atol=1e-12)
    assert axis.texts[4].get_text() == "-0.30"
    assert fits(figure, tmp_path / "figure.png")


def test_contributions_without_others_have_no_such_row():
    effects = pd.DataFrame({"g": [0.1, 0.2]}, ["S: one", "S: two"])
    (axis,) = plots.contributions(effects, "TP53").axes
    assert labels(axis) == ["two", "one", "all together"]


def test_training_probabilities_are_sorted_and_half_is_counted(tmp_path):
    probability = pd.Series({"a": 0.1, "b": 0.36, "c": 0.24, "d": 0.2, "e": 0.1}, name="NEW")
    reasons = {"c": "a set (7)", "b": "another set (3); interactions 0.42"}
    figure = plots.training_probabilities(probability, reasons)
    assert numbers(figure) == {2, 5, 1.8}
    assert title(figure).startswith("NEW")
    (axis,) = figure.axes
    assert labels(axis) == ["b", "c"]
    assert beside(axis) == [reasons["b"], reasons["c"]]
    assert fits(figure, tmp_path / "figure.png")
    sure = plots.training_probabilities(pd.Series({"a": 0.9, "b": 0.1}, name="NEW"), {"a": "set"})
    assert sure.axes[0].get_xlim()[1] <= 100
