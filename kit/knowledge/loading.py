"""Find, fetch, read and join gene sets and interactions under current gene names."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pandas as pd

from ..io import locate
from ..io.files import InputError, fetch
from ..screens.gene_names import GeneNames, load_gene_names
from .formats import parsed, read_source, unpacked
from .pathways import EDGES, SETS, Pathways

REACTOME = "ReactomePathways.gmt"
URL = f"https://reactome.org/download/current/{REACTOME}.zip"


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
    read = {}
    for path in files:
        sets, edges, digest = read_source(path)
        if all(digest != other for *_, other in read.values()):  # the same file in two mounts
            read[_source_name(path, read)] = path, sets, edges, digest
    names = find_names(files, folder=folder, download=download) if names is None else names
    # An alias may be another gene's name: MCP, a member of sets, would become CD46.
    names = replace(names, alias={})
    frames, rows = {"sets": [], "edges": []}, {}
    for source, (path, sets, edges, digest) in read.items():
        kind = "edges" if sets is None else "sets"
        join = _joined_edges if sets is None else _joined_sets
        frame, row = join(path, edges if sets is None else sets, names)
        frames[kind].append(frame.assign(source=source))
        date = record_of(path).get("date")
        rows[source] = {"kind": kind, **row, "file": str(path), "sha256": digest, "date": date}
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
        tables = (table for suffix in ("txt", "tsv") for table in place.glob(f"hgnc*.{suffix}"))
        if (table := min(tables, default=None)) is not None:
            return load_gene_names(table)
    return load_gene_names(folder=folder, download=download)


def _sets_in(packed):
    """What a packed file of sets holds; InputError where it holds none."""
    if parsed(packed, URL)[0] is None:
        raise InputError(f"{URL} holds no sets")
    return unpacked(packed)


def record_of(path: Path) -> dict:
    """Return what `fetch` wrote beside a file, or an empty dict where it did not fetch it."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        record = json.loads(beside.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "sha256" in record else {}


def _source_name(path, taken):
    """The file's name without its ending, with a number where that is taken."""
    name = Path(path.name.removesuffix(".gz").removesuffix(".zip")).stem
    several = (f"{name} {number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in several if other not in taken)


def _joined_sets(path, sets, names):
    """Sets by current symbol, a gene once in each, and their counts."""
    sets, renamed = _current(sets, ["gene"], names)
    sets = sets.drop_duplicates()
    counts = {"entries": sets["pathway"].nunique(), "genes": sets["gene"].nunique()}
    return sets, counts | {"renamed": renamed}


def _joined_edges(path, edges, names):
    """Edges by current symbol, each pair once with its largest weight, none to itself; their counts."""
    edges, renamed = _current(edges, ["one", "other"], names)
    one, other = edges["one"].to_numpy(), edges["other"].to_numpy()
    swap = one > other
    edges = edges.assign(one=np.where(swap, other, one), other=np.where(swap, one, other))
    edges = edges[(one != other) & (edges["weight"] > 0)]
    if edges.empty:
        raise InputError(f"{path} has no edge between two genes with a weight above 0")
    edges = edges.groupby(["one", "other"], sort=False, as_index=False)["weight"].max()
    genes = pd.concat([edges["one"], edges["other"]]).nunique()
    return edges, {"entries": len(edges), "genes": genes, "renamed": renamed}


def _current(frame, columns, names):
    """The frame with current symbols in these columns, and how many names changed."""
    used = pd.unique(frame[columns].to_numpy().ravel())
    symbols = names.current(used).to_numpy()
    mapping = dict(zip(used, symbols, strict=True))
    renamed = {name: frame[name].map(mapping) for name in columns}
    return frame.assign(**renamed), int((symbols != used).sum())


def _stacked(frames, columns):
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return frame[columns]
