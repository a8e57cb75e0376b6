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

    rows: their groups. controls: groups of control cells. shares: row x control group, weights of the
    control means; sum to 1. few: control groups with fewer than two or `min_controls` cells.
    """

    rows: np.ndarray
    controls: np.ndarray
    shares: np.ndarray
    few: np.ndarray


def group_cells(screen: Screen, symbols: dict[str, str]) -> Groups:
    """Group the cells of a screen that are kept; `symbols`: final symbol by target label."""
    obs, kept = screen.obs, screen.obs["kept"].to_numpy()
    labels = {
        "dataset": obs["dataset"].cat.codes,
        "sgrna_symbol": obs["target"].astype(object).map(symbols),
        "batch": obs["batch"].cat.codes.where(obs["control"], 0),
    }
    by_label = pd.DataFrame(labels)[kept].groupby(list(labels))
    of_cell = np.full(len(obs), -1, dtype=np.int64)
    of_cell[kept] = group = by_label.ngroup().to_numpy()
    table = by_label.size().index.to_frame(index=False)
    table["dataset"] = np.array(screen.datasets, dtype=object)[table["dataset"]]
    # A row of bulk is many cells.
    weights = obs["cells"].to_numpy()[kept] if "cells" in obs else None
    table["cells"] = np.bincount(group, weights, len(table)).astype(np.int64)
    batch, batches = obs["batch"].cat.codes.to_numpy()[kept], len(obs["batch"].cat.categories)
    in_batch = np.bincount(group * batches + batch, weights, len(table) * batches)
    return Groups(of_cell, table, in_batch.reshape(len(table), batches))


def plan_contrasts(groups: Groups, *, min_cells: int, min_controls: int) -> dict[str, Contrast]:
    """Return the contrast of each dataset, of perturbations with at least `min_cells` cells."""
    table, control, contrasts = groups.table, groups.control, {}
    cells, batch = table["cells"].to_numpy(), table["batch"].to_numpy()
    for dataset in dict.fromkeys(table["dataset"]):
        own = (table["dataset"] == dataset).to_numpy()
        rows = np.flatnonzero(own & ~control & (cells >= min_cells))
        controls = np.flatnonzero(own & control)
        in_batch = groups.in_batch[np.ix_(rows, batch[controls])]
        shares = control_shares(in_batch, cells[rows], cells[controls], min_controls)
        few = cells[controls] < max(min_controls, 2)
        contrasts[dataset] = Contrast(rows, controls, shares, few)
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
    control_cells = sums.cells[contrast.controls, None]
    freedom = control_cells - 1
    with np.errstate(invalid="ignore"):
        within = np.where(freedom > 0, variance * freedom, 0).sum(axis=0) / freedom.sum()
    variance = np.where(contrast.few[:, None], within, variance)
    control_error = variance / control_cells
    effect, se = np.empty((2, len(contrast.rows), len(within)), dtype=np.float32)
    for start in range(0, len(effect), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        shares = contrast.shares[block]
        mean, variance = _moments(sums, contrast.rows[block])
        effect[block] = mean - shares @ control_mean
        cells = sums.cells[contrast.rows[block], None]
        se[block] = np.sqrt(variance / cells + shares**2 @ control_error)
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


def group_table(screen: Screen, groups: Groups, sums: Sums) -> pd.DataFrame:
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
    guides = screen.obs["guide"].groupby(groups.of_cell).nunique()
    return guides.reindex(range(len(groups.table))).to_numpy(dtype=float)


def group_means(
    screen: Screen, matrix: Matrix, groups: Groups, columns: np.ndarray, genes: int, budget: int
) -> Sums:
    """Return log2(1 + CP10k) of each group's mean UMI, times its cells, as the Sums of a bulk file.

    Rows are weighted by their cells; squares are NaN, unknown. `columns`: output gene of each source
    column, -1 for none. Raises InputError for values that are no means of counts, such as z-scores.
    """
    from scipy.sparse import csc_array, csr_array

    (rows, width), wanted = matrix.shape, np.flatnonzero(columns >= 0)
    pick = csr_array((np.ones(len(wanted)), (wanted, columns[wanted])), shape=(width, genes))
    kept, cells = np.flatnonzero(groups.of_cell >= 0), screen.obs["cells"].to_numpy()
    member = cells[kept], (groups.of_cell[kept], kept)
    member = csc_array(member, shape=(len(groups.table), rows))
    sums, total = np.zeros((len(groups.table), genes)), np.zeros(rows)
    for first, indptr, indices, data in matrix.blocks(0, rows, budget):
        wrong = ~((data >= 0) & (data <= MOST))
        if wrong.any():
            raise InputError(
                f"{matrix} holds {data[wrong][0]:g}, want mean UMI from 0; z-normalised bulk has no "
                "effects in log2: take the raw bulk file"
            )
        counts = csr_array((data, indices, indptr), shape=(len(indptr) - 1, width))
        here = slice(first, first + counts.shape[0])
        sums += (member[:, here] @ (counts @ pick)).toarray()
        total[here] = counts.sum(axis=1)
    of_group = (member @ total)[:, None]
    scale = np.divide(PER, of_group, out=np.zeros(of_group.shape), where=of_group > 0)
    ids, number = np.arange(len(sums)), groups.table["cells"].to_numpy()
    sums = np.log2(1 + sums * scale) * number[:, None]
    unknown = np.full(rows, np.nan)
    return Sums(ids, number, sums, np.full_like(sums, np.nan), total, unknown, unknown)
