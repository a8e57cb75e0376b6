"""What each screen of a merge offers the competition: counts by dataset, and remarks."""

import numpy as np

from ..io.files import quote_some
from .gene_names import coverage as gene_coverage
from .gene_names import remarks as gene_remarks
from .responses import guides_by_group
from .sources import splits


def coverage_rows(source, part, competition, *, min_controls):
    """Counts of each dataset of a file, a dict each.

    `cells` used, `controls` among them, `batches` (0: none known), `few_controls` (batches with fewer
    than `min_controls` control cells); `perturbations` with enough cells, `too_few_cells`, the others;
    medians of cells and guides of the former; `targets_<split>`, how many of the competition's are
    among them; `genes_*` as `genes.coverage` counts them.
    """
    screen, groups = part.screen, part.groups
    guides, table = guides_by_group(screen, groups), groups.table
    split_of = splits(competition)
    rows = []
    for dataset, contrast in part.contrasts.items():
        own = (table["dataset"] == dataset).to_numpy()
        used = groups.in_batch[own].sum(axis=0) > 0
        controls = groups.in_batch[own & groups.control].sum(axis=0)
        batched = "batch" in screen.obs
        found = split_of[split_of.index.isin(table["sgrna_symbol"].iloc[contrast.rows])]
        tested = int((own & ~groups.control).sum())
        row = {
            "dataset": dataset,
            "file": source.path.name,
            "layout": source.layout.name,
            "cells": int(table.loc[own, "cells"].sum()),
            "controls": int(controls.sum()),
            "batches": int(used.sum()) if batched else 0,
            "few_controls": int((used & (controls < min_controls)).sum()) if batched else 0,
            "perturbations": len(contrast.rows),
            "too_few_cells": tested - len(contrast.rows),
            "cells_a_target": _median(contrast.cells),
            "guides_a_target": _median(guides[contrast.rows]),
        }
        row |= {f"targets_{split}": int((found == split).sum()) for split in split_of.unique()}
        row |= gene_coverage(source.genes, competition.genes).add_prefix("genes_").to_dict()
        rows.append(row)
    return rows


def remarks(source, part):
    """What a user should know of one file, a line each."""
    lines = gene_remarks(source.genes)
    lines += [f"{number} cells left out: {why}" for why, number in part.screen.left_out.items()]
    if source.unknown:
        some = quote_some(source.unknown)
        lines.append(f"{len(source.unknown)} targets are no known gene: {some}")
    if not source.counted:
        lines.append("no raw counts of cells: responses only")
    return [f"{source.name}: {line}" for line in lines]


def _median(values):
    return float(np.median(values)) if len(values) else np.nan
