"""The compute device: a GPU if a tensor can be put on it, else the CPU."""

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
