"""`make test` runs each test in one of its two processes, and fails where either does."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("failing", ["notebooks", "other", None])
def test_a_failure_in_either_process_is_shown_and_fails(failing, tmp_path):
    (tmp_path / "tests").mkdir()
    for name in ("notebooks", "other"):
        text = f"def test_{name}():\n    assert {failing != name}\n"
        (tmp_path / "tests" / f"test_{name}.py").write_text(text)
    command = [sys.executable, ROOT / "tests" / "side_by_side.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (failing is not None)
    assert done.stdout.count("1 passed in") == (1 if failing else 2)
    assert done.stdout.count("1 failed in") == (1 if failing else 0)
    assert (f"FAILED tests/test_{failing}.py" in done.stdout) == (failing is not None)
