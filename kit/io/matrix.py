"""The count matrix in an h5ad file: its layout, and its rows in blocks of bounded size.

Covers the layouts that anndata has written: CSR, CSC and dense, with the attribute `encoding-type` or the
older `h5sparse_format`. Those of R packages too: numbers as float64, single values as lists of one, a
dgCMatrix's names of its parts, attributes that are missing, gene x cell; where the lengths of the parts
or the numbers of cells and genes leave a doubt, the matrix is refused.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files import InputError, quote_some
from .hdf5 import attribute, opened

BLOCK_VALUES = 2**22  # about 32 MB: few calls, memory that is used again, groups meet in the cache
BLOCK_SHARE = 256  # bytes of budget a value of a block: two blocks, one being converted, a quarter
ROWS_AT_ONCE = 2**20  # rows whose indptr is held
MOST = 2.0**31  # UMI of a cell: beyond it, an integer has overflowed
FORMATS = {"csr_matrix": "csr", "csc_matrix": "csc", "csr": "csr", "csc": "csc"}
PARTS = {"indptr": "p", "indices": "i", "data": "x"}  # and their names in R's dgCMatrix
SHAPE = ("shape", "h5sparse_shape", "dims", "Dim")


class Header(NamedTuple):
    """What a matrix shows without its values.

    shape: cell x gene; format: `csr`, `csc` (by these axes) or `dense`. stored: number of values, zeros
    of a dense matrix too. chunk_rows: rows of a chunk of a dense one, else 1. turned: whether it is
    stored gene x cell.
    """

    shape: tuple[int, int]
    format: str
    stored: int
    chunk_rows: int
    turned: bool


@dataclass(frozen=True)
class Matrix:
    """Counts, cell x gene, under `key` of an h5ad file: `X`, `layers/counts`, `raw/X`.

    `labelled`: how many cells and genes its labels name, where they are known: another shape is
    refused, unless it is gene x cell. Holds no open file, so it can be sent to other processes; opened
    where it is read.
    """

    path: Path | str
    key: str = "X"
    labelled: tuple[int, int] | None = None

    shape = property(lambda self: self.header.shape)
    format = property(lambda self: self.header.format)

    def __str__(self):
        return f"{self.path}, {self.key}"

    @cached_property
    def header(self) -> Header:
        """Shape, format and size, after checks that need no values; InputError for what is no matrix."""
        with self.open() as stored:
            if hasattr(stored, "dtype"):
                if len(stored.shape) != 2:
                    raise InputError(f"{self} has shape {stored.shape}; want a matrix cell x gene")
                turned = self._turned(stored.shape)
                chunk_rows = stored.chunks[turned] if stored.chunks else 1
                self._check_kind(stored, "biuf")
                shape = stored.shape[::-1] if turned else stored.shape
                return Header(shape, "dense", stored.size, chunk_rows, turned)
            parts = {name: _part(stored, name) for name in PARTS}
            if None in parts.values():
                raise InputError(
                    f"{self} is no CSR, CSC or dense matrix: it holds {quote_some(stored) or 'nothing'}, "
                    f"want {quote_some(PARTS)}; give the key of one, or write it with anndata (in R: "
                    "anndataR, zellkonverter)"
                )
            for name, part in parts.items():
                if len(getattr(part, "shape", ())) != 1:
                    raise InputError(f"{self}: {name} is no list; is the file corrupt?")
                self._check_kind(part, "biuf" if name == "data" else "iuf")
            lengths = [len(part) for part in parts.values()]
            format, shape = self._form(stored, lengths[0] - 1)
            lines = shape[format == "csc"]
            if lengths[0] != lines + 1 or lengths[1] != lengths[2]:
                raise InputError(
                    f"{self} of shape {shape} has {lengths[0]} indptr, {lengths[1]} indices and "
                    f"{lengths[2]} data; want {lines + 1} indptr, as many indices as data; is the "
                    "file corrupt?"
                )
            ends = parts["indptr"][0], parts["indptr"][lines]
            if ends != (0, lengths[2]):
                raise InputError(
                    f"{self}: indptr goes from {ends[0]} to {ends[1]}, want 0 to {lengths[2]}; is the "
                    "file corrupt?"
                )
            if turned := self._turned(shape):
                format, shape = "csc" if format == "csr" else "csr", shape[::-1]
            return Header(shape, format, lengths[2], 1, turned)

    def _form(self, stored, lines):
        """Format and shape as a group states them; what it does not state follows from its `lines`."""
        name, given = (
            attribute(stored, "encoding-type", "h5sparse_format"),
            attribute(stored, *SHAPE),
        )
        if given is None:
            given = next((stored[name][()] for name in SHAPE if name in stored), self.labelled)
        given = np.asarray(given)
        sized = given.shape == (2,) and given.dtype.kind in "iuf" and (given == given // 1).all()
        shape = (int(given[0]), int(given[1])) if sized else None
        fitting = [kind for kind in ("csr", "csc") if shape and shape[kind == "csc"] == lines]
        format = FORMATS.get(name) if isinstance(name, str) else None
        if name is None and len(fitting) == 1:
            format = fitting[0]
        if shape is None or format is None:
            raise InputError(
                f"{self} is no CSR, CSC or dense matrix: its encoding-type is {name}, its shape {given}; "
                "want csr_matrix or csc_matrix and two whole numbers; write it with anndata"
            )
        return format, shape

    def _turned(self, shape):
        """Whether a shape is that of the labels, gene x cell."""
        if self.labelled in (None, shape):
            return False
        if self.labelled != shape[::-1]:
            cells, genes = self.labelled
            raise InputError(
                f"{self} has shape {shape}, its labels are those of {cells} cells and {genes} genes; "
                "declare the place of its counts as `counts`, or is the file corrupt?"
            )
        return True

    @contextmanager
    def open(self) -> Iterator:
        """Yield the HDF5 group or dataset."""
        with opened(self.path, needed=()) as file:
            if self.key not in file:
                layers = [f"layers/{name}" for name in file.get("layers", ())]
                modalities = [f"mod/{name}/X" for name in file.get("mod", ())]
                have = [key for key in ("X", *layers, "raw/X", *modalities) if key in file]
                raise InputError(
                    f"{self.path} has no `{self.key}`; it has {quote_some(have) or 'no matrix'}"
                )
            yield file[self.key]

    def blocks(self, start: int, stop: int, budget: int) -> Iterator[tuple]:
        """Yield rows `start` to `stop` (columns, of a CSC matrix) in blocks that hold whole ones.

        A block is (first row, indptr from 0 as int64, indices as int32, data as float32 or float64),
        at most `budget` / 20 bytes or one row. Its arrays may be changed, and last until the next
        block is asked for, which a thread reads meanwhile. Raises InputError where the file is broken;
        indices and values are not checked.
        """
        values = max(1, min(BLOCK_VALUES, budget // BLOCK_SHARE))
        with closing(self._read(start, stop, values)) as blocks, ThreadPoolExecutor(1) as reader:
            upcoming = reader.submit(next, blocks, None)
            while (block := upcoming.result()) is not None:
                upcoming = reader.submit(next, blocks, None)
                yield block

    def _read(self, start, stop, values):
        with self.open() as stored:
            if self.format == "dense":
                yield from self._dense(stored, start, stop, values)
                return
            for first in range(start, stop, ROWS_AT_ONCE):
                yield from self._compressed(stored, first, min(stop, first + ROWS_AT_ONCE), values)

    def _compressed(self, stored, start, stop, values):
        parts = {name: _part(stored, name) for name in PARTS}
        given = _slice(parts["indptr"], start, stop + 1)
        indptr = _whole(given, np.int64)
        length = np.diff(indptr)
        longest = max(BLOCK_VALUES, self.shape[self.format == "csr"])
        bounds = indptr[0] < 0 or indptr[-1] > self.header.stored
        broken = (length < 0) | (length > longest) | (indptr != given)[1:]
        if bounds or broken.any():
            place = start + int(np.argmax(broken))
            raise InputError(f"{self}: indptr is broken at or after {place}; is the file corrupt?")
        # Two places to read to, in turn: new memory for each block costs as much as to copy it.
        number = min(values, int(indptr[-1] - indptr[0]))
        parts = parts["indices"], parts["data"]
        rooms = cycle([[np.empty(number, part.dtype) for part in parts] for _ in range(2)])
        first = 0
        while first < len(length):
            end = np.searchsorted(indptr, indptr[first] + values, side="right") - 1
            end = min(max(end, first + 1), len(length))
            span = indptr[first], indptr[end]
            ends = indptr[first : end + 1] - span[0]
            room = next(rooms)
            indices = _slice(parts[0], *span, room[0])
            data = _floating(_slice(parts[1], *span, room[1]))
            narrow = _whole(indices, np.int32)
            if indices.dtype != np.int32 and (narrow != indices).any():
                raise self.fault(start + first, ends, indices, np.zeros(len(indices)))
            yield start + first, ends, narrow, data
            first = end

    def _dense(self, stored, start, stop, values):
        rows = max(1, values // max(1, self.shape[1]))
        # Rows of whole chunks, so that none is unpacked twice, unless a few would be too large.
        if self.header.chunk_rows <= 4 * rows:
            rows = max(1, rows // self.header.chunk_rows) * self.header.chunk_rows
        first = start
        while first < stop:
            end = min(stop, first + rows - first % rows)
            turned = self.header.turned
            block = _floating(stored[:, first:end].T if turned else stored[first:end])
            kept = block != 0  # NaN too: it is a fault to report
            places = np.flatnonzero(kept)
            indptr = np.append(0, np.cumsum(np.count_nonzero(kept, axis=1)))
            indices = (places % block.shape[1]).astype(np.int32)
            yield first, indptr, indices, block.ravel()[places]
            first = end

    def _check_kind(self, dataset, kinds):
        if dataset.dtype.kind not in kinds:
            raise InputError(f"{self} holds {dataset.dtype} in {dataset.name}; want numbers")

    def fault(
        self,
        first: int,
        indptr: np.ndarray,
        indices: np.ndarray,
        data: np.ndarray,
        scale: str | None = None,
        largest: float = np.inf,
    ) -> InputError:
        """Return the InputError for the first stored value of a block that is not valid.

        Valid are whole numbers from 0 or, with the name of a `scale`, numbers from 0 to `largest`.
        """
        length = self.shape[self.format != "csc"]
        outside = (indices < 0) | (indices >= length)
        sound = np.isfinite(data) & (data >= 0) & (data <= largest)
        if scale is None:
            sound &= data == np.floor(data)
        at = int(np.argmax(outside | ~sound))
        line = first + int(np.searchsorted(indptr, at, side="right")) - 1
        if outside[at]:
            kind, other = ("column", "row") if self.format == "csc" else ("row", "column")
            return InputError(
                f"{self}: {kind} {line} (from 0) has {other} index {indices[at]}, "
                f"want 0 to {length - 1}; is the file corrupt?"
            )
        row, column = (indices[at], line) if self.format == "csc" else (line, indices[at])
        place = f"{self}: row {row}, column {column} (from 0) holds {data[at]:g}"
        if scale is None:
            return InputError(
                f"{place}; want raw counts, whole numbers from 0: name the layer that holds them, "
                "or the scale where it is log-normalised"
            )
        return InputError(
            f"{place}; want {scale}, 0 to {largest:.4g}: name the file's scale, or its raw counts"
        )


def _part(stored, name):
    """A part of a sparse matrix, by its name or that of R; None where there is none."""
    return next((stored[key] for key in (name, PARTS[name]) if key in stored), None)


def _slice(part, start, stop, room=()):
    if not 0 < stop - start <= len(room):
        return part[start:stop]
    part.read_direct(room, np.s_[start:stop], np.s_[: stop - start])
    return room[: stop - start]


def _whole(values, kind):
    """As whole numbers; those that are none become others."""
    with np.errstate(invalid="ignore"):
        return values.astype(kind, copy=False)


def _floating(values):
    """As float32 or float64, whichever holds the values exactly (64-bit integers up to 2^53)."""
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
