"""Read sets and edge lists, recognised by the names of their columns, else by their shape."""

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import InputError, check_known, check_unique, quote_some, repeated, to_number
from ..screens.gene_names import GeneNames
from .tables import WANT, Text, beginning, holds_arrays, numbers_by_gene, read_bytes, warn_of_dates

LIGHTEST, HEAVIEST = 1e-30, 1e30  # weights that are no zero and no infinity as float32
# Names of columns, in small letters and digits, the surest first; `{}` is one of two MARKS.
PAIRS = (
    "officialsymbolinteractor{}", "{}genesymbol", "genesymbol{}", "{}symbol", "symbol{}", "genename{}",
    "gene{}", "node{}", "protein{}", "participant{}", "interactor{}", "entity{}", "{}",
)  # fmt: skip
MARKS = (
    ("a", "b"), ("1", "2"), ("source", "target"), ("from", "to"), ("one", "other"), ("tf", "target"),
    ("regulator", "target"), ("query", "partner"), ("bait", "prey"), ("ligand", "receptor"),
)  # fmt: skip
WEIGHTS = ("combinedscore", "weight", "score", "confidencescore", "pint", "mor")
SET_NAMES = (
    "pathwayname", "pathway", "gsname", "genesetname", "geneset", "setname", "set", "termname", "term",
    "complexname", "complex", "goname", "goterm", "goid", "module", "celltype",
    "diseasename", "hponame", "family",
)  # fmt: skip
MEMBERS = (
    "genesymbol", "officialgenesymbol", "hgncsymbol", "symbol", "subunitsgenename", "genename",
    "genenames", "genes", "gene", "ensemblgene", "ensemblgeneid", "ensemblid", "subunits", "members",
)  # fmt: skip
SPECIES = (
    "species", "organism", "taxon", "taxid", "organisminteractora", "organisminteractorb",
    "organismidinteractora", "organismidinteractorb",
)  # fmt: skip
HUMAN = {"homo sapiens", "human", "9606", "taxon:9606"}
BLANK, MISSING = {"", "-"}, {"", "NA", "nan", "NaN"}
COMPETITION = {"pert_id", "pert_symbol", "perturbation"}  # columns of its tables and of predictions
_COLUMN = re.compile(
    r".*(gene|protein|symbol|node|source|target|interact|partner).*|from|to|one|other", re.I
)
_NO_SYMBOL = re.compile(r"""[][{}<>"'=\\]|://""")
PROTEINS = "proteins (put STRING's protein.info beside it)"
_PROTEIN = re.compile(r"(\d+\.)?ENS[A-Z]*P\d+(\.\d+)?")  # STRING: 9606.ENSP00000000233
_NO_GENES = {
    "numbers": re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.I),
    "phrases": re.compile(r".*\w \w.*"),
    PROTEINS: _PROTEIN,
}


@dataclass(frozen=True)
class _Layout:
    """What a file is and the columns of its two genes, or of set and gene."""

    kind: str  # gmt, sif, sets or edges
    places: Sequence[int] = ()
    header: bool = False
    weight: int | None = None
    species: Sequence[int] = ()
    negated: int | None = None  # the column in which GO writes NOT


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
    if text is None or (not columns and _is_table(text.sample)):
        table = numbers_by_gene(content, path, names)
        return "table", _read_as(table, f"{table.shape[1]:,} numbers by gene")
    if not columns and _has_no_header(text.sample):
        raise InputError(
            f"{path} holds numbers under no names; want a header line that names the columns, such as "
            "`gene,1,2,3`"
        )
    if len(text.sample[0]) == 1:
        raise InputError(f"{path} has one column, it begins `{text.lines[0][1][:40]}`; {WANT}")
    layout = _named(columns, text) if columns else _by_names(text.sample) or _by_shape(text)
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
    layout = None if columns else _by_names(text.sample)
    if layout is not None and layout.kind == "edges" and not _protein_infos(text.path):
        names = [row[at] for row in text.sample[1:] for at in layout.places if at < len(row)]
        _check_kinds(text.path, list(dict.fromkeys(names)), PROTEINS)


def _is_table(sample):
    """Whether lines hold labels in the first column, below a header, and numbers in all others."""
    first, *rest = sample
    header = not any(map(_is_number, first[1:])) or _plain(first[0]) in ("", *MEMBERS)
    return (
        (header or _counts(first[1:]))
        and rest != []
        and _are_numbers(rest, width=max(len(first), 2))
    )


def _has_no_header(sample):
    """Whether all lines, the first too, hold a label and at least three numbers."""
    first = sample[0]
    return len(first) > 3 and any(map(_is_number, first[1:])) and _are_numbers(sample, len(first))


def _are_numbers(rows, width):
    return all(len(row) == width and all(map(_may_be_number, row[1:])) for row in rows)


def _counts(names):
    """Whether names of three or more columns count them, from 0 or 1, as pandas names columns."""
    counted = ([str(at + start) for at in range(len(names))] for start in (0, 1))
    return len(names) > 2 and names in counted


def _plain(name):
    return re.sub("[^a-z0-9]", "", name.lower())


def _named(columns, text):
    """The layout of columns that the user names, or counts where the file has no header."""
    known = text.sample[0]
    check_unique(columns, f"{text.path}: columns are named twice")
    header = any(name in known or not name.isdigit() for name in columns)
    known = known if header else [str(number) for number in range(1, len(known) + 1)]
    check_known(columns, known, f"{text.path} has no such column")
    if len(columns) not in (2, 3):
        raise InputError(f"got {len(columns)} columns of {text.path}; {WANT}")
    one, other, *weight = map(known.index, columns)
    return _Layout("edges", (one, other), header, *weight)


def _by_names(sample):
    names = [*map(_plain, sample[0])]
    at = {name: place for place, name in reversed([*enumerate(names)])}
    species = [at[name] for name in SPECIES if name in at]
    for form in PAIRS:
        for pair in ([form.format(mark) for mark in marks] for marks in MARKS):
            if set(pair) <= set(at) and len(pair[0]) > 1:  # A and B are genes of an example
                places = [at[name] for name in pair]
                return _Layout("edges", places, True, _weight(sample, at, places), species)
    first = [
        next((at[name] for name in known if name in at), None) for known in (SET_NAMES, MEMBERS)
    ]
    return None if None in first else _Layout("sets", first, True, None, species)


def _weight(sample, at, places):
    """The column of weights, by its name or as the third of three: one with numbers and without gaps."""
    found = [at[name] for name in WEIGHTS if name in at]
    if len(at) == 3 and not found:
        found = set(at.values()) - set(places)
    for place in found:
        texts = [row[place] for row in sample[1:] if len(row) == len(sample[0])]
        if any(map(_may_be_number, texts)) and not BLANK & set(texts):
            return place
    return None


def _by_shape(text):
    """The layout of a file whose columns have no known names, or None."""
    first, rest = text.sample[0], text.sample[1:] or text.sample
    width = Counter(map(len, text.sample)).most_common(1)[0][0]
    first = first + [""] * (width - len(first))
    even = [row for row in rest if len(row) == width]
    columns = list(zip(*even, strict=True))
    if ragged := len(even) < 0.9 * len(rest):
        sources, kinds = [row[0] for row in rest], [row[1] for row in rest if len(row) > 2]
        partners = [name for row in rest for name in row[2:]]
        again = len(set(sources)) < 0.9 * len(sources)
        if again and _are_kinds(kinds) and _overlap(sources, partners):
            return _Layout("sif")
        if text.separator == "\t" and max(map(len, text.sample)) > 3:
            return _Layout("gmt")
    if (
        text.separator == "\t"
        and width > 2
        and not any(map("".join, (row[1:2] for row in text.sample)))
    ):
        return _Layout("gmt")  # sets without ids
    if width == 2 or ragged:
        return _Layout("edges", (0, 1), all(map(_COLUMN.fullmatch, first[:2])))
    if width == 3 and any(_is_number(row[2]) for row in text.sample if len(row) == 3):
        return _Layout("edges", (0, 1), not _is_number(first[2]), 2)
    if width == 6 and all("reactome.org/" in link for link in columns[2]):
        return _Layout("sets", (3, 0), species=(5,))  # Ensembl2Reactome
    if width > 14 and all(name.startswith("GO:") for name in columns[4]):
        return _Layout("sets", (4, 2), species=(12,), negated=3)  # GO's annotations, GAF
    plain = {at for at in range(1, width) if not _has_letters(columns[at])}
    notes = plain | {at for at in range(1, width) if _are_kinds(columns[at])}
    for other in range(1, min(width, 4)):
        beside = notes - {other} if width == 3 else notes - {1, other}
        if beside and other not in plain and _overlap(columns[0], columns[other]):
            header = (
                any(_has_letters([first[at]]) for at in plain)
                or any(first[at] not in columns[at] for at in beside - plain if len(even) > 99)
                or all(_COLUMN.fullmatch(first[at]) for at in (0, other))
            ) and not {first[0], first[other]} & {*columns[0], *columns[other]}
            return _Layout("edges", (0, other), header)
    if all(map(_is_number, columns[0])):
        return None  # rows with a number, not sets with a name
    rare = {at for at in range(2, width) if len(even) > 7 and _are_kinds(columns[at], 20)}
    members = set(range(2, width))
    if text.separator == "\t" and width > 3 and (members <= plain or not members & (plain | rare)):
        return _Layout("gmt")
    return None


def _are_kinds(texts, times=3):
    """Whether texts are few kinds of something, each repeated, on average so many times."""
    count = len(set(texts))
    return all(texts) and count < len(texts) and count <= max(2, len(texts) / times)


def _has_letters(texts):
    return any(sign.isalpha() for text in texts for sign in text)


def _overlap(names, others):
    one, other = set(names), set(others)
    return len(one & other) >= max(1, 0.05 * min(len(one), len(other)))


def _is_number(text):
    return not math.isnan(to_number(text))


def _may_be_number(text):
    return text in MISSING or _is_number(text.replace(",", "."))


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
