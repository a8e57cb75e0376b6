"""Compare the variants of a network with simple models on the same folds, and state the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import pandas as pd

from ..competition import Competition
from ..evaluation.comparison import Recorder, choose, compare
from ..evaluation.predictions import OutOfFold, versus
from ..models.baselines import OnTargetGene
from ..models.transfer import reference_models
from .trained import Trained, variants


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
    knowledge = model.knowledge
    cells = competition.cells is not None and find_spec("anndata") is not None
    ours = {**variants(model, cells=cells, screens=knowledge.atlas is not None), **(more or {})}
    ours = {f"{label}, {name}": OnTargetGene(one) for name, one in ours.items()}
    others = reference_models(knowledge, seed=model.seed) | dict(simple or {})
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
