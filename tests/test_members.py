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
from kit.evaluation.saved_runs import find_outputs, out_of_fold_runs, read_members
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
    run.record(label, found)
    test = model.fit(competition).predict(list(competition.targets["perturbation"]))
    run.finish(run.save_predictions(found, test), label)


def members(competition, outputs):
    return read_members(competition, find_outputs(outputs))


def test_members_are_read_back_and_the_mean_is_one_of_them(competition, outputs):
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    assert refused == {}
    runs = out_of_fold_runs(competition, found)
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
    table = pd.read_csv(folder / "oof.csv", index_col=0)
    if how == "edited":
        (table + 1).to_csv(folder / "oof.csv")
    elif how == "lost":
        (folder / "test.csv").unlink()
    elif how == "no report":
        (folder / "report.json").write_text("{")
    elif how == "old report":
        del report["predictions"]
        (folder / "report.json").write_text(json.dumps(report))
    elif how == "odd report":
        report["predictions"]["fold"] = {"KRAS": "first"}
        (folder / "report.json").write_text(json.dumps(report))
    elif how == "other data":
        report["data"]["hash"] = "0" * 64
        (folder / "report.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("edited", "oof.csv is not the file its report tells of"),
        ("lost", "test.csv is missing"),
        ("no report", "report.json cannot be read as JSON"),
        ("old report", "report.json tells of no predictions"),
        ("odd report", "report.json is not a report of a run: `predictions.fold.KRAS` is"),
        ("other data", "was made from other data (hash 000000000000, want"),
    ],
)
def test_a_spoilt_member_is_refused_with_its_reason(competition, outputs, how, reason):
    spoil(outputs, how)
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "mean"]
    (text,) = refused.values()
    assert reason in text
    assert "03_other" in text
    assert "run " in text or how == "no report"


def test_a_member_of_other_folds_is_refused(competition, outputs, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    finished(competition, "04_third", OnTargetGene(Constant()), seed=5)
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    (text,) = refused.values()
    assert "other rows were left out together (seed 5)" in text


def test_a_notebook_that_submitted_the_mean_adds_nothing_and_is_named(
    competition, outputs, monkeypatch
):
    monkeypatch.setenv("ESG_OUTPUTS", str(outputs))
    finished(competition, "04_third", Mean())
    found, refused = members(competition, outputs)
    assert list(found) == ["constant", "zero", "mean"]
    assert refused == {
        outputs / "04_third": f"{outputs / '04_third'} found nothing better than the mean, "
        "which is a member anyway"
    }


def test_rows_that_are_missing_are_named(competition, outputs):
    known = competition.with_released()  # released rows are training rows now
    new = known.effects.index.difference(competition.effects.index)[0]
    with pytest.raises(InputError, match=f"oof.csv: no row of .*{new}"):
        members(known, outputs)


def test_two_notebooks_with_the_same_model_keep_their_names_apart(competition, outputs):
    shutil.copytree(outputs / "02_one", outputs / "05_again")
    path = outputs / "05_again" / "report.json"
    path.write_text(path.read_text().replace("02_one", "05_again"))
    found, _ = members(competition, outputs)
    assert list(found) == ["constant", "zero", "constant (05_again)", "mean"]


def test_with_nothing_to_blend_the_reasons_are_given(competition, outputs, tmp_path):
    with pytest.raises(InputError, match="nothing to blend: no folder holds a report"):
        read_members(competition, find_outputs(tmp_path / "empty"))
    shutil.rmtree(outputs / "02_one")
    spoil(outputs, "lost")
    with pytest.raises(InputError, match=r"nothing to blend: .*test\.csv is missing"):
        members(competition, outputs)
