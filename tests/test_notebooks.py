"""Every notebook: committed clean, and runs on real data; `test_kaggle_run` runs them on the twin."""

import os
import re
import shutil
import subprocess
import sys

import anndata
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from notebook_outputs import NOTEBOOKS, assert_complete
from small_competition import host_table

RUNNER = ROOT / "notebooks" / "execute.py"
KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"  # as a machine out of memory does
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def execute(path, folder, data):
    """Run a notebook as a person would in Jupyter; returns the folder of its outputs."""
    environment = os.environ | {"ESG_DATA": str(data), "ESG_OUTPUTS": str(folder)}
    environment.pop("ESG_BUDGET", None)
    files = [path for path in data.parent.glob("pathways/*.g*") if "yeast" not in path.name]
    if files := sorted(files):  # .gmt and .gz, of the real folders
        environment["ESG_PATHWAYS"] = os.pathsep.join(map(str, files))
    if (data / "atlas.h5ad").exists():
        environment["ESG_ATLAS"] = str(data / "atlas.h5ad")
    command = [sys.executable, RUNNER, path, folder / f"{path.stem}.ipynb"]
    done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / path.stem


@by_name
def test_a_notebook_is_committed_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert len(path.read_text()) < 900_000
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            most = 30 if "torch.nn.Module" in cell.source else 15  # a network to change
            assert len(cell.source.splitlines()) <= most


@by_name
def test_a_notebook_begins_with_its_number_and_has_short_paragraphs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert re.match(rf"# {path.stem[:2]} \w+", cells[0].source)
    for cell in cells:
        if cell.cell_type == "markdown":
            for paragraph in re.split(r"\n\n|\n(?=- |\|)", cell.source):
                assert len(paragraph) <= 600, paragraph
                assert len(paragraph.splitlines()) <= 6, paragraph


def test_notebooks_import_from_doors_only():
    doors = {"kit"}
    for path in ROOT.glob("kit/*/__init__.py"):
        doors.add(f"kit.{path.parent.name}")
    found = set()
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                found |= set(re.findall(r"^\s*(?:from|import) (kit[\w.]*)", cell.source, re.M))
    assert found <= doors | {"kit.decision"}, found - doors
    assert len(found) <= 10


@by_name
def test_a_notebook_installs_anndata_alone_and_pinned(path):
    lines = [line for line in path.read_text().splitlines() if "%pip" in line]
    assert len(lines) <= 1
    for name in ("requirements.txt", "requirements-kaggle.txt"):
        wanted = re.search(r"^anndata==\S+$", (ROOT / name).read_text(), re.M)[0]
        assert all(f"%pip install -q {wanted}" in line for line in lines), wanted


def test_the_first_code_cell_is_the_same_in_all_notebooks():
    first = set()
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        first.add(next(cell.source for cell in cells if cell.cell_type == "code"))
    assert len(first) == 1


def test_a_notebook_that_fails_keeps_what_ran_and_says_why_in_one_line(tmp_path):
    cells = [nbformat.v4.new_code_cell(text) for text in ("print('ran')", "1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    command = [sys.executable, RUNNER, "bad.ipynb", "shown/bad.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: bad.ipynb: ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr
    shown = (tmp_path / "shown" / "bad.html").read_text()
    assert "ran" in shown
    assert "ZeroDivisionError" in shown


def test_a_notebook_whose_kernel_is_killed_ends_with_one_line(tmp_path):
    cells = [nbformat.v4.new_code_cell(text) for text in ("print('ran')", KILL)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "big.ipynb")
    command = [sys.executable, RUNNER, "big.ipynb", "big.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "error: big.ipynb: its kernel was killed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "ran" in (tmp_path / "big.html").read_text()


def real_runs():
    """Each notebook on a real folder; 00 and 01 where they show less without cells or screens."""
    folders = ["thp1", "k562", "rpe1"]  # with cells; the tables alone; with other screens
    more = {"00": folders, "01": folders[:2]}
    for number, path in enumerate(NOTEBOOKS):
        for name in more.get(path.stem[:2], [folders[number % 3]]):
            yield pytest.param(path, name, id=f"{path.stem}-{name}")


@pytest.mark.parametrize(("path", "name"), list(real_runs()))
def test_a_notebook_runs_on_real_data(path, name, shared, tmp_path):
    data = shared("real", name)
    report = assert_complete(execute(path, tmp_path, data), data)
    assert not report["data"]["simulated"]


def test_trees_run_where_no_pathway_has_training_members_enough(twin, tmp_path):
    data = tmp_path / "data" / "twin"
    shutil.copytree(twin, data, ignore=shutil.ignore_patterns("*.h5ad", "*.gmt"))
    genes = pd.read_csv(data / "pert_ids_all.csv")["pert"][:3]
    (tmp_path / "data" / "pathways").mkdir()
    (tmp_path / "data" / "pathways" / "few.gmt").write_text(
        "\t".join(["few", "one", *genes]) + "\n"
    )
    (path,) = (path for path in NOTEBOOKS if path.stem == "03_ridge_lightgbm")
    report = assert_complete(execute(path, tmp_path / "outputs", data), data)
    assert {"component trees", "gene trees"} <= set(report["models"])


def write_dense(folder, rows=19, targets=8, genes=40):
    """A folder of few rows with large effects on genes other than the perturbed ones, in four modules.

    The atlas holds the opposite effects of all perturbations, as inductions beside deletions.
    """
    folder.mkdir(parents=True)
    random, symbols = np.random.default_rng(0), [f"G{i}" for i in range(genes)]
    names, module = [f"P{i}" for i in range(rows + targets)], np.arange(rows + targets) % 4
    shared = random.normal(0, 1.5, (4, genes))[module]
    effects = pd.DataFrame(shared + random.normal(0, 0.3, shared.shape), names, symbols)
    known, asked = effects[:rows], names[rows:]
    table = host_table(known, random, mean=known.mean())
    table.rename_axis("pert_id").to_csv(folder / "training_data_ground_truth_table.csv")
    control = pd.DataFrame(8.0, ["non-targeting"], symbols)
    means = pd.concat([known + 8.0, control]).rename_axis("pert_symbol")
    means.to_csv(folder / "training_data_means.csv")
    ids = [f"pert_{i}" for i in range(1, targets + 1)]
    split = ["val"] * (targets // 2) + ["test"] * (targets - targets // 2)
    asked = pd.DataFrame({"pert": asked, "class": split, "pert_id": ids})
    asked.to_csv(folder / "pert_ids_all.csv", index=False)
    asked[asked["class"] == "val"].to_csv(folder / "pert_ids_val.csv", index=False)
    sample = pd.DataFrame([known.mean()] * targets, pd.Index(ids, name="pert_id"))
    sample.to_csv(folder / "sample_submission.csv")
    sets = [[f"module {one}", "", *(np.array(names)[module == one])] for one in range(4)]
    (folder / "modules.gmt").write_text("".join("\t".join(line) + "\n" for line in sets))
    obs = pd.DataFrame({"sgrna_symbol": names, "dataset": "inductions", "n_cells": 100.0}, names)
    values = -effects.to_numpy() + random.normal(0, 0.3, effects.shape)
    atlas = anndata.AnnData(values, obs, pd.DataFrame(index=symbols))
    atlas.write_h5ad(folder / "responses.h5ad")
    return folder


@pytest.mark.parametrize("number", ["01", "02", "04"])
def test_a_notebook_runs_on_dense_rows_without_on_target_genes(number, tmp_path):
    data = write_dense(tmp_path / "dense")
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith(number))
    models = assert_complete(execute(path, tmp_path / "outputs", data), data)["models"]
    if number == "02":
        assert set(models) == {"mean", "zero", "constant"}  # no on-target effect to set
    if number == "04":
        score = {name: model["gates"]["0.2"]["score"] for name, model in models.items()}
        assert score["screen response"] <= 0  # the opposite effects, as they are
        assert score["transfer"] > max(score["constant"], 0)
