"""From a competition folder to the best submission we know: `python -m kit predict`.

By default that is the blend of the classical models. Given minutes, whatever else can be fitted in them,
networks too, is blended with it, and taken if left-out rows say that this is the better one. Released
truth (`solution*.csv`) serves as training rows for all other targets; a target whose own truth is
released is predicted by a fit that has not seen any of it.
"""

import copy
import time
from dataclasses import dataclass

import pandas as pd

from ..competition import Competition
from ..evaluation.blending import blend, expected_spread
from ..evaluation.predictions import OutOfFold, interval
from ..evaluation.saved_runs import Member, out_of_fold_runs, with_mean
from ..knowledge import Knowledge
from ..models.baselines import Constant, OnTargetGene
from ..models.blend import ENOUGH, Blend
from .time_budget import affordable, cheap_models, networks


@dataclass(frozen=True, eq=False)
class Forecast:
    """A prediction for all targets and what it rests on.

    prediction: perturbation x gene frame, log2. inner: OutOfFold of the training rows by what was
    chosen, or None. remarks: lines that say what was used and what to expect.
    """

    prediction: pd.DataFrame
    inner: object
    remarks: list


def forecast(
    competition: Competition,
    knowledge: Knowledge | None = None,
    *,
    seed: int = 0,
    minutes: float | None = None,
) -> Forecast:
    """Predict all targets of the competition: a Forecast.

    By the default blend of classical models; with `minutes`, by a blend of it with those cheap models and
    networks that can be fitted in what it leaves of that time.
    """
    begun = time.perf_counter()
    knowledge = knowledge or Knowledge()
    model = OnTargetGene(Blend(knowledge, seed=seed)).fit(competition)
    default = model.base
    again = OnTargetGene(Blend(knowledge, recipe=default.recipe_, seed=seed))
    prediction = predict_targets(again, competition, fitted=model)
    remarks = []
    if competition.solution is not None and len(competition.solution) < len(prediction):
        rows = len(competition.solution)
        remarks.append(f"released truth: {rows} rows train the models for the others")
    remarks += _on_targets(knowledge, list(prediction.index))
    remarks.append(_on_recipe(default.recipe_))
    if default.inner_ is None:
        remarks.append("estimate: none, too few training rows or no knowledge")
        return Forecast(prediction, None, remarks)
    inner = _with_on_target_gene(default.inner_, competition)
    if minutes is not None:
        others = cheap_models(knowledge, seed=seed)
        for name in ("pairs", "transfer"):  # the default blend is made of them
            others.pop(name, None)
        others |= networks(knowledge, seed=seed)
        took = time.perf_counter() - begun
        held_out = [list(names) for names in inner.fold.groupby(inner.fold).groups.values()]
        options = {"finish": predict_targets}
        found = affordable(others, competition, held_out, 60 * minutes - took, **options)
        fold = inner.fold.loc[competition.effects.index]
        first = Member("default", inner.prediction.loc[fold.index], prediction, fold, took)
        members = with_mean(competition, {"default": first, **found.members})
        prediction, inner, said = _blended(competition, members, knowledge)
        remarks += [f"default blend: {took:.0f} s of {60 * minutes:.0f}", *found.lines(), said]
    return Forecast(prediction, inner, [*remarks, *_on_score(inner, len(prediction))])


def predict_targets(model, competition, *, fitted=None):
    """Fit a model to all that is known and predict all targets: perturbation x gene.

    A target whose own truth is released is predicted by a fit that has not seen any released row:
    `fitted`, by default a copy of `model` fitted to the training rows.
    """
    targets, released = competition.targets["perturbation"], []
    if competition.solution is not None:
        released = list(targets.loc[competition.solution.index])
    others = [name for name in targets if name not in set(released)]
    fitted = fitted or copy.deepcopy(model).fit(competition)
    parts = [fitted.predict(released)] if released else []
    if others:
        whole = model.fit(competition.with_released()) if released else fitted
        parts.append(whole.predict(others))
    return pd.concat(parts).loc[list(targets)]


def _with_on_target_gene(inner, competition):
    """Out-of-fold predictions with on-target effects set as in the predictions of the targets."""
    parts = []
    for number, names in inner.fold.groupby(inner.fold).groups.items():
        effect = OnTargetGene(Constant()).fit_effect(competition.subset(inner.training[number]))
        parts.append(effect.with_effect(inner.prediction.loc[names]))
    return OutOfFold.from_predictions(competition, pd.concat(parts), inner.fold)


def _blended(competition, members, knowledge):
    """Prediction of the targets, OutOfFold, and a line: of the blend, or of the default alone.

    With few rows nothing is chosen: to choose among scores that are mostly noise costs more than it
    brings (on fifteen rows of real data it threw away two thirds of the score).
    """
    runs = out_of_fold_runs(competition, members)
    names = [*competition.effects.index, *competition.targets["perturbation"]]
    groups = knowledge.has_response(names)
    groups = groups[~groups.index.duplicated()]
    found = blend(runs, groups=groups)
    nested, default = found.nested["best"], runs["default"]
    gain = nested.score().score_per_60 - default.score().score_per_60
    low, high = interval(nested.score(), than=default.score())
    said = f"{gain:.2f} for 60 rows over the default blend, 90 % interval {low:.2f} to {high:.2f}"
    few = len(competition.effects) < ENOUGH
    if few or gain <= 0:
        why = f" (under {ENOUGH} training rows nothing is chosen)" if few else ""
        said = f"taken: the default blend{why}; all together {said}"
        return members["default"].test, default, said
    tests = {name: member.test for name, member in members.items()}
    return found.best.predict(tests, groups), nested, f"taken: {found.best}; {said}"


def _on_targets(knowledge, targets):
    known, covered = knowledge.knows(targets), knowledge.has_response(targets)
    unknown = list(known.index[~known.to_numpy()])
    line = f"targets: {len(targets)}, {covered.sum()} with a response in the atlas, "
    line += f"{len(unknown)} of which nothing is known"
    return [line + (f" (the constant's prediction): {', '.join(unknown[:5])}" if unknown else "")]


def _on_recipe(recipe):
    scenarios, points = recipe
    models = [f"scenarios {scenarios * (1 - points):.2f}"]
    models.append(f"genes told apart {(1 - scenarios) * (1 - points):.2f}")
    models += [f"ridge and LightGBM on components {points:.2f}"] if points else []
    return f"blend: {', '.join(models)}"


def _on_score(inner, targets):
    """What to expect: the score of left-out training rows, and what as many new rows may score."""
    score = inner.score()
    draws = expected_spread(inner, rows=targets)
    lines = [
        f"estimate on {len(inner.truth)} training rows, each left out once: {score.score_per_60:.2f} "
        f"for 60 rows (W {60 * score.w / score.rows:.2f}, Wcos {score.wcos:.3f}); the mean baseline "
        "scores 0"
    ]
    for column, rows in {"score": f"all {targets} targets", "private": "a half of them"}.items():
        low, high = draws[column].quantile([0.05, 0.95])
        lines.append(f"expected of {rows}: 90 % interval {low:.2f} to {high:.2f} for 60 rows")
    return lines
