"""Read every source and join them under current gene names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import InputError
from .formats import read_source
from .pathways import EDGES, SETS, Pathways
from .places import find_files, find_names, record_of


def load_pathways(*paths, names=None, folder=None, download=True):
    """Read GMT sets and edge lists, joined under current gene names.

    Without `paths` looks where `places.find_files` says: $ESG_PATHWAYS, `folder` (the competition's),
    Kaggle mounts, `data/`, Reactome's download. `names`: a GeneNames, by default an HGNC table beside
    the files, else as `load_gene_names` finds it. A source is named by its file. Raises InputError.
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


def _source_name(path, taken):
    """The file's name without its ending, told apart from those taken."""
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
