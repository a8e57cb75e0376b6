"""What a prediction loses without a source of knowledge, or without one training knockdown: by refits."""

from dataclasses import replace

import pandas as pd

from ..knowledge import Knowledge
from ..models.blend import Blend
from .attribution import pulls, shares
from .explanation import without_row


def without(explanation, knowledge, *, seed=0, rows=3):
    """What is expected without each source, and each of the loudest training knockdowns: a frame.

    knowledge: that the Explanation was made with. Each line is a refit. `change`: how far
    expected effects move, mean absolute, as a share of their mean distance from the mean training effect;
    `speaker`: the training knockdown with the largest share then, "none" where no knowledge is left.
    """
    train, name = explanation.train, explanation.perturbation
    pathways, atlas = knowledge.pathways, knowledge.atlas
    runs = {}
    for source in () if pathways is None else _sources(pathways):
        runs[f"without {source}"] = train, _without_source(pathways, source), atlas
    if pathways is not None and atlas is not None:
        runs["without all pathways"] = train, None, atlas
    if atlas is not None:
        runs["without other screens"] = train, pathways, None
    loudest = explanation.speakers().index[: min(rows, len(train.effects) - 2)]
    for row in loudest if not explanation.constant else ():
        runs[f"without knockdown {row}"] = without_row(train, row), pathways, atlas
    before, mean = explanation.effects["expected"], explanation.effects["mean"]
    departure = max((before - mean).abs().mean(), 1e-12)
    found = {}
    for label, (rows_left, sets, screens) in runs.items():
        blend = Blend(Knowledge(sets, screens), parts=0, seed=seed).fit(rows_left)
        belief = blend.predict_distribution([name])
        change = (belief.mean().loc[name] - before).abs().mean() / departure
        knows = bool(blend.knowledge.knows([name]).iloc[0])
        found[label] = change, shares(pulls(belief)).index[0] if knows else "none"
    return pd.DataFrame.from_dict(found, "index", columns=["change", "speaker"])


def _sources(pathways):
    edges = pathways.edges["source"].unique() if len(pathways.edges) else ()
    return [*pathways.sets["source"].unique(), *edges, *pathways.tables]


def _without_source(pathways, source):
    """Pathways without one source, None where nothing is left."""
    left = replace(
        pathways,
        sets=pathways.sets[pathways.sets["source"] != source],
        edges=pathways.edges[pathways.edges["source"] != source],
        tables={name: table for name, table in pathways.tables.items() if name != source},
    )
    return left if left.parts else None
