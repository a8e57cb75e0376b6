"""Run all tests in two processes, for two cores: those of the notebooks, and the others.

    python tests/side_by_side.py

The others print as they go, the notebooks' when both have ended. The exit code is 0 if both passed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest"]
# Half of the time: they run all notebooks, on real data and as Kaggle's kernels.
NOTEBOOKS = ["tests/test_kaggle_run.py", "tests/test_notebooks.py"]


def main() -> int:
    """Run both from the top of the project; return the first exit code that is not 0, or 0."""
    files = [name for name in NOTEBOOKS if Path(name).exists()]
    print(f"{' and '.join(files)} run meanwhile and are shown at the end", flush=True)
    with tempfile.TemporaryFile() as shown:
        command = [*PYTEST, *files]
        with subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT) as notebooks:
            others = [f"--ignore={name}" for name in files]
            code = subprocess.run([*PYTEST, *others]).returncode
        shown.seek(0)
        print(shown.read().decode(errors="replace"), end="")
    return code or notebooks.returncode


if __name__ == "__main__":
    sys.exit(main())
