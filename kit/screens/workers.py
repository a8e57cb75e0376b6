"""Run tasks on any `concurrent.futures.Executor`, a bounded number at a time, in their order."""

import os
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError, ProcessPoolExecutor
from contextlib import ExitStack

from ..io.files import InputError


class LostTask(InputError, RuntimeError):
    """A task that was lost twice with its worker, told in one line."""


def run(tasks, executor=None, *, progress=None, in_flight=None):
    """Yield the results of tasks (callables without arguments, picklable) in the tasks' order.

    `executor`: None runs them here, one by one; otherwise anything with `submit`, such as a
    `ProcessPoolExecutor` or `dask.distributed.Client(...).get_executor()`, left open. `in_flight`:
    most tasks handed in and not yet yielded, which bounds the results held; by default twice the
    executor's workers, or the machine's cores where it does not tell them (a cluster: give it).
    `progress(task)` is called after each. A task that fails for its worker's sake is tried once
    more, a broken pool replaced by a new one of as many processes; lost again, it raises
    LostTask. A task's own error is raised as it is and cancels those not yet begun.
    """
    tasks = iter(tasks)
    if executor is None:
        for task in tasks:
            yield _finished(task(), task, progress)
        return
    if in_flight is None:
        in_flight = 2 * (getattr(executor, "_max_workers", None) or os.cpu_count() or 1)
    waiting = deque()
    with ExitStack() as opened:
        pool = _Pool(executor, opened)
        opened.callback(lambda: [entry.future.cancel() for entry in waiting])
        while True:
            while len(waiting) < in_flight and (task := next(tasks, None)) is not None:
                waiting.append(_Entry(task, pool.submit(task)))
            if not waiting:
                return
            error = waiting[0].error()
            if error is None:
                # No name may hold on to the result while the next one is made.
                yield _finished(waiting[0].future.result(), waiting.popleft().task, progress)
            elif not _lost_worker(error):
                raise error
            elif waiting[0].again:
                raise LostTask(
                    f"a task was lost twice with its worker ({type(error).__name__}: {error}); "
                    "give workers more memory, or use fewer"
                ) from error
            else:
                # One dead process breaks a whole pool: what was in it starts again together.
                for entry in waiting:
                    if not entry.again and entry.future.done() and _lost_worker(entry.error()):
                        entry.future, entry.again = pool.submit(entry.task, 2), True


def _finished(result, task, progress):
    if progress:
        progress(task)
    return result


class _Entry:
    """A task handed in, and whether it was so for the second time."""

    def __init__(self, task, future):
        self.task, self.future, self.again = task, future, False

    def error(self):
        try:
            return self.future.exception()
        except CancelledError as error:
            return error


class _Pool:
    """An executor that is replaced when it breaks."""

    def __init__(self, executor, opened):
        self.executor, self.opened = executor, opened

    def submit(self, task, attempt=1):
        try:
            return self.executor.submit(_call, task, attempt)
        except BrokenExecutor:
            workers = getattr(self.executor, "_max_workers", None)
            context = getattr(self.executor, "_mp_context", None)
            self.executor = self.opened.enter_context(ProcessPoolExecutor(workers, context))
            return self.executor.submit(_call, task, attempt)


def _call(task, attempt):
    """Run a task; dask takes the same call with the same arguments for the same, failed one."""
    return task()


def _lost_worker(error):
    """Whether a task failed for its worker's sake: a dead process, a lost connection."""
    lost = (BrokenExecutor, CancelledError, ConnectionError, EOFError)
    # distributed's KilledWorker, CommClosedError and the like; it need not be installed.
    return isinstance(error, lost) or type(error).__module__.partition(".")[0] == "distributed"
