"""Figures of merged screens: rows of dots, bars and shares counted by hand."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, legend, numbers, title  # noqa: F401

from kit import CONTROL, plots
from kit.expression import similarity


def table_of(random, names, genes="ABCDEFGH"):
    return pd.DataFrame(random.normal(size=(len(names), len(genes))), list(names), list(genes))


def by_screen(values):
    """A series by (screen, name): {screen: {name: value}}."""
    return pd.concat({screen: pd.Series(own) for screen, own in values.items()})


def drawn(axis):
    """The values of each row of dots."""
    return [sorted(dots.get_offsets()[:, 0].tolist()) for dots in axis.collections[:-1]]


def test_the_agreement_counts_what_lies_beyond_the_floor():
    names = ["one", "other", "perturbation"]
    index = pd.MultiIndex.from_product([["a"], ["b"], list("pqrs")], names=names)
    same = pd.DataFrame({"cosine": [0.5, 0.1, 0.3, -0.1], "rank": 1.0}, index)
    pair = pd.MultiIndex.from_tuples([("a", "b")], names=names[:2])
    floor = pd.DataFrame({"low": -0.2, "median": -0.001, "high": 0.25}, pair)
    figure = plots.agreement(same, floor)
    assert numbers(figure) == {0.2, 0, 50, 95}
    (axis,) = figure.axes
    assert drawn(axis) == [[-0.1, 0.1, 0.3, 0.5]]
    assert labels(axis) == ["a\nb"]
    (band,) = axis.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-0.2, 0.25))


def test_targets_are_counted_by_split_and_by_number_of_screens():
    split = pd.Series({"p": "train", "q": "train", "r": "val", "s": "test", "t": "test"})
    figure = plots.targets_covered(pd.Series({"p": 0, "q": 5, "r": 1, "s": 0, "t": 2}), split)
    assert numbers(figure) == {2, 3, 1}
    assert legend(figure) == ["none", "one", "two", "three or more"]
    bars = [[bar.get_width() for bar in kind] for kind in figure.axes[0].containers]
    assert bars == [[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert labels(figure.axes[0]) == ["train", "val", "test"]


def test_what_would_show_nothing_is_one_sentence():
    split = pd.Series({"p": "train", "r": "val"})
    figures = [
        plots.targets_covered(pd.Series(0, split.index), split),
        plots.without_batches(by_screen({"a": {"P": 0.0, "Q": 0.0}})),
        plots.importances(pd.Series({"median": 0.0, "ridge": 0.0})),
    ]
    for figure in figures:
        assert title(figure).endswith(".")
        assert not figure.axes[0].has_data()


@pytest.fixture
def obs():
    """Two screens of 40 cells, the second without known mitochondrial UMI."""
    cells = 40
    table = pd.DataFrame(
        {
            "dataset": np.repeat(["a", "b"], cells),
            "batch": ["1"] * 30 + ["2"] * 10 + ["x"] * cells,
            "sgrna_symbol": np.resize([CONTROL, "P"], 2 * cells),
            "RNAcount": [100.0] * 30 + [250.0] * 10 + [1_000.0] * cells,
            "featurecount": np.arange(2 * cells),
            "mitocount": [5.0] * cells + [np.nan] * cells,
        }
    )
    return table.astype({"dataset": "category", "batch": "category", "sgrna_symbol": "category"})


def test_depth_of_merged_cells_is_drawn_as_shares_of_each_screen(obs):
    figure = plots.depth(obs)
    assert numbers(figure) >= {100, 1000}
    assert set(legend(figure)) == {"a", "b"}
    heights = [
        [max(line.get_xy()[:, 1]) for line in axis.patches if len(line.get_xy())]
        for axis in figure.axes
    ]
    assert heights[0] == pytest.approx([75, 100])
    assert heights[2][0] == pytest.approx(75)  # 5 of 100 UMI, else 5 of 250


def test_batches_are_counted_within_their_screen(obs):
    figure = plots.batches(obs, min_controls=10)
    assert numbers(figure) >= {1, 3, 10}
    assert "2.50-fold" in title(figure)
    assert labels(figure.axes[0]) == ["a", "b"]
    left, right = figure.axes
    assert drawn(left) == [[100, 250], [1_000]]
    assert drawn(right)[:2] == [[5, 15], [20]]


def test_without_batches_the_largest_move_is_named():
    figure = plots.without_batches(by_screen({"a": {"P": 0.1, "Q": 0.4}, "b": {"R": 0.25}}))
    assert numbers(figure) == {0.25, 0.4}
    assert "(Q)" in title(figure)
    assert drawn(figure.axes[0]) == [[0.1, 0.4], [0.25]]


def test_errors_of_hidden_genes_are_compared_with_the_control_mean():
    index = pd.MultiIndex.from_tuples([("a", "P"), ("a", "Q"), ("b", "P"), ("b", "R")])
    errors = pd.DataFrame(
        {"control_mean": [3.0, 4.0, 2.0, 0.0], "pathway": [3.0, 2.0, 3.0, 1.0]}, index
    )
    figure = plots.hidden_genes(errors)
    low, high = 100 * np.sqrt(13) / 5, 150.0
    assert numbers(figure) == {round(low, 1), high, 33.3, 3}
    assert drawn(figure.axes[0])[0] == [0.5, 1.0]


@pytest.mark.parametrize("screens", [1, 12])
def test_figures_of_screens_are_labelled_and_fit_800_pixels(screens, tmp_path):
    random = np.random.default_rng(4)
    names = [f"TWIN_essential_raw_singlecell_{i:02d}" for i in range(screens)]
    loss = by_screen({name: dict(zip("PQRST", random.random(5), strict=True)) for name in names})
    errors = pd.DataFrame({"control_mean": 1 + loss, "pathway": 1.0})
    same, floor = similarity.between_screens(
        {n: table_of(random, "pqrst") for n in [*names[:3], "z"]}
    )
    figures = [
        plots.without_batches(loss),
        plots.hidden_genes(errors),
        plots.agreement(same, floor),
    ]
    for figure in figures:
        assert all(axis.get_xlabel() for axis in figure.axes)
        assert fits(figure, tmp_path / "figure.png")
