"""The one loop that trains all networks: seeded, stopped early, resumable, on whatever device there is.

Networks of one architecture are trained side by side: their parameters lie in one `Stack`, and each step
is one computation for all. A step draws from a generator made anew from (seed, step), so that a run that
was killed goes on as if it had not been: on CPU to the same bits. Not here: what a network is, what its
loss is, which rows it sees.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..io.files import InputError, replacing
from ..io.progress import progress
from .stack import Stack, along, copied, device

WARMUP = 0.05  # share of the steps in which the rate rises
DECAY = 1e-2  # weight decay
CLIP = 1.0  # largest norm of a gradient


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
        share = (step - warm) / max(1, self.steps - warm)
        return self.rate * 0.5 * (1 + math.cos(math.pi * share))


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
    networks: Sequence[torch.nn.Module],
    loss: Callable,
    settings: Settings,
    *,
    check: Callable | None = None,
    checkpoint: Path | str | None = None,
    label: str = "training",
) -> list[pd.DataFrame]:
    """Train networks of one architecture in place; the history of each, `step, rate, loss, check`.

    loss(stack, step, random) -> (networks,) tensor, by `Stack.map`, drawing only from `random` (numpy
    Generator) and torch's own generator, both set by seed and step. check(stack) -> (networks,), small is
    good, on rows that `loss` never sees: of each network the state with the best one is kept, the
    untrained one among them; None: the last state is. A network stops gaining when it has run out of
    patience, and all end with the last that does. Where a step of a network is not finite, it goes back
    to its state at the last check, with a warning. checkpoint: a file from which an interrupted run goes
    on and in which it is saved at every check; one of other settings or networks is refused. Raises
    InputError where no network has a finite loss from the start.
    """
    loop = _Loop(Stack(networks), loss, settings, check, label)
    if checkpoint is not None and Path(checkpoint).exists():
        loop.load(checkpoint)
    else:
        loop.check()
    with progress(label, settings.steps) as done, seeded(settings.seed, 0):
        done(loop.step)
        while loop.step < settings.steps and min(loop.waited) < settings.patience:
            loop.one_step()
            done()
            if loop.step % settings.every == 0 or loop.step == settings.steps:
                loop.note()
                if checkpoint is not None:
                    loop.save(checkpoint)
    ended = loop.end()
    if checkpoint is not None:
        loop.save(checkpoint, ended=True)
    return ended


class _Loop:
    """The state of a training run."""

    def __init__(self, stack, loss, settings, check, label):
        self.stack, self.loss, self.settings, self._check = stack, loss, settings, check
        self.label, count = label, len(stack)
        parameters = stack.parameters.values()
        self.optimizer = torch.optim.AdamW(
            parameters, lr=settings.rate, weight_decay=DECAY, fused=True
        )
        self.step, self.waited, self.history = 0, count * [0], [[] for _ in range(count)]
        self.best, self.best_check = copied(stack.state), count * [math.inf]
        self.good, self.lost = self._now(), torch.zeros(count, dtype=torch.bool, device=device())

    def one_step(self):
        """Take one step of all networks."""
        stack, parameters = self.stack, self.stack.parameters.values()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(self.step)
        stack.train()
        values = self.loss(stack, self.step, reseeded(self.settings.seed, self.step))
        self.optimizer.zero_grad(set_to_none=True)
        values.sum().backward()
        slopes = [part.grad for part in parameters if part.grad is not None]
        squares = [slope.square().reshape(len(stack), -1).sum(dim=1) for slope in slopes]
        norm = torch.stack(squares).sum(dim=0).sqrt() if squares else torch.zeros_like(values)
        factor = (CLIP / (norm + 1e-6)).clamp(max=1.0)
        for slope in slopes:
            slope.mul_(along(factor, slope))
        self.optimizer.step()
        self.lost |= ~torch.isfinite(values.detach() + norm)
        self.values, self.step = values.detach(), self.step + 1

    def note(self):
        """Record the loss and the check; bring back networks that had a step that was not finite."""
        lost = self.lost.tolist()
        if any(lost):
            self._fall_back(lost)
        self.good, self.lost = self._now(), torch.zeros_like(self.lost)
        rate, found = self.settings.rate_at(self.step - 1), self.check()
        for history, value, number in zip(self.history, self.values.tolist(), found, strict=True):
            history.append([self.step, rate, value, number])

    def check(self):
        """Keep the state of each network whose check is the best so far; the checks, NaN for none."""
        if self._check is None:
            return len(self.stack) * [math.nan]
        self.stack.train(False)
        with torch.no_grad():
            found = self._check(self.stack).tolist()
        better = [
            number < best and waited < self.settings.patience
            for number, best, waited in zip(found, self.best_check, self.waited, strict=True)
        ]
        for place, flag in enumerate(better):
            self.best_check[place] = found[place] if flag else self.best_check[place]
            self.waited[place] = 0 if flag else self.waited[place] + 1
        if any(better):
            for name, part in self.stack.state.items():
                self.best[name][better] = part[better]
        return found

    def _now(self):
        """Parameters, buffers and the optimiser's moments, all copied."""
        moments = {part: copied(state) for part, state in self.optimizer.state.items()}
        return copied(self.stack.state), moments

    def _fall_back(self, lost):
        begun = self.step - (self.step % self.settings.every or self.settings.every)
        if all(lost) and not begun:
            raise InputError(
                f"{self.label}: the loss is not finite in the first {self.step} steps; lower the rate "
                f"(now {self.settings.rate:g}) or look for values that are not finite"
            )
        which = ", ".join(str(place + 1) for place, flag in enumerate(lost) if flag)
        warnings.warn(
            f"{self.label}: network {which} of {len(lost)} had a loss that is not finite between steps "
            f"{begun} and {self.step} and goes on with its state at step {begun}",
            RuntimeWarning,
            stacklevel=4,
        )
        (state, moments), which = self.good, self.lost
        with torch.no_grad():
            self.stack.take_up(state, which)
        for parameter, now in self.optimizer.state.items():
            then = moments.get(parameter, {})  # nothing before the first step
            for name, part in now.items():
                if part.ndim:  # not the number of steps
                    old = then.get(name, torch.zeros_like(part))
                    part.copy_(torch.where(along(which, part), old, part))
        if self._check is None:  # or a network that never gets on would be trained to the end
            self.waited = [waited + flag for waited, flag in zip(self.waited, lost, strict=True)]

    def end(self):
        """Hand the networks their parameters; the history of each."""
        if self._check is not None:
            with torch.no_grad():
                self.stack.take_up(self.best)
        self.stack.hand_back()
        columns = ["step", "rate", "loss", "check"]
        return [pd.DataFrame(history, columns=columns) for history in self.history]

    def save(self, path, ended=False):
        """Write the state of the run to a checkpoint; `ended`: only what is needed of its end."""
        kept = {name: getattr(self, name) for name in KEPT}
        kept["state"] = self.stack.state
        kept |= {"best": {}} if ended else {"optimizer": self.optimizer.state_dict()}
        with replacing(path) as place:
            torch.save(kept | {"settings": vars(self.settings)}, place)

    def load(self, path):
        """Take up the state of a run from a checkpoint."""
        remedy = "delete it, or train with the settings it was made with"
        try:
            kept = torch.load(path, weights_only=True, map_location=device())
            made_with = kept.pop("settings")
        except Exception as error:  # torch, pickle and zipfile raise nearly every kind
            reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
            raise InputError(f"{path} is no checkpoint: {reason}; {remedy}") from None
        if made_with != vars(self.settings):
            raise InputError(f"{path} was made with {made_with}; {remedy}")
        try:
            state = kept.pop("state")
            shapes = [
                {name: tuple(one.shape) for name, one in part.items()}
                for part in (state, self.stack.state)
            ]
            if shapes[0] != shapes[1]:
                raise ValueError("parameters have other names or shapes")
            with torch.no_grad():
                self.stack.take_up(state)
            if "optimizer" in kept:
                self.optimizer.load_state_dict(kept.pop("optimizer"))
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} is of another network: {reason}; {remedy}") from None
        kept["best"] = kept["best"] or copied(state)
        vars(self).update(kept)
        self.good = self._now()


KEPT = ("step", "waited", "history", "best", "best_check")  # of a run, in its checkpoint


def reseeded(seed: int, step: int) -> np.random.Generator:
    """A numpy generator set by seed and step; torch's own generator is set, too."""
    random = np.random.default_rng([seed, step])
    torch.manual_seed(int(random.integers(2**31)))
    return random


@contextmanager
def seeded(seed: int, step: int) -> Iterator[np.random.Generator]:
    """A numpy generator and torch's own, set by seed and step; torch's is then given back as it was."""
    with torch.random.fork_rng([0] if device().type == "cuda" else []):
        yield reseeded(seed, step)
