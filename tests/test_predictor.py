"""`python -m kit predict`: from a folder to a checked submission, with whatever knowledge there is."""

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from small_competition import write_small, write_solution
from small_planted import planted

from kit import load_competition
from kit.models import Constant, OwnGene
from kit.predictor import forecast

QUIET = "ignore:.*:UserWarning"


def predict(*words):
    command = [sys.executable, "-m", "kit", "predict", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_submission_of_the_twin_is_written_checked_and_explained(twin, tmp_path):
    done = predict("--data", twin, "--out", tmp_path / "way out" / "submission.csv")
    assert done.returncode == 0, done.stderr
    for said in ("pathways: Pathways(", "atlas: none", "blend: scenarios", "90 % interval"):
        assert said in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "way out" / "submission.csv")
    words = ["check", tmp_path / "way out" / "submission.csv", "--data", twin]
    check = subprocess.run([sys.executable, "-m", "kit", *map(str, words)], cwd=ROOT)
    assert check.returncode == 0


def test_knowledge_that_is_named_but_missing_is_one_line_and_nothing_is_written(twin, tmp_path):
    for words in (("--pathways", tmp_path / "none.gmt"), ("--atlas", tmp_path / "none.h5ad")):
        done = predict("--data", twin, *words, "--out", tmp_path / "submission.csv")
        assert done.returncode == 1
        assert "none" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings(QUIET)
def test_without_any_knowledge_every_target_gets_the_constant(tmp_path):
    competition = load_competition(write_small(tmp_path / "small"))
    found = forecast(competition)
    targets = list(competition.targets["perturbation"])
    constant = OwnGene(Constant()).fit(competition).predict(targets)
    pd.testing.assert_frame_equal(found.prediction, constant, check_names=False)
    assert any("nothing is known" in remark for remark in found.remarks)


@pytest.mark.filterwarnings(QUIET)
def test_a_released_row_trains_the_others_and_never_itself(tmp_path):
    folder = write_small(tmp_path / "small")
    (folder / "sets.gmt").write_text("all\t\tSTAT1\tC4orf36.1\tLRPPRC\tKRAS\tTFAM\tAARS1\n")
    from kit.pathways import load_pathways

    pathways = load_pathways(folder / "sets.gmt", download=False)
    found = {}
    for size in (1.0, 40.0):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "copy")
        write_solution(tmp_path / "copy")
        path = tmp_path / "copy" / "solution_val.csv"
        table = pd.read_csv(path, index_col=0)
        genes = [name for name in table if f"w_{name}" in table]
        table[genes] *= size
        table.to_csv(path)
        competition = load_competition(tmp_path / "copy")
        found[size] = forecast(competition, pathways=pathways).prediction
    released, others = ["STAT1", "C4orf36.1"], ["LRPPRC", "SSBP1"]
    pd.testing.assert_frame_equal(found[1.0].loc[released], found[40.0].loc[released])
    assert not np.allclose(found[1.0].loc[others], found[40.0].loc[others])


def test_the_same_seed_gives_the_same_prediction(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=20)
    one, other = (forecast(competition, pathways=pathways, seed=3).prediction for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_the_estimate_is_of_rows_that_no_fit_has_seen(tmp_path):
    competition, pathways = planted(tmp_path, rows=48, genes=40)
    found = forecast(competition, pathways=pathways)
    assert set(found.inner.prediction.index) == set(competition.effects.index)
    assert found.inner.score().score_per_60 > 20  # the planted pathways are found
    shuffled, wrong = planted(tmp_path, rows=48, genes=40, shuffle=True)
    assert forecast(shuffled, pathways=wrong).inner.score().score_per_60 < 5
