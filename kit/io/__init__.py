"""Reading with one-line errors, writing whole files, where files are found, and the compute device.

`InputError`: input that cannot be used, in one line. Inside: `files` (CSV, JSON, locks, hashes), `hdf5`
(files of strangers), `matrix` (count matrices in blocks of rows), `locate` (the one table of where files
are searched), `device` (GPU or CPU, numba).
"""

from .files import InputError

__all__ = ["InputError"]
