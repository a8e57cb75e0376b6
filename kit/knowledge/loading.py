"""Find, fetch, read and join prior knowledge under current gene names: one `Knowledge` for all models.

Files that the user names are used, or refused by an error. Of the others, found in the places that
`kit.io.locate` lists, those count that hold sets, edges or tables of the competition's genes; a line says
which and why not. A file that may hold what is to be predicted is never used unless it is named.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io import locate
from ..io.files import InputError, fetch, printable, quote_some
from ..screens.atlas import Atlas, find_atlas, read_responses
from ..screens.gene_names import GeneNames, load_gene_names
from ..screens.merging import merge
from .formats import named_columns, parsed, read_source, split_paths
from .matching import NAME_IT, genes_of, known_of_each, known_part, labels_by_kind
from .pathways import EDGES, SETS, Pathways
from .similarity import Knowledge
from .tables import unpacked

REACTOME = "ReactomePathways.gmt"
URL = f"https://reactome.org/download/current/{REACTOME}.zip"
ENDINGS = (  # of files that may hold knowledge, and of the last three, which get a line
    *(".gmt", ".tsv", ".csv", ".txt", ".sif", ".npz", ".gaf", ".tab", ".tab2", ".tab3", ".mitab"),
    *(".edges", ".edgelist", ".xlsx", ".xls", ".parquet"),
)
# Others of these endings: the competition's tables, submissions, names of genes and of STRING's
# proteins, reports, licences.
OTHERS = (
    *("training_*", "pert_ids*", "*submission*", "solution*", "truth*", "hgnc*"),
    *("*protein.info*", "coverage.csv"),
    *("requirements*", "readme*", "licen[cs]e*", "copying*", "notice*", "changelog*", "makefile"),
)
LARGEST, LARGEST_BARE = 300e6, 20e6  # bytes of a file that nobody names, with and without an ending


def gather(
    competition: Competition | None = None,
    *,
    pathways: Sequence[Path | str] | Pathways = (),
    tables: Mapping[str, pd.DataFrame] | None = None,
    atlas: Path | str | Atlas | None = None,
    folder: Path | str | None = None,
    merge_into: Path | str | None = None,
) -> Knowledge:
    """Return pathways, tables and other screens as one Knowledge.

    Its `remarks` are lines on what is used, what was found and is not used, and why. competition:
    responses get its genes, its folder is searched, files are matched with its genes. pathways: files of
    sets, edges and tables, or Pathways; by default those that `load_pathways` finds. tables: frames by
    name, gene x number, as `load_knowledge` returns them. atlas: a `responses.h5ad`, or an Atlas; by
    default what `find_responses` finds. folder: searched instead of the competition's. merge_into: folder
    into which the screens of a simulated competition are merged where no atlas is found. What is named
    must be readable, what is only searched for may be missing. Raises InputError.
    """
    if folder is None and competition is not None:
        folder = competition.source
    if isinstance(pathways, Pathways):
        sets, lines = pathways, [f"pathways: {pathways}"]
    else:
        sets, lines, fault = _load(pathways, competition, folder=folder)
        lines = lines if sets else [f"pathways: none ({fault})", *lines]
    for name, table in (tables or {}).items():
        sets = (sets or Pathways()).with_knowledge(table, name)
        lines.append(f"pathways: {name}: {len(table):,} genes x {table.shape[1]:,} numbers")
    ignored = []
    if not isinstance(atlas, Atlas):
        atlas, ignored = find_atlas(atlas, competition, folder=folder)
    if atlas is None and merge_into is not None and competition.simulated:
        screens = sorted({*competition.source.glob("*.h5ad")} - {competition.cells})
        merged = merge(screens, competition, merge_into)
        atlas = read_responses(merged.responses, competition)
    knowledge = Knowledge(sets, atlas)
    text = atlas or "none; merge screens with: python -m kit merge FILE... --out data/atlas"
    if atlas and competition is not None:
        kinds = labels_by_kind(competition)
        del kinds["genes"]
        counts = {kind: knowledge.has_response(labels) for kind, labels in kinds.items()}
        text = f"{atlas}; {known_of_each(counts)}"
    knowledge.remarks = [*map(printable, [*lines, f"atlas: {text}", *ignored])]
    return knowledge


def load_pathways(
    *paths: Path | str,
    names: GeneNames | None = None,
    folder: Path | str | None = None,
    download: bool = True,
    competition: Competition | None = None,
) -> Pathways:
    """Read sets, edges and tables of genes and join them under current gene names.

    paths: by default $ESG_PATHWAYS (several are joined by os.pathsep), then all that is found in the
    places of `kit.io.locate`, folder (the competition's) among them; where nothing is found, Reactome is
    fetched once. names: by default an HGNC table beside the files, else what `load_gene_names` finds.
    download: whether Reactome and HGNC may be fetched. competition: with it, files that know none of its
    genes are refused. A source is named by its file. Warns of files that are found and not used. Raises
    InputError.
    """
    options = {"folder": folder, "names": names, "download": download}
    pathways, lines, fault = _load(paths, competition, **options)
    if pathways is None:
        raise InputError("; ".join([fault, *lines]))
    for line in lines:
        if line.startswith("ignored"):
            warnings.warn(line, stacklevel=2)
    return pathways


def _load(paths, competition, *, folder, names=None, download=True):
    """Pathways or None, a line for each file that is used or ignored, and why there are none."""
    named = os.environ.get(locate.PATHWAYS.variable, "")
    given = list(paths) or split_paths(named)
    files = [Path(path).expanduser() for path in given] or _candidates(folder, competition)
    used, rows, again, ignored, fault = {}, {}, [], {}, None

    @cache  # where there is no file, no names are fetched
    def current():
        found = find_names(files, folder=folder, download=download) if names is None else names
        # An alias may be another gene's name: MCP, a member of sets, would become CD46.
        return replace(found, alias={})

    def take(path):
        naming = current()
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                frame, row, sides = _read(path, naming, most=None if given else LARGEST)
                row["known"] = known_part(frame, row, sides, competition, naming, must=bool(given))
        except InputError as error:
            if given:
                raise
            ignored[path] = str(error).replace(str(path), path.name, 1).partition("; ")[0]
            return
        for warning in seen:  # those of a file that is ignored are of no use
            warnings.warn(warning.message, stacklevel=5)
        if same := [name for name, other in rows.items() if other["sha256"] == row["sha256"]]:
            again.append(f"ignored: {path}, because it equals {rows[same[0]]['file']}")
        else:
            source = _source_name(path, rows)
            used[source], rows[source] = frame, row

    for path in dict.fromkeys(files):
        take(path)
    if not given and all(row["kind"] == "table" for row in rows.values()):
        simulated = competition is not None and competition.simulated
        fetched, fault = _fetched(folder, download and not simulated)
        if fetched:
            take(fetched)
    for row in rows.values():
        row["line"] = _line(row)
    lines = [*(row["line"] for row in rows.values()), *again, *_joined(ignored)]
    if not used:
        return None, lines, fault or "Reactome does not fit"
    frames = {"sets": [], "edges": []}
    for source, row in rows.items():
        if row["kind"] != "table":
            frames[row["kind"]].append(used[source].assign(source=source))
    pathways = Pathways(
        sets=_stacked(frames["sets"], SETS),
        edges=_stacked(frames["edges"], EDGES),
        tables={source: used[source] for source, row in rows.items() if row["kind"] == "table"},
        names=current(),
        provenance=pd.DataFrame.from_dict(rows, "index").rename_axis("source"),
    )
    return pathways, lines, None


def _candidates(folder, competition):
    """Files in all places whose names let them be sets, edges or tables of genes."""
    tables = () if competition is None else [path.resolve() for path in competition.files]
    found = locate.find_files(locate.PATHWAYS, folder=folder)
    return [path for path in found if _may_hold_genes(path) and path.resolve() not in tables]


def _may_hold_genes(path):
    name = path.name.lower()
    bare = name.removesuffix(".gz").removesuffix(".zip")
    ending = Path(bare).suffix
    if name.startswith(".") or any(fnmatch(bare, pattern) for pattern in OTHERS):
        return False
    small = bare != name or path.stat().st_size <= LARGEST_BARE
    return ending in ENDINGS or (not ending and small)


def _fetched(folder, download):
    """The path of Reactome, fetched, or None, and why there is nothing."""
    fault = "fetching it was not wanted"
    if download:
        try:
            return fetch(URL, locate.home() / REACTOME, _sets_in), None
        except (OSError, HTTPException, InputError) as error:
            fault = f"fetching it failed: {error}"
    searched = ", ".join(locate.places(locate.PATHWAYS, folder))
    step = f"fetch {URL} into data/, give paths or set ESG_PATHWAYS"
    if locate.on_kaggle():
        step = f"attach a dataset with {REACTOME} (Add Input), or switch the internet on"
    return None, f"no gene sets or interactions in {searched}, and {fault}; {step}"


def _read(path, names, most):
    """The frame of one file under current symbols, its row of the provenance, and both sides.

    most: InputError beyond so many bytes, None for any number. Sides: the values of the first two columns
    of sets and edges, as they stand in the file.
    """
    if most and (size := path.stat().st_size) > most:
        raise InputError(f"{path} has {size / 1e6:,.0f} MB: {NAME_IT}")
    kind, frame, digest = read_source(path, names)
    columns = {"sets": ["gene"], "edges": ["one", "other"], "table": []}[kind]
    row = {"kind": kind, "read_as": frame.attrs.get("read_as", "")}
    frame, renamed = _current(frame, columns, names)
    sides = [] if kind == "table" else [pd.unique(frame.iloc[:, side]) for side in (0, 1)]
    if kind == "edges":
        frame = _distinct_edges(path, frame)
    elif kind == "sets":
        frame = frame.drop_duplicates()
    entries = frame["pathway"].nunique() if kind == "sets" else len(frame)
    row |= {"entries": entries, "genes": len(genes_of(frame, kind)), "renamed": renamed}
    return frame, row | {"file": str(path), "sha256": digest}, sides


def _line(row):
    what = {
        "sets": "{entries:,} sets of {genes:,} genes",
        "edges": "{entries:,} edges between {genes:,} genes",
        "table": "numbers of {genes:,} genes",
    }
    parts = [what[row["kind"]].format(**row), row["read_as"], row["known"]]
    return f"pathways: {row['file']}: {'; '.join(filter(None, parts))}"


def _joined(ignored):
    """Lines on ignored files; several of one folder that hold no genes are one line."""
    folders, lines = {}, []
    for path, reason in ignored.items():
        if NAME_IT in reason:
            lines.append(f"ignored: {path}, because {reason}")
        else:
            folders.setdefault(path.parent, {})[path.name] = reason
    for folder, files in folders.items():
        if len(files) > 2:
            why = "they hold no sets, edges or tables of the competition's genes; name one to see more"
            lines.append(f"ignored in {folder}: {quote_some(files)}, because {why}")
        else:
            lines += [f"ignored: {folder / name}, because {why}" for name, why in files.items()]
    return lines


def find_names(files: Sequence[Path], *, folder=None, download=True) -> GeneNames:
    """Return the names of a table hgnc*.txt or .tsv beside one of the files, else `load_gene_names`'s."""
    for place in dict.fromkeys(path.parent for path in files):
        for table in sorted(place.glob("hgnc*.t[xs][tv]")):
            with suppress(
                InputError
            ):  # HGNC has other tables: of gene families, of withdrawn names
                return load_gene_names(table)
    return load_gene_names(folder=folder, download=download)


def _sets_in(packed):
    """What a packed file of sets holds; InputError where it holds none."""
    if parsed(packed, URL)[0] != "sets":
        raise InputError(f"{URL} holds no sets")
    with unpacked(BytesIO(packed)) as content:
        return content.read()


def _source_name(path, taken):
    """The file's name without its ending, with a number where that is taken."""
    file = named_columns(path)[0].name
    name = Path(file.removesuffix(".gz").removesuffix(".zip")).stem
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
