"""Run attacks: what a reader makes of a bad file, and whether that is what a user may be shown."""

import io
import shutil
import signal
import zlib
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np

from kit.__main__ import main
from kit.io.files import InputError

SECONDS = 20  # that one attack may take


class Hang(BaseException):
    """Not an Exception, or a reader might take it for a fault of the file."""


def _hang(*_):
    raise Hang


@contextmanager
def in_time():
    before = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attack(reader, *given):
    """What a reader gives, and what is wrong with how it ended: `(result, fault)`."""
    result, out, err = None, io.StringIO(), io.StringIO()
    try:
        with in_time(), redirect_stdout(out), redirect_stderr(err):
            result = reader(*given)
    except InputError as error:
        result = 1
        err.write(f"error: {error}\n")
    except (Exception, Hang, SystemExit) as error:
        return None, f"{type(error).__name__} {error}"[:300]
    if not (isinstance(result, int) and result == 1):
        return result, "" if "nan" not in out.getvalue() else f"prints {out.getvalue()}"
    said = err.getvalue().removesuffix("\n")
    line = said[said.find("error: ") :]  # what went before it is progress
    clear = line.startswith("error: ") and line.isprintable() and len(line) < 800
    return None, "" if clear else f"not one clear line: {line[:300]!r}"


def kit(*words):
    return main([*map(str, words)])


def seeded(*words):
    return np.random.default_rng(zlib.crc32(" ".join(words).encode()))


def anew(path, good):
    """The good file in the place of what the last attack left there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    shutil.copy(good, path)


def judge(faults, attacks, least):
    assert not faults, "\n".join(faults)
    assert attacks >= least
