"""From a competition folder to the best submission we know: `python -m kit predict`.

By default that is the blend of the classical models. Given minutes, whatever else can be fitted in them,
networks too, is blended with it, and taken if left-out rows say that this is the better one. Released
truth (`solution*.csv`) serves as training rows for all other targets; a target whose own truth is
released is predicted by a fit that has not seen any of it.
"""

import copy
import os
import time
from dataclasses import dataclass

import pandas as pd

from .affordable import affordable, cheap_models, networks
from .atlas import find_responses, read_responses
from .ensemble import blend, expected_spread
from .files import InputError
from .members import Member, out_of_fold_runs, with_mean
from .models.blend import ENOUGH, Blend
from .models.constant import OwnGene
from .pathways import load_pathways
from .predictions import interval
from .validation import out_of_fold


@dataclass(frozen=True, eq=False)
class Forecast:
    """A prediction for all targets and what it rests on.

    prediction: perturbation x gene frame, log2. inner: OutOfFold of the training rows by what was
    chosen, or None. remarks: lines that say what was used and what to expect.
    """

    prediction: pd.DataFrame
    inner: object
    remarks: list


def gather_knowledge(competition, *, pathways=(), atlas=None, merged=None):
    """Pathways and Atlas, None where there is none, and a line on each: (pathways, atlas, remarks).

    pathways: files; atlas: a `responses.h5ad`; by default found as `load_pathways` and `find_responses`
    say. What is named must be readable, what is only looked for may be missing. merged: folder into
    which the screens that a simulated competition brings along are merged, where no atlas is found.
    """
    remarks = []
    try:
        known = load_pathways(*pathways, folder=competition.source)
        remarks.append(f"pathways: {known}")
    except InputError as error:
        if pathways or os.environ.get("ESG_PATHWAYS"):
            raise
        known = None
        remarks.append(f"pathways: none ({error})")
    responses = None
    try:
        place = find_responses(atlas)
        if place is None and merged is not None and competition.simulated:
            from .merge import merge

            screens = sorted({*competition.source.glob("*.h5ad")} - {competition.cells})
            place = merge(screens, competition, merged, progress=False).responses
        if place is not None:
            responses = read_responses(place, competition)
    except InputError as error:
        if atlas is not None or os.environ.get("ESG_ATLAS"):
            raise
        remarks.append(f"atlas: none ({error})")
        return known, None, remarks
    if responses is not None:
        remarks.append(f"atlas: {responses}")
    else:
        remarks.append("atlas: none; merge screens with: python -m kit merge FILE... --out DIR")
    return known, responses, remarks


def forecast(competition, *, pathways=None, atlas=None, seed=0, minutes=None, others=None):
    """Predict all targets of the competition: a Forecast.

    By the default blend of classical models; with `minutes`, by a blend of it with those of `others`
    that can be fitted in what it leaves of that time. others: models by name, cheapest first; by default
    the cheap ones and the networks.
    """
    begun = time.perf_counter()
    model = OwnGene(Blend(pathways, atlas, seed=seed)).fit(competition)
    default = model.base
    settings = {"recipe": default.recipe_, "likeness": default.likeness_, "seed": seed}
    again = OwnGene(Blend(pathways, atlas, **settings))
    prediction = predict_targets(again, competition, fitted=model)
    remarks = []
    if competition.solution is not None and len(competition.solution) < len(prediction):
        rows = len(competition.solution)
        remarks.append(f"released truth: {rows} rows train the models for the others")
    remarks += _on_targets(default.likeness_, list(prediction.index))
    remarks.append(_on_recipe(default.recipe_))
    if default.inner_ is None:
        remarks.append("estimate: none, too few training rows or no knowledge")
        return Forecast(prediction, None, remarks)
    inner = _with_own_gene(default.inner_, competition)
    if minutes is not None:
        if others is None:
            knowledge = {"likeness": default.likeness_, "seed": seed}
            others = cheap_models(pathways, atlas, **knowledge)
            for name in ("pairs", "transfer"):  # the default blend is made of them
                others.pop(name, None)
            others |= networks(pathways, atlas, **knowledge)
        took = time.perf_counter() - begun
        held_out = _held_out(inner)
        options = {"finish": predict_targets}
        found = affordable(others, competition, held_out, 60 * minutes - took, **options)
        fold = inner.fold.loc[competition.effects.index]
        first = Member("default", inner.prediction.loc[fold.index], prediction, fold, took)
        members = with_mean(competition, {"default": first, **found.members})
        prediction, inner, said = _blended(competition, members, default.likeness_)
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
        whole = model.fit(competition.known()) if released else fitted
        parts.append(whole.predict(others))
    return pd.concat(parts).loc[list(targets)]


class _Kept:
    """Predictions made before, behind the models' door."""

    def __init__(self, prediction):
        self.prediction = prediction

    def fit(self, train):
        return self

    def predict(self, perturbations):
        return self.prediction.loc[list(perturbations)]


def _held_out(run):
    return [list(names) for names in run.fold.groupby(run.fold).groups.values()]


def _with_own_gene(inner, competition):
    """Out-of-fold predictions with the own gene set as in the predictions of the targets."""
    held_out = _held_out(inner)
    return out_of_fold(OwnGene(_Kept(inner.prediction)), competition, held_out)


def _blended(competition, members, likeness):
    """Prediction of the targets, OutOfFold, and a line: of the blend, or of the default alone.

    With few rows nothing is chosen: to choose among scores that are mostly noise costs more than it
    brings (on fifteen rows of real data it threw away two thirds of the score).
    """
    runs = out_of_fold_runs(competition, members)
    names = [*competition.effects.index, *competition.targets["perturbation"]]
    groups = likeness.covered(names)
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


def _on_targets(likeness, targets):
    known, covered = likeness.knows(targets), likeness.covered(targets)
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
