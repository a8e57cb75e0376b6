"""The one loop that trains all networks: seeded, stopped early, resumable, on whatever device there is.

A step draws from generators made anew from (seed, step), so that a run that was killed goes on as if it
had not been: on CPU to the same bits. Not here: what a network is, what its loss is, which rows it sees.
"""

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..io.files import InputError, replacing
from ..io.progress import progress

WARMUP = 0.05  # share of the steps in which the rate rises
DECAY = 1e-2  # weight decay
CLIP = 1.0  # largest norm of a gradient


@cache
def device():
    """Return the torch.device to use: a GPU that torch was not built for would pass is_available()."""
    try:
        torch.zeros(1, device="cuda")
    except Exception:  # whatever the driver raises: there is none that works
        return torch.device("cpu")
    return torch.device("cuda")


@dataclass(frozen=True)
class Settings:
    """How to train. steps: of AdamW; rate: the highest learning rate, reached after a twentieth of the
    steps and lowered along a cosine to 0; every: steps between checks; patience: checks without a gain
    before stopping.
    """

    steps: int = 300
    rate: float = 2e-3
    every: int = 20
    patience: int = 6
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: up in a line, down along a cosine."""
        warm = max(1, round(WARMUP * self.steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        along = (step - warm) / max(1, self.steps - warm)
        return self.rate * 0.5 * (1 + math.cos(math.pi * along))


class FoldCache:
    """Keeps what is the same in several fits, such as a network pretrained on other screens.

    Copies of a model share it: folds, ensemble members, variants.
    """

    def __init__(self):
        self.kept = {}

    def __deepcopy__(self, memo):
        return self

    def get(self, key: Hashable, make: Callable):
        """Return what is kept under a key; where nothing is, what `make()` returns, kept from now on."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


def train(
    module: torch.nn.Module,
    loss: Callable,
    settings: Settings,
    *,
    check: Callable | None = None,
    checkpoint: Path | str | None = None,
    label: str = "training",
) -> pd.DataFrame:
    """Train `module` in place and return its history, a frame of `step, rate, loss, check`.

    loss(step, random) -> scalar tensor, drawing only from `random` (numpy Generator) and torch's own
    generator, both set by seed and step. check() -> number, small is good, on rows that `loss` never
    sees: the state with the best one is kept, the untrained one among them; None: the last state is.
    checkpoint: a file from which an interrupted run goes on and in which it is saved at every check; one
    of other settings or another network is refused. Raises InputError where the loss is not finite.
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.rate, weight_decay=DECAY)
    state = {"step": 0, "best": None, "best_check": math.inf, "waited": 0, "history": []}

    def keep_if_best():
        module.eval()
        with torch.no_grad():
            found = math.nan if check is None else float(check())
        if found < state["best_check"]:
            state.update(best=deepcopy(module.state_dict()), best_check=found, waited=0)
        elif check is not None:
            state["waited"] += 1
        return found

    if checkpoint is not None and Path(checkpoint).exists():
        state = _load(checkpoint, module, optimizer, settings)
    else:
        keep_if_best()
    with progress(label, settings.steps) as done:
        done(state["step"])
        while state["step"] < settings.steps and state["waited"] < settings.patience:
            step, rate = state["step"], settings.rate_at(state["step"])
            for group in optimizer.param_groups:
                group["lr"] = rate
            module.train()
            with seeded(settings.seed, step) as random:
                value = loss(step, random)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
                optimizer.step()
            state["step"] = step = step + 1
            done()
            if step % settings.every and step < settings.steps:
                continue
            number = float(value.detach())
            if not math.isfinite(number):
                raise InputError(
                    f"{label}: the loss is {number} at step {step}; lower the rate "
                    f"(now {settings.rate:g}) or look for values that are not finite"
                )
            state["history"].append([step, rate, number, keep_if_best()])
            if checkpoint is not None:
                parts = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
                with replacing(checkpoint) as place:
                    torch.save(state | parts | {"settings": vars(settings)}, place)
    if state["best"] is not None:
        module.load_state_dict(state["best"])
    module.eval()
    return pd.DataFrame(state["history"], columns=["step", "rate", "loss", "check"])


def _load(path, module, optimizer, settings):
    """State of the run that a checkpoint holds; module and optimiser take up theirs."""
    remedy = "delete it, or train with the settings it was made with"
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        made_with = state.pop("settings")
    except Exception as error:  # torch, pickle and zipfile raise nearly every kind
        reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
        raise InputError(f"{path} is no checkpoint: {reason}; {remedy}") from None
    if made_with != vars(settings):
        raise InputError(f"{path} was made with {made_with}; {remedy}")
    try:
        module.load_state_dict(state.pop("module"))
        optimizer.load_state_dict(state.pop("optimizer"))
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is of another network: {reason}; {remedy}") from None
    return state


@contextmanager
def seeded(seed: int, step: int) -> Iterator[np.random.Generator]:
    """A numpy generator and torch's own, set by seed and step; torch's is then given back as it was."""
    random = np.random.default_rng([seed, step])
    with torch.random.fork_rng([0] if device().type == "cuda" else []):
        torch.manual_seed(int(random.integers(2**31)))
        yield random
