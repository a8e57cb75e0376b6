"""Members of a blend are read only if they are what their reports tell of, and of the data at hand."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from kit import (
    InputError,
    Run,
    folds,
    load_competition,
    out_of_fold,
)
from kit.evaluation.comparison import compare
from kit.evaluation.saved_runs import find_outputs, read_saved_runs
from kit.io.files import content_hash
from kit.models import Constant, Mean, OnTargetGene, Zero


@pytest.fixture(scope="module")
def competition(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        return load_competition(twin)


@pytest.fixture(scope="module")
def made(competition, tmp_path_factory):
    """Outputs of three notebooks: two members in the same folds, and one without a submission."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESG_OUTPUTS", str(outputs))
        for name, model in {"02_one": Constant(), "03_other": Zero()}.items():
            finished(competition, name, model)
        Run("01_eda", competition).finish()
    return outputs


@pytest.fixture
def outputs(made, tmp_path):
    return shutil.copytree(made, tmp_path / "outputs")


def finished(competition, name, model, seed=0):
    run = Run(name, competition, seed=seed)
    found = out_of_fold(model, competition, folds(competition.effects.index, seed=seed))
    label = type(model).__name__.lower()
    test = model.fit(competition).predict(list(competition.targets["perturbation"]))
    run.record(label, found, test)
    run.finish(run.write_submission(test), label)


def members(competition, outputs):
    return read_saved_runs(competition, find_outputs(outputs))


def test_members_are_read_back_and_the_mean_is_one_of_them(competition, outputs):
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    assert refused == []
    runs = {name: one.out_of_fold for name, one in found.items()}
    held_out = folds(competition.effects.index, seed=0)
    for name, model in {"constant": Constant(), "mean": Mean()}.items():
        again = out_of_fold(model, competition, held_out)
        assert runs[name].score().score == pytest.approx(again.score().score, abs=1e-9)
        pd.testing.assert_frame_equal(
            runs[name].prediction.loc[again.prediction.index], again.prediction, check_names=False
        )
        assert runs[name].score_minus_mean().score == pytest.approx(again.score_minus_mean().score)
    targets = list(competition.targets["perturbation"])
    expected = Constant().fit(competition).predict(targets)
    np.testing.assert_allclose(found["constant"].test, expected)
    assert list(found["mean"].test.index) == targets


def spoil(outputs, how):
    folder = outputs / "03_other"
    report = json.loads((folder / "report.json").read_text())
    unseen = folder / "predictions" / "zero.oof.csv"
    if how == "edited":
        (pd.read_csv(unseen, index_col=0) + 1).to_csv(unseen)
    elif how == "lost":
        (folder / "predictions" / "zero.test.csv").unlink()
    elif how == "no report":
        (folder / "report.json").write_text("{")
    elif how == "odd report":
        report["predictions"]["zero"]["fold"] = {"KRAS": 0}
        (folder / "report.json").write_text(json.dumps(report))
    elif how == "other data":
        report["data"]["hash"] = "0" * 64
        (folder / "report.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("edited", "zero.oof.csv is not the file of its report"),
        ("lost", "zero.test.csv does not exist"),
        ("no report", "report.json cannot be read as JSON"),
        ("odd report", "no fold of"),
        ("other data", "was made from other data (hash 000000000000, want"),
    ],
)
def test_a_spoilt_member_is_refused_with_its_reason(competition, outputs, how, reason):
    spoil(outputs, how)
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "mean"]
    (text,) = refused
    assert reason in text
    assert "03_other" in text
    assert "run " in text or how == "no report"


def test_a_member_of_other_folds_is_refused(competition, outputs, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    finished(competition, "04_third", OnTargetGene(Constant()), seed=5)
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    (text,) = refused
    assert "seed 5" in text


def test_a_notebook_that_scored_the_mean_alone_adds_nothing(competition, outputs, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    finished(competition, "04_third", Mean())
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    assert refused == []


def test_every_model_of_a_notebook_is_a_member(competition, outputs, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    run = Run("04_third", competition, seed=0)
    held_out = folds(competition.effects.index, seed=0)
    models = {"Zero, again!": Zero(), "on-target": OnTargetGene(Constant()), "mean": Mean()}
    compare(models, competition, held_out, reference="mean", run=run)
    assert set(run.tests) == set(models)
    run.finish()
    names = {path.name for path in (run.folder / "predictions").iterdir()}
    assert {"zero-again.oof.csv", "zero-again.test.csv", "on-target.test.csv"} < names
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "Zero, again!", "on-target", "mean"]
    assert refused == []


def test_a_run_of_one_saved_model_in_the_old_layout_is_read(competition, outputs):
    folder = outputs / "03_other"
    report = json.loads((folder / "report.json").read_text())
    kept = report["predictions"]["zero"]
    hashes = {}
    for kind in ("oof", "test"):
        (folder / "predictions" / f"zero.{kind}.csv").rename(folder / f"{kind}.csv")
        hashes[f"{kind}.csv"] = content_hash([folder / f"{kind}.csv"])
    report["predictions"] = {"files": hashes, "fold": kept["fold"]}
    (folder / "report.json").write_text(json.dumps(report))
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    assert refused == []


def test_two_models_whose_files_would_be_named_the_same_are_refused(
    competition, outputs, monkeypatch
):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    run = Run("04_third", competition, seed=0)
    found = out_of_fold(Zero(), competition, folds(competition.effects.index, seed=0))
    test = Zero().fit(competition).predict(list(competition.targets["perturbation"]))
    run.record("a, b", found, test)
    with pytest.raises(InputError, match="a b"):
        run.record("a b", found, test)


def test_a_model_that_fails_on_all_rows_is_kept_with_its_reason(competition, outputs, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))

    class Broken(Zero):
        def fit(self, train):
            if len(train.effects) == len(competition.effects):
                raise ValueError("no luck")
            return super().fit(train)

    run = Run("04_third", competition, seed=0)
    held_out = folds(competition.effects.index, seed=0)
    models = {"broken": Broken(), "zero": Zero()}
    table, runs = compare(models, competition, held_out, reference=None, run=run)
    assert list(run.tests) == list(runs) == ["zero"]
    assert table.at["broken", "failed"] == "ValueError: no luck"
    assert run.finish()["failed"] == {"broken": "ValueError: no luck"}


def test_rows_that_are_missing_are_named(competition, outputs):
    known = competition.with_released()  # released rows are training rows now
    new = known.effects.index.difference(competition.effects.index, sort=False)[0]
    with pytest.raises(InputError, match=f"report.json .*no fold of .*{new}"):
        members(known, outputs)


def test_two_notebooks_with_other_models_of_one_name_keep_them_apart(
    competition, outputs, monkeypatch
):
    class Constant(Zero):
        pass

    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    finished(competition, "05_again", Constant())
    found, _ = members(competition, outputs)
    assert list(found) == ["constant", "zero", "constant (05_again)", "mean"]


def test_with_nothing_to_blend_the_reasons_are_given(competition, outputs, tmp_path):
    with pytest.raises(InputError, match="nothing to blend: no folder holds a report"):
        read_saved_runs(competition, find_outputs(tmp_path / "empty"))
    shutil.rmtree(outputs / "02_one")
    spoil(outputs, "lost")
    with pytest.raises(InputError, match=r"nothing to blend: .*test\.csv does not exist"):
        members(competition, outputs)
