"""A notebook as it is sent: without outputs and metadata of runs, for the Python that Kaggle has.

The file in the checkout is never changed.
"""

import json
from pathlib import Path

from kit.io.files import InputError

MAX_SOURCE = 1_000_000  # bytes; the server: "must be less than 1 megabytes in size"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
METADATA = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
KEPT = {"tags", "_kg_hide-input", "_kg_hide-output"}  # metadata of a cell that its author chose


def read_notebook(path: Path) -> dict:
    """Return what the file of a notebook holds. Raises InputError where that is no notebook in Python."""
    if not path.is_file():
        raise InputError(f"{path.name} does not exist")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        spec, info = (notebook["metadata"].get(key, {}) for key in METADATA)
        language = spec.get("language") or info.get("name") or "python"
        stripped(notebook)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path.name} is no notebook of format 4; save it with Jupyter") from None
    if language != "python":
        raise InputError(f"{path.name} is written in {language}, want python")
    return notebook


def stripped(notebook: dict) -> dict:
    """Return a notebook without outputs, execution counts and metadata of runs, for `python3`.

    Such metadata would pin the image and the inputs of an earlier run on Kaggle.
    """
    cells = []
    for cell in notebook["cells"]:
        kept = {key: value for key, value in cell["metadata"].items() if key in KEPT}
        empty = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
        cells.append(cell | empty | {"metadata": kept})
    return notebook | {"cells": cells, "metadata": METADATA}


def as_sent(path: Path) -> str:
    """Return the text of a notebook as it is sent. Raises InputError where Kaggle would refuse it."""
    text = json.dumps(stripped(read_notebook(path)))
    if len(text) >= MAX_SOURCE:
        raise InputError(
            f"{path.name} has {len(text):,} bytes without outputs, want less than {MAX_SOURCE:,}"
        )
    return text


def changes(path: Path) -> list[str]:
    """Return what is changed in a notebook before it is sent, such as `outputs left out of`."""
    notebook = read_notebook(path)
    cells, metadata = notebook["cells"], notebook["metadata"]
    found = []
    if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
        found.append("outputs left out of")
    if set(metadata) - set(METADATA) or any(set(cell["metadata"]) - KEPT for cell in cells):
        found.append("metadata of runs left out of")
    name = metadata.get("kernelspec", {}).get("name")
    if name is None:
        found.append("kernelspec python3 added to")
    elif name != KERNELSPEC["name"]:
        found.append(f"kernelspec {name} replaced by python3 in")
    return found
