"""Compare the variants of a network with simple models on the same folds, and state the verdict."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec

import pandas as pd

from ..competition import Competition
from ..evaluation.comparison import Recorder, choose, compare
from ..evaluation.predictions import OutOfFold, versus
from ..models import OnTargetGene, reference_models
from .losses import LossWeights
from .trained import POLICIES, Trained

METRIC = LossWeights(chance=0, wmae=1, cosine=0.2)  # the competition's own terms alone
RESAMPLED = 8  # samples of cells


@dataclass(frozen=True, eq=False)
class VariantComparison:
    """Scores of a network's variants beside simple models.

    table, runs: as `compare` gives; models: unfitted, by name; best: the variant with the best score on
    all rows, or where all failed the best of the others; chosen: OutOfFold of that choice made inside
    folds, one a repeat; lines: the verdict, for people.
    """

    table: pd.DataFrame
    runs: dict[str, list[OutOfFold]]
    models: dict[str, object]
    best: str
    chosen: list[OutOfFold]
    lines: list[str]


def variants(model: Trained, competition: Competition) -> dict[str, Trained]:
    """Return models by name: `model` with one thing changed at a time.

    Policies come first; then, of the policy that uses most, rows of resampled cells, where there are
    cells, and the competition's loss. All share what they have learned from the same screens.
    """

    def changed(**options):
        one = deepcopy(model)  # shares `cache`
        vars(one).update(options)
        return one

    policies = POLICIES if model.knowledge.atlas is not None else ("competition",)
    found, last = {policy: changed(policy=policy) for policy in policies}, policies[-1]
    if competition.cells is not None and find_spec("anndata") is not None:
        found[f"{last}, resampled"] = changed(policy=last, draws=RESAMPLED)
    found[f"{last}, metric loss"] = changed(policy=last, loss=METRIC)
    return found


def compare_variants(
    model: Trained,
    label: str,
    competition: Competition,
    held_out: Sequence[Sequence[str]],
    *,
    run: Recorder | None = None,
    simple: Mapping[str, object] | None = None,
    more: Mapping[str, object] | None = None,
) -> VariantComparison:
    """Compare `variants` of a network with the reference models on the same held-out rows.

    label: start of the variants' names; held_out, run: as for `compare`; simple, more: further models to
    compare with, and further variants, by name. All variants set the on-target effect.
    """
    ours = variants(model, competition) | dict(more or {})
    ours = {f"{label}, {name}": OnTargetGene(one) for name, one in ours.items()}
    others = reference_models(model.knowledge, seed=model.seed) | dict(simple or {})
    table, runs = compare(others | ours, competition, held_out, run=run)
    scored = {name: runs[name] for name in ours if name in runs}
    known = {name: runs[name] for name in others if name in runs}
    best, chosen = choose(scored or known)
    rival = table["score"][list(known)].idxmax()
    against = dict.fromkeys([rival, "constant", *(simple or {})])
    lines = [versus(runs, best, other) for other in against if other in known and other != best]
    lines.append(versus({**runs, "chosen inside folds": chosen}, "chosen inside folds", rival))
    if not scored:
        lines = [f"every variant of {label} failed; the best of the other models is {best}"]
    return VariantComparison(table, runs, others | ours, best, chosen, lines)
