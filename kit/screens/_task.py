"""One task of `streaming`: a range of rows of one file, read block by block, and its sums by group."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import parent_process

import numpy as np

from ..io.files import InputError
from ..io.matrix import MOST, Matrix

BUDGET = 10**9  # bytes
TASK_VALUES = 2**26  # stored values of a task: half a GB, a second or, unpacked, some
PER = 10_000.0  # counts per ten thousand
MOST_THREADS = 4  # that add rows; the memory, not the processor, is what they wait for
# Natural logarithms in one unit of a log-normalised file.
LOG_SCALES = {"log1p_cp10k": 1.0, "log2_cp10k": float(np.log(2))}


@dataclass
class Sums:
    """Sums over a range of rows, by group and by cell.

    Only groups that occur are held: `groups` (increasing ids), `cells` (int64), `sums` and `squares`
    (group x gene, of log2(1 + CP10k)). By cell of the range, left-out cells too: `total` UMI over all
    genes of the source, `detected` source columns (int32), `mitochondrial` UMI; NaN where unknown.
    """

    groups: np.ndarray
    cells: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    total: np.ndarray
    detected: np.ndarray
    mitochondrial: np.ndarray


def join(parts: Iterable[Sums]) -> Sums:
    """Add up the sums of row ranges that follow each other, in their order, into the first of them."""
    whole, by_cell = None, []
    for part in parts:
        by_cell.append((part.total, part.detected, part.mitochondrial))
        whole = whole or part
        if part is not whole:
            groups = np.union1d(whole.groups, part.groups)
            for name in ("cells", "sums", "squares"):
                array, more = getattr(whole, name), getattr(part, name)
                if len(groups) > len(array):
                    wider = np.zeros((len(groups), *array.shape[1:]), array.dtype)
                    wider[np.searchsorted(groups, whole.groups)] = array
                    array = wider
                array[np.searchsorted(groups, part.groups)] += more
                setattr(whole, name, array)
            whole.groups = groups
            del array, more
        del part  # or it would stay while the next one is made
    whole.total, whole.detected, whole.mitochondrial = map(
        np.concatenate, zip(*by_cell, strict=True)
    )
    return whole


@dataclass(frozen=True, eq=False)
class Task:
    """A pass over a range of rows of a matrix; called, it returns their Sums.

    `group`: group id of each of these cells, -1 to leave it out. `columns`: output gene (0 .. `genes`
    - 1) of each source column, -1 for none; several columns of one gene are summed. `mito`: which
    source columns are mitochondrial. `total`: UMI of each of these cells over all genes of the source,
    where the file does not hold them all. `log_normalised`: None for raw counts, which are checked to
    be whole, or the scale of the file: "log1p_cp10k" (natural logarithm) or "log2_cp10k"; totals are
    then those given, or NaN. `rows`: by default all, as always for a CSC matrix. Raises InputError for
    an argument that does not fit the file.
    """

    matrix: Matrix
    group: np.ndarray
    columns: np.ndarray
    genes: int
    mito: np.ndarray = ()  # empty: unknown
    total: np.ndarray = ()  # empty: what the file adds up to
    log_normalised: str | None = None
    budget: int = BUDGET
    rows: range | None = None

    def __post_init__(self):
        cells, width = self.matrix.shape
        if self.rows is None:
            object.__setattr__(self, "rows", range(cells))
        for name, kind, lengths in (
            ("group", None, (len(self.rows),)),
            ("columns", None, (width,)),
            ("mito", bool, (0, width)),
            ("total", np.float64, (0, len(self.rows))),
        ):
            array = np.asarray(getattr(self, name), dtype=kind)
            object.__setattr__(self, name, array)
            if array.ndim != 1 or len(array) not in lengths:
                want = f"{lengths[-1]} for {self.matrix}"
                raise InputError(f"{name} has shape {array.shape}, want {want}")
        if width and self.columns.max() >= self.genes:
            last = self.genes - 1
            raise InputError(f"columns name gene {self.columns.max()}, want -1 to {last}")
        if self.log_normalised not in (None, *LOG_SCALES):
            known = f"None or one of {[*LOG_SCALES]}"
            raise InputError(f"log_normalised is {self.log_normalised!r}, want {known}")

    def split(self) -> list["Task"]:
        """Return tasks of fewer rows that together do the same; `join` adds up what they return."""
        step = max(1, len(self.rows))
        if self.matrix.format != "csc":
            # A result should cost less to send and to add than its task to do.
            groups, (cells, width) = len(np.unique(self.group[self.group >= 0])), self.matrix.shape
            values = max(TASK_VALUES, 4 * groups * width)
            number = -(-self.matrix.header.stored * len(self.rows) // (values * max(1, cells)))
            step = -(-step // max(1, number))
            step = -(-step // self.matrix.header.chunk_rows) * self.matrix.header.chunk_rows
        spans = [slice(start, start + step) for start in range(0, len(self.rows), step) or [0]]
        return [
            replace(self, rows=self.rows[span], group=self.group[span], total=self.total[span])
            for span in spans
        ]

    def __call__(self) -> Sums:
        slots = Slots(self.columns, self.genes)
        result = self.nothing(slots)
        for _ in (add_columns if self.matrix.format == "csc" else add_rows)(self, slots, result):
            pass
        self.check_totals(result.total)
        if len(self.total):
            result.total = self.total
        elif self.log_normalised:
            result.total = np.full(len(self.rows), np.nan)
        if self.log_normalised:
            result.mitochondrial = np.full(len(self.rows), np.nan)
        result.sums = result.sums.take(slots.of_gene, axis=1)
        result.squares = result.squares.take(slots.of_gene, axis=1)
        return result

    def nothing(self, slots: "Slots") -> Sums:
        """Return the Sums of the range before anything is added."""
        groups = np.unique(self.group[self.group >= 0])
        cells = np.bincount(self.place(groups) + 1, minlength=len(groups) + 1)[1:]
        shape, rows = (len(groups), slots.unwanted + 2), len(self.rows)
        mitochondrial = np.full(rows, 0.0 if len(self.mito) else np.nan)
        by_cell = np.zeros(rows), np.zeros(rows, np.int32), mitochondrial
        return Sums(groups, cells, np.zeros(shape), np.zeros(shape), *by_cell)

    def place(self, groups: np.ndarray) -> np.ndarray:
        """Return the row of the sums for each cell, -1 for none."""
        return np.where(self.group < 0, -1, np.searchsorted(groups, self.group)).astype(np.int32)

    def blocks(self, start: int, stop: int) -> Iterator[tuple]:
        """Yield blocks of the matrix; of a log-normalised one, with CP10k for their logarithms."""
        unit = LOG_SCALES.get(self.log_normalised)
        for first, indptr, indices, data in self.matrix.blocks(start, stop, self.budget):
            if unit:
                data = data.astype(np.float64)
                largest = (np.log1p(PER) + 1e-5) / unit
                if not ((data >= 0) & (data <= largest)).all():
                    fault = self.log_normalised, largest
                    raise self.matrix.fault(first, indptr, indices, data, *fault)
                np.expm1(data * unit, out=data)
            yield first, indptr, indices, data

    def check_totals(self, counted: np.ndarray) -> None:
        """Raise InputError where a cell holds more than its total allows."""
        limit = "its total is"
        if self.log_normalised:
            most, wrong = np.full(len(counted), PER), counted > 1.01 * PER
            remedy = f"want {self.log_normalised}: name the file's scale, or its raw counts"
        elif (counted > MOST).any():
            most, wrong = np.full(len(counted), MOST), counted > MOST
            limit, remedy = "more UMI than any cell has:", "is the file corrupt?"
        elif len(self.total):
            # Totals come from files as float32 too: equal to about 1e-7. Cells left out may lack one.
            most = self.total
            wrong = ~((most >= counted * (1 - 1e-6)) & np.isfinite(most)) & (self.group >= 0)
            remedy = "want the total over all genes of the source"
        else:
            return
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{self.matrix}: row {self.rows[row]} (from 0) adds up to {counted[row]:g}, "
                f"{limit} {most[row]:g}; {remedy}"
            )


class Slots:
    """Where sums lie while they are made: in the order of the source, so that rows walk one way.

    `of_column`, `of_gene`: the slot of each source column and output gene. Two more follow those of the
    genes: `unwanted` takes the columns not wanted, the last stays zero for genes that the source lacks.
    `shared`: slots of several columns.
    """

    def __init__(self, columns: np.ndarray, genes: int) -> None:
        wanted = np.flatnonzero(columns >= 0)
        found, first, times = np.unique(columns[wanted], return_index=True, return_counts=True)
        self.unwanted = len(found)
        self.of_gene = np.full(genes, self.unwanted + 1)
        self.of_gene[found[np.argsort(first)]] = np.arange(self.unwanted)
        self.of_column = np.full(len(columns), self.unwanted, np.uint32)
        self.of_column[wanted] = self.of_gene[columns[wanted]]
        self.shared = self.of_gene[found[times > 1]]


def add_rows(task: Task, slots: Slots, result: Sums) -> Iterator[tuple]:
    """Add the rows of a task's range to `result`; yields each block once it is added."""
    from . import _kernels

    place = task.place(result.groups)
    # A process of a pool has a core of its own, and no other.
    threads = 1 if parent_process() else min(MOST_THREADS, os.cpu_count() or 1)
    seen = np.full((threads, len(slots.of_column) + 2), -1)
    with ThreadPoolExecutor(threads) as pool:
        for block in task.blocks(task.rows.start, task.rows.stop):
            first, indptr, *stored = block
            here = slice(first - task.rows.start, first - task.rows.start + len(indptr) - 1)

            def add(order, seen, indptr=indptr, stored=stored, here=here):
                return _kernels.sum_rows(
                    indptr, *stored, order, place[here], slots.of_column, len(slots.shared) > 0,
                    task.mito, task.total[here], task.log_normalised is None, seen,
                    result.total[here], result.detected[here], result.mitochondrial[here],
                    result.sums, result.squares,
                )  # fmt: skip

            if max(pool.map(add, _orders(place[here], threads), seen)) >= 0:
                raise task.matrix.fault(*block, task.log_normalised)
            yield block


def _orders(place, parts):
    """Rows for each thread: whole groups, so that no two add to the same sums, and all in order.

    The cells of a group are taken together, so that its sums stay in the cache.
    """
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    starts = [len(place) * part // parts for part in range(1, parts)]
    return np.split(order, np.searchsorted(ordered, ordered[starts]) if len(place) else starts)


def add_columns(task: Task, slots: Slots, result: Sums) -> Iterator[tuple]:
    """Add all rows of a CSC matrix to `result` by two readings; yields each block of the second."""
    from . import _kernels

    cells, width = task.matrix.shape
    seen = np.full(max(cells, width), -1)
    whole = task.log_normalised is None
    for block in task.blocks(0, width):
        first, indptr, *stored = block
        mito = task.mito[first : first + len(indptr) - 1]
        by_cell = result.total, result.detected, result.mitochondrial
        if _kernels.weigh_columns(indptr, *stored, whole, mito, seen, *by_cell) >= 0:
            raise task.matrix.fault(*block, task.log_normalised)
    if not len(result.groups) or not slots.unwanted:
        return
    scale = np.ones(cells)
    if whole:
        divisor = task.total if len(task.total) else result.total
        scale = np.divide(PER, divisor, out=np.zeros(cells), where=divisor > 0)
    to = scale, task.place(result.groups), seen, result.sums, result.squares
    alone = slots.of_column.astype(np.int64)
    alone[np.isin(alone, [*slots.shared, slots.unwanted])] = -1
    for block in task.blocks(0, width):
        first, indptr, *stored = block
        _kernels.sum_columns(indptr, *stored, alone[first : first + len(indptr) - 1], *to)
        yield block
    for slot in slots.shared:
        columns = np.flatnonzero(slots.of_column == slot)
        parts = [block[2:] for column in columns for block in task.blocks(column, column + 1)]
        stored = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        # As one column, in which a cell may occur several times.
        _kernels.sum_columns(np.array([0, len(stored[0])]), *stored, np.array([slot]), *to)
