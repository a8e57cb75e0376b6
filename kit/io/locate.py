"""Where everything that the kit looks for may lie: the one table of names, variables and mounts.

The first place that has it counts, from left to right; what the user names must be there.

| sought | named by | the user's folder | under /kaggle/input | in the project |
| --- | --- | --- | --- | --- |
| competition: its folder | argument, $ESG_DATA | | its slug, as competition or dataset | data/<slug>; \
off Kaggle data/twin-quick |
| atlas: responses.h5ad | argument, $ESG_ATLAS | | any dataset, any kernel's output | |
| pathways, interactions | arguments, $ESG_PATHWAYS | the competition's | any dataset | data |
| HGNC's table of genes | argument, $ESG_HGNC | the competition's | any dataset | data |
| saved runs, checkpoints | | the outputs and those in it | any kernel's output | |

Pathways are all files of the first kind of place that has any; saved runs are those of all places. What
can be fetched is kept in data/, on Kaggle in /kaggle/working. ($ESG_OUTPUTS and $ESG_BUDGET, which `Run`
reads, name nothing that is looked for.)
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
    """A kind of file and the places it may lie in.

    names: patterns of file names; variable: the environment variable that names it. Patterns of folders:
    mounts under /kaggle/input; project in the project; off_kaggle there too, but never on Kaggle.
    fetched: whether it can be fetched, and may so lie in `home()`.
    """

    names: tuple[str, ...]
    variable: str | None = None
    mounts: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    off_kaggle: tuple[str, ...] = ()
    fetched: bool = False


COMPETITION = Sought(
    names=("training_data_means.csv",),
    variable="ESG_DATA",
    mounts=tuple(
        pattern
        for slug in (SLUG, DATASET)
        for pattern in (f"competitions/{slug}", slug, f"datasets/*/{slug}")
    ),
    project=(f"data/{SLUG}",),
    off_kaggle=("data/twin-quick",),
)
RESPONSES = Sought(("responses.h5ad",), "ESG_ATLAS", (*DATASETS, "notebooks/*/*"))
PATHWAYS = Sought(
    names=tuple(
        f"{kind}{packed}"
        for kind in ("*.gmt", "interactions*.tsv", "interactions*.csv", "interactions*.txt")
        for packed in ("", ".gz", ".zip")
    ),
    variable="ESG_PATHWAYS",
    mounts=DATASETS,
    project=("data",),
    fetched=True,
)
GENE_NAMES = Sought(("hgnc_complete_set.txt",), "ESG_HGNC", DATASETS, ("data",), fetched=True)
RUNS = Sought(("report.json",), mounts=KERNELS)


def on_kaggle() -> bool:
    """Return whether this runs as a Kaggle kernel."""
    return bool(os.environ.get("KAGGLE_KERNEL_RUN_TYPE")) or KAGGLE_INPUT.exists()


def home() -> Path:
    """Return the folder for what is fetched: `data/` in the project, on Kaggle the working folder."""
    return WORKING if on_kaggle() else ROOT / "data"


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
    """Return the files of the first kind of place that has any, by folder, then by name."""
    for folders in places(sought, folder).values():
        if found := [path for place in folders for path in _inside(place, sought.names)]:
            return list(dict.fromkeys(found))
    return []


def places(sought: Sought, folder: Path | str | None = None) -> dict[str, list[Path]]:
    """Return the folders to look in, by the kind of place as messages name it, the first kind first."""
    found = {} if folder is None else {str(folder): [Path(folder)]}
    project = [*sought.project]
    if not on_kaggle():
        project += sought.off_kaggle
    elif sought.mounts:
        mounts = [place for mount in sought.mounts for place in sorted(KAGGLE_INPUT.glob(mount))]
        found[", ".join(f"{KAGGLE_INPUT}/{mount}" for mount in sought.mounts)] = mounts
    project = [ROOT / name for name in project] + [home()] * sought.fetched
    return found | {str(place): [place] for place in project}


def _inside(folder, names):
    return sorted({path for name in names for path in folder.glob(name) if path.is_file()})
