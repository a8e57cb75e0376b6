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
import pandas as pd
import torch

from ..competition import CONTROL, Competition
from ..expression.pseudobulk import log_normalise
from ..io.files import InputError, quote_some
from ..knowledge import Knowledge
from ..screens.atlas import own_rows
from ..screens.cells import MergedCells
from ..screens.gene_names import GeneNames
from .screen_data import to_tensor
from .stack import device
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

    name: as in ScreenData; values: (cells, genes), float16 in main memory, log2; perturbation: of each
    cell; measured: (genes,), bool; spread: (genes,), float32, standard deviation over control cells, 1
    where not measured.
    """

    name: str
    values: np.ndarray
    perturbation: pd.Categorical
    measured: torch.Tensor
    spread: torch.Tensor

    def __len__(self):
        return len(self.perturbation)

    def of(self, names: Sequence[str]) -> np.ndarray:
        """Return the places of the cells of these perturbations and of the control cells."""
        return np.flatnonzero(self.perturbation.isin([CONTROL, *names]))

    def names(self, places: Sequence[int]) -> list[str]:
        """Return the perturbation of each of these cells."""
        return list(self.perturbation[places])

    def standard(
        self, places: Sequence[int], genes: np.ndarray | slice = slice(None)
    ) -> torch.Tensor:
        """Return these cells in standard deviations of the control: (cells, genes), float32."""
        return to_tensor(self.values[places][:, genes]) / self.spread[genes]


def gather_cells(
    train: Competition, knowledge: Knowledge, policy: str, *, cache: FoldCache, seed: int = 0
) -> tuple[dict[str, Cells], list[str]]:
    """Return the cells that a policy of `Trained` learns from, by screen, and remarks on missing ones.

    Those of the training rows but for `screens`; those of other screens, in `cells.h5ad` beside the
    atlas, but for `competition`. cache: keeps cells that several fits read.
    """
    if find_spec("anndata") is None:
        return {}, ["no anndata to read cells with: rows replace them"]
    found, remarks = [], []
    if policy != "screens" and train.cells is None:
        remarks.append("the competition has no cells: rows replace them")
    elif policy != "screens":
        key = ("cells", seed, *train.effects.index)
        found.append(cache.get(key, lambda: competition_cells(train, seed=seed)))
    if policy != "competition" and knowledge.atlas is not None:
        path, names = knowledge.atlas.source.parent / "cells.h5ad", knowledge.names
        if path.exists():
            key = ("cells", seed, str(path))
            found += cache.get(key, lambda: screen_cells(path, train, names=names, seed=seed))
        else:
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
    obs = cells.obs.assign(perturbation=cells.obs["sgrna_symbol"].astype(str), batch="")
    places = _sampled(obs["perturbation"], seed)
    if column := next((name for name in BATCH if name in cells.obs), None):
        obs["batch"] = cells.obs[column].astype(str)
    parts = np.split(places, range(AT_ONCE, len(places), AT_ONCE))
    blocks = (log_normalise(cells.X[part])[:, columns].toarray() for part in parts)
    return _deviations("competition", obs.iloc[places], blocks)


def screen_cells(
    path: Path | str, competition: Competition, *, names: GeneNames | None = None, seed: int = 0
) -> list[Cells]:
    """Return cells of each screen of a `cells.h5ad`, none of the competition's own.

    names: for the perturbations. A screen without control cells is left out.
    """
    merged = MergedCells(path, competition, imputation="none")
    symbols = merged.obs["sgrna_symbol"].astype(str)
    current = symbols if names is None else names.current(symbols).to_numpy()
    obs = merged.obs.assign(perturbation=np.where(symbols == CONTROL, CONTROL, current))
    own, order, found = own_rows(path, obs), competition.genes.argsort(), []
    for dataset in obs["dataset"][~own].astype(str).unique():
        inside = np.flatnonzero((obs["dataset"] == dataset).to_numpy() & ~own)
        screen = obs.iloc[inside]
        if CONTROL not in set(screen["perturbation"]):
            continue
        places = _sampled(screen["perturbation"], seed)
        batches = merged.batches(AT_ONCE, rows=inside[places], shuffle=False)
        blocks = (batch.values[:, order] for batch in batches)
        found.append(_deviations(dataset, screen.iloc[places], blocks))
    return found


def _sampled(perturbations, seed):
    """Sorted places of a sample with every perturbation, of common ones a limited number."""
    symbols = perturbations.to_numpy()
    order = np.random.default_rng(seed).permutation(len(symbols))
    rank = pd.Series(order).groupby(symbols[order]).cumcount()
    each = min(EACH, max(1, TOTAL // len(np.unique(symbols))))
    return np.sort(order[rank < np.where(symbols[order] == CONTROL, CONTROLS, each)])


def _deviations(name, obs, blocks):
    """Cells of one screen from blocks of log values (NaN: not measured), less their batch's control."""
    values = np.concatenate([block.astype(np.float16) for block in blocks])
    control = (obs["perturbation"] == CONTROL).to_numpy()
    overall = values[control].mean(axis=0, dtype=np.float32)
    measured = ~np.isnan(overall)
    for rows in obs.groupby("batch", observed=True).indices.values():
        own = values[rows[control[rows]]]
        mean = own.sum(axis=0, dtype=np.float32) + SHRINKAGE * overall
        values[rows] -= (mean / (len(own) + SHRINKAGE)).astype(np.float16)
    values[:, ~measured] = 0.0
    variance = values[control].astype(np.float32).var(axis=0)
    # Or single counts of a rare gene would be many standard deviations.
    variance += 0.01 * variance[measured].mean()
    return Cells(
        name=name,
        values=values,
        perturbation=pd.Categorical(obs["perturbation"]),
        measured=torch.as_tensor(measured, device=device()),
        spread=to_tensor(np.where(measured, np.sqrt(variance), 1.0)),
    )
