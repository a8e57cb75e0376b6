"""Responses of a screen: the effects of its perturbations against the control cells of its own batches.

Of a perturbation's n cells, n_b lie in batch b, which has m_b control cells:

    effect = mean - sum_b k_b control_mean_b
    se^2   = variance / n + sum_b k_b^2 control_variance_b / m_b

over log2(1 + CP10k), with k_b = n_b / n. A batch with fewer than `min_controls` control cells lends
its share to all control cells of the dataset, and takes the variance within batches for its own;
without batches there is one. `variance` is over all cells of the perturbation, so it holds differences
between batches too, and the error is rather too large than too small. How the file is written is in
`merging`, how it is read in `atlas`.

Files without cells, with mean UMI by perturbation, as Replogle's raw bulk: the logarithm of a mean is
not the mean of logarithms. The effect is log2(1 + CP10k) of the mean UMI minus that of the control,
larger than that of cells for genes of few counts, and has no standard error. Rows of one target are
averaged, weighted by their cells; there are no batches.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.files import InputError
from ..io.matrix import MOST, Matrix
from ._task import PER, Sums
from .labels import Screen

ROWS_AT_ONCE = 512


@dataclass(eq=False)
class Groups:
    """Cells of a screen by group: one a perturbation and dataset, for control cells one a batch too.

    of_cell: group of each cell, -1 to leave it out. table: by group, `dataset, sgrna_symbol, batch` (a
    number), `cells`. in_batch: cells, group x batch.
    """

    of_cell: np.ndarray
    table: pd.DataFrame
    in_batch: np.ndarray

    @property
    def control(self):
        return (self.table["sgrna_symbol"] == CONTROL).to_numpy()


@dataclass(eq=False)
class Contrast:
    """Perturbations of one dataset and the control cells that they are compared with.

    rows: their groups. controls: groups of control cells. cells, control_cells: cells of these. shares:
    row x control group, weights of the control means; sum to 1. few: control groups with fewer than
    two or `min_controls` cells.
    """

    rows: np.ndarray
    cells: np.ndarray
    controls: np.ndarray
    control_cells: np.ndarray
    shares: np.ndarray
    few: np.ndarray


def group_cells(screen: Screen, symbols: dict[str, str]) -> Groups:
    """Group the cells of a screen that are kept; `symbols`: final symbol by target label."""
    obs, kept = screen.obs, screen.obs["kept"].to_numpy()
    names = sorted({CONTROL, *symbols.values()})
    place = {name: number for number, name in enumerate(names)}
    labels = obs["target"].cat.categories
    # Code -1, no label, takes the last; such cells are not kept.
    target = np.array([place[symbols.get(label, label)] for label in labels] + [0])
    target = target[obs["target"].cat.codes]
    batch, batches = obs["batch"].cat.codes.to_numpy(np.int64), len(obs["batch"].cat.categories)
    dataset = obs["dataset"].cat.codes.to_numpy().astype(np.int64)
    key = (dataset * len(names) + target) * batches + np.where(obs["control"], batch, 0)
    keys, group = np.unique(key[kept], return_inverse=True)
    # A row of bulk is many cells.
    weights = obs["cells"].to_numpy()[kept] if "cells" in obs else None
    of_cell = np.full(len(obs), -1, dtype=np.int64)
    of_cell[kept] = group
    where, number = np.divmod(keys // batches, len(names))
    table = {
        "dataset": np.array(screen.datasets, dtype=object)[where],
        "sgrna_symbol": np.array(names, dtype=object)[number],
        "batch": keys % batches,
        "cells": np.bincount(group, weights, len(keys)).astype(np.int64),
    }
    in_batch = np.bincount(group * batches + batch[kept], weights, len(keys) * batches)
    return Groups(of_cell, pd.DataFrame(table), in_batch.reshape(len(keys), batches))


def plan_contrasts(groups: Groups, *, min_cells: int, min_controls: int) -> dict[str, Contrast]:
    """Return the contrast of each dataset, of perturbations with at least `min_cells` cells."""
    table, control = groups.table, groups.control
    contrasts = {}
    for dataset in dict.fromkeys(table["dataset"]):
        own = (table["dataset"] == dataset).to_numpy()
        rows = np.flatnonzero(own & ~control & (table["cells"] >= min_cells).to_numpy())
        controls = np.flatnonzero(own & control)
        cells = table["cells"].to_numpy()
        in_batch = groups.in_batch[np.ix_(rows, table["batch"].to_numpy()[controls])]
        shares = control_shares(in_batch, cells[rows], cells[controls], min_controls)
        few = cells[controls] < max(min_controls, 2)
        contrasts[dataset] = Contrast(rows, cells[rows], controls, cells[controls], shares, few)
    return contrasts


def control_shares(
    in_batch: np.ndarray, cells: np.ndarray, control_cells: np.ndarray, min_controls: int
) -> np.ndarray:
    """Return the weight of each batch's control mean in each contrast, row x batch; rows sum to 1.

    `in_batch`: a perturbation's cells in each batch that has control cells, row x batch; `cells`: all
    its cells; `control_cells`: by batch.
    """
    own = np.where(control_cells >= min_controls, in_batch / cells[:, None], 0)
    rest = np.maximum(1 - own.sum(axis=1, keepdims=True), 0)
    return own + rest * control_cells / control_cells.sum()


def effects_and_errors(contrast: Contrast, sums: Sums) -> tuple[np.ndarray, np.ndarray]:
    """Return effect and standard error of each row, two arrays row x gene, float32."""
    control_mean, variance = _moments(sums, contrast.controls)
    freedom = contrast.control_cells[:, None] - 1
    with np.errstate(invalid="ignore"):
        within = np.where(freedom > 0, variance * freedom, 0).sum(axis=0) / freedom.sum()
    variance = np.where(contrast.few[:, None], within, variance)
    control_error = variance / contrast.control_cells[:, None]
    effect, se = np.empty((2, len(contrast.rows), len(within)), dtype=np.float32)
    for start in range(0, len(effect), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        shares = contrast.shares[block]
        mean, variance = _moments(sums, contrast.rows[block])
        effect[block] = mean - shares @ control_mean
        error = variance / contrast.cells[block, None] + shares**2 @ control_error
        se[block] = np.sqrt(error)
    return effect, se


def _moments(sums, groups):
    """Mean and variance (n - 1; NaN for one cell) of log2(1 + CP10k), group x gene."""
    cells = sums.cells[groups, None]
    mean = sums.sums[groups] / cells
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(sums.squares[groups] - cells * mean**2, 0) / (cells - 1)
    return mean, variance


def mitochondrial_umi(obs: pd.DataFrame, total: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return mitochondrial UMI by cell: by the share that the file holds, else as counted."""
    return obs["mito"].to_numpy() * total if "mito" in obs else counted


def group_table(screen: Screen, groups: Groups, sums: "Sums | Means") -> pd.DataFrame:
    """Return by group `sgrna_symbol, dataset, n_cells, guides`, and means of the cells' counts."""
    table, kept = groups.table, groups.of_cell >= 0
    by_cell = {
        "RNAcount": sums.total,
        "featurecount": sums.detected,
        "mitocount": mitochondrial_umi(screen.obs, sums.total, sums.mitochondrial),
    }
    numbers, group = pd.DataFrame(by_cell)[kept], groups.of_cell[kept]
    weight = screen.obs["cells"][kept] if "cells" in screen.obs else pd.Series(1.0, numbers.index)
    totals = numbers.mul(weight, axis=0).groupby(group).sum(min_count=1)
    weights = numbers.notna().mul(weight, axis=0).groupby(group).sum()
    obs = table[["sgrna_symbol", "dataset"]].assign(
        n_cells=table["cells"], guides=guides_by_group(screen, groups)
    )
    return pd.concat([obs, totals / weights], axis=1)


def guides_by_group(screen: Screen, groups: Groups) -> np.ndarray:
    """Return the number of guides of each group's cells; NaN where the screen names none."""
    if "guide" not in screen.obs:
        return np.full(len(groups.table), np.nan)
    guide = screen.obs["guide"].cat.codes.to_numpy()
    known = (groups.of_cell >= 0) & (guide >= 0)
    pairs = np.unique(np.column_stack([groups.of_cell, guide])[known], axis=0)
    return np.bincount(pairs[:, 0], minlength=len(groups.table)).astype(float)


@dataclass(eq=False)
class Means:
    """Bulk by group: logs, log2(1 + CP10k) of the mean UMI, group x gene. By row: as Sums by cell."""

    logs: np.ndarray
    total: np.ndarray
    detected: np.ndarray
    mitochondrial: np.ndarray


def group_means(
    screen: Screen, matrix: Matrix, groups: Groups, columns: np.ndarray, genes: int, budget: int
) -> Means:
    """Average the rows of each group of a bulk file, weighted by their cells.

    `columns`: output gene of each source column, -1 for none. Raises InputError for values that are no
    means of counts, such as z-scores.
    """
    from scipy.sparse import csr_array

    if matrix.format == "csc":
        raise InputError(f"{matrix} is stored by columns; want bulk as a dense or CSR matrix")
    rows, width = matrix.shape
    wanted = np.flatnonzero(columns >= 0)
    pick = csr_array((np.ones(len(wanted)), (wanted, columns[wanted])), shape=(width, genes))
    sums, total = np.zeros((len(groups.table), genes)), np.zeros(rows)
    weight = screen.obs["cells"].to_numpy()
    for first, indptr, indices, data in matrix.blocks(0, rows, budget):
        wrong = ~((data >= 0) & (data <= MOST))
        if wrong.any():
            raise InputError(
                f"{matrix} holds {data[wrong][0]:g}, want mean UMI from 0; z-normalised bulk has no "
                "effects in log2: take the raw bulk file"
            )
        group = groups.of_cell[first : first + len(indptr) - 1]
        kept = np.flatnonzero(group >= 0)
        counts = csr_array((data, indices, indptr), shape=(len(group), width))
        member = (weight[first + kept], (group[kept], kept))
        sums += (csr_array(member, shape=(len(sums), len(group))) @ (counts @ pick)).toarray()
        total[first : first + len(group)] = counts.sum(axis=1)
    of_group = np.zeros(len(sums) + 1)
    np.add.at(of_group, groups.of_cell, weight * total)  # -1, left out, adds to the last
    scale = np.divide(PER, of_group[:-1], out=np.zeros(len(sums)), where=of_group[:-1] > 0)
    unknown = np.full(rows, np.nan)
    return Means(np.log2(1 + sums * scale[:, None]), total, unknown, unknown)


def bulk_effects(contrast: Contrast, means: Means) -> tuple[np.ndarray, np.ndarray]:
    """Return the effect of each row, row x gene, and NaN for its standard error."""
    effect = means.logs[contrast.rows] - contrast.shares @ means.logs[contrast.controls]
    return effect, np.full_like(effect, np.nan)
