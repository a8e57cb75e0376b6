"""The score to expect: of new rows, by the learning curve, and at most, by noise.

Out of fold every fit lacks a fold, and a forecast that rests on all rows is better than these: with more
training rows a target is more often similar to one. `expected_score` and `expected_spread` follow the
learning curve from fewer rows to all. `ceiling` is the score of an experiment repeated: half of each
perturbation's cells predicted by the other half.
"""

import time
from importlib.util import find_spec

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io.files import InputError
from ..metric import GATE, combine, weights_from_t, wmae
from .predictions import TERMS, OutOfFold

HALVED = {"cell": None, "guide": "sgrna_id"}


def expected_score(
    run: OutOfFold, curve: tuple[OutOfFold, OutOfFold] | None = None, *, gate: float = GATE
) -> tuple[float, float, float]:
    """Return the score for 60 rows to expect of a fit on all rows, with its parts: (score, W, Wcos).

    curve: one model's predictions of the same rows, from fewer and from more training rows. W and Wcos
    of `run` are each continued along the line through the curve's two values, linear in the number of
    training rows. Without a curve it is the score of `run`.
    """
    parts, reach = _parts(run, curve, gate)
    score, w, wcos = _continued(parts, reach)
    per_60 = 60 / len(run.truth)
    return float(per_60 * score), float(per_60 * w), float(wcos)


def expected_spread(
    run: OutOfFold,
    *,
    rows: int = 60,
    curve: tuple[OutOfFold, OutOfFold] | None = None,
    gate: float = GATE,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return draws of what other `rows` perturbations may score: `score`, `public`, `private`, for 60.

    Perturbations are drawn anew twice: those that the estimate rests on, and from them those to be
    scored, of which one half is public and the other private (a single row is both). The fits of k
    folds share most of their rows, so that n left-out rows carry less information than n rows of their
    own would: the variance is 1 + k / (k - 1) times as large (Nadeau and Bengio 2003, Inference for the
    generalization error), and so many times fewer are drawn first. With a `curve`, as for
    `expected_score`, every draw is continued to all rows.
    """
    if rows < 1:
        raise InputError(f"{rows} rows have no score; want at least one")
    parts, reach = _parts(run, curve, gate)
    number, random = len(run.truth), np.random.default_rng(seed)
    count = max(1, round(number / run.variance))
    picks = np.array(
        [
            random.integers(number, size=count)[random.integers(count, size=rows)]
            for _ in range(draws)
        ]
    )
    half = max(1, rows // 2)
    table = {"score": picks, "public": picks[:, :half], "private": picks[:, rows // 2 :]}
    return pd.DataFrame(
        {
            name: 60 / some.shape[1] * _continued([part[:, some] for part in parts], reach)[0]
            for name, some in table.items()
        }
    )


def _parts(run, curve, gate):
    """Terms of each row's score, (terms, rows), of all runs, and how far the curve is to be continued."""
    runs = [run, *(one.subset(run.truth.index) for one in curve or ())]
    parts = [one.score(gate).table[TERMS].to_numpy().T for one in runs]
    if curve is None:
        return parts, 0.0
    fewer, more = (one.training_rows for one in curve)
    if fewer >= more:
        raise InputError(f"a curve from {fewer:g} to {more:g} training rows; want fewer, then more")
    everything = len(set().union(*run.training.values()))
    return parts, (everything - more) / (more - fewer)


def _continued(parts, reach):
    """Score, W and Wcos; parts: (terms, ..., rows) of a run, and of a curve from fewer and more rows."""
    (_, w, wcos), *curve = (combine(*part) for part in parts)
    if curve:
        (_, fewer_w, fewer_wcos), (_, more_w, more_wcos) = curve
        w = w + reach * (more_w - fewer_w)
        wcos = np.minimum(wcos + reach * (more_wcos - fewer_wcos), 1.0)
    return w * np.maximum(wcos, 0.0), w, wcos


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
