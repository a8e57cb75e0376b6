"""Find, fetch, read and join prior knowledge under current gene names: one `Knowledge` for all models."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io import locate
from ..io.files import InputError, fetch
from ..screens.atlas import Atlas, find_responses, read_responses
from ..screens.gene_names import GeneNames, load_gene_names
from ..screens.merging import merge
from .formats import parsed, read_source
from .pathways import EDGES, SETS, Pathways
from .similarity import Knowledge
from .tables import unpacked

REACTOME = "ReactomePathways.gmt"
URL = f"https://reactome.org/download/current/{REACTOME}.zip"


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
    sets, missing = pathways, ""
    if not isinstance(pathways, Pathways):
        try:
            sets = load_pathways(*pathways, folder=folder)
        except InputError as error:
            if pathways or os.environ.get("ESG_PATHWAYS"):
                raise
            sets, missing = None, f" ({error})"
    remarks = [f"pathways: {sets or f'none{missing}'}"]
    for name, table in (tables or {}).items():
        sets = (sets or Pathways()).with_knowledge(table, name)
    responses, missing = atlas, "; merge screens with: python -m kit merge FILE... --out DIR"
    if not isinstance(atlas, Atlas):
        try:
            responses = _responses(atlas, competition, merge_into)
        except InputError as error:
            if atlas is not None or os.environ.get("ESG_ATLAS"):
                raise
            responses, missing = None, f" ({error})"
    return Knowledge(sets, responses, remarks=[*remarks, f"atlas: {responses or f'none{missing}'}"])


def _responses(atlas, competition, merge_into):
    """The atlas named or found, or merged from the screens of a simulated competition, or None."""
    place = find_responses(atlas)
    if place is None and merge_into is not None and competition.simulated:
        screens = sorted({*competition.source.glob("*.h5ad")} - {competition.cells})
        place = merge(screens, competition, merge_into).responses
    return None if place is None else read_responses(place, competition)


def load_pathways(
    *paths: Path | str,
    names: GeneNames | None = None,
    folder: Path | str | None = None,
    download: bool = True,
) -> Pathways:
    """Read GMT sets and edge lists and join them under current gene names.

    paths: by default those that `find_files` finds; folder: the competition's, searched too. names: by
    default an HGNC table beside the files, else what `load_gene_names` finds. download: whether Reactome
    and HGNC may be fetched. A source is named by its file. Raises InputError.
    """
    files = find_files(paths, folder=folder, download=download)
    names = find_names(files, folder=folder, download=download) if names is None else names
    # An alias may be another gene's name: MCP, a member of sets, would become CD46.
    names = replace(names, alias={})
    frames, rows = {"sets": [], "edges": []}, {}
    for path in files:
        kind, frame, digest = read_source(path)
        if any(row["sha256"] == digest for row in rows.values()):  # the same file in two mounts
            continue
        columns = ["gene"] if kind == "sets" else ["one", "other"]
        frame, renamed = _current(frame, columns, names)
        frame = frame.drop_duplicates() if kind == "sets" else _distinct_edges(path, frame)
        source = _source_name(path, rows)
        frames[kind].append(frame.assign(source=source))
        rows[source] = {
            "kind": kind,
            "entries": frame["pathway"].nunique() if kind == "sets" else len(frame),
            "genes": len(pd.unique(frame[columns].to_numpy().ravel())),
            "renamed": renamed,
            "file": str(path),
            "sha256": digest,
        }
    return Pathways(
        sets=_stacked(frames["sets"], SETS),
        edges=_stacked(frames["edges"], EDGES),
        names=names,
        provenance=pd.DataFrame.from_dict(rows, "index").rename_axis("source"),
    )


def find_files(
    paths: Sequence[Path | str] = (),
    *,
    folder: Path | str | None = None,
    download: bool = True,
) -> list[Path]:
    """Return the paths of GMT files and edge lists: those given, or what `kit.io.locate` finds.

    $ESG_PATHWAYS may name several, joined by os.pathsep; folder: the competition's. Where none is found
    Reactome is fetched once. Raises InputError naming the places.
    """
    named = os.environ.get(locate.PATHWAYS.variable, "")
    if given := list(paths) or [path for path in named.split(os.pathsep) if path]:
        return list(dict.fromkeys(Path(path).expanduser() for path in given))
    if found := locate.find_files(locate.PATHWAYS, folder=folder):
        return found
    fault = "fetching it was not wanted"
    if download:
        try:
            return [fetch(URL, locate.home() / REACTOME, _sets_in)]
        except (OSError, HTTPException, InputError) as error:
            fault = f"fetching it failed: {error}"
    searched = ", ".join(locate.places(locate.PATHWAYS, folder))
    step = f"fetch {URL} into data/, give paths or set ESG_PATHWAYS"
    if locate.on_kaggle():
        step = f"attach a dataset with {REACTOME} (Add Input), or switch the internet on"
    raise InputError(f"no gene sets or interactions in {searched}, and {fault}; {step}")


def find_names(files: Sequence[Path], *, folder=None, download=True) -> GeneNames:
    """Return the names of a table hgnc*.txt or .tsv beside one of the files, else `load_gene_names`'s."""
    for place in dict.fromkeys(path.parent for path in files):
        if tables := sorted([*place.glob("hgnc*.txt"), *place.glob("hgnc*.tsv")]):
            return load_gene_names(tables[0])
    return load_gene_names(folder=folder, download=download)


def _sets_in(packed):
    """What a packed file of sets holds; InputError where it holds none."""
    if parsed(packed, URL)[0] != "sets":
        raise InputError(f"{URL} holds no sets")
    with unpacked(BytesIO(packed)) as content:
        return content.read()


def _source_name(path, taken):
    """The file's name without its ending, with a number where that is taken."""
    name = Path(path.name.removesuffix(".gz").removesuffix(".zip")).stem
    several = (f"{name} {number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in several if other not in taken)


def _current(frame, columns, names):
    """The frame with current symbols in these columns, and how many names changed."""
    used = pd.unique(frame[columns].to_numpy().ravel())
    symbols = names.current(used).to_numpy()
    mapping = dict(zip(used, symbols, strict=True))
    renamed = {name: frame[name].map(mapping) for name in columns}
    return frame.assign(**renamed), int((symbols != used).sum())


def _distinct_edges(path, edges):
    """Each pair once with its largest weight, no gene with itself, none of weight 0."""
    one, other = edges["one"].to_numpy(), edges["other"].to_numpy()
    swap = one > other
    edges = edges.assign(one=np.where(swap, other, one), other=np.where(swap, one, other))
    edges = edges[(one != other) & (edges["weight"] > 0)]
    if edges.empty:
        raise InputError(f"{path} has no edge between two genes with a weight above 0")
    return edges.groupby(["one", "other"], sort=False, as_index=False)["weight"].max()


def _stacked(frames, columns):
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return frame[columns]
