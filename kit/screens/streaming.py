"""One pass over the counts of an h5ad file, in bounded memory: sums by group, totals, rows.

A cell's UMI counts are divided by its total over *all* genes of the source, times 10,000,
log2(x + 1); several columns of one gene are summed before. Work splits into tasks, each a range of
rows of one file; up to four threads add them, one in a process of a pool. The split depends on the
file and the groups alone, and a group's cells are added in their order, so neither executor, nor
cores, nor budget change a bit of the outcome.

`budget` bounds, in each process, the blocks read and the sums of a task (in the calling process their
total too), above what the interpreter and its packages take. Not in it: the Sums handed back, with 20
bytes a cell for the totals, and results of other processes that wait for their turn. Sums that would
exceed their share are made in several passes over the file, each for a range of genes.

A CSC matrix cannot be had by rows. It is one task: one reading for the totals of the cells, one for
the sums, about 50 bytes a cell beside the budget; `read_rows` reads it once more for each block.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..io.files import InputError
from ..io.matrix import Matrix
from .sums import Sums, join
from .task import LOG_SCALES, Slots, Task, add_rows
from .workers import run

__all__ = [
    "BUDGET", "LOG_SCALES", "Matrix", "Rows", "Sums", "Task", "cell_totals", "gene_tiles",
    "group_sums", "join", "read_rows", "run", "tasks",
]  # fmt: skip

BUDGET = 10**9  # bytes
SUMS_SHARE = 6  # of the budget, for the sums of a task; 2.5 times as much is needed at worst
TASK_VALUES = 2**26  # stored values of a task: half a GB, a second or, unpacked, some


def group_sums(
    matrix, group, columns, genes, *, rows=None, mito=None, total=None, log_normalised=None,
    budget=BUDGET, executor=None, progress=None, in_flight=None,
):  # fmt: skip
    """Add up log2(1 + CP10k) over the cells of each group; arguments as `tasks` and `run` have them."""
    group, columns = np.asarray(group), np.asarray(columns)
    parts = []
    for tile in gene_tiles(_number_of_groups(group), genes, budget):
        of_tile = np.where(
            (columns >= tile.start) & (columns < tile.stop), columns - tile.start, -1
        )
        split = tasks(
            matrix, group, of_tile, len(tile), rows=rows, mito=mito, total=total,
            log_normalised=log_normalised, budget=budget,
        )  # fmt: skip
        parts.append(join(run(split, executor, progress=progress, in_flight=in_flight)))
    whole = parts[0]
    if len(parts) > 1:
        whole.sums = np.concatenate([part.sums for part in parts], axis=1)
        whole.squares = np.concatenate([part.squares for part in parts], axis=1)
    return whole


def cell_totals(matrix, *, rows=None, mito=None, log_normalised=None, budget=BUDGET, **how):
    """Total up cells only: Sums without groups. `how`: executor, progress and in_flight of `run`."""
    group, columns = (np.full(length, -1, np.int32) for length in matrix.shape)
    split = tasks(
        matrix,
        group,
        columns,
        0,
        rows=rows,
        mito=mito,
        log_normalised=log_normalised,
        budget=budget,
    )
    return join(run(split, **how))


def gene_tiles(groups, genes, budget=BUDGET):
    """Ranges of genes that have to be summed one after the other for the sums to fit the budget."""
    fit = max(1, budget // (SUMS_SHARE * 16 * max(1, groups)))
    passes = max(1, -(-genes // fit))
    bounds = [genes * i // passes for i in range(passes + 1)]
    return [range(*pair) for pair in pairwise(bounds)]


def tasks(
    matrix, group, columns, genes, *, rows=None, mito=None, total=None, log_normalised=None,
    budget=BUDGET,
):  # fmt: skip
    """Split a pass over a matrix into tasks, each a range of rows; `join` adds up their results.

    `group`: group id of each cell of the file, -1 to leave it out. `columns`: output gene (0 ..
    `genes` - 1) of each source column, -1 for none; several columns of one gene are summed. `rows`:
    a range, by default all. `mito`: which source columns are mitochondrial. `total`: UMI of each cell
    over all genes of the source, where the file does not hold them all. `log_normalised`: None for
    raw counts, which are checked to be whole, or the scale of the file: "log1p_cp10k" (natural
    logarithm) or "log2_cp10k"; totals are then those given, or NaN.
    """
    group, columns = np.asarray(group), np.asarray(columns)
    mito = np.zeros(0, bool) if mito is None else np.asarray(mito, dtype=bool)
    total = np.zeros(0) if total is None else np.asarray(total, dtype=np.float64)
    cells, width = matrix.shape
    rows = range(cells) if rows is None else rows
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
    if rows.step != 1 or rows.start < 0 or rows.stop > cells:
        raise InputError(f"rows are {rows}, want a range within 0 to {cells} in steps of 1")
    if log_normalised is not None and log_normalised not in LOG_SCALES:
        raise InputError(
            f"log_normalised is {log_normalised!r}, want None or one of {[*LOG_SCALES]}"
        )
    step = len(rows)
    if matrix.format != "csc":
        # A result should cost less to send and to add than its task to do.
        values = max(TASK_VALUES, 4 * _number_of_groups(group) * width)
        number = -(-matrix.header.stored * len(rows) // (values * max(1, cells)))
        step = -(-step // max(1, number))
        step = -(-step // matrix.header.chunk_rows) * matrix.header.chunk_rows
    starts = range(rows.start, rows.stop, max(1, step)) or [rows.start]
    spans = [range(start, max(start, min(start + step, rows.stop))) for start in starts]
    return [
        Task(
            matrix, span, group[span.start : span.stop], columns, genes, mito,
            total[span.start : span.stop], log_normalised, budget,
        )
        for span in spans
    ]  # fmt: skip


def _number_of_groups(group):
    return np.count_nonzero(np.bincount(group[group >= 0])) if len(group) else 0


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


def read_rows(matrix, columns, genes, rows=None, *, mito=None, budget=BUDGET):
    """Yield the raw counts of the output genes, several columns of one summed, in blocks of Rows.

    `rows`: increasing row numbers, by default all; `columns`, `genes` and `mito` as `tasks` has them.
    The counts are float32 or float64, as exact as the file.
    """
    from scipy.sparse import csr_array

    columns = np.asarray(columns, dtype=np.int32)
    rows = np.arange(matrix.shape[0]) if rows is None else np.asarray(rows)
    if not len(rows):
        return
    if (np.diff(rows) <= 0).any() or rows[0] < 0 or rows[-1] >= matrix.shape[0]:
        raise InputError(f"rows have to increase within 0 to {matrix.shape[0] - 1} for {matrix}")
    group, no_columns = (np.full(length, -1, np.int32) for length in matrix.shape)
    span = range(int(rows[0]), int(rows[-1]) + 1)
    task = tasks(matrix, group, no_columns, 0, mito=mito, budget=budget)[0]
    task = replace(task, rows=span, group=group[span.start : span.stop])
    if matrix.format == "csc":
        totals = task()
        blocks = _rows_of_columns(task, totals.detected, columns >= 0)
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
        here = chosen - span.start
        yield Rows(
            chosen, counts if len(chosen) == counts.shape[0] else counts[chosen - first],
            totals.total[here], totals.detected[here], totals.mitochondrial[here],
        )  # fmt: skip


def _rows_of_columns(task, detected, wanted):
    """Yield blocks of rows of a CSC matrix, only its wanted columns; each costs one reading."""
    from scipy.sparse import csr_array

    fit = max(1, task.budget // 80)  # values of a block: 12 to 16 bytes, copied and sorted
    bounds = np.concatenate([[0], np.cumsum(detected, dtype=np.int64)])
    first, width = 0, task.matrix.shape[1]
    while first < len(detected):
        end = int(np.searchsorted(bounds, bounds[first] + fit, side="right")) - 1
        low, high = (task.rows.start + row for row in (first, max(end, first + 1)))
        parts = []
        for start, indptr, rows, data in task.blocks(0, width):
            column = np.repeat(np.arange(start, start + len(indptr) - 1), np.diff(indptr))
            kept = wanted[column] & (rows >= low) & (rows < high)
            parts.append((data[kept], rows[kept] - low, column[kept].astype(np.int32)))
        data, row, column = map(np.concatenate, zip(*parts, strict=True))
        block = csr_array((data, (row, column)), shape=(high - low, width))
        yield low, block.indptr, block.indices, block.data
        first = high - task.rows.start
