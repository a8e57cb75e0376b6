"""Figures of the latent state: shifts, groups and cells with the right numbers."""

import numpy as np
import pandas as pd
from figures import _closed_figures, fits, labels, numbers, title  # noqa: F401

from kit.plots import latent_map, one_shift, shift_map
from kit.plots.latent import matching_cosine


def shifts(rows):
    return pd.DataFrame(rows, index=pd.Index(list("ABCD")[: len(rows)], name="perturbation"))


def test_one_shift_counts_open_gates_and_has_the_correlation(tmp_path):
    shift, gates = pd.Series([0.5, 0.0, -1.0], name="KRAS"), pd.Series([0.9, 0.1, 0.6])
    decoded = pd.Series([0.0, 1.0, 2.0, 3.0])
    figure = one_shift(shift, gates, decoded, -decoded)
    assert numbers(figure) == {2, 3, -1}
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert bars == [0.5, -1.0, 0.0]  # the open ones first
    assert fits(figure, tmp_path / "figure.png")


def test_the_map_of_shifts_compares_pairs_of_a_group_with_all_pairs(tmp_path):
    shift = shifts([[1.0, 0.0], [0.0, 4.0], [2.0, 0.0], [0.0, 0.0]])
    groups = pd.Series(["one", "", "one", "one"], shift.index)
    figure = shift_map(shift, groups)
    # A and C have one direction, D does not move and has none: 1; with B both pairs are 0.
    assert numbers(figure) == {1, 0.33}
    assert labels(figure.axes[0]) == ["A  one", "C  one", "D  one", "B"]
    drawn = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(drawn[:, 0], [0, 0, 0, 4])  # the axis that is moved most
    assert fits(figure, tmp_path / "figure.png")


def test_the_cosine_of_matching_rows_is_apart_from_that_of_others():
    middle = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert matching_cosine(middle, middle) == (1.0, 0.0)
    assert matching_cosine(middle, middle[::-1]) == (0.0, 1.0)


def test_cells_lie_where_their_shift_predicts_or_hardly(tmp_path):
    random = np.random.default_rng(0)
    shift = shifts([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    names = np.repeat(["A", "B", "C", "non-targeting"], 50)
    cells = random.normal(0, 0.1, (200, 3))
    cells[:150] += np.repeat(shift.to_numpy(), 50, axis=0)
    states = pd.DataFrame(cells, names)
    figure = latent_map(states, shift, "non-targeting", shown=2)
    assert "hardly" not in title(figure)
    assert len(figure.axes[0].collections) == 3
    assert fits(figure, tmp_path / "figure.png")
    turned = shift.set_axis(list("BCA"))
    assert "hardly" in title(latent_map(states, turned, "non-targeting"))
