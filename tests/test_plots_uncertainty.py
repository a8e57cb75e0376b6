"""Figures of distributions: the path is that of `decide`, expected scores are as counted."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, legend, numbers  # noqa: F401

from kit import plots
from kit.decision import EXCHANGE, Distribution, decide
from kit.plots import exchange
from kit.plots.uncertainty import support_points

GENES = ["g", "h", "i", "j"]


@pytest.fixture
def distribution():
    """Two perturbations, six scenarios; for each another half of them is more probable."""
    random = np.random.default_rng(0)
    rows = [f"row {i}" for i in range(6)]
    values = pd.DataFrame(random.normal(0, 0.4, (6, 4)), rows, GENES)
    values.iloc[:3] += 0.6
    weights = values.abs() + 0.05
    weights = weights.mul(4 / weights.sum(axis=1), axis=0)
    chances = pd.DataFrame([[0.3, 0.3, 0.2, 0.1, 0.05, 0.05]], ["a"], rows)
    chances.loc["b"] = chances.loc["a"].to_numpy()[::-1]
    error = (weights * (values - values.mean()).abs()).mean(axis=1)
    return Distribution(values, weights, chances, error, values.mean())


def test_support_points_are_probabilities_and_shares_of_weight_at_the_training_effects(
    distribution,
):
    distribution.values.loc["row 5", "h"] = distribution.values.at["row 0", "h"]
    chance, mass = support_points(distribution, "a", "h")
    effects, chances = distribution.values["h"], distribution.rows.loc["a"]
    assert list(chance.index) == sorted(effects.unique())
    for effect in chance.index:
        same = effects == effect
        assert chance[effect] == pytest.approx(chances[same].sum(), rel=1e-6)
        weighed = (chances * distribution.weights["h"]) / (chances @ distribution.weights["h"])
        assert mass[effect] == pytest.approx(weighed[same].sum(), rel=1e-6)


def test_the_best_of_the_path_is_what_decide_chooses(distribution):
    path, rules = exchange(
        distribution, {"mean": distribution.mean(), "decided": decide(distribution)}
    )
    assert list(path.index) == [np.inf, *EXCHANGE]
    best = path.loc[path["score"].idxmax()]
    np.testing.assert_allclose(rules.loc["decided"], best, rtol=1e-6)
    np.testing.assert_allclose(path["score"], path["w"] * path["wcos"].clip(lower=0))
    assert rules.at["mean", "score"] < best["score"]


def test_expected_wcos_of_a_rule_is_the_cosine_over_all_scenarios(distribution):
    decided = decide(distribution)
    _, rules = exchange(distribution, {"decided": decided}, gate=1e-6)  # every gene beyond the gate
    values, chances = distribution.values.to_numpy(), distribution.rows.to_numpy()
    dot = predicted = true = 0.0
    for row, prediction in enumerate(decided.to_numpy()):
        for atom, truth in enumerate(values):
            dot += chances[row, atom] * (prediction @ truth)
            predicted += chances[row, atom] * (prediction @ prediction)
            true += chances[row, atom] * (truth @ truth)
    assert rules.at["decided", "wcos"] == pytest.approx(dot / np.sqrt(predicted * true), rel=1e-4)


def test_rules_are_labelled_and_not_read_by_position(distribution):
    shuffled = decide(distribution).iloc[::-1, [2, 0, 3, 1]]
    _, rules = exchange(distribution, {"decided": shuffled})
    _, plain = exchange(distribution, {"decided": decide(distribution)})
    np.testing.assert_allclose(rules, plain)


def test_the_trade_marks_the_largest_product_and_states_both_scores(distribution, tmp_path):
    path = pd.DataFrame(
        {"w": [10, 8, 2.0], "wcos": [0.4, 0.6, 0.7], "score": [4, 4.8, 1.4]}, [6, 1, 0.1]
    )
    rules = pd.DataFrame(
        {"w": [1.0, 6, 9], "wcos": [0.8, 0.3, 0.2], "score": [0.8, 1.8, 1.8]},
        ["mean", "median", "weighted median"],
    )
    held_out = pd.DataFrame(
        {"w_per_60": [0.5, 2, 3, 1.5], "wcos": [0.5, 0.2, 0, -0.2], "score": [0.25, 0.4, 0, 0]},
        [*rules.index, "score-optimal"],
    )
    figure = plots.trade(path, rules, held_out)
    assert numbers(figure) == {60, 0.8, 0.25, 4.8, 0}  # what is expected never stands alone
    (axis,) = figure.axes
    lines = [line for line in axis.lines if len(line.get_xdata())]
    marked = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in lines}
    assert marked["score-optimal"] == (0.6, 8)
    assert marked["mean"] == (0.8, 1.0)
    measured = [line for line in lines if line.get_label().startswith("_")]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in measured] == [
        (0.5, 0.5),
        (0.2, 2),
        (0, 3),
        (-0.2, 1.5),
    ]
    assert fits(figure, tmp_path / "figure.png")


def test_distributions_count_the_pairs_whose_decided_value_is_farther_out(distribution, tmp_path):
    mean = distribution.mean()
    farther = mean * 1.5
    farther.loc["b"] = mean.loc["b"] * 0.5
    stake = (np.maximum(farther.abs(), mean.abs()) > 0.1).sum(axis=1)
    pairs = [("a", "g"), ("b", "h"), ("a", "j")]
    figure = plots.distributions(distribution, {"mean": mean, "decided": farther}, pairs, mean)
    assert numbers(figure) >= {stake.sum(), float(f"{100 * stake['a'] / stake.sum():.3g}")}
    assert [axis.get_title() for axis in figure.axes] == ["a: g", "b: h", "a: j"]
    marks = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() in "so"]
    assert len(set(marks)) == 2  # rules that agree do not hide each other
    up, down = figure.axes[0].collections
    assert [bar[1, 1] for bar in up.get_segments()] == pytest.approx(
        100 * support_points(distribution, "a", "g")[0]
    )
    assert sum(bar[0, 1] for bar in down.get_segments()) == pytest.approx(-100)
    assert not plots.distributions(distribution, {"mean": mean}, []).axes[0].has_data()
    assert fits(figure, tmp_path / "figure.png")


def test_expected_scores_have_their_quantiles_and_the_gap_of_the_halves(tmp_path):
    score = np.linspace(-1, 9, 101)
    draws = pd.DataFrame({"score": score, "public": score + 1, "private": score - 1})
    figure = plots.expected_scores(draws, 4.0, ceiling=(12.0, 7.0, 20.0), rows=19)
    assert "estimate, on 19 training rows" in legend(figure)
    assert numbers(figure) == {-0.5, 8.5, 60, 90, 9.9, 2}
    left, right = figure.axes
    places = [line.get_xdata()[0] for line in left.lines]
    assert places == pytest.approx([4.0, 0.0])
    assert any("12.0 (7.0 to 20.0)" in label for label in legend(figure))
    assert left.get_xlim()[1] < 12  # the band does not squeeze the draws
    assert right.get_xlim() == right.get_ylim()
    assert fits(figure, tmp_path / "figure.png")
