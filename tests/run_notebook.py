"""Run one notebook in the current folder: `python run_notebook.py NOTEBOOK EXECUTED`.

The kernel talks over files, not sockets: it also runs where there is no network at all.
"""

import sys
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
manager = AsyncKernelManager(transport="ipc", kernel_name="python3")
try:
    NotebookClient(notebook, km=manager, timeout=600).execute(cwd=str(Path.cwd()))
finally:
    nbformat.write(notebook, sys.argv[2])
