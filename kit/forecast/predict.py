"""From a competition folder to the best submission: `python -m kit predict`.

By default that is the blend of the classical models. With a time budget it is blended with what else
can be fitted in that time, networks too, and the larger blend is taken if its nested out-of-fold score
is higher. Released truth (`solution*.csv`) serves as training rows for all other targets; a target
whose own truth is released is predicted by a fit without any released row.
"""

import copy
import time
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..competition import Competition
from ..evaluation.blending import blend
from ..evaluation.predictions import OutOfFold, expected_spread, interval
from ..evaluation.saved_runs import SavedRun, mean_run
from ..io.files import quote_some
from ..knowledge import Knowledge
from ..models.baselines import Constant, OnTargetGene
from ..models.blend import ENOUGH, Blend
from .time_budget import cheap_models, fit_within, networks


@dataclass(frozen=True, eq=False)
class Forecast:
    """A prediction for all targets and what it rests on.

    prediction: perturbation x gene, log2. inner: out-of-fold predictions of the training rows by the
    chosen model, or None. remarks: lines on what was used and on the score to expect.
    """

    prediction: pd.DataFrame
    inner: OutOfFold | None
    remarks: list[str]


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
    knowledge = knowledge or Knowledge()
    model = OnTargetGene(Blend(knowledge, seed=seed)).fit(competition)
    default = model.base
    again = OnTargetGene(Blend(knowledge, recipe=default.recipe_, seed=seed))
    prediction = predict_targets(again, competition, fitted=model)
    remarks = _on_targets(competition, knowledge)
    remarks.append(_on_recipe(default.recipe_))
    if default.inner_ is None:
        remarks.append("estimate: none, too few training rows or no knowledge")
        return Forecast(prediction, None, remarks)
    inner = _with_on_target_gene(default.inner_, competition)
    if minutes is not None:
        models = cheap_models(knowledge, seed=seed) | networks(knowledge, seed=seed)
        for name in ("pairs", "transfer"):  # the default blend is made of them
            models.pop(name, None)
        took = time.perf_counter() - begun
        held_out = [list(names) for names in inner.fold.groupby(inner.fold).groups.values()]
        found = fit_within(60 * minutes - took, models, competition, held_out, predict_targets)
        inner = inner.subset(competition.effects.index)
        saved = {"default": SavedRun(inner, prediction), **found.base_models}
        saved["mean"] = mean_run(competition, inner.fold)
        prediction, inner, remark = _blended(competition, saved, knowledge)
        remarks += [f"default blend: {took:.0f} s of {60 * minutes:.0f}", *found.lines(), remark]
    return Forecast(prediction, inner, [*remarks, *_on_score(inner, len(prediction))])


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
    remark = f"taken: {found.best}; choosing gains {gain:.2f} for 60 rows over the default blend, "
    remark += f"90 % interval {low:.2f} to {high:.2f}"
    if found.best.base_models == ["default"]:
        few = len(competition.effects) < ENOUGH
        why = f" (under {ENOUGH} training rows nothing is chosen)" if few else ""
        remark = remark.replace(f"taken: {found.best}", f"taken: the default blend{why}")
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


def _on_score(inner, targets):
    """Lines on the score to expect: of the training rows out of fold, and of as many new rows."""
    score = inner.score()
    draws = expected_spread(inner, rows=targets)
    lines = [
        f"estimate on {len(inner.truth)} training rows, out of fold: {score.score_per_60:.2f} for 60 "
        f"rows (W {60 * score.w / score.rows:.2f}, Wcos {score.wcos:.3f}); the mean baseline scores 0"
    ]
    for column, rows in {"score": f"all {targets} targets", "private": "a half of them"}.items():
        low, high = draws[column].quantile([0.05, 0.95])
        lines.append(f"expected of {rows}: 90 % interval {low:.2f} to {high:.2f} for 60 rows")
    return lines
