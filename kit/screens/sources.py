"""The files of a merge: what each holds, what its names mean in the competition, and its coverage."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io.files import InputError, quote_some, repeated
from ..io.matrix import Matrix
from ._task import LOG_SCALES, Task
from .gene_names import GeneNames, join_numbered
from .gene_names import coverage as gene_coverage
from .gene_names import remarks as gene_remarks
from .labels import Screen, read_screen
from .layouts import Layout
from .responses import Contrast, Groups, group_cells, guides_by_group, plan_contrasts
from .streaming import check_scale

OWN = "competition"  # dataset and layout of the competition's own cells
VERSION = 3  # of the parts: raised whenever the same input gives another outcome


@dataclass(eq=False)
class Source:
    """One file of a merge; labels of its cells are not kept, `part` reads them again.

    datasets: one, or several where the layout splits the file. targets: labels of its cells. own:
    whether the cells are the competition's. After `give_names`: genes, the frame that
    `GeneNames.resolve` returns for its columns; symbols: final symbol by target label; unknown: targets
    that are no known gene.
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
    symbols: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def counted(self) -> bool:
        """Whether the file holds raw counts of cells."""
        return self.layout.kind == "cells" and self.layout.scale == "counts"

    def give_names(self, names: GeneNames, competition: Competition) -> None:
        """Name genes and targets as the competition does."""
        columns = self.var["name"], self.var.get("ensembl", None)
        found = names.resolve(*columns, wanted=competition.genes)
        self.genes = join_numbered(found, competition.genes, columns[1])
        if not self.genes["gene"].notna().any():
            raise InputError(
                f"{self.path} measures none of the competition's genes: its names are "
                f"{quote_some(self.var['name'])}; declare their column as `symbols` or `ensembl`"
            )
        found = names.resolve(self.targets, wanted=competition.splits.index)
        current = names.current(self.targets).array
        final = found["gene"].where(found["gene"].notna(), current)
        self.symbols = dict(zip(self.targets, final, strict=True)) | {CONTROL: CONTROL}
        lost = found["rule"].isin(["lost", "ambiguous"]) & ~found["name"].isin(self.var["name"])
        self.unknown = found.loc[lost, "name"].tolist()

    def part(self, competition: Competition, *, min_cells: int, min_controls: int) -> "Part":
        """Read the labels of the cells and group them: what the file's parts are made from."""
        screen = read_screen(self.path, self.layout, dataset=self.name)
        groups = group_cells(screen, self.symbols)
        contrasts = plan_contrasts(groups, min_cells=min_cells, min_controls=min_controls)
        genes, named = pd.Index(competition.genes), self.genes["gene"]
        mitochondrial = named.where(named.notna(), self.genes["name"]).str.startswith("MT-")
        mito = mitochondrial.to_numpy(dtype=bool) if mitochondrial.any() else ()
        columns = genes.get_indexer(named)
        return Part(self, screen, screen.matrix, groups, contrasts, genes, columns, mito)

    def key(self, kind: str, competition: Competition, settings: dict) -> str:
        """Return the name of a finished part: another one wherever the part would be another."""
        depends = [VERSION, kind, settings, self.sha256, self.name, self.own, asdict(self.layout)]
        depends += [self.genes["gene"].fillna("").tolist(), self.symbols, list(competition.genes)]
        digest = hashlib.sha256(json.dumps(depends).encode()).hexdigest()
        return f"{self.name}.{kind}.{digest[:16]}.h5ad"


@dataclass(eq=False)
class Part:
    """What the parts of one file are made from, in memory for one file at a time.

    matrix: the file's, or its copy by rows. genes: the competition's; columns: the place among them of
    each column of the matrix, -1 for none; mitochondrial: mask of columns, empty where no gene is known
    as such.
    """

    source: Source
    screen: Screen
    matrix: Matrix
    groups: Groups
    contrasts: dict[str, Contrast]
    genes: pd.Index
    columns: np.ndarray
    mitochondrial: np.ndarray

    def task(self, budget: int) -> Task:
        """Return a pass over all counts of the file."""
        by_column = self.columns, len(self.genes), self.mitochondrial
        total, scale = self.screen.obs.get("total", ()), self.screen.layout.scale
        return Task(self.matrix, self.groups.of_cell, *by_column, total, scale, budget)


def open_sources(
    files: list[Path | str],
    competition: Competition,
    layouts: Layout | Path | str | dict | None = None,
) -> tuple[list[Source], list[str]]:
    """Read labels and SHA-256 of all files, the competition's cells first: Sources, and remarks.

    `layouts`: a layout for all `files`, or a dict by file.
    """
    own = competition.cells and _real(competition.cells)
    files = [*map(Path, files)]
    declared = layouts if isinstance(layouts, dict) else dict.fromkeys(files, layouts)
    declared = {_real(file): layout for file, layout in declared.items()}
    if own:
        files.insert(0, competition.cells)
        declared[own] = declared.get(own) or OWN
    paths = list({_real(path): path for path in files})
    if not paths:
        raise InputError(f"no file is given and {competition.source} has no cells; give h5ad files")
    if unknown := [str(path) for path in declared if path not in paths]:
        raise InputError(f"layouts name {quote_some(unknown)}, which is no file of the merge")
    names = [OWN if path == own else path.name.removesuffix(".h5ad") or path.name for path in paths]
    again = repeated(names)
    sources, remarks = {}, []
    for path, name in zip(paths, names, strict=True):
        if name in again and path != own:
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
        # Any edition of the competition's cells is known by its layout: none may leak held-out rows.
        ours = path == own or screen.layout.name == OWN
        used = screen.obs.loc[screen.obs["kept"], "target"].cat.remove_unused_categories()
        targets = [label for label in used.cat.categories if label != CONTROL]
        sources[sha256] = Source(
            path, name, screen.datasets, screen.layout, sha256, ours, screen.var, targets
        )
    return list(sources.values()), remarks


def coverage_rows(part: Part, competition: Competition, *, min_controls: int) -> list[dict]:
    """Return what each dataset of a file offers the competition, a dict of counts each.

    `cells` used, `controls` among them, `batches` (0: none known), `few_controls` (batches with fewer
    than `min_controls` control cells); `perturbations` with enough cells, `too_few_cells`, the others;
    medians of cells and guides of the former; `targets_<split>`, how many of the competition's are
    among them; `genes_*` as `gene_names.coverage` counts them.
    """
    source, groups, table = part.source, part.groups, part.groups.table
    guides, split_of = guides_by_group(part.screen, groups), competition.splits
    rows = []
    for dataset, contrast in part.contrasts.items():
        own = (table["dataset"] == dataset).to_numpy()
        used = groups.in_batch[own].sum(axis=0) > 0
        controls = groups.in_batch[own & groups.control].sum(axis=0)
        batched = source.layout.batch is not None
        found = split_of[split_of.index.isin(table["sgrna_symbol"].iloc[contrast.rows])]
        row = {
            "dataset": dataset,
            "file": source.path.name,
            "layout": source.layout.name,
            "cells": int(table.loc[own, "cells"].sum()),
            "controls": int(controls.sum()),
            "batches": int(used.sum()) if batched else 0,
            "few_controls": int((used & (controls < min_controls)).sum()) if batched else 0,
            "perturbations": len(contrast.rows),
            "too_few_cells": int((own & ~groups.control).sum()) - len(contrast.rows),
            "cells_a_target": table["cells"].iloc[contrast.rows].median(),
            "guides_a_target": pd.Series(guides[contrast.rows]).median(skipna=False),
        }
        row |= {f"targets_{split}": int((found == split).sum()) for split in split_of.unique()}
        row |= gene_coverage(source.genes, competition.genes).add_prefix("genes_").to_dict()
        rows.append(row)
    return rows


def remarks(part: Part) -> list[str]:
    """Return what a user should know of one file, a line each."""
    source = part.source
    lines = [*part.screen.remarks, *gene_remarks(source.genes)]
    if part.matrix.header.turned:
        lines.append(f"{part.matrix.key} is stored gene x cell; it is read cell x gene")
    lines += [f"{number} cells left out: {why}" for why, number in part.screen.left_out.items()]
    if source.unknown:
        some = quote_some(source.unknown)
        lines.append(f"{len(source.unknown)} targets are no known gene: {some}")
    if not source.counted:
        lines.append("no raw counts of cells: responses only")
    return [f"{source.name}: {line}" for line in lines] + remarks_of_scale(part)


def remarks_of_scale(part: Part) -> list[str]:
    """Return what `streaming.check_scale` finds of one file; of one stored by columns nothing yet."""
    if part.screen.layout.scale not in LOG_SCALES or part.matrix.format == "csc":
        return []
    found = check_scale(part.matrix, part.screen.layout.scale)
    return [f"{part.source.name}: {line}" for line in found]


def _real(path):
    """The file itself behind links; a link in a circle stays what it is, and no file."""
    return Path(os.path.realpath(path))
