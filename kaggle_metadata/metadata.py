"""The metadata of the module's dataset and of the kernels, read for their owner, and checked.

The files hold the placeholder OWNER; the owner's name takes its place when they are read. Keys and limits
are those that the `kaggle` command and its server enforce.
"""

import json
import os
import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from kit.io.files import InputError, quote_some, replacing

from .notebook import as_sent

FOLDER = Path(__file__).resolve().parent
DATASET = "esg-kit"
NOBODY = "OWNER"  # the placeholder
OWNER_FILE = "owner"  # in FOLDER; git ignores it
OWNED = re.compile(r'"([\w-]+)/([\w-]+)')
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,}")
T4 = "NvidiaTeslaT4"  # means two of them; the P100 is retired
COMPETITION = "echoes-of-silenced-genes"
FLAGS = {"is_private", "enable_gpu", "enable_tpu", "enable_internet"}
SOURCES = {"competition_sources", "dataset_sources", "kernel_sources", "model_sources"}
KEYS = FLAGS | SOURCES | {"id", "title", "code_file", "language", "kernel_type", "keywords"}


@dataclass(frozen=True)
class Kernel:
    """A kernel: its folder, what its JSON holds, and the notebook that it sends."""

    folder: Path
    data: dict

    @property
    def id(self) -> str:
        return self.data["id"]

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def slug(self) -> str:
        return self.id.partition("/")[2]

    @property
    def notebook(self) -> Path:
        return (self.folder / self.data["code_file"]).resolve()

    @property
    def gpu(self) -> bool:
        return self.data["enable_gpu"]

    def after(self, kernels: list["Kernel"]) -> set[str]:
        """Return the ids of those of `kernels` whose outputs are attached to this one."""
        return {other.id for other in kernels} & set(self.data["kernel_sources"])


def read_kernels(folder: Path = FOLDER) -> list[Kernel]:
    """Return all kernels, each after those whose outputs it needs, else by name. Raises InputError."""
    found = {}
    for path in sorted(folder.glob("*/kernel-metadata.json")):
        kernel = Kernel(path.parent, _read(path, folder))
        if missing := sorted((KEYS - {"keywords", "model_sources"}) - set(kernel.data)):
            raise InputError(f"{path} lacks {quote_some(missing)}; write them as its neighbours do")
        found[kernel.id] = kernel
    if not found:
        raise InputError(f"{folder} holds no */kernel-metadata.json; run this from the checkout")
    order = TopologicalSorter({name: sorted(k.after(found.values())) for name, k in found.items()})
    try:
        return [found[name] for name in order.static_order()]
    except CycleError as error:
        raise InputError(
            f"kernels wait for each other: {' -> '.join(error.args[1])}; break the circle in "
            "kernel_sources"
        ) from None


def read_dataset(folder: Path = FOLDER) -> dict:
    """Return what `dataset-metadata.json` of the module holds."""
    return _read(folder / DATASET / "dataset-metadata.json", folder)


def chosen(kernels: list[Kernel], words: list[str]) -> list[Kernel]:
    """Return those of `kernels` whose folder begins with one of `words`, without words all, in order."""
    for word in words:
        if not any(kernel.folder.name.startswith(word) for kernel in kernels):
            names = quote_some((kernel.folder.name for kernel in kernels), 12)
            raise InputError(f"no notebook begins with `{word}`; choose from {names}")
    return [one for one in kernels if not words or one.folder.name.startswith(tuple(words))]


def find_owner(folder: Path = FOLDER) -> tuple[str, str]:
    """Return the name of the Kaggle user who owns kernels and dataset, and where it was found.

    The first of the file `owner`, a name in the dataset's metadata in place of the placeholder,
    $KAGGLE_USERNAME and kaggle.json; else the placeholder. Raises InputError where it is no such name.
    """
    file = folder / OWNER_FILE
    for find, origin in (
        (lambda: file.read_text(encoding="utf-8").strip() if file.exists() else "", file),
        (lambda: _written_owner(folder), DATASET),
        (lambda: os.environ.get("KAGGLE_USERNAME"), "$KAGGLE_USERNAME"),
        (_login_owner, "kaggle.json"),
    ):
        if (name := find()) and name != NOBODY:
            return _checked_name(name, origin), str(origin)
    return NOBODY, ""


def set_owner(name: str, folder: Path = FOLDER) -> Path:
    """Keep `name` as the owner in a file that git ignores, and return that file."""
    with replacing(folder / OWNER_FILE) as place:
        place.write_text(f"{_checked_name(name, 'the name given')}\n", encoding="utf-8")
    return folder / OWNER_FILE


def faults(kernels: list[Kernel], folder: Path = FOLDER) -> list[str]:
    """Return what the host would refuse or quietly drop, one line a fault."""
    dataset = read_dataset(folder)
    owner = dataset["id"].partition("/")[0]
    found = [f"{DATASET}: {fault}" for fault in _dataset_faults(dataset, owner, folder)]
    if owner == NOBODY:
        found.append("no owner is known; run: make owner NAME=your-kaggle-name")
    known = {kernel.id for kernel in read_kernels(folder)}
    for kernel in kernels:
        of_kernel = [*_kernel_faults(kernel, owner, known)]
        try:
            as_sent(kernel.notebook)
        except InputError as error:
            of_kernel.append(str(error))
        found += [f"{kernel.folder.name}: {fault}" for fault in of_kernel]
    return found


def slugified(title: str) -> str:
    """Return the slug that the server makes of a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _dataset_faults(dataset, owner, folder):
    if dataset["id"] != f"{owner}/{DATASET}":
        yield f"id is {dataset['id']}, want {owner}/{DATASET}: notebooks look for that name"
    for key, low, high in (("title", 6, 50), ("subtitle", 20, 80)):
        if not low <= len(dataset[key]) <= high:
            yield f"{key} has {len(dataset[key])} characters, want {low} to {high}"
    if len(dataset["licenses"]) != 1:
        yield f"{len(dataset['licenses'])} licences, want 1"
    if not (folder.parent / "kit" / "__init__.py").is_file():
        yield f"{folder.parent} has no folder kit to send; run this from a whole checkout"


def _kernel_faults(kernel, owner, known):
    data = kernel.data
    if unknown := sorted(set(data) - KEYS - {"machine_shape"}):
        yield f"unknown keys, which Kaggle ignores: {quote_some(unknown)}"
    if kernel.id != f"{owner}/{slugified(data['title'])}":
        yield f"id is {kernel.id}, want {owner}/{slugified(data['title'])} as title and owner give"
    if (data["language"], data["kernel_type"]) != ("python", "notebook"):
        yield f"is a {data['language']} {data['kernel_type']}, want a python notebook"
    if wrong := [flag for flag in sorted(FLAGS) if not isinstance(data[flag], bool)]:
        yield f"{quote_some(wrong)}: want true or false"
    if data["enable_gpu"] and data.get("machine_shape") != T4:
        yield f"machine_shape is {data.get('machine_shape')}, want {T4}"
    if COMPETITION not in data["competition_sources"]:
        yield f"competition_sources lack {COMPETITION}"
    if f"{owner}/{DATASET}" not in data["dataset_sources"]:
        yield f"dataset_sources lack {owner}/{DATASET}"
    own = {one for one in data["kernel_sources"] if one.partition("/")[2].startswith("esg-")}
    if strangers := sorted(own - known):
        yield f"kernel_sources name no kernel here: {quote_some(strangers)}"


def _checked_name(name, origin):
    if not NAME.fullmatch(str(name)):
        raise InputError(
            f"`{name}` ({origin}) is no Kaggle user name; take the one in your profile's address"
        )
    return name


def _written_owner(folder):
    """The name in the dataset's id: the placeholder, or an owner that an older `make owner` wrote."""
    try:
        text = (folder / DATASET / "dataset-metadata.json").read_text(encoding="utf-8")
        return json.loads(text)["id"].partition("/")[0]
    except (OSError, ValueError, KeyError, TypeError):
        return NOBODY  # `_read` names the fault


def _login_owner():
    """The user name in the `kaggle` command's file of credentials, or None."""
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    places = (
        [Path(given)] if given else [Path.home() / name for name in (".kaggle", ".config/kaggle")]
    )
    for path in (place / "kaggle.json" for place in places):
        try:
            return json.loads(path.read_text(encoding="utf-8"))["username"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _read(path, folder):
    """What a file of metadata holds, with the owner's name in place of the one that stands there."""
    name, written = find_owner(folder)[0], _written_owner(folder)

    def owned(found):
        own = found[1] == NOBODY or (found[1] == written and found[2].startswith("esg-"))
        return f'"{name}/{found[2]}' if own else found[0]

    try:
        return json.loads(OWNED.sub(owned, path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; take it from the repository") from None
