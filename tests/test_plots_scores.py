"""Figures of scores: intervals, gains and blends with the right numbers, marks where they should be."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, legend, numbers, title  # noqa: F401

from kit import plots


def hollow(dots):
    """Whether each dot is drawn hollow."""
    return [face[:3].tolist() == [1, 1, 1] for face in dots.get_facecolor()]


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
    assert numbers(figure) == {1, 3, 90}
    left, right = figure.axes
    assert labels(left) == ["mean", "constant", "ridge", "tree"]
    for axis, low in ((left, "low"), (right, "difference_low")):
        bars = axis.collections[0].get_segments()
        assert [bar[0, 0] for bar in bars] == list(comparison_table()[low])
        assert [bar[0, 1] for bar in bars] == [0, 1, 2, 3]
    assert hollow(right.collections[1]) == [False, True, False, True]
    assert left.get_xlabel().endswith("(hollow: the interval includes 0)")
    assert any(label.startswith("noise ceiling") for label in legend(figure))
    assert fits(figure, tmp_path / "figure.png")


def test_both_kinds_of_folds_share_a_row_a_model(tmp_path):
    grouped = comparison_table().iloc[::-1] * [1, 1, 1, 1, 1, -1]
    table = pd.concat({"random": comparison_table(), "grouped": grouped}, names=["folds", "model"])
    figure = plots.comparison(table, "constant")
    assert {"random folds", "grouped folds"} == set(legend(figure))
    left, _ = figure.axes
    assert labels(left) == ["mean", "constant", "ridge", "tree"]
    one, other = (left.collections[place].get_offsets() for place in (1, 3))
    np.testing.assert_allclose(one[:, 0], other[:, 0])  # in the order of the names
    assert (np.round(other[:, 1]) == np.round(one[:, 1])).all()
    assert (other[:, 1] > one[:, 1]).all()
    assert fits(figure, tmp_path / "figure.png")


def test_nearness_has_the_gain_of_the_least_and_the_most_similar(tmp_path):
    w = pd.Series({"a": 0.0, "b": 0.2, "c": 1.0, "d": 0.5, "e": 0.1})
    nearest = pd.Series({"a": 0.1, "b": 0.3, "c": 0.7, "d": 0.9, "e": np.nan})
    bins = pd.DataFrame(
        {
            "least": [0.1, 0.7, np.nan],
            "most": [0.3, 0.9, np.nan],
            "score": [1.25, 30, 0.5],
            "low": [-1, 20, 0],
            "high": [2, 35, 1],
            "w_per_row": [0.1, 0.75, 0.1],
        },
        index=["bin 1", "bin 2", "unknown"],
    )
    figure = plots.nearness(nearest, w, bins)
    assert numbers(figure) == {60, 1.25, -1, 2, 30, 20, 35, 90}
    (axis,) = figure.axes
    _, *parts = axis.collections
    spans = [part.get_segments()[0].ravel().tolist() for part in parts[::2]]
    assert spans == [[0.1, 0.1, 0.3, 0.1], [0.7, 0.75, 0.9, 0.75]]
    low, high = parts[1].get_datalim(axis.transData).intervaly
    assert (low + high) / 2 == pytest.approx(0.1)
    assert high - low == pytest.approx(2 * 1.645 * 0.1)  # 0.0 and 0.2: standard error 0.1
    assert fits(figure, tmp_path / "figure.png")


def test_without_a_reference_only_scores_are_drawn(tmp_path):
    figure = plots.comparison(comparison_table()[ENDS[:3]], ceiling=9.0)
    assert {3, 60} <= numbers(figure)
    assert "ridge" in title(figure)
    (axis,) = figure.axes
    assert [bar[:, 0].tolist() for bar in axis.collections[0].get_segments()][2] == [-0.1, 5]
    assert fits(figure, tmp_path / "figure.png")


def test_gains_over_the_mean_are_summed_by_sign():
    w = pd.Series({"a": -0.5, "b": 1.25, "c": 0.5, "d": -0.25})
    figure = plots.gains(w, 0 * w, ("model", "mean"))
    assert numbers(figure) == {2, 4, 1.75, -0.75}
    assert labels(figure.axes[0]) == ["b", "c", "d", "a"]


def test_gains_are_differences_of_the_terms_of_w(tmp_path):
    w = pd.Series({"a": 0.5, "b": 0.1, "c": 0.7, "d": 0.2})
    other = pd.Series({"d": 0.2, "c": 0.2, "b": 0.4, "a": 0.25})
    figure = plots.gains(w, other, ("ridge", "constant"))
    assert numbers(figure) == {2, 4, 0.75, 1, -0.3}
    assert {"“ridge”", "“constant”"} <= set(title(figure).split())
    (axis,) = figure.axes
    assert labels(axis) == ["c", "a", "d", "b"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0.5, 0.25, 0, -0.3])
    assert fits(figure, tmp_path / "figure.png")


def test_cell_lines_are_counted_where_the_last_model_beats_the_reference(tmp_path):
    columns = ["score", "difference", "difference_low", "difference_high"]
    rows = {
        ("HepG2", "constant"): [4, 0, 0, 0],
        ("HepG2", "pathways"): [5, 1, -1, 3],
        ("HepG2", "others"): [9, 5, 2, 8],
        ("K562", "constant"): [1, 0, 0, 0],
        ("K562", "pathways"): [0, -1, -2, 0.5],
        ("K562", "others"): [2, 1, -0.5, 2.5],
    }
    scores = pd.DataFrame.from_dict(rows, "index", columns=columns)
    scores.index = pd.MultiIndex.from_tuples(rows, names=["line", "model"])
    figure = plots.cell_line_gains(scores)
    assert numbers(figure) >= {2, 1}
    assert {"pathways", "others"} <= set(legend(figure))
    (axis,) = figure.axes
    assert labels(axis) == ["HepG2\nconstant 4.0", "K562\nconstant 1.0"]
    one, other = (axis.collections[place] for place in (1, 3))
    assert [part.get_offsets()[:, 0].tolist() for part in (one, other)] == [[1, -1], [5, 1]]
    assert hollow(one) == [True, True]
    assert hollow(other) == [False, True]
    assert fits(figure, tmp_path / "figure.png")


def test_the_map_of_models_has_the_most_and_the_least_similar(tmp_path):
    names = ["ridge", "trees", "transfer"]
    cosine = pd.DataFrame([[1, 0.9, 0.1], [0.9, 1, -0.2], [0.1, -0.2, 1]], names, names)
    figure = plots.model_similarity(cosine)
    assert numbers(figure) == {0.9, -0.2}
    assert labels(figure.axes[0]) == ["ridge  1", "trees  2", "transfer  3"]
    assert [text.get_text() for text in figure.axes[0].texts[:3]] == ["1.00", "0.90", "0.10"]
    assert fits(figure, tmp_path / "figure.png")


def test_the_map_leaves_out_what_has_no_cosine(tmp_path):
    names = ["a", "mean"]
    cosine = pd.DataFrame([[1, np.nan], [np.nan, np.nan]], names, names)
    figure = plots.model_similarity(cosine)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", "-", "-", "-"]
    two = pd.DataFrame([[1, 0.5], [0.5, 1]], ["a", "b"], ["a", "b"])
    assert numbers(plots.model_similarity(two)) == {0.5}


def test_the_path_marks_the_robust_and_the_best(tmp_path):
    path = pd.DataFrame({"score": [2.0, 3.0], "low": [1.0, 1.5], "high": [4.0, 5.0]}, [1, 2])
    figure = plots.blend_path(path, 3.25, 1)
    assert numbers(figure) == {1, 2, 3, 3.25}
    (axis,) = figure.axes
    marks = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert marks["robust"] == [[1, 2]]
    assert marks["best"] == [[2, 3.25]]
    assert fits(figure, tmp_path / "figure.png")


@pytest.mark.filterwarnings("error")
def test_a_path_of_one_size_is_drawn_too():
    path = pd.DataFrame({"score": [2.0], "low": [1.0], "high": [4.0]}, [1])
    assert numbers(plots.blend_path(path, 2.0, 1)) == {1, 2}
