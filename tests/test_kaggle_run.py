"""Every notebook runs laid out as on Kaggle, with the outputs of the earlier ones, and never on a twin
that nobody attached.
"""

import json
import subprocess
import sys
from dataclasses import replace

import nbformat
import pytest
from conftest import ROOT
from kaggle_shaped import ABSENT, LAYOUTS, Kernels, Session, can_isolate
from notebook_outputs import NOTEBOOKS, assert_complete

import kit
from kit.twin import SIZES, simulate

pytestmark = pytest.mark.skipif(
    not can_isolate(), reason="needs unshare with mount and network namespaces"
)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Folder of a twin smaller than the quick one, on which `make demo` runs."""
    fewer = {"genes": 420, "outputs": 200, "train": 24, "val": 12, "test": 12, "others": 40}
    fewer |= {"modules": 6, "regulators": 12, "controls": 160, "cells": (20, 30, 40, 50, 60)}
    fewer |= {"atlas_genes": (300, 400), "atlas_controls": 160}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "quick", replace(SIZES["quick"], **fewer))
        return simulate(tmp_path_factory.mktemp("data") / "twin-quick")


@pytest.fixture(scope="module")
def kernels(twin, tmp_path_factory):
    return Kernels(tmp_path_factory.mktemp("kaggle"), twin)


@pytest.mark.parametrize("notebook", [path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_as_a_kernel(notebook, kernels, twin):
    session = kernels.session(notebook)
    assert str(ROOT / "kit") not in session.shown.read_text()
    report = assert_complete(session.working, twin)
    assert report["budget"] == "quick"
    assert report["data"]["simulated"]
    for name in kernels.sources(notebook):
        read = f"from {name}, seed", f"/esg-{name.replace('_', '-')}"  # members; paths
        assert any(text in session.printed for text in read), name
    if notebook == "08_ensemble":
        assert "Cheap models are fitted here" not in session.printed


def test_the_kit_is_imported_without_what_kaggle_lacks(tmp_path):
    session = Session(tmp_path / "kaggle", "before")
    place = session.attach_kit()
    for name in ABSENT:
        done = session.run("-c", f"import {name}")
        assert done.stderr.endswith(f"ModuleNotFoundError: No module named '{name}'\n")
    path = f"/kaggle/{place.relative_to(session.tree)}"
    done = session.run("-c", f"import sys; sys.path.insert(0, '{path}'); import kit, kit.models")
    assert done.returncode == 0, done.stderr


ASK = """
import glob, json, sys
sys.path.insert(0, next(iter(glob.glob("/kaggle/input/**/esg-kit", recursive=True))))
import kit
from kit.screens.atlas import find_responses
from kit.evaluation.saved_runs import find_outputs
competition = kit.load_competition()
found = [competition.source, find_responses(), *find_outputs(None)]
print(json.dumps([str(path) for path in found]))
"""


@by_layout
def test_inputs_are_found_in_every_layout(layout, kernels, twin, tmp_path):
    session = Session(tmp_path / "kaggle", layout)
    session.attach_kit()
    places = [
        session.attach("competition", twin),
        session.attach("kernel", kernels.session("00_merge").working, "esg-00-merge"),
        session.attach("kernel", kernels.session("02_baseline").working, "esg-02-baseline"),
    ]
    done = session.run("-c", ASK)
    assert done.returncode == 0, done.stderr
    source, merged, baseline = (f"/kaggle/{place.relative_to(session.tree)}" for place in places)
    found = json.loads(done.stdout)
    assert found == [source, f"{merged}/responses.h5ad", merged, baseline]


@by_layout
def test_without_the_competition_a_notebook_says_what_to_attach(layout, twin, tmp_path):
    session = Session(tmp_path / "kaggle", layout)
    place = session.attach_kit()
    (place / "data").mkdir()
    (place / "data" / "twin-quick").symlink_to(twin)  # a whole checkout as dataset
    done = session.run_notebook(ROOT / "notebooks" / "02_baseline.ipynb")
    assert done.returncode == 1
    assert "InputError: no competition data in /kaggle/input/competitions/" in done.stderr
    assert "attach the competition to the notebook (Add Input)" in done.stderr
    assert not (session.working / "report.json").exists()


LOCATE = next(
    cell.source
    for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells
    if cell.cell_type == "code"
)
WORKS = """
import kit, kit.forecast, kit.io.locate
from importlib.resources import files
from multiprocessing import get_context
assert files("kit.report").joinpath("page.html").is_file()
with get_context("spawn").Pool(1) as pool:
    assert pool.apply(kit.io.locate.on_kaggle) == kit.io.locate.on_kaggle()
print(kit.__version__, kit.io.locate.ROOT)
"""


@pytest.mark.parametrize("place", ["kit", ".", "kit/kit", "whole/kit"])
@by_layout
def test_the_kit_is_found_in_its_dataset_at_any_level(layout, place, tmp_path):
    session = Session(tmp_path / "kaggle", layout)
    session.attach_kit(place)
    if place == "whole/kit":  # a checkout as dataset
        (session.dataset / "whole" / "benchmarks").mkdir()
        (session.dataset / "whole" / "benchmarks" / "metric.py").write_text("")
    done = session.run("-c", LOCATE + WORKS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{kit.__version__} .\n"
    assert not list(session.working.iterdir())  # nothing that Kaggle would keep as output


@pytest.mark.parametrize("folder", [".", "notebooks"])
def test_the_kit_of_a_checkout_is_found_from_its_top_and_from_its_notebooks(folder):
    command = [sys.executable, "-c", LOCATE + WORKS]
    done = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True)
    assert done.stdout == f"{kit.__version__} {ROOT}\n", done.stderr


def test_without_the_module_a_notebook_says_what_to_attach(twin, tmp_path):
    session = Session(tmp_path / "kaggle", "now")
    session.attach("competition", twin)
    done = session.run_notebook(ROOT / "notebooks" / "02_baseline.ipynb")
    assert done.returncode == 1
    assert "attach the dataset esg-kit (Add Input)" in done.stderr


def test_without_screens_and_pathways_one_is_told_what_to_attach(twin, tmp_path):
    session = Session(tmp_path / "kaggle", "now", absent=())
    place = session.attach_kit()
    for name in ("kit.screens.atlas import read_responses", "kit.knowledge import load_pathways"):
        call = f"{name.rpartition(' ')[2]}()"
        setting = f"import sys; sys.path.insert(0, '/kaggle/{place.relative_to(session.tree)}')"
        done = session.run("-c", f"{setting}\nfrom {name}\n{call}")
        assert done.returncode == 1
        assert "(Add Input)" in done.stderr.splitlines()[-1]
