"""Run all tests in two processes, for two cores: those of the notebooks, and the others.

    python tests/side_by_side.py

The others print as they go, the notebooks' when both have ended. The exit code is 0 if both passed.
"""

import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]
NOTEBOOKS = "tests/test_notebooks.py"  # half of the time: they run on real data


def main() -> int:
    """Run both from the top of the project; return the first exit code that is not 0, or 0."""
    print(f"{NOTEBOOKS} runs meanwhile and is shown at the end", flush=True)
    with tempfile.TemporaryFile() as shown:
        command = [*PYTEST, NOTEBOOKS]
        with subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT) as notebooks:
            code = subprocess.run([*PYTEST, f"--ignore={NOTEBOOKS}"]).returncode
        shown.seek(0)
        print(shown.read().decode(errors="replace"), end="")
    return code or notebooks.returncode


if __name__ == "__main__":
    sys.exit(main())
