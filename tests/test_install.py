"""The kit installed by pip: its files, its command `kit`, its folder of data, what it depends on."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

import kit

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSIONS = {one.name: one.version for one in importlib.metadata.distributions()}
# Modules that are called otherwise than their package, or that come with it.
NAMES = {"sklearn": "scikit-learn", "threadpoolctl": "scikit-learn"}
OPTIONAL = {"hdf5plugin"}  # of use where it happens to be installed


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder into which `pip install .` put the kit, from a copy of the project, without network."""
    (build,) = map(Requirement, PROJECT["build-system"]["requires"])
    if build.name not in VERSIONS or VERSIONS[build.name] not in build.specifier:
        pytest.skip(f"needs {build}")
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kit", source / "kit", ignore=ignore)
    shutil.copytree(ROOT / "notebooks", source / "notebooks", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", place]
    done = subprocess.run([sys.executable, "-m", "pip", *words, source], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return place


def run(installed, folder, *words):
    """Run Python in `folder` with the installed kit, and none of the variables that name data."""
    settings = {name: text for name, text in os.environ.items() if not name.startswith("ESG_")}
    settings["PYTHONPATH"] = str(installed)
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


def test_all_files_of_the_kit_are_installed_and_nothing_else(installed):
    def files(folder):
        return {path.relative_to(folder) for path in (folder / "kit").rglob("*.*")}

    def own(folder):
        return {path for path in files(folder) if "__pycache__" not in path.parts}

    assert own(installed) == own(ROOT)
    assert not (installed / "notebooks").exists()


def test_the_command_names_itself_as_it_was_called_and_has_a_version(installed, tmp_path):
    console = (installed / "bin" / "kit",)
    for words, name in ((console, "kit"), (("-m", "kit"), "python -m kit")):
        shown = run(installed, tmp_path, *words, "--version")
        assert shown.stdout == f"kit {kit.__version__}\n", shown.stderr
        assert run(installed, tmp_path, *words, "--help").stdout.startswith(f"usage: {name} ")
        shown = run(installed, tmp_path, *words, "predict", "--help")
        assert shown.stdout.startswith(f"usage: {name} predict ")


def test_an_installed_kit_has_its_data_in_the_current_folder(installed, twin, tmp_path):
    command = (installed / "bin" / "kit", "check")
    done = run(installed, tmp_path, *command, twin / "sample_submission.csv")
    assert done.returncode == 1
    assert "no competition data in data/echoes-of-silenced-genes" in done.stderr
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "twin-quick").symlink_to(twin)
    done = run(installed, tmp_path, *command, twin / "sample_submission.csv")
    assert done.returncode == 0, done.stderr
    shown = run(installed, tmp_path, "-c", "from kit.io import locate; print(locate.home())")
    assert shown.stdout == "data\n"


def test_a_checkout_has_its_data_beside_the_kit_wherever_it_is_called(tmp_path):
    shown = run(ROOT, tmp_path, "-c", "from kit.io import locate; print(locate.home())")
    assert shown.stdout == f"{ROOT / 'data'}\n"


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-kaggle.txt"])
def test_what_the_kit_imports_is_declared_and_agrees_with_the_requirements(file):
    project = PROJECT["project"]
    core = {one.name: one for one in map(Requirement, project["dependencies"])}
    extra = map(Requirement, project["optional-dependencies"]["networks"])
    declared = core | {one.name: one for one in extra}
    imported = set()
    for path in (ROOT / "kit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - OPTIONAL - {"kit"}
    assert {NAMES.get(name, name) for name in foreign} == set(declared)
    pins = re.findall(r"^([\w-]+)==([^\s;]+)", (ROOT / file).read_text(), re.M)
    assert set(declared) <= {name for name, _ in pins}
    for name, version in pins:
        assert name not in declared or declared[name].specifier.contains(version), name
