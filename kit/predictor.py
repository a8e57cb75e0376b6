"""From a competition folder to the best submission we know: `python -m kit predict`.

Released truth (`solution*.csv`) serves as training rows for all other targets; a target whose own truth
is released is predicted by a fit that has not seen any of it.
"""

import os
from dataclasses import dataclass

import pandas as pd

from .atlas import find_responses, read_responses
from .files import InputError
from .models.blend import Blend
from .models.constant import OwnGene
from .pathways import load_pathways
from .predictions import interval


@dataclass(frozen=True, eq=False)
class Forecast:
    """A prediction for all targets and what it rests on.

    prediction: perturbation x gene frame, log2. inner: OutOfFold of the training rows by the chosen
    recipe, or None. remarks: lines that say what was used and what to expect.
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
        if pathways:
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


def forecast(competition, *, pathways=None, atlas=None, seed=0):
    """Fit the default blend and predict all targets of the competition: a Forecast."""
    targets = list(competition.targets["perturbation"])
    model = OwnGene(Blend(pathways, atlas, seed=seed)).fit(competition)
    blend = model.base
    parts, remarks = [], []
    released = []
    if competition.solution is not None:
        released = list(competition.targets["perturbation"].loc[competition.solution.index])
        parts.append(model.predict(released))
    others = [name for name in targets if name not in set(released)]
    if released and others:
        settings = {"recipe": blend.recipe_, "likeness": blend.likeness_, "seed": seed}
        model = OwnGene(Blend(pathways, atlas, **settings)).fit(competition.known())
        remarks.append(f"released truth: {len(released)} rows train the model for the others")
    if others:
        parts.append(model.predict(others))
    prediction = pd.concat(parts).loc[targets]
    remarks += _on_targets(blend.likeness_, targets)
    remarks += _on_recipe(blend, len(competition.effects))
    return Forecast(prediction, blend.inner_, remarks)


def _on_targets(likeness, targets):
    known, covered = likeness.knows(targets), likeness.covered(targets)
    unknown = list(known.index[~known.to_numpy()])
    line = f"targets: {len(targets)}, {covered.sum()} with a response in the atlas, "
    line += f"{len(unknown)} of which nothing is known"
    return [line + (f" (the constant's prediction): {', '.join(unknown[:5])}" if unknown else "")]


def _on_recipe(blend, rows):
    scenarios, points = blend.recipe_
    models = [f"scenarios {scenarios * (1 - points):.2f}"]
    models.append(f"genes told apart {(1 - scenarios) * (1 - points):.2f}")
    models += [f"ridge and LightGBM on components {points:.2f}"] if points else []
    lines = [f"blend: {', '.join(models)}"]
    if blend.inner_ is None:
        return [*lines, "estimate: none, too few training rows or no knowledge"]
    score = blend.inner_.score()
    low, high = interval(score)
    return [
        *lines,
        f"estimate on {rows} training rows, inner folds: {score.score_per_60:.2f} for 60 rows, "
        f"90 % interval {low:.2f} to {high:.2f} (W {60 * score.w / score.rows:.2f}, "
        f"Wcos {score.wcos:.3f}); the mean baseline scores 0",
    ]
