"""Read and write whole files: bad input is an error of one line, and no half-written file is left."""

import csv
import hashlib
import json
import os
import shutil
import tempfile
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

LONGEST_NAME = 100  # characters of a name in a message
TIMEOUT = 10  # seconds without an answer from a server


class InputError(ValueError):
    """Input that cannot be used, in one line: what was got, what was wanted, what to do."""

    def __init__(self, message: object):
        super().__init__(printable(message))


def printable(message: object) -> str:
    """Return text in one line, with signs that do not print or that steer a terminal as escapes."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(message))


def quote_some(names: Iterable, most: int = 5) -> str:
    """Return the first few of many names, `a, b, c and 7 more`; a long name is cut."""
    names = [str(name) or "(no name)" for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = [
        name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
        for name in names[:most]
    ]
    return ", ".join(shown) + more


def repeated(labels: Iterable) -> list:
    """Return the labels that occur more than once, in order of first repetition."""
    index = pd.Index(labels)
    return list(index[index.duplicated()].unique())


def label_fault(got: Iterable, want: Iterable) -> str:
    """Return how labels differ from those wanted, in any order: `got 4, want 5; missing: e`, or ""."""
    got, want = pd.Index(got), pd.Index(want)
    faults = {
        "missing": want.difference(got, sort=False),
        "unknown": got.difference(want, sort=False),
        "repeated": repeated(got),
        "wanted twice": repeated(want),
    }
    named = [f"{kind}: {quote_some(labels)}" for kind, labels in faults.items() if len(labels)]
    return "; ".join([f"got {len(got)}, want {len(want)}", *named]) if named else ""


def check_unique(labels: Iterable, fault: str) -> None:
    """Raise InputError, `fault: a, b; each may stand once`, where labels are repeated."""
    if again := repeated(labels):
        raise InputError(f"{fault}: {quote_some(again)}; each may stand once")


def check_labels(got: Iterable, want: Iterable, fault: str) -> None:
    """Raise InputError, `fault: got 4, want 5; missing: e`, where labels differ, in any order."""
    if difference := label_fault(got, want):
        raise InputError(f"{fault}: {difference}")


def check_known(labels: Iterable, known: Iterable, fault: str) -> None:
    """Raise InputError, `fault: a, b (2 of 9); there are c, d`, where labels are not among the known."""
    labels, known = list(labels), dict.fromkeys(known)
    if unknown := [label for label in labels if label not in known]:
        raise InputError(
            f"{fault}: {quote_some(unknown)} ({len(unknown)} of {len(labels)}); "
            f"there are {quote_some(known) or 'none'}"
        )


def check_type(value: object, kind: type | tuple[type, ...], name: str, want: str) -> None:
    """Raise InputError, `path is of type int, want ...`, for a value of another kind.

    A string is no Iterable here: its letters are not what is meant.
    """
    if not isinstance(value, kind) or (kind is Iterable and isinstance(value, str)):
        raise InputError(
            f"{name} is of type {type(value).__name__}, want {want}; check the arguments' order"
        )


def finite_values(table: pd.DataFrame | pd.Series, name: str) -> np.ndarray:
    """Return a table's values as float64; InputError names the first that is no finite number."""
    try:
        values = table.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} holds values that are not numbers: {error}") from None
    if len(bad := np.argwhere(~np.isfinite(values))):
        place = [str(labels[at]) for labels, at in zip(table.axes, bad[0], strict=True)]
        raise InputError(
            f"{name} is {values[tuple(bad[0])]} at {', '.join(place)}; want finite numbers, "
            f"{len(bad)} are not"
        )
    return values


def to_number(text: str) -> float:
    """Return the number that a text holds, NaN where it holds none."""
    # Python reads 1_0 and digits of other scripts as numbers, other readers do not.
    try:
        return float(text) if text.isascii() and "_" not in text else np.nan
    except ValueError:
        return np.nan


def _numbers(texts):
    """The numbers of many texts, NaN where one holds none: at once where all are plain."""
    joined = "".join(texts)
    if joined.isascii() and "_" not in joined:
        with suppress(ValueError):
            return np.array([float(text) for text in texts])
    return np.array([to_number(text) for text in texts])


def existing_file(path: Path | str, want: str) -> Path:
    """Return the path of an existing file; an InputError where there is none says `want`, what to do."""
    path = Path(path)
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "is not a file"
        raise InputError(f"{path} {fault if path.exists() else 'does not exist'}; {want}")
    return path


def read_table(path: Path | str, index: str, *, text: Iterable[str] = ()) -> pd.DataFrame:
    """Return a CSV of numbers with one column of labels: float64, indexed by the strings of `index`.

    The columns named in `text` stay strings. Accepts a byte-order mark and Windows line endings. Raises
    InputError for a missing, empty or truncated file, repeated columns or labels, blank, non-numeric and
    non-finite values, naming the first place.
    """
    path = existing_file(path, "give the path of a CSV file")
    # pandas takes four times as long over ten thousand columns, drops a row's surplus fields without
    # an error, and reads `True` as 1.
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            return _table(path, csv.reader(lines, strict=True), index, text)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV text: {error}; is it cut off?") from None


def _table(path, rows, index, text):
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise InputError(f"{path} is empty; want a CSV file with a header line")
    if unnamed := [number for number, name in enumerate(header, 1) if not name]:
        step = f"call it {index}" if index not in header else "drop it (pandas: index=False)"
        raise InputError(f"{path}: column {unnamed[0]} has no name, as a saved index has; {step}")
    check_unique(header, f"{path} has repeated columns")
    if index not in header:
        raise InputError(f"{path} has no column `{index}`; its columns are {quote_some(header)}")
    words = [place for place, name in enumerate(header) if name == index or name in text]
    numeric = np.setdiff1d(np.arange(len(header)), words)
    strings, values = [], []
    for row in filter(None, rows):
        line = f"{path}, line {rows.line_num}"
        if len(row) != len(header):
            raise InputError(f"{line}: {len(row)} fields, want {len(header)}; is the file cut off?")
        strings.append([row[place].strip() for place in words])
        values.append(_numbers([row[place] for place in numeric]))
        blank = [place for place in words if not row[place].strip()]
        if wrong := [*blank, *numeric[~np.isfinite(values[-1])]]:
            column, value = quote_some([header[min(wrong)]]), " ".join(row[min(wrong)].split())[:40]
            want = "a label" if min(wrong) in words else "a finite number"
            raise InputError(f"{line}: column `{column}` holds `{value}`, want {want}")
    if not values:
        raise InputError(f"{path} has a header but no rows; is it cut off?")
    table = pd.DataFrame(np.array(values), columns=[header[place] for place in numeric])
    for place, column in zip(words, zip(*strings, strict=True), strict=True):
        table.insert(place, header[place], list(column))
    check_unique(table[index], f"{path} has repeated rows in `{index}`")
    return table.set_index(index)


@contextmanager
def _writing(path):
    """Raise InputError where a block fails to write."""
    try:
        yield
    except OSError as error:
        fault = error.strerror or error
        raise InputError(f"cannot write {path}: {fault}; choose a writable folder") from None


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its name only when the block ends well.

    The block writes a file or makes a folder there. On any exception, an interrupt included, what was
    written is removed and an older `path` stays as it was. A write that fails raises InputError.
    """
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of our own: two runs at once do not meet, and its rights are the parent's.
        box = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        new, old = box / path.name, box / "old"
        try:
            yield new
            if path.is_dir() and new.is_dir():  # a folder with files cannot be replaced in one step
                os.replace(path, old)
            try:
                os.replace(new, path)
            except BaseException:
                if old.exists():
                    os.replace(old, path)
                raise
        finally:
            shutil.rmtree(box, ignore_errors=True)


def read_json(path: Path | str):
    """Return the content of a JSON file; InputError where there is no file or no JSON."""
    path = existing_file(path, "give the path of a JSON file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None


@contextmanager
def alone_in(folder: Path | str) -> Iterator[None]:
    """Let one run at a time into a folder, which is made where it is missing; the others wait.

    The lock ends with the process that holds it. Where a disk or a system has no locks nobody waits.
    """
    with _writing(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        with suppress(ImportError, OSError):  # Windows has no fcntl
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            opened.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                warnings.warn(f"another run works in {folder}: waiting until it ends", stacklevel=4)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def content_hash(paths: Iterable[Path | str]) -> str:
    """Return the SHA-256 over the names and bytes of files, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths), key=lambda path: path.name):
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def frames_hash(frames: Mapping[str, pd.DataFrame]) -> str:
    """Return 16 letters of the SHA-256 over the content and labels of frames by name."""
    digest = hashlib.sha256()
    for name, frame in frames.items():
        digest.update(repr([name, list(frame.columns)]).encode())
        digest.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def fetch(url: str, path: Path, take: Callable[[bytes], bytes]) -> Path:
    """Fetch an address to `path` and return it; beside it, as JSON, the address, dates and SHA-256.

    take: returns the content to keep from that of the answer, or raises InputError. Raises OSError or
    HTTPException where the network fails.
    """
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        content, changed = take(answer.read()), answer.headers.get("Last-Modified")
    record = {
        "url": url,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "last_modified": changed,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    # The record first: a file that is there always has one.
    with replacing(path.with_suffix(".json")) as place:
        place.write_text(json.dumps(record, indent=1) + "\n")
    with replacing(path) as place:
        place.write_bytes(content)
    return path
