"""Parts of a merge: the responses and the cells of one file, each a file of its own."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..io.files import InputError
from .labels import as_categories
from .responses import (
    bulk_effects,
    effects_and_errors,
    group_means,
    group_table,
    mitochondrial_umi,
)
from .sources import Part
from .streaming import gene_tiles, group_sums, read_rows
from .writer import Counts, new_h5ad, new_matrix, write_labels


def write_responses(
    path: Path,
    part: Part,
    *,
    budget: int,
    executor: Executor | None,
    progress: Callable[[float], None],
) -> None:
    """Write the responses of one file: X effect and layers/se, row x gene, NaN for not measured.

    The counts are read once for each range of genes whose sums fit the budget: nearly always once.
    """
    screen, groups, bulk = part.screen, part.groups, part.screen.layout.kind == "bulk"
    rows = np.concatenate([contrast.rows for contrast in part.contrasts.values()])
    unmeasured = ~np.isin(np.arange(len(part.genes)), part.columns)
    tiles = gene_tiles(len(groups.table), len(part.genes), budget)
    scale = None if screen.layout.scale == "counts" else screen.layout.scale
    whole = replace(part.task(budget), total=screen.obs.get("total", ()), log_normalised=scale)
    with new_h5ad(path, part.genes) as file:
        shape = len(rows), len(part.genes)
        matrices = new_matrix(file, "X", shape), new_matrix(file, "layers/se", shape)
        for tile in tiles:
            columns = np.where(np.isin(part.columns, tile), part.columns - tile.start, -1)
            if bulk:
                sums = group_means(screen, whole.matrix, groups, columns, len(tile), budget)
            else:
                task = replace(whole, columns=columns, genes=len(tile))
                sums = group_sums(
                    task, executor, lambda done: progress(len(done.rows) / len(tiles))
                )
            if not (sums.total.any() and sums.detected.any()):  # NaN, unknown, is not 0
                raise InputError(
                    f"{whole.matrix} holds no count above 0; is it another matrix's place?"
                )
            start = 0
            for contrast in part.contrasts.values():
                stop = start + len(contrast.rows)
                pair = (bulk_effects if bulk else effects_and_errors)(contrast, sums)
                for matrix, values in zip(matrices, pair, strict=True):
                    values[:, unmeasured[tile.start : tile.stop]] = np.nan
                    matrix[start:stop, tile.start : tile.stop] = values
                start = stop
        obs = group_table(screen, groups, sums).iloc[rows].assign(competition=part.source.own)
        names = (f"{row.sgrna_symbol}|{row.dataset}" for row in obs.itertuples())
        text = obs.dtypes.map(lambda kind: kind.kind not in "biuf")
        columns = (
            (name, as_categories(obs[name]) if text[name] else obs[name].to_numpy()) for name in obs
        )
        write_labels(file, columns, names, len(obs))


def write_cells(
    path: Path,
    part: Part,
    *,
    budget: int,
    executor: Executor | None,
    progress: Callable[[float], None],
) -> None:
    """Write the cells of one file: X raw counts of the competition's genes in CSR, and their labels.

    They are written as they are read, one block after the other: `executor` has no part in it.
    """
    obs = part.screen.obs
    rows = np.flatnonzero(obs["kept"].to_numpy())
    by_cell = []
    with new_h5ad(path, part.genes) as file:
        counts = Counts(file, len(part.genes))
        for block in read_rows(part.task(budget), rows):
            counts.append(block.counts.indptr, block.counts.indices, block.counts.data)
            by_cell.append((block.total, block.detected, block.mitochondrial))
            progress(len(block.rows))
        counts.close()
        total, detected, mitochondrial = map(np.concatenate, zip(*by_cell, strict=True))
        obs = obs.iloc[rows]
        total = obs["total"].to_numpy() if "total" in obs else total
        columns = {
            "sgrna_symbol": as_categories(obs["target"].array, part.source.symbols.get),
            "dataset": obs["dataset"].array,
            "batch": obs["batch"].array,
            "RNAcount": total,
            "featurecount": detected,
            "mitocount": mitochondrial_umi(obs, total, mitochondrial),
            "competition": np.full(len(obs), part.source.own),
        }
        names = (f"{name}-{row}" for name, row in zip(obs["dataset"], rows, strict=True))
        write_labels(file, columns.items(), names, len(obs))
