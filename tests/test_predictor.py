"""`python -m kit predict`: from a folder to a checked submission, with whatever knowledge there is."""

import shlex
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from small_competition import write_small, write_solution
from small_planted import planted

from kit import InputError, OutOfFold, folds, load_competition, out_of_fold
from kit.__main__ import main
from kit.evaluation import expected_score, expected_spread
from kit.forecast import forecast, predict_targets
from kit.forecast import predict as predict_module
from kit.forecast.predict import networks
from kit.knowledge import Knowledge, gather, load_pathways
from kit.models import Blend, Constant, Mean, OnTargetGene, blend
from kit.networks.trained import Trained

QUIET = "ignore:.*:UserWarning"


def predict(*words):
    command = [sys.executable, "-m", "kit", "predict", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_submission_of_the_twin_is_written_checked_and_explained(twin, tmp_path):
    done = predict("--data", twin, "--out", tmp_path / "way out" / "submission.csv")
    assert done.returncode == 0, done.stderr
    for said in ("pathways: ", "atlas: none", "blend: scenarios", "90 % interval"):
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
def test_knowledge_that_a_variable_names_is_not_quietly_done_without(tmp_path, monkeypatch):
    competition = load_competition(write_small(tmp_path / "small"))
    monkeypatch.setenv("ESG_PATHWAYS", str(tmp_path / "none.gmt"))
    with pytest.raises(InputError, match=r"none\.gmt does not exist"):
        gather(competition)


@pytest.mark.filterwarnings(QUIET)
def test_without_any_knowledge_every_target_gets_the_constant(tmp_path):
    competition = load_competition(write_small(tmp_path / "small"))
    found = forecast(competition)
    targets = list(competition.targets["perturbation"])
    constant = OnTargetGene(Constant()).fit(competition).predict(targets)
    pd.testing.assert_frame_equal(found.prediction, constant, check_names=False)
    assert any("without any knowledge" in remark for remark in found.remarks)
    assert any("equals the constant" in remark for remark in found.remarks)


@pytest.mark.filterwarnings(QUIET)
def test_a_forecast_below_a_baseline_is_said_and_the_command_writes_that(tmp_path):
    folder = write_small(tmp_path / "small {}")
    competition = load_competition(folder)
    effects = competition.effects
    fold = pd.Series(np.arange(len(effects)) % 2, effects.index)
    targets = competition.targets["perturbation"]
    prediction = pd.DataFrame(9.0, list(targets), effects.columns)
    for factor, below in ((9, True), (1, False)):  # effects too large by far, and the truth itself
        inner = OutOfFold.from_predictions(competition, factor * effects, fold)
        assert (inner.score().score_per_60 < 0) == below
        lines = predict_module._on_baselines(inner, prediction, competition)
        assert len(lines) == below
        assert not below or shlex.quote(str(folder)) in lines[0]  # not some other data
    for name, model in predict_module.baselines().items():
        path = tmp_path / f"{name}.csv"
        assert main(["predict", "--baseline", name, "--data", f"{folder}", "--out", f"{path}"]) == 0
        want = model.fit(competition).predict(targets)
        written = pd.read_csv(path, index_col="pert_id")[want.columns]
        np.testing.assert_allclose(written, want, atol=1e-6)


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("name", ["mean", "constant"])
def test_a_baseline_of_few_rows_is_written_with_the_estimate_that_they_allow(tmp_path, rows, name):
    competition = load_competition(write_small(tmp_path / "small"))
    few = competition.subset(competition.effects.index[:rows])
    found = predict_module.baseline_forecast(few, name)
    assert len(found.prediction) == 4
    assert (found.inner is None) == (rows < 2)
    if rows < 2:
        assert "estimate: none" in found.remarks[-1]
    else:
        assert found.inner.fold.nunique() == rows


@pytest.mark.filterwarnings(QUIET)
def test_a_released_row_trains_the_others_and_never_itself(tmp_path):
    folder = write_small(tmp_path / "small")
    (folder / "sets.gmt").write_text("all\t\tSTAT1\tC4orf36.1\tLRPPRC\tKRAS\tTFAM\tAARS1\n")
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
        found[size] = forecast(competition, Knowledge(pathways)).prediction
    released, others = ["STAT1", "C4orf36.1"], ["LRPPRC", "SSBP1"]
    pd.testing.assert_frame_equal(found[1.0].loc[released], found[40.0].loc[released])
    assert not np.allclose(found[1.0].loc[others], found[40.0].loc[others])


def test_the_same_seed_gives_the_same_prediction(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=20)
    one, other = (forecast(competition, Knowledge(pathways), seed=3).prediction for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_the_estimate_is_of_rows_that_no_fit_has_seen(tmp_path):
    competition, pathways = planted(tmp_path, rows=48, genes=40)
    found = forecast(competition, Knowledge(pathways))
    assert set(found.inner.prediction.index) == set(competition.effects.index)
    assert found.inner.score().score_per_60 > 20  # the planted pathways are found
    fewer, more = found.curve
    assert (fewer.training_rows, more) == (24, found.inner)
    expected, w, wcos = expected_score(found.inner, found.curve)
    of_half, of_more = (f"{run.score().score_per_60:.2f} from" for run in found.curve)
    (line,) = [line for line in found.remarks if "by this curve" in line]
    assert f"{of_half} 24 of them, {of_more} 38" in line
    assert line.endswith(f"{expected:.2f} for 60 rows (W {w:.2f}, Wcos {wcos:.3f})")
    drawn = expected_spread(found.inner, rows=1, curve=found.curve)["score"].mean()
    assert any(f"for all 1 targets: {drawn:.2f} for 60 rows" in line for line in found.remarks)
    shuffled, wrong = planted(tmp_path, rows=48, genes=40, shuffle=True)
    assert forecast(shuffled, Knowledge(wrong)).inner.score().score_per_60 < 5


def test_the_learning_curve_uses_no_choice_made_on_its_held_out_rows(tmp_path, monkeypatch):
    competition, pathways = planted(tmp_path, rows=48, genes=40)
    monkeypatch.setattr(blend, "_chosen", lambda table, default: (0.8, 0.0))
    found = forecast(competition, Knowledge(pathways))
    assert any("scenarios 0.80" in remark for remark in found.remarks)
    default = Blend(Knowledge(pathways), recipe=(blend.default_share(competition), 0.0))
    halves = folds(competition.effects.index, 2)
    blind = out_of_fold(OnTargetGene(default), competition, halves).prediction
    pd.testing.assert_frame_equal(found.curve[0].prediction, blind)


def test_few_rows_have_no_learning_curve(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=20)
    found = forecast(competition, Knowledge(pathways))
    assert found.curve is None
    said = "18 training rows, out of fold, each predicted from 14"
    assert any(said in remark for remark in found.remarks)


class Noisy(Constant):
    """Truth with noise, as if known from elsewhere."""

    def __init__(self, truth, noise):
        super().__init__()
        self.truth = truth + np.random.default_rng(0).normal(0, noise, truth.shape)

    def predict(self, perturbations):
        found = super().predict(perturbations)
        found.update(self.truth)
        return found


@pytest.fixture
def only(monkeypatch):
    """Makes these the only models that `forecast` tries beside its default blend."""

    def replace(models):
        monkeypatch.setattr(predict_module, "cheap_models", lambda *_, **__: dict(models))
        monkeypatch.setattr(predict_module, "networks", lambda *_, **__: {})

    return replace


def test_with_minutes_a_better_model_is_blended_in_and_named(tmp_path, only):
    competition, pathways = planted(tmp_path, rows=48, genes=20, noise=0.2)
    only({"good": Noisy(competition.effects, 0.05), "useless": Noisy(competition.effects, 3)})
    alone = forecast(competition, Knowledge(pathways))
    found = forecast(competition, Knowledge(pathways), minutes=5)
    assert found.inner.score().score_per_60 > alone.inner.score().score_per_60 + 20
    said = "\n".join(found.remarks)
    assert "also fitted: good (" in said
    assert "taken: good" in said
    assert "useless 0" not in said
    assert list(found.prediction.index) == list(competition.targets["perturbation"])


def test_with_minutes_what_gains_nothing_leaves_the_default(tmp_path, only):
    competition, pathways = planted(tmp_path, rows=40, genes=20)
    only({"useless": Noisy(competition.effects, 3)})
    alone = forecast(competition, Knowledge(pathways))
    found = forecast(competition, Knowledge(pathways), minutes=5)
    pd.testing.assert_frame_equal(found.prediction, alone.prediction)
    np.testing.assert_allclose(found.inner.score().score, alone.inner.score().score)
    assert any("taken: the default blend" in remark for remark in found.remarks)


def test_with_few_rows_nothing_is_chosen(tmp_path, only):
    competition, pathways = planted(tmp_path, rows=15, genes=20, noise=0.2)
    only({"good": Noisy(competition.effects, 0.02)})
    found = forecast(competition, Knowledge(pathways), minutes=5)
    assert any("nothing is chosen" in remark for remark in found.remarks)
    alone = forecast(competition, Knowledge(pathways))
    pd.testing.assert_frame_equal(found.prediction, alone.prediction)


def test_time_that_is_over_after_the_default_leaves_the_rest_out_by_name(tmp_path, only):
    competition, pathways = planted(tmp_path, rows=24, genes=20)
    only({"good": Noisy(competition.effects, 0.05)})
    found = forecast(competition, Knowledge(pathways), minutes=1e-6)
    assert "left out for time: good, no time is left" in found.remarks
    assert any("taken: the default blend" in remark for remark in found.remarks)


def test_a_released_target_is_predicted_by_a_fit_without_released_rows(tmp_path):
    folder = write_small(tmp_path / "small")
    write_solution(folder)
    competition = load_competition(folder)
    released = list(competition.targets["perturbation"].loc[competition.solution.index])
    found = predict_targets(Mean(), competition)
    others = found.index.difference(released)
    for names, train in ((released, competition), (others, competition.with_released())):
        mean = train.effects.mean()
        np.testing.assert_allclose(found.loc[names], np.tile(mean, (len(names), 1)))
    assert len(others)


def test_the_networks_stand_behind_the_same_door(tmp_path):
    _, pathways = planted(tmp_path, rows=24, genes=12)
    found = networks(Knowledge(pathways), seed=1)
    assert set(found) == {"gnn", "transformer", "vae"}
    for model in found.values():
        assert isinstance(model.base, Trained)
        assert model.base.knowledge.pathways is pathways
        assert model.base.seed == 1


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "many"])
def test_minutes_are_a_number_above_zero(twin, tmp_path, minutes):
    out = tmp_path / "submission.csv"
    done = predict("--data", twin, f"--minutes={minutes}", "--out", out)
    assert done.returncode == 2
    assert "--minutes" in done.stderr
    assert not out.exists()
