"""The command line as a user's shell sees it: exit codes, one clear line, no traceback."""

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT

from kit import load_competition, write_submission
from kit.__main__ import main, parser
from kit.io import locate
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
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    assert told.endswith("run `make env` and .venv/bin/python")


COMMANDS = ("twin", "merge", "predict", "explain", "next", "check", "score", "board")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_sentence_an_example_that_parses_and_every_default(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    example = text.splitlines()[-1]
    assert text.splitlines()[-2] == "example:"
    prog, words = example.strip().split(f" {command} ")
    assert prog == "python -m kit"
    assert parser().parse_args([command, *words.split()]).command == command
    assert re.search(r"\n\n[A-Z][^\n]+\.\n\n", text)
    (commands,) = [x for x in parser()._actions if getattr(x, "choices", None)]
    shown = " ".join(text.split())
    for action in commands.choices[command]._actions:
        words = shown[shown.rindex(" ".join((action.help or "").split()[:4])) :]
        optional = not action.required and action.nargs != 0 and "deprecated" not in words[:20]
        assert not optional or "(default: " in words, action.dest


def test_the_first_lines_name_the_competition_and_what_was_found(twin, tmp_path):
    command = [sys.executable, "-m", "kit", "predict", "--data", twin, "--out", tmp_path / "a.csv"]
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    (place,) = [
        i for i, line in enumerate(lines) if line.startswith("competition: twin-quick, 40 ")
    ]
    pathways = [i for i, line in enumerate(lines) if line.startswith("pathways: ")]
    fits = [i for i, line in enumerate(lines) if re.match(r"inner folds: \d of 5 took \d+ s", line)]
    assert place < pathways[0] < fits[0] < len(lines) - 1
    assert lines[-1] == str(tmp_path / "a.csv")
    assert all(map(str.isprintable, lines))


WRITERS = ["predict --out", "merge --out", "twin", "predict --out x.csv --uncertainty"]


@pytest.mark.parametrize("words", WRITERS)
def test_a_mistyped_path_to_write_is_refused_before_the_work(
    words, twin, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ESG_DATA", str(twin))
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "no such/fol der/x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"mkdir -p '{tmp_path}/no such/fol der'")
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_to_write_in(twin, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ESG_DATA", str(twin))
    (tmp_path / "a.csv").write_text("words\n")
    assert main(["predict", "--out", str(tmp_path / "a.csv" / "b.csv")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'a.csv'} is a file" in line


def test_suggested_commands_quote_paths(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locate, "ROOT", tmp_path / "my project")
    monkeypatch.delenv("ESG_DATA", raising=False)
    assert main(["check", "submission.csv"]) == 1
    assert f"python -m kit twin '{tmp_path}/my project/data/" in capsys.readouterr().err


def test_a_file_saved_with_its_index_is_named_as_such(submission, twin, tmp_path, capsys):
    table = pd.read_csv(submission)
    table.to_csv(tmp_path / "numbered.csv")
    table.set_index("pert_id").rename_axis(None).to_csv(tmp_path / "unnamed.csv")
    for name, remedy in {"numbered": "drop it", "unnamed": "call it pert_id"}.items():
        assert main(["check", str(tmp_path / f"{name}.csv"), "--data", str(twin)]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert "column 1 has no name" in line
        assert line.endswith(remedy) or f"{remedy} (" in line
