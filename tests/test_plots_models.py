"""Figures of models on pathways: titles state the right numbers, marks stand where they should."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit import plots


def test_shrinkage_names_the_best_penalty_and_its_share_of_the_error_without_pathways(tmp_path):
    penalties = [0.1, 1.0, 10.0, np.inf]
    curves = {
        "ranks": pd.Series([3.0, 1.9, 1.95, 2.0], penalties),
        "effects": pd.Series([50.0, 4.4, 4.1, 4.0], penalties),
    }
    figure = plots.shrinkage(curves, pd.Series({1: 1.01, 3: 0.97, 10: 0.98}))
    assert title(figure) == (
        "Ridge of ranks errs least at penalty 1: 95 % of the error without pathways "
        "Ridge of effects errs least without pathways"
    )
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
    assert title(figure) == "Of 4 features b, c, a bring 90 % of the gain"
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
    assert title(figure) == (
        "TP53, pathways that speak for it: 3; “strong” moves genes most, 70 % of all that they move"
    )
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


def test_wins_are_differences_of_the_terms_of_w(tmp_path):
    w = pd.Series({"a": 0.5, "b": 0.1, "c": 0.7, "d": 0.2})
    other = pd.Series({"d": 0.2, "c": 0.2, "b": 0.4, "a": 0.25})
    figure = plots.wins(w, other, ("ridge", "constant"))
    assert title(figure) == (
        "“ridge” is nearer than “constant” for 2 of 4 unseen knockdowns, +0.75 in W, "
        "farther for 1, -0.30"
    )
    (axis,) = figure.axes
    assert labels(axis) == ["c", "a", "d", "b"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0.5, 0.25, 0, -0.3])
    assert fits(figure, tmp_path / "figure.png")
