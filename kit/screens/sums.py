"""What cells add up to, group by group, and how ranges of cells join: see `kit.screens.streaming`."""

from dataclasses import dataclass

import numpy as np

from ..io.files import InputError

PER = 10_000.0  # counts per ten thousand


@dataclass
class Sums:
    """What a range of rows adds up to; `a + b` joins two that follow each other.

    Only groups that occur are held: `groups` (increasing ids), `cells` (int64), `sums` and `squares`
    (group x gene, of log2(1 + CP10k)). By cell of the range, left-out cells too: `total` UMI over all
    genes of the source, `detected` source columns (int32), `mitochondrial` UMI; NaN where unknown.
    """

    groups: np.ndarray
    cells: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    total: np.ndarray
    detected: np.ndarray
    mitochondrial: np.ndarray

    def __add__(self, other):
        return join([self, other])

    def mean(self):
        """Mean of log2(1 + CP10k), group x gene."""
        return self.sums / self.cells[:, None]

    def variance(self):
        """Variance over cells with n - 1, group x gene; NaN for a group of one cell."""
        n = self.cells[:, None]
        # In place: these are the largest arrays there are.
        variance = self.sums**2
        variance /= -n
        variance += self.squares
        np.maximum(variance, 0, out=variance)
        with np.errstate(invalid="ignore"):
            variance /= n - 1
        return variance


def join(parts):
    """Add up the Sums of row ranges that follow each other, in their order, one by one."""
    groups, by_group, by_cell = None, None, []
    for part in parts:
        more = [part.cells, part.sums, part.squares]
        by_cell.append((part.total, part.detected, part.mitochondrial))
        if by_group is None:
            groups, by_group = part.groups, more
        elif np.array_equal(groups, part.groups):
            # The first sums belong to the first part, those made here can be added to.
            by_group = [
                np.add(array, added, out=None if len(by_cell) == 2 else array)
                for array, added in zip(by_group, more, strict=True)
            ]
        else:
            union = np.union1d(groups, part.groups)
            for i, added in enumerate(more):
                array = np.zeros((len(union), *added.shape[1:]), added.dtype)
                array[np.searchsorted(union, groups)] = by_group[i]
                array[np.searchsorted(union, part.groups)] += added
                by_group[i] = array
            groups = union
        # These would stay while the next part is made.
        del part, more
    if by_group is None:
        raise InputError("there are no Sums to join; want at least one")
    return Sums(groups, *by_group, *map(np.concatenate, zip(*by_cell, strict=True)))
