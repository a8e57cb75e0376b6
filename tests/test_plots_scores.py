"""Figures of scores: intervals, gains and blends with the right numbers, marks where they should be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, legend, numbers, overprinted, title  # noqa: F401
from small_predictions import hand_made

from kit import plots
from kit.plots.style import readable


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
    figure = plots.comparison(comparison_table().assign(rows=19), "constant")
    assert numbers(figure) == {3, 60, 19, 0, 1, 90}
    left, right = figure.axes
    assert labels(left) == ["mean", "constant", "ridge", "tree"]
    for axis, low in ((left, "low"), (right, "difference_low")):
        bars = axis.collections[0].get_segments()
        assert [bar[0, 0] for bar in bars] == list(comparison_table()[low])
        assert [bar[0, 1] for bar in bars] == [0, 1, 2, 3]
    assert hollow(right.collections[1]) == [False, True, False, True]
    assert "interval includes 0" in legend(figure)
    assert fits(figure, tmp_path / "figure.png")


def test_both_kinds_of_folds_share_a_row_a_model(tmp_path):
    grouped = comparison_table().iloc[::-1] * [1, 1, 1, 1, 1, -1]
    table = pd.concat({"random": comparison_table(), "grouped": grouped}, names=["folds", "model"])
    figure = plots.comparison(table, "constant")
    assert {"random folds", "grouped folds"} <= set(legend(figure))
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
    figure = plots.comparison(comparison_table()[ENDS[:3]])
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
        ("K562", "constant"): [-0.01, 0, 0, 0],
        ("K562", "pathways"): [0, -1, -2, 0.5],
        ("K562", "others"): [2, 1, -0.5, 2.5],
    }
    scores = pd.DataFrame.from_dict(rows, "index", columns=columns)
    scores.index = pd.MultiIndex.from_tuples(rows, names=["line", "model"])
    figure = plots.cell_line_gains(scores)
    assert numbers(figure) >= {2, 1}
    assert {"pathways", "others"} <= set(legend(figure))
    (axis,) = figure.axes
    assert labels(axis) == ["HepG2\nconstant 4.0", "K562\nconstant 0.0"]
    one, other = (axis.collections[place] for place in (1, 3))
    assert [part.get_offsets()[:, 0].tolist() for part in (one, other)] == [[1, -1], [5, 1]]
    assert hollow(one) == [True, True]
    assert hollow(other) == [False, True]
    assert fits(figure, tmp_path / "figure.png")


def test_the_reference_alone_has_no_gains():
    columns = ["score", "difference", "difference_low", "difference_high"]
    index = pd.MultiIndex.from_tuples([("K562", "constant")], names=["line", "model"])
    figure = plots.cell_line_gains(pd.DataFrame([[1, 0, 0, 0]], index, columns))
    assert "“constant” is the only model" in title(figure)
    assert not figure.axes[0].axison


def test_the_reference_may_be_left_off_the_comparison():
    shown = comparison_table().drop(index="mean")
    figure = plots.comparison(shown, "mean")
    assert "are better than “mean”" in title(figure)
    assert labels(figure.axes[0]) == ["constant", "ridge", "tree"]


def test_models_without_intervals_are_drawn():
    table = comparison_table()
    table[["low", "high", "difference_low", "difference_high"]] = np.nan
    left, _ = plots.comparison(table, "constant").axes
    assert left.get_xlim() == (-1, 1)


def around(score, width=1.0):
    return [score, score - width, score + width, 0, 0, 0]


def test_one_far_model_does_not_squeeze_the_others(tmp_path):
    rows = {"mean": around(0, 0.0)} | {f"model {i}": around(80 + i) for i in range(6)}
    figure = plots.comparison(pd.DataFrame(rows, ENDS).T, "model 0", ceiling=(400, 300, 500))
    left, _ = figure.axes
    low, high = left.get_xlim()
    assert 75 < low < 79
    assert 86 < high < 90
    assert [text.get_text() for text in left.texts] == ["← 0.0"]
    assert [label for label in legend(figure) if "400.0 (300.0 to 500.0" in label]
    assert fits(figure, tmp_path / "figure.png")


def test_a_number_at_the_edge_is_not_struck_through_by_its_interval():
    rows = {"far": [0, -1, 1, -90, -190, 9]} | {f"model {i}": around(i) for i in range(5)}
    _, right = plots.comparison(pd.DataFrame(rows, ENDS).T, "model 0").axes
    (text,) = right.texts
    assert text.get_text() == "← -90.0"
    assert text.get_bbox_patch().get_facecolor()[:3] == (1, 1, 1)
    assert text.get_zorder() > right.collections[0].get_zorder()


def test_hardly_different_models_are_not_spread_over_the_axis():
    rows = {f"model {i}": [0.1, 0, 0.7, -i / 1000, -0.006, 0.001] for i in range(4)}
    rows["zero"] = [0, 0, 0, -0.45, -1.4, 0.3]
    _, right = plots.comparison(pd.DataFrame(rows, ENDS).T, "model 0").axes
    low, high = right.get_xlim()
    assert low < -0.45
    assert 0.4 < high - low < 2
    assert not right.texts


def test_all_models_are_shown_where_none_is_far(tmp_path):
    rows = {f"model {i}": around(i, 3.0) for i in range(4)} | {"one that fails": around(-9, 3.0)}
    figure = plots.comparison(pd.DataFrame(rows, ENDS).T, ceiling=(2, -2, 4))
    (axis,) = figure.axes
    low, high = axis.get_xlim()
    assert low < -12
    assert high > 6
    assert not axis.texts
    band = axis.patches[0]
    assert (band.get_x(), band.get_width()) == (-2, 6)


def test_long_names_of_models_do_not_overprint(tmp_path):
    names = [f"transformer, pretrain, metric loss, variant {i}" for i in range(12)]
    figure = plots.comparison(pd.DataFrame({name: around(1) for name in names}, ENDS).T, names[0])
    assert fits(figure, tmp_path / "figure.png")
    assert not overprinted(figure)


def test_gains_of_equal_models_are_one_sentence():
    w = pd.Series({"a": 0.5, "b": 0.0})
    for shift in (0.0, 0.008):
        figure = plots.gains(w, w + shift, ("mean", "constant"))
        assert numbers(figure) == {2, 0.01}
        assert not figure.axes[0].axison
    assert plots.gains(w, w.add([0.02, 0]), ("mean", "constant")).axes[0].axison


def predicting(effects):
    """A run of four rows in two folds that predicts these effects, more in the second fold."""
    run = hand_made()
    effects = pd.DataFrame(effects, run.truth.index, ["g", "h"], dtype=float)
    return replace(run, prediction=effects.add(run.fold, axis=0))


def test_models_are_compared_without_what_all_perturbations_share(tmp_path):
    plain = np.array([[1, 0], [-1, 0], [0, 2], [0, -2]])
    runs = {
        "constant": predicting(plain * 0 + 7),
        "one": predicting(plain + np.array([5, -3])),
        "same": predicting(2 * plain + 9),
        "opposed": predicting(5 - plain),
    }
    figure = plots.model_similarity(runs)
    assert numbers(figure) == {1, -1}
    assert {"“one”", "“same”,"} <= set(title(figure).split())
    numbered = [text.get_text() for text in figure.axes[0].texts]
    assert numbered[:4] == ["-"] * 4  # a constant distinguishes nothing
    assert numbered[4:8] == ["-", "1.00", "1.00", "-1.00"]
    assert labels(figure.axes[0])[0] == "constant  1"
    assert fits(figure, tmp_path / "figure.png")


def test_on_target_effects_are_no_similarity():
    run = hand_made()
    plain, other = run.prediction * 0, run.prediction * 0
    plain.loc["a"], other.loc["b"] = [0, 1], [0, 1]
    frames = [frame.rename(columns={"g": "c"}) for frame in (plain, other)]
    runs = {}
    for name, frame in zip(("one", "two"), frames, strict=True):
        frame.loc["c", "c"] = -20.0
        runs[name] = replace(run, prediction=frame)
    assert numbers(plots.model_similarity(runs)) == {-1}


def test_one_model_that_distinguishes_perturbations_is_nothing_to_compare():
    constant, one = predicting([[7, 7]] * 4), predicting([[1, 0], [0, 0], [0, 2], [0, 0]])
    figure = plots.model_similarity({"constant": constant, "one": one})
    assert not figure.axes[0].axison


SUBMITTED = pd.DataFrame(
    {"score": [3.25, 2.5], "low": [2.0, 1.0], "high": [5.0, 4.0], "size": [4, 1]},
    ["best", "robust"],
)


def test_the_path_is_beside_the_submitted_blends(tmp_path):
    path = pd.DataFrame({"score": [2.0, 3.0], "low": [1.0, 1.5], "high": [4.0, 5.0]}, [1, 2])
    figure = plots.blend_path(path, SUBMITTED)
    assert numbers(figure) == {60, 3.25, 2.5}
    (axis,) = figure.axes
    drawn = [part.lines[0].get_xydata().tolist() for part in axis.containers]
    assert drawn == [[[0, 2], [1, 3]], [[2, 3.25], [3, 2.5]]]
    ticks = [label.get_text() for label in axis.get_xticklabels()]
    assert ticks == ["1", "2", "best,\nsize 4", "robust,\nsize 1"]
    assert fits(figure, tmp_path / "figure.png")
    assert not overprinted(figure)


def test_the_floor_does_not_squeeze_a_path_far_above_it():
    path = pd.DataFrame({"score": [90.0, 91], "low": [88.0, 89], "high": [93.0, 94]}, [1, 2])
    shift = SUBMITTED.add([87, 87, 87, 0], axis=1)
    low, high = plots.blend_path(path, shift).axes[0].get_ylim()
    assert 86 < low < 89
    assert high < 97


def test_a_path_of_one_size_is_one_sentence():
    path = pd.DataFrame({"score": [2.0], "low": [1.0], "high": [4.0]}, [1])
    figure = plots.blend_path(path, SUBMITTED)
    assert {3.25, 2.5} <= numbers(figure)
    assert not figure.axes[0].axison


@pytest.mark.parametrize("bad", [1, 3, 4])
def test_models_far_below_do_not_squeeze_the_better_half(bad):
    value = [*np.linspace(82, 91, 10 - bad), *[0.0] * bad]
    table = pd.DataFrame({"value": value, "low": np.array(value) - 4, "high": np.array(value) + 4})
    left, right = readable(table)
    assert 60 < left < 78
    assert 95 < right < 110


def test_the_best_is_seen_whole_however_far_it_lies_above_the_others():
    value = np.array([0.1, 1.0, 3.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.4])
    low, high = value - 0.3, value + 0.3
    low[2], high[2] = 1.1, 5.5
    left, right = readable(pd.DataFrame({"value": value, "low": low, "high": high}))
    assert -1 < left < -0.3
    assert 5.5 < right < 6.5
