"""`make test` and `make test-kaggle` run tests in two processes, and fail where either does."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT
from side_by_side import CONTRACT, KERNELS, NOTEBOOKS

COUNTS = {"all": {4, 6}, "kaggle": {7, 1}}  # tests of the files below in each process
KERNEL_TESTS = """import pytest
@pytest.mark.parametrize("notebook", ["00_merge", "04_neighbours_transfer", "06_transformer"])
def test_a_notebook_runs_as_a_kernel(notebook):
    pass
"""


@pytest.mark.parametrize(
    ("suite", "failing"),
    [
        ("all", "tests/test_notebooks.py"),
        ("all", None),
        ("kaggle", "tests/test_network.py"),
        ("kaggle", None),
    ],
)
def test_a_failure_in_either_process_is_shown_and_fails(suite, failing, tmp_path):
    texts = dict.fromkeys([*CONTRACT, *NOTEBOOKS, "tests/test_other.py"], "")
    texts |= {"kit/networks.py": "", "tests/test_network.py": "import kit.networks\n"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        test = f"def test_one():\n    assert {name != failing}\n"
        (tmp_path / name).write_text(text + test)
    (tmp_path / "tests" / "test_kaggle_run.py").write_text(KERNEL_TESTS)
    command = [sys.executable, ROOT / "tests" / "side_by_side.py", suite]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (failing is not None)
    passed = [int(count) for count in re.findall(r"(\d+) passed", done.stdout)]
    assert sum(passed) == sum(COUNTS[suite]) - (failing is not None)
    assert failing or set(passed) == COUNTS[suite]
    assert done.stdout.count("1 failed") == (failing is not None)
    assert not failing or f"FAILED {failing}" in done.stdout


def test_what_runs_on_kaggles_versions_is_there():
    for name in {*CONTRACT, *NOTEBOOKS, *(kernel.partition("::")[0] for kernel in KERNELS)}:
        assert (ROOT / name).is_file(), name
    for kernel in KERNELS:
        assert (ROOT / "notebooks" / f"{kernel.partition('[')[2][:-1]}.ipynb").is_file(), kernel
