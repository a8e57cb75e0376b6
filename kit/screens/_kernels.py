"""Compiled loops of `kit.screens.streaming` over the stored values of rows.

They take one block: `indptr` (int64, from 0), `indices` (int32) and `data` (float32 or float64). Indices
and values are not trusted: each row is checked before its indices are used. Importing this module
imports numba; `kit.screens.streaming` does so where it needs it.
"""

import math

import numpy as np

from ..io.device import compiled
from ._task import PER

SMALL = 64  # counts below it share one logarithm a cell


@compiled()
def weigh(indices, data, width, whole):
    """Total and number of positive values of a row; is it sound; do its indices increase?"""
    total, positive, previous, increasing = 0.0, 0, -1, True
    for i in range(len(data)):
        index, value = indices[i], data[i]
        sound = 0 <= index < width and 0 <= value < np.inf
        if not sound or (whole and value != np.floor(value)):
            return total, positive, False, increasing
        total += value
        positive += value > 0
        increasing &= index > previous
        previous = index
    return total, positive, True, increasing


@compiled()
def summed(indices, data, target_of, seen):
    """Targets of the indices, each once, and sums of their values; without indices of target -1.

    `seen` is -1 for every target, before and after.
    """
    targets, sums, kept = np.empty_like(indices), np.zeros_like(data), 0
    for i in range(len(indices)):
        target = target_of[indices[i]]
        if target < 0:
            continue
        if seen[target] < 0:
            seen[target] = kept
            targets[kept] = target
            kept += 1
        sums[seen[target]] += data[i]
    for i in range(kept):
        seen[targets[i]] = -1
    return targets[:kept], sums[:kept]


@compiled()
def add_logarithms(genes, values, scale, table, sums, squares):
    """Add log2(1 + value x scale) of one row and its square to `sums` and `squares`, by gene.

    Gene -1 is none. `table` is scratch for the logarithms of counts below its length.
    """
    table[:] = 0.0
    for i in range(len(genes)):
        if genes[i] < 0:
            continue
        value = values[i]
        logarithm = table[np.uint32(value)] if value < len(table) else 0.0
        if logarithm == 0.0:
            logarithm = math.log2(1.0 + value * scale)
            if value < len(table):
                table[np.uint32(value)] = logarithm
        sums[genes[i]] += logarithm
        squares[genes[i]] += logarithm * logarithm


@compiled()
def sum_rows(
    indptr, indices, data, order, place, gene_of, shared, mito, given, whole, seen,
    total, detected, mitochondrial, sums, squares,
):  # fmt: skip
    """Add log2(1 + CP10k) and its square to the sums of each row's group, and total up each row.

    `order`: rows in the order to take, those of a group together so that its sums stay in the cache.
    By row: `place` (row of `sums`, -1 for none), `given` (total to normalise by; may be empty).
    By source column: `gene_of` (column of `sums`, -1 for none), `mito` (may be empty). `shared`:
    several columns have one gene. Not `whole`: `data` is CP10k. Returns the first unsound row, or -1.
    """
    table, itself = np.zeros(SMALL if whole else 0), np.arange(len(gene_of))
    for row in order:
        columns = indices[indptr[row] : indptr[row + 1]]
        values = data[indptr[row] : indptr[row + 1]]
        counted, positive, sound, increasing = weigh(columns, values, len(gene_of), whole)
        if not sound:
            return row
        if not increasing:
            columns, values = summed(columns, values, itself, seen)
            positive = np.sum(values > 0)
        total[row], detected[row] = counted, positive
        if len(mito):
            mitochondrial[row] = np.sum(values[mito[columns]])
        if place[row] < 0:
            continue
        genes = gene_of[columns]
        if shared:
            genes, values = summed(columns, values, gene_of, seen)
        scale = 1.0
        if whole:
            divisor = given[row] if len(given) else counted
            scale = PER / divisor if divisor > 0 else 0.0
        add_logarithms(genes, values, scale, table, sums[place[row]], squares[place[row]])
    return -1
