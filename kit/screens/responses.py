"""Responses of a screen: what each perturbation did, against the control cells of its own batches.

Of a perturbation's n cells, n_b lie in batch b, which has m_b control cells:

    effect = mean - sum_b k_b control_mean_b
    se^2   = variance / n + sum_b k_b^2 control_variance_b / m_b

over log2(1 + CP10k), with k_b = n_b / n. A batch with fewer than `min_controls` control cells lends
its share to all control cells of the dataset alike, and takes the variance within batches for its own;
without batches there is one. `variance` is over all cells of the perturbation, so it holds differences
between batches too, and the error is rather too large than too small. How the file is written is in
`merge`, how it is read in `atlas`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..competition import CONTROL

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
    row x control group, how much of each control mean; sums to 1. few: control groups with fewer than
    two or `min_controls` cells.
    """

    rows: np.ndarray
    cells: np.ndarray
    controls: np.ndarray
    control_cells: np.ndarray
    shares: np.ndarray
    few: np.ndarray


def group_cells(screen, symbols):
    """Group the cells of a screen that are kept; `symbols`: final symbol by target label."""
    obs, kept = screen.obs, screen.obs["kept"].to_numpy()
    names = sorted({CONTROL, *symbols.values()})
    place = {name: number for number, name in enumerate(names)}
    labels = obs["target"].cat.categories
    # Code -1, no label, takes the last; such cells are not kept.
    target = np.array([place[symbols.get(label, label)] for label in labels] + [0])
    target = target[obs["target"].cat.codes]
    batch, batches = batch_numbers(obs)
    dataset = obs["dataset"].cat.codes.to_numpy().astype(np.int64)
    key = (dataset * len(names) + target) * batches + np.where(obs["control"], batch, 0)
    keys, group = np.unique(key[kept], return_inverse=True)
    weights = (
        obs["cells"].to_numpy()[kept] if "cells" in obs else None
    )  # a row of bulk is many cells
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


def batch_numbers(obs):
    """Batch of each cell and the number of batches; cells without one are a batch of their own."""
    if "batch" not in obs:
        return np.zeros(len(obs), dtype=np.int64), 1
    codes = obs["batch"].cat.codes.to_numpy().astype(np.int64)
    last = len(obs["batch"].cat.categories)
    return np.where(codes < 0, last, codes), last + 1


def plan_contrasts(groups, *, min_cells, min_controls):
    """The contrasts of each dataset, of perturbations with at least `min_cells` cells: a dict."""
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


def control_shares(in_batch, cells, control_cells, min_controls):
    """How much of each batch's control mean a perturbation is compared with; rows sum to 1.

    `in_batch`: its cells in each batch that has control cells; `cells`: all its cells.
    """
    own = np.where(control_cells >= min_controls, in_batch / cells[:, None], 0)
    rest = np.maximum(1 - own.sum(axis=1, keepdims=True), 0)
    return own + rest * control_cells / control_cells.sum()


def effects_and_errors(contrast, sums):
    """Effect and standard error of each row, row x gene, float32; `sums` as `stream` has them."""
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


def mitochondrial_umi(obs, total, counted):
    """Mitochondrial UMI by cell: by the share that the file tells, else as counted."""
    return obs["mito"].to_numpy() * total if "mito" in obs else counted


def group_table(screen, groups, sums):
    """By group: `sgrna_symbol, dataset, n_cells`, guides, and means of the cells' counts."""
    table, kept = groups.table, groups.of_cell >= 0
    means = (
        pd.DataFrame(
            {
                "RNAcount": sums.total,
                "featurecount": sums.detected,
                "mitocount": mitochondrial_umi(screen.obs, sums.total, sums.mitochondrial),
            }
        )[kept]
        .groupby(groups.of_cell[kept])
        .mean()
    )
    obs = table[["sgrna_symbol", "dataset"]].assign(
        n_cells=table["cells"], guides=guides_by_group(screen, groups)
    )
    return pd.concat([obs, means], axis=1)


def guides_by_group(screen, groups):
    """Number of guides of each group's cells; NaN where the screen names none."""
    if "guide" not in screen.obs:
        return np.full(len(groups.table), np.nan)
    guide = screen.obs["guide"].cat.codes.to_numpy()
    known = (groups.of_cell >= 0) & (guide >= 0)
    pairs = np.unique(np.column_stack([groups.of_cell, guide])[known], axis=0)
    return np.bincount(pairs[:, 0], minlength=len(groups.table)).astype(float)
