"""Run a notebook in the current folder and keep what it shows.

    python execute.py NOTEBOOK SHOWN

SHOWN ends in .html or .ipynb. The kernel talks over files, not sockets: this also runs where there is no
network at all. On an error what ran is kept, one line is printed, and the exit code is 1.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main(notebook_path, shown):
    notebook = nbformat.read(notebook_path, as_version=4)
    fault = None
    with tempfile.TemporaryDirectory() as sockets:
        manager = KernelManager(transport="ipc", ip=f"{sockets}/kernel", kernel_name="python3")
        try:
            NotebookClient(notebook, km=manager, timeout=None).execute(cwd=str(Path.cwd()))
        except CellExecutionError as error:
            fault = f"error: {notebook_path}: {error.ename}: {error.evalue} (all in {shown})"
        except (KeyboardInterrupt, AssertionError):  # nbclient asserts that nobody interrupts it
            return "interrupted"
        finally:
            if manager.has_kernel:
                manager.shutdown_kernel(now=True)
    shown.parent.mkdir(parents=True, exist_ok=True)
    if shown.suffix == ".html":
        from nbconvert import HTMLExporter

        shown.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    else:
        nbformat.write(notebook, shown)
    return fault


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
