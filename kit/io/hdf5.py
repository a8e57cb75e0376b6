"""Open HDF5 files that strangers wrote, and make new ones; faults are errors of one line.

HDF5 runs no code from a file. But a link, or a dataset, may name another file of the reader's machine,
whose content would then pass for the sender's: such a file is refused.
"""

import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .files import InputError, existing_file, quote_some

if TYPE_CHECKING:
    import h5py

INDEX = "index"
# Compression filters that the package hdf5plugin brings, by their number in HDF5's registry.
PLUGINS = {
    307: "bzip2", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd",
    32017: "sz", 32026: "blosc2",
}  # fmt: skip
# Other kinds of files, by a name at their top.
FOREIGN = {
    "matrix/barcodes": "a 10x matrix names no perturbations: add them as obs in anndata",
    "meta.data": "a Seurat file is converted in R, with anndataR or SeuratDisk",
    "row_attrs": "a loom file is read by anndata.io.read_loom",
}


@contextmanager
def interruptible() -> Iterator:
    """End the block with KeyboardInterrupt after an interrupt, even where HDF5 has lost or renamed it.

    An interrupt that arrives while h5py is called back from C becomes a SystemError, an OSError, or
    nothing at all, and a file written half passes for whole.
    """
    earlier, seen = signal.getsignal(signal.SIGINT), []
    if threading.current_thread() is not threading.main_thread() or not callable(earlier):
        yield
        return

    def noted(number, frame):
        seen.append(number)
        return earlier(number, frame)

    signal.signal(signal.SIGINT, noted)
    try:
        yield
    except Exception:
        if seen:
            raise KeyboardInterrupt from None
        raise
    finally:
        if (
            signal.getsignal(signal.SIGINT) is noted
        ):  # blocks need not end in the order of their beginning
            signal.signal(signal.SIGINT, earlier)
    if seen:
        raise KeyboardInterrupt


@contextmanager
def opened(path: Path | str, needed: Sequence[str] = ("obs", "var")) -> Iterator:
    """Yield an h5ad file open for reading; whatever h5py raises on a damaged one is an InputError."""
    import h5py

    path, lacking = existing_file(path, "give the path of an h5ad file"), []
    try:
        with interruptible(), h5py.File(path, "r") as file:
            if missing := [name for name in needed if name not in file]:
                remedy = [f"; {FOREIGN[name]}" for name in FOREIGN if name in file]
                raise InputError(
                    f"{path} has no {quote_some(missing)}, it has {quote_some(file) or 'nothing'}; "
                    f"want an h5ad file{''.join(remedy)}"
                )
            if outside := _outside(file):
                raise InputError(
                    f"{path} takes {quote_some(outside)} from other files; want all in one file"
                )
            lacking = _lacking_filters(file)
            yield file
    except (InputError, MemoryError):
        raise
    except Exception as error:  # h5py and anndata raise nearly every kind on a damaged file
        if lacking:
            raise InputError(f"{path} cannot be read: {quote_some(lacking, 2)}") from None
        raise InputError(
            f"{path} cannot be read: {reason(error)}; want an h5ad file, fetch it again if it was cut off"
        ) from None


def reason(error: Exception) -> str:
    """Return an exception in one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


def _outside(file):
    """Names of the links and datasets of an open file whose content lies in another."""
    import h5py

    found = []

    def look_at_link(name, link):
        if link.type == h5py.h5l.TYPE_EXTERNAL:
            found.append(name.decode(errors="replace"))

    def look_at_values(name, element):
        if isinstance(element, h5py.Dataset):
            virtual = element.is_virtual and element.virtual_sources()
            if element.external or any(part.file_name != "." for part in virtual or ()):
                found.append(name)

    file.id.links.visit(look_at_link, info=True)
    file.visititems(look_at_values)
    return found


def _lacking_filters(file):
    """What needs a filter that HDF5 lacks, and the remedy; hdf5plugin is used where it is there."""
    import h5py

    packed = {}

    def look_at_filters(name, element):
        if isinstance(element, h5py.Dataset):
            settings = element.id.get_create_plist()
            for place in range(settings.get_nfilters()):
                packed.setdefault(settings.get_filter(place)[0], []).append(name)

    file.visititems(look_at_filters)
    if not all(map(h5py.h5z.filter_avail, packed)):
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401  its import makes its filters known
    lines = []
    for number, names in packed.items():
        if not h5py.h5z.filter_avail(number):
            known = number in PLUGINS
            remedy = "run: pip install hdf5plugin" if known else "write it with gzip where it opens"
            lines.append(
                f"{quote_some(names)} need the HDF5 filter {PLUGINS.get(number, 'number')} {number}, "
                f"which is not installed; {remedy}"
            )
    return lines


def attribute(element: "h5py.Group | h5py.Dataset", *names: str) -> object:
    """Return the first of some attributes that an element has, or None; a list of one is its value.

    R writes lists of one for single values.
    """
    value = next((element.attrs[name] for name in names if name in element.attrs), None)
    if getattr(value, "size", 0) == 1:
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


def column_names(table: "h5py.Group | h5py.Dataset") -> list[str]:
    """Return the names of the columns of an obs or var table, without the index."""
    if not hasattr(table, "keys"):
        return list(table.dtype.names[1:])
    index = attribute(table, "_index") or "_index"
    order = np.atleast_1d(table.attrs.get("column-order", sorted(table.keys())))
    return [_text(name) for name in order if _text(name) not in (index, "__categories")]


def read_column(
    table: "h5py.Group | h5py.Dataset", column: str
) -> np.ndarray | pd.api.extensions.ExtensionArray:
    """Return one column of an obs or var table in an open file: a plain array or a categorical.

    Current anndata, anndata before 0.8 (categories in `__categories`) and before 0.7 (the table a
    compound array) are understood, and what R packages write like them.
    """
    from anndata.io import read_elem

    if hasattr(table, "keys"):
        name = str(attribute(table, "_index") or "_index") if column == INDEX else column
        element = table[name]
        if hasattr(element, "keys"):
            if not hasattr(element.get("categories"), "dtype"):
                return read_elem(element)
            values, categories = element["codes"][()], element["categories"]
        else:
            values, categories = element[()], attribute(element, "categories")
            if categories is None:
                categories = table.get(f"__categories/{name}")
            else:  # a reference to the dataset of their names
                categories = element.file[categories]
    else:  # a compound array, its categories in uns
        name = table.dtype.names[0] if column == INDEX else column
        values, categories = table[name], table.file.get(f"uns/{name}_categories")
    if categories is not None:
        return pd.Categorical.from_codes(values, _strings(categories[()]))
    return _strings(values)


def read_columns(table: "h5py.Group | h5py.Dataset", columns: Iterable[str]) -> pd.DataFrame:
    """Return some columns of an obs or var table in an open file, of labels or numbers, as a frame."""
    values, path = {column: read_column(table, column) for column in columns}, table.file.filename
    for column, array in values.items():
        kind = getattr(getattr(array, "dtype", None), "kind", "V")
        if getattr(array, "ndim", 0) != 1 or kind not in "biufOSU":
            raise InputError(
                f"{path}: column `{column}` is no list of labels or numbers; is it corrupt?"
            )
    lengths = sorted({len(column) for column in values.values()})
    if len(lengths) > 1:
        raise InputError(
            f"{path}: columns of {table.name} have {quote_some(lengths)} values, want as many in "
            "each; is the file corrupt?"
        )
    return pd.DataFrame(values)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(values):
    """The array itself, bytes decoded."""
    if values.dtype.kind == "S" or (values.dtype.kind == "O" and not values.dtype.names):
        return np.array([_text(value) for value in values], dtype=object)
    return values


@contextmanager
def made(path: Path | str) -> Iterator:
    """Yield a new HDF5 file open for writing; a failed write raises its OSError when the block ends."""
    import h5py

    with interruptible(), Sink(path, "w+b") as sink:
        try:
            with h5py.File(sink, "w") as file:
                yield file
        finally:
            if sink.fault is not None:
                raise sink.fault


class Sink(FileIO):
    """A file that keeps the error of a failed write, and ignores all later ones.

    HDF5 crashes at the end of the process where it could not close a file, so it must not see the error.
    """

    fault = None

    def write(self, values: bytes | memoryview) -> int:
        rest = memoryview(values)
        while len(rest) and self.fault is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.fault = error
        return len(values)
