"""A run's folder, budget and report, and the board made of reports."""

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

from kit import (
    InputError,
    Run,
    compare,
    folds,
    interval,
    load_competition,
    out_of_fold,
    repeated_folds,
)
from kit.evaluation import choose
from kit.evaluation.expected import ceiling
from kit.models import Constant, Mean
from kit.report.board import board, board_text
from kit.submission import score_submission

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def competition(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        return load_competition(twin)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(tmp_path))
    monkeypatch.delenv("ESG_BUDGET", raising=False)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    return tmp_path


def finished(competition, name="02_baseline", seed=4):
    run = Run(name, competition, seed=seed)
    held_out = folds(competition.effects.index, seed=seed)
    results = {
        n: out_of_fold(m, competition, held_out)
        for n, m in {"mean": Mean(), "best": Constant()}.items()
    }
    for label, result in results.items():
        run.record(label, result)
    halves = ceiling(competition)
    assert run.record_ceiling(None) is None
    score, low, high = run.record_ceiling(halves)
    assert low < score == halves.score().score_per_60 < high
    test = Constant().fit(competition).predict(competition.targets["perturbation"])
    run.record("best", results["best"], test)
    submission = run.write_submission(test)
    return run, results, run.finish(submission, "best")


def test_a_run_writes_all_that_others_read(competition, outputs):
    run, results, report = finished(competition)
    assert run.folder == outputs / "02_baseline"
    assert {p.name for p in run.folder.iterdir()} == {
        "predictions",
        "submission.csv",
        "report.json",
    }
    assert json.loads((run.folder / "report.json").read_text()) == report
    oof = pd.read_csv(
        run.folder / "predictions" / "best.oof.csv",
        index_col="perturbation",
        float_precision="round_trip",
    )
    np.testing.assert_array_equal(oof.to_numpy(), results["best"].prediction.to_numpy())
    test = pd.read_csv(run.folder / "predictions" / "best.test.csv", index_col="perturbation")
    assert list(test.index) == list(competition.targets["perturbation"])

    assert (report["seed"], report["budget"], report["data"]["hash"]) == (
        4,
        "quick",
        competition.data_hash,
    )
    assert report["submission"] == {"file": "submission.csv", "model": "best", "estimate": None}
    assert report["peak_memory_mb"] > 50
    for gate in (0.2, 0.3):
        want, got = results["best"].score(gate), report["models"]["best"]["gates"][str(gate)]
        assert (got["score"], got["w"], got["wcos"]) == (want.score, want.w, want.wcos)
        assert got["interval_per_60"][0] < got["score_per_60"] < got["interval_per_60"][1]
        assert report["ceiling"][str(gate)]["rows"] == len(competition.effects)


def test_a_submission_is_reported_with_the_score_of_choosing_its_model(
    competition, outputs, capsys
):
    run = Run("02_baseline", competition)
    held_out = folds(competition.effects.index)
    _, runs = compare({"mean": Mean(), "constant": Constant()}, competition, held_out, run=run)
    _, chosen = choose(runs)
    submission = run.submit("constant", chosen)
    want = chosen[0].score()
    report = json.loads((run.folder / "report.json").read_text())["submission"]
    assert (report["file"], report["model"]) == (submission.name, "constant")
    assert report["estimate"]["score_per_60"] == want.score_per_60
    assert report["estimate"]["interval_per_60"] == list(interval(want))
    table = pd.read_csv(submission, index_col="pert_id")
    row = Constant().fit(competition).effect_
    np.testing.assert_allclose(table.loc[:, row.index].iloc[0], row, rtol=1e-9)
    line = f"{want.score_per_60:.3f} for 60 perturbations, from {want.rows} rows"
    assert line in capsys.readouterr().out


def test_the_same_seed_gives_the_same_scores(competition, outputs):
    first, second = (finished(competition, name)[2] for name in ("a", "b"))
    for name in first["models"]:
        assert first["models"][name]["gates"] == second["models"][name]["gates"]
    assert first["ceiling"] == second["ceiling"]


def test_the_budget_is_quick_on_simulated_data_unless_told(competition, outputs, monkeypatch):
    assert Run("x", competition).budget == "quick"
    monkeypatch.setenv("ESG_BUDGET", "full")
    assert Run("x", competition).budget == "full"
    assert Run("x", competition, budget="quick").budget == "quick"
    monkeypatch.setenv("ESG_BUDGET", "endless")
    with pytest.raises(InputError, match="budget is `endless`, want one of quick, full"):
        Run("x", competition)


def test_on_kaggle_the_working_folder_is_the_output(competition, outputs, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert str(Run("x", competition).folder) == "/kaggle/working"


def test_figures_of_simulated_data_are_marked(competition, outputs):
    from matplotlib.figure import Figure

    run, figure = Run("x", competition), Figure()
    run.save_figure(figure, "empty")
    assert [text.get_text() for text in figure.texts] == ["simulated data"]
    assert (run.folder / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_the_board_lists_models_best_first_with_floor_ceiling_and_submissions(competition, outputs):
    _, results, _ = finished(competition)
    finished(competition, "03_other", seed=5)
    table = board(outputs)
    assert len(table) == 4
    assert table["score/60"].is_monotonic_decreasing
    row = table[(table["notebook"] == "02_baseline") & (table["model"] == "best")].iloc[0]
    want = results["best"].score()
    assert row["score/60"] == want.score_per_60
    assert row["W/60"] * row["Wcos"] == pytest.approx(want.score_per_60)
    text = board_text(outputs)
    assert str(outputs / "02_baseline" / "submission.csv") in text
    assert "Noise ceiling" in text
    assert "Simulated data" in text


def test_a_model_that_two_notebooks_score_alike_has_one_row(competition, outputs):
    finished(competition)
    alone = board(outputs)
    finished(competition, "03_other")
    together = board(outputs)
    assert list(together["notebook"]) == ["02_baseline", "02_baseline"]
    pd.testing.assert_frame_equal(together, alone)


def test_repeats_are_recorded_by_their_mean(competition, outputs):
    run = Run("x", competition)
    splits = repeated_folds(competition.effects.index, 4, 2)
    table, runs = compare({"constant": Constant()}, competition, splits)
    run.record("constant", runs["constant"])
    run.record("first", runs["constant"][0])
    run.record("first in a list", runs["constant"][:1])
    assert run.models["first"] == run.models["first in a list"]
    want, got = table.loc["constant"], run.models["constant"]["gates"]["0.2"]
    assert got["interval_per_60"] == [want["low"], want["high"]]
    names = ["w_per_60", "wcos", "minus_mean", "without_1", "without_3", "without_5"]
    assert [got[name] for name in names] == list(want[names])
    assert got["score_per_60"] == want["score"]
    scores = [one.score() for one in runs["constant"]]
    assert got["score"] == np.mean([score.score for score in scores])
    assert got["w"] == np.mean([score.w for score in scores])
    assert run.models["constant"]["rows"] == len(competition.effects)
    assert run.models["constant"]["seconds"] == pytest.approx(want["seconds"], abs=1e-3)


def test_a_score_without_any_row_is_none_in_the_report(competition, outputs):
    run = Run("x", competition)
    few = competition.subset(competition.effects.index[:4])
    run.record("mean", out_of_fold(Mean(), few, folds(few.effects.index, 2)))
    numbers = run.models["mean"]["gates"]["0.2"]
    assert numbers["without_5"] is None
    assert numbers["without_3"] == 0.0
    text = (run.finish() and run.folder / "report.json").read_text()
    assert "NaN" not in text


def test_released_truth_scores_a_submission_beside_the_mean(competition, outputs):
    run = Run("02_baseline", competition, seed=0)
    targets = list(competition.targets["perturbation"])
    constant = Constant().fit(competition).predict(targets)
    submission = run.write_submission(constant)
    lines = run.released(submission)
    assert [line.partition(":")[0] for line in lines] == 2 * ["released truth", "  mean baseline"]
    for place, gate in ((0, 0.2), (2, 0.3)):
        ours = score_submission(submission, competition.solution, gate=gate)[0]
        assert lines[place] == f"released truth: {ours}"
        assert lines[place] != lines[place + 1]
    assert Run("x", replace(competition, solution=None)).released(submission) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"models": {}}', "\x00\x01"])
def test_a_broken_report_is_named(content, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "report.json").write_text(content)
    with pytest.raises(
        InputError, match=r"a/report.json (is not a report of a run|cannot be read)"
    ):
        board(tmp_path)


def test_no_reports_at_all_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="run the notebooks first"):
        board(tmp_path)
