"""Figures of a blend: titles state the right numbers, marks stand where they should."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit import plots


def test_the_map_of_members_names_the_most_and_the_least_alike(tmp_path):
    names = ["ridge", "trees", "transfer"]
    cosine = pd.DataFrame([[1, 0.9, 0.1], [0.9, 1, -0.2], [0.1, -0.2, 1]], names, names)
    figure = plots.members_alike(cosine)
    assert title(figure) == (
        "Most alike: “ridge” and “trees”, 0.90; least: “trees” and “transfer”, -0.20"
    )
    assert labels(figure.axes[0]) == ["ridge  1", "trees  2", "transfer  3"]
    assert [text.get_text() for text in figure.axes[0].texts[:3]] == ["1.00", "0.90", "0.10"]
    assert fits(figure, tmp_path / "figure.png")


def test_the_map_leaves_out_what_has_no_cosine(tmp_path):
    names = ["a", "mean"]
    cosine = pd.DataFrame([[1, np.nan], [np.nan, np.nan]], names, names)
    figure = plots.members_alike(cosine)
    assert title(figure) == "One member alone: nothing to compare"
    assert len(figure.axes[0].texts) == 1
    two = pd.DataFrame([[1, 0.5], [0.5, 1]], ["a", "b"], ["a", "b"])
    assert title(plots.members_alike(two)) == "Most alike: “a” and “b”, 0.50"


def test_the_path_marks_the_robust_and_the_best(tmp_path):
    path = pd.DataFrame({"score": [2.0, 3.0], "low": [1.0, 1.5], "high": [4.0, 5.0]}, [1, 2])
    figure = plots.blend_path(path, 3.25, 1)
    assert title(figure) == (
        "1 member scores 2.00, within one standard error of the best size, 3.00; "
        "the best blend as it is submitted: 3.25"
    )
    (axis,) = figure.axes
    marks = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert marks["robust"] == [[1, 2]]
    assert marks["best"] == [[2, 3.25]]
    assert fits(figure, tmp_path / "figure.png")
    assert title(plots.blend_path(path, 3.25, 2)).startswith("2 members score 3.00, the best size;")


@pytest.mark.filterwarnings("error")
def test_a_path_of_one_size_is_drawn_too():
    path = pd.DataFrame({"score": [2.0], "low": [1.0], "high": [4.0]}, [1])
    assert title(plots.blend_path(path, 2.0, 1)).startswith("1 member scores 2.00, the best size;")


def test_the_spread_states_its_quantiles_and_the_gap_of_the_halves(tmp_path):
    score = np.linspace(-1, 9, 101)
    draws = pd.DataFrame({"score": score, "public": score + 1, "private": score - 1})
    figure = plots.spread(draws, 4.0, ceiling=12.0)
    assert title(figure) == (
        "Expected of all targets: -0.50 to 8.50 for 60 rows (90 %), under the mean in 9.9 %; "
        "one time in ten public and private differ by 2.00 or more"
    )
    left, right = figure.axes
    places = [line.get_xdata()[0] for line in left.lines]
    assert places == pytest.approx([4.0, 0.0, 12.0])
    assert right.get_xlim() == right.get_ylim()
    assert fits(figure, tmp_path / "figure.png")
