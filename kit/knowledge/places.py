"""Where gene sets and interactions lie, and Reactome's download where they lie nowhere."""

import json
import os
import urllib.request
from http.client import HTTPException
from pathlib import Path

from ..competition import KAGGLE_INPUT, ROOT, on_kaggle
from ..io.files import InputError, keep_fetched
from ..screens.gene_names import load_gene_names
from ..screens.hgnc import MOUNTS, TIMEOUT
from .formats import parsed, unpacked

REACTOME = "ReactomePathways.gmt"
URL = f"https://reactome.org/download/current/{REACTOME}.zip"
KINDS = ("*.gmt", "interactions*.tsv", "interactions*.csv", "interactions*.txt")
PATTERNS = tuple(f"{kind}{packed}" for kind in KINDS for packed in ("", ".gz", ".zip"))


def find_files(paths=(), *, folder=None, download=True):
    """Paths of GMT files and edge lists: those given, or all of the first place that has any.

    Places: $ESG_PATHWAYS (joined by os.pathsep), `folder` (the competition's), the Kaggle mounts, `data/`
    in the project; then Reactome is fetched once. Raises InputError naming the places.
    """
    given = list(paths) or [
        path for path in os.environ.get("ESG_PATHWAYS", "").split(os.pathsep) if path
    ]
    if given:
        return list(dict.fromkeys(Path(path).expanduser() for path in given))
    # The project itself may lie in Kaggle's read-only input.
    home = Path("/kaggle/working") if on_kaggle() else ROOT / "data"
    folders = {folder: [] if folder is None else [Path(folder)]}
    folders |= {
        f"{KAGGLE_INPUT}/{{{','.join(MOUNTS)}}}": [
            place for mount in MOUNTS for place in sorted(KAGGLE_INPUT.glob(mount))
        ],
        ROOT / "data": [ROOT / "data"],
        home: [home],
    }
    for places in folders.values():
        if found := [path for place in places for path in _inside(place)]:
            return list(dict.fromkeys(found))
    fault = "fetching it was not wanted"
    if download:
        try:
            return [fetch(URL, home / REACTOME)]
        except (OSError, HTTPException, InputError) as error:
            fault = f"fetching it failed: {error}"
    looked = ", ".join(str(place) for place in folders if place is not None)
    step = f"fetch {URL} into data/, give paths or set ESG_PATHWAYS"
    if on_kaggle():
        step = f"attach a dataset with {REACTOME} (Add Input), or switch the internet on"
    raise InputError(f"no gene sets or interactions in {looked}, and {fault}; {step}")


def _inside(folder):
    found = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()}
    return sorted(found)


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
