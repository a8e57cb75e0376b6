"""Which models can be fitted in the time given: each is timed on its own first fold.

Models are taken in the order given, cheap ones first. One is left out as soon as its folds so far show
that the rest would not end in time. A fit that is still running when time is over is stopped where the
system has alarms: in a main thread, not on Windows; elsewhere it is finished first.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..competition import Competition
from ..evaluation.comparison import out_of_fold
from ..evaluation.predictions import OutOfFold
from ..evaluation.saved_runs import SavedRun
from ..knowledge import Knowledge
from ..models import Constant, Neighbours, OnTargetGene, PairwiseRegression, Ridge, Transfer

ONCE = 0.5  # share of a first fold that may be work done once for all folds, as pretraining is


class OutOfTime(BaseException):  # as KeyboardInterrupt: no `except Exception` in a fit holds it up
    """A model would need longer than what is left."""


@dataclass(frozen=True, eq=False)
class TimedFits:
    """Runs by name of model, and by name the reason why others were left out."""

    base_models: dict[str, SavedRun]
    left_out: dict[str, str]

    def lines(self) -> list[str]:
        """Return which models were fitted in how many seconds, and which were left out."""
        fitted = [
            f"{name} ({one.out_of_fold.seconds:.0f} s)" for name, one in self.base_models.items()
        ]
        left_out = [f"left out for time: {name}, {why}" for name, why in self.left_out.items()]
        return [f"also fitted: {', '.join(fitted) or 'nothing'}", *left_out]


def fit_within(
    seconds: float,
    models: Mapping[str, Any],
    competition: Competition,
    held_out: Sequence[Sequence[str]],
    predict_targets: Callable[[Any, Competition], pd.DataFrame],
) -> TimedFits:
    """Predict training rows out of fold, and all targets, by as many models as the time allows.

    models: by name, cheapest first. held_out: lists of training rows, as `folds` gives them.
    predict_targets: fits a model and predicts the targets, as `kit.forecast.predict_targets`.
    """
    end = time.perf_counter() + seconds
    fold = pd.Series({name: number for number, names in enumerate(held_out) for name in names})
    fold = fold.loc[list(competition.effects.index)]
    base_models, left_out = {}, {}
    for name, model in models.items():
        began = time.perf_counter()
        try:
            with _time_limit(end - began):
                prediction = _out_of_fold(model, competition, held_out, end).loc[fold.index]
                test = predict_targets(model, competition)
        except OutOfTime as reason:
            left_out[name] = str(reason)
            continue
        known = OutOfFold.from_predictions(
            competition, prediction, fold, seconds=time.perf_counter() - began
        )
        base_models[name] = SavedRun(known, test)
    return TimedFits(base_models, left_out)


def cheap_models(knowledge: Knowledge, *, seed: int = 0) -> dict[str, OnTargetGene]:
    """Return the models that take seconds to a few minutes, by name, cheapest first."""
    found = {"constant": Constant()}
    if knowledge.pathways is not None:
        found["ridge"] = Ridge(knowledge)
    if knowledge:
        found["neighbours"] = Neighbours(knowledge)
    if knowledge.atlas is not None:
        found["transfer"] = Transfer(knowledge, seed=seed)
    elif knowledge.pathways is not None:
        found["pairs"] = PairwiseRegression(knowledge, seed=seed)
    return {name: OnTargetGene(model) for name, model in found.items()}


def networks(knowledge: Knowledge, *, seed: int = 0) -> dict[str, OnTargetGene]:
    """Return the three networks, by name, the one with the cheapest step first."""
    from ..networks import GNN, VAE, Transformer

    kinds = {"gnn": GNN, "transformer": Transformer, "vae": VAE}
    return {name: OnTargetGene(kind(knowledge, seed=seed)) for name, kind in kinds.items()}


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
def _time_limit(seconds):
    """Raise OutOfTime inside the block once the time is over, where there are alarms."""
    if seconds <= 0:
        raise OutOfTime("no time is left")
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_):
        raise OutOfTime("time was over in the middle of a fit")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, 1e8))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
