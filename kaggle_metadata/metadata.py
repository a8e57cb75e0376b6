"""The metadata of the module's dataset and of the kernels: read, checked, and owned in one place.

The owner is the one in the dataset's id. A name in front of `esg-...` anywhere else has to agree with it;
`set_owner` sees to that. Keys and limits are those that the `kaggle` command and its server enforce.
"""

import json
import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from kit.io.files import InputError, quote_some, replacing

FOLDER = Path(__file__).resolve().parent
DATASET = "esg-kit"
NOBODY = "OWNER"  # stands in the files as they are committed
OWN = re.compile(r'"([\w-]+)/(esg-[\w-]+)"')
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,}")
MAX_SOURCE = 1_000_000  # bytes; the server: "must be less than 1 megabytes in size"
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
        kernel = Kernel(path.parent, _read(path))
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
    return _read(folder / DATASET / "dataset-metadata.json")


def chosen(kernels: list[Kernel], words: list[str]) -> list[Kernel]:
    """Return those of `kernels` whose folder begins with one of `words`, without words all, in order."""
    for word in words:
        if not any(kernel.folder.name.startswith(word) for kernel in kernels):
            names = quote_some((kernel.folder.name for kernel in kernels), 12)
            raise InputError(f"no notebook begins with `{word}`; choose from {names}")
    return [one for one in kernels if not words or one.folder.name.startswith(tuple(words))]


def set_owner(name: str, folder: Path = FOLDER) -> list[Path]:
    """Make `name` the owner wherever the last owner or none stood; return the changed files."""
    if not NAME.fullmatch(name):
        raise InputError(f"`{name}` is no Kaggle user name; take the one in your profile's address")
    last = read_dataset(folder)["id"].partition("/")[0]
    changed = []
    for path in sorted(folder.glob("*/*-metadata.json")):
        text = path.read_text(encoding="utf-8")
        new = OWN.sub(
            lambda own: f'"{name}/{own[2]}"' if own[1] in (last, NOBODY) else own[0], text
        )
        if new != text:
            with replacing(path) as place:
                place.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def faults(kernels: list[Kernel], folder: Path = FOLDER) -> list[str]:
    """Return what the host would refuse or quietly drop, one line a fault."""
    dataset = read_dataset(folder)
    owner = dataset["id"].partition("/")[0]
    found = [f"{DATASET}: {fault}" for fault in _dataset_faults(dataset, owner, folder)]
    if owner == NOBODY:
        found.append(f"the owner is still {NOBODY}; run: make owner NAME=your-kaggle-name")
    known = {kernel.id for kernel in read_kernels(folder)}
    for kernel in kernels:
        of_kernel = [*_kernel_faults(kernel, owner, known), *_notebook_faults(kernel.notebook)]
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


def _notebook_faults(path):
    if not path.is_file():
        yield f"{path.name} does not exist"
        return
    text = path.read_text(encoding="utf-8")
    if len(text.encode()) >= MAX_SOURCE:
        yield f"{path.name} has {len(text.encode()):,} bytes, want less than {MAX_SOURCE:,}"
    try:
        notebook = json.loads(text)
        cells, metadata = notebook["cells"], set(notebook["metadata"])
    except (ValueError, KeyError, TypeError):
        yield f"{path.name} is no notebook"
        return
    # Metadata of a run on Kaggle would pin its old image and its old sources.
    if more := sorted(metadata - {"kernelspec", "language_info"}):
        yield f"{path.name} has metadata of a run: {quote_some(more)}; clear it"
    if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
        yield f"{path.name} holds outputs; clear them"


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; take it from the repository") from None
