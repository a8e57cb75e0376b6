"""Loops compiled by numba. Importing this module imports numba: import it where it is used."""

import numpy as np
from numba import njit


def compiled(*flags: str):
    """Return a decorator that compiles without the GIL and caches the code where a folder is writable."""
    # Sums of whole numbers are exact in any order, so they may be reordered to be vectorised.
    settings = {"nogil": True, "fastmath": {"reassoc", "nsz", *flags}}

    def decorate(function):
        try:
            return njit(cache=True, **settings)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache
            return njit(**settings)(function)

    return decorate


@compiled()
def compress(dense: np.ndarray):
    """Return the CSR arrays indptr, indices and data of a dense block. NaN counts as stored."""
    indptr = np.zeros(len(dense) + 1, np.int64)
    for row in range(len(dense)):
        stored = 0
        for column in range(dense.shape[1]):
            stored += dense[row, column] != 0
        indptr[row + 1] = indptr[row] + stored
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], dense.dtype)
    for row in range(len(dense)):
        at = indptr[row]
        for column in range(dense.shape[1]):
            if dense[row, column] != 0:
                indices[at], data[at] = column, dense[row, column]
                at += 1
    return indptr, indices, data
