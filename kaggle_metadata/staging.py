"""Write what is sent into a folder of its own, under the owner's name; the checkout stays as it is."""

import json
import shutil
import subprocess
from pathlib import Path

from .metadata import DATASET, FOLDER, Kernel, read_dataset
from .notebook import as_sent


def stage_module(place: Path) -> Path:
    """Write the dataset's metadata and a copy of `kit/` into `place` / esg-kit; return that folder.

    Left out are caches of Python and numba, and hidden files and folders, such as those of Jupyter:
    --ignore-patterns does so in the top folder only.
    """
    staged, ignore = place / DATASET, shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(FOLDER.parent / "kit", staged / "kit", ignore=ignore)
    (staged / "dataset-metadata.json").write_text(json.dumps(read_dataset(), indent=2))
    return staged


def stage_kernel(kernel: Kernel, place: Path) -> Path:
    """Write a kernel's metadata and notebook into `place` / its folder's name; return that folder."""
    staged = place / kernel.folder.name
    staged.mkdir(parents=True, exist_ok=True)
    (staged / kernel.notebook.name).write_text(as_sent(kernel.notebook), encoding="utf-8")
    data = kernel.data | {"code_file": kernel.notebook.name}
    (staged / "kernel-metadata.json").write_text(json.dumps(data, indent=2), encoding="utf-8")
    return staged


def version() -> str:
    """Return the commit that is sent, for the version's note."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not from a repository"
    return done.stdout.strip()
