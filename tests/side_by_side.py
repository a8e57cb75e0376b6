"""Run tests in two processes, for two cores.

    python tests/side_by_side.py [kaggle]

Without `kaggle` all tests: those of the notebooks in one process, the others in the other. With it those
for Kaggle's versions: model contract, merge, submission and three notebooks as kernels, and beside them
every file that imports from `kit.networks`.

The second process prints as it goes, the first when both have ended. The exit code is 0 if both passed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest", "-rfEs"]
# Half of the time: they run all notebooks, on real data and as Kaggle's kernels.
NOTEBOOKS = ["tests/test_kaggle_run.py", "tests/test_notebooks.py"]
CONTRACT = [
    "tests/test_model_contract.py",
    "tests/test_merge.py",
    "tests/test_merged.py",
    "tests/test_submission.py",
]
KERNELS = [
    f"tests/test_kaggle_run.py::test_a_notebook_runs_as_a_kernel[{name}]"
    for name in ("00_merge", "04_neighbours_transfer", "06_transformer")
]


def halves(suite: str) -> tuple[list[str], list[str]]:
    """What pytest runs in the first and in the second process: of `all` tests or of `kaggle`."""
    if suite == "all":
        return NOTEBOOKS, [f"--ignore={name}" for name in NOTEBOOKS]
    networks = {
        path.as_posix()
        for path in Path("tests").glob("test_*.py")
        if re.search(r"^(from|import) kit\.networks", path.read_text(encoding="utf-8"), re.M)
    }
    return [*CONTRACT, *KERNELS], sorted(networks.difference(CONTRACT))


def main(suite: str) -> int:
    """Run both from the top of the project; return the first exit code that is not 0, or 0."""
    first, second = halves(suite)
    print(f"shown at the end: {' '.join(first)}", flush=True)
    with tempfile.TemporaryFile() as shown:
        with subprocess.Popen([*PYTEST, *first], stdout=shown, stderr=subprocess.STDOUT) as beside:
            code = subprocess.run([*PYTEST, *second]).returncode
        shown.seek(0)
        print(shown.read().decode(errors="replace"), end="")
    return code or beside.returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", nargs="?", default="all", choices=["all", "kaggle"])
    sys.exit(main(parser.parse_args().suite))
