"""Figures of the latent state: shifts, groups and cells with the right numbers."""

import numpy as np
import pandas as pd
from figures import _closed_figures, fits, labels, legend, numbers, title  # noqa: F401

from kit.plots import one_shift, shift_agreement, shift_map


def shifts(rows):
    return pd.DataFrame(rows, index=pd.Index(list("ABCD")[: len(rows)], name="perturbation"))


def test_one_shift_counts_open_gates_and_has_the_correlation(tmp_path):
    shift, gates = pd.Series([0.5, 0.02, -1.0], name="KRAS"), pd.Series([0.9, 0.1, 0.6])
    decoded = pd.Series([0.0, 1.0, 2.0, 3.0])
    figure = one_shift(shift, gates, decoded, -decoded)
    assert numbers(figure) == {2, 3, -1}
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert bars == [0.5, -1.0, 0.02]  # the open ones first
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


def cells_of(shift):
    """States of 50 cells of each perturbation at its shift, and of controls at the origin."""
    random = np.random.default_rng(0)
    names = np.repeat([*shift.index, "non-targeting"], 50)
    cells = random.normal(0, 0.1, (len(names), shift.shape[1]))
    cells[: 50 * len(shift)] += np.repeat(shift.to_numpy(), 50, axis=0)
    return pd.DataFrame(cells, names)


def test_cells_lie_where_their_shift_predicts_or_hardly(tmp_path):
    shift = shifts([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    states = cells_of(shift)
    figure = shift_agreement(states, shift, "non-targeting")
    assert "hardly" not in title(figure)
    assert numbers(figure) == {1, 0, 3}
    own = figure.axes[0].lines[3].get_xdata()
    np.testing.assert_allclose(own, [1, 1, 1], atol=0.01)
    others = [line.get_xdata()[~np.isnan(line.get_xdata())] for line in figure.axes[0].lines[:3]]
    np.testing.assert_allclose(others, np.zeros((3, 2)), atol=0.05)
    assert legend(figure) == ["with the shifts of others", "with its own shift"]
    assert fits(figure, tmp_path / "figure.png")
    turned = shift.set_axis(list("BCA"))
    assert "hardly" in title(shift_agreement(states, turned, "non-targeting"))


def test_one_perturbation_is_compared_too():
    shift = shifts([[3.0, 0.0, 0.0]])
    figure = shift_agreement(cells_of(shift), shift, "non-targeting")
    assert numbers(figure) == {1}
    assert legend(figure) == ["with its own shift"]


def test_perturbations_without_cells_are_left_out_and_counted():
    shift = shifts([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    states = cells_of(shift)
    figure = shift_agreement(states[states.index != "B"], shift, "non-targeting")
    assert "perturbations: 1; without cells: 1" in title(figure)
    assert legend(figure) == ["with its own shift"]
    figure = shift_agreement(states[states.index == "non-targeting"], shift, "non-targeting")
    assert not figure.axes[0].axison
    assert numbers(figure) == {2}


def test_shifts_that_are_none_are_one_sentence():
    small = shifts([[0.004, 0.0, -0.004], [0.0, 0.003, 0.0]])
    groups = pd.Series(["one", "one"], small.index)
    gates, effects = pd.Series([0.9, 0.9, 0.9]), pd.Series([0.0, 1.0])
    for figure in (
        one_shift(small.loc["A"], gates, effects, effects),
        shift_map(small, groups),
        shift_map(0 * small, groups),
        shift_agreement(cells_of(small), small, "non-targeting"),
    ):
        assert not figure.axes[0].axison
        assert 0.05 in numbers(figure)


def test_the_legend_has_only_what_is_drawn():
    shift, effects = pd.Series([0.5, 0.0], name="KRAS"), pd.Series([0.0, 1.0, 3.0])
    figure = one_shift(shift, pd.Series([0.9, 0.1]), effects, effects)
    assert legend(figure) == ["gate open"]
