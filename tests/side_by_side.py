"""Run all tests in two processes, for two cores: those that run notebooks, and the others.

    python tests/side_by_side.py

The others print as they go, the notebooks' when both have ended. The exit code is 0 if both passed.
"""

import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]
NOTEBOOKS = ["tests/test_notebooks.py", "tests/test_kaggle_run.py"]
OTHERS = [f"--ignore={path}" for path in NOTEBOOKS]


def main() -> int:
    """Run both from the top of the project; return the first exit code that is not 0, or 0."""
    print("meanwhile, shown at the end:", *NOTEBOOKS, flush=True)
    with tempfile.TemporaryFile() as shown:
        command = [*PYTEST, *NOTEBOOKS]
        with subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT) as notebooks:
            code = subprocess.run([*PYTEST, *OTHERS]).returncode
        shown.seek(0)
        print(shown.read().decode(errors="replace"), end="")
    return code or notebooks.returncode


if __name__ == "__main__":
    sys.exit(main())
