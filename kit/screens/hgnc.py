"""HGNC's table of gene names: find it, fetch it once, read it. What names mean is in `gene_names`."""

import csv
import io
import re
import warnings
from collections import defaultdict
from http.client import HTTPException
from pathlib import Path

from ..io import locate
from ..io.files import InputError, fetch, quote_some

TABLE = locate.GENE_NAMES.names[0]
URL = f"https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv/{TABLE}"
ENSEMBL = re.compile(r"(ENS[A-Z]*G\d+)(\.\d+)?")


def bare_ensembl(text: str) -> str | None:
    """Return an Ensembl gene id without its version, or None for anything else."""
    found = ENSEMBL.fullmatch(text)
    return found[1] if found else None


def find_table(
    path: Path | str | None = None,
    *,
    folder: Path | str | None = None,
    download: bool = True,
) -> Path | None:
    """Return the path of the table of gene names, or None with a warning.

    path: the file, or a folder that holds it; folder: the competition's. By default found as
    `kit.io.locate` lists it, or fetched from HGNC once. Raises InputError where `path` or $ESG_HGNC names
    no file.
    """
    if (place := locate.find_file(locate.GENE_NAMES, path, folder=folder)) is not None:
        return place
    fault = "and it was not to be fetched"
    if download:
        try:
            return fetch(URL, locate.home() / TABLE, _table_in)
        except (OSError, HTTPException, InputError) as error:
            fault = f"and fetching it failed: {error}"
    warnings.warn(
        f"no {TABLE}, {fault}; genes are matched by exact symbol and the files' Ensembl ids alone, so "
        f"old symbols are lost; fetch {URL} into data/ or set ESG_HGNC to its path",
        stacklevel=3,
    )
    return None


def _table_in(content):
    """The content of an answer; InputError where it is no table of gene names."""
    _parse(content, URL)
    return content


def read_table(path: Path | str) -> tuple[set[str], dict, dict, dict]:
    """Read a table of gene names: tab-separated with a header, several names in a field joined by `|`.

    Needs the column `symbol`; takes `status` (only `Approved` counts), `ensembl_gene_id`, `prev_symbol`
    and `alias_symbol` where they stand. Returns the set of symbols and three dicts, from Ensembl id,
    previous symbol and alias to the set of symbols that have it. Raises InputError.
    """
    try:
        return _parse(Path(path).read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; want HGNC's {TABLE}") from None


def _parse(content, said):
    symbols = set()
    ids, previous, alias = defaultdict(set), defaultdict(set), defaultdict(set)
    columns = {"ensembl_gene_id": ids, "prev_symbol": previous, "alias_symbol": alias}
    try:
        text = content.decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text), delimiter="\t", restval="")
        if "symbol" not in (rows.fieldnames or ()):
            raise InputError(
                f"{said} has no column `symbol`; it begins {quote_some(rows.fieldnames or ())[:80]}; "
                f"want HGNC's {TABLE}, separated by tabs"
            )
        for row in rows:
            if row.get("status", "Approved") != "Approved":
                continue
            symbol = row["symbol"].strip()
            fault = "" if symbol else "has no symbol"
            if symbol in symbols:
                fault = f"repeats the symbol `{symbol}`"
            if None in row:
                fault = "has more fields than the header"
            if fault:
                raise InputError(f"{said}, line {rows.line_num}, {fault}; want each gene once")
            symbols.add(symbol)
            for column, index in columns.items():
                for name in filter(None, map(str.strip, row.get(column, "").split("|"))):
                    index[name].add(symbol)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{said} cannot be read as text: {error}; want HGNC's {TABLE}") from None
    # Editors strip empty fields at the end of a line; a cut line ends without a break, too.
    last = text.rpartition("\n")[2]
    if not symbols or (last and last.count("\t") + 1 < len(rows.fieldnames)):
        raise InputError(f"{said} names no approved gene, or is cut off; want HGNC's {TABLE}")
    ids = {bare: found for name, found in ids.items() if (bare := bare_ensembl(name))}
    return symbols, ids, dict(previous), dict(alias)
