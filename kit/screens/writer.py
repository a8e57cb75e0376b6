"""Write h5ad files piece by piece: nothing is held but the piece at hand and one column of labels.

A file has its name only when it is whole; a write that fails is one clear line. Counts are compressed
with gzip, level 1 after shuffling: every reader of HDF5 understands it. Effects do not compress.
"""

from contextlib import contextmanager

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from ..io.files import replacing
from ..io.hdf5 import made

CHUNK = 2**16  # values compressed together: about 30 cells of 2,000 genes
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
ROWS_AT_ONCE = 256
VALUES_AT_ONCE = 2**20
NAMES_AT_ONCE = 2**16


@contextmanager
def new_h5ad(path, genes, uns=None):
    """An open HDF5 file that becomes the h5ad `path` when the block ends well; `genes`: its var names."""
    from anndata.io import write_elem

    with replacing(path) as place, made(place) as file:
        _mark(file, "anndata", "0.1.0")
        write_elem(file, "var", pd.DataFrame(index=pd.Index(genes, dtype=object)))
        write_elem(file, "uns", {name: plain(value) for name, value in (uns or {}).items()})
        yield file


def write_labels(file, columns, names, length):
    """Write obs of `length` rows: `columns`, pairs of a name and its values; `names` of the rows."""
    import h5py
    from anndata.io import write_elem

    table = file.create_group("obs")
    order = []
    for name, values in columns:
        write_elem(table, name, plain(values))
        order.append(name)
    _mark(table, "dataframe", "0.2.0")
    table.attrs["_index"], table.attrs["column-order"] = "_index", order
    index = table.create_dataset("_index", (length,), h5py.string_dtype())
    _mark(index, "string-array", "0.2.0")
    names = iter(names)
    for start in range(0, length, NAMES_AT_ONCE):
        stop = min(length, start + NAMES_AT_ONCE)
        index[start:stop] = [name for name, _ in zip(names, range(start, stop), strict=False)]


def new_matrix(file, key, shape):
    """An array of float32 in an open file, NaN until written; `key`: X or layers/<name>."""
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

    def __init__(self, file, genes):
        self.group, self.genes = file.create_group("X"), genes
        self.ends = [np.zeros(1, np.int64)]
        for name, kind in (("data", np.float32), ("indices", np.int32)):
            self.group.create_dataset(
                name, (0,), kind, maxshape=(None,), chunks=(CHUNK,), **COMPRESSED
            )

    def append(self, indptr, indices, data):
        """Add rows from arrays or from datasets of another file; `indptr` begins at 0."""
        start = self.ends[-1][-1]
        for name, values in (("data", data), ("indices", indices)):
            stored = self.group[name]
            stored.resize((start + len(values),))
            for first in range(0, len(values), VALUES_AT_ONCE):
                block = values[first : first + VALUES_AT_ONCE]
                stored[start + first : start + first + len(block)] = block
        self.ends.append(start + indptr[1:].astype(np.int64))

    def close(self):
        indptr = np.concatenate(self.ends)
        # scipy wants both index arrays of one kind, where that is possible.
        kind = np.int32 if indptr[-1] <= np.iinfo(np.int32).max else np.int64
        self.group.create_dataset("indptr", data=indptr.astype(kind), **COMPRESSED)
        _mark(self.group, "csr_matrix", "0.1.0")
        self.group.attrs["shape"] = np.array([len(indptr) - 1, self.genes])


def plain(values):
    """The same with text as objects: the strings of pandas 3 anndata writes only when told to."""
    if isinstance(values, pd.Categorical):
        return pd.Categorical.from_codes(values.codes, values.categories.astype(object))
    if isinstance(values, pd.DataFrame):
        text = values.columns[[not is_numeric_dtype(column) for _, column in values.items()]]
        return values.astype(dict.fromkeys(text, object)).set_axis(values.index.astype(object))
    return values


def _mark(element, kind, version):
    element.attrs["encoding-type"], element.attrs["encoding-version"] = kind, version
