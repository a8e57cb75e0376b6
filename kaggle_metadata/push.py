"""Send the module, then the kernels in order of dependence; wait for them and fetch their outputs."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kit.io.files import InputError

from .client import DONE, FAILED, Busy, Client
from .metadata import Kernel
from .staging import stage_kernel, stage_module, version

GPU_SESSIONS = 2  # that one account may have at once
BROKEN = {"failed", "deleted"}  # states of a dataset that do not pass
PATIENCE = 3  # answers in a row that may fail while a kernel is followed: networks do
REPORT = "report.json"  # every notebook leaves one, last of all


def send_module(
    client: Client,
    dataset: str,
    *,
    poll: float,
    patience: float,
    say: Callable[[str], None] = print,
) -> None:
    """Create the dataset `dataset` from `kit/`, or a new version of it, and wait until it is ready.

    poll, patience: seconds between two questions and until giving up. Kernels that are pushed earlier
    would be given the old version. Raises InputError.
    """
    with tempfile.TemporaryDirectory() as place:
        staged = stage_module(Path(place))
        status = client.dataset_status(dataset)
        if status is None:
            client.create_dataset(staged)
        else:
            if status not in BROKEN:  # a version on top of one that is being made is refused
                _wait_until_ready(client, dataset, poll, patience)
            client.version_dataset(staged, version())
    say(f"{dataset}: {'created' if status is None else 'new version'} sent, waiting until ready")
    _wait_until_ready(client, dataset, poll, patience)
    say(f"{dataset}: ready")


def follow(
    client: Client,
    kernels: list[Kernel],
    folder: Path,
    *,
    poll: float,
    patience: float,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Push kernels, wait for all, fetch their outputs; return faults by kernel's id.

    kernels: in order of dependence. folder: outputs go to `folder` / notebook. poll: seconds between two
    questions. patience: seconds without any kernel starting or ending, then the rest is given up.
    """
    series = Series(client, kernels, folder, say)
    last = time.monotonic()
    while series.waiting or series.running:
        if series.start() | series.ask():
            last = time.monotonic()
        elif time.monotonic() - last > patience:
            series.give_up(patience)
        else:
            time.sleep(poll)
    return series.faults


class Series:
    """Kernels on their way. waiting, running: lists; done: ids; faults: by id."""

    def __init__(
        self,
        client: Client,
        kernels: list[Kernel],
        folder: Path,
        say: Callable[[str], None] = print,
    ):
        self.client, self.kernels, self.folder, self.say = client, kernels, folder, say
        self.waiting, self.running, self.done, self.faults = list(kernels), [], set(), {}
        self._missed = dict.fromkeys((kernel.id for kernel in kernels), 0)

    def start(self) -> bool:
        """Push every kernel that may start; return whether one left the queue.

        It may when the kernels whose outputs it needs are complete, and never if one of them failed.
        """
        queue, self.waiting = self.waiting, []
        for kernel in queue:
            before = kernel.after(self.kernels)
            if failed := sorted(before & self.faults.keys()):
                self._fail(kernel, f"not pushed, it needs {failed[0]}")
            elif not before <= self.done or (kernel.gpu and self._gpu_full()):
                self.waiting.append(kernel)
            else:
                self._push(kernel)
        return len(self.waiting) < len(queue)

    def ask(self) -> bool:
        """Ask for the state of every running kernel; return whether one ended."""
        asked, self.running = self.running, []
        for kernel in asked:
            folder = self.folder / kernel.notebook.stem
            try:
                ended, fault = _ended(self.client, kernel, folder)
                self._missed[kernel.id] = 0
            except InputError as error:
                self._missed[kernel.id] += 1
                ended, fault = self._missed[kernel.id] == PATIENCE, str(error)
            if not ended:
                self.running.append(kernel)
            elif fault:
                self._fail(kernel, fault)
            else:
                self.done.add(kernel.id)
                self.say(f"{kernel.id}: complete, outputs in {folder}")
        return len(self.running) < len(asked)

    def give_up(self, patience: float) -> None:
        for kernel in self.running:
            self._fail(kernel, f"still runs after {patience:g} s, and goes on at Kaggle")
        for kernel in self.waiting:
            self._fail(kernel, f"not pushed within {patience:g} s")
        self.running, self.waiting = [], []

    def _push(self, kernel):
        try:
            with tempfile.TemporaryDirectory() as place:
                self.client.push(stage_kernel(kernel, Path(place)))
        except Busy:
            self.waiting.append(kernel)
        except InputError as error:
            self._fail(kernel, str(error))
        else:
            self.running.append(kernel)
            self.say(f"{kernel.id}: pushed")

    def _gpu_full(self):
        return sum(kernel.gpu for kernel in self.running) >= GPU_SESSIONS

    def _fail(self, kernel, fault):
        self.faults[kernel.id] = fault
        self.say(f"{kernel.id}: {fault}")


def _ended(client, kernel, folder):
    """Whether a kernel has ended, its outputs then fetched, and its fault or nothing."""
    state, message = client.kernel_state(kernel.id)
    if state not in DONE | FAILED:
        return False, ""
    (folder / REPORT).unlink(missing_ok=True)  # an earlier run's must not pass for this one's
    client.fetch(kernel.id, folder)
    log = folder / f"{kernel.slug}.log"
    if state in FAILED:
        because = f" ({message})" if message else ""
        return True, f"ended with {state}{because}; see {log}"
    if not (folder / REPORT).is_file():
        return True, f"is complete but left no {REPORT}; see {log}"
    return True, ""


def _wait_until_ready(client, dataset, poll, patience):
    started = time.monotonic()
    while (status := client.dataset_status(dataset)) != "ready":
        if status in BROKEN:
            raise InputError(
                f"{dataset} is {status} at Kaggle; look at www.kaggle.com/datasets/{dataset}"
            )
        if time.monotonic() - started > patience:
            raise InputError(
                f"{dataset} is {status or 'unknown'} after {patience:g} s, want ready; look at "
                f"www.kaggle.com/datasets/{dataset} and push again"
            )
        time.sleep(poll)
