"""The one loop that trains all networks: seeded, stopped early, resumable, on whatever device there is.

A step draws from generators made anew from (seed, step), so that a run that was killed goes on as if it
had not been: on CPU to the same bits. Not here: what a network is, what its loss is, which rows it sees.
"""

import math
from collections.abc import Callable, Hashable
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..io.files import InputError, replacing

HISTORY = ["step", "rate", "loss", "check"]


@dataclass(frozen=True)
class Settings:
    """How to train. steps: of AdamW; rate: the highest learning rate, reached after the share `warmup` of
    the steps and lowered along a cosine to 0; decay: weight decay; clip: largest norm of a gradient;
    every: steps between checks; patience: checks without a gain before stopping.
    """

    steps: int = 300
    rate: float = 2e-3
    warmup: float = 0.05
    decay: float = 1e-2
    clip: float = 1.0
    every: int = 20
    patience: int = 6
    seed: int = 0


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
    from tqdm import tqdm

    parameters = module.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    state = _State(module, optimizer, settings)
    if checkpoint is not None and Path(checkpoint).exists():
        state.load(checkpoint)
    elif check is not None:
        state.keep(_checked(module, check))
    # Shown on a terminal only.
    bar = tqdm(total=settings.steps, initial=state.step, desc=label, disable=None, leave=False)
    while state.step < settings.steps and not state.done:
        rate = _rate(state.step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        module.train()
        with seeded(settings.seed, state.step) as random:
            value = loss(state.step, random)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
            optimizer.step()
        state.step += 1
        bar.update()
        if state.step % settings.every == 0 or state.step == settings.steps:
            number = float(value.detach())
            if not math.isfinite(number):
                raise InputError(
                    f"{label}: the loss is {number} at step {state.step}; lower the rate "
                    f"(now {settings.rate:g}) or look for values that are not finite"
                )
            found = math.nan if check is None else _checked(module, check)
            state.record(rate, number, found)
            if checkpoint is not None:
                state.save(checkpoint)
    bar.close()
    if state.best is not None:
        module.load_state_dict(state.best)
    module.eval()
    return pd.DataFrame(state.history, columns=HISTORY)


class _State:
    """What a run needs to go on: network, optimiser, step, best state, history."""

    PARTS = ("module", "optimizer")
    NUMBERS = ("step", "best", "best_check", "waited", "history")

    def __init__(self, module, optimizer, settings):
        self.module, self.optimizer, self.settings = module, optimizer, settings
        self.step, self.best, self.best_check, self.waited = 0, None, math.inf, 0
        self.history = []

    @property
    def done(self):
        return self.waited >= self.settings.patience

    def keep(self, found):
        """Remember this state if its check is the best."""
        self.waited += 1
        if found < self.best_check:
            self.best, self.best_check, self.waited = deepcopy(self.module.state_dict()), found, 0

    def record(self, rate, loss, found):
        self.history.append([self.step, rate, loss, found])
        if not math.isnan(found):
            self.keep(found)

    def save(self, path):
        content = {name: getattr(self, name).state_dict() for name in self.PARTS}
        content |= {name: getattr(self, name) for name in self.NUMBERS}
        with replacing(path) as place:
            torch.save(content | {"settings": vars(self.settings)}, place)

    def load(self, path):
        remedy = "delete it, or train with the settings it was made with"
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
            same = content["settings"] == vars(self.settings)
        except Exception as error:  # torch, pickle and zipfile raise nearly every kind
            reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
            raise InputError(f"{path} is no checkpoint: {reason}; {remedy}") from None
        if not same:
            raise InputError(f"{path} was made with {content['settings']}; {remedy}")
        try:
            for name in self.PARTS:
                getattr(self, name).load_state_dict(content[name])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} is of another network: {reason}; {remedy}") from None
        for name in self.NUMBERS:
            setattr(self, name, content[name])


def _rate(step, settings):
    """Learning rate of a step: up in a line, down along a cosine."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return settings.rate * (step + 1) / warm
    along = (step - warm) / max(1, settings.steps - warm)
    return settings.rate * 0.5 * (1 + math.cos(math.pi * along))


@contextmanager
def seeded(seed: int, step: int):
    """A numpy generator and torch's own, set by seed and step; torch's is then given back as it was."""
    random = np.random.default_rng([seed, step])
    with torch.random.fork_rng():
        torch.manual_seed(int(random.integers(2**31)))
        yield random


def _checked(module, check):
    module.eval()
    with torch.no_grad():
        return float(check())
