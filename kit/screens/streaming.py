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

`group_sums` and `read_rows` read a CSR or dense matrix once. A CSC matrix cannot be had by rows:
`by_rows` copies it first.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.files import InputError, replacing
from ..io.hdf5 import made
from ..io.matrix import MOST, Matrix
from ._task import BUDGET, LOG_SCALES, PER, Sums, Task, sums_of_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SAMPLE = 10, 50  # places in a file, and neighbouring cells at each, by which a scale is checked
SUMS_SHARE = 6  # of the budget, for the sums of a task; 3 times as much is needed at worst
SORTED = np.dtype([("row", np.int32), ("column", np.int32), ("value", np.float64)])
SORT_BYTES = 4 * SORTED.itemsize  # of a value while its rows are sorted
LOST_WORKER = (BrokenExecutor, CancelledError, ConnectionError, EOFError)


def check_scale(matrix: Matrix, scale: str) -> list[str]:
    """Return what some 500 cells of a log-normalised matrix show of its scale, a line or none.

    Undone on the right scale, the values of a cell are whole multiples of its smallest, a single count,
    and cells of all genes add up to 10,000; where genes are missing they add up to less. Whole numbers
    that add up to less are raw counts, or those of cells downsampled to equal totals: a line. Raises
    InputError, naming the scale that fits, where the sums or the multiples contradict the declared one.
    """
    indptr, values = _sample(matrix)
    if len(indptr) < 2 or not ((values > 0) & (values < np.log1p(MOST))).all():
        return []  # nothing to see, or a fault that the pass over all cells names
    logs = {name: np.expm1(values * LOG_SCALES[name][0]) for name in ("log1p", "log2")}
    sums = {name: sums_of_rows(indptr, undone) for name, undone in logs.items()}
    # Of ten cells and more; fewer may add up to the same by chance.
    equal = [name for name in logs if np.ptp(sums[name]) <= 1e-3 * np.median(sums[name])]
    equal = equal if len(indptr) > 10 else []
    raw = [name for name in logs if _share_whole(logs[name], 1.0) > 0.98]
    units = {name: np.minimum.reduceat(undone, indptr[:-1]) for name, undone in logs.items()}
    whole = {
        name: _share_whole(logs[name], np.repeat(units[name], np.diff(indptr))) for name in logs
    }
    declared = base = scale.removesuffix("_cp10k")
    other = next(name for name in logs if name != declared)
    clear = whole[declared] < 0.8 < 0.98 < whole[other]
    if clear or any(other in found and declared not in found for found in (equal, raw)):
        base = other
    low, middle, high = np.quantile(sums[base], [0, 0.5, 1])
    found = f"cells add up to {middle:,.0f} ({low:,.0f} to {high:,.0f})"
    exact = base in equal and abs(middle / PER - 1) <= 0.01
    free = base in equal or high > PER * 1.01 or (base in raw and base != declared)
    free = free and not exact
    if base != declared or (free and scale != declared):
        remedy = f"`{base}_cp10k`"
        if free:
            known = base in equal or base in raw or whole[base] > 0.8
            remedy = f"`{base}`" if known else "`log1p` or `log2`"
            remedy += ", which brings each cell to 10,000 by its own sum and needs all genes"
        raise InputError(
            f"{matrix} is no {scale}: read as {base}, {found}{', raw counts' if base in raw else ''}; "
            f"declare its scale as {remedy}, or the place of raw counts as `counts`"
        )
    if scale == declared:
        return [f"read as {scale}, {found}; each is brought to 10,000, which needs all genes"]
    if middle < 0.99 * PER:
        right, other = "the file lacks genes", "another scale"
        if base in raw:
            right += " and its cells were downsampled to equal totals"
            other = f"`{base}`: they look like raw counts"
        return [f"read as {scale}, {found}, not to 10,000: right if {right}, else declare {other}"]
    return []


def _share_whole(values, units):
    """Share of the values, of those up to 20 units, that are whole multiples of their unit."""
    multiples = values / units
    multiples = multiples[(multiples > 1.5) & (multiples < 20)]
    return (
        np.mean(np.abs(multiples - np.rint(multiples)) < 0.01) if len(multiples) >= 50 else np.nan
    )


def _sample(matrix):
    """Values of some cells with any, as the indptr and data of a block."""
    places, cells = SAMPLE
    rows = []
    for start in range(0, matrix.shape[0], max(cells, matrix.shape[0] // places)):
        stop = min(start + cells, matrix.shape[0])
        for _, indptr, _, data in matrix.blocks(start, stop, BUDGET):
            rows += [row[row != 0].astype(float) for row in np.split(data, indptr[1:-1])]
    rows = [row for row in rows if len(row)]
    ends = np.cumsum([0, *map(len, rows)])
    return ends, np.concatenate([np.zeros(0), *rows])


def group_sums(
    task: Task, executor: Executor | None = None, progress: Callable[[int], None] | None = None
) -> Sums:
    """Return the Sums of a task that is split; `executor` as `run` takes it.

    `progress` is called with the number of rows of each part.
    """
    whole, start = task.nothing(), 0
    for part in run(task.split(), executor):
        place, stop = np.searchsorted(whole.groups, part.groups), start + len(part.total)
        whole.sums[place] += part.sums
        whole.squares[place] += part.squares
        for name in ("total", "detected", "mitochondrial"):
            getattr(whole, name)[start:stop] = getattr(part, name)
        if progress:
            progress(stop - start)
        start = stop
        del part  # or it would stay while the next one is made
    return whole


def gene_tiles(groups: int, genes: int, budget: int = BUDGET) -> list[range]:
    """Return the ranges of genes that are summed one after the other for the sums to fit the budget."""
    fit = max(1, budget // (SUMS_SHARE * 16 * max(1, groups)))
    return [range(start, min(start + fit, genes)) for start in range(0, genes, fit)] or [range(0)]


def run(tasks: Iterable[Callable], executor: Executor | None = None) -> Iterator:
    """Yield the results of tasks (callables without arguments, picklable) in the tasks' order.

    `executor`: None runs them here, one by one; otherwise anything with `submit`, such as a
    `ProcessPoolExecutor` or `dask.distributed.Client(...).get_executor()`, left open. Twice as many
    tasks as it has workers (or this machine cores, where it does not say) are handed in and not yet
    yielded. An error cancels the tasks not yet begun; a task that is lost with its worker raises
    InputError.
    """
    tasks, waiting = iter(tasks), deque()
    if executor is None:
        for task in tasks:
            yield task()
        return
    ahead = 2 * (getattr(executor, "_max_workers", None) or os.cpu_count() or 1)
    try:
        while True:
            waiting += [executor.submit(task) for task in islice(tasks, ahead - len(waiting))]
            if not waiting:
                return
            yield waiting[0].result()
            waiting.popleft()  # no name may hold on to the result while the next one is made
    except Exception as error:
        # distributed's KilledWorker, CommClosedError and the like; it need not be installed.
        if isinstance(error, LOST_WORKER) or type(error).__module__.startswith("distributed"):
            raise InputError(
                f"a task was lost with its worker ({type(error).__name__}: {error}); give workers more "
                "memory, or use fewer, and run again: finished parts are kept"
            ) from error
        raise
    finally:
        for future in waiting:
            future.cancel()


def read_rows(task: Task, rows: np.ndarray) -> tuple[Iterator["csr_array"], Sums]:
    """Return the raw counts of some rows in blocks, CSR arrays cell x output gene, and totals.

    `rows`: increasing row numbers; the task's own rows, groups and totals play no part. The counts are
    float32 or float64, as exact as the file; several columns of one gene are summed. The totals are
    those of all rows of the matrix, known once the last block has been taken.
    """
    columns, cells = task.columns, task.matrix.shape[0]
    nothing = {"group": np.full(cells, -1), "columns": np.full(len(columns), -1), "total": ()}
    whole = replace(task, rows=range(cells), genes=0, **nothing)
    totals = whole.nothing()
    return _chosen(whole.add_to(totals), rows, columns, task.genes), totals


def _chosen(blocks, rows, columns, genes):
    from scipy.sparse import csr_array

    for first, indptr, indices, data in blocks:
        chosen = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(indptr) - 1)]
        gene = columns[indices]
        kept = gene >= 0
        ends = np.concatenate([[0], np.cumsum(kept)])[indptr]
        counts = csr_array((data[kept], gene[kept], ends), shape=(len(indptr) - 1, genes))
        counts.sum_duplicates()
        counts.eliminate_zeros()
        yield counts[chosen - first]


@dataclass(frozen=True)
class _Copy(Matrix):
    """A copy of a matrix, which messages name as what it was made from."""

    source: Matrix | None = None

    def __str__(self):
        return str(self.source)


def by_rows(matrix: Matrix, path: Path, budget: int = BUDGET) -> Matrix:
    """Return the matrix or, of one stored by columns, its copy by rows in the file `path`.

    The copy is made where it is not there yet: the columns are read once to count, and once more to
    sort their values, 16 bytes each, into files that hold as many rows as the budget allows. Beside the
    budget it needs 32 bytes a cell. Values are checked where the copy is read.
    """
    if matrix.format != "csc":
        return matrix
    if not path.exists():
        with replacing(path) as place:
            _write_by_rows(matrix, place, budget)
    return _Copy(path, source=matrix)


def _write_by_rows(matrix, path, budget):
    """Write the copy; the folder of `path` takes the files in between."""
    cells, genes = matrix.shape
    stored = np.zeros(cells, np.int64)  # values by row
    for first, indptr, rows, data in matrix.blocks(0, genes, budget):
        if ((rows < 0) | (rows >= cells)).any():
            raise matrix.fault(first, indptr, rows, np.zeros(len(data)))
        stored += np.bincount(rows, minlength=cells)
    ends = np.concatenate([[0], np.cumsum(stored)])
    share = ends[1:] * SORT_BYTES // budget  # by row, the number of its file
    for first, indptr, rows, data in matrix.blocks(0, genes, budget):
        values = np.empty(len(rows), SORTED)
        values["row"], values["value"] = rows, data
        values["column"] = np.repeat(np.arange(first, first + len(indptr) - 1), np.diff(indptr))
        values = values[np.argsort(rows, kind="stable")]
        for part in np.split(values, 1 + np.flatnonzero(np.diff(share[values["row"]]))):
            if len(part):
                with open(path.with_name(str(share[part["row"][0]])), "ab") as file:
                    part.tofile(file)
    with made(path) as file:
        copy = file.create_group("X")
        copy.attrs.update({"encoding-type": "csr_matrix", "shape": matrix.shape})
        copy["indptr"] = ends
        indices = copy.create_dataset("indices", ends[-1:], np.int32)
        data = copy.create_dataset("data", ends[-1:], np.float64)
        start = 0
        for number in np.unique(share[stored > 0]):
            values = np.fromfile(path.with_name(str(number)), SORTED)
            path.with_name(str(number)).unlink()
            values = values[np.argsort(values["row"], kind="stable")]
            here = slice(start, start + len(values))
            indices[here], data[here] = values["column"], values["value"]
            start = here.stop
