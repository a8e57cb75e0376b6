"""The blend: at least as good as its parts where it climbs, honest elsewhere, simple where it can be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kit import InputError, OutOfFold, wmae
from kit.evaluation.blending import Selection, blend, expected_spread, stretched
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
    assert found.robust.members == ["good"]
    assert (found.robust.scale, found.robust.tail) == (1, 1)
    path = found.path
    small = next(size for size in path.index if path.at[size, "behind"] <= path.at[size, "error"])
    assert len(found.robust.members) == small
    even = blend(members(one=0.3, other=0.3, third=0.3))
    assert {"one", "other", "third"} <= set(even.robust.members)


def test_the_best_has_the_size_with_the_best_nested_score():
    # On few rows of few genes a large blend learns noise: more members are not better.
    sizes = set()
    for seed in range(4):
        noises = {f"member {i}": 1.2 + 0.2 * i for i in range(6)}
        found = blend(members(rows=40, genes=4, seed=seed, **noises))
        best = found.nested["best"].score().score_per_60
        assert best >= found.path["score"].max() - 1e-9
        assert len(found.best.members) <= found.path["score"].idxmax()
        sizes.add(found.path["score"].idxmax() == found.path.index.max())
    assert False in sizes  # a smaller one is best somewhere


def test_members_without_use_leave_the_mean():
    runs = members(junk=5.0, rubbish=6.0)
    found = blend(runs)
    assert found.best.members == ["mean"]
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
    shares = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], [False, True], ["a", "b"])
    frames = {"a": pd.DataFrame([[1.0], [1.0]], ["x", "y"], ["g"])}
    frames["b"] = frames["a"] * 5
    choice = Selection(shares)
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
    assert found.best.members == found.robust.members == ["only"]


def test_rows_or_folds_that_differ_are_refused():
    runs = members(one=0.3, other=0.3)
    turned = replace(
        runs["other"], fold=runs["other"].fold[::-1].set_axis(runs["other"].fold.index)
    )
    with pytest.raises(InputError, match="other is not of the same rows in the same folds"):
        blend(runs | {"other": turned})
    with pytest.raises(InputError, match="no predictions of one"):
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
    assert blend({"mean": runs["mean"]}).best.members == ["mean"]
