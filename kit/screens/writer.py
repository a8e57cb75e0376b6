"""Write h5ad files piece by piece: nothing is held but the piece at hand and one column of labels.

A file has its name only when it is whole; a write that fails is one clear line. Counts are compressed
with gzip, level 1 after shuffling: every reader of HDF5 understands it. Effects do not compress.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype, union_categoricals

from ..io.files import replacing
from ..io.hdf5 import made, opened
from .labels import column_names, read_column

CHUNK = 2**16  # values compressed together: about 30 cells of 2,000 genes
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
ROWS_AT_ONCE = 256
VALUES_AT_ONCE = 2**20
NAMES_AT_ONCE = 2**16


@contextmanager
def new_h5ad(path: Path, genes: pd.Index, uns: dict | None = None) -> Iterator[h5py.File]:
    """Yield an open HDF5 file that becomes the h5ad `path` when the block ends well.

    `genes`: its var names; `uns`: texts, arrays and frames by name.
    """
    from anndata.io import write_elem

    with replacing(path) as place, made(place) as file:
        _mark(file, "anndata", "0.1.0")
        write_elem(file, "var", pd.DataFrame(index=pd.Index(genes, dtype=object)))
        write_elem(file, "uns", {name: _plain(value) for name, value in (uns or {}).items()})
        yield file


def write_labels(
    file: h5py.File, columns: Iterable[tuple], names: Iterable[str], length: int
) -> None:
    """Write obs of `length` rows: `columns`, pairs of a name and its values; `names` of the rows."""
    from anndata.io import write_elem

    table = file.create_group("obs")
    order = []
    for name, values in columns:
        write_elem(table, name, _plain(values))
        order.append(name)
    _mark(table, "dataframe", "0.2.0")
    table.attrs["_index"], table.attrs["column-order"] = "_index", order
    index = table.create_dataset("_index", (length,), h5py.string_dtype())
    _mark(index, "string-array", "0.2.0")
    names = iter(names)
    for start in range(0, length, NAMES_AT_ONCE):
        stop = min(length, start + NAMES_AT_ONCE)
        index[start:stop] = [name for name, _ in zip(names, range(start, stop), strict=False)]


def new_matrix(file: h5py.File, key: str, shape: tuple[int, int]) -> h5py.Dataset:
    """Return an array of float32 in an open file, NaN until written; `key`: X or layers/<name>."""
    if "/" in key and "layers" not in file:
        _mark(file.create_group("layers"), "dict", "0.1.0")
    matrix = file.create_dataset(
        key,
        shape,
        np.float32,
        maxshape=(None, shape[1]),  # or none of its rows, which may be, would not be allowed
        chunks=(ROWS_AT_ONCE, min(512, shape[1])),
        fillvalue=np.nan,
    )
    _mark(matrix, "array", "0.2.0")
    return matrix


class Counts:
    """The CSR matrix X of an open file, float32, appended by blocks of rows and closed at the end."""

    def __init__(self, file: h5py.File, genes: int) -> None:
        self.group, self.genes = file.create_group("X"), genes
        self.ends = [np.zeros(1, np.int64)]
        for name, kind in (("data", np.float32), ("indices", np.int32)):
            self.group.create_dataset(
                name, (0,), kind, maxshape=(None,), chunks=(CHUNK,), **COMPRESSED
            )

    def append(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> None:
        """Add rows from arrays or from datasets of another file; `indptr` begins at 0."""
        start = self.ends[-1][-1]
        for name, values in (("data", data), ("indices", indices)):
            stored = self.group[name]
            stored.resize((start + len(values),))
            for first in range(0, len(values), VALUES_AT_ONCE):
                block = values[first : first + VALUES_AT_ONCE]
                stored[start + first : start + first + len(block)] = block
        self.ends.append(start + indptr[1:].astype(np.int64))

    def close(self) -> None:
        """Write the ends of the rows and the shape."""
        indptr = np.concatenate(self.ends)
        # scipy wants both index arrays of one kind, where that is possible.
        kind = np.int32 if indptr[-1] <= np.iinfo(np.int32).max else np.int64
        self.group.create_dataset("indptr", data=indptr.astype(kind), **COMPRESSED)
        _mark(self.group, "csr_matrix", "0.1.0")
        self.group.attrs["shape"] = np.array([len(indptr) - 1, self.genes])


def join_parts(
    path: Path, parts: list[Path], genes: pd.Index, uns: dict, measured: pd.DataFrame | None = None
) -> None:
    """Write all parts into one file, in their order: responses, or cells where `measured` is given.

    `measured`: gene x dataset, bool.
    """
    from anndata.io import write_elem

    with ExitStack() as stack:
        files = [stack.enter_context(opened(part)) for part in parts]
        joined = stack.enter_context(new_h5ad(path, genes, uns))
        length = sum(len(file["obs/_index"]) for file in files)
        if measured is None:
            for key in ("X", "layers/se"):
                matrix, start = new_matrix(joined, key, (length, len(genes))), 0
                for stored in (file[key] for file in files):
                    for first in range(0, len(stored), ROWS_AT_ONCE):
                        block = stored[first : first + ROWS_AT_ONCE]
                        matrix[start : start + len(block)] = block
                        start += len(block)
        else:
            counts = Counts(joined, len(genes))
            for file in files:
                counts.append(*(file[f"X/{name}"] for name in ("indptr", "indices", "data")))
            counts.close()
            write_elem(joined, "varm", {"measured": _plain(measured)})
        write_labels(joined, _columns(files), _names(files), length)


def _columns(files):
    """Yield each column of obs of several open files, one below the other."""
    for name in column_names(files[0]["obs"]):
        columns = [read_column(file["obs"], name) for file in files]
        categorical = isinstance(columns[0], pd.Categorical)
        yield name, (union_categoricals if categorical else np.concatenate)(columns)


def _names(files):
    """Yield the names of the rows of several open files."""
    for names in (file["obs/_index"] for file in files):
        for start in range(0, len(names), NAMES_AT_ONCE):
            yield from names.asstr()[start : start + NAMES_AT_ONCE]


def _plain(values):
    """The same with text as objects: the strings of pandas 3 anndata writes only on request."""
    if isinstance(values, pd.Categorical):
        return pd.Categorical.from_codes(values.codes, values.categories.astype(object))
    if isinstance(values, pd.DataFrame):
        text = values.columns[[not is_numeric_dtype(column) for _, column in values.items()]]
        return values.astype(dict.fromkeys(text, object)).set_axis(values.index.astype(object))
    return values


def _mark(element, kind, version):
    element.attrs["encoding-type"], element.attrs["encoding-version"] = kind, version
