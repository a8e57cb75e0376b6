"""Where everything that the kit looks for may lie: the one table of names, variables and places.

Places are searched from left to right; what the user names, by argument or variable, must be there.

| sought | named by | places, in this order |
| --- | --- | --- |
| competition: its folder | argument, $ESG_DATA | Kaggle: its slug, as competition or dataset; \
data/<slug>; off Kaggle data/twin-quick |
| atlas: responses.h5ad | argument, $ESG_ATLAS | the competition's folder; outputs of 00_merge; \
data/atlas; Kaggle: any dataset, any kernel's output |
| pathways: sets, interactions, tables | arguments, $ESG_PATHWAYS | the competition's folder; data; \
Kaggle: any dataset |
| HGNC's table of genes | argument, $ESG_HGNC | as pathways |
| saved runs, checkpoints | | Kaggle: any kernel's output; the outputs and those in it |

Of the competition, the atlas and HGNC's table the first that fits is taken, of the others all. An atlas
fits if it was made from the same competition, by the hash in it; where the hash is missing, if the user
put it there: into the competition's folder or under /kaggle/input. Pathways are recognised by content.
What can be fetched is kept in data/, on Kaggle in /kaggle/working. The outputs are $ESG_OUTPUTS, by
default outputs/, on Kaggle /kaggle/working.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from .files import InputError

_TOP = Path(__file__).resolve().parents[2]
# Of the project: the checkout; for an installed kit, the current folder.
ROOT = _TOP if (_TOP / "notebooks" / "execute.py").is_file() else Path()
KAGGLE_INPUT = Path("/kaggle/input")
WORKING = Path("/kaggle/working")
SLUG = "echoes-of-silenced-genes"
DATASET = "myllia-echoes-of-silenced-genes-competition-data"  # the same files as a Kaggle dataset
DATASETS = ("*", "datasets/*/*")  # where Kaggle puts an attached dataset, formerly and today
KERNELS = ("*", "notebooks/*/*")  # and the outputs of an attached kernel


@dataclass(frozen=True)
class Sought:
    """A kind of file and the places it may lie in, in the order in which they are searched.

    names: patterns of file names; variable: the environment variable that names it. places: pairs of a
    root, as `places` knows them, and a pattern of folders in it.
    """

    names: tuple[str, ...]
    variable: str | None
    places: tuple[tuple[str, str], ...]


def _under(root, patterns):
    return tuple((root, pattern) for pattern in patterns)


SLUGS = tuple(
    pattern
    for slug in (SLUG, DATASET)
    for pattern in (f"competitions/{slug}", slug, f"datasets/*/{slug}")
)
COMPETITION = Sought(
    ("training_data_means.csv",),
    "ESG_DATA",
    (*_under("input", SLUGS), ("project", f"data/{SLUG}"), ("off_kaggle", "data/twin-quick")),
)
RESPONSES = Sought(
    ("responses.h5ad",),
    "ESG_ATLAS",
    (
        ("folder", ""),
        ("merged", ""),
        ("project", "data/atlas"),
        *_under("input", (*DATASETS, "notebooks/*/*")),
    ),
)
FETCHED = (("folder", ""), ("project", "data"), ("home", ""), *_under("input", DATASETS))
PATHWAYS = Sought(("*",), "ESG_PATHWAYS", FETCHED)
GENE_NAMES = Sought(("hgnc_complete_set.txt",), "ESG_HGNC", FETCHED)
RUNS = Sought(("report.json",), None, _under("input", KERNELS))


def on_kaggle() -> bool:
    """Return whether this runs as a Kaggle kernel."""
    return bool(os.environ.get("KAGGLE_KERNEL_RUN_TYPE")) or KAGGLE_INPUT.exists()


def home() -> Path:
    """Return the folder for what is fetched: `data/` in the project, on Kaggle the working folder."""
    return WORKING if on_kaggle() else ROOT / "data"


def output_folder(name: str) -> Path:
    """Return the folder that the notebook of this name writes; on Kaggle the one of all."""
    return WORKING if on_kaggle() else Path(os.environ.get("ESG_OUTPUTS", ROOT / "outputs")) / name


def named(sought: Sought, path: Path | str | None = None) -> tuple[Path, str] | None:
    """Return the path that the user names, by argument or variable, and which of the two, or None."""
    value = os.environ.get(sought.variable)
    for given, origin in ((path, "the path given"), (value, f"${sought.variable}")):
        if given:
            return Path(given).expanduser(), origin
    return None


def find_file(
    sought: Sought, path: Path | str | None = None, *, folder: Path | str | None = None
) -> Path | None:
    """Return the file of a kind that has one name, or None.

    path: the file, or a folder that holds it; by default $variable, then the first of `find_files`.
    Raises InputError where the user names what does not exist.
    """
    if (given := named(sought, path)) is None:
        return next(iter(find_files(sought, folder=folder)), None)
    place, origin = given
    place = place / sought.names[0] if place.is_dir() else place
    if not place.is_file():
        raise InputError(f"{place} ({origin}) does not exist; give the path of {sought.names[0]}")
    return place


def find_files(sought: Sought, *, folder: Path | str | None = None) -> list[Path]:
    """Return the files in all places, by place, then by folder and name; each file once."""
    found = {}
    for folders in places(sought, folder).values():
        for place in folders:
            inside = {path for name in sought.names for path in place.glob(name) if path.is_file()}
            for path in sorted(inside):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def places(sought: Sought, folder: Path | str | None = None) -> dict[str, list[Path]]:
    """Return the folders to look in, by the place as messages name it, in order.

    folder: the competition's, the root `folder`. A root that there is not, such as /kaggle/input off
    Kaggle, has no places.
    """
    roots = {"folder": folder, "merged": output_folder("00_merge"), "project": ROOT, "home": home()}
    roots |= {"input": KAGGLE_INPUT} if on_kaggle() else {"off_kaggle": ROOT}
    found = {}
    for root, pattern in sought.places:
        if (base := roots.get(root)) is not None:
            several, place = "*" in pattern, Path(base, pattern)
            found[str(place)] = sorted(Path(base).glob(pattern)) if several else [place]
    return found
