"""`make test` fails where either of its two processes does, and shows what both print."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("failing", ["notebooks", "other", None])
def test_a_failure_of_either_process_is_shown_and_fails(failing, tmp_path):
    (tmp_path / "tests").mkdir()
    for name in ("notebooks", "kaggle_run", "other"):
        text = f"def test_{name}():\n    assert {failing != name}, 'no {name}'\n"
        (tmp_path / "tests" / f"test_{name}.py").write_text(text)
    command = [sys.executable, ROOT / "tests" / "side_by_side.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (failing is not None)
    assert (f"no {failing}" in done.stdout) == (failing is not None)
    passed = {"notebooks": "1 failed, 1 passed", "other": "2 passed", None: "2 passed"}[failing]
    assert passed in done.stdout
    assert ("1 failed in" if failing == "other" else "1 passed in") in done.stdout.replace(
        "1 failed, 1 passed in", ""
    )
