"""Merge screens into one atlas for a competition: `responses.h5ad`, `cells.h5ad`, `coverage.csv`.

Each file gives two parts, its responses and its cells, kept in the folder `parts` under the hash of
the file's content, of the settings and of this code's version. A run that is killed leaves whole parts
only, and the next one takes them up; parts that nothing asks for any more are removed at the end.
Delete `parts` to save the room, keep it to add a screen cheaply. Of several runs in a folder one works
and the others wait.

What is read and written how often. Every run reads each file's bytes once for its SHA-256 and its
labels twice, so that those of one file at a time are in memory. A part that is not there yet reads the
counts: the responses once, or once for each range of genes whose sums fit the budget; the cells once
more. Of a file stored by columns (CSC) a copy by rows is made first, by two readings, and read instead;
it lies in `parts` until the file's parts are there. Merged cells are written twice, into their part and
into `cells.h5ad`, which is joined anew only when a part is another.

Rules. Counts are normalised over all genes of the source. A perturbation needs `min_cells` cells, and
is compared with the control cells of its own batches, as `responses` defines. Cells with several
targets are left out. Genes and targets get the competition's names, by `gene_names`.

Labels, of cells or as means over them: RNAcount, UMI over all genes of the source; featurecount, its
genes with any; mitocount, mitochondrial UMI. `competition` marks what comes from the competition's own
cells: readers drop of these what is not in the training rows at hand.
"""

import json
import re
import shutil
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, alone_in, replacing
from ..io.hdf5 import opened
from ..io.progress import progress
from .gene_names import GeneNames, load_gene_names
from .layouts import Layout
from .sources import VERSION, coverage_rows, open_sources, remarks, remarks_of_scale
from .streaming import by_rows
from .writer import join_parts, write_cells, write_responses

MIN_CELLS = 10  # of a perturbation
MIN_CONTROLS = 10  # control cells of a batch, to be compared with its own
BUDGET = 10**9  # bytes
RESPONSES, CELLS, COVERAGE, PARTS = "responses.h5ad", "cells.h5ad", "coverage.csv", "parts"
# A finished part, or the hidden folder in which one was being made.
PART_NAME = re.compile(r".+\.(responses|cells|rows)\.[0-9a-f]{16}\.h5ad(\..+)?")
EFFECTS = {
    "cells": "difference of means of log2(CP10k + 1) over cells",
    "bulk": "difference of log2(CP10k + 1) of mean UMI; no standard error",
}


@dataclass(frozen=True)
class Merged:
    """What a merge wrote: paths (cells None where there are none), coverage by dataset, remarks."""

    responses: Path
    cells: Path | None
    coverage: pd.DataFrame
    remarks: list[str]


def merge(
    files: list[Path | str],
    competition: Competition,
    out: Path | str,
    *,
    layouts: Layout | Path | str | dict | None = None,
    names: GeneNames | Path | str | None = None,
    min_cells: int = MIN_CELLS,
    min_controls: int = MIN_CONTROLS,
    budget: int = BUDGET,
    executor: Executor | None = None,
    cells: bool = True,
) -> Merged:
    """Merge screens into the folder `out`, the competition's own cells first, and return Merged.

    `files`: h5ad files. `layouts`: a layout for all of them, as `layouts.load_layout` takes it, or a
    dict by file; by default recognised. `names`: GeneNames, or the path of HGNC's table; by default
    looked for. `min_cells`: of a perturbation. `min_controls`: control cells of a batch, to be compared
    with its own. `budget`: bytes, beside some 100 a cell of the largest file for labels. `executor`: as
    `streaming.run` takes it. `cells`: whether to write merged cells; files without raw counts give none.

    Raises InputError for a file that cannot be read or lacks a column, a layout that does not fit,
    counts that are none, a dataset without control cells, and a folder that cannot be written.
    """
    if find_spec("anndata") is None:
        raise InputError("a merge needs the package anndata; run: pip install anndata")
    if min_cells < 2:
        raise InputError(f"min_cells is {min_cells}, want 2 or more: one cell has no variance")
    out, settings = Path(out), {"min_cells": min_cells, "min_controls": min_controls}
    with progress("reading labels and hashes of the files"):
        sources, lines = open_sources(files, competition, layouts)
    if not isinstance(names, GeneNames):
        names = load_gene_names(names, folder=competition.source)
    for source in sources:
        if "ensembl" in source.var:
            names = names.with_pairs(source.var["name"], source.var["ensembl"])
    for source in sources:
        source.give_names(names, competition)
    counted = [source for source in sources if source.counted]
    # The names of the parts, by source.
    responses = {source: source.key("responses", competition, settings) for source in sources}
    of_cells = {source: source.key("cells", competition, {}) for source in counted}

    with alone_in(out):
        rows = []
        for source in sources:
            part = source.part(competition, **settings)
            rows += coverage_rows(part, competition, min_controls=min_controls)
            lines += remarks(part)
            writers = {write_responses: responses[source]}
            if cells and source.counted:
                writers[write_cells] = of_cells[source]
            copy = out / PARTS / source.key("rows", competition, {})
            for write, name in writers.items():
                if (out / PARTS / name).exists():
                    continue
                with progress(name.rsplit(".", 2)[0], len(part.screen.obs), " cells") as done:
                    if part.matrix.format == "csc":
                        part.matrix = by_rows(part.matrix, copy, budget)
                        lines += remarks_of_scale(part)
                    write(out / PARTS / name, part, budget, executor, done)
            copy.unlink(missing_ok=True)

        table = pd.DataFrame(rows).set_index("dataset")
        if not table["perturbations"].any():
            raise InputError(
                f"no perturbation has {min_cells} cells in any screen; lower min_cells"
            )
        genes, places = competition.genes, [out / PARTS / name for name in responses.values()]
        uns = {"provenance": _provenance(responses, settings, competition), "coverage": table}
        join_parts(out / RESPONSES, places, genes, uns)
        has_cells = cells and bool(counted)
        if has_cells and _parts_of(out / CELLS) != [*of_cells.values()]:
            places = [out / PARTS / name for name in of_cells.values()]
            uns = {"provenance": _provenance(of_cells, settings, competition)}
            join_parts(out / CELLS, places, genes, uns, _measured(counted, genes))
        with replacing(out / COVERAGE) as place:
            table.to_csv(place)
        _tidy(out, {*responses.values(), *of_cells.values()})
        return Merged(out / RESPONSES, out / CELLS if has_cells else None, table, lines)


def _measured(sources, genes):
    """Whether each dataset measured each gene: a frame gene x dataset of bool."""
    columns = {
        dataset: genes.isin(source.genes["gene"])
        for source in sources
        for dataset in source.datasets
    }
    return pd.DataFrame(columns, index=genes)


def _provenance(parts, settings, competition):
    """Where a merged file comes from: by source its file, hash, layout and part; date, settings, and
    for which competition it was made.

    `parts`: names by source.
    """
    sources = list(parts)
    by_source = {
        "file": [source.path.name for source in sources],
        "hash": [source.sha256 for source in sources],
        "layout": [json.dumps(asdict(source.layout)) for source in sources],
        "effect": [EFFECTS[source.layout.kind] for source in sources],
        "part": list(parts.values()),
    }
    by_source = {name: np.array(values, dtype=object) for name, values in by_source.items()}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    whole = {"date": date, "settings": json.dumps(settings | {"version": VERSION})}
    whole |= {"competition": competition.training_hash, "simulated": competition.simulated}
    return by_source | whole


def _parts_of(path):
    """Names of the parts that a file was joined from; None where there is no such file."""
    if not path.exists():
        return None
    try:
        with opened(path) as file:
            return list(file["uns/provenance/part"].asstr()[:])
    except InputError:
        return None


def _tidy(out, wanted):
    """Remove stale parts, and what runs that were killed left behind; nothing else."""
    for place in (out / PARTS).iterdir():
        if PART_NAME.fullmatch(place.name) and place.name not in wanted:
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    for name in (RESPONSES, CELLS, COVERAGE):
        for place in out.glob(f".{name}.*"):
            shutil.rmtree(place, ignore_errors=True)
