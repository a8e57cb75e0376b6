"""Compiled loops of `kit.screens.streaming` over the stored values of compressed rows or columns.

Each takes one block: `indptr` (int64, from 0), `indices` (int32) and `data` (float32 or float64).
Indices and values are not trusted: a loop returns the number of the first unsound row or column it
meets, before it touches memory with it, or -1. Repeated indices are summed in place. Importing this
module imports numba; `kit.screens.streaming` does so where it needs it.
"""

import math

import numpy as np

from ..io.device import compiled
from ._task import PER

SMALL = 64  # counts below it share one logarithm a cell


@compiled()
def weigh(indices, data, whole):
    """Total and number of positive values of a row; is it sound; do its indices increase?"""
    falls = np.int32(0)
    following = indices[1:]
    for i in range(len(following)):
        falls += np.int32(following[i] <= indices[i])
    total, broken = 0.0, data.dtype.type(0)
    negative, positive = np.int32(0), np.int32(0)
    for i in range(len(data)):
        value = data[i]
        total += value
        # Not 0 for a fraction, NaN for NaN and infinity.
        broken += value - np.floor(value) if whole else value - value
        negative += np.int32(value < 0)
        positive += np.int32(value > 0)
    return total, positive, broken == 0 and negative == 0, falls == 0


@compiled("nnan")
def largest_of(data):
    """Largest of a sound row, 0 for an empty one."""
    largest = data.dtype.type(0)
    for i in range(len(data)):
        largest = data[i] if data[i] > largest else largest
    return largest


@compiled()
def all_within(indices, length, increasing):
    """Whether all indices lie in 0 .. length - 1."""
    if len(indices) == 0:
        return True
    if increasing:
        return indices[0] >= 0 and indices[-1] < length
    outside = 0
    for index in indices:
        outside += index < 0 or index >= length
    return outside == 0


@compiled()
def settle(indices, data, seen):
    """Sum repeated indices into their first place and return what is left, indices and values.

    `seen` is -1 for every index, before and after.
    """
    kept = 0
    for i in range(len(indices)):
        index, value = indices[i], data[i]
        data[i] = 0
        if seen[index] < 0:
            seen[index] = kept
            indices[kept], data[kept] = index, value
            kept += 1
        else:
            data[seen[index]] += value
    for i in range(kept):
        seen[indices[i]] = -1
    return indices[:kept], data[:kept]


@compiled()
def add_logarithms(columns, values, slots, scale, whole, table, sums, squares):
    """Add log2(1 + value x scale) of one row and its square to `sums` and `squares`.

    A count below SMALL is looked up in `table`: its first and last entry are 0, the others scratch.
    """
    tabulated, largest = 0, largest_of(values)
    if whole:
        tabulated, last = SMALL, values.dtype.type(SMALL)
        for count in range(1, min(np.int64(min(largest, last)) + 1, SMALL)):
            table[count] = math.log2(1.0 + count * scale)
        # No call and no branch in here: it takes most of the time.
        for i in range(len(columns)):
            slot = slots[np.uint64(columns[i])]
            logarithm = table[np.uint32(min(values[i], last))]
            sums[slot] += logarithm
            squares[slot] += logarithm * logarithm
    if largest >= tabulated:
        for i in range(len(columns)):
            if values[i] >= tabulated:
                slot = slots[np.uint64(columns[i])]
                logarithm = math.log2(1.0 + values[i] * scale)
                sums[slot] += logarithm
                squares[slot] += logarithm * logarithm


@compiled()
def sum_rows(
    indptr, indices, data, order, place, slots, shared, mito, given, whole, seen,
    total, detected, mitochondrial, sums, squares,
):  # fmt: skip
    """Add log2(1 + CP10k) and its square to the sums of each row's group, and total up each row.

    `order`: rows in the order to take, those of a group together so that its sums stay in the cache.
    By row: `place` (row of `sums`, -1 for none), `given` (total to normalise by; may be empty).
    By source column: `slots` (column of `sums`; the last but one takes what is not wanted), `mito`
    (0/1; may be empty). `shared`: several columns have one slot. Not `whole`: `data` is CP10k.
    """
    table = np.zeros(SMALL + 1)
    own_slots = np.arange(sums.shape[1]).astype(np.uint32)
    for row in order:
        columns = indices[indptr[row] : indptr[row + 1]]
        values = data[indptr[row] : indptr[row + 1]]
        counted, positive, sound, increasing = weigh(columns, values, whole)
        if not sound or not all_within(columns, len(slots), increasing):
            return row
        if not increasing:
            columns, values = settle(columns, values, seen)
            positive = weigh(columns, values, whole)[1]
        total[row], detected[row] = counted, positive
        if len(mito):
            for i in range(len(values)):
                if mito[columns[i]]:
                    mitochondrial[row] += values[i]
        if place[row] < 0:
            continue
        slot_of = slots
        if shared:
            kept = 0
            for i in range(len(columns)):
                slot = slots[columns[i]]
                if slot < sums.shape[1] - 2:
                    columns[kept], values[kept] = slot, values[i]
                    kept += 1
            columns, values = settle(columns[:kept], values[:kept], seen)
            slot_of = own_slots
        scale = 1.0
        if whole:
            divisor = given[row] if len(given) else counted
            scale = PER / divisor if divisor > 0 else 0.0
        to = sums[place[row]], squares[place[row]]
        add_logarithms(columns, values, slot_of, scale, whole, table, *to)
    return -1


@compiled()
def weigh_columns(indptr, indices, data, whole, mito, seen, total, detected, mitochondrial):
    """Total up rows over a block of columns; `mito` is by column of the block and may be empty."""
    for column in range(len(indptr) - 1):
        rows = indices[indptr[column] : indptr[column + 1]]
        values = data[indptr[column] : indptr[column + 1]]
        _, _, sound, increasing = weigh(rows, values, whole)
        if not sound or not all_within(rows, len(total), increasing):
            return column
        if not increasing:
            rows, values = settle(rows, values, seen)
        for i in range(len(rows)):
            total[rows[i]] += values[i]
            detected[rows[i]] += values[i] > 0
            if len(mito) and mito[column]:
                mitochondrial[rows[i]] += values[i]
    return -1


@compiled()
def sum_columns(indptr, indices, data, slots, scale, place, seen, sums, squares):
    """Add log2(1 + value x scale of its row) to the sums of each row's group, by column.

    `slots`: by column of the block, -1 to skip; `scale`, `place`: by row. The block is sound.
    """
    own, own_squares = np.empty(len(sums)), np.empty(len(sums))
    for column in range(len(indptr) - 1):
        if slots[column] < 0:
            continue
        rows = indices[indptr[column] : indptr[column + 1]]
        values = data[indptr[column] : indptr[column + 1]]
        if not weigh(rows, values, False)[3]:
            rows, values = settle(rows, values, seen)
        for group in range(len(own)):
            own[group] = own_squares[group] = 0.0
        for i in range(len(rows)):
            if place[rows[i]] >= 0:
                logarithm = math.log2(1.0 + values[i] * scale[rows[i]])
                own[place[rows[i]]] += logarithm
                own_squares[place[rows[i]]] += logarithm * logarithm
        for group in range(len(own)):
            sums[group, slots[column]] += own[group]
            squares[group, slots[column]] += own_squares[group]
    return -1
