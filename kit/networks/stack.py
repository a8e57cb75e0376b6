"""Networks of one architecture as one computation: their parameters lie side by side in a `Stack`.

Also here: the device that all tensors of networks are on.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import cache

import torch
from torch import Tensor

ON_CPU = 3  # networks in one computation there: tensors of more fit no cache


@cache
def device():
    """Return the torch.device to use: a GPU that torch was not built for would pass is_available()."""
    try:
        torch.zeros(1, device="cuda")
    except Exception:  # whatever the driver raises: there is none that works
        return torch.device("cpu")
    return torch.device("cuda")


class Called(torch.nn.Module):
    """A network as one argument of any function, so that its methods too see stacked parameters."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, function: Callable, *inputs):
        return function(self.network, *inputs)


class Stack:
    """Networks of one architecture, whose parameters lie side by side: one computation serves them all.

    `state` holds parameters and buffers by name, (networks, ...) each.
    """

    def __init__(self, networks: Sequence[torch.nn.Module]):
        self.networks = list(networks)
        parts = [Called(network) for network in networks]
        self._one = parts[0]
        self.parameters, self.buffers = torch.func.stack_module_state(parts)

    def __len__(self):
        return len(self.networks)

    @property
    def state(self) -> dict[str, Tensor]:
        return {name: part.detach() for name, part in (self.parameters | self.buffers).items()}

    def map(self, function: Callable, *inputs):
        """Return function(network, *inputs) of every network, results stacked: (networks, ...).

        inputs: tensors, or tuples of them, (networks, ...) each. The function sees one network and its
        own inputs; what it takes from elsewhere is common to all.
        """

        def one(parameters, buffers, *inputs):
            return torch.func.functional_call(
                self._one, (parameters, buffers), (function, *inputs), strict=True
            )

        chunk = None if device().type == "cuda" else ON_CPU
        many = torch.vmap(one, randomness="different", chunk_size=chunk)
        return many(self.parameters, self.buffers, *inputs)

    def train(self, mode: bool = True):
        """Set the networks' mode, as torch.nn.Module.train does."""
        self._one.train(mode)

    def take_up(self, state: dict[str, Tensor], which: Tensor | None = None):
        """Give the networks the parameters and buffers of a `state`; which: (networks,), bool, or all."""
        for name, part in self.state.items():
            new = state[name].to(part)
            part.copy_(new if which is None else torch.where(along(which, part), new, part))

    def hand_back(self):
        """Give each network its own parameters and buffers, and set it to evaluation."""
        with torch.no_grad():
            for place, network in enumerate(self.networks):
                own = dict(Called(network).named_parameters()) | dict(
                    Called(network).named_buffers()
                )
                for name, part in self.state.items():
                    own[name].copy_(part[place])
                network.eval()


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors."""
    return {name: part.detach().clone() for name, part in tensors.items()}


def along(values: Tensor, like: Tensor) -> Tensor:
    """Return values, (networks,), with as many axes as another tensor."""
    return values.reshape(-1, *(like.ndim - 1) * [1])


def description(module: torch.nn.Module) -> tuple:
    """Return what distinguishes an untrained module: its code, layers, sizes and plain attributes."""
    try:
        code = inspect.getsource(type(module))
    except (OSError, TypeError):  # typed in at a prompt
        code = type(module).forward.__code__.co_code
    shapes = [(name, tuple(value.shape)) for name, value in module.state_dict().items()]
    plain = (bool, int, float, str, tuple)
    options = [
        (name, value)
        for name, value in vars(module).items()
        if is_dataclass(value) or isinstance(value, plain)
    ]
    return code, repr(module), shapes, options
