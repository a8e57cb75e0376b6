"""Where gene sets and interactions lie, and Reactome's download where they lie nowhere."""

import json
import os
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from ..io import locate
from ..io.files import InputError, keep_fetched
from ..screens.gene_names import load_gene_names
from ..screens.hgnc import TIMEOUT
from .formats import parsed, unpacked

REACTOME = "ReactomePathways.gmt"
URL = f"https://reactome.org/download/current/{REACTOME}.zip"


def find_files(
    paths: Sequence[Path | str] = (),
    *,
    folder: Path | str | None = None,
    download: bool = True,
) -> list[Path]:
    """Return the paths of GMT files and edge lists: those given, or what `kit.io.locate` finds.

    $ESG_PATHWAYS may name several, joined by os.pathsep; folder: the competition's. Where none is found
    Reactome is fetched once. Raises InputError naming the places.
    """
    named = os.environ.get(locate.PATHWAYS.variable, "")
    if given := list(paths) or [path for path in named.split(os.pathsep) if path]:
        return list(dict.fromkeys(Path(path).expanduser() for path in given))
    if found := locate.find_files(locate.PATHWAYS, folder=folder):
        return found
    fault = "fetching it was not wanted"
    if download:
        try:
            return [fetch(URL, locate.home() / REACTOME)]
        except (OSError, HTTPException, InputError) as error:
            fault = f"fetching it failed: {error}"
    searched = ", ".join(locate.places(locate.PATHWAYS, folder))
    step = f"fetch {URL} into data/, give paths or set ESG_PATHWAYS"
    if locate.on_kaggle():
        step = f"attach a dataset with {REACTOME} (Add Input), or switch the internet on"
    raise InputError(f"no gene sets or interactions in {searched}, and {fault}; {step}")


def find_names(files, *, folder=None, download=True):
    """GeneNames of a table hgnc*.txt or .tsv beside one of the files, else as `load_gene_names` finds."""
    for place in dict.fromkeys(path.parent for path in files):
        tables = (table for suffix in ("txt", "tsv") for table in place.glob(f"hgnc*.{suffix}"))
        if (table := min(tables, default=None)) is not None:
            return load_gene_names(table)
    return load_gene_names(folder=folder, download=download)


def fetch(url, path):
    """Fetch a packed file of sets to `path`, and beside it, as JSON, address, date and SHA-256.

    Raises OSError or HTTPException where the network fails, InputError for an answer that holds no sets.
    """
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        packed = answer.read()
        changed = answer.headers.get("Last-Modified")
    sets, _ = parsed(packed, url)
    if sets is None:
        raise InputError(f"{url} holds no sets")
    content = unpacked(packed)
    return keep_fetched(path, content, url, changed)


def record_of(path):
    """What `fetch` wrote beside a file: a dict, empty where it did not fetch it."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        record = json.loads(beside.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and "sha256" in record else {}
