"""Pseudobulk of single cells, as the competition's host makes it: means, effects, samples, bootstrap.

A cell's UMI counts are divided by its total over *all* genes, times 10,000, log2(x + 1); then the
output genes are taken; then the plain mean over cells. Taking the genes first is the most common
error with this data: it changes every total.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io.files import InputError, check_known, check_unique, quote_some, repeated
from ..io.matrix import MOST

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import sparray

STRATA = ("sgrna_symbol", "sgrna_id", "channel")  # within which the bootstrap draws cells
SCALE = 10_000  # counts per ten thousand
ROWS_AT_ONCE = 512  # a block of about 30 MB stays in reused memory; larger ones cost page faults


def log_normalise(counts: "np.ndarray | sparray", total: np.ndarray | None = None):
    """Return raw counts normalised to log2(1 + counts per 10,000): a CSR array of float64.

    `counts`: cell x gene, CSR, CSC or dense; `total`: UMI by cell over ALL genes of the source, by
    default the row sums. A cell without counts stays zero. Raises
    InputError for counts that are negative, broken or not finite, and totals below the row sums.
    """
    from scipy.sparse import csr_array

    values = csr_array(counts, dtype=np.float64, copy=True)
    values.sum_duplicates()
    wrong = ~((values.data >= 0) & (values.data <= MOST) & (values.data == np.rint(values.data)))
    if wrong.any():
        raise InputError(
            f"counts hold {values.data[np.argmax(wrong)]:g}; want raw counts: whole numbers from 0"
        )
    counted = np.asarray(values.sum(axis=1)).ravel()
    total = counted if total is None else np.asarray(total, dtype=np.float64).ravel()
    if total.shape != counted.shape:
        raise InputError(f"{len(total)} totals for {len(counted)} cells; want one a cell")
    # Totals come from files as float32 too: equal to about 1e-7.
    short = ~(total >= counted * (1 - 1e-6))
    if short.any():
        cell = np.argmax(short)
        raise InputError(
            f"total of cell {cell} is {total[cell]:g}, its counts sum to {counted[cell]:g}; "
            "want the total over all genes of the source"
        )
    scale = np.divide(SCALE, total, out=np.zeros_like(total), where=total > 0)
    values.data = np.log2(1 + values.data * np.repeat(scale, np.diff(values.indptr)))
    return values


def mean_expression(
    cells: "AnnData", genes: Iterable[str], by: str = "sgrna_symbol"
) -> pd.DataFrame:
    """Return mean log2(1 + CP10k) over the cells of each group: group x gene, sorted by group.

    `cells`: AnnData of raw counts with all genes of the source, in memory or backed; `genes`: those
    to return, in this order; `by`: a column of `cells.obs`. Raises InputError for a gene or column that
    is missing.
    """
    codes, table = _groups(cells, [by])
    return _group_means(cells, genes, codes).set_axis(pd.Index(table[by], name=by))


def effects(cells: "AnnData", genes: Iterable[str]) -> pd.DataFrame:
    """Return mean expression of perturbations minus that of the control: perturbation x gene, log2."""
    means = mean_expression(cells, genes).rename_axis(index="perturbation")
    if CONTROL not in means.index:
        raise InputError(f"no cell is `{CONTROL}` in obs `sgrna_symbol`; want control cells")
    return means.drop(index=CONTROL) - means.loc[CONTROL]


def samples(
    cells: "AnnData",
    genes: Iterable[str],
    by: Iterable[str] = ("sgrna_symbol", "sgrna_id", "channel"),
    min_cells: int = 5,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the mean of the cells of each combination of the columns `by`: a sample a guide and channel.

    Combinations with fewer than `min_cells` cells are left out, and a perturbation with none left
    with them. Returns the mean log2(1 + CP10k) (gene x sample frame) and a frame by sample with the
    columns `by` and `cells`. A sample is named by its values, joined by `|`.
    """
    by = list(by)
    codes, table = _groups(cells, by)
    kept = (table["cells"] >= min_cells).to_numpy()
    if not kept.any():
        raise InputError(
            f"no sample has {min_cells} cells, the largest {table['cells'].max()}; "
            f"lower min_cells or group by fewer columns than {quote_some(by)}"
        )
    table = table.set_axis(pd.Index(table[by].agg("|".join, axis=1), name="sample"))
    means = _group_means(cells, genes, codes).set_axis(table.index)
    return means[kept].T, table[kept]


def bootstrap_effects(
    competition: Competition,
    draws: int = 8,
    *,
    seed: int = 0,
    cells: "AnnData | None" = None,
) -> np.ndarray:
    """Return effects of the training rows in `draws` samples of cells: (draws, rows, genes), float32.

    Cells are drawn with replacement within each guide and batch, control cells too, whose error all
    effects share. A network trained on another draw at every step cannot learn the noise of one.

    Rows and genes are in the competition's order; cells: AnnData of raw counts with all genes of the
    source, by default `competition.read_cells()`; without obs `sgrna_id` or `channel` they are drawn
    within what is there. Raises InputError where a row has no cells, or no draw is asked for.
    """
    from scipy.sparse import csr_array

    if draws < 1:
        raise InputError(f"draws is {draws}, want at least 1")
    cells = competition.read_cells() if cells is None else cells
    group = cells.obs["sgrna_symbol"].astype(str).to_numpy()
    names = [*competition.effects.index, CONTROL]
    check_known(names, group, "perturbations lack cells")
    columns = columns_of(competition.genes, cells.var_names)
    values = log_normalise(cells.X)[:, columns].astype(np.float32)
    by = [name for name in STRATA if name in cells.obs]
    stratum = cells.obs[by].astype(str).agg("|".join, axis=1)
    _, stratum, sizes = np.unique(stratum, return_inverse=True, return_counts=True)
    order = np.argsort(stratum, kind="stable")  # cells of a stratum side by side
    first = np.cumsum(sizes) - sizes
    start, size = first[stratum[order]], sizes[stratum[order]]
    place = {name: row for row, name in enumerate(names)}
    row = np.array([place.get(name, -1) for name in group])
    random = np.random.default_rng(seed)
    found = np.empty((draws, len(names) - 1, len(columns)), dtype=np.float32)
    for draw in range(draws):
        taken = order[start + (random.random(len(order)) * size).astype(int)]
        taken = taken[row[taken] >= 0]
        count = np.bincount(row[taken], minlength=len(names))
        member = csr_array(
            (1 / count[row[taken]].astype(np.float32), (row[taken], taken)),
            shape=(len(names), len(row)),
        )  # a cell that is drawn twice counts twice: repeated entries add up
        means = (member @ values).toarray()
        found[draw] = means[:-1] - means[-1]
    return found


def _groups(cells, by):
    """Group of each cell, and a frame by group of the columns `by` and `cells`, sorted by `by`."""
    check_known(by, cells.obs, "cells lack obs columns")
    labels = cells.obs[by]
    if not len(labels):
        raise InputError("there are no cells; want at least one")
    if (unnamed := labels.isna().any(axis=1)).any():
        raise InputError(
            f"{unnamed.sum()} cells have no value in {quote_some(by)}; leave them out first"
        )
    grouped = labels.astype(str).groupby(by, sort=True)
    return grouped.ngroup().to_numpy(), grouped.size().rename("cells").reset_index()


def _group_means(cells, genes, codes):
    """Mean log2(1 + CP10k) of the cells of each group: group x gene frame."""
    from scipy.sparse import csr_array

    genes = pd.Index(genes, name="gene")
    columns = columns_of(genes, cells.var_names)
    size = np.bincount(codes)
    sums = np.zeros((len(size), len(columns)))
    for start, counts in _row_blocks(cells.X):
        total = np.asarray(counts.sum(axis=1)).ravel()
        values = log_normalise(counts[:, columns], total)
        present, local = np.unique(codes[start : start + len(total)], return_inverse=True)
        member = csr_array((np.ones(len(total)), (local, np.arange(len(total)))))
        sums[present] += (member @ values).toarray()
    return pd.DataFrame(sums / size[:, None], columns=genes)


def _row_blocks(counts):
    """Yield the first row and the CSR counts (float64) of each block of cells."""
    from scipy.sparse import csr_array, issparse

    if counts is None:
        raise InputError("cells have no X; want raw counts in it")
    if getattr(counts, "format", None) == "csc":  # rows of it are slow, on disk above all
        counts = (counts if issparse(counts) else counts.to_memory()).tocsr()
    for start in range(0, counts.shape[0], ROWS_AT_ONCE):
        yield start, csr_array(counts[start : start + ROWS_AT_ONCE], dtype=np.float64)


def columns_of(genes: Iterable[str], measured: pd.Index) -> np.ndarray:
    """Return the columns of genes among those measured: (genes,). InputError for one that is missing."""
    genes = pd.Index(genes)
    check_unique(genes, "genes asked for are repeated")
    check_known(genes, measured, "cells lack genes")
    if again := genes.intersection(repeated(measured)).tolist():
        raise InputError(f"cells have several columns for {quote_some(again)}; sum or rename them")
    return measured.get_indexer_for(genes)
