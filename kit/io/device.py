"""The device that works: a GPU if a tensor can be put on it, else the CPU."""

from functools import cache


@cache
def device():
    """The first device that holds a tensor: a GPU that torch was not built for passes is_available()."""
    import torch

    try:
        torch.zeros(1, device="cuda")
    except Exception:  # whatever the driver raises: there is none that works
        return torch.device("cpu")
    return torch.device("cuda")
