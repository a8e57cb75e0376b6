"""The ways to score out-of-fold predictions, by hand, and intervals over perturbations."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_predictions import hand_made

from kit import InputError, OutOfFold, interval, score
from kit.evaluation.predictions import against_baselines, versus


def small_scores(rows=40, seed=0):
    random = np.random.default_rng(seed)
    labels = [f"P{i}" for i in range(rows)], [f"G{i}" for i in range(25)]
    truth = pd.DataFrame(random.normal(size=(rows, 25)), *labels)
    ones, base = truth * 0 + 1, pd.Series(1.0, labels[0])
    miss = random.normal(size=truth.shape)
    near, far = truth + 0.3 * miss, truth + 0.5 * miss + 0.1 * random.normal(size=truth.shape)
    return score(truth, near, ones, base), score(truth, far, ones, base)


def test_the_interval_holds_the_score_and_shrinks_with_rows():
    few, many = small_scores(20)[1], small_scores(320)[1]
    low, high = interval(few)
    assert low < few.score_per_60 < high
    wide, narrow = high - low, np.diff(interval(many))[0]
    assert narrow == pytest.approx(wide / 4, rel=0.35)  # root of 16 times the rows
    assert interval(few) == interval(few)


def test_the_interval_agrees_with_rescored_bootstrap_rows():
    result = small_scores(30)[1]
    random = np.random.default_rng(5)
    draws = []
    for _ in range(2000):
        table = result.table.iloc[random.integers(0, 30, 30)]
        norm = np.sqrt(table["truth_truth"].sum() * table["prediction_prediction"].sum())
        draws.append(2 * table["w"].sum() * table["truth_prediction"].sum() / norm)
    np.testing.assert_allclose(interval(result), np.quantile(draws, [0.05, 0.95]), rtol=0.05)


def test_a_paired_difference_is_surer_than_two_intervals():
    near, far = small_scores()
    low, high = interval(near, than=far)
    assert low < near.score_per_60 - far.score_per_60 < high
    assert interval(near, than=near) == (0.0, 0.0)
    alone = np.diff(interval(near))[0] + np.diff(interval(far))[0]
    assert high - low < alone


def test_a_score_less_the_mean_is_that_of_deviations_by_hand():
    """Deviations: truth (2,0) (0,2) (0,3) (1,0), prediction (1,0) (0,1) (0,1) (1,1); errors 1 1 2 1."""
    result = hand_made().score_minus_mean()
    assert result.wcos == pytest.approx((2 + 2 + 3 + 1) / np.sqrt(18 * 5))
    assert list(result.table["w"]) == pytest.approx(np.log2([2, 2, 3 / 2, 1]))
    assert result.w == pytest.approx(hand_made().score().w)


def test_the_strongest_rows_are_those_of_the_truth_alone():
    """Energies are 9, 5, 16 and 2; a prediction that is huge in row d changes nothing."""
    result = hand_made()
    loud = replace(result, prediction=result.prediction.mul([1, 1, 1, 99], axis=0))
    for run in (result, loud):
        assert list(run.without_strongest(0).truth.index) == list("abcd")
        assert list(run.without_strongest(1).truth.index) == list("abd")
        assert list(run.without_strongest(3).truth.index) == ["d"]
    left = result.without_strongest(2)
    assert list(left.score().table["w"]) == list(result.score().table["w"][["b", "d"]])
    with pytest.raises(InputError, match="4 of 4 rows cannot be left out"):
        result.without_strongest(4)


def test_rows_below_the_gate_are_not_the_strongest():
    """Many effects of .1 have more energy than one of .5, until the gate takes 15/16 of it away."""
    truth = pd.DataFrame(0.1, ["broad", "sharp"], range(60))
    truth.loc["sharp"] = [0.5] + [0.0] * 59
    base = pd.Series(1.0, truth.index)
    fold = pd.Series(0, truth.index)
    run = OutOfFold(truth, truth, truth * 0 + 1, base, 0.0, truth * 0, fold, {})
    assert list(run.without_strongest(1, gate=0.2).truth.index) == ["broad"]  # .15 against .25
    assert list(run.without_strongest(1, gate=0.1).truth.index) == ["sharp"]  # .60 against .25


def test_a_subset_of_rows_is_named_in_order_and_unknown_rows_are_refused():
    assert list(hand_made().subset(["d", "a"]).fold) == [1, 0]
    with pytest.raises(InputError, match="not among the held-out ones: z"):
        hand_made().subset(["a", "z"])


def test_the_interval_over_repeats_draws_the_same_perturbations_in_all():
    near, far = small_scores()
    turned = replace_table(far, far.table.iloc[::-1])
    assert interval([far, turned]) == pytest.approx(interval(far))
    both = interval([near, far], than=[far, near])
    assert both == pytest.approx((0, 0), abs=1e-12)
    with pytest.raises(InputError, match=r"not of the same perturbations: .*missing: P39"):
        interval(near, than=replace_table(far, far.table.iloc[:-1]))


def replace_table(result, table):
    return replace(result, table=table)


def test_two_models_are_compared_in_a_sentence_by_the_paired_interval():
    ours = hand_made()
    runs = {"ours": ours, "same": [ours], "right": replace(ours, prediction=ours.truth)}
    low, high = interval(runs["right"].score(), than=ours.score())
    gain = runs["right"].score().score_per_60 - ours.score().score_per_60
    assert low > 0
    told = f"{gain:+.2f}, paired 90 % interval {low:.2f} to {high:.2f}."
    assert versus(runs, "right", "ours") == f"right beats ours: {told}"
    assert versus(runs, "ours", "right").startswith(f"ours loses to right: {-gain:+.2f}, ")
    assert versus(runs, "ours", "same").startswith(
        "ours is not significantly different from same: +0.00, "
    )


def test_an_estimate_below_a_baseline_is_said_with_its_rows_and_the_way_to_the_other():
    ours = hand_made()
    score = ours.score().score_per_60
    floors = {"mean": (score - 2, ours.truth * 0), "constant": (score - 1, ours.truth * 0 + 1)}

    def lines(runs=ours, prediction=ours.prediction, **changed):
        return against_baselines(prediction, runs, floors | changed, "write {}")

    assert lines() == []
    (line,) = lines(constant=(score + 1, ours.truth * 0 + 1))
    assert f"{score:.2f}" in line
    assert f"constant, {score + 1:.2f}" in line
    assert f"{len(ours.truth)} training rows" in line
    assert line.endswith("write constant")
    # Below both, the better one is named.
    (line,) = lines(mean=(score + 3, ours.truth * 0), constant=(score + 1, ours.truth * 0 + 1))
    assert line.endswith("write mean")
    # What equals a baseline is called so, whatever its score, in any order of labels.
    same = (ours.truth * 0 + 1).iloc[::-1, ::-1] + 1e-9
    (line,) = lines(prediction=same, constant=(score + 1, ours.truth * 0 + 1))
    assert "equals the constant" in line
    assert lines(runs=None) == []
    assert len(lines(prediction=same, mean=(score + 3, ours.truth * 0))) == 2
