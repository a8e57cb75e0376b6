"""Read sets and edge lists, whatever public source they come from."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import InputError, quote_some, repeated, to_number
from ..screens.gene_names import GeneNames
from .recognition import (
    BLANK,
    has_no_header,
    is_table,
    layout_by_names,
    layout_of,
    named_layout,
)
from .tables import WANT, Text, beginning, holds_arrays, numbers_by_gene, read_bytes, warn_of_dates

LIGHTEST, HEAVIEST = 1e-30, 1e30  # weights that are no zero and no infinity as float32
HUMAN = {"homo sapiens", "human", "9606", "taxon:9606"}
COMPETITION = {"pert_id", "pert_symbol", "perturbation"}  # columns of its tables and of predictions
_NO_SYMBOL = re.compile(r"""[][{}<>"'=\\]|://""")
PROTEINS = "proteins (put STRING's protein.info beside it)"
_PROTEIN = re.compile(r"(\d+\.)?ENS[A-Z]*P\d+(\.\d+)?")  # STRING: 9606.ENSP00000000233
_NO_GENES = {
    "numbers": re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.I),
    "phrases": re.compile(r".*\w \w.*"),
    PROTEINS: _PROTEIN,
}


def read_source(path: Path | str, names: GeneNames | None = None) -> tuple[str, pd.DataFrame, str]:
    """Return the kind of a file, its content and its SHA-256, with the columns named; see `parsed`.

    path: the file, or `FILE:A,B` or `FILE:A,B,W` with the columns of an edge list and its weights, by
    name or, where the file has no header, by number from 1. names: as for `load_knowledge`.
    """
    path, columns = named_columns(path)
    content = read_bytes(path, WANT)
    digest = hashlib.sha256(content + ",".join(columns).encode()).hexdigest()
    return *parsed(content, path, columns, names), digest


def named_columns(path: Path | str) -> tuple[Path, list[str]]:
    """Return the file and the columns that `FILE:A,B` names; none where the whole names a file."""
    file, colon, columns = str(path).rpartition(":")
    if Path(path).exists() or not (colon and Path(file).is_file()):
        return Path(path), []
    return Path(file), [name.strip() for name in columns.split(",")]


def split_paths(text: str) -> list[str]:
    """Return the paths that os.pathsep joins; the columns of `FILE:A,B` stay with their file."""
    found = []
    for part in filter(None, text.split(os.pathsep)):
        if found and "," in part and not Path(part).expanduser().exists():
            found[-1] += os.pathsep + part
        else:
            found.append(part)
    return found


def parsed(
    content: bytes, path: Path | str, columns: Sequence[str] = (), names: GeneNames | None = None
) -> tuple[str, pd.DataFrame]:
    """Return the kind and the content of a file's bytes; `path` names it in errors.

    `sets`: frame (pathway, gene); `edges`: frame (one, other, weight); genes keep the names of the file;
    `table`: as `load_knowledge` returns it. The frame's `attrs["read_as"]` names the columns used and
    counts what was left out. Warns of dates among the genes. Raises InputError for what is none of these.
    """
    text = None if holds_arrays(content) else _text(content, path, columns)
    if text is None or (not columns and is_table(text.sample)):
        table = numbers_by_gene(content, path, names)
        return "table", _read_as(table, f"{table.shape[1]:,} numbers by gene")
    if not columns and has_no_header(text.sample):
        raise InputError(
            f"{path} holds numbers under no names; want a header line that names the columns, such as "
            "`gene,1,2,3`"
        )
    if len(text.sample[0]) == 1:
        raise InputError(f"{path} has one column, it begins `{text.lines[0][1][:40]}`; {WANT}")
    layout = named_layout(columns, text) if columns else layout_of(text)
    if layout is None:
        raise InputError(
            f"{path} is not recognised by its columns {quote_some(text.sample[0], 12)}; {WANT}"
        )
    if layout.kind == "gmt":
        return "sets", _gmt(text)
    if layout.kind == "sif":
        return "edges", _sif(text)
    return layout.kind, _by_column(text, layout)


def _text(content, path, columns):
    """The lines of a file; InputError, before all is unpacked, where its beginning is of no use."""
    try:
        start = Text(beginning(content), path)
    except InputError:  # nothing, or a quoted field cut in two: the whole shows what it is
        start = None
    if start is not None:
        _check_beginning(start, columns)
    text = Text(content, path)
    _check_beginning(text, columns)
    return text


def _check_beginning(text, columns):
    """Raise InputError for a table of a competition, and for STRING's proteins without symbols."""
    if COMPETITION & set(text.sample[0]):
        raise InputError(f"{text.path} is a table of a competition, no prior knowledge; {WANT}")
    layout = None if columns else layout_by_names(text.sample)
    if layout is not None and layout.kind == "edges" and not _protein_infos(text.path):
        names = [row[at] for row in text.sample[1:] for at in layout.places if at < len(row)]
        _check_kinds(text.path, list(dict.fromkeys(names)), PROTEINS)


def _gmt(text):
    names, ids, members = [], [], []
    for number, line in text.lines:
        name, *rest = (field.strip() for field in line.split("\t"))
        if not name or not rest:
            raise InputError(f"{text.path}, line {number}: `{line[:40]}` is no set; {WANT}")
        names.append(name)
        ids.append(rest[0])
        # Enrichr writes a weight behind each symbol: TP53,1.0
        members.append([field.partition(",")[0] for field in rest[1:] if field])
    again = set(repeated(names))
    labels = [
        f"{name} ({key})" if name in again else name for name, key in zip(names, ids, strict=True)
    ]
    sets = pd.DataFrame({"pathway": labels, "gene": members}, dtype=object)
    sets = sets.explode("gene", ignore_index=True).dropna().reset_index(drop=True)
    return _sets(text, sets, "GMT")


def _sets(text, sets, remark):
    if sets.empty:
        raise InputError(f"{text.path} has no set with a member; {WANT}")
    _check_genes(text.path, pd.unique(sets["gene"]))
    return _read_as(sets, remark)


def _sif(text):
    rows = zip(text.lines, text.fields(text.lines), strict=False)
    edges = [(line, own[0].strip(), other.strip()) for line, own in rows for other in own[2:]]
    lines, *names = zip(*edges, strict=True)
    table = pd.DataFrame(zip(*names, strict=True), columns=["one", "other"]).assign(weight=1.0)
    return _edges(text.path, table, lines, "SIF: a gene, a kind of interaction and partners")


def _by_column(text, layout):
    """Sets or edges in two columns of a table, of one species."""
    first, lines = text.sample[0], text.lines[layout.header :]
    places = [*layout.places, *layout.species, layout.weight, layout.negated]
    places = [place for place in places if place is not None]
    if max(places) >= len(first):
        number, line = text.lines[0]
        fault = f"`{line[:40]}` has {len(first)} fields, other lines have more; is it a title? delete it"
        raise InputError(f"{text.path}, line {number}: {fault}; {WANT}")
    found, before = [], math.inf
    for (number, line), fields in zip(lines, text.fields(lines), strict=False):
        if len(fields) != len(first):
            if number > before + 1 and layout.header:  # Pathway Commons' second table
                break
            fault = (
                f"`{line[:40]}` has {len(fields)} fields, want {len(first)} as in the first line"
            )
            raise InputError(f"{text.path}, line {number}: {fault}; {WANT}")
        found.append([fields[place].strip() for place in places])
        before = number
    if not found:
        raise InputError(f"{text.path} has a header but no rows; is it cut off?")
    table = pd.DataFrame(found, columns=places, dtype=object)
    title = [f"`{name}`" if layout.header else f"{at}" for at, name in enumerate(first, 1)]
    remark = f"columns {title[layout.places[0]]} and {title[layout.places[1]]}"
    if layout.negated is not None:
        remark = f"GO's annotations (GAF), {remark}"
    if layout.weight is not None:
        remark += f", weights {title[layout.weight]}"
    table, dropped = _one_species(table, layout)
    one, other = (table[place] for place in layout.places)
    if layout.kind == "sets":
        sets = pd.DataFrame({"pathway": one, "gene": other.str.split(r"[;|,\s]+", regex=True)})
        sets = sets.explode("gene", ignore_index=True)
        sets = sets[~sets.isin(BLANK).any(axis=1)].drop_duplicates(ignore_index=True)
        return _sets(text, sets, f"sets of {remark}{dropped}")
    edges = pd.DataFrame({"one": one, "other": other, "weight": 1.0})
    if layout.weight is not None:
        number = {text: to_number(text) for text in set(table[layout.weight])}
        if text.separator == ";":
            number = {text: to_number(text.replace(",", ".")) for text in number}
        edges["weight"] = table[layout.weight].map(number)
        if layout.header and (edges["weight"] < 0).any():
            edges["weight"] = edges["weight"].abs()
            remark += " without their signs"
    return _edges(text.path, edges, lines, f"edges of {remark}{dropped}")


def _one_species(table, layout):
    """Human rows, or those of the most frequent species where few are human; and a remark."""
    kept, remark = np.full(len(table), True), ""
    if layout.species:
        species = [table[place].str.lower() for place in layout.species]
        counts = species[0].value_counts()
        human = [name for name in counts.index if name in HUMAN]
        wanted = human if counts[human].sum() >= 0.1 * counts.iloc[0] else [counts.index[0]]
        kept = np.logical_and.reduce([own.isin(wanted) for own in species])
        if others := int((~kept).sum()):
            remark = f"; {others:,} rows of other species than {quote_some(wanted)} left out"
    if layout.negated is not None:
        kept = kept & ~table[layout.negated].str.contains("NOT").to_numpy()
    return table[kept], remark


def _edges(path, edges, lines, remark):
    """The edges after checks of their names and weights, without blank names."""
    codes, names = pd.factorize(np.concatenate([edges["one"], edges["other"]]))
    codes, weight = codes.reshape(2, -1), edges["weight"].to_numpy()
    names = _symbols(names, path)
    odd = np.array([bool(_NO_SYMBOL.search(name)) for name in names])  # JSON, a web page
    faults = {
        "is no edge": odd[codes].any(axis=0),
        f"has no weight of 0 or {LIGHTEST:g} to {HEAVIEST:g}": ~(
            (weight == 0) | (weight >= LIGHTEST) & (weight <= HEAVIEST)
        ),
    }
    for fault, rows in faults.items():
        if rows.any():
            number, line = lines[edges.index[rows][0]]
            raise InputError(f"{path}, line {number}: `{line[:40]}` {fault}; {WANT}")
    blank = np.array([name in BLANK for name in names])[codes].any(axis=0)
    loops = (codes[0] == codes[1]) & ~blank
    for what, count in (("with a blank", blank.sum()), ("of a gene with itself", loops.sum())):
        remark += f"; {count:,} rows {what} left out" if count else ""
    one, other = names[codes[:, ~blank]]
    if not len(one):
        raise InputError(f"{path} has no edge: {remark}; {WANT}")
    _check_genes(path, names)
    edges = pd.DataFrame({"one": one, "other": other, "weight": weight[~blank]})
    return _read_as(edges, remark)


def _symbols(names, path):
    """STRING's proteins by the symbols in its protein.info beside the file; other names as they are."""
    infos = _protein_infos(path)
    if not infos or sum(map(bool, map(_PROTEIN.fullmatch, names))) < len(names) / 2:
        return names
    text = Text(read_bytes(infos[0], WANT), infos[0])
    symbols = {own[0]: own[1] for own in text.fields(text.lines) if len(own) > 1}
    return np.array([symbols.get(name, name) for name in names], dtype=object)


def _protein_infos(path):
    return sorted(Path(path).parent.glob("*protein.info*"))


def _read_as(frame, remark):
    frame.attrs["read_as"] = remark
    return frame


def _check_genes(path, genes):
    """Raise InputError where most genes are ids without symbols; warn of dates."""
    _check_kinds(path, genes, *_NO_GENES)
    warn_of_dates(genes, path)


def _check_kinds(path, genes, *kinds):
    for what, pattern in ((kind, _NO_GENES[kind]) for kind in kinds):
        # Reactome names some viral proteins by a number alone.
        found = [gene for gene in genes if pattern.fullmatch(gene)]
        if len(found) > len(genes) / 2:
            raise InputError(
                f"{path} has {what} for genes: {quote_some(found)}; want gene symbols or Ensembl genes"
            )
