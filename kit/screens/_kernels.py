"""Compiled loops of `kit.screens.streaming` over the stored values of rows.

They take one block: `indptr` (int64, from 0), `indices` (int32) and `data` (float32 or float64). Indices
and values are not trusted: each row is checked before its indices are used. Importing this module
imports numba; `kit.screens.streaming` does so where it needs it.
"""

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from ._task import PER

SMALL = 32  # counts below it share one logarithm a cell


def _compiled(*flags: str) -> Callable:
    """Return a decorator that compiles without the GIL and caches the code where a folder is writable."""
    # Sums of whole numbers are exact in any order, so they may be reordered to be vectorised.
    settings = {"nogil": True, "fastmath": {"reassoc", "nsz", *flags}}

    def decorate(function):
        try:
            return njit(cache=True, **settings)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache
            return njit(**settings)(function)

    return decorate


@_compiled()
def weigh(indices, data, width, whole):
    """Total and number of positive values of a row; is it sound; do its indices increase?"""
    total, positive, faults, falls, previous = 0.0, 0, 0, 0, -1
    for i in range(len(data)):  # without a branch, so that it becomes vector instructions
        index, value = indices[i], data[i]
        faults += (index < 0) | (index >= width) | (value < 0) | (not value < np.inf)
        faults += whole & (value != np.floor(value))
        total += value
        positive += value > 0
        falls += index <= previous
        previous = index
    return total, positive, faults == 0, falls == 0


@_compiled()
def summed(indices, data, target_of, seen):
    """Targets of the indices, each once, and sums of their values.

    `seen` is -1 for every target, before and after.
    """
    targets, sums, kept = np.empty_like(indices), np.zeros_like(data), 0
    for i in range(len(indices)):
        target = target_of[np.uint32(indices[i])]
        place = seen[target]
        if place < 0:
            seen[target] = place = kept
            targets[kept] = target
            kept += 1
        sums[place] += data[i]
    for i in range(kept):
        seen[targets[i]] = -1
    return targets[:kept], sums[:kept]


@_compiled()
def add_logarithms(columns, values, slots, scale, table, sums, squares):
    """Add log2(1 + value x scale) of one row and its square to `sums` and `squares`, by slot.

    `slots`: by column. `table` is scratch for the logarithms of counts below its length.
    """
    for count in range(len(table)):
        table[count] = math.log2(1.0 + count * scale)
    for i in range(len(columns)):
        slot, value = slots[np.uint32(columns[i])], values[i]
        scaled = 1.0 + value * scale
        logarithm = table[np.uint32(value)] if value < len(table) else math.log2(scaled)
        sums[slot] += logarithm
        squares[slot] += logarithm * logarithm


@_compiled()
def sum_rows(
    indptr, indices, data, order, place, slots, shared, mito, given, whole, seen,
    total, detected, mitochondrial, sums, squares,
):  # fmt: skip
    """Add log2(1 + CP10k) and its square to the sums of each row's group, and total up each row.

    `order`: rows in the order to take, those of a group together so that its sums stay in the cache.
    By row: `place` (row of `sums`, -1 for none), `given` (total to normalise by; may be empty).
    By source column: `slots` (column of `sums`), `mito` (may be empty). `shared`: several columns have
    one slot that counts. Not `whole`: `data` is CP10k. Returns the first unsound row, or -1.
    """
    table, itself = np.zeros(SMALL if whole else 0), np.arange(len(slots)).astype(np.uint32)
    for row in order:
        columns = indices[indptr[row] : indptr[row + 1]]
        values = data[indptr[row] : indptr[row + 1]]
        counted, positive, sound, increasing = weigh(columns, values, len(slots), whole)
        if not sound:
            return row
        if not increasing:
            columns, values = summed(columns, values, itself, seen)
            positive = np.sum(values > 0)
        total[row], detected[row] = counted, positive
        if len(mito):
            for i in range(len(columns)):
                if mito[columns[i]]:
                    mitochondrial[row] += values[i]
        if place[row] < 0:
            continue
        slot_of = slots
        if shared:
            columns, values = summed(columns, values, slots, seen)
            slot_of = itself
        scale = 1.0
        if whole:
            divisor = given[row] if len(given) else counted
            scale = PER / divisor if divisor > 0 else 0.0
        to = sums[place[row]], squares[place[row]]
        add_logarithms(columns, values, slot_of, scale, table, *to)
    return -1
