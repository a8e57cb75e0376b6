"""Truthful scores: predictions for rows that no fit has seen, with floor, ceiling and intervals.

The unit is the perturbation. A held-out row's baseline is the mean of *its own fold's* training rows,
so the mean model scores exactly 0 and every score is a gain over it.
"""

import copy
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .files import InputError, quote_some
from .metric import GATE, combine, score, weights_from_t, wmae


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions for held-out rows, beside what is needed to score them.

    `prediction`, `truth`, `weights`: perturbation x gene; `baseline_wmae`: WMAE of each row under the
    mean of its fold's training rows; `seconds`: all fits and predictions.
    """

    prediction: pd.DataFrame
    truth: pd.DataFrame
    weights: pd.DataFrame
    baseline_wmae: pd.Series
    seconds: float

    def score(self, gate=GATE):
        return score(self.truth, self.prediction, self.weights, self.baseline_wmae, gate=gate)


def folds(perturbations, parts=5, *, seed=0):
    """Part perturbations at random into lists of nearly equal length, each once held out."""
    names = list(perturbations)
    if not 2 <= parts <= len(names):
        raise InputError(f"{parts} folds of {len(names)} perturbations; want 2 to {len(names)}")
    order = np.random.default_rng(seed).permutation(len(names))
    return [[names[i] for i in sorted(order[part::parts])] for part in range(parts)]


def out_of_fold(model, competition, held_out):
    """Fit a fresh copy of `model` without each list of `held_out` rows in turn and predict those.

    held_out: lists of perturbations, such as `folds` gives; a single list is one split.
    """
    start = time.perf_counter()
    predictions, baselines = [], []
    for names in held_out:
        if unknown := [name for name in names if name not in competition.effects.index]:
            raise InputError(f"held-out rows are not in the data: {quote_some(unknown)}")
        seen = competition.effects.index.difference(names, sort=False)
        train, test = competition.subset(seen), competition.subset(names)
        predictions.append(copy.deepcopy(model).fit(train).predict(list(names)))
        baselines.append(wmae(test.effects, train.effects.mean(), test.weights))
    prediction = pd.concat(predictions)
    rows = competition.subset(prediction.index)
    seconds = time.perf_counter() - start
    return OutOfFold(prediction, rows.effects, rows.weights, pd.concat(baselines), seconds)


def interval(of, *, than=None, level=0.9, draws=2000, seed=0):
    """Bootstrap interval over perturbations of a score for 60 rows: (low, high).

    of: Score; with `than`, a Score of the same rows, the interval of the difference `of - than` in
    which each draw takes the same rows for both.
    """
    tables = [of.table] if than is None else [of.table, than.table.reindex(of.table.index)]
    rows = of.rows
    counts = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=draws)
    sums = ["w", "truth_prediction", "truth_truth", "prediction_prediction"]
    drawn = [
        60 / rows * combine(*(counts * t[name].to_numpy() for name in sums))[0] for t in tables
    ]
    gain = drawn[0] if than is None else drawn[0] - drawn[1]
    low, high = np.quantile(gain, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ceiling(competition, *, seed=0):
    """Predict one random half of each perturbation's cells by the other: what noise leaves to reach.

    Returns the halves as OutOfFold, None where the competition has no cells. Control cells are split
    too; weights are recomputed from the half that is the truth, by eBayes or treat, whichever fits the
    shipped ones; the baseline is the mean of the *other* rows. Half the depth makes this pessimistic:
    with few cells it can lie below the floor.
    """
    if competition.cells is None:
        return None
    from . import pseudobulk

    start = time.perf_counter()
    cells = competition.read_cells()
    genes = competition.effects.columns
    place = pd.Series(np.random.default_rng(seed).random(cells.n_obs), index=cells.obs_names)
    rank = place.groupby(cells.obs["sgrna_symbol"].astype(str)).rank(pct=True)
    first, second = cells[(rank <= 0.5).to_numpy()], cells[(rank > 0.5).to_numpy()]
    prediction, truth = (pseudobulk.effects(half, genes) for half in (first, second))
    samples = pseudobulk.samples(second, genes, min_cells=2)  # halves of samples are small
    lfc = pseudobulk.likeliest_lfc(*samples, competition.weights)
    weights = weights_from_t(pseudobulk.t_statistics(*samples, lfc=lfc))
    names = weights.index.intersection(prediction.index, sort=False)
    truth, weights, prediction = (frame.loc[names] for frame in (truth, weights, prediction))
    # A row is n / (n - 1) times as far from the mean of the others as from the mean of all n.
    baseline = wmae(truth, truth.mean(), weights) * len(names) / (len(names) - 1)
    return OutOfFold(prediction, truth, weights, baseline, time.perf_counter() - start)
