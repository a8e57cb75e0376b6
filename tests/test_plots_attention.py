"""Figures of the transformer: titles count what the picture shows."""

import numpy as np
import pandas as pd
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit.plots.attention import attention, episode, mixtures

NAMES = [f"P{place}" for place in range(10)]


def shares():
    """Two knockdowns that look at P1 and P2, and a third that looks at all alike."""
    found = pd.DataFrame(0.1, ["A", "B", "C"], NAMES)
    found.loc["A", "P1"], found.loc["B", "P2"] = 2.1, 1.1
    return found.div(found.sum(axis=1), axis=0)


def test_an_episode_counts_the_genes_said_as_the_first_row_says(tmp_path):
    random = np.random.default_rng(0)
    effects = pd.DataFrame(random.normal(size=(10, 50)), NAMES, [f"G{i}" for i in range(50)])
    said = 2 * (2 * effects.rank(pct=True).loc["P1"] - 1)
    said["G0"], said["G1"] = 9.0, -9.0
    effects.loc["P1", ["G0", "G1"]] = -9.0, 9.0
    figure = episode(shares().loc["A"], effects, said)
    assert title(figure) == (
        "Asked for A, the network looks at P1 7.0 times as much as at the average row; "
        "28 of 30 genes are said (last line) to lie on the side where that row's lie"
    )
    assert labels(figure.axes[0])[0] == "P1"
    assert labels(figure.axes[0])[-1] == "said of A"
    picture = figure.axes[1].images[0].get_array()
    assert picture.shape == (9, 30)
    np.testing.assert_allclose([picture[-1].min(), picture[-1].max()], [-1, 1])
    assert fits(figure, tmp_path / "figure.png")


def test_attention_counts_the_rows_that_are_also_nearest(tmp_path):
    knowledge = pd.DataFrame(0.0, ["A", "B", "C"], NAMES)
    knowledge.loc["A", "P1"], knowledge.loc["B", "P3"] = 0.5, 0.5  # C is like no other
    figure = attention(shares(), knowledge)
    assert title(figure) == (
        "For 1 of 2 knockdowns the row most looked at is also the nearest by pathways"
    )
    assert [axis.get_title() for axis in figure.axes[:3]] == ["A", "B", "C"]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(widths[:2], [7, 1 / 3], rtol=1e-6)
    assert fits(figure, tmp_path / "figure.png")


def test_attention_can_be_drawn_without_pathways(tmp_path):
    figure = attention(shares())
    assert "without pathways" in title(figure)
    assert fits(figure, tmp_path / "figure.png")


def test_mixtures_say_what_moved_and_what_counts(tmp_path):
    heads, kernels = ["head 1", "head 2"], ["all_sets", "response_cosine"]
    start = pd.DataFrame([[0.9, 0.1], [0.1, 0.9]], heads, kernels)
    learned = pd.DataFrame([[0.7, 0.3], [0.1, 0.9]], heads, kernels)
    counts = pd.Series({"head 1": 0.2, "head 2": 0.5, "own slope": 0.3})
    figure = mixtures(learned, start, counts)
    assert title(figure) == (
        "Heads moved 10 % of their weight to other kinds of likeness; "
        "head 2 counts most, 50 % of what tells knockdowns apart"
    )
    assert labels(figure.axes[0]) == ["head 1", "head 2", "own slope"]
    np.testing.assert_allclose([bar.get_width() for bar in figure.axes[1].patches], [20, 50, 30])
    assert fits(figure, tmp_path / "figure.png")
