"""Figures of neighbours and transfer: titles state the right numbers, the path is that of `decide`."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, title  # noqa: F401

from kit import plots
from kit.decision import EXCHANGE, Distribution, decide
from kit.plots.transfer import atoms, exchange

GENES = ["g", "h", "i", "j"]


@pytest.fixture
def belief():
    """Two knockdowns, six scenarios; each believes mostly in another half of them."""
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


def test_atoms_are_chances_and_shares_of_weight_at_the_training_effects(belief):
    belief.values.loc["row 5", "h"] = belief.values.at["row 0", "h"]
    chance, mass = atoms(belief, "a", "h")
    effects, chances = belief.values["h"], belief.rows.loc["a"]
    assert list(chance.index) == sorted(effects.unique())
    for effect in chance.index:
        same = effects == effect
        assert chance[effect] == pytest.approx(chances[same].sum(), rel=1e-6)
        weighed = (chances * belief.weights["h"]) / (chances @ belief.weights["h"])
        assert mass[effect] == pytest.approx(weighed[same].sum(), rel=1e-6)


def test_the_best_of_the_path_is_what_decide_chooses(belief):
    path, rules = exchange(belief, {"mean": belief.mean(), "decided": decide(belief)})
    assert list(path.index) == [np.inf, *EXCHANGE]
    best = path.loc[path["score"].idxmax()]
    np.testing.assert_allclose(rules.loc["decided"], best, rtol=1e-6)
    np.testing.assert_allclose(path["score"], path["w"] * path["wcos"].clip(lower=0))
    assert rules.at["mean", "score"] < best["score"]


def test_expected_wcos_of_a_rule_is_the_cosine_over_all_scenarios(belief):
    decided = decide(belief)
    _, rules = exchange(belief, {"decided": decided}, gate=1e-6)  # every gene beyond the gate
    values, chances = belief.values.to_numpy(), belief.rows.to_numpy()
    dot = predicted = true = 0.0
    for row, prediction in enumerate(decided.to_numpy()):
        for atom, truth in enumerate(values):
            dot += chances[row, atom] * (prediction @ truth)
            predicted += chances[row, atom] * (prediction @ prediction)
            true += chances[row, atom] * (truth @ truth)
    assert rules.at["decided", "wcos"] == pytest.approx(dot / np.sqrt(predicted * true), rel=1e-4)


def test_rules_are_labelled_and_not_read_by_position(belief):
    shuffled = decide(belief).iloc[::-1, [2, 0, 3, 1]]
    _, rules = exchange(belief, {"decided": shuffled})
    _, plain = exchange(belief, {"decided": decide(belief)})
    np.testing.assert_allclose(rules, plain)


def test_the_trade_marks_the_largest_product_and_states_both_scores(belief, tmp_path):
    path = pd.DataFrame(
        {"w": [10, 8, 2.0], "wcos": [0.4, 0.6, 0.7], "score": [4, 4.8, 1.4]}, [6, 1, 0.1]
    )
    rules = pd.DataFrame(
        {"w": [1.0, 6], "wcos": [0.8, 0.3], "score": [0.8, 1.8]}, ["mean", "median"]
    )
    figure = plots.trade(path, rules)
    assert title(figure) == (
        "By the belief itself the mean is to score 0.80 for 60 rows, the best trade 4.80: "
        "Wcos 0.80 becomes 0.60, W 1.0 becomes 8.0"
    )
    (axis,) = figure.axes
    marked = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines}
    assert marked["decided"] == (0.6, 8)
    assert marked["mean"] == (0.8, 1.0)
    assert fits(figure, tmp_path / "figure.png")


def test_beliefs_count_the_pairs_whose_decided_value_is_farther_out(belief, tmp_path):
    mean = belief.mean()
    farther = mean * 1.5
    farther.loc["b"] = mean.loc["b"] * 0.5
    stake = (np.maximum(farther.abs(), mean.abs()) > 0.1).sum(axis=1)
    pairs = [("a", "g"), ("b", "h"), ("a", "j")]
    figure = plots.beliefs(belief, {"mean": mean, "decided": farther}, pairs, mean)
    assert title(figure).startswith(f"Of {stake.sum()} pairs with a mean or decided value beyond")
    assert title(figure).endswith(f"than the mean in {100 * stake['a'] / stake.sum():.3g} %")
    assert [axis.get_title() for axis in figure.axes] == ["a: g", "b: h", "a: j"]
    up, down = figure.axes[0].collections
    assert [bar[1, 1] for bar in up.get_segments()] == pytest.approx(
        100 * atoms(belief, "a", "g")[0]
    )
    assert sum(bar[0, 1] for bar in down.get_segments()) == pytest.approx(-100)
    assert fits(figure, tmp_path / "figure.png")


def test_speakers_are_sorted_and_half_of_the_chance_is_counted(tmp_path):
    chances = pd.Series({"a": 0.1, "b": 0.36, "c": 0.24, "d": 0.2, "e": 0.1}, name="NEW")
    reasons = {"c": "a set (7)", "b": "another set (3); interactions 0.42"}
    figure = plots.speakers(chances, reasons)
    assert title(figure) == (
        "NEW: 2 of 5 training knockdowns hold half of the chance; "
        "b speaks loudest, 1.8 times an even chance"
    )
    (axis,) = figure.axes
    assert labels(axis) == ["b", "c"]
    assert [text.get_text() for text in axis.texts] == [reasons["b"], reasons["c"]]
    assert fits(figure, tmp_path / "figure.png")


def test_complexes_state_means_inside_and_over_all_pairs(tmp_path):
    inside = pd.DataFrame(
        {"truth": [0.8, 0.2], "random folds": [0.6, 0.5]}, ["ribosome (4)", "proteasome (2)"]
    )
    overall = pd.Series({"truth": -0.01, "random folds": 0.1})
    figure = plots.complexes(inside, overall, null=(-0.2, 0.2))
    assert title(figure) == (
        "Mean cosine within 2 complexes or pathways (of all pairs): "
        "truth 0.50 (-0.01), random folds 0.55 (0.10)"
    )
    (axis,) = figure.axes
    assert labels(axis) == ["ribosome (4)", "proteasome (2)"]
    assert list(axis.lines[0].get_xdata()) == [0.8, 0.2]
    assert fits(figure, tmp_path / "figure.png")


def test_lines_count_where_the_last_model_beats_the_reference(tmp_path):
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
    figure = plots.lines(scores)
    assert title(figure) == ("“others” is better than “constant” in 2 of 2 cell lines, surely in 1")
    (axis,) = figure.axes
    assert labels(axis) == ["HepG2\nconstant 4.0", "K562\nconstant 1.0"]
    assert [list(line.get_xdata()) for line in axis.lines[:2]] == [[1, -1], [5, 1]]
    assert fits(figure, tmp_path / "figure.png")
