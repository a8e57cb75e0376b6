"""From a competition folder to the best submission: `python -m kit predict`.

By default that is the blend of the classical models. With a time budget it is blended with what else
can be fitted in that time, networks too, each timed on its own first fold; the larger blend is taken if
its nested out-of-fold score is higher. Released truth (`solution*.csv`) serves as training rows for all
other targets; a target whose own truth is released is predicted by a fit without any released row.
"""

import copy
import math
import shlex
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..competition import Competition
from ..evaluation.blending import blend
from ..evaluation.comparison import out_of_fold
from ..evaluation.expected import expected_score, expected_spread
from ..evaluation.predictions import OutOfFold, against_baselines, interval
from ..evaluation.saved_runs import SavedRun, mean_run
from ..evaluation.splits import folds
from ..io.files import quote_some
from ..io.progress import progress
from ..knowledge import Knowledge
from ..models import Constant, Mean, Neighbours, OnTargetGene, PairwiseRegression, Ridge, Transfer
from ..models.blend import ENOUGH, Blend

ONCE = 0.5  # share of a first fold that may be work done once for all folds, as pretraining is


class OutOfTime(BaseException):  # as KeyboardInterrupt: no `except Exception` in a fit holds it up
    """A model would need longer than what is left."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """A prediction for all targets and what it rests on.

    prediction: perturbation x gene, log2. inner: out-of-fold predictions of the training rows by the
    chosen model, or None. curve: by the default blend from fewer and from more rows, as for
    `kit.evaluation.expected_score`, or None. remarks: lines on what was used and on the score to expect.
    """

    prediction: pd.DataFrame
    inner: OutOfFold | None
    remarks: list[str]
    curve: tuple[OutOfFold, OutOfFold] | None = None


def forecast(
    competition: Competition,
    knowledge: Knowledge | None = None,
    *,
    seed: int = 0,
    minutes: float | None = None,
) -> Forecast:
    """Predict all targets of the competition by the default blend of classical models.

    minutes: time budget; the default blend is then blended with the cheap models and networks that can
    be fitted in what it leaves of that time.
    """
    begun = time.perf_counter()
    knowledge = (knowledge or Knowledge()).concerning(competition)
    model = OnTargetGene(Blend(knowledge, seed=seed)).fit(competition)
    default = model.base
    again = OnTargetGene(Blend(knowledge, recipe=default.recipe_, seed=seed))
    prediction = predict_targets(again, competition, fitted=model)
    remarks = _on_targets(competition, knowledge)
    remarks.append(_on_recipe(default.recipe_))
    if default.inner_ is None:
        remarks.append("estimate: none, too few training rows or no knowledge")
        return Forecast(prediction, None, [*remarks, *_on_baselines(None, prediction, competition)])
    inner = _with_on_target_gene(default.inner_, competition)
    curve = None
    if len(inner.truth) >= ENOUGH:
        # The default recipe: the chosen one has seen the rows that are held out here.
        of_half = OnTargetGene(Blend(knowledge, recipe=default.default_, seed=seed))
        halves = folds(competition.effects.index, 2, seed=seed)
        curve = out_of_fold(of_half, competition, halves), inner
    if minutes is not None:
        models = cheap_models(knowledge, seed=seed) | networks(knowledge, seed=seed)
        for name in ("pairs", "transfer"):  # the default blend is made of them
            models.pop(name, None)
        took = time.perf_counter() - begun
        held_out = [list(names) for names in inner.fold.groupby(inner.fold).groups.values()]
        fitted, left_out = fit_within(60 * minutes - took, models, competition, held_out)
        inner = inner.subset(competition.effects.index)
        saved = {"default": SavedRun(inner, prediction), **fitted}
        saved["mean"] = mean_run(competition, inner.fold)
        prediction, inner, remark = _blended(competition, saved, knowledge)
        also = [f"{name} ({run.out_of_fold.seconds:.0f} s)" for name, run in fitted.items()]
        remarks.append(f"default blend: {took:.0f} s of {60 * minutes:.0f}")
        remarks.append(f"also fitted: {', '.join(also) or 'nothing'}")
        remarks += [f"left out for time: {name}, {why}" for name, why in left_out.items()]
        remarks.append(remark)
    remarks += _on_score(inner, len(prediction), curve)
    remarks += _on_baselines(inner, prediction, competition)
    return Forecast(prediction, inner, remarks, curve)


def baselines() -> dict[str, Any]:
    """Return the unfitted models that a submission should beat, by name: the mean and the constant."""
    return {"mean": Mean(), "constant": OnTargetGene(Constant())}


def baseline_forecast(competition: Competition, name: str, *, seed: int = 0) -> Forecast:
    """Predict all targets by the model `name` of `baselines`; no estimate with fewer than two rows."""
    model = baselines()[name]
    prediction = predict_targets(model, competition)
    rows, remarks = competition.effects.index, [f"baseline: {name}"]
    if len(rows) < 2:
        return Forecast(prediction, None, [*remarks, "estimate: none, too few training rows"])
    inner = out_of_fold(model, competition, folds(rows, min(5, len(rows)), seed=seed))
    remarks += [*_on_score(inner, len(prediction)), *_on_baselines(inner, prediction, competition)]
    return Forecast(prediction, inner, remarks)


def released_targets(competition: Competition) -> list[str]:
    """Return the targets whose truth is released in `solution*.csv`."""
    if competition.solution is None:
        return []
    return list(competition.targets["perturbation"].loc[competition.solution.index])


def predict_targets(
    model: Any, competition: Competition, *, fitted: Any | None = None
) -> pd.DataFrame:
    """Fit a model to all rows that each target may use and predict all targets: perturbation x gene.

    A target whose own truth is released is predicted by a fit without any released row: `fitted`, by
    default a copy of `model` fitted to the training rows.
    """
    targets, released = competition.targets["perturbation"], released_targets(competition)
    others = [name for name in targets if name not in set(released)]
    fitted = fitted or copy.deepcopy(model).fit(competition)
    parts = []
    for names in filter(None, (released, others)):
        if released and names is others:
            fitted = model.fit(competition.with_released())
        with progress(f"prediction of {len(names)} targets"):
            parts.append(fitted.predict(names))
    return pd.concat(parts).loc[list(targets)]


def fit_within(
    seconds: float,
    models: Mapping[str, Any],
    competition: Competition,
    held_out: Sequence[Sequence[str]],
) -> tuple[dict[str, SavedRun], dict[str, str]]:
    """Predict training rows out of fold, and all targets, by as many models as the time allows.

    models: by name, cheapest first. held_out: lists of training rows, as `folds` gives them. Returns
    runs by name of model, and by name the reason why others were left out: their folds so far showed
    that the rest would not end in time. A fit that is still running when time is over is stopped where
    the system has alarms: in a main thread, not on Windows; elsewhere it is finished first.
    """
    end = time.perf_counter() + seconds
    fold = pd.Series({name: number for number, names in enumerate(held_out) for name in names})
    fold = fold.loc[list(competition.effects.index)]
    fitted, left_out = {}, {}
    for name, model in models.items():
        began = time.perf_counter()
        try:
            with _time_limit(end - began), progress(f"{name}, all folds and targets"):
                prediction = _out_of_fold(model, competition, held_out, end).loc[fold.index]
                test = predict_targets(model, competition)
        except OutOfTime as reason:
            left_out[name] = str(reason)
            continue
        seconds = time.perf_counter() - began
        known = OutOfFold.from_predictions(competition, prediction, fold, seconds=seconds)
        fitted[name] = SavedRun(known, test)
    return fitted, left_out


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


def _with_on_target_gene(inner, competition):
    """Out-of-fold predictions with on-target effects set as in the predictions of the targets."""
    parts = []
    for number, names in inner.fold.groupby(inner.fold).groups.items():
        effect = OnTargetGene(Constant()).fit_effect(competition.subset(inner.training[number]))
        parts.append(effect.with_effect(inner.prediction.loc[names]))
    found = OutOfFold.from_predictions(competition, pd.concat(parts), inner.fold)
    return replace(found, chosen=inner.chosen)


def _blended(competition, saved, knowledge):
    """Prediction of the targets, OutOfFold, and a line: of the blend, or of the default alone.

    The estimate is that of the choice itself, between blends and the default, made for each fold on the
    others. With few rows nothing is chosen: to choose among scores that are mostly noise costs more than
    it brings (on fifteen rows of real data it threw away two thirds of the score).
    """
    runs = {name: one.out_of_fold for name, one in saved.items()}
    names = [*competition.effects.index, *competition.targets["perturbation"]]
    groups = knowledge.has_response(names)
    groups = groups[~groups.index.duplicated()]
    found = blend(runs, groups=groups, default="default")
    nested, default = found.nested["best"], runs["default"]
    tests = {name: one.test for name, one in saved.items()}
    gain = nested.score().score_per_60 - default.score().score_per_60
    low, high = interval(nested.score(), than=default.score())
    taken = found.best
    if taken.base_models == ["default"]:
        few = len(competition.effects) < ENOUGH
        taken = "the default blend"
        taken += f" (under {ENOUGH} training rows nothing is chosen)" if few else ""
    remark = f"taken: {taken}; choosing gains {gain:.2f} for 60 rows over the default blend, "
    remark += f"90 % interval {low:.2f} to {high:.2f}"
    return found.best.predict(tests, groups), nested, remark


def _on_targets(competition, knowledge):
    """Lines on released truth and on what is known of the targets."""
    targets, released = list(competition.targets["perturbation"]), released_targets(competition)
    lines = []
    if 0 < len(released) < len(targets):
        lines.append(f"released truth: {len(released)} rows train the models for the others")
    known, covered = knowledge.knows(targets), knowledge.has_response(targets)
    unknown = list(known.index[~known.to_numpy()])
    line = f"targets: {len(targets)}, {covered.sum()} with a response in the atlas, "
    line += f"{len(unknown)} without any knowledge"
    return [*lines, line + (f" (constant prediction): {quote_some(unknown)}" if unknown else "")]


def _on_recipe(recipe):
    scenarios, points = recipe
    models = [f"scenarios {scenarios * (1 - points):.2f}"]
    models.append(f"gene by gene {(1 - scenarios) * (1 - points):.2f}")
    models += [f"ridge and LightGBM on components {points:.2f}"] if points else []
    return f"blend: {', '.join(models)}"


def _on_score(inner, targets, curve=None):
    """Lines on the score to expect of all targets and of a half of them, and on what it rests on."""
    score, w, wcos = expected_score(inner, curve)
    draws = expected_spread(inner, rows=targets, curve=curve)
    ends = draws[["score", "private"]].quantile([0.05, 0.95])
    between = {name: "{:.2f} to {:.2f}".format(*column) for name, column in ends.items()}
    lines = [
        f"estimate for all {targets} targets: {draws['score'].mean():.2f} for 60 rows, 90 % interval "
        f"{between['score']}; the mean baseline scores 0",
        f"estimate for a half of them: 90 % interval {between['private']} for 60 rows",
    ]
    value = f"{score:.2f} for 60 rows (W {w:.2f}, Wcos {wcos:.3f})"
    rows = f"{len(inner.truth)} training rows"
    if curve is None:
        return [
            *lines,
            f"{rows}, out of fold, each predicted from {inner.training_rows:.0f}: {value}",
        ]
    fewer, more = (f"{one.score().score_per_60:.2f} from {one.training_rows:.0f}" for one in curve)
    lines.append(f"{rows}, out of fold: {fewer} of them, {more}; by this curve from all: {value}")
    return lines


def _on_baselines(inner, prediction, competition):
    """Lines where the forecast equals the mean or the constant, or is estimated below one of them."""
    found = {}
    for name, model in baselines().items():
        score = 0.0
        if inner is not None:
            held_out = [list(names) for names in inner.fold.groupby(inner.fold).groups.values()]
            score = out_of_fold(model, competition, held_out).score().score_per_60
        found[name] = score, predict_targets(model, competition)
    data = shlex.quote(str(competition.source))
    instead = f"python -m kit predict --baseline {{}} --data {data} --out FILE"
    return against_baselines(prediction, inner, found, instead)


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
