"""One task of `streaming`: a range of rows of one file, read block by block, and its sums by group."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import parent_process

import numpy as np
import pandas as pd

from ..io.files import InputError
from ..io.matrix import MOST, Matrix

BUDGET = 10**9  # bytes
TASK_VALUES = 2**26  # stored values of a task: half a GB, a second or, unpacked, some
PER = 10_000.0  # counts per ten thousand
MOST_THREADS = 4  # that add rows; the memory, not the processor, is what they wait for
# Natural logarithms in one unit of a log-normalised file, and what its cells add up to at most.
LOG_SCALES = {
    f"{name}{end}": (unit, most)
    for name, unit in (("log1p", 1.0), ("log2", float(np.log(2))))
    for end, most in (("_cp10k", PER), ("", MOST))
}


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


@dataclass(frozen=True, eq=False)
class Task:
    """A pass over a range of rows of a matrix; called, it returns their Sums.

    `group`: group id of each of these cells, -1 to leave it out. `columns`: output gene (0 .. `genes` -
    1) of each source column, -1 for none; several columns of one gene are summed. `mito`: which source
    columns are mitochondrial. `total`: UMI of each of these cells over all genes of the source, where
    the file does not hold them all. `scale`: "counts", which are checked to be whole, or "log1p_cp10k"
    (natural logarithm) or "log2_cp10k", or "log1p" or "log2", whose cells are brought to CP10k by their
    own sums; totals are then those given, or NaN. `rows`: by default all. Raises InputError for a
    matrix that is stored by columns (`streaming.by_rows` copies it), and for labels that do not fit it.
    """

    matrix: Matrix
    group: np.ndarray
    columns: np.ndarray
    genes: int
    mito: np.ndarray = ()  # empty: unknown
    total: np.ndarray = ()  # empty: what the file adds up to
    scale: str = "counts"
    budget: int = BUDGET
    rows: range | None = None

    def __post_init__(self):
        cells, width = self.matrix.shape
        if self.matrix.format == "csc":
            raise InputError(f"{self.matrix} is stored by columns, want rows")
        if self.rows is None:
            object.__setattr__(self, "rows", range(cells))
        kinds = {"group": np.int64, "columns": np.int32, "mito": bool, "total": np.float64}
        for name, kind in kinds.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        for name, length in (("group", len(self.rows)), ("columns", width)):
            shape = getattr(self, name).shape
            if shape != (length,):
                raise InputError(f"{name} has shape {shape}, want {length} for {self.matrix}")

    def split(self) -> list["Task"]:
        """Return tasks of fewer rows that together do the same."""
        # A result should cost less to send and to add than its task to do.
        groups, (cells, width) = len(self.groups), self.matrix.shape
        values = max(TASK_VALUES, 4 * groups * width)
        number = -(-self.matrix.header.stored * len(self.rows) // (values * max(1, cells)))
        step = -(-len(self.rows) // max(1, number))
        chunk = self.matrix.header.chunk_rows
        step = max(1, -(-step // chunk) * chunk)
        spans = [slice(start, start + step) for start in range(0, len(self.rows), step) or [0]]
        return [
            replace(self, rows=self.rows[span], group=self.group[span], total=self.total[span])
            for span in spans
        ]

    def __call__(self) -> Sums:
        result = self.nothing()
        for _ in self.add_to(result):
            pass
        self.check_totals(result.total)
        if self.scale in LOG_SCALES:
            result.total, result.mitochondrial = np.full((2, len(self.rows)), np.nan)
        if len(self.total):
            result.total = self.total
        return result

    @property
    def groups(self) -> np.ndarray:
        """The increasing ids of the groups that occur."""
        return np.unique(self.group[self.group >= 0])

    def nothing(self) -> Sums:
        """Return the Sums of the range before anything is added."""
        groups, cells = np.unique(self.group[self.group >= 0], return_counts=True)
        rows = len(self.rows)
        sums, squares = (np.zeros((len(groups), self.genes)) for _ in range(2))
        mitochondrial = np.full(rows, 0.0 if len(self.mito) else np.nan)
        by_cell = np.zeros(rows), np.zeros(rows, np.int32), mitochondrial
        return Sums(groups, cells, sums, squares, *by_cell)

    def add_to(self, result: Sums) -> Iterator[tuple]:
        """Add the rows of the range to `result`; yields each block once it is added."""
        from . import _kernels

        place, whole = self.place(result.groups), self.scale == "counts"
        shared = pd.Index(self.columns[self.columns >= 0]).has_duplicates
        # While they are made, sums lie in the order of the source, so that rows walk one way through
        # them; columns that are not wanted share a slot, and the last stays 0.
        slots, genes = pd.factorize(self.columns)
        slots = slots.astype(np.uint32)
        sums, squares = (np.zeros((len(result.groups), len(genes) + 1)) for _ in range(2))
        # A process of a pool has a core of its own, and no other.
        threads = 1 if parent_process() else min(MOST_THREADS, os.cpu_count() or 1)
        seen = np.full((threads, len(self.columns)), -1, np.int32)
        with ThreadPoolExecutor(threads) as pool:
            for block in self.blocks():
                first, indptr, *stored = block
                here = slice(first - self.rows.start, first - self.rows.start + len(indptr) - 1)

                def add(order, seen, indptr=indptr, stored=stored, here=here):
                    return _kernels.sum_rows(
                        indptr, *stored, order, place[here], slots, shared, self.mito,
                        self.total[here], whole, seen, result.total[here], result.detected[here],
                        result.mitochondrial[here], sums, squares,
                    )  # fmt: skip

                if max(pool.map(add, _orders(place[here], threads), seen)) >= 0:
                    raise self.matrix.fault(*block, None if whole else self.scale)
                yield block
        slot_of_gene = pd.Index(genes).get_indexer(np.arange(self.genes))  # -1: the last
        result.sums = sums.take(slot_of_gene, axis=1)
        result.squares = squares.take(slot_of_gene, axis=1)

    def place(self, groups: np.ndarray) -> np.ndarray:
        """Return the row of the sums for each cell, -1 for none."""
        return np.where(self.group < 0, -1, np.searchsorted(groups, self.group)).astype(np.int32)

    def blocks(self) -> Iterator[tuple]:
        """Yield the range in blocks; of a log-normalised matrix, with CP10k for its logarithms."""
        unit, most = LOG_SCALES.get(self.scale, (None, MOST))
        for first, indptr, indices, data in self.matrix.blocks(
            self.rows.start, self.rows.stop, self.budget
        ):
            if unit:
                data = data.astype(np.float64)
                largest = (np.log1p(most) + 1e-5) / unit
                if not ((data >= 0) & (data <= largest)).all():
                    raise self.matrix.fault(first, indptr, indices, data, self.scale, largest)
                np.expm1(data * unit, out=data)
                if most > PER:
                    total = sums_of_rows(indptr, data)
                    factor = np.divide(PER, total, out=np.zeros(len(total)), where=total > 0)
                    data *= np.repeat(factor, np.diff(indptr))
            yield first, indptr, indices, data

    def check_totals(self, counted: np.ndarray) -> None:
        """Raise InputError where a cell holds more than its total allows."""
        limits = [(MOST, 0, "more UMI than any cell has:", "is the file corrupt?")]
        if self.scale in LOG_SCALES:
            remedy = f"want {self.scale}: name the file's scale, or its raw counts"
            limits = [(PER, 0.01, "its total is", remedy)]
        elif len(self.total):
            # Totals come from files as float32 too: equal to about 1e-7. Cells left out may lack one.
            most = np.where(self.group < 0, np.inf, self.total)
            remedy = "want the total over all genes of the source"
            limits.append((most, 1e-6, "its total is", remedy))
        for most, slack, limit, remedy in limits:
            wrong = ~(counted * (1 - slack) <= most)
            if wrong.any():
                row = int(np.argmax(wrong))
                most = np.broadcast_to(most, wrong.shape)[row]
                raise InputError(
                    f"{self.matrix}: row {self.rows[row]} (from 0) adds up to {counted[row]:g}, "
                    f"{limit} {most:g}; {remedy}"
                )


def sums_of_rows(indptr: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return the sum of the values of each row of a block: (rows,)."""
    sums = np.add.reduceat(np.append(data, 0.0), indptr[:-1]) if len(indptr) > 1 else np.zeros(0)
    return np.where(np.diff(indptr) > 0, sums, 0.0)  # reduceat gives an empty row the next value


def _orders(place, parts):
    """Rows for each thread: whole groups, so that no two add to the same sums, and all in order.

    The cells of a group are taken together, so that its sums stay in the cache.
    """
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    starts = [len(place) * part // parts for part in range(1, parts)]
    return np.split(order, np.searchsorted(ordered, ordered[starts]) if len(place) else starts)
