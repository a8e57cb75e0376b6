"""Figures of validation: titles state the right numbers, marks stand where they should."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit import InputError, plots

ENDS = ["score", "low", "high", "difference", "difference_low", "difference_high"]


def comparison_table():
    rows = {
        "mean": [0, 0, 0, -1, -2, -0.5],
        "constant": [1, 0.2, 1.8, 0, 0, 0],
        "ridge": [3, -0.1, 5, 2, 0.1, 4],
        "tree": [1.5, 0.5, 2, 0.5, -0.3, 1],
    }
    return pd.DataFrame(rows, ENDS).T


def test_the_comparison_counts_models_that_are_better_by_the_paired_interval(tmp_path):
    figure = plots.comparison(comparison_table(), "constant", ceiling=9.0)
    assert title(figure) == (
        "1 of 3 models are better than “constant”, 1 worse, by the paired 90 % interval"
    )
    left, right = figure.axes
    assert labels(left) == ["mean", "constant", "ridge", "tree"]
    for axis, low in ((left, "low"), (right, "difference_low")):
        bars = axis.collections[0].get_segments()
        assert [bar[0, 0] for bar in bars] == list(comparison_table()[low])
        assert [bar[0, 1] for bar in bars] == [0, 1, 2, 3]
    hollow = [face[:3].tolist() == [1, 1, 1] for face in right.collections[1].get_facecolor()]
    assert hollow == [False, True, False, True]
    assert fits(figure, tmp_path / "figure.png")


def test_both_kinds_of_folds_share_a_row_a_model(tmp_path):
    grouped = comparison_table().iloc[::-1] * [1, 1, 1, 1, 1, -1]
    table = pd.concat({"random": comparison_table(), "grouped": grouped}, names=["folds", "model"])
    figure = plots.comparison(table, "constant")
    assert "Random folds: 1 of 3" in title(figure)
    assert "Grouped folds: 1 of 3" in title(figure)
    left, _ = figure.axes
    assert labels(left) == ["mean", "constant", "ridge", "tree"]
    one, other = (left.collections[place].get_offsets() for place in (1, 3))
    np.testing.assert_allclose(one[:, 0], other[:, 0])  # in the order of the names
    assert (np.round(other[:, 1]) == np.round(one[:, 1])).all()
    assert (other[:, 1] > one[:, 1]).all()
    assert fits(figure, tmp_path / "figure.png")


def test_shares_of_the_cosine_are_sorted_and_half_of_them_counted(tmp_path):
    shares = pd.Series({"a": 0.3, "b": -0.1, "c": 0.45, "d": 0.35})
    figure = plots.cosine_share_bars(shares)
    assert title(figure) == (
        "2 of 4 knockdowns make half of the agreement that Wcos counts, the strongest, c, 45 %"
    )
    (axis,) = figure.axes
    assert labels(axis) == ["c", "d", "a", "b"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([45, 35, 30, -10])
    assert fits(figure, tmp_path / "figure.png")
    with pytest.raises(InputError, match="no row agrees in anything"):
        plots.cosine_share_bars(shares * np.nan)


def test_of_many_shares_the_middle_ones_are_summed():
    shares = pd.Series(np.arange(80.0, 0, -1) / 3240, [f"P{i}" for i in range(80)])
    (axis,) = plots.cosine_share_bars(shares).axes
    assert labels(axis) == [*(f"P{i}" for i in range(25)), *(f"P{i}" for i in range(75, 80))]
    (text,) = axis.texts
    assert text.get_text().strip() == "50 others: 47.1 % together"  # (55 + ... + 6) / 3240


def test_nearness_states_the_gain_of_the_far_and_the_near(tmp_path):
    w = pd.Series({"a": 0.0, "b": 0.2, "c": 1.0, "d": 0.5, "e": 0.1})
    nearest = pd.Series({"a": 0.1, "b": 0.3, "c": 0.7, "d": 0.9, "e": np.nan})
    bins = pd.DataFrame(
        {
            "least": [0.1, 0.7, np.nan],
            "most": [0.3, 0.9, np.nan],
            "score": [1.25, 30, 0.5],
            "w_per_row": [0.1, 0.75, 0.1],
        },
        index=["bin 1", "bin 2", "unknown"],
    )
    figure = plots.nearness(nearest, w, bins)
    assert title(figure) == (
        "A knockdown far from all training ones gains +0.10 in W, one near to some +0.75; "
        "for 60 rows the score is 1.25 among the far, 30.00 among the near"
    )
    (axis,) = figure.axes
    spans = [part.get_segments()[0].tolist() for part in axis.collections[1:]]
    assert spans == [[[0.1, 0.1], [0.3, 0.1]], [[0.7, 0.75], [0.9, 0.75]]]
    assert fits(figure, tmp_path / "figure.png")
