"""HGNC's table of gene names: find it, fetch it once, read it. What names mean is in `gene_names`."""

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
    _read(io.BytesIO(content), URL)
    return content


def read_table(path: Path | str) -> tuple[set[str], dict, dict, dict]:
    """Read a table of gene names: tab-separated with a header, several names in a field joined by `|`.

    Needs the column `symbol`; takes `status` (only `Approved` counts), `ensembl_gene_id`, `prev_symbol`
    and `alias_symbol` where they stand. Returns the set of symbols and three dicts, from Ensembl id,
    previous symbol and alias to the set of symbols that have it. Raises InputError.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; want HGNC's {TABLE}") from None


def _read(file, said):
    """Read an open binary file. HGNC quotes fields that hold `|` and has no tab inside a field."""
    symbols = set()
    names = {name: defaultdict(set) for name in ("ensembl_gene_id", "prev_symbol", "alias_symbol")}
    try:
        lines = io.TextIOWrapper(file, encoding="utf-8-sig")
        header = [name.strip('" ') for name in next(lines, "").rstrip("\n").split("\t")]
        if "symbol" not in header:
            raise InputError(
                f"{said} has no column `symbol`; it begins {quote_some(header)[:80]}; want HGNC's "
                f"{TABLE}, separated by tabs"
            )
        place = {name: number for number, name in enumerate(header)}
        columns = [(place[name], index) for name, index in names.items() if name in place]
        last = max(place["symbol"], place.get("status", 0), *(column for column, _ in columns))
        for number, line in enumerate(lines, start=2):
            tabs = line.count("\t")
            # Editors strip empty fields at the end of a line; a cut line ends without a break.
            if tabs >= len(header) or (tabs < len(header) - 1 and line[-1] != "\n"):
                fault = f"{tabs + 1} fields, want {len(header)}"
                raise InputError(f"{said}, line {number}: {fault}; is it cut off?")
            fields = line.rstrip("\n").split("\t", last + 1)  # the rest is half of the table
            fields += [""] * (last + 1 - len(fields))
            symbol = fields[place["symbol"]].strip('" ')
            if ("status" in place and fields[place["status"]] != "Approved") or not line.strip():
                continue
            if not symbol or symbol in symbols:
                fault = f"repeats the symbol `{symbol}`" if symbol else "has no symbol"
                raise InputError(f"{said}, line {number}, {fault}; want each gene once")
            symbols.add(symbol)
            for column, index in columns:
                if text := fields[column].strip('"'):
                    for name in filter(None, map(str.strip, text.split("|"))):
                        index[name].add(symbol)
    except UnicodeDecodeError as error:
        raise InputError(f"{said} cannot be read as text: {error}; want HGNC's {TABLE}") from None
    if not symbols:
        raise InputError(f"{said} names no approved gene; is it cut off? want HGNC's {TABLE}")
    ids, previous, alias = names.values()
    ids = {bare: found for name, found in ids.items() if (bare := bare_ensembl(name))}
    return symbols, ids, dict(previous), dict(alias)
