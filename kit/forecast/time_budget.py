"""Which models can be had in the time given: each is measured by its own first fold, none by a guess.

Models are taken in the order given, cheap ones first. One is left out as soon as its folds so far say
that the rest would not be done in time, or when time is over in the middle of one: the fit is then
stopped where the system can do so (a main thread on anything but Windows).
"""

import math
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd

from ..evaluation.comparison import out_of_fold
from ..evaluation.saved_runs import Member
from ..knowledge import Knowledge
from ..models import (
    Constant,
    Neighbours,
    OnTargetGene,
    PairwiseRegression,
    Ridge,
    Transfer,
)

ONCE = 0.5  # share of a first fold that may be work done once for all folds, as pretraining is


class OutOfTime(BaseException):  # as KeyboardInterrupt: no `except Exception` in a fit holds it up
    """A model would need longer than what is left."""


@dataclass(frozen=True, eq=False)
class TimedFits:
    """Members by name of model, and by name why others were left out."""

    members: dict
    left_out: dict = field(default_factory=dict)

    def lines(self):
        """What was fitted in how many seconds, and what was left out, for people."""
        used = [f"{name} ({member.seconds:.0f} s)" for name, member in self.members.items()]
        left_out = [f"left out for time: {name}, {why}" for name, why in self.left_out.items()]
        return [f"fitted besides: {', '.join(used) or 'nothing'}", *left_out]


def affordable(models, competition, held_out, seconds=math.inf, *, finish=None):
    """Predict training rows out of fold and all targets by as many models as the time allows: TimedFits.

    models: by name, cheapest first; held_out: lists of training rows, as `folds` gives them; finish:
    fits a model on all it may see and predicts the targets, by default on the training rows.
    """
    end = time.perf_counter() + seconds
    fold = _numbered(held_out, competition)
    members, left_out = {}, {}
    for name, model in models.items():
        began = time.perf_counter()
        try:
            with _stopped(end - began):
                unseen = _out_of_fold(model, competition, held_out, end)
                test = (finish or on_targets)(model, competition)
        except OutOfTime as reason:
            left_out[name] = str(reason)
            continue
        unseen = unseen.loc[fold.index]
        members[name] = Member(name, unseen, test, fold, time.perf_counter() - began)
    return TimedFits(members, left_out)


def on_targets(model, competition):
    """Fit on the training rows and predict all targets: perturbation x gene."""
    return model.fit(competition).predict(list(competition.targets["perturbation"]))


def cheap_models(knowledge: Knowledge, *, seed: int = 0) -> dict:
    """Models that take seconds to a few minutes, by name, cheapest first."""
    found = {"constant": OnTargetGene(Constant())}
    if knowledge.pathways is not None:
        found["ridge"] = OnTargetGene(Ridge(knowledge))
    if knowledge:
        found["neighbours"] = OnTargetGene(Neighbours(knowledge))
    if knowledge.atlas is not None:
        found["transfer"] = OnTargetGene(Transfer(knowledge, seed=seed))
    elif knowledge.pathways is not None:
        found["pairs"] = OnTargetGene(PairwiseRegression(knowledge, seed=seed))
    return found


def networks(knowledge: Knowledge, *, seed: int = 0) -> dict:
    """The three networks, by name, the one with the cheapest step first."""
    from ..networks.gnn import GNN
    from ..networks.transformer import Transformer
    from ..networks.vae import VAE

    kinds = {"gnn": GNN, "transformer": Transformer, "vae": VAE}
    return {name: OnTargetGene(kind(knowledge, seed=seed)) for name, kind in kinds.items()}


def _numbered(held_out, competition):
    """Number of each training row's fold: a series."""
    numbers = {name: number for number, names in enumerate(held_out) for name in names}
    return pd.Series(numbers).loc[list(competition.effects.index)]


def _out_of_fold(model, competition, held_out, end):
    """Predictions of all held-out rows; OutOfTime as soon as the rest cannot be done by `end`."""
    parts, each = [], math.inf
    for number, names in enumerate(held_out, 1):
        began = time.perf_counter()
        parts.append(out_of_fold(model, competition, [names]).prediction)
        now = time.perf_counter()
        each = min(each, (now - began) * (ONCE if number == 1 else 1.0))
        more, left = len(held_out) - number + 1, max(0.0, end - now)  # and the fit on all rows
        if more * each > left:
            raise OutOfTime(f"{more} more fits of {each:.1f} s or more, {left:.0f} s are left")
    return pd.concat(parts)


@contextmanager
def _stopped(seconds):
    """Raise OutOfTime within when the time is over, where there are alarms."""
    if seconds <= 0:
        raise OutOfTime("no time is left")
    alarms = hasattr(signal, "setitimer") and seconds < math.inf
    if not alarms or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise OutOfTime("time was over in the middle of a fit")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
