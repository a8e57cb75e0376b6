"""Write the h5ad files of a merge: the responses and the cells of one source, and of all.

They are written piece by piece: nothing is held but the piece at hand and one column of labels. A
file has its name only when it is whole; a write that fails is one clear line. Counts are compressed
with gzip, level 1 after shuffling: every reader of HDF5 understands it. Effects do not compress.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype, union_categoricals

from ..io.files import InputError, replacing
from ..io.hdf5 import made, opened
from ..io.matrix import Matrix
from .labels import as_categories
from .responses import effects_and_errors, group_means, group_table, mitochondrial_umi
from .sources import Part
from .streaming import gene_tiles, group_sums, read_rows

if TYPE_CHECKING:
    from anndata.abc import CSRDataset

CHUNK = 2**16  # values compressed together: about 30 cells of 2,000 genes
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": (CHUNK,)}
ROWS_AT_ONCE = 256
NAMES_AT_ONCE = 2**16
BUDGET = 2**28  # bytes, to copy counts from part to whole


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


def new_counts(file: h5py.File, genes: int) -> "CSRDataset":
    """Return the CSR matrix X of an open file, float32, still without rows: `append` adds some."""
    from anndata.io import sparse_dataset, write_elem
    from scipy.sparse import csr_array

    # Ends of rows need 64 bits where there are more than 2^31 values.
    kind = COMPRESSED | {"indptr_dtype": np.int64}
    write_elem(file, "X", csr_array((0, genes), dtype=np.float32), dataset_kwargs=kind)
    return sparse_dataset(file["X"])


def write_responses(
    path: Path, part: Part, budget: int, executor: Executor | None, progress: Callable
) -> None:
    """Write the responses of one file: X effect and layers/se, row x gene, NaN for not measured.

    `executor`: as `streaming.run` takes it; `progress` is called with numbers of rows that are done.
    The counts are read once for each range of genes whose sums fit the budget: nearly always once.
    """
    screen, groups = part.screen, part.groups
    rows = np.concatenate([contrast.rows for contrast in part.contrasts.values()])
    unmeasured = ~np.isin(np.arange(len(part.genes)), part.columns)
    tiles = gene_tiles(len(groups.table), len(part.genes), budget)
    whole = part.task(budget)
    with new_h5ad(path, part.genes) as file:
        shape = len(rows), len(part.genes)
        matrices = new_matrix(file, "X", shape), new_matrix(file, "layers/se", shape)
        for tile in tiles:
            columns = np.where(np.isin(part.columns, tile), part.columns - tile.start, -1)
            if screen.layout.kind == "bulk":
                sums = group_means(screen, whole.matrix, groups, columns, len(tile), budget)
            else:
                task = replace(whole, columns=columns, genes=len(tile))
                sums = group_sums(task, executor, lambda rows: progress(rows / len(tiles)))
            if not (sums.total.any() and sums.detected.any()):  # NaN, unknown, is not 0
                raise InputError(
                    f"{whole.matrix} holds no count above 0; is it another matrix's place?"
                )
            start = 0
            for contrast in part.contrasts.values():
                stop = start + len(contrast.rows)
                for matrix, values in zip(
                    matrices, effects_and_errors(contrast, sums), strict=True
                ):
                    values[:, unmeasured[tile.start : tile.stop]] = np.nan
                    matrix[start:stop, tile.start : tile.stop] = values
                start = stop
        obs = group_table(screen, groups, sums).iloc[rows].assign(competition=part.source.own)
        names = obs["sgrna_symbol"] + "|" + obs["dataset"]
        obs = obs.assign(**{name: as_categories(obs[name]) for name in ("sgrna_symbol", "dataset")})
        write_labels(file, ((name, obs[name].values) for name in obs), names, len(obs))


def write_cells(
    path: Path, part: Part, budget: int, executor: Executor | None, progress: Callable
) -> None:
    """Write the cells of one file: X raw counts of the competition's genes in CSR, and their labels.

    They are written as they are read, one block after the other: `executor` has no part in it.
    """
    rows = np.flatnonzero(part.screen.obs["kept"].to_numpy())
    obs = part.screen.obs.iloc[rows]
    with new_h5ad(path, part.genes) as file:
        stored = new_counts(file, len(part.genes))
        blocks, totals = read_rows(part.task(budget), rows)
        for counts in blocks:
            stored.append(counts)
            progress(counts.shape[0])
        total = obs["total"].to_numpy() if "total" in obs else totals.total[rows]
        columns = {
            "sgrna_symbol": as_categories(obs["target"].array, part.source.symbols.get),
            "dataset": obs["dataset"].array,
            "batch": obs["batch"].array,
            "RNAcount": total,
            "featurecount": totals.detected[rows],
            "mitocount": mitochondrial_umi(obs, total, totals.mitochondrial[rows]),
            "competition": np.full(len(obs), part.source.own),
        }
        names = (f"{name}-{row}" for name, row in zip(obs["dataset"], rows, strict=True))
        write_labels(file, columns.items(), names, len(obs))


def join_parts(
    path: Path, parts: list[Path], genes: pd.Index, uns: dict, measured: pd.DataFrame | None = None
) -> None:
    """Write all parts into one file, in their order: responses, or cells where `measured` is given.

    `measured`: gene x dataset, bool.
    """
    from anndata.io import write_elem
    from scipy.sparse import csr_array

    with ExitStack() as stack:
        files = [stack.enter_context(opened(part)) for part in parts]
        joined = stack.enter_context(new_h5ad(path, genes, uns))
        lengths = [len(file["obs/_index"]) for file in files]
        if measured is None:
            for key in ("X", "layers/se"):
                matrix, start = new_matrix(joined, key, (sum(lengths), len(genes))), 0
                for stored in (file[key] for file in files):
                    for first in range(0, len(stored), ROWS_AT_ONCE):
                        block = stored[first : first + ROWS_AT_ONCE]
                        matrix[start : start + len(block)] = block
                        start += len(block)
        else:
            counts = new_counts(joined, len(genes))
            for part, length in zip(parts, lengths, strict=True):
                for _, indptr, indices, data in Matrix(part).blocks(0, length, BUDGET):
                    shape = len(indptr) - 1, len(genes)
                    counts.append(csr_array((data, indices, indptr), shape=shape))
            write_elem(joined, "varm", {"measured": _plain(measured)})
        write_labels(joined, _columns(files), _names(files), sum(lengths))


def _columns(files):
    """Yield each column of obs of several open files, one below the other."""
    from anndata.io import read_elem

    for name in files[0]["obs"].attrs["column-order"]:
        columns = [read_elem(file["obs"][name]) for file in files]
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
