"""Benchmarks that compare models: results are kept, what is killed goes on, and the table is right."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from small_competition import write_small, write_solution
from small_planted import atlas_of

import kit
from benchmarks import compare, growth, verdict
from kit.evaluation import blend, summary
from kit.evaluation.saved_runs import mean_run
from kit.models import Constant, OnTargetGene

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.filterwarnings("ignore")]
SETS = "one\t\tKRAS\tTFAM\tSTAT1\ntwo\t\tAARS1\tMED12\tBRD4\nthree\t\tw_ODD\tLRPPRC\tKRAS\n"
NAMES = ["constant", "default forecast", "vae, competition"]


class Scaled:
    """The mean training effect times a factor; None fails."""

    def __init__(self, factor):
        self.factor = factor

    def fit(self, train):
        self.effect = train.effects.mean() * self.factor
        return self

    def predict(self, perturbations):
        return pd.DataFrame([self.effect] * len(perturbations), list(perturbations))


@pytest.fixture
def folder(tmp_path):
    write_solution(write_small(tmp_path / "small"))
    (tmp_path / "small" / "sets.gmt").write_text(SETS)
    (tmp_path / "small" / "hgnc_complete_set.txt").write_text("symbol\tprev_symbol\nKRAS\t\n")
    return tmp_path / "small"


@pytest.fixture
def cheap(monkeypatch):
    """Three models instead of all; returns those that stand for networks, to be changed."""
    simple = {"constant": OnTargetGene(Constant()), "default forecast": Scaled(0.6)}
    networks = {"vae, competition": Scaled(0.3)}
    monkeypatch.setattr(verdict, "simple_models", lambda *_: simple)
    monkeypatch.setattr(verdict, "networks", lambda *_, **options: networks)
    return networks


def run(*words):
    """Run the verdict; its text is read from capsys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["verdict", *map(str, words)])
        verdict.main()


def cells(text):
    """The table's rows, a list of cells by model."""
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| small")]
    return {one[1].strip(): [cell.strip() for cell in one[2:]] for one in rows}


def shown(*values):
    return "{:.1f} ({:.1f} to {:.1f})".format(*(round(value, 1) + 0.0 for value in values))


def kill_at(number):
    """Kill this process at its n-th written file, before the file has its name."""
    replace, calls = os.replace, iter(range(1, number))

    def replaced(*paths):
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = replaced


def killed(number, *words):
    """Exit code of the verdict in a process of its own that is killed at its n-th file."""

    def work():
        kill_at(number)
        with open(os.devnull, "w") as sys.stdout:
            run(*words)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    return process.exitcode


def test_killed_at_any_file_it_does_only_the_rest_and_prints_the_same_table(
    folder, cheap, tmp_path, monkeypatch, capsys
):
    run(folder, "--out", tmp_path / "whole")
    whole, fits, out_of_fold = cells(capsys.readouterr().out), [], kit.out_of_fold
    monkeypatch.setattr(kit, "out_of_fold", lambda *parts: fits.append(1) or out_of_fold(*parts))
    for number in (1, 2, 4, 7, 9, 15):  # the note, two parts of three models and of four blends
        out = tmp_path / f"killed {number}"
        assert killed(number, folder, "--out", out) == -signal.SIGKILL
        kept = {path: path.stat().st_mtime_ns for path in out.glob("small/*.npz")}
        assert len(kept) == max(0, number - 2)
        models = [path for path in kept if not path.name.startswith(("blend", "predict"))]
        fits.clear()
        run(folder, "--out", out)
        assert len(fits) == 6 - len(models)
        assert all(path.stat().st_mtime_ns == kept[path] for path in models)
        assert cells(capsys.readouterr().out) == whole
    assert killed(16, folder, "--out", tmp_path / "not killed") == 0


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(folder, tmp_path):
    (folder / "solution_val.csv").unlink()

    def words(out):
        return folder, "--out", tmp_path / out, "--quick", "--only", "constant", "gnn"

    def kept(out):
        return {
            path.name: np.load(path)["prediction"] for path in tmp_path.glob(f"{out}/small/*.npz")
        }

    run(*words("whole"))
    code = "import sys; sys.path.insert(0, 'tests'); import test_verdict as test; "
    code += "test.kill_at(6); test.verdict.main()"  # after the note, the constant and some training
    command = [sys.executable, "-c", code, *map(str, words("killed"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(kept("killed")) == ["constant.out-of-fold.npz"]
    states = list((tmp_path / "killed" / "small" / "checkpoints").glob("*.pt"))
    assert states
    run(*words("killed"))
    whole, again = kept("whole"), kept("killed")
    assert (
        whole.keys()
        == again.keys()
        == {f"{name}.out-of-fold.npz" for name in ("constant", "gnn-competition")}
    )
    for name, prediction in whole.items():
        np.testing.assert_array_equal(again[name], prediction)


def test_the_table_holds_the_scores_of_the_kit_and_paired_gains(folder, cheap, tmp_path, capsys):
    run(folder, "--out", tmp_path / "out")
    table = cells(capsys.readouterr().out)
    competition = kit.load_competition(folder)
    known, held_out = competition.with_released(), kit.folds(competition.effects.index, seed=[0, 0])
    models = dict(zip(NAMES, [OnTargetGene(Constant()), Scaled(0.6), Scaled(0.3)], strict=True))
    runs = {name: kit.out_of_fold(model, competition, held_out) for name, model in models.items()}
    new = {
        name: kit.out_of_fold(model, known, [["STAT1", "C4orf36.1"]])
        for name, model in models.items()
    }
    rival = max(NAMES[:2], key=lambda name: runs[name].score().score)
    score, gain = ["score", "low", "high"], ["difference", "difference_low", "difference_high"]
    for name in NAMES:
        expected = []
        for each in (runs, new):
            found = summary(each[name], than=each[rival])
            expected += [shown(*found[score]), shown(*found[gain]) if name != rival else ""]
        assert table[name][:4] == expected
    runs["mean"] = mean_run(competition, runs["constant"].fold).out_of_fold
    simple = {name: run for name, run in runs.items() if not name.startswith("vae")}
    nested = [blend(each).nested["best"] for each in (simple, runs)]
    before, after = (summary(one, than=nested[0]) for one in nested)
    assert table["blend, simple models"][:2] == [shown(*before[score]), ""]
    assert table["blend, with networks"][:2] == [shown(*after[score]), shown(*after[gain])]
    assert len(table) == 7


def test_missing_and_failed_cells_are_named_and_tried_again(folder, cheap, tmp_path, capsys):
    run(folder, "--out", tmp_path / "out", "--only", "constant")
    text = capsys.readouterr().out
    table = cells(text)
    assert set(table) == {*NAMES, *verdict.BLENDS}
    assert [table[name][0] == table[name][2] == "missing" for name in NAMES] == [False, True, True]
    assert "missing: default forecast; vae, competition; blend, " in text
    good, cheap["vae, competition"] = cheap["vae, competition"], Scaled(np.inf)
    run("--out", tmp_path / "out", "--only", "vae")
    assert cells(capsys.readouterr().out)["vae, competition"][0] == "failed"
    cheap["vae, competition"] = Scaled(None)
    run("--out", tmp_path / "out")
    text = capsys.readouterr().out
    assert cells(text)["vae, competition"][0] == "failed"
    assert "TypeError" in text
    assert cells(text)["blend, simple models"][0] != "missing"
    assert cells(text)["blend, with networks"][0] == "missing"
    cheap["vae, competition"] = good
    run("--out", tmp_path / "out", "--table")
    assert cells(capsys.readouterr().out)["vae, competition"][0] == "failed"
    run("--out", tmp_path / "out", "--only", "vae", "blend")
    text = capsys.readouterr().out
    assert "failed" not in text
    assert re.findall("missing: (.*)", text) == ["predict --minutes, with networks"]


def test_a_blend_of_earlier_predictions_is_made_again(folder, cheap, tmp_path, capsys):
    run(folder, "--out", tmp_path / "out")
    before = cells(capsys.readouterr().out)
    cheap["vae, competition"] = Scaled(-2)
    for path in tmp_path.glob("out/small/vae-*.npz"):
        path.unlink()
    (tmp_path / "out" / "small" / "constant.released.npz").unlink()
    run("--out", tmp_path / "out", "--table")
    assert "constant (released)" in capsys.readouterr().out
    run("--out", tmp_path / "out", "--only", "constant")
    capsys.readouterr()
    run("--out", tmp_path / "out", "--only", "vae")
    between = cells(capsys.readouterr().out)
    run("--out", tmp_path / "out")
    after = cells(capsys.readouterr().out)
    name = "blend, with networks"
    assert between[name][0] == "missing"
    assert before[name][0] != after[name][0] != "missing"
    assert before["blend, simple models"] == after["blend, simple models"]


def test_without_released_truth_there_is_no_such_part(folder, cheap, tmp_path, capsys):
    (folder / "solution_val.csv").unlink()
    run(folder, "--out", tmp_path / "out")
    text = capsys.readouterr().out
    assert "missing" not in text
    assert all(cell == "" for row in cells(text).values() for cell in row[2:4])


def test_results_of_other_data_are_not_mixed(folder, cheap, tmp_path, capsys):
    run(folder, "--out", tmp_path / "out")
    (folder / "sets.gmt").write_text(SETS + "four\t\tSTAT1\tSSBP1\n")
    for words in ((folder, "--out", tmp_path / "out"), ("--out", tmp_path / "out", "--table")):
        with pytest.raises(SystemExit, match="--out"):
            run(*words)
    for words in (
        ("--out", tmp_path / "empty"),
        (folder, "--out", tmp_path / "o", "--only", "gan"),
    ):
        with pytest.raises(SystemExit, match="error: "):
            run(*words)


def test_each_network_stands_under_the_policies_for_which_there_is_knowledge():
    names = list(compare.networks(kit.knowledge.Knowledge()))
    assert names == ["vae, competition", "transformer, competition", "gnn, competition"]
    knowledge = kit.knowledge.Knowledge(atlas=atlas_of(np.eye(2), ["KRAS", "TFAM"]))
    found = compare.networks(knowledge, seed=3)
    assert tuple(found) == compare.NETWORKS
    assert {name: f"{name.split(',')[0]}, {one.base.policy}" for name, one in found.items()} == {
        name: name for name in compare.NETWORKS
    }
    assert {one.base.seed for one in found.values()} == {3}
    assert found["vae, screens"].base.cache is found["vae, pretrain"].base.cache


def test_a_comparison_that_stands_in_its_file_is_not_made_again(
    folder, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "results.csv"
    words = ["compare", folder, "--released", "--only", "constant", "transfer", "--out", out]
    monkeypatch.setattr(sys, "argv", [*map(str, words)])
    compare.main()
    first, text = out.read_bytes(), capsys.readouterr()
    assert list(pd.read_csv(out)["model"]) == ["constant"]
    assert "transfer" in text.err
    compare.main()
    assert out.read_bytes() == first
    assert capsys.readouterr().out == text.out


def test_growth_times_a_model_on_halves(twin):
    args = SimpleNamespace(folder=twin, atlas=None, pathways=None)
    found = growth.growth("ridge", args)
    assert set(found) == {"whole", "genes", "perturbations", "size"}
    assert growth.growth("no such model", args) is None
