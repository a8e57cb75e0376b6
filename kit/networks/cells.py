"""Cells as a network sees them: a bounded sample, as deviations from the control cells of their batch.

A cell's value is log2(1 + CP10k) less the mean of its batch's control cells, so that batches and screens
have a common zero, the unperturbed cell. Held in half precision, a limited number of cells a
perturbation. What a screen did not measure is 0 and masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..competition import CONTROL, Competition
from ..expression.pseudobulk import log_normalise
from ..io.files import InputError, quote_some
from ..screens.atlas import Atlas, own_rows
from ..screens.cells import MergedCells
from ..screens.gene_names import GeneNames
from .training import FoldCache

EACH = 64  # cells kept of a perturbation
CONTROLS = 1024  # control cells kept of a screen
TOTAL = 20_000  # cells kept of a screen: 200 MB with 5,000 genes
AT_ONCE = 512  # cells that are dense in single precision
BATCH = ("channel", "batch")  # obs columns, the first that is there
SHRINKAGE = 20  # control cells of a batch at which its own mean counts half


@dataclass(frozen=True, eq=False)
class Cells:
    """Some cells of one screen, genes sorted by name.

    name: as in ScreenData; values: (cells, genes), float16, log2; perturbations: the names that occur;
    codes: (cells,), places among them; measured: (genes,), bool; spread: (genes,), float32, standard
    deviation over control cells, 1 where not measured.
    """

    name: str
    values: torch.Tensor
    perturbations: list
    codes: np.ndarray
    measured: torch.Tensor
    spread: torch.Tensor

    def __len__(self):
        return len(self.codes)

    def of(self, names: Sequence[str]) -> np.ndarray:
        """Return the places of the cells of these perturbations and of the control cells."""
        wanted = {CONTROL, *names}
        mask = np.array([name in wanted for name in self.perturbations])
        return np.flatnonzero(mask[self.codes])

    def names(self, places: Sequence[int]) -> list[str]:
        """Return the perturbation of each of these cells."""
        return [self.perturbations[code] for code in self.codes[places]]

    def standard(self, places: Sequence[int], device: torch.device | str) -> torch.Tensor:
        """Return these cells in standard deviations of the control: (cells, genes), float32."""
        values = self.values[places].to(device).float()
        return values / self.spread.to(device)


def gather_cells(
    train: Competition,
    atlas: Atlas | None = None,
    *,
    own: bool = True,
    names: GeneNames | None = None,
    cache: FoldCache,
    seed: int = 0,
) -> tuple[dict[str, Cells], list[str]]:
    """Return cells by screen, and remarks on those that are missing.

    own: those of the training rows too; atlas: beside it lie the screens', in `cells.h5ad`, None for
    none. names: for the screens' perturbations; cache: keeps cells that several fits read.
    """
    if find_spec("anndata") is None:
        return {}, ["no anndata to read cells with: rows replace them"]
    found, remarks = [], []
    if own and train.cells is not None:
        key = ("cells", seed, *train.effects.index)
        found.append(cache.get(key, lambda: competition_cells(train, seed=seed)))
    elif own:
        remarks.append("the competition has no cells: rows replace them")
    path = None if atlas is None else atlas.source.parent / "cells.h5ad"
    if path is not None and path.exists():
        key = ("cells", seed, str(path))
        found += cache.get(key, lambda: screen_cells(path, train, names=names, seed=seed))
    elif path is not None:
        remarks.append("no cells.h5ad beside the atlas: rows replace the screens' cells")
    return {cells.name: cells for cells in found}, remarks


def competition_cells(train: Competition, *, seed: int = 0) -> Cells:
    """Return cells of the training rows of a Competition, and control cells.

    Raises InputError where the cells lack genes of the competition.
    """
    cells, genes = train.read_cells(), train.genes.sort_values()
    columns = cells.var_names.get_indexer(genes)
    if (columns < 0).any():
        raise InputError(f"cells lack the genes {quote_some(genes[columns < 0])}")
    symbols = cells.obs["sgrna_symbol"].astype(str).to_numpy()
    places = _sampled(symbols, np.random.default_rng(seed))
    batches = np.zeros(len(places))  # a single one if obs names none
    if batch := next((name for name in BATCH if name in cells.obs), None):
        batches = cells.obs[batch].astype(str).to_numpy()[places]
    values = np.empty((len(places), len(genes)), dtype=np.float16)
    for start in range(0, len(places), AT_ONCE):
        rows = places[start : start + AT_ONCE]
        values[start : start + AT_ONCE] = log_normalise(cells.X[rows])[:, columns].toarray()
    return _deviating("competition", values, symbols[places], batches)


def screen_cells(
    path: Path | str,
    competition: Competition,
    *,
    names: GeneNames | None = None,
    seed: int = 0,
) -> list[Cells]:
    """Return cells of each screen of a `cells.h5ad`, none of the competition's own.

    names: for the perturbations. A screen without control cells is left out.
    """
    merged = MergedCells(path, competition, imputation="none")
    symbols = merged.obs["sgrna_symbol"].astype(str)
    symbols = (symbols if names is None else names.current(symbols)).to_numpy()
    symbols = np.where(merged.obs["sgrna_symbol"] == CONTROL, CONTROL, symbols)
    own = own_rows(path, merged.obs)
    order, found = competition.genes.argsort(), []
    for dataset in merged.obs["dataset"][~own].astype(str).unique():
        inside = np.flatnonzero((merged.obs["dataset"] == dataset).to_numpy() & ~own)
        if CONTROL not in symbols[inside]:
            continue
        places = inside[_sampled(symbols[inside], np.random.default_rng(seed))]
        values = np.empty((len(places), len(order)), dtype=np.float16)
        blocks = merged.batches(AT_ONCE, rows=places, shuffle=False)
        for start, block in zip(range(0, len(places), AT_ONCE), blocks, strict=True):
            values[start : start + AT_ONCE] = block.values[:, order]
        batches = merged.obs["batch"].astype(str).to_numpy()[places]
        found.append(_deviating(dataset, values, symbols[places], batches))
    return found


def _sampled(symbols, random):
    """Sorted places of a sample with every symbol, of common ones a limited number."""
    _, codes, counts = np.unique(symbols, return_inverse=True, return_counts=True)
    each = min(EACH, max(1, TOTAL // len(counts)))
    order = random.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    rank = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    limit = np.where(symbols[order] == CONTROL, CONTROLS, each)
    return np.sort(order[rank < limit])


def _deviating(name, values, symbols, batches):
    """Cells of one screen from log values (NaN where not measured), less their batch's control mean."""
    control = symbols == CONTROL
    overall = values[control].mean(axis=0, dtype=np.float32)
    measured = ~np.isnan(overall)
    for batch in np.unique(batches):
        rows = batches == batch
        own = values[rows & control]
        mean = own.sum(axis=0, dtype=np.float32) + SHRINKAGE * overall
        values[rows] -= (mean / (len(own) + SHRINKAGE)).astype(np.float16)
    values[:, ~measured] = 0.0
    variance = values[control].astype(np.float32).var(axis=0)
    # Or single counts of a rare gene would be many standard deviations.
    variance += 0.01 * variance[measured].mean()
    spread = np.where(measured, np.sqrt(variance), 1.0)
    perturbations, codes = np.unique(symbols, return_inverse=True)
    return Cells(
        name=name,
        values=torch.from_numpy(values),
        perturbations=list(perturbations),
        codes=codes,
        measured=torch.from_numpy(measured),
        spread=torch.as_tensor(spread, dtype=torch.float32),
    )
