"""Read gene-indexed numeric tables: GenePT, ESM2, DepMap, STRING embeddings, as users attach them."""

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import InputError, existing_file, quote_some, repeated
from ..screens.gene_names import GeneNames
from .formats import LONGEST, PACKING_FAULTS

WANT = "want a CSV or TSV of genes and numbers, or an npz file of `genes` and `values`"


def load_knowledge(path: Path | str, names: GeneNames | None = None) -> pd.DataFrame:
    """Return a table of numbers by gene, such as embeddings: gene x column, float32.

    path: CSV or TSV, also gzipped, with a header and the genes in the first column; or .npz of the arrays
    `genes` and `values` (gene x column). names: converts genes to current symbols. Warns of repeated
    genes, which are averaged, and of genes with missing values, which are left out. Raises InputError for
    text instead of numbers and for files that cannot be read.
    """
    path = existing_file(path, WANT)
    try:
        table = _arrays(path) if zipfile.is_zipfile(path) else _text(path)
    except PACKING_FAULTS as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path} cannot be read: {reason}; {WANT}") from None
    return checked(table, names, path)


def checked(table: pd.DataFrame, names: GeneNames | None, said: Path | str) -> pd.DataFrame:
    """Return the table by current symbol, each gene once, float32; `said` names it in errors."""
    if not table.size:
        raise InputError(f"{said} has no gene with a number; {WANT}")
    table = _numbers(table, said)
    if names is not None:
        table = table.set_axis(names.current(table.index).to_numpy())
    if (gaps := table.isna().any(axis=1)).all():
        raise InputError(f"{said} has no gene without missing values; {WANT}")
    if gaps.any():
        warnings.warn(
            f"{said}: {gaps.sum()} of {len(table)} genes have missing values and are left out: "
            f"{quote_some(table.index[gaps])}",
            stacklevel=3,
        )
        table = table[~gaps]
    if again := repeated(table.index):
        warnings.warn(
            f"{said}: {len(again)} genes are repeated, their mean is taken: {quote_some(again)}",
            stacklevel=3,
        )
        table = table.groupby(level=0, sort=False).mean()
    return table.rename_axis("gene")


def _numbers(table, said):
    for column in table:
        values = table[column]
        if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
            text = next((cell for cell in values if _is_text(cell)), values.iloc[0])
            raise InputError(
                f"{said}: column `{str(column)[:40]}` holds `{str(text)[:40]}`, want a number; "
                "leave columns of text out"
            )
    labels = table.index
    if not all(isinstance(label, str) and label.strip() for label in labels):
        label = next(label for label in labels if not (isinstance(label, str) and label.strip()))
        raise InputError(f"{said}: a row is named `{label}`, want gene symbols in the first column")
    values = table.to_numpy(dtype=np.float32)
    if np.isinf(values).any():
        raise InputError(f"{said} holds infinite values; want finite numbers")
    return pd.DataFrame(values, labels.astype(object).str.strip(), table.columns)


def _is_text(cell):
    try:
        float(cell)
    except (TypeError, ValueError):
        return True
    return isinstance(cell, bool)


def _text(path):
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    options = {"encoding": "utf-8-sig"}
    with (gzip.open if packed else open)(path, "rt", **options) as file:
        header = file.readline(LONGEST)
    if len(header) == LONGEST:
        raise InputError(f"{path}: its first line has {LONGEST:,} characters or more; {WANT}")
    separator = "\t" if "\t" in header else ","
    if any(_fraction(name) for name in header.split(separator)[1:]):
        raise InputError(f"{path} begins with numbers; want a header line that names the columns")
    options |= {"sep": separator, "compression": "gzip" if packed else None}
    table = pd.read_csv(path, low_memory=False, **options)
    if isinstance(table.index, pd.MultiIndex):
        raise InputError(f"{path}: rows have more fields than the header names; is it cut off?")
    if isinstance(table.index, pd.RangeIndex):  # R leaves the genes without a name
        table = table.set_index(table.columns[0])
    return table


def _fraction(name):
    """Whether a column's name is a number with decimals; whole ones may count columns."""
    return not name.strip().isdigit() and not _is_text(name)


def _arrays(path):
    with np.load(path, allow_pickle=False) as stored:
        if missing := [name for name in ("genes", "values") if name not in stored]:
            raise InputError(f"{path} has no array `{missing[0]}`; {WANT}")
        genes, values = stored["genes"], stored["values"]
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path}: values are {values.dtype}, want real numbers; {WANT}")
    if values.ndim != 2 or genes.shape != values.shape[:1]:
        raise InputError(
            f"{path}: genes have the shape {genes.shape}, values {values.shape}; want one row a gene"
        )
    return pd.DataFrame(values, genes.astype(str) if genes.dtype.kind in "US" else genes)
