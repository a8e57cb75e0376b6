"""Read GMT sets and edge lists, recognised by content; genes keep the names of the file."""

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import InputError, existing_file, quote_some, repeated

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
_COLUMN = re.compile(
    r"#?(.*(gene|protein|symbol|node|source|target|interact|partner).*|from|to|one|other)", re.I
)

_NO_SYMBOL = re.compile(r"""[][{}<>"'=\\]|://""")


def read_source(path: Path | str) -> tuple[pd.DataFrame | None, pd.DataFrame | None, str]:
    """Return sets or None, edges or None, and the SHA-256 of one file; gzip and zip are unpacked.

    sets: frame (pathway, gene); edges: frame (one, other, weight). Raises InputError for what
    is neither.
    """
    path = existing_file(path, WANT)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {WANT}") from None
    return *parsed(content, path), hashlib.sha256(content).hexdigest()


def parsed(content: bytes, path: Path | str) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Return sets or None, and edges or None, from the bytes of a file; `path` names it in errors."""
    lines = _lines(path, content)
    first = list(islice((line for _, line in lines), LOOK))
    if not any(separator in line for line in first for separator in "\t, "):
        raise InputError(f"{path} has one column, it begins `{first[0][:40]}`; {WANT}")
    if _is_gmt(first):
        return _sets(path, lines), None
    return None, _edges(path, lines)


def _lines(path, content):
    """Pairs (number, line) of the lines that are not blank."""
    try:
        text = unpacked(content).decode("utf-8-sig")
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


def unpacked(content: bytes) -> bytes:
    """Return the bytes of a file that may be packed with gzip, or with zip as its only member."""
    if content[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(content)) as file:
            return _limited(file)
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as box:
            inside = box.namelist()
            if len(inside) != 1:
                raise zipfile.BadZipFile(f"{len(inside)} files in one zip, want one")
            with box.open(inside[0]) as file:
                return _limited(file)
    return content


def _limited(file):
    """What an open archive unpacks to; OSError where that is too much."""
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(f"more than {LARGEST:,} bytes are packed in it")
    return content


def _is_gmt(lines):
    """Whether lines hold sets: more than three fields, or a third one that is no weight."""
    fields = [line.rstrip("\t").split("\t") for line in lines]
    if any(len(own) > 3 for own in fields):
        return True
    thirds = [own[2] for own in fields if len(own) == 3]
    return bool(thirds) and all(_number(text) is None for text in thirds)


def _number(text):
    if "_" in text:  # Python reads 1_0 as a number
        return None
    try:
        return float(text)
    except ValueError:
        return None


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
    frame = pd.DataFrame(
        {
            "pathway": np.repeat(np.array(labels, dtype=object), [len(own) for own in members]),
            "gene": np.array([gene for own in members for gene in own], dtype=object),
        }
    )
    if frame.empty:
        raise InputError(f"{path} has no set with a member; {WANT}")
    _check_names(path, frame["gene"])
    return frame


def _check_names(path, genes):
    genes = pd.unique(genes)
    # Reactome names some viral proteins by a number alone.
    numbers = [gene for gene in genes if _number(gene) is not None]
    if len(numbers) > len(genes) / 2:
        raise InputError(f"{path} has numbers for genes: {quote_some(numbers)}; {WANT}")


def _edges(path, lines):
    separator = next((mark for mark in "\t," if mark in lines[0][1]), None)
    rows = [(number, [field.strip() for field in line.split(separator)]) for number, line in lines]
    if _is_header(rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{path} has a header but no edges; is it cut off?")
    width = len(rows[0][1])
    for number, fields in rows:
        if width not in (2, 3) or len(fields) != width or not all(fields):
            raise InputError(
                f"{path}, line {number}: `{' '.join(fields)[:40]}` has {len(fields)} fields; {WANT}"
            )
        if _NO_SYMBOL.search(fields[0] + fields[1]):  # JSON, a web page, a pointer to the file
            raise InputError(f"{path}, line {number}: `{' '.join(fields)[:40]}` is no edge; {WANT}")
    weights = np.ones(len(rows))
    if width == 3:
        for place, (number, fields) in enumerate(rows):
            weight = _number(fields[2])
            if weight is None or not (weight == 0 or LIGHTEST <= weight <= HEAVIEST):
                raise InputError(
                    f"{path}, line {number}: weight `{fields[2][:40]}`, want a number of at least 0, "
                    f"and {LIGHTEST:g} to {HEAVIEST:g} where it is above"
                )
            weights[place] = weight
    one, other = (np.array([fields[end] for _, fields in rows], dtype=object) for end in (0, 1))
    _check_names(path, np.concatenate([one, other]))
    return pd.DataFrame({"one": one, "other": other, "weight": weights})


def _is_header(fields):
    if len(fields) == 3 and _number(fields[2]) is None:
        return True
    return len(fields) >= 2 and all(_COLUMN.fullmatch(name) for name in fields[:2])
