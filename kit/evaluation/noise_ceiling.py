"""The noise ceiling: half of each perturbation's cells predicted by the other half."""

import time
from importlib.util import find_spec

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io.files import InputError
from ..metric import weights_from_t, wmae
from .predictions import OutOfFold

HALVED = {"cell": None, "guide": "sgrna_id"}


def ceiling(competition: Competition, *, by: str = "cell", seed: int = 0) -> OutOfFold | None:
    """Predict one random half of each perturbation's cells by the other: only noise is then wrong.

    by: `cell`, or `guide`, half of the guides against the other half, so that guides' own effects count
    as noise too; a perturbation of one guide is then left out. Returns None where the competition has no
    cells, or there is no anndata to read them. Control cells are split too: noise of a control that both
    halves share would pass for agreement. Weights are recomputed from the half that is the truth, by
    eBayes or treat, whichever fits the shipped ones, which were computed from both halves. The baseline
    is the mean of the *other* rows. Half the depth makes this pessimistic: with few cells it can lie
    below the floor. For the mean over several halvings give `summary` one of each seed.
    """
    if by not in HALVED:
        raise InputError(f"cells cannot be halved by `{by}`; want {' or '.join(HALVED)}")
    if competition.cells is None or find_spec("anndata") is None:
        return None
    from ..expression import likeliest_lfc, pseudobulk, t_of_samples

    start = time.perf_counter()
    cells = competition.read_cells()
    genes = competition.effects.columns
    parted = [cells[half] for half in _halves(cells.obs, HALVED[by], seed)]
    prediction, truth = (pseudobulk.effects(half, genes) for half in parted)
    samples = pseudobulk.samples(parted[1], genes, min_cells=2)  # halves of samples are small
    lfc = likeliest_lfc(*samples, competition.weights)
    weights = weights_from_t(t_of_samples(*samples, lfc=lfc))
    names = weights.index.intersection(prediction.index, sort=False)
    if len(names) < 2:
        raise InputError(f"{len(names)} perturbations can be halved by {by}; want at least 2")
    truth, weights, prediction = (frame.loc[names] for frame in (truth, weights, prediction))
    mean = (truth.sum() - truth) / (len(names) - 1)  # of the others
    return OutOfFold(
        prediction=prediction,
        truth=truth,
        weights=weights,
        baseline_wmae=wmae(truth, mean, weights),
        seconds=time.perf_counter() - start,
        mean=mean,
        fold=pd.Series(range(len(names)), names),
        training={place: names.delete(place) for place in range(len(names))},
    )


def _halves(obs, column, seed):
    """Masks of the cells of either half: half of each symbol's cells, or of its values of `column`."""
    symbols = obs["sgrna_symbol"].astype(str).reset_index(drop=True)
    if column is None:
        units = pd.Series(symbols.index)
    elif column not in obs:
        raise InputError(f"cells have no obs column `{column}`; halve them by cell")
    else:
        values = obs[column].reset_index(drop=True)
        units = (symbols + "|" + values.astype(str)).where(values.notna())
    symbol_of = symbols.groupby(units).first()  # of each cell, or each guide
    place = pd.Series(np.random.default_rng(seed).random(len(symbol_of)), symbol_of.index)
    rank = units.map(place.groupby(symbol_of).rank(pct=True))
    halves = [(rank <= 0.5).to_numpy(), (rank > 0.5).to_numpy()]
    for half in halves:
        if not (symbols[half] == CONTROL).any():
            raise InputError(
                f"{CONTROL} cells cannot be halved: they are of one {column or 'cell'}; want two"
            )
    return halves
