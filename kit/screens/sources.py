"""The files of a merge: what each holds, and what its names mean in the competition."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ..competition import CONTROL
from ..io.files import InputError, quote_some, repeated
from .labels import read_screen
from .layouts import Layout
from .parts import Part
from .responses import group_cells, plan_contrasts

OWN = "competition"  # dataset and layout of the competition's own cells
VERSION = 1  # of the parts: raised whenever the same input gives another outcome


@dataclass(eq=False)
class Source:
    """One file of a merge; labels of its cells are read when they are needed.

    datasets: one, or several where the layout splits the file. targets: labels of its cells. own:
    whether the cells are the competition's. After `give_names`: genes, what `GeneNames.resolve` says of
    each column; symbols: final symbol by target label; unknown: targets that are no known gene.
    """

    path: Path
    name: str
    datasets: list[str]
    layout: Layout
    sha256: str
    own: bool
    var: pd.DataFrame
    targets: list[str]
    genes: pd.DataFrame = None
    symbols: dict[str, str] = None
    unknown: list[str] = None

    @property
    def counted(self):
        """Whether the file holds raw counts of cells."""
        return self.layout.kind == "cells" and self.layout.scale == "counts"

    def give_names(self, names, competition):
        """Name genes and targets as the competition does."""
        columns = self.var["name"], self.var.get("ensembl", None)
        self.genes = names.resolve(*columns, wanted=competition.genes)
        if not self.genes["gene"].notna().any():
            raise InputError(
                f"{self.path} measures none of the competition's genes: its names are "
                f"{quote_some(self.var['name'])}; declare their column as `symbols` or `ensembl`"
            )
        found = names.resolve(self.targets, wanted=splits(competition).index)
        current = names.current(self.targets).array
        final = found["gene"].where(found["gene"].notna(), current)
        self.symbols = dict(zip(self.targets, final, strict=True)) | {CONTROL: CONTROL}
        lost = found["rule"].isin(["lost", "ambiguous"]) & ~found["name"].isin(self.var["name"])
        self.unknown = found.loc[lost, "name"].tolist()

    def part(self, competition, *, min_cells, min_controls):
        """Read the labels of the cells and group them: what its parts are made from."""
        screen = read_screen(self.path, self.layout, dataset=self.name)
        groups = group_cells(screen, self.symbols)
        genes, named = pd.Index(competition.genes), self.genes["gene"]
        mitochondrial = named.where(named.notna(), self.genes["name"]).str.startswith("MT-")
        return Part(
            screen,
            groups,
            plan_contrasts(groups, min_cells=min_cells, min_controls=min_controls),
            genes,
            genes.get_indexer(named),
            mitochondrial.to_numpy(dtype=bool) if mitochondrial.any() else None,
            self.symbols,
            self.own,
        )

    def key(self, kind, competition, settings):
        """Name of a finished part: another one wherever the part would be another."""
        told = [VERSION, kind, settings, self.sha256, self.name, self.own, asdict(self.layout)]
        told += [self.genes["gene"].fillna("").tolist(), self.symbols, list(competition.genes)]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return f"{self.name}.{kind}.{digest[:16]}.h5ad"


def open_sources(files, competition, layouts=None):
    """Look into all files, the competition's cells first: a list of Sources, and one of remarks.

    `layouts`: a layout for all `files`, or a dict by file.
    """
    own = competition.cells
    files = [*map(Path, files)]
    declared = layouts if isinstance(layouts, dict) else dict.fromkeys(files, layouts)
    declared = {_real(file): layout for file, layout in declared.items()}
    if own is not None:
        files.insert(0, own)
        declared[_real(own)] = declared.get(_real(own)) or OWN
    paths = list({_real(path): path for path in files})
    if not paths:
        raise InputError(f"no file is given and {competition.source} has no cells; give h5ad files")
    if unknown := [str(path) for path in declared if path not in paths]:
        raise InputError(f"layouts name {quote_some(unknown)}, which is no file of the merge")
    names = [OWN if own and path == _real(own) else _stem(path) for path in paths]
    again = repeated(names)
    sources, remarks = {}, []
    for path, name in zip(paths, names, strict=True):
        if name in again and not (own and path == _real(own)):
            name = f"{path.parent.name}_{name}"
        screen = read_screen(path, declared.get(path), dataset=name)
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 in sources:
            remarks.append(f"{path} holds the same as {sources[sha256].path}: taken once")
            continue
        if name in [source.name for source in sources.values()]:
            raise InputError(
                f"{path} would be a second dataset `{name}`; give its folder another name"
            )
        # Any edition of the competition's cells is told by its layout: none may leak held-out rows.
        ours = (own and path == _real(own)) or screen.layout.name == OWN
        targets = [label for label in screen.obs["target"].cat.categories if label != CONTROL]
        sources[sha256] = Source(
            path, name, screen.datasets, screen.layout, sha256, ours, screen.var, targets
        )
    return list(sources.values()), remarks


def splits(competition):
    """Split of each perturbation of the competition; that of training rows is `train`."""
    others = competition.targets.set_index("perturbation")["split"]
    train = pd.Series("train", competition.effects.index, dtype=object)
    return pd.concat([train, others[~others.index.isin(train.index)]])


def _real(path):
    """The file itself behind links; a link in a circle stays what it is, and no file."""
    return Path(os.path.realpath(path))


def _stem(path):
    return path.name.removesuffix(".h5ad") or path.name
