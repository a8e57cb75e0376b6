"""Find, read and join all prior knowledge of perturbations: one `Knowledge` for all models."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..competition import Competition
from ..io.files import InputError
from ..screens.atlas import Atlas, find_responses, read_responses
from ..screens.merging import merge
from .loading import load_pathways
from .pathways import Pathways
from .similarity import Knowledge


def gather(
    competition: Competition | None = None,
    *,
    pathways: Sequence[Path | str] | Pathways = (),
    tables: Mapping[str, pd.DataFrame] | None = None,
    atlas: Path | str | Atlas | None = None,
    folder: Path | str | None = None,
    merge_into: Path | str | None = None,
) -> Knowledge:
    """Return pathways, tables and other screens as one Knowledge; its `remarks` list what was found.

    competition: responses get its genes, its folder is searched. pathways: files of sets and edges, or
    Pathways; by default those that `load_pathways` finds. tables: gene x number frames by name, as
    `load_knowledge` returns them. atlas: a `responses.h5ad`, or an Atlas; by default what
    `find_responses` finds. folder: searched instead of the competition's. merge_into: folder into which
    the screens of a simulated competition are merged where no atlas is found. What is named must be
    readable, what is only searched for may be missing. Raises InputError.
    """
    if folder is None and competition is not None:
        folder = competition.source
    sets, lines = _pathways(pathways, folder)
    for name, table in (tables or {}).items():
        sets = (Pathways() if sets is None else sets).with_knowledge(table, name)
    responses, more = _responses(atlas, competition, merge_into)
    return Knowledge(sets, responses, remarks=[*lines, *more])


def _pathways(pathways, folder):
    if isinstance(pathways, Pathways):
        return pathways, [f"pathways: {pathways}"]
    try:
        known = load_pathways(*pathways, folder=folder)
    except InputError as error:
        if pathways or os.environ.get("ESG_PATHWAYS"):
            raise
        return None, [f"pathways: none ({error})"]
    return known, [f"pathways: {known}"]


def _responses(atlas, competition, merge_into):
    if isinstance(atlas, Atlas):
        return atlas, [f"atlas: {atlas}"]
    try:
        place = find_responses(atlas)
        if place is None and merge_into is not None and competition.simulated:
            screens = sorted({*competition.source.glob("*.h5ad")} - {competition.cells})
            place = merge(screens, competition, merge_into, progress=False).responses
        if place is None:
            step = "merge screens with: python -m kit merge FILE... --out DIR"
            return None, [f"atlas: none; {step}"]
        responses = read_responses(place, competition)
    except InputError as error:
        if atlas is not None or os.environ.get("ESG_ATLAS"):
            raise
        return None, [f"atlas: none ({error})"]
    return responses, [f"atlas: {responses}"]
