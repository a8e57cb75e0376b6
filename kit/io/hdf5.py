"""Open HDF5 files that strangers wrote, and make new ones; faults are errors of one line.

HDF5 runs no code from a file. But a link, or a dataset, may name another file of the reader's machine,
whose content would then pass for the sender's: such a file is refused.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from .files import InputError, existing_file, quote_some


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

    path = existing_file(path, "give the path of an h5ad file")
    try:
        with interruptible(), h5py.File(path, "r") as file:
            if missing := [name for name in needed if name not in file]:
                raise InputError(f"{path} has no {quote_some(missing)}; want an h5ad file")
            if outside := _outside(file):
                raise InputError(
                    f"{path} takes {quote_some(outside)} from other files; want all in one file"
                )
            yield file
    except (InputError, MemoryError):
        raise
    except Exception as error:  # h5py and anndata raise nearly every kind on a damaged file
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
