"""Run a notebook in the current folder and keep what it shows.

    python execute.py NOTEBOOK SHOWN

SHOWN ends in .html or .ipynb. The kernel talks over files, not sockets: this also runs where there is no
network at all. On an error what ran is kept, one line is printed, and the exit code is 1. On a terminal a
bar counts the cells, but where make runs several notebooks at once; the notebook's own bars are left out.
"""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from tqdm import tqdm


def main(notebook_path: str, shown: Path) -> str | None:
    """Run a notebook and write what it shows; return the fault, or None."""
    notebook = nbformat.read(notebook_path, as_version=4)
    fault, hidden = None, True if "-j" in os.environ.get("MAKEFLAGS", "") else None
    bar = tqdm(
        desc=notebook_path, total=len(notebook.cells), unit=" cells", leave=False, disable=hidden
    )
    environment = os.environ | {"TQDM_DISABLE": "1"}
    with bar, tempfile.TemporaryDirectory() as sockets, ThreadPoolExecutor(1) as pool:
        # A manager that is not async waits for ever for a kernel that was killed. In a thread of its own
        # the client leaves signals alone.
        manager = AsyncKernelManager(transport="ipc", ip=f"{sockets}/kernel", kernel_name="python3")
        client = NotebookClient(notebook, km=manager, timeout=None)
        client.on_cell_start = lambda cell, cell_index: bar.update(cell_index - bar.n)
        try:
            pool.submit(client.execute, cwd=str(Path.cwd()), env=environment).result()
        except CellExecutionError as error:
            fault = f"error: {notebook_path}: {error.ename}: {error.evalue} (all in {shown})"
        except DeadKernelError:
            fault = f"error: {notebook_path}: its kernel was killed: too little memory? (all in {shown})"
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            if manager.has_kernel:
                run_sync(manager.shutdown_kernel)(now=True)
    shown.parent.mkdir(parents=True, exist_ok=True)
    if shown.suffix == ".html":
        from nbconvert import HTMLExporter

        shown.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    else:
        nbformat.write(notebook, shown)
    return fault


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
