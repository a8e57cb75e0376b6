"""One pass over the counts of an h5ad file, in bounded memory: sums by group, totals, rows.

A cell's UMI counts are divided by its total over *all* genes of the source, times 10,000,
log2(x + 1); several columns of one gene are summed before. Work splits into tasks, each a range of
rows of one file; up to four threads add them, one in a process of a pool. The split depends on the
file and the groups alone, and a group's cells are added in their order, so neither executor, nor
cores, nor budget change a bit of the outcome.

`budget` bounds, in each process, the blocks read and the sums of a task (in the calling process their
total too), above what the interpreter and its packages take. Not in it: the Sums returned, with 20
bytes a cell for the totals, and results of other processes that wait for their turn. Where the sums
of all genes exceed their share, the caller makes one pass for each range of `gene_tiles`.

`group_sums` reads a CSR or dense matrix once. A CSC matrix cannot be had by rows. It is one task: one
reading for the totals of the cells, one for the sums, about 50 bytes a cell beside the budget;
`read_rows` reads it once for the totals and once more for each block.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np

from ..io.files import InputError
from ._task import BUDGET, Slots, Sums, Task, add_rows, join

SUMS_SHARE = 6  # of the budget, for the sums of a task; 3 times as much is needed at worst
LOST_WORKER = (BrokenExecutor, CancelledError, ConnectionError, EOFError)


def group_sums(
    task: Task,
    executor: Executor | None = None,
    progress: Callable[[Task], None] | None = None,
) -> Sums:
    """Return the Sums of a task that is split; `executor`, `progress`: as `run` takes them."""
    return join(run(task.split(), executor, progress))


def gene_tiles(groups: int, genes: int, budget: int = BUDGET) -> list[range]:
    """Return the ranges of genes that are summed one after the other for the sums to fit the budget."""
    fit = max(1, budget // (SUMS_SHARE * 16 * max(1, groups)))
    passes = max(1, -(-genes // fit))
    bounds = [genes * i // passes for i in range(passes + 1)]
    return [range(*pair) for pair in pairwise(bounds)]


def run(
    tasks: Iterable[Callable],
    executor: Executor | None = None,
    progress: Callable[[Callable], None] | None = None,
) -> Iterator:
    """Yield the results of tasks (callables without arguments, picklable) in the tasks' order.

    `executor`: None runs them here, one by one; otherwise anything with `submit`, such as a
    `ProcessPoolExecutor` or `dask.distributed.Client(...).get_executor()`, left open. Twice as many
    tasks as it has workers (or this machine cores, where it does not say) are handed in and not yet
    yielded. `progress(task)` is called after each. An error cancels the tasks not yet begun; a task
    that is lost with its worker raises InputError.
    """
    tasks, waiting = iter(tasks), deque()
    if executor is None:
        for task in tasks:
            # No name may hold on to the result while the next one is made.
            yield task()
            if progress:
                progress(task)
        return
    ahead = 2 * (getattr(executor, "_max_workers", None) or os.cpu_count() or 1)
    try:
        while True:
            for task in islice(tasks, ahead - len(waiting)):
                waiting.append((task, executor.submit(task)))
            if not waiting:
                return
            yield waiting[0][1].result()
            task, _ = waiting.popleft()
            del _
            if progress:
                progress(task)
    except Exception as error:
        # distributed's KilledWorker, CommClosedError and the like; it need not be installed.
        if isinstance(error, LOST_WORKER) or type(error).__module__.startswith("distributed"):
            raise InputError(
                f"a task was lost with its worker ({type(error).__name__}: {error}); give workers more "
                "memory, or use fewer, and run again: finished parts are kept"
            ) from error
        raise
    finally:
        for _, future in waiting:
            future.cancel()


@dataclass
class Rows:
    """Some cells: `rows` (numbers in the file), `counts` (CSR array, cell x output gene), totals.

    `total`, `detected` and `mitochondrial` as in Sums.
    """

    rows: np.ndarray
    counts: object
    total: np.ndarray
    detected: np.ndarray
    mitochondrial: np.ndarray


def read_rows(task: Task, rows: np.ndarray) -> Iterator[Rows]:
    """Yield the raw counts of a task's genes, several columns of one summed, in blocks of Rows.

    `rows`: increasing row numbers; the task's own rows, groups and totals play no part. The counts are
    float32 or float64, as exact as the file.
    """
    from scipy.sparse import csr_array

    if not len(rows):
        return
    columns, genes, csc = (
        np.asarray(task.columns, np.int32),
        task.genes,
        task.matrix.format == "csc",
    )
    span = range(task.matrix.shape[0]) if csc else range(int(rows[0]), int(rows[-1]) + 1)
    no_group, no_columns = (np.full(number, -1, np.int32) for number in (len(span), len(columns)))
    task = replace(task, rows=span, group=no_group, columns=no_columns, genes=0, total=())
    if csc:
        totals = task()
        blocks = _rows_of_columns(task, rows, totals.detected, columns >= 0)
    else:
        slots = Slots(no_columns, 0)
        totals = task.nothing(slots)
        blocks = add_rows(task, slots, totals)
    for first, indptr, indices, data in blocks:
        chosen = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(indptr) - 1)]
        if not len(chosen):
            continue
        gene = columns[indices]
        kept = gene >= 0
        ends = np.concatenate([[0], np.cumsum(kept)])[indptr]
        counts = csr_array((data[kept], gene[kept], ends), shape=(len(indptr) - 1, genes))
        counts.sum_duplicates()
        counts.eliminate_zeros()
        counts = counts if len(chosen) == counts.shape[0] else counts[chosen - first]
        by_cell = totals.total, totals.detected, totals.mitochondrial
        yield Rows(chosen, counts, *(values[chosen - task.rows.start] for values in by_cell))


def _rows_of_columns(task, rows, detected, wanted):
    """Yield blocks of the rows of a CSC matrix from the first to the last of `rows`, each by one reading.

    Only wanted columns. `detected`: values by row.
    """
    from scipy.sparse import csr_array

    fit = max(1, task.budget // 80)  # values of a block: 12 to 16 bytes, copied and sorted
    bounds = np.concatenate([[0], np.cumsum(detected, dtype=np.int64)])
    low, width = int(rows[0]), task.matrix.shape[1]
    while low <= rows[-1]:
        high = int(np.searchsorted(bounds, bounds[low] + fit, side="right")) - 1
        high = min(max(high, low + 1), int(rows[-1]) + 1)
        parts = []
        for start, indptr, row, data in task.blocks(0, width):
            column = np.repeat(np.arange(start, start + len(indptr) - 1), np.diff(indptr))
            kept = wanted[column] & (row >= low) & (row < high)
            parts.append((data[kept], row[kept] - low, column[kept].astype(np.int32)))
        data, row, column = map(np.concatenate, zip(*parts, strict=True))
        block = csr_array((data, (row, column)), shape=(high - low, width))
        yield low, block.indptr, block.indices, block.data
        low = high
