"""Read files of knowledge: sets and edge lists, recognised by content, and tables of numbers by gene."""

import gzip
import hashlib
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from ..io.files import InputError, existing_file, quote_some, repeated, to_number
from ..screens.gene_names import GeneNames

LONGEST = 2_000_000  # characters of a line: ten times a set of all genes
LARGEST = 10**9  # bytes unpacked: some times a list of all interactions; beyond, a file is a trap
LIGHTEST, HEAVIEST = 1e-30, 1e30  # weights that are no zero and no infinity as float32
# What damaged, locked and unknown archives raise, UnicodeDecodeError among the ValueErrors.
PACKING_FAULTS = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
LOOK = 50  # lines by which sets and edges are distinguished
WANT = (
    "want a GMT file (name, id and gene symbols, separated by tabs) or an edge list (two gene symbols a "
    "line and perhaps a weight)"
)
WANT_TABLE = "want a CSV or TSV of genes and numbers, or an npz file of `genes` and `values`"
_COLUMN = re.compile(
    r"#?(.*(gene|protein|symbol|node|source|target|interact|partner).*|from|to|one|other)", re.I
)
_NO_SYMBOL = re.compile(r"""[][{}<>"'=\\]|://""")


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


def read_source(path: Path | str) -> tuple[str, pd.DataFrame, str]:
    """Return the kind of a file, `sets` or `edges`, its content and its SHA-256; see `parsed`."""
    path = existing_file(path, WANT)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {WANT}") from None
    return *parsed(content, path), hashlib.sha256(content).hexdigest()


def parsed(content: bytes, path: Path | str) -> tuple[str, pd.DataFrame]:
    """Return the kind and the content of a file's bytes; `path` names it in errors.

    `sets`: frame (pathway, gene); `edges`: frame (one, other, weight); genes keep the names of the file.
    Raises InputError for what is neither.
    """
    lines = _lines(content, path)
    first = [line for _, line in islice(lines, LOOK)]
    if not any(separator in line for line in first for separator in "\t, "):
        raise InputError(f"{path} has one column, it begins `{first[0][:40]}`; {WANT}")
    kind, read = ("sets", _sets) if _is_gmt(first) else ("edges", _edges)
    frame = read(path, lines)
    genes = pd.unique(frame.drop(columns=["pathway", "weight"], errors="ignore").to_numpy().ravel())
    # Reactome names some viral proteins by a number alone.
    numbers = [gene for gene in genes if not math.isnan(to_number(gene))]
    if len(numbers) > len(genes) / 2:
        raise InputError(f"{path} has numbers for genes: {quote_some(numbers)}; {WANT}")
    return kind, frame


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


def _is_gmt(lines):
    """Whether lines hold sets: more than three fields, or a third one that is no weight."""
    fields = [line.rstrip("\t").split("\t") for line in lines]
    thirds = [own[2] for own in fields if len(own) == 3]
    return any(len(own) > 3 for own in fields) or (
        bool(thirds) and all(math.isnan(to_number(text)) for text in thirds)
    )


def _sets(path, lines):
    names, ids, members = [], [], []
    for number, line in lines:
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
    return sets.reset_index(drop=True)


def _edges(path, lines):
    separator = next((mark for mark in "\t," if mark in lines[0][1]), None)
    rows = [(number, [field.strip() for field in line.split(separator)]) for number, line in lines]
    rows = rows[_is_header(rows[0][1]) :]
    if not rows:
        raise InputError(f"{path} has a header but no edges; is it cut off?")
    width, edges = len(rows[0][1]), []
    for number, fields in rows:
        weight = to_number(fields[2]) if len(fields) == 3 else 1.0
        if width not in (2, 3) or len(fields) != width or not all(fields):
            fault = f"has {len(fields)} fields"
        elif _NO_SYMBOL.search(fields[0] + fields[1]):  # JSON, a web page, a pointer to the file
            fault = "is no edge"
        elif not (weight == 0 or LIGHTEST <= weight <= HEAVIEST):
            fault = f"has no weight of 0 or {LIGHTEST:g} to {HEAVIEST:g}"
        else:
            edges.append((*fields[:2], weight))
            continue
        raise InputError(f"{path}, line {number}: `{' '.join(fields)[:40]}` {fault}; {WANT}")
    return pd.DataFrame(edges, columns=["one", "other", "weight"])


def _is_header(fields):
    if len(fields) == 3 and math.isnan(to_number(fields[2])):
        return True
    return len(fields) >= 2 and all(_COLUMN.fullmatch(name) for name in fields[:2])


def load_knowledge(path: Path | str, names: GeneNames | None = None) -> pd.DataFrame:
    """Return a table of numbers by gene, such as embeddings: gene x column, float32.

    path: CSV or TSV, also gzipped, with a header and the genes in the first column; or .npz of the arrays
    `genes` and `values` (gene x column). names: converts genes to current symbols. Warns of repeated
    genes, which are averaged, and of genes with missing values, which are left out. Raises InputError for
    text instead of numbers and for files that cannot be read.
    """
    path = existing_file(path, WANT_TABLE)
    try:
        table = _arrays(path) if zipfile.is_zipfile(path) else _table(path)
    except InputError:
        raise
    except PACKING_FAULTS as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path} cannot be read: {reason}; {WANT_TABLE}") from None
    return checked(table, names, path)


def _table(path):
    with open(path, "rb") as file, unpacked(file) as stream:
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


def _arrays(path):
    with np.load(path, allow_pickle=False) as stored:
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
