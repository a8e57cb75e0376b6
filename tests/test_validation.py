"""Fits inside the fold, models side by side, results by nearness, the baseline as shipped."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_predictions import hand_made

from kit import (
    InputError,
    Run,
    by_nearness,
    check_submission,
    compare,
    compare_grouped,
    folds,
    grouped_folds,
    hold_out,
    interval,
    load_competition,
    out_of_fold,
    repeated_folds,
    score,
    score_submission,
    wmae,
    write_submission,
)
from kit.evaluation.comparison import by_group, nearest_similarity, with_hold_out
from kit.evaluation.predictions import summary
from kit.expression.similarity import centred_cosine
from kit.models import Constant, Mean, OnTargetGene, Zero
from kit.report.board import board, board_text, write_page


@pytest.fixture(scope="module")
def competition(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        return load_competition(twin)


class Recorder(Mean):
    """Notes in a list which rows each fit has seen."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return Recorder(self.seen)

    def fit(self, train):
        self.seen.append(list(train.effects.index))
        assert train.solution is None
        return super().fit(train)


def test_no_fit_sees_a_row_that_it_predicts(competition):
    held_out = folds(competition.effects.index, 4)
    fits = []
    result = out_of_fold(Recorder(fits), competition, held_out)
    assert len(fits) == 4
    for seen, names in zip(fits, held_out, strict=True):
        assert set(seen) | set(names) == set(competition.effects.index)
        assert not set(seen) & set(names)
        fold_mean = competition.effects.loc[seen].mean()
        np.testing.assert_allclose(result.prediction.loc[names[0]], fold_mean, rtol=1e-12)


@pytest.mark.parametrize("gate", [0.2, 0.3])
@pytest.mark.parametrize("kind", ["random", "repeated", "grouped", "hold-out"])
def test_the_mean_baseline_scores_zero_out_of_fold(competition, kind, gate):
    names = competition.effects.index
    held_out = {
        "random": lambda: folds(names),
        "repeated": lambda: repeated_folds(names, repeats=2, seed=5)[1],
        "grouped": lambda: grouped_folds(centred_cosine(competition.effects), at_least=0.2),
        "hold-out": lambda: hold_out(names, 30),
    }[kind]()
    result = out_of_fold(Mean(), competition, held_out)
    assert result.score(gate).w == 0
    assert result.score(gate).score == 0
    centred = result.score_minus_mean(gate)
    assert (centred.score, centred.w, centred.wcos) == (0, 0, 0)


def test_a_fit_sees_the_baseline_of_its_own_rows_only(competition):
    """The shipped one knows the mean of all rows, the held-out ones among them."""
    fits = []

    class Reader(Mean):
        def fit(self, train):
            fits.append(train)
            return super().fit(train)

    changed = replace(competition, effects=competition.effects.copy())
    held_out = list(competition.effects.index[:3])
    changed.effects.loc[held_out] += 1
    for data in (competition, changed):
        out_of_fold(Reader(), data, [held_out])
    one, other = fits
    own = wmae(one.effects, one.effects.mean(), one.weights)
    pd.testing.assert_series_equal(one.baseline_wmae, own)
    pd.testing.assert_series_equal(one.baseline_wmae, other.baseline_wmae)


def test_scores_do_not_depend_on_the_order_of_held_out_rows(competition):
    parts = folds(competition.effects.index)
    turned = [part[::-1] for part in parts[::-1]]
    first, second = (out_of_fold(Constant(), competition, held) for held in (parts, turned))
    assert first.score().score == pytest.approx(second.score().score, rel=1e-12)


def test_an_unknown_held_out_row_is_named(competition):
    with pytest.raises(InputError, match="not training rows: NOBODY"):
        out_of_fold(Mean(), competition, [["NOBODY"]])


def test_zero_is_below_the_mean_where_knockdowns_share_a_response(competition):
    result = out_of_fold(Zero(), competition, folds(competition.effects.index))
    assert result.score().w < 0


def test_repeats_are_summed_up_by_their_means(competition):
    repeats = repeated_folds(competition.effects.index, 5, 3)
    runs = [out_of_fold(Constant(), competition, split) for split in repeats]
    result = summary(runs)
    per_60 = [run.score().score_per_60 for run in runs]
    assert result["score"] == pytest.approx(np.mean(per_60))
    assert result["sd"] == pytest.approx(np.std(per_60, ddof=1))
    assert result["w_per_60"] == pytest.approx(60 * result["w_per_row"])
    assert result["w_per_60"] == pytest.approx(np.mean([run.score().w * 60 / 40 for run in runs]))
    one = [run.without_strongest(3).score().score_per_60 for run in runs]
    assert result["without_3"] == pytest.approx(np.mean(one))
    assert np.isnan(summary(runs[0])["sd"])
    few = summary(runs[0].subset(competition.effects.index[:3]))
    assert np.isnan(few["without_3"])
    assert np.isfinite(few["without_1"])


def test_models_are_compared_on_the_same_rows(competition):
    repeats = repeated_folds(competition.effects.index, 4, 2)
    models = {"mean": Mean(), "constant": Constant(), "zero": Zero()}
    table, runs = compare(models, competition, repeats, reference="zero")
    assert list(table.index) == list(runs) == list(models)
    rows = {tuple(run.truth.index) for repeated in runs.values() for run in repeated}
    assert len(rows) == 2  # one order a repeat, whatever the model
    assert (table.loc["mean", ["score", "low", "high", "sd", "minus_mean"]] == 0).all()
    ends = ["difference", "difference_low", "difference_high"]
    assert (table.loc["zero", ends] == 0).all()
    scores = [[run.score() for run in runs[name]] for name in ("constant", "zero")]
    assert tuple(table.loc["constant", ends[1:]]) == interval(scores[0], than=scores[1])
    single, _ = compare(models, competition, repeats[0], reference=None)
    assert "difference" not in single
    assert single["sd"].isna().all()
    with pytest.raises(InputError, match=r"none of the models: best .* mean, constant"):
        compare(models, competition, repeats, reference="best")


class Nearest(Mean):
    """Repeats the most similar training row."""

    def __init__(self, similarity):
        self.similarity = similarity

    def fit(self, train):
        self.train_ = train.effects
        return self

    def predict(self, perturbations):
        known = self.similarity.loc[perturbations, self.train_.index]
        return self.train_.loc[known.idxmax(axis=1)].set_axis(pd.Index(perturbations))


def planted(competition, copies=2):
    """The competition with pairs of twins: row 2i + 1 repeats row 2i; and their similarity."""
    names = list(competition.effects.index)
    effects = competition.effects.copy()
    effects.iloc[1::copies] = effects.iloc[0::copies].to_numpy()
    pair = np.arange(len(names)) // copies
    similarity = pd.DataFrame((pair[:, None] == pair).astype(float), names, names)
    return replace(competition, effects=effects), similarity


def test_grouped_folds_take_away_what_twins_in_other_folds_give(competition):
    data, similarity = planted(competition)
    models = {"mean": Mean(), "nearest": Nearest(similarity)}
    table, runs = compare_grouped(models, data, similarity, reference="mean", repeats=2)
    assert list(table.index.unique("folds")) == ["random", "grouped"]
    assert table.loc[("random", "nearest"), "difference_low"] > 10
    assert table.loc[("grouped", "nearest"), "difference_high"] < 0
    for run in runs["grouped"]["nearest"]:
        assert (nearest_similarity(run, similarity) == 0).all()
    part, _ = compare_grouped({"mean": Mean()}, data, similarity.iloc[:9, :9], reference="mean")
    assert (part["score"] == 0).all()


def test_the_nearest_training_row_is_one_of_the_own_fold():
    """Folds {a, b} and {c, d}; x is trained on by both."""
    values = {("a", "b"): 0.9, ("a", "c"): 0.2, ("a", "x"): 0.4, ("b", "d"): 0.3, ("c", "d"): 0.8}
    similarity = pd.DataFrame(-0.5, list("abcx"), list("abcdx"))
    for (one, other), value in values.items():
        similarity.loc[one, other] = value
        if other in similarity.index:
            similarity.loc[other, one] = value
    nearest = nearest_similarity(hand_made(), similarity)
    assert nearest.to_dict() == pytest.approx(
        {"a": 0.4, "b": 0.3, "c": 0.2, "d": np.nan}, nan_ok=True
    )
    table = by_nearness(hand_made(), similarity, bins=[0.25])
    assert list(table.index) == ["bin 1", "bin 2", "unknown"]
    assert list(table["rows"]) == [1, 2, 1]
    assert list(table["least"][:2]) == [0.2, 0.3]
    w = hand_made().score().table["w"]
    assert list(table["w_per_row"]) == pytest.approx([w["c"], (w["a"] + w["b"]) / 2, w["d"]])
    assert list(by_nearness(hand_made(), similarity)["rows"]) == [1, 1, 1, 1]
    with pytest.raises(InputError, match="knows none of the held-out rows"):
        by_nearness(hand_made(), similarity * np.nan)


def test_bins_are_equally_full_and_ties_stay_together(competition):
    data, similarity = planted(competition)
    run = out_of_fold(Nearest(similarity), data, folds(data.effects.index, seed=1))
    table = by_nearness(run, similarity)
    assert list(table["most"]) == [0, 1]
    assert table["rows"].sum() == 40
    assert table["score"].iloc[1] > 100 > 0 > table["w_per_row"].iloc[0]
    # Mutual nearest rows tie; those of the planted pairs all would, but for how a machine rounds.
    bins = by_nearness(run, centred_cosine(competition.effects), bins=4)["rows"]
    assert set(bins) <= {9, 10, 11}


def test_a_model_that_fails_is_a_row_with_its_reason_and_the_others_go_on(competition):
    class Broken(Constant):
        def predict(self, perturbations):
            raise RuntimeError("out of luck\nand more")

    models = {"constant": Constant(), "broken": Broken(), "mean": Mean()}
    held_out = folds(competition.effects.index, seed=0)
    with pytest.warns(UserWarning, match="broken failed: RuntimeError: out of luck"):
        table, runs = compare(models, competition, held_out)
    assert list(table.index) == list(models)
    assert table["failed"].to_dict() == {
        "constant": "",
        "broken": "RuntimeError: out of luck",
        "mean": "",
    }
    assert np.isnan(table.at["broken", "score"])
    assert table.at["mean", "score"] == 0
    assert set(runs) == {"constant", "mean"}
    with pytest.warns(UserWarning, match="broken"):
        table, runs = compare(models, competition, held_out, reference="broken")
    assert set(runs) == {"constant", "mean"}
    assert table[["difference", "difference_low", "difference_high"]].isna().all(axis=None)
    with (
        pytest.raises(InputError, match="broken failed: RuntimeError: out of luck"),
        pytest.warns(UserWarning, match="broken"),
    ):
        compare({"broken": Broken()}, competition, held_out, reference=None)


def test_scores_by_group_are_those_of_the_groups_rows(competition):
    held_out = folds(competition.effects.index, seed=0)
    _, runs = compare({"constant": Constant(), "mean": Mean()}, competition, held_out)
    names = competition.effects.index
    groups = pd.Series(["near"] * 10 + ["far"] * (len(names) - 11) + ["one"], names)
    table = by_group(runs, groups)
    assert set(table.index.get_level_values(0)) == {"near", "far"}
    part = runs["constant"][0].subset(names[:10]).score()
    assert table.loc[("near", "constant"), "score"] == pytest.approx(part.score_per_60)
    assert table.loc[("near", "mean"), "score"] == 0
    assert table.loc[("near", "mean"), "gain"] == pytest.approx(-part.score_per_60)
    assert table.loc[("near", "constant"), ["gain", "low", "high"]].tolist() == [0, 0, 0]


def test_what_is_compared_is_saved_as_it_comes(competition, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ESG_OUTPUTS", str(tmp_path))
    run = Run("x", competition, seed=0)

    class Stopped(Constant):
        def fit(self, train):
            raise KeyboardInterrupt

    class Broken(Constant):
        def fit(self, train):
            raise ValueError("no luck")

    models = {"constant": Constant(), "broken": Broken(), "stopped": Stopped()}
    with pytest.raises(KeyboardInterrupt):
        compare(models, competition, folds(competition.effects.index, seed=0), run=run)
    report = json.loads((tmp_path / "x" / "report.json").read_text())
    assert list(report["predictions"]) == ["constant"]
    assert report["failed"] == {"broken": "ValueError: no luck"}
    assert (tmp_path / "x" / "predictions" / "constant.test.csv").is_file()
    assert "broken: failed: ValueError: no luck" in capsys.readouterr().out
    table = board(tmp_path)
    assert list(table["model"]) == ["constant", "broken"]
    assert table["90 % interval"].iloc[1] == "failed: ValueError: no luck"
    assert "no luck" in board_text(tmp_path)
    assert "no luck" in write_page(tmp_path).read_text()


def test_the_seeds_hold_out_stands_beside_the_folds(competition):
    class FromScreens(Constant):
        policy = "screens"

    models = {"constant": Constant(), "screens": OnTargetGene(FromScreens())}
    table, runs = compare(models, competition, folds(competition.effects.index, seed=0))
    both = with_hold_out(table, models, runs, competition, seed=3)
    pd.testing.assert_frame_equal(both[table.columns], table)
    split = hold_out(competition.effects.index, 15, seed=3)  # three eighths of 40
    once = out_of_fold(Constant(), competition, split).score()
    assert both.at["constant", "hold-out of 15"] == once.score_per_60
    ends = ["hold-out low", "hold-out high"]
    assert tuple(both.loc["constant", ends]) == interval(once)
    (column,) = [name for name in both if name.startswith("screens only")]
    assert "40 rows, shipped baseline" in column
    assert both.at["constant", column] == "not applicable"
    known = runs["screens"][0]
    shipped = competition.baseline_wmae[known.truth.index]
    want = replace(known, baseline_wmae=shipped).score().score_per_60
    assert both.at["screens", column].startswith(f"{want:.2f} (")


NAMES = ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: load_competition(5), "path is of type int"),
        (lambda c: load_competition(c), "path is of type Competition"),
        (lambda c: folds(5, NAMES), "perturbations is of type int"),
        (lambda c: folds(c), "perturbations is of type Competition"),
        (lambda c: folds("ABCD", 2), "perturbations is of type str"),
        (lambda c: folds(NAMES, 2.0), "parts is of type float"),
        (lambda c: repeated_folds(NAMES, 2, "3"), "repeats is of type str"),
        (lambda c: hold_out(3, NAMES), "perturbations is of type int"),
        (lambda c: grouped_folds(NAMES, 2), "similarity is of type list"),
        (lambda c: out_of_fold(c, Mean(), [NAMES]), "competition is of type Mean"),
        (lambda c: out_of_fold(Mean, c, [NAMES]), "model is <class"),
        (lambda c: out_of_fold(Mean(), c, 5), "held_out is of type int"),
        (lambda c: out_of_fold(Mean(), c, NAMES), "a part of held_out is of type str"),
        (lambda c: out_of_fold(Mean(), c, []), "held_out has an empty list"),
        (lambda c: compare(c, {"mean": Mean()}, [NAMES]), "models is of type Competition"),
        (lambda c: compare({"mean": Mean()}, c, 5, reference=None), "held_out is of type int"),
        (
            lambda c: compare({"mean": Mean()}, [NAMES], c, reference=None),
            "competition is of type list",
        ),
        (lambda c: compare([Mean()], c, [NAMES]), "models is of type list"),
        (lambda c: write_submission(c, c.effects, "x.csv"), "prediction is of type Competition"),
        (lambda c: write_submission(c.effects, "x.csv", c), "path is of type Competition"),
        (lambda c: check_submission(c, "x.csv"), "competition is of type str"),
        (lambda c: score_submission(c, "x.csv"), "solution|submission is of type Competition"),
        (lambda c: score(1.0, c.effects, c.weights, c.baseline_wmae), "truth is of type float"),
        (
            lambda c: score(c.effects, c.effects, c.baseline_wmae, c.weights),
            "weights is of type Series",
        ),
        (lambda c: score(c.effects, c.effects, c.weights, 1.0), "baseline_wmae is of type float"),
        (
            lambda c: wmae(c.effects.to_numpy(), c.effects.mean(), c.weights),
            "truth is of type ndarray",
        ),
    ],
)
def test_arguments_of_another_kind_or_order_are_one_line(competition, call, message):
    with pytest.raises(InputError, match=message) as fault:
        call(competition)
    assert "want" in str(fault.value)
