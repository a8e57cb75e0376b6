"""The command line as a user's shell sees it: exit codes, one clear line, no traceback."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT

from kit import load_competition, write_submission
from kit.__main__ import main
from kit.models import Constant


def kit(*words, **settings):
    command = [sys.executable, "-m", "kit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **settings)


@pytest.fixture(scope="module")
def submission(twin, tmp_path_factory):
    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    prediction = Constant().fit(competition).predict(competition.targets["perturbation"])
    return write_submission(
        prediction, competition, tmp_path_factory.mktemp("way out") / "submission.csv"
    )


def test_a_good_submission_passes_the_check(submission, twin):
    done = kit("check", submission, "--data", twin)
    assert done.returncode == 0, done.stderr
    assert "valid" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_bad_submission_fails_with_one_line(submission, twin, tmp_path):
    lines = submission.read_text().splitlines()
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join(lines[:-1]) + "\n")
    done = kit("check", bad, "--data", twin)
    assert done.returncode == 1
    assert lines[-1].split(",")[0] in done.stderr
    assert [line for line in done.stderr.splitlines() if "error: " in line] == [
        done.stderr.splitlines()[-1]
    ]
    assert "Traceback" not in done.stderr


def test_score_prints_the_parts_as_json_and_names_rows_left_out(submission, twin):
    solution = twin / "solution_val.csv"
    done = kit("score", submission, "--solution", solution, "--json")
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert set(got) == {"score", "w", "wcos", "rows", "score_per_60"}
    assert got["rows"] == len(pd.read_csv(solution))
    assert got["score"] == pytest.approx(got["w"] * max(0, got["wcos"]))
    assert got["score_per_60"] == pytest.approx(60 / got["rows"] * got["score"])
    assert "left out" in done.stderr
    other = kit("score", submission, "--solution", solution, "--json", "--gate", "0.3")
    assert json.loads(other.stdout)["w"] == got["w"]
    assert json.loads(other.stdout)["wcos"] != got["wcos"]


def test_missing_files_and_wrong_words_have_their_exit_codes(submission, twin, tmp_path):
    for words in (
        ("check", tmp_path / "none.csv", "--data", twin),
        ("check", submission, "--data", tmp_path / "nowhere"),
        ("score", submission, "--solution", tmp_path / "none.csv"),
        ("score", submission, "--solution", twin / "solution_val.csv", "--gate", "0"),
        ("board", tmp_path),
    ):
        done = kit(*words)
        assert done.returncode == 1, words
        assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        assert "Traceback" not in done.stderr
    for words in ((), ("fly",), ("score", submission), ("twin", tmp_path, "--size", "huge")):
        assert kit(*words).returncode == 2, words


def test_importing_the_kit_is_light():
    code = (
        "import sys, kit; heavy = {'torch', 'lightgbm', 'anndata', 'scanpy', 'numba', 'sklearn', "
        "'scipy.stats', 'matplotlib', 'h5py'} & set(sys.modules); assert not heavy, heavy; "
        "assert callable(kit.knowledge.gather); assert not hasattr(kit, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_missing_is_told_with_the_step(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kit.twin", None)  # as where it is not installed
    assert main(["twin", "some folder"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.endswith("run `make env` and .venv/bin/python\n")
