"""Figures of the networks: training curves, attention, routes and gates with the right numbers."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, legend, numbers, overprinted, title  # noqa: F401

from kit.plots import attention, carriers, episode, gates, mixtures, routes, training_curves

NAMES = [f"P{place}" for place in range(10)]


def shares():
    """Two targets that attend to P1 and P2, and a third that attends to all rows equally."""
    found = pd.DataFrame(0.1, ["A", "B", "C"], NAMES)
    found.loc["A", "P1"], found.loc["B", "P2"] = 2.1, 1.1
    return found.div(found.sum(axis=1), axis=0)


def test_an_episode_counts_the_genes_that_shift_as_in_the_first_row(tmp_path):
    random = np.random.default_rng(0)
    effects = pd.DataFrame(random.normal(size=(10, 50)), NAMES, [f"G{i}" for i in range(50)])
    shift = 2 * (2 * effects.rank(pct=True).loc["P1"] - 1)
    shift["G0"], shift["G1"] = 9.0, -9.0
    effects.loc["P1", ["G0", "G1"]] = -9.0, 9.0
    figure = episode(shares().loc["A"], effects, shift)
    assert numbers(figure) == {7, 28, 30}
    assert labels(figure.axes[0])[0] == "P1"
    assert labels(figure.axes[0])[-1] == "shift of A"
    picture = figure.axes[1].images[0].get_array()
    assert picture.shape == (9, 30)
    np.testing.assert_allclose([picture[-1].min(), picture[-1].max()], [-1, 1])
    assert fits(figure, tmp_path / "figure.png")


def test_a_network_that_has_learned_nothing_is_one_sentence():
    effects = pd.DataFrame(0.0, NAMES, ["G", "H"])
    even = shares() * 0 + 0.1
    kernels = pd.DataFrame([[0.5, 0.5]], ["head 1"], ["one", "two"])
    gate = pd.DataFrame([[0.5, 0.5]] * 2, ["first", "second"], ["sets", "shape"])
    for figure in (
        episode(shares().loc["A"], effects, effects.loc["P1"]),
        attention(even),
        mixtures(kernels, kernels, pd.Series({"head 1": 0.0, "own slope": 0.0})),
        gates(gate, gate),
    ):
        assert not figure.axes[0].axison
        assert len(figure.axes) == 1
        assert title(figure)


def test_attention_counts_the_rows_that_are_also_nearest(tmp_path):
    knowledge = pd.DataFrame(0.0, ["A", "B", "C"], NAMES)
    knowledge.loc["A", "P1"], knowledge.loc["B", "P3"] = 0.5, 0.5  # C is similar to none
    figure = attention(shares(), knowledge)
    assert numbers(figure) == {1, 2}
    assert any("similarity by pathways" in label for label in legend(figure))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["A", "B", "C"]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(widths[:2], [7, 1 / 3], rtol=1e-6)
    assert fits(figure, tmp_path / "figure.png")


def test_attention_can_be_drawn_without_pathways(tmp_path):
    figure = attention(shares())
    assert len(legend(figure)) == 1
    assert fits(figure, tmp_path / "figure.png")


def test_mixtures_have_what_moved_and_what_counts(tmp_path):
    heads, kernels = ["head 1", "head 2"], ["all_sets", "response_cosine"]
    start = pd.DataFrame([[0.9, 0.1], [0.1, 0.9]], heads, kernels)
    learned = pd.DataFrame([[0.7, 0.3], [0.1, 0.9]], heads, kernels)
    counts = pd.Series({"head 1": 0.2, "head 2": 0.5, "own slope": 0.3, "other screens": 0.0})
    figure = mixtures(learned, start, counts)
    assert numbers(figure) >= {10, 50}
    assert labels(figure.axes[0]) == ["head 1", "head 2", "own slope"]
    np.testing.assert_allclose([bar.get_width() for bar in figure.axes[1].patches], [20, 50, 30])
    assert fits(figure, tmp_path / "figure.png")


CARRIED = pd.Series({"A": 0.5, "B": 0.25, "C": 0.05, "D": -0.1}, name="KRAS")
SIGNAL = pd.DataFrame(
    {"sets": [0.4, 0.1, 0.0, 0.0], "shape": [0.1, 0.3, 0.1, 0.0]}, ["A", "B", "C", "D"]
)


def drawn_to(figure, row):
    """The widths of the lines that end at a row's label, less that of an empty line."""
    axis = figure.axes[0]
    place = next(text.get_position()[1] for text in axis.texts if text.get_text().startswith(row))
    lines = [line for line in axis.lines if len(line.get_xdata())]
    ends = [
        (line.get_xdata()[1], line.get_ydata()[1], line.get_linewidth() - 0.3) for line in lines
    ]
    return sorted(width for x, y, width in ends if x == 1 and abs(y - place) < 0.02)


def routed(*rows):
    return pd.DataFrame(rows, columns=["row", "type", "hub", "amount"])


def test_routes_are_as_wide_as_their_signal(tmp_path):
    ways = routed(("A", "sets", "a set", 0.4), ("A", "shape", "", 0.1), ("B", "shape", "", 0.3))
    figure = routes(ways, CARRIED)
    assert numbers(figure) == {62.5, 100, 2}
    assert {"KRAS", "A"} <= set(title(figure).split())
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["KRAS", "a set", "A  50 %", "B  25 %", "share of the logit shift"]
    assert drawn_to(figure, "A") == pytest.approx([7 * 0.1 / 0.4, 7])
    assert drawn_to(figure, "B") == pytest.approx([7 * 0.3 / 0.4])
    assert fits(figure, tmp_path / "figure.png")
    assert not overprinted(figure)


def test_the_row_with_most_signal_has_the_most_lines_to_it(tmp_path):
    """A reaches most by many small hubs, B by one large one."""
    many = [("A", "sets", f"hub {i}", 0.03) for i in range(20)]
    figure = routes(routed(*many, ("B", "sets", "one", 0.4)), CARRIED)
    assert "A most, 60 %" in title(figure)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert "other hubs: 12" in shown
    assert sum(drawn_to(figure, "A")) == pytest.approx(1.5 * sum(drawn_to(figure, "B")))


def test_without_a_shift_routes_and_carriers_are_one_sentence():
    ways = routed(("A", "sets", "a set", 0.4))
    for figure in (
        routes(routed(), CARRIED),
        routes(ways, 0 * CARRIED),
        routes(ways.assign(amount=0.0), CARRIED),
        carriers(0 * CARRIED, SIGNAL),
    ):
        assert "KRAS" in title(figure)
        assert not figure.axes[0].axison
        assert not figure.axes[0].lines


def test_carriers_are_coloured_by_the_edge_with_most_signal(tmp_path):
    figure = carriers(CARRIED, SIGNAL)
    assert numbers(figure) == {50, 3, 20}  # all of the same whole
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
    assert numbers(figure) == {70, 100, 10}
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(bars, [70, 30])
    assert fits(figure, tmp_path / "figure.png")


def _bars(axis):
    return [(container, container.get_label()) for container in axis.containers]


def history(checks, stage="competition"):
    frames = [
        pd.DataFrame({"step": [10, 20, 30], "loss": [0.0, -0.1, -0.3], "check": check}).assign(
            stage=stage, member=member
        )
        for member, check in enumerate(checks)
    ]
    return pd.concat(frames, ignore_index=True)


def test_the_best_steps_on_left_out_rows_are_marked(tmp_path):
    both = pd.concat(
        [history([[0, -0.1, -0.2]], "screens"), history([[0.1, -0.04, 0.2], [-0.02, 0, 1]])]
    )
    figure = training_curves(both)
    assert numbers(figure) == {30, 0.2, 2, 10, 20, 0.03}
    assert legend(figure) == ["training rows", "left-out rows", "nothing learned"]
    dots = [line.get_xydata()[0] for line in figure.axes[1].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [[20, -0.04], [10, -0.02]])
    assert fits(figure, tmp_path / "figure.png")


def test_without_a_gain_no_step_is_marked(tmp_path):
    figure = training_curves(history([[0.1, 0.2, 0.3], [0.05, 0.1, 0.1]]))
    assert numbers(figure) == {0.05}
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert fits(figure, tmp_path / "figure.png")


def test_a_loss_that_hardly_falls_is_no_gain():
    figure = training_curves(history([[-0.0004, 0.2, 0.3], [0.0, 0.1, 0.1]]))
    assert numbers(figure) == {0}
    assert "-0.0" not in title(figure)
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "o"]


def test_without_left_out_rows_there_is_nothing_to_stop_on(tmp_path):
    figure = training_curves(history([[np.nan] * 3]))
    assert not numbers(figure)
    assert fits(figure, tmp_path / "figure.png")
