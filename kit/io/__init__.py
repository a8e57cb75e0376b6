"""Reading with one-line errors, writing whole files, where files are found, and how far work is.

`InputError`: input that cannot be used, in one line. Inside: `files` (CSV, JSON, locks, hashes), `hdf5`
(files of strangers), `matrix` (count matrices in blocks of rows), `locate` (the one table of where files
are searched), `progress` (a bar, or lines in a log).
"""

from .files import InputError

__all__ = ["InputError"]
