"""Parts of a merge: the responses and the cells of one file, each a file; and their joining."""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..io.files import InputError
from ..io.hdf5 import opened
from .bulk import bulk_effects, bulk_table, group_means
from .labels import Screen, as_categories, column_names, read_column
from .responses import (
    Contrast,
    Groups,
    effects_and_errors,
    group_table,
    mitochondrial_umi,
)
from .writer import (
    NAMES_AT_ONCE,
    Counts,
    new_h5ad,
    new_matrix,
    plain,
    write_labels,
)

NO_BATCH = "none"
ROWS_AT_ONCE = 1024


@dataclass(eq=False)
class Part:
    """What the parts of one file are made from.

    wanted: the competition's genes; columns: the place among them of each column of the matrix, -1 for
    none; mitochondrial: mask of columns, or None where no gene is known as such; symbols: final symbol
    by target label; own: whether the cells are the competition's own.
    """

    screen: Screen
    groups: Groups
    contrasts: dict[str, Contrast]
    wanted: pd.Index
    columns: np.ndarray
    mitochondrial: np.ndarray | None
    symbols: dict[str, str]
    own: bool

    @property
    def matrix(self):
        from ..io.matrix import Matrix

        return Matrix(self.screen.path, self.screen.matrix)

    @property
    def measured(self):
        return np.isin(np.arange(len(self.wanted)), self.columns)


def write_responses(path, part, *, budget, executor, progress):
    """Write the responses of one file: X effect and layers/se, row x gene, NaN for not measured."""
    from .streaming import gene_tiles, group_sums

    screen, groups, bulk = part.screen, part.groups, part.screen.layout.kind == "bulk"
    effects_of, table_of = (bulk_effects, bulk_table) if bulk else (effects_and_errors, group_table)
    rows = np.concatenate([contrast.rows for contrast in part.contrasts.values()])
    # Ranges of genes whose sums fit the budget, one by one; nearly always one of all genes.
    tiles = gene_tiles(len(groups.table), len(part.wanted), budget)
    table = None
    with new_h5ad(path, part.wanted) as file:
        shape = len(rows), len(part.wanted)
        matrices = new_matrix(file, "X", shape), new_matrix(file, "layers/se", shape)
        for tile in tiles:
            columns = np.where(np.isin(part.columns, tile), part.columns - tile.start, -1)
            if bulk:
                sums = group_means(screen, part.matrix, groups, columns, len(tile), budget)
            else:
                sums = group_sums(
                    part.matrix,
                    groups.of_cell,
                    columns,
                    len(tile),
                    mito=part.mitochondrial,
                    total=screen.obs.get("total"),
                    log_normalised=None if screen.layout.scale == "counts" else screen.layout.scale,
                    budget=budget,
                    executor=executor,
                    progress=lambda task: progress(len(task.rows) / len(tiles)),
                )
            if not (sums.total if bulk else sums.detected).any():
                raise InputError(
                    f"{part.matrix} holds no count above 0; is it another matrix's place?"
                )
            table = table_of(screen, groups, sums) if table is None else table
            unmeasured, start = ~part.measured[tile.start : tile.stop], 0
            for contrast in part.contrasts.values():
                stop = start + len(contrast.rows)
                for matrix, values in zip(matrices, effects_of(contrast, sums), strict=True):
                    values[:, unmeasured] = np.nan
                    matrix[start:stop, tile.start : tile.stop] = values
                start = stop
        obs = table.iloc[rows].assign(competition=part.own)
        names = (f"{row.sgrna_symbol}|{row.dataset}" for row in obs.itertuples())
        columns = ((name, _column(values)) for name, values in obs.items())
        write_labels(file, columns, names, len(obs))


def write_cells(path, part, *, budget, executor, progress):
    """Write the cells of one file: X raw counts of the competition's genes in CSR, and their labels.

    They are written as they are read, one block after the other: `executor` has no part in it.
    """
    from .streaming import read_rows

    obs = part.screen.obs
    rows = np.flatnonzero(obs["kept"].to_numpy())
    by_cell = []
    with new_h5ad(path, part.wanted) as file:
        counts = Counts(file, len(part.wanted))
        for block in read_rows(
            part.matrix,
            part.columns,
            len(part.wanted),
            rows,
            mito=part.mitochondrial,
            budget=budget,
        ):
            counts.append(block.counts.indptr, block.counts.indices, block.counts.data)
            by_cell.append((block.total, block.detected, block.mitochondrial))
            progress(len(block.rows))
        counts.close()
        total, detected, mitochondrial = map(np.concatenate, zip(*by_cell, strict=True))
        obs = obs.iloc[rows]
        total = obs["total"].to_numpy() if "total" in obs else total
        columns = {
            "sgrna_symbol": as_categories(obs["target"].array, part.symbols.get),
            "dataset": obs["dataset"].array,
            "batch": _batches(obs),
            "RNAcount": total,
            "featurecount": detected,
            "mitocount": mitochondrial_umi(obs, total, mitochondrial),
            "competition": np.full(len(obs), part.own),
        }
        names = (f"{name}-{row}" for name, row in zip(obs["dataset"], rows, strict=True))
        write_labels(file, columns.items(), names, len(obs))


def join_responses(path, parts, genes, uns):
    """Write the responses of all parts into one file, in their order."""
    with ExitStack() as stack:
        files = [stack.enter_context(opened(part)) for part in parts]
        lengths = [len(file["X"]) for file in files]
        joined = stack.enter_context(new_h5ad(path, genes, uns))
        for key in ("X", "layers/se"):
            matrix, start = new_matrix(joined, key, (sum(lengths), len(genes))), 0
            for file, length in zip(files, lengths, strict=True):
                for first in range(0, length, ROWS_AT_ONCE):
                    block = file[key][first : first + ROWS_AT_ONCE]
                    matrix[start + first : start + first + len(block)] = block
                start += length
        write_labels(joined, _join_columns(files), _join_names(files), sum(lengths))


def join_cells(path, parts, measured, uns):
    """Write the cells of all parts into one file, in their order; `measured`: frame gene x dataset."""
    from anndata.io import write_elem

    with ExitStack() as stack:
        files = [stack.enter_context(opened(part)) for part in parts]
        joined = stack.enter_context(new_h5ad(path, measured.index, uns))
        counts = Counts(joined, len(measured))
        for file in files:
            counts.append(*(file[f"X/{name}"] for name in ("indptr", "indices", "data")))
        counts.close()
        write_elem(joined, "varm", {"measured": plain(measured)})
        length = sum(len(file["X/indptr"]) - 1 for file in files)
        write_labels(joined, _join_columns(files), _join_names(files), length)


def _join_columns(files):
    """Yield each column of obs of several open files, one below the other."""
    from pandas.api.types import union_categoricals

    for name in column_names(files[0]["obs"]):
        columns = [read_column(file["obs"], name) for file in files]
        if isinstance(columns[0], pd.Categorical):
            yield name, union_categoricals(columns)
        else:
            yield name, np.concatenate(columns)


def _join_names(files):
    """Yield the names of the rows of several open files."""
    for file in files:
        names = file["obs/_index"].asstr()
        for start in range(0, len(file["obs/_index"]), NAMES_AT_ONCE):
            yield from names[start : start + NAMES_AT_ONCE]


def _batches(obs):
    """Batch of each cell; cells without one share the label `none`."""
    codes, names = np.full(len(obs), -1), []
    if "batch" in obs:
        codes, names = obs["batch"].cat.codes.to_numpy(), list(obs["batch"].cat.categories)
    if (codes < 0).any() and NO_BATCH not in names:
        names.append(NO_BATCH)
    codes = np.where(codes < 0, names.index(NO_BATCH) if (codes < 0).any() else 0, codes)
    return pd.Categorical.from_codes(codes, pd.Index(names, dtype=object))


def _column(values):
    """Numbers as they are, text as a categorical."""
    array = values.to_numpy()
    return as_categories(array) if array.dtype.kind not in "biuf" else array
