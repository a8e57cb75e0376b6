"""The blend: at least as good as its parts where it climbs, honest elsewhere, simple where it can be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kit import InputError, OutOfFold, interval, wmae
from kit.evaluation.blending import MOST, blend
from kit.evaluation.comparison import choose
from kit.evaluation.expected import expected_spread
from kit.evaluation.selection import Selection, stretched
from kit.metric import weights_from_t

GATE = 0.2


def members(rows=50, genes=30, seed=0, **noises):
    """Members that see the truth through noise of the given size; each with a floor, the mean."""
    random = np.random.default_rng(seed)
    index = pd.Index([f"P{i}" for i in range(rows)], name="perturbation")
    columns = [f"G{i}" for i in range(genes)]
    truth = pd.DataFrame(random.normal(0, 0.4, (rows, genes)), index, columns)
    fold = pd.Series(np.arange(rows) % 5, index)
    weights = weights_from_t(truth / 0.1)
    mean = truth * 0 + truth.mean()
    run = OutOfFold(mean, truth, weights, wmae(truth, mean, weights), 1.0, mean, fold, {})
    found = {
        name: replace(run, prediction=truth + random.normal(0, noise, truth.shape))
        for name, noise in noises.items()
    }
    return found | {"mean": run}


def test_two_members_of_equal_worth_share_and_junk_gets_nothing():
    runs = members(one=0.3, other=0.3, junk=3.0)
    found = blend(runs)
    shares = found.best.shares.iloc[0]
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert 0.3 < shares["one"] < 0.7
    assert 0.3 < shares["other"] < 0.7
    assert "junk" in found.dropped
    best = found.nested["best"].score().score_per_60
    assert best > max(runs[name].score().score_per_60 for name in ("one", "other")) + 3


def test_the_nested_score_is_that_of_rows_the_blend_has_not_seen():
    runs = members(rows=40, genes=4, **{f"member {i}": 1.5 for i in range(12)})
    found = blend(runs)
    blended = found.best.predict({name: run.prediction for name, run in runs.items()})
    seen = replace(runs["mean"], prediction=blended).score().score_per_60
    assert found.nested["best"].score().score_per_60 < seen


def test_a_fold_is_predicted_by_shares_learned_from_the_others():
    runs = members(one=0.3, other=0.3)
    before = blend(runs).nested["best"].prediction
    fold = runs["one"].fold == 2
    spoilt = {
        name: replace(run, truth=run.truth.where(~fold, -run.truth)) for name, run in runs.items()
    }
    after = blend(spoilt).nested["best"].prediction
    np.testing.assert_allclose(before[fold], after[fold])


def test_the_robust_selection_is_the_smallest_within_one_standard_error():
    runs = members(good=0.02, bad=1.0, worse=2.0)
    found = blend(runs)
    assert found.robust.base_models == ["good"]
    assert (found.robust.scale, found.robust.tail) == (1, 1)
    path = found.path
    small = next(size for size in path.index if path.at[size, "behind"] <= path.at[size, "error"])
    assert len(found.robust.base_models) == small
    even = blend(members(one=0.3, other=0.3, third=0.3))
    assert {"one", "other", "third"} <= set(even.robust.base_models)


def test_the_best_has_the_size_with_the_best_held_out_score():
    # On few rows of few genes a large blend learns noise: more base models are not better.
    sizes, optimism = set(), []
    for seed in range(4):
        noises = {f"member {i}": 1.2 + 0.2 * i for i in range(6)}
        found = blend(members(rows=40, genes=4, seed=seed, **noises))
        assert len(found.best.base_models) <= found.path["score"].idxmax()
        sizes.add(found.path["score"].idxmax() == found.path.index.max())
        best = found.nested["best"].score().score_per_60
        optimism.append(found.path["score"].max() - best)
    assert False in sizes  # a smaller one is best somewhere
    assert np.mean(optimism) > 0  # the size was chosen on the rows of its score


def pure_noise(seed, variants=30, rows=40, genes=6):
    """Variants of the mean baseline that differ from it by small noise: none is better than 0."""
    random = np.random.default_rng(seed)
    index = pd.Index([f"P{i}" for i in range(rows)], name="perturbation")
    common = random.normal(0, 0.3, genes)
    truth = pd.DataFrame(common + random.normal(0, 0.3, (rows, genes)), index)
    fold, mean = pd.Series(np.arange(rows) % 5, index), truth * 0
    for number in range(5):
        mean[fold == number] = truth[fold != number].mean().to_numpy()
    ones = truth * 0 + 1
    run = OutOfFold(mean, truth, ones, wmae(truth, mean, ones), 1.0, mean, fold, {})
    noisy = {
        f"variant {i}": replace(run, prediction=mean + random.normal(0, 0.005, truth.shape))
        for i in range(variants)
    }
    return noisy | {"mean": run}


def optimism(reported):
    """How far from 0 the mean is, in standard errors, and how many 90 % intervals lie above 0."""
    per_60 = np.array([run.score().score_per_60 for run in reported])
    above = sum(interval(run.score())[0] > 0 for run in reported)
    return per_60.mean() / (per_60.std(ddof=1) / np.sqrt(len(per_60))), above


def test_of_pure_noise_no_choice_reports_a_score():
    runs = [pure_noise(seed) for seed in range(20)]
    choices = {
        "choose": [choose(one)[1][0] for one in runs],
        "blend": [blend(one).nested["best"] for one in runs],
    }
    for name, reported in choices.items():
        errors, above = optimism(reported)
        assert abs(errors) <= 2, name
        assert above <= 4, name
    # What the test can find: the best variant with the score by which it was picked.
    picked = [max(one.values(), key=lambda run: run.score().score) for one in runs]
    errors, above = optimism(picked)
    assert errors > 2
    assert above > 4


def test_the_choice_of_a_fold_does_not_depend_on_its_truth():
    runs = members(rows=50, **{f"member {i}": 0.5 for i in range(10)})
    fold = runs["mean"].fold == 3
    spoilt = {
        name: replace(run, truth=run.truth.where(~fold, -run.truth)) for name, run in runs.items()
    }
    kind, moved = pd.Series(np.arange(50) % 2 == 0, runs["mean"].truth.index), []
    for learn in (
        lambda runs: choose(runs)[1][0],
        lambda runs: blend(runs, groups=kind).nested["best"],
        lambda runs: blend(runs, default="member 3").nested["best"],
        lambda runs: blend(runs).nested["robust"],
    ):
        one, other = learn(runs).prediction, learn(spoilt).prediction
        np.testing.assert_allclose(one[fold], other[fold])
        moved.append(not np.allclose(one[~fold], other[~fold]))
    assert any(moved)


def test_choose_takes_the_best_on_the_other_folds_by_hand():
    """One model is right in the folds 0 to 2, the other in 3 and 4, each wrong elsewhere."""
    runs = members(one=0.1, other=0.1)
    for name, right in {"one": [0, 1, 2], "other": [3, 4]}.items():
        wrong = (~runs[name].fold.isin(right)).to_numpy()
        prediction = runs[name].prediction.copy()
        prediction[wrong] = -prediction[wrong]
        runs[name] = replace(runs[name], prediction=prediction)
    name, (picked,) = choose({"one": [runs["one"]], "other": [runs["other"]]})
    assert name == "one"
    for number in range(5):
        rows = runs["one"].fold == number
        # Of the folds 0 to 2 one is away: two folds are left for each.
        scores = {
            name: run.subset(run.truth.index[~rows]).score().score for name, run in runs.items()
        }
        best = "one" if scores["one"] >= scores["other"] else "other"
        np.testing.assert_array_equal(picked.prediction[rows], runs[best].prediction[rows])
    assert picked.chosen
    with pytest.raises(InputError, match="two or more"):
        choose({"one": runs["one"].subset(runs["one"].fold.index[runs["one"].fold == 1])})


def test_a_default_is_left_only_for_a_better_blend():
    runs = members(good=0.1, bad=1.0)
    assert blend(runs, default="bad").best.base_models[0] == "good"
    alone = blend(members(junk=3.0, rubbish=3.0, good=0.01), default="good").best
    assert alone.base_models[0] == "good"
    few = blend(members(rows=30, good=0.1, bad=1.0), default="bad")
    assert few.best.base_models == ["bad"]
    assert not few.nested["best"].chosen


def test_of_many_models_the_best_the_mean_and_those_that_average_well_are_taken():
    noises = {f"member {i:02}": 0.3 + 0.02 * i for i in range(20)}
    found = blend(members(rows=60, genes=40, **noises))
    assert len(found.path) <= MOST
    assert len(found.best.base_models) <= MOST
    assert "member 00" in found.best.base_models
    assert len(found.dropped) >= 13


def test_an_interval_of_chosen_predictions_is_wider_by_the_overlap_of_folds():
    run = members(one=0.3)["one"]
    narrow, wide = (np.array(interval(one.score())) for one in (run, replace(run, chosen=True)))
    assert np.diff(wide) == pytest.approx(1.5 * np.diff(narrow))  # root of 1 + 5 / 4


def test_members_without_use_leave_the_mean():
    runs = members(junk=5.0, rubbish=6.0)
    found = blend(runs)
    assert found.best.base_models == ["mean"]
    assert found.nested["best"].score().score_per_60 == pytest.approx(0, abs=0.5)
    assert set(found.dropped) == {"junk", "rubbish"}


def test_groups_get_shares_of_their_own_where_that_is_clearly_better():
    runs = members(rows=80, one=0.1, other=0.1)
    kind = pd.Series(np.repeat([True, False], 40), runs["one"].truth.index)
    random = np.random.default_rng(1)
    for name, lost in {"one": ~kind, "other": kind}.items():
        noise = random.normal(0, 1.0, runs[name].truth.shape) * lost.to_numpy()[:, None]
        runs[name] = replace(runs[name], prediction=runs[name].prediction + noise)
    found = blend(runs, groups=kind)
    assert found.best.shares.loc[True, "one"] > 0.7
    assert found.best.shares.loc[False, "other"] > 0.7
    alike = blend(members(rows=80, one=0.3, other=0.3), groups=kind)
    assert len(alike.best.shares) == 1
    few = kind.copy()
    few.iloc[:30] = False
    assert len(blend(runs, groups=few).best.shares) == 1


def test_shares_by_group_follow_the_labels_of_the_groups():
    frames = {"a": pd.DataFrame([[1.0], [1.0]], ["x", "y"], ["g"])}
    frames["b"] = frames["a"] * 5
    choice = Selection(("a", "b"), ((1.0, 0.0), (0.0, 1.0)), (False, True))
    assert choice.shares.at[True, "b"] == choice.shares.at[False, "a"] == 1
    got = choice.predict(frames, pd.Series([True, False], ["x", "y"]))
    assert got["g"].tolist() == [5, 1]
    only = choice.predict({n: f.loc[["x"]] for n, f in frames.items()}, pd.Series([True], ["x"]))
    assert only["g"].tolist() == [5]
    with pytest.raises(InputError, match="give `groups`"):
        choice.predict(frames)
    with pytest.raises(InputError, match="groups hold kinds without shares"):
        choice.predict(frames, pd.Series(["?", "?"], ["x", "y"]))


def test_a_timid_blend_is_scaled_up_only_where_that_is_sure():
    runs = members(rows=60, one=0.05)
    runs["one"] = replace(runs["one"], prediction=runs["one"].prediction * 0.6)
    found = blend(runs)
    assert found.best.scale * 1.0 >= 1.3
    assert found.robust.scale == 1
    assert "scale" in str(found.best)
    assert "scale" not in str(blend(members(rows=60, one=0.05)).best)


def test_the_tail_begins_at_the_gate():
    values = np.array([-0.5, -0.1, 0.0, 0.2, 0.3])
    np.testing.assert_allclose(stretched(values, 1, 2), [-0.8, -0.1, 0, 0.2, 0.4])
    np.testing.assert_allclose(stretched(values, 2, 1), 2 * values)
    np.testing.assert_allclose(stretched(values, 2, 0.5), [-0.6, -0.2, 0, 0.3, 0.4])


def test_one_member_alone_is_kept():
    found = blend({"only": members(only=0.3)["only"]})
    assert found.best.base_models == found.robust.base_models == ["only"]


def test_rows_or_folds_that_differ_are_refused():
    runs = members(one=0.3, other=0.3)
    turned = replace(
        runs["other"], fold=runs["other"].fold[::-1].set_axis(runs["other"].fold.index)
    )
    with pytest.raises(InputError, match="other is not of the same rows in the same folds"):
        blend(runs | {"other": turned})
    with pytest.raises(InputError, match="lacks predictions of base models: one"):
        blend(members(one=0.2)).best.predict({"mean": runs["mean"].prediction})


def test_the_expected_spread_covers_new_rows_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        everything = members(rows=120, genes=8, seed=seed, one=0.5)["one"]
        known, new = everything.truth.index[:60], everything.truth.index[60:]
        draws = expected_spread(everything.subset(known), rows=60, draws=300, seed=seed)["score"]
        low, high = draws.quantile([0.05, 0.95])
        covered += low <= everything.subset(new).score().score_per_60 <= high
    assert 48 <= covered <= 60


def test_of_few_rows_no_share_is_learned():
    runs = members(rows=39, one=0.3, other=0.3, junk=3.0)
    found = blend(runs)
    assert dict(found.best.shares.iloc[0]) == pytest.approx(
        {"one": 1 / 3, "other": 1 / 3, "junk": 1 / 3, "mean": 0}
    )
    assert (found.best.scale, found.best.tail) == (1, 1)
    even = sum(runs[name].prediction for name in ("one", "other", "junk")) / 3
    np.testing.assert_allclose(found.nested["best"].prediction, even)
    assert found.dropped == ["mean"]
    assert blend({"mean": runs["mean"]}).best.base_models == ["mean"]
