"""How far long work is, on stderr: a bar on a terminal and in Jupyter, plain lines in a log.

In a log each step has a line when it ends, with the time it took; steps under a second have none, and of
many small steps there is a line now and then. Work inside other work is shown on a terminal only.
$TQDM_DISABLE hides all of it, and so does a program without stderr.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FEW = 50  # steps: each has its line
LEAST, NOW_AND_THEN = 1.0, 30.0  # seconds between lines, of few steps and of many

_running = []  # labels of the work at hand, the outermost first


@contextmanager
def progress(label: str, total: int = 1, unit: str = "") -> Iterator[Callable[..., None]]:
    """Show that a block works, and yield a function to call, with a number, as steps are done.

    total: number of the steps; unit: what they are, where that is more than steps. A block of one step
    need not call the function.
    """
    hidden = os.environ.get("TQDM_DISABLE") or sys.stderr is None  # as under pythonw
    inner, terminal = bool(_running), not hidden and sys.stderr.isatty()
    jupyter = type(sys.stderr).__module__.startswith("ipykernel")
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Batch":
        jupyter = False  # the output of such a run is its log
    if hidden or (inner and (total == 1 or not terminal)):
        yield lambda number=1: None
        return
    _running.append(label)
    try:
        if terminal or jupyter:
            from tqdm import tqdm

            shape = None if total > 1 else "{desc}: {elapsed}"
            options = {"unit": unit or "it", "unit_scale": bool(unit), "bar_format": shape}
            size = shutil.get_terminal_size()  # 80 x 24 where a terminal has none, as tqdm has not
            options |= {"ncols": size.columns, "nrows": size.lines}
            with tqdm(None, label, total, leave=not inner, disable=False, **options) as bar:
                yield bar.update
        else:
            lines = _Lines(label, total, unit)
            yield lines.update
            lines.end()
    finally:
        _running.pop()


class _Lines:
    """Lines of a log on work of `total` steps."""

    def __init__(self, label, total, unit):
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.begun = self.last = time.perf_counter()

    def update(self, number=1):
        """Count steps as done; print a line where the last one is long enough ago."""
        self.done += number
        now, few = time.perf_counter(), self.total <= FEW
        if now - self.last < (LEAST if few else NOW_AND_THEN):
            return
        took = f"took {now - self.last:.0f} s" if few else f"after {now - self.begun:.0f} s"
        print(
            f"{self.label}: {self.done:,} of {self.total:,}{self.unit} {took}",
            file=sys.stderr,
            flush=True,
        )
        self.last = now

    def end(self):
        """Print the time of the whole, where it is one step or of many small ones."""
        took = time.perf_counter() - self.begun
        if took >= LEAST and not (1 < self.total <= FEW):
            print(f"{self.label} took {took:.0f} s", file=sys.stderr, flush=True)
