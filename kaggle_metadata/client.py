"""Call the official `kaggle` command; a call succeeds only where the command prints that it did.

The command exits with 0 also where the server refused or left something out. So each call names the words
that mean success; whatever else is printed is the fault.
"""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from kit.io.files import InputError

LEFT_OUT = re.compile(r"not valid (?!tags).*sources.*", re.IGNORECASE)
BUSY = re.compile(r"maximum batch .*session count", re.IGNORECASE)
LOGIN = re.compile(r"authentication required|unauthori[sz]ed|\b401\b", re.IGNORECASE)
REFUSED = re.compile(r"\b403\b|forbidden", re.IGNORECASE)
MISSING = re.compile(r"not found|\b40[34]\b|forbidden|permission .*denied", re.IGNORECASE)
DONE, FAILED = {"COMPLETE"}, {"ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED"}
SECONDS = 600  # that one call may take: an upload on a slow line
# Cells and checkpoints are large, and of use only to other kernels, which are given them there.
FETCHED = r"^(?!.*\.(h5ad|npz|pt|pth)$)"


class Busy(Exception):
    """As many sessions run as the account may have: ask again later."""


class Client:
    """Calls of `kaggle`; each returns what it printed, or raises InputError with the fault."""

    def __init__(self):
        beside = Path(sys.executable).with_name("kaggle")
        self.command = str(beside) if beside.exists() else shutil.which("kaggle")
        if self.command is None:
            raise InputError(
                "the command `kaggle` is not installed; run: "
                ".venv/bin/pip install -r requirements-options.txt"
            )

    def dataset_status(self, dataset: str) -> str | None:
        """Return `ready`, or another state of the dataset; None where there is none."""
        with _none_where_missing():
            return self._call(["datasets", "status", dataset], r"^\w+$").strip().lower()

    def create_dataset(self, folder: Path) -> str:
        options = ["-p", folder, "--dir-mode", "zip", "-q"]
        return self._call(["datasets", "create", *options], "is being created")

    def version_dataset(self, folder: Path, message: str) -> str:
        options = ["-p", folder, "--dir-mode", "zip", "-q", "-m", message]
        # Where a keyword is unknown the command prints that instead of what it did.
        return self._call(["datasets", "version", *options], "is being created|not valid tags")

    def push(self, folder: Path) -> str:
        """Push a kernel; raises Busy where the account's sessions are all taken."""
        return self._call(["kernels", "push", "-p", folder], "successfully pushed")

    def kernel_state(self, kernel: str) -> tuple[str, str]:
        """Return QUEUED, RUNNING, COMPLETE, ERROR, ..., and the failure's message or nothing."""
        printed = self._call(["kernels", "status", kernel], "has status")
        state = re.search(r'has status "(?:KernelWorkerStatus\.)?(\w+)"', printed)
        message = re.search(r'Failure message: "(.*)"', printed)
        return state[1].upper(), message[1] if message else ""

    def last_state(self, kernel: str) -> str | None:
        """Return the state of a kernel's last run; None where there is no such kernel."""
        with _none_where_missing():
            return self.kernel_state(kernel)[0]

    def fetch(self, kernel: str, folder: Path) -> str:
        """Fetch a kernel's log and its outputs but the large ones."""
        options = ["-p", folder, "--force", "--file-pattern", FETCHED]
        return self._call(["kernels", "output", kernel, *options], "downloaded to")

    def submit(self, competition: str, file: Path, message: str) -> str:
        words = ["competitions", "submit", competition, "-f", file, "-m", message]
        try:
            return self._call(words, "successfully submitted")
        except InputError as error:
            if REFUSED.search(str(error)) is None:
                raise
            page = f"www.kaggle.com/competitions/{competition}/rules"
            raise InputError(f"{error}; accept the rules at {page}, as the token's owner") from None

    def _call(self, words, success):
        command = [self.command, *map(str, words)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError(f"kaggle {words[0]} {words[1]} did not end in {SECONDS} s") from None
        printed = f"{done.stdout}\n{done.stderr}"
        if BUSY.search(printed):
            raise Busy(_fault_line(printed))
        left_out = LEFT_OUT.search(printed)
        if (
            done.returncode
            or left_out
            or not re.search(success, printed, re.IGNORECASE | re.MULTILINE)
        ):
            fault = left_out[0] if left_out else _fault_line(printed)
            raise InputError(f"kaggle {words[0]} {words[1]}: {fault}")
        return printed


@contextmanager
def _none_where_missing():
    """End the block, and so its function with None, where the command answers that nothing is there."""
    try:
        yield
    except InputError as error:
        if LOGIN.search(str(error)) or not MISSING.search(str(error)):
            raise


def _fault_line(printed):
    """Return the one line of what was printed that names the fault."""
    if LOGIN.search(printed):
        return (
            "no token, or one that was not accepted (401); make one on www.kaggle.com/settings/api "
            "and save it as ~/.kaggle/access_token"
        )
    lines = [line.strip() for line in printed.splitlines() if line.strip() and "|" not in line]
    errors = [
        line for line in lines if re.search(r"error|not found|cannot|must|already", line, re.I)
    ]
    return (errors or lines or ["it printed nothing"])[0]
