"""What computes: a GPU or the CPU for torch, and loops that numba compiles for the CPU."""

from collections.abc import Callable
from functools import cache


@cache
def device():
    """Return the torch.device to use: a GPU that torch was not built for would pass is_available()."""
    import torch

    try:
        torch.zeros(1, device="cuda")
    except Exception:  # whatever the driver raises: there is none that works
        return torch.device("cpu")
    return torch.device("cuda")


def compiled(*flags: str) -> Callable:
    """Return a decorator that compiles without the GIL and caches the code where a folder is writable."""
    from numba import njit

    # Sums of whole numbers are exact in any order, so they may be reordered to be vectorised.
    settings = {"nogil": True, "fastmath": {"reassoc", "nsz", *flags}}

    def decorate(function):
        try:
            return njit(cache=True, **settings)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache
            return njit(**settings)(function)

    return decorate
