"""The notebooks, and what the outputs of a run must hold."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
from conftest import ROOT

from kit.evaluation.saved_runs import saved_files

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def assert_complete(folder, data, command=(sys.executable, "-m", "kit")):
    """The outputs of a run hold what others rely on."""
    report = json.loads((folder / "report.json").read_text())
    assert report["versions"]["numpy"]
    assert len(report["data"]["hash"]) == 64
    titles = [figure["title"] for figure in report["figures"]]
    assert 0 < len(titles) == len(set(titles))
    if not report["models"]:
        return report
    assert report["models"]["mean"]["gates"]["0.2"]["score"] == 0
    for model in report["models"].values():
        for gate in ("0.2", "0.3"):
            low, high = model["gates"][gate]["interval_per_60"]
            assert low <= model["gates"][gate]["score_per_60"] <= high
    truth = pd.read_csv(data / "training_data_ground_truth_table.csv", index_col=0)
    targets = pd.read_csv(data / "pert_ids_all.csv")["pert"]
    assert not report["failed"]
    for name in report["models"]:
        for path, rows in zip(saved_files(name), (truth.index, targets), strict=True):
            table = pd.read_csv(folder / path, index_col="perturbation")
            assert set(table.index) == set(rows)
            assert np.isfinite(table.to_numpy()).all()
            assert path in report["predictions"][name]["files"]
    check = subprocess.run(
        [*command, "check", folder / "submission.csv", "--data", data],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr
    return report
