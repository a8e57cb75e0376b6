"""Responses from files that hold no cells but mean UMI by perturbation, as Replogle's raw bulk does.

The logarithm of a mean is not the mean of logarithms: the effect is log2(1 + CP10k) of the mean UMI
minus that of the control, larger than that of cells for genes of few counts, and has no standard error.
Rows of one target are averaged, weighted by their cells; there are no batches.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..io.files import InputError
from ..io.matrix import MOST

PER = 10_000.0


@dataclass(eq=False)
class Means:
    """Mean UMI of each group, group x gene, and its total over all genes of the source."""

    means: np.ndarray
    total: np.ndarray


def group_means(screen, matrix, groups, columns, genes, budget):
    """Average the rows of each group, weighted by their cells.

    `columns`: output gene of each source column, -1 for none. Raises InputError for values that are no
    means of counts, such as z-scores.
    """
    from scipy.sparse import csr_array

    if matrix.format == "csc":
        raise InputError(f"{matrix} is stored by columns; want bulk as a dense or CSR matrix")
    wanted = np.flatnonzero(columns >= 0)
    pick = csr_array(
        (np.ones(len(wanted)), (wanted, columns[wanted])), shape=(matrix.shape[1], genes)
    )
    sums, total = np.zeros((len(groups.table), genes)), np.zeros(len(groups.table))
    weight = screen.obs["cells"].to_numpy()
    for first, indptr, indices, data in matrix.blocks(0, matrix.shape[0], budget):
        wrong = ~((data >= 0) & (data <= MOST))
        if wrong.any():
            raise InputError(
                f"{matrix} holds {data[wrong][0]:g}, want mean UMI from 0; z-normalised bulk has no "
                "effects in log2: take the raw bulk file"
            )
        group = groups.of_cell[first : first + len(indptr) - 1]
        kept = np.flatnonzero(group >= 0)
        counts = csr_array((data, indices, indptr), shape=(len(group), matrix.shape[1]))
        member = csr_array(
            (weight[first + kept], (group[kept], kept)), shape=(len(sums), len(group))
        )
        sums += (member @ (counts @ pick)).toarray()
        total += member @ counts.sum(axis=1)
    cells = groups.table["cells"].to_numpy()
    return Means(sums / cells[:, None], total / cells)


def bulk_effects(contrast, sums):
    """Effect of each row, row x gene, and NaN for its standard error."""
    scale = np.divide(PER, sums.total, out=np.zeros_like(sums.total), where=sums.total > 0)
    logs = np.log2(1 + sums.means * scale[:, None])
    effect = logs[contrast.rows] - contrast.shares @ logs[contrast.controls]
    return effect, np.full_like(effect, np.nan)


def bulk_table(screen, groups, sums):
    """By group: `sgrna_symbol, dataset, n_cells` and what bulk tells of the means of its cells."""
    table, kept = groups.table, groups.of_cell >= 0
    mito = np.full(len(table), np.nan)
    if "mito" in screen.obs:
        weight = screen.obs["cells"].to_numpy()
        shares = np.bincount(groups.of_cell[kept], (screen.obs["mito"] * weight)[kept])
        mito = shares / table["cells"].to_numpy() * sums.total
    return pd.DataFrame(
        {
            "sgrna_symbol": table["sgrna_symbol"],
            "dataset": table["dataset"],
            "n_cells": table["cells"],
            "guides": np.nan,
            "RNAcount": sums.total,
            "featurecount": np.nan,
            "mitocount": mito,
        }
    )
