"""Read the text of files of knowledge, and from it tables of numbers by gene, such as embeddings."""

import csv
import gzip
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from ..io.files import InputError, existing_file, quote_some, repeated, to_number
from ..screens.gene_names import GeneNames, spreadsheet_dates

LARGEST = 10**9  # bytes unpacked: some times a list of all interactions; beyond, a file is a trap
LONGEST = 2_000_000  # characters of a line: ten times a set of all genes
# What damaged, locked and unknown archives raise, UnicodeDecodeError among the ValueErrors.
PACKING_FAULTS = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile,
    csv.Error,
)  # fmt: skip
FIRST = 10**6  # bytes unpacked, by which some files are refused before the rest is unpacked
SAMPLE = 1000  # lines from all over a file by which it is recognised
WANT = (
    "want a GMT file (name, id and gene symbols, separated by tabs), an edge list (two gene symbols a "
    "line and perhaps a weight), or FILE:A,B or FILE:A,B,WEIGHT, the columns of an edge list"
)
WANT_TABLE = "want a CSV or TSV of genes and numbers, or an npz file of `genes` and `values`"
_DECIMAL = re.compile(r"[-+]?\d*,\d+")
_DEPMAP = re.compile(r"(\S+) \((?:\d+|unknown)\)")  # SYMBOL (ENTREZ)


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


def read_bytes(path: Path | str, want: str) -> bytes:
    """Return a file's bytes; an InputError where it cannot be read says `want`, what to do."""
    try:
        content = existing_file(path, want).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {want}") from None
    if content.startswith(b"\x80") or _members(content, "data.pkl"):
        raise InputError(
            f"{path} is a pickle or a file of torch, which can run code when it is read; "
            "save its numbers as an npz file of `genes` and `values`"
        )
    return content


def beginning(content: bytes) -> bytes:
    """Return the lines in the first megabyte of a file, unpacked; none where it cannot be unpacked."""
    try:
        with unpacked(BytesIO(content)) as stream:
            return stream.read(FIRST).rpartition(b"\n")[0]
    except PACKING_FAULTS:
        return b""


def separator_of(lines: Sequence[str]) -> str | None:
    """Return the sign between the fields of lines: tab, semicolon or comma, None for blanks."""
    if "\t" in lines[0]:
        return "\t"
    # Commas may be decimal; blanks stand in every line where they are the separator.
    if all(re.match("[^,;]*;", line) for line in lines) and not all(" " in line for line in lines):
        return ";"
    return "," if "," in lines[0] else None


class Text:
    """Lines of a file, pairs of number and text, and the fields of a sample, the first line's first."""

    def __init__(self, content: bytes, path: Path | str):
        self.path, lines = path, _lines(content, path)
        start, marks = 0, ("#", "!")  # comments; the last may be the header
        while [line.startswith(marks) for _, line in lines[start : start + 2]] == [True, True]:
            start += 1
        if lines[start][1].startswith(marks) and len(lines) > start + 1:
            start += lines[start][1].count("\t") < lines[start + 1][1].count("\t")
        self.lines = lines[start:]
        most = max(20, min(SAMPLE, 10**7 // len(self.lines[0][1])))  # wide tables: fewer
        some = self.lines[:1] + self.lines[1 :: len(self.lines) // most + 1]
        self.separator = separator_of([line for _, line in some])
        self.quoted = self.separator in (",", ";") or re.fullmatch(r'("[^"]*"\W?)+', some[0][1])
        self.sample = [[field.strip() for field in fields] for fields in self.fields(some)]
        self.sample[0][0] = self.sample[0][0].lstrip("# ")
        if all(len(row) == len(self.sample[0]) + 1 for row in self.sample[1:] or [()]):
            self.sample[0].insert(0, "")  # R gives no name to its column of rows

    def fields(self, lines: Iterable[tuple[int, str]]) -> Iterator[list[str]]:
        """Yield the fields of lines, with the blanks at their ends."""
        texts = (line for _, line in lines)
        if not (self.quoted and self.separator):
            yield from (line.split(self.separator) for line in texts)
            return
        try:
            yield from csv.reader(texts, delimiter=self.separator, strict=True)
        except csv.Error as error:
            raise InputError(f"{self.path} cannot be read as CSV: {error}; {WANT}") from None


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


def load_knowledge(path: Path | str, names: GeneNames | None = None) -> pd.DataFrame:
    """Return a table of numbers by gene, such as embeddings: gene x column, float32.

    path: CSV or TSV, also gzipped, with a header and the genes in the first column, or in the header as
    in DepMap's files; or .npz of the arrays `genes` and `values` (gene x column). names: converts genes
    to current symbols, and where genes are in the header recognises them. Warns of that, of decimal
    commas, of repeated genes, which are averaged, and of genes with missing values, which are left out.
    Raises InputError for text instead of numbers and for files that cannot be read.
    """
    return numbers_by_gene(read_bytes(path, WANT_TABLE), path, names)


def numbers_by_gene(content: bytes, path: Path | str, names: GeneNames | None) -> pd.DataFrame:
    """Return the table in a file's bytes, as `load_knowledge` does; `path` names it in errors."""
    try:
        table = (_arrays if holds_arrays(content) else _table)(content, path)
    except InputError:
        raise
    except PACKING_FAULTS as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path} cannot be read: {reason}; {WANT_TABLE}") from None
    table = checked(_genes_in_rows(table, names, path), names, path)
    warn_of_dates(table.index, path)
    return table


def holds_arrays(content: bytes) -> bool:
    """Return whether a file's bytes are numpy's npz."""
    return _members(content, ".npy")


def _members(content, ending):
    """Whether bytes are a zip file with a member whose name ends so."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as box:
            return any(name.endswith(ending) for name in box.namelist())
    except PACKING_FAULTS:
        return False


def _table(content, path):
    with unpacked(BytesIO(content)) as stream:
        text = TextIOWrapper(stream, encoding="utf-8-sig")
        header, second = text.readline(LONGEST), text.readline(LONGEST)
        if len(header) == LONGEST:
            raise InputError(
                f"{path}: its first line has {LONGEST:,} characters or more; {WANT_TABLE}"
            )
        separator = separator_of([header, second])
        # Whole numbers may count columns, those with decimals are values.
        columns = header.split(separator)[1:]
        if not all(name.strip().isdigit() or math.isnan(to_number(name)) for name in columns):
            raise InputError(
                f"{path} begins with numbers; want a header line that names the columns"
            )
        fields = [] if separator == "," else second.split(separator)
        commas = [field for field in fields if _DECIMAL.fullmatch(field.strip())]
        if commas:
            warnings.warn(
                f"{path}: decimal commas are read as in `{commas[0].strip()}`", stacklevel=4
            )
        text.seek(0)
        decimal = "," if commas else "."
        table = pd.read_csv(text, sep=separator or r"\s+", decimal=decimal, low_memory=False)
    if isinstance(table.index, pd.RangeIndex):
        return table.set_index(table.columns[0])
    # R leaves the genes without a name, and pandas takes them for the index.
    if isinstance(table.index, pd.MultiIndex) or separator == ",":
        raise InputError(
            f"{path}: rows have more fields than the header names; is it cut off, are there decimal "
            "commas, or is the column of genes without a name?"
        )
    return table


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


def _genes_in_rows(table, names, path):
    """The table with its genes in rows and without the ids behind their symbols."""
    axes = [[str(label) for label in axis] for axis in table.axes]
    ids = [sum(map(bool, map(_DEPMAP.fullmatch, axis))) for axis in axes]
    known = ids
    if names is not None and not any(ids):
        known = [names.current(axis).isin(names.symbols).sum() for axis in axes]
    models, done = sum(bool(re.fullmatch(r"ACH-\d+", label)) for label in axes[0]), []
    if known[1] > known[0] or models > len(table) / 2:
        done.append(f"genes are its {table.shape[1]:,} columns, which are taken for rows")
        table, ids = table.T, ids[::-1]
    if ids[0] > len(table) / 2:
        done.append("ids behind symbols are left out")
        table = table.set_axis(table.index.str.replace(_DEPMAP, r"\1", regex=True))
    if done:
        warnings.warn(f"{path}: {'; '.join(done)}", stacklevel=4)
    return table


def warn_of_dates(genes: Iterable[str], path: Path | str) -> None:
    """Warn of genes that a spreadsheet has made dates of, in one line."""
    if dates := spreadsheet_dates(genes):
        text = (
            f"{len(dates)} genes are dates that a spreadsheet made of symbols, and are not matched"
        )
        warnings.warn(f"{path}: {text}: {quote_some(dates)}", stacklevel=4)


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
            f"{origin}: a row is named `{bad[0]}`, want gene symbols or Ensembl ids in the first "
            "column; other ids, such as those of Entrez, are not mapped"
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
