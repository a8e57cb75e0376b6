"""Read files of knowledge: sets, edge lists and tables of numbers by gene, recognised by content."""

import csv
import gzip
import hashlib
import math
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from ..io.files import InputError, check_known, existing_file, quote_some, repeated, to_number
from ..screens.gene_names import GeneNames, spreadsheet_dates

LONGEST = 2_000_000  # characters of a line: ten times a set of all genes
LARGEST = 10**9  # bytes unpacked: some times a list of all interactions; beyond, a file is a trap
LIGHTEST, HEAVIEST = 1e-30, 1e30  # weights that are no zero and no infinity as float32
# What damaged, locked and unknown archives raise, UnicodeDecodeError among the ValueErrors.
PACKING_FAULTS = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile,
    csv.Error,
)  # fmt: skip
SAMPLE = 1000  # lines from all over a file by which it is recognised
WANT = (
    "want a GMT file (name, id and gene symbols, separated by tabs) or an edge list (two gene symbols a "
    "line and perhaps a weight); other tables as FILE:A,B or FILE:A,B,WEIGHT, the columns of an edge list"
)
WANT_TABLE = "want a CSV or TSV of genes and numbers, or an npz file of `genes` and `values`"
# Columns by their names in small letters and digits, the surest first; `{}` is one of two MARKS.
GENE_PAIRS = (
    "officialsymbolinteractor{}", "{}genesymbol", "genesymbol{}", "{}symbol", "symbol{}", "genename{}",
    "gene{}", "node{}", "protein{}", "participant{}", "interactor{}", "entity{}", "{}",
)  # fmt: skip
MARKS = (
    ("a", "b"), ("1", "2"), ("source", "target"), ("from", "to"), ("tf", "target"), ("query", "partner"),
    ("regulator", "target"), ("one", "other"),
    ("bait", "prey"), ("ligand", "receptor"), ("kinase", "substrate"),
)  # fmt: skip
WEIGHTS = ("combinedscore", "weight", "score", "confidence", "pint")
SET_NAMES = (
    "pathwayname", "pathway", "gsname", "genesetname", "geneset", "setname", "set", "termname", "term",
    "complexname", "complex", "goname", "goterm", "goid", "module", "celltype",
)  # fmt: skip
MEMBERS = (
    "genesymbol", "officialgenesymbol", "hgncsymbol", "symbol", "subunitsgenename", "genename",
    "genenames", "genes", "gene", "ensemblgeneid", "ensemblgene", "ensemblid", "subunits", "members",
)  # fmt: skip
SPECIES = (
    "species",
    "organism",
    "taxon",
    "taxid",
    "organismidinteractora",
    "organismidinteractorb",
)
EDGE, BLANK = ["one", "other", "weight"], {"", "-"}
HUMAN = {"homo sapiens", "human", "9606", "taxon:9606"}
_COLUMN = re.compile(
    r"#?(.*(gene|protein|symbol|node|source|target|interact|partner).*|from|to|one|other)", re.I
)
_NO_SYMBOL = re.compile(r"""[][{}<>"'=\\]|://""")
_PROTEIN = re.compile(r"(\d+\.)?ENS[A-Z]*P\d+(\.\d+)?")  # STRING: 9606.ENSP00000000233


@contextmanager
def unpacked(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the content of a file that may be packed with gzip, or with zip as its only member."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        with gzip.open(file) as content:
            yield content
    elif start == b"PK\x03\x04":
        with zipfile.ZipFile(file) as box:
            if len(inside := box.namelist()) != 1:
                raise zipfile.BadZipFile(f"{len(inside)} files in one zip, want one")
            with box.open(inside[0]) as content:
                yield content
    else:
        yield file


@dataclass(frozen=True)
class _Layout:
    """Where a file has what: `places` of the two genes of an edge, or of set and gene."""

    kind: str
    places: Sequence[int]
    header: bool = False
    weight: int | None = None
    species: Sequence[int] = ()
    negated: int | None = None  # the column in which GO writes NOT


def read_source(path: Path | str, names: GeneNames | None = None) -> tuple[str, pd.DataFrame, str]:
    """Return the kind of a file, its content and its SHA-256; see `parsed`.

    path: the file, or `FILE:A,B` or `FILE:A,B,W` with the columns of an edge list and its weights, by
    name or, where the file has no header, by number. names: as for `load_knowledge`.
    """
    path, columns = named_columns(path)
    content = _content(existing_file(path, WANT))
    return *parsed(content, path, columns, names), hashlib.sha256(content).hexdigest()


def named_columns(path: Path | str) -> tuple[Path, list[str]]:
    """Return the file and the columns that `FILE:A,B` names; none where the whole names a file."""
    file, colon, columns = str(path).rpartition(":")
    if Path(path).exists() or not (colon and Path(file).is_file()):
        return Path(path), []
    return Path(file), [name.strip() for name in columns.split(",")]


@contextmanager
def _as_text(path):
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as CSV text: {error}; {WANT}") from None


def _content(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def parsed(
    content: bytes, path: Path | str, columns: Sequence[str] = (), names: GeneNames | None = None
) -> tuple[str, pd.DataFrame]:
    """Return the kind and the content of a file's bytes; `path` names it in errors.

    `sets`: frame (pathway, gene); `edges`: frame (one, other, weight); genes keep the names of the file;
    `table`: as `load_knowledge` returns it. `attrs["read_as"]` of the frame: which columns were used and
    which rows left out. Warns of genes that a spreadsheet made dates of. Raises InputError for others.
    """
    if _holds_arrays(content):
        return "table", _numbers_by_gene(content, path, names)
    with _as_text(path):
        return _parsed(content, path, columns, names)


def _parsed(content, path, columns, names):
    lines = _lines(content, path)
    rows = _Rows(lines)
    sample = rows.sample()
    if len(sample[0]) == 1:
        raise InputError(f"{path} has one column, it begins `{lines[0][1][:40]}`; {WANT}")
    if not columns and _is_table(sample):
        return "table", _numbers_by_gene(content, path, names)
    layout = _named(path, columns, sample) if columns else _recognised(sample, rows.separator)
    if layout is None:
        raise InputError(
            f"{path} is not recognised as sets, edges or a table of numbers: its columns are "
            f"{quote_some(sample[0], 12)}; {WANT}"
        )
    frame = READERS[layout.kind](path, rows, layout)
    _check_genes(path, frame)
    return ("sets" if "pathway" in frame else "edges"), frame


class _Rows:
    """Lines as fields: divided by tabs, commas, semicolons or blanks, as the first line is."""

    def __init__(self, lines):
        self.lines, first = lines, lines[0][1]
        semicolons = all(re.match(r"[^,;]+;[^,;]+(;|$)", line) for _, line in lines[:SAMPLE])
        marks = ("\t", ";") if semicolons else ("\t", ",")
        self.separator = next((mark for mark in marks if mark in first), None)
        quoted = re.fullmatch(r'("[^"]*"\W?)+', first)
        self.quoted = self.separator and (self.separator != "\t" or quoted)

    def fields(self, lines):
        texts = (line for _, line in lines)
        if not self.quoted:
            return (line.split(self.separator) for line in texts)
        return csv.reader(texts, delimiter=self.separator, strict=True)

    def sample(self):
        """The first line and others from all over the file, fields without blanks at their ends."""
        some = self.lines[:1] + self.lines[1 :: len(self.lines) // SAMPLE + 1]
        rows = [[field.strip() for field in row] for row in self.fields(some)]
        rows[0][0] = rows[0][0].lstrip("#")
        return rows


def _lines(content, path):
    """Pairs (number, line) of the lines that are not blank."""
    try:
        with unpacked(BytesIO(content)) as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OSError(f"more than {LARGEST:,} bytes are packed in it")
        text = content.decode("utf-8-sig")
    except PACKING_FAULTS as error:
        raise InputError(f"{path} cannot be read as text: {error}; {WANT}") from None
    if "\0" in text:
        raise InputError(f"{path} is no text but a binary file; {WANT}")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; {WANT}")
    number, longest = max(lines, key=lambda pair: len(pair[1]))
    if len(longest) > LONGEST:
        raise InputError(f"{path}, line {number}: {len(longest):,} characters; {WANT}")
    return lines


def _named(path, columns, sample):
    """The layout of columns that the user names, or counts from 1 where the file has no header."""
    header, count = sample[0], [str(place) for place in range(1, len(sample[0]) + 1)]
    counted = not set(columns) <= set(header) and all(name.isdigit() for name in columns)
    known = count if counted else header
    check_known(columns, known, f"{path} has no column of that name")
    if len(columns) not in (2, 3):
        raise InputError(f"{path}: got {len(columns)} columns, want FILE:A,B or FILE:A,B,WEIGHT")
    one, other, *weight = (known.index(name) for name in columns)
    return _Layout("edges", (one, other), not counted, *weight)


def _recognised(sample, separator):
    """The layout of a file by the names of its columns, else by its shape; None for others."""
    return _by_names(sample) or _by_shape(sample, separator)


def _by_names(sample):
    names = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in sample[0]]
    at = {name: place for place, name in reversed([*enumerate(names)])}
    species = [at[name] for name in SPECIES if name in at]
    for form in GENE_PAIRS:
        for pair in ([form.format(mark) for mark in marks] for marks in MARKS):
            if set(pair) <= set(at) and len(pair[0]) > 1:  # genes are called A and B in examples
                places = [at[name] for name in pair]
                return _Layout("edges", places, True, _weight(sample, at, places), species)
    pathway, gene = (
        next((at[n] for n in known if n in at), None) for known in (SET_NAMES, MEMBERS)
    )
    if None in (pathway, gene):
        return None
    return _Layout("sets", (pathway, gene), True, None, species)


def _weight(sample, at, places):
    """The column of weights: by its name, or the third of three that holds a number; without gaps."""
    columns = {
        place: [row[place] for row in sample[1:] if len(row) > place] for place in at.values()
    }
    found = [at[name] for name in WEIGHTS if name in at]
    if len(at) == 3 and not found:
        found = [at for at in columns if at not in places and any(map(_is_number, columns[at]))]
    return next((at for at in found if not BLANK & set(columns[at])), None)


def _by_shape(sample, separator):
    first, rest = sample[0], sample[1:] or sample
    width = Counter(map(len, sample)).most_common(1)[0][0]
    even = [row for row in rest if len(row) == width]
    ragged = len(even) < 0.9 * len(rest)
    columns = list(zip(*even, strict=True))  # without the first line, which may be a header
    kinds = [row[1] for row in rest if len(row) > 2]
    if ragged and _few(kinds, 3) and len({row[0] for row in rest}) < 0.9 * len(rest):
        members = [name for row in rest for name in row[2:]]
        if _overlap([row[0] for row in rest], members):
            return _Layout("sif", (0, 2))
    if separator == "\t" and ragged and max(map(len, sample)) > 3:
        return _Layout("gmt", (0, 2))
    if width == 2 or ragged:
        return _Layout("edges", (0, 1), all(map(_COLUMN.fullmatch, first[:2])))
    if width == 3 and any(_is_number(row[2]) for row in sample if len(row) == 3):
        return _Layout("edges", (0, 1), not _is_number(first[2]), 2)
    if width == 6 and all(re.fullmatch(r"R-[A-Z]{3}-\d+", name) for name in columns[1]):
        return _Layout("sets", (3, 0), species=(5,))  # Ensembl2Reactome.txt
    if width > 14 and all(name.startswith("GO:") for name in columns[4]):
        return _Layout("sets", (4, 2), species=(12,), negated=3)  # annotations of GO, GAF
    notes = {at for at in range(1, width) if _few(columns[at], 3) or not _has_letters(columns[at])}
    for other in range(1, min(width, 4)):
        if notes - {other} and other not in notes and _overlap(columns[0], columns[other]):
            header = all(map(_COLUMN.fullmatch, (first[0], first[other]))) or any(
                _has_letters([first[at]]) and not _has_letters(columns[at]) for at in notes
            )
            return _Layout("edges", (0, other), header)
    values = [at for at in range(2, width) if not _has_letters(columns[at])]
    values += [at for at in range(2, width) if len(rest) > 20 and _few(columns[at], 20)]
    if separator == "\t" and len(set(values)) in (0, width - 2):
        return _Layout("gmt", (0, 2))
    return None


def _few(texts, share):
    """Whether texts are repeated kinds of something: each, on average, so often."""
    return len(texts) > 1 and all(texts) and len(set(texts)) <= max(1, len(texts) / share)


def _has_letters(texts):
    return any(sign.isalpha() for text in texts for sign in text)


def _overlap(names, others):
    one, other = set(names), set(others)
    return len(one & other) >= max(1, 0.05 * min(len(one), len(other)))


def _is_number(text):
    return not math.isnan(to_number(text))


def _gmt(path, rows, _):
    names, ids, members = [], [], []
    for number, line in rows.lines:
        name, *rest = (field.strip() for field in line.split("\t"))
        if not name or not rest:
            raise InputError(f"{path}, line {number}: `{line[:40]}` is no set; {WANT}")
        names.append(name)
        ids.append(rest[0])
        # Enrichr writes a weight behind each symbol: TP53,1.0
        members.append([field.partition(",")[0] for field in rest[1:] if field])
    again = set(repeated(names))
    labels = [
        f"{name} ({key})" if name in again else name for name, key in zip(names, ids, strict=True)
    ]
    sets = pd.DataFrame({"pathway": labels, "gene": members}, dtype=object)
    sets = sets.explode("gene", ignore_index=True).dropna()
    if sets.empty:
        raise InputError(f"{path} has no set with a member; {WANT}")
    return _read_as(sets.reset_index(drop=True), "GMT: a set a line")


def _sif(path, rows, _):
    fields = [[name.strip() for name in own] for own in rows.fields(rows.lines)]
    edges = [(own[0], other, 1.0) for own in fields for other in own[2:]]
    lines = [line for line, own in zip(rows.lines, fields, strict=True) for _ in own[2:]]
    return _edges(
        path, pd.DataFrame(edges, columns=EDGE), "SIF: a gene, a kind and its partners", lines
    )


def _by_column(path, rows, layout):
    """Sets or edges of two columns, of one species, with weights where there are some."""
    first, lines = rows.sample()[0], rows.lines[layout.header :]
    places = [*layout.places, *layout.species, layout.weight, layout.negated]
    places = [place for place in places if place is not None]
    pick, found, before = itemgetter(*places), [], 0
    for (number, line), fields in zip(lines, rows.fields(lines), strict=False):
        if len(fields) != len(first) and layout.header and number > before + 1 > 1:
            break  # Pathway Commons' second table, of its names
        if len(fields) != len(first):
            text = f"`{line[:40]}` has {len(fields)} fields, want {len(first)}"
            raise InputError(f"{path}, line {number}: {text}; {WANT}")
        found.append(pick(fields))
        before = number
    if not found:
        raise InputError(f"{path} has a header but no rows; is it cut off?")
    table = pd.DataFrame(found, columns=places, dtype=object)
    for place in places:
        table[place] = table[place].map({text: text.strip() for text in pd.unique(table[place])})
    title = [f"`{name}`" if layout.header else f"{at}" for at, name in enumerate(first, 1)]
    text = " and ".join(title[place] for place in layout.places)
    table, dropped = _one_species(table, layout)
    one, other = (table[place] for place in layout.places)
    if layout.kind == "sets":
        sets = pd.DataFrame({"pathway": one, "gene": other.str.split(r"[;|,\s]+", regex=True)})
        sets = sets.explode("gene", ignore_index=True)
        sets = sets[~sets.isin(BLANK).any(axis=1)].drop_duplicates(ignore_index=True)
        return _read_as(sets, f"sets and genes of columns {text}{dropped}")
    edges = pd.DataFrame({"one": one, "other": other, "weight": 1.0})
    if layout.weight is not None:
        text += f", weights of {title[layout.weight]}"
        texts = table[layout.weight]
        edges["weight"] = texts.map({text: to_number(text) for text in pd.unique(texts)})
    return _edges(path, edges, f"edges of columns {text}{dropped}", lines)


def _one_species(table, layout):
    """The rows of man, or of the most frequent species where man is rare; and a remark."""
    kept, remark = pd.Series(True, table.index), ""
    if layout.species:
        species = [table[place].str.lower() for place in layout.species]
        counts = species[0].value_counts()
        human = [name for name in counts.index if name in HUMAN]
        common = counts[human].sum() >= 0.1 * counts.iloc[0]
        wanted = set(human) if common else {counts.index[0]}
        kept = np.logical_and.reduce([own.isin(wanted) for own in species])
        if count := (~kept).sum():
            remark = f"; {count:,} rows of other species than {quote_some(wanted)} left out"
    if layout.negated is not None:
        kept &= ~table[layout.negated].str.contains("NOT")
    return table[kept], remark


def _edges(path, edges, text, lines):
    """The edges after checks of names and weights; blank names are left out and counted."""
    names = pd.unique(edges[["one", "other"]].to_numpy().ravel())
    odd = {name for name in names if _NO_SYMBOL.search(name)}  # JSON, a web page
    weight = edges["weight"]
    faults = {
        "is no edge": edges["one"].isin(odd) | edges["other"].isin(odd),
        f"has no weight of 0 or {LIGHTEST:g} to {HEAVIEST:g}": ~(
            weight.between(LIGHTEST, HEAVIEST) | (weight == 0)
        ),
    }
    for fault, rows in faults.items():
        if rows.any():
            at = edges.index[rows][0]
            number, line = lines[at]
            raise InputError(f"{path}, line {number}: `{line[:40]}` {fault}; {WANT}")
    blank = edges[["one", "other"]].isin(BLANK).any(axis=1)
    loops = (edges["one"] == edges["other"]) & ~blank
    counts = {"rows with a blank": blank.sum(), "rows of a gene with itself": loops.sum()}
    for what, count in counts.items():
        text += f"; {count:,} {what} left out" if count else ""
    return _read_as(edges[~blank].reset_index(drop=True), text)


def _read_as(frame, text):
    frame.attrs["read_as"] = text
    return frame


def _check_genes(path, frame):
    """Raise InputError where genes are mostly ids that no table of names maps; warn of dates."""
    if frame.empty:
        raise InputError(f"{path} holds no gene: {frame.attrs['read_as']}; {WANT}")
    genes = pd.unique(frame.drop(columns=["pathway", "weight"], errors="ignore").to_numpy().ravel())
    # Reactome names some viral proteins by a number alone.
    for what, found in {
        "numbers for genes": [gene for gene in genes if _is_number(gene)],
        "Ensembl proteins for genes": [gene for gene in genes if _PROTEIN.fullmatch(gene)],
    }.items():
        if len(found) > len(genes) / 2:
            raise InputError(
                f"{path} has {what}: {quote_some(found)}; want gene symbols or Ensembl genes; {WANT}"
            )
    if dates := spreadsheet_dates(genes):
        text = "names of genes are dates that a spreadsheet made of symbols, and match nothing"
        warnings.warn(f"{path}: {len(dates)} {text}: {quote_some(dates)}", stacklevel=4)


READERS = {"gmt": _gmt, "sif": _sif, "sets": _by_column, "edges": _by_column}


def load_knowledge(path: Path | str, names: GeneNames | None = None) -> pd.DataFrame:
    """Return a table of numbers by gene, such as embeddings: gene x column, float32.

    path: CSV or TSV, also gzipped, with a header and the genes in the first column; or .npz of the arrays
    `genes` and `values` (gene x column). names: converts genes to current symbols. Warns of repeated
    genes, which are averaged, and of genes with missing values, which are left out. Raises InputError for
    text instead of numbers and for files that cannot be read.
    """
    path = existing_file(path, WANT_TABLE)
    return _numbers_by_gene(_content(path), path, names)


def _numbers_by_gene(content, path, names):
    try:
        table = (_arrays if _holds_arrays(content) else _table)(content, path)
    except InputError:
        raise
    except PACKING_FAULTS as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path} cannot be read: {reason}; {WANT_TABLE}") from None
    table, remark = _genes_in_rows(table, names)
    if remark:
        warnings.warn(f"{path}: {remark}", stacklevel=3)
    table = checked(table, names, path)
    return _read_as(table, f"{table.shape[1]:,} numbers by gene")


def _genes_in_rows(table, names):
    """The table with its genes in rows, by symbol, and what was changed: DepMap has them in columns."""
    ids = re.compile(r"(\S+) \((\d+|unknown)\)")  # SYMBOL (ENTREZ)
    axes = [[str(label) for label in axis] for axis in (table.index, table.columns)]
    known = [sum(map(bool, map(ids.fullmatch, axis))) for axis in axes]
    if names is not None and not any(known):
        known = [names.current(axis).isin(names.symbols).sum() for axis in axes]
    models = bool(axes[0]) and all(re.fullmatch(r"ACH-\d+", label) for label in axes[0])
    remarks = []
    if known[1] > known[0] or models:
        table, axes = table.T, axes[::-1]
        remarks = [f"genes are the {table.shape[0]:,} columns, rows and columns are exchanged"]
    if max(known) and all(map(ids.fullmatch, axes[0])):
        table = table.set_axis([ids.fullmatch(label)[1] for label in axes[0]])
        remarks += ["ids behind symbols are left out"]
    return table, "; ".join(remarks)


def _holds_arrays(content):
    if not zipfile.is_zipfile(BytesIO(content)):
        return False
    try:
        with zipfile.ZipFile(BytesIO(content)) as box:
            return any(name.endswith(".npy") for name in box.namelist())
    except PACKING_FAULTS:
        return False


def _is_table(sample):
    """Whether lines hold labels in the first column, below a header, and numbers in all others."""
    first, *rest = sample
    header = all(not _is_number(name) for name in first[1:]) or first[0].lower() in ("", "gene")
    return (
        bool(rest)
        and header
        and not _is_number(rest[0][0])
        and all(
            len(row) == len(rest[0]) >= len(first)
            and all(_is_number(text) or text in ("", "NA") for text in row[1:])
            for row in rest
        )
    )


def _table(content, path):
    with BytesIO(content) as file, unpacked(file) as stream:
        text = TextIOWrapper(stream, encoding="utf-8-sig")
        header = text.readline(LONGEST)
        if len(header) == LONGEST:
            raise InputError(
                f"{path}: its first line has {LONGEST:,} characters or more; {WANT_TABLE}"
            )
        separator = "\t" if "\t" in header else ","
        # Whole numbers may count columns, those with decimals are values.
        columns = header.split(separator)[1:]
        if not all(name.strip().isdigit() or math.isnan(to_number(name)) for name in columns):
            raise InputError(
                f"{path} begins with numbers; want a header line that names the columns"
            )
        text.seek(0)
        table = pd.read_csv(text, sep=separator, low_memory=False)
    if isinstance(table.index, pd.MultiIndex):
        raise InputError(f"{path}: rows have more fields than the header names; is it cut off?")
    # R leaves the genes without a name, and pandas takes them for the index.
    return table.set_index(table.columns[0]) if isinstance(table.index, pd.RangeIndex) else table


def _arrays(content, path):
    with np.load(BytesIO(content), allow_pickle=False) as stored:
        if missing := [name for name in ("genes", "values") if name not in stored]:
            raise InputError(f"{path} has no array `{missing[0]}`; {WANT_TABLE}")
        genes, values = stored["genes"], stored["values"]
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path}: values are {values.dtype}, want real numbers; {WANT_TABLE}")
    if values.ndim != 2 or genes.shape != values.shape[:1]:
        raise InputError(
            f"{path}: genes have the shape {genes.shape}, values {values.shape}; want one row a gene"
        )
    return pd.DataFrame(values, genes.astype(str) if genes.dtype.kind in "US" else genes)


def checked(table: pd.DataFrame, names: GeneNames | None, origin: Path | str) -> pd.DataFrame:
    """Return the table by current symbol, each gene once, float32; `origin` names it in errors."""
    if not table.size:
        raise InputError(f"{origin} has no gene with a number; {WANT_TABLE}")
    for column in table.select_dtypes(exclude="number"):
        text = next((cell for cell in table[column] if _is_text(cell)), table[column].iloc[0])
        raise InputError(
            f"{origin}: column `{str(column)[:40]}` holds `{str(text)[:40]}`, want a number; "
            "leave columns of text out"
        )
    bad = [label for label in table.index if not (isinstance(label, str) and label.strip())]
    if bad:
        raise InputError(
            f"{origin}: a row is named `{bad[0]}`, want gene symbols in the first column"
        )
    table = table.astype(np.float32).set_axis(table.index.astype(object).str.strip())
    if np.isinf(table.to_numpy()).any():
        raise InputError(f"{origin} holds infinite values; want finite numbers")
    if names is not None:
        table = table.set_axis(names.current(table.index).to_numpy())
    if (gaps := table.isna().any(axis=1)).all():
        raise InputError(f"{origin} has no gene without missing values; {WANT_TABLE}")
    if gaps.any():
        warnings.warn(
            f"{origin}: {gaps.sum()} of {len(table)} genes have missing values and are left out: "
            f"{quote_some(table.index[gaps])}",
            stacklevel=3,
        )
        table = table[~gaps]
    if again := repeated(table.index):
        warnings.warn(
            f"{origin}: {len(again)} genes are repeated, their mean is taken: {quote_some(again)}",
            stacklevel=3,
        )
        table = table.groupby(level=0, sort=False).mean()
    return table.rename_axis("gene")


def _is_text(cell):
    return isinstance(cell, bool) or (not pd.isna(cell) and math.isnan(to_number(str(cell))))
