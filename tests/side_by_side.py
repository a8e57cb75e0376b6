"""All tests in two processes, for two cores: those that run notebooks, and the others.

    python tests/side_by_side.py [OPTIONS OF PYTEST]

The others print as they go, the notebooks' when both are done. The exit code is 0 if both passed.
"""

import subprocess
import sys
import tempfile

NOTEBOOKS = ["tests/test_notebooks.py", "tests/test_kaggle_run.py"]


def main(options: list[str]) -> int:
    """Run both; return the first exit code that is not 0, or 0."""
    pytest = [sys.executable, "-m", "pytest", *options]
    others = [f"--ignore={path}" for path in NOTEBOOKS]
    with tempfile.TemporaryFile() as shown:
        with subprocess.Popen([*pytest, *NOTEBOOKS], stdout=shown, stderr=subprocess.STDOUT) as side:
            print(f"beside these, shown at the end: {' '.join(NOTEBOOKS)}", flush=True)
            code = subprocess.run([*pytest, *others]).returncode
        shown.seek(0)
        print(shown.read().decode(errors="replace"), end="", flush=True)
    return code or side.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
