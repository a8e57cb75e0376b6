"""Cells as a network sees them: a bounded sample, as deviations from the control cells of their batch.

A cell's value is log2(1 + CP10k); the mean of its batch's control cells is taken off, so that batches and
screens have a common zero: what no knockdown does. Held in half precision, at most so many cells a
knockdown. What a screen did not measure is 0 and masked.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from ..competition import CONTROL
from ..expression.pseudobulk import log_normalise
from ..io.files import InputError, quote_some
from ..screens.atlas import own_rows
from ..screens.cells import MergedCells

EACH = 64  # cells kept of a knockdown
CONTROLS = 1024  # control cells kept of a screen
TOTAL = 20_000  # cells kept of a screen: 200 MB with 5,000 genes
AT_ONCE = 512  # cells that are dense in single precision
BATCH = ("channel", "batch")  # obs columns, the first that is there
SHRINKAGE = 20  # control cells of a batch at which half of its own mean is believed


@dataclass(frozen=True, eq=False)
class Cells:
    """Some cells of one screen, genes sorted by name.

    name: as in Rows; values: (cells, genes), float16, log2; perturbations: the names that occur, `codes`
    (cells,) places among them; measured: (genes,), bool; spread: (genes,), float32, standard deviation
    over control cells, 1 where not measured.
    """

    name: str
    values: torch.Tensor
    perturbations: list
    codes: np.ndarray
    measured: torch.Tensor
    spread: torch.Tensor

    def __len__(self):
        return len(self.codes)

    def of(self, names):
        """Places of the cells of these knockdowns and of the control cells."""
        wanted = {CONTROL, *names}
        mask = np.array([name in wanted for name in self.perturbations])
        return np.flatnonzero(mask[self.codes])

    def names(self, places):
        """Perturbation of each of these cells."""
        return [self.perturbations[code] for code in self.codes[places]]

    def standard(self, places, device):
        """Values of these cells in standard deviations of the control, (cells, genes), float32."""
        values = self.values[places].to(device).float()
        return values / self.spread.to(device)


def gather_cells(train, atlas=None, *, own=True, names=None, once, seed=0):
    """Cells by screen, and remarks on those that there are not: (dict, list of lines).

    own: those of the training rows too; atlas: beside it lie the screens', in `cells.h5ad`, None for
    none. names: a GeneNames for the screens' perturbations; once: keeps what several fits read alike.
    """
    if find_spec("anndata") is None:
        return {}, ["no anndata to read cells with: rows are seen in their place"]
    found, told = [], []
    if own and train.cells is not None:
        key = ("cells", seed, *train.effects.index)
        found.append(once.get(key, lambda: competition_cells(train, seed=seed)))
    elif own:
        told.append("the competition has no cells: rows are seen in their place")
    path = None if atlas is None else atlas.source.parent / "cells.h5ad"
    if path is not None and path.exists():
        key = ("cells", seed, str(path))
        found += once.get(key, lambda: screen_cells(path, train, names=names, seed=seed))
    elif path is not None:
        told.append("no cells.h5ad beside the atlas: rows are seen in place of the screens' cells")
    return {cells.name: cells for cells in found}, told


def competition_cells(train, *, seed=0):
    """Cells of the training rows of a Competition and its control cells."""
    cells, genes = train.read_cells(), train.genes.sort_values()
    columns = cells.var_names.get_indexer(genes)
    if (columns < 0).any():
        raise InputError(f"cells lack the genes {quote_some(genes[columns < 0])}")
    symbols = cells.obs["sgrna_symbol"].astype(str).to_numpy()
    places = _sampled(symbols, np.random.default_rng(seed))
    batches = np.zeros(len(places))  # one, where obs tells none
    if batch := next((name for name in BATCH if name in cells.obs), None):
        batches = cells.obs[batch].astype(str).to_numpy()[places]
    values = np.empty((len(places), len(genes)), dtype=np.float16)
    for start in range(0, len(places), AT_ONCE):
        rows = places[start : start + AT_ONCE]
        values[start : start + AT_ONCE] = log_normalise(cells.X[rows])[:, columns].toarray()
    return _deviating("competition", values, symbols[places], batches)


def screen_cells(path, competition, *, names=None, seed=0):
    """Cells of each screen of a `cells.h5ad`, a list; none of the competition's own.

    names: a GeneNames for the perturbations. A screen without control cells is left out.
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
    """Sorted places of a sample that holds each symbol, of common ones only so many."""
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
    # A gene that is hardly ever seen would be told by single counts.
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
