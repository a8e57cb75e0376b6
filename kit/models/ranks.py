"""Effects as weighted ranks within their gene, and weights of rows and entries under the metric.

Ranks give every gene the same scale. The gene's weighted quantile at a predicted rank is an effect again;
at rank .5 it is the weighted median, the best constant by the metric. Also here: the weight of rows and
entries in a loss, and the constant without each row.
"""

import numpy as np
import pandas as pd

from ..competition import Competition
from ..metric import wmae
from .baselines import Constant

LEAST_MASS = 0.2  # of a gene's mean weight: where a smoother expects less, ranks are not blown up


class Ranks:
    """Weighted mid-ranks of effects within their gene, 0 to 1, and the quantiles at predicted ranks.

    Two responses are smoothed, weight x (rank - 1/2) and weight; their ratio is the weighted mean of
    the ranks of similar rows. `deviation`: of both from their mean, (new rows, 2 genes).
    """

    def __init__(self, train: Competition, row_weights: pd.Series):
        self.effects = train.effects.to_numpy()
        self.weights = entry_weights(train, row_weights)
        self.row_weights = np.ones(len(self.effects))
        self.ranks = weighted_ranks(self.effects, self.weights) - 0.5
        self.smoothed = np.hstack([self.weights * self.ranks, self.weights])

    def predict(self, deviation: np.ndarray) -> np.ndarray:
        """Return effects: (new rows, genes)."""
        levels = self._levels(deviation, self.smoothed.mean(axis=0))
        return weighted_quantiles(self.effects, self.weights, levels)

    def leave_one_out(self, deviation: np.ndarray) -> np.ndarray:
        """Return effects of the training rows, each among the values of the others: (rows, genes)."""
        levels = self._levels(deviation, self._mean_of_others())
        return weighted_quantiles(self.effects, self.weights, levels, leave_out=True)

    def error(self, deviation: np.ndarray) -> np.ndarray:
        """Return the weighted absolute error in ranks of each training row, by the others: (rows,)."""
        levels = self._levels(deviation, self._mean_of_others())
        return (self.weights * np.abs(self.ranks + 0.5 - levels)).sum(axis=1)

    def _mean_of_others(self):
        return (self.smoothed.sum(axis=0) - self.smoothed) / (len(self.smoothed) - 1)

    def _levels(self, deviation, mean):
        ranks, weights = np.hsplit(mean + deviation, 2)
        return np.clip(0.5 + ranks / np.maximum(weights, LEAST_MASS), 0.0, 1.0)


def metric_row_weights(train: Competition, constant: Constant) -> pd.Series:
    """Return the weight of each training row where errors are summed: by perturbation, mean 1.

    The metric rewards relative gains: 1 / (the row's WMAE under `constant` + 0.1 x their median).
    """
    error = wmae(train.effects, constant.effect_, train.weights)
    weights = 1.0 / np.maximum(error + 0.1 * error.median(), 1e-12)
    return weights / weights.mean()


def entry_weights(train: Competition, row_weights: pd.Series) -> np.ndarray:
    """Return metric weight x row weight, mean 1 in each gene: (rows, genes), 1 where a gene has none."""
    weights = train.weights.to_numpy() * row_weights.to_numpy()[:, None]
    mean = weights.mean(axis=0)
    return np.where(mean > 0, weights / np.where(mean > 0, mean, 1.0), 1.0)


def leave_one_out_constant(train: Competition, row_weights: pd.Series) -> pd.DataFrame:
    """Return the weighted median of all *other* training rows: perturbation x gene.

    `Constant` fitted without each row but for the row weights, which stay those of all rows.
    """
    values, weights = train.effects.to_numpy(), entry_weights(train, row_weights)
    median = weighted_quantiles(values, weights, np.full(values.shape, 0.5), leave_out=True)
    return pd.DataFrame(median, index=train.effects.index, columns=train.effects.columns)


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mid-rank of each value in its column, 0 to 1: the share below, half of ties."""
    ranks = [
        (weights * (values < row)).sum(axis=0) + (weights * (values == row)).sum(axis=0) / 2
        for row in values
    ]
    return np.array(ranks) / weights.sum(axis=0)


def weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, levels: np.ndarray, *, leave_out: bool = False
) -> np.ndarray:
    """Return weighted quantiles of each column at the levels of each row: (rows of `levels`, columns).

    Halfway between two values where the mass below is just the level. With `leave_out` row i of the
    result is computed without row i of the values.
    """
    rows, columns = values.shape
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    mass = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    place, lost = (np.argsort(order, axis=0), weights) if leave_out else (rows, 0.0)
    slack = mass[-1] * 1e-12
    total = mass[-1] - lost
    wanted = levels * total
    here, steps = np.arange(columns), 2 ** np.arange(rows.bit_length())[::-1]
    padded = np.pad(mass, ((0, steps.sum() - rows), (0, 0)), constant_values=np.inf)

    def first(short):
        """Place in order of the first value whose mass is not `short` of the level: by bisection."""
        found = np.zeros(levels.shape, dtype=int)
        for step in steps:
            last = found + (step - 1)
            found += step * short(padded[last, here] - lost * (last >= place))
        return np.minimum(found, rows - 1)

    at_least, above = np.maximum(wanted - slack, slack), np.minimum(wanted + slack, total - slack)
    lower = first(lambda left: left < at_least)
    upper = first(lambda left: left <= above)
    result = (ordered[lower, here] + ordered[upper, here]) / 2
    for row, column in np.argwhere(total <= 2 * slack) if leave_out else ():
        result[row, column] = np.delete(values[:, column], row).mean()
    return result
