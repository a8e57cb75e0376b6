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
from ..io.matrix import Matrix
from ._task import LOG_SCALES, Slots, Sums, Task, add_rows, join

BUDGET = 10**9  # bytes
SUMS_SHARE = 6  # of the budget, for the sums of a task; 3 times as much is needed at worst
TASK_VALUES = 2**26  # stored values of a task: half a GB, a second or, unpacked, some
LOST_WORKER = (BrokenExecutor, CancelledError, ConnectionError, EOFError)


def group_sums(
    matrix: Matrix,
    group: np.ndarray,
    columns: np.ndarray,
    genes: int,
    *,
    executor: Executor | None = None,
    progress: Callable[[Task], None] | None = None,
    **settings,
) -> Sums:
    """Add up log2(1 + CP10k) over the cells of each group.

    `executor`, `progress`: as `run` takes them; the other arguments are those of `tasks`.
    """
    return join(run(tasks(matrix, group, columns, genes, **settings), executor, progress=progress))


def gene_tiles(groups: int, genes: int, budget: int = BUDGET) -> list[range]:
    """Return the ranges of genes that are summed one after the other for the sums to fit the budget."""
    fit = max(1, budget // (SUMS_SHARE * 16 * max(1, groups)))
    passes = max(1, -(-genes // fit))
    bounds = [genes * i // passes for i in range(passes + 1)]
    return [range(*pair) for pair in pairwise(bounds)]


def tasks(
    matrix: Matrix,
    group: np.ndarray,
    columns: np.ndarray,
    genes: int,
    *,
    mito: np.ndarray | None = None,
    total: np.ndarray | None = None,
    log_normalised: str | None = None,
    budget: int = BUDGET,
) -> list[Task]:
    """Split a pass over a matrix into tasks, each a range of rows; `join` adds up their results.

    `group`: group id of each cell of the file, -1 to leave it out. `columns`: output gene (0 ..
    `genes` - 1) of each source column, -1 for none; several columns of one gene are summed. `mito`:
    which source columns are mitochondrial. `total`: UMI of each cell over all genes of the source,
    where the file does not hold them all. `log_normalised`: None for raw counts, which are checked to
    be whole, or the scale of the file: "log1p_cp10k" (natural logarithm) or "log2_cp10k"; totals are
    then those given, or NaN. Raises InputError for an argument that does not fit the file.
    """
    group, columns = np.asarray(group), np.asarray(columns)
    mito = np.zeros(0, bool) if mito is None else np.asarray(mito, dtype=bool)
    total = np.zeros(0) if total is None else np.asarray(total, dtype=np.float64)
    cells, width = matrix.shape
    for name, array, lengths in (
        ("group", group, (cells,)),
        ("columns", columns, (width,)),
        ("mito", mito, (0, width)),
        ("total", total, (0, cells)),
    ):
        if array.ndim != 1 or len(array) not in lengths:
            raise InputError(f"{name} has shape {array.shape}, want {lengths[-1]} for {matrix}")
    if len(columns) and columns.max() >= genes:
        raise InputError(f"columns name gene {columns.max()}, want -1 to {genes - 1}")
    if log_normalised is not None and log_normalised not in LOG_SCALES:
        raise InputError(
            f"log_normalised is {log_normalised!r}, want None or one of {[*LOG_SCALES]}"
        )
    step = max(1, cells)
    if matrix.format != "csc":
        # A result should cost less to send and to add than its task to do.
        groups = len(np.unique(group[group >= 0]))
        number = -(-matrix.header.stored // max(TASK_VALUES, 4 * groups * width))
        step = -(-step // max(1, number))
        step = -(-step // matrix.header.chunk_rows) * matrix.header.chunk_rows
    starts = range(0, cells, step) or [0]
    spans = [slice(start, min(start + step, cells)) for start in starts]
    settings = columns, genes, mito
    return [
        Task(
            matrix,
            range(span.start, span.stop),
            group[span],
            *settings,
            total[span],
            log_normalised,
            budget,
        )
        for span in spans
    ]


def run(
    tasks: Iterable[Callable],
    executor: Executor | None = None,
    *,
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


def read_rows(
    matrix: Matrix,
    columns: np.ndarray,
    genes: int,
    rows: np.ndarray,
    *,
    mito: np.ndarray | None = None,
    budget: int = BUDGET,
) -> Iterator[Rows]:
    """Yield the raw counts of the output genes, several columns of one summed, in blocks of Rows.

    `rows`: increasing row numbers; `columns`, `genes` and `mito`: as `tasks` takes them. The counts
    are float32 or float64, as exact as the file.
    """
    from scipy.sparse import csr_array

    if not len(rows):
        return
    columns = np.asarray(columns, dtype=np.int32)
    group, no_columns = (np.full(length, -1, np.int32) for length in matrix.shape)
    task = tasks(matrix, group, no_columns, 0, mito=mito, budget=budget)[0]
    if matrix.format == "csc":
        totals = task()
        blocks = _rows_of_columns(task, rows, totals.detected, columns >= 0)
    else:
        span = range(int(rows[0]), int(rows[-1]) + 1)
        task, slots = (
            replace(task, rows=span, group=group[span.start : span.stop]),
            Slots(no_columns, 0),
        )
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
