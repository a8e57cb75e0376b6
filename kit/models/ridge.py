"""Ridge on pathway membership or on a walk with restart: shared pathways, shared effects.

All genes at once, B = argmin sum_l r_l |z_l - a - (x_l - mean x) B|^2 + penalty |B|^2, with x the
one-hot pathway row of a perturbation scaled to one length, z its response, r the weight of its row. All
is solved between rows (80 x 80), from the products of their features. A conditional mean of effects
scores badly (the metric rewards weighted medians), so either z is the effect and the metric-optimal
`Constant` takes the place of the intercept a, or z is the rank of the effect among its gene's, and the
prediction is the gene's weighted quantile at the predicted rank: rank .5 is the weighted median, the
constant again.

`Propagation` has other features: the shares of time that a walk with restart on the graph of sets and
interactions, which begins at the perturbed gene, spends at all other nodes (Koehler et al. 2008,
doi:10.1016/j.ajhg.2008.02.013; Cowen et al. 2017, doi:10.1038/nrg.2017.38). Nothing of the walk is
learned: it is the reference for a graph network.

Score for 60 rows at gate .2 on five splits of real screens (Reactome and GO):

                      THP-1   K562   RPE1
    constant            .7     9.0   83.4
    effects             .7     9.0   83.9
    ranks              1.1    13.7   85.3
    ranks, rank 10     1.0    10.1   84.9
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..competition import Competition
from .baselines import Constant, PointModel, entry_weights, weighted_quantiles

PENALTIES = (*10.0 ** np.arange(-2, 3.1, 0.5), np.inf)  # infinite: features have no effect
RESTART = 0.3  # of a walk, probability to return at each step
STEPS = 8  # after which 6 % of the walk is still under way
LEAST_MASS = 0.2  # of a gene's mean weight: where a smoother expects less, ranks are not blown up


@dataclass(eq=False, kw_only=True)
class Ridge(PointModel):
    """Multi-output ridge with one penalty for all genes, the best by exact leave-one-out.

    response: `ranks` or `effects`. rank: directions of the response that are kept, at the penalty of
    full rank; None: all. Learns `penalty_`, `curve_` (geometric mean of the rows' weighted absolute
    leave-one-out errors, by penalty), `residuals_` (truth minus leave-one-out prediction, training
    perturbation x gene). A perturbation that shares nothing with a training row gets the constant's
    prediction.
    """

    response: str = "ranks"
    rank: int | None = None
    penalties: Sequence[float] = PENALTIES

    def _fit(self, train, left_out):
        kind = Ranks if self.response == "ranks" else Effects
        self.response_ = response = kind(train, self.constant_, left_out.to_numpy())
        self.reduction_ = {"rank": self.rank, "gram": response.smoothed @ response.smoothed.T}
        self.rows_ = self._rows(train.effects.index)
        self.kernel_ = self.rows_ @ self.rows_.T
        self.penalty_, self.curve_ = np.inf, pd.Series(dtype=float)
        # Without a partner a row would be met as unknown: its leave-one-out value is the constant's.
        connected = (self.kernel_ * (1 - np.eye(len(left_out)))).any(axis=1)
        if connected.sum() <= 2:
            return
        arguments, errors = (self.kernel_, response.row_weights), {}
        for penalty in self.penalties:
            smooth = leave_one_out(*arguments, penalty)
            error = response.error(smooth @ response.smoothed)[connected]
            errors[penalty] = np.exp(np.log(np.maximum(error, 1e-12)).mean())
        self.curve_ = pd.Series(errors)
        self.penalty_ = self.curve_.idxmin()
        smooth = leave_one_out(*arguments, self.penalty_, **self.reduction_)
        left_out[connected] = response.leave_one_out(smooth @ response.smoothed)[connected]

    def _features(self, perturbations):
        """Products with the training rows, (rows, training rows), and whether there are any."""
        products = self._rows(perturbations) @ self.rows_.T
        return products, products.any(axis=1) & np.isfinite(self.penalty_)

    def _predict(self, features):
        arguments = self.kernel_, self.response_.row_weights, self.penalty_
        smooth = smoother(*arguments, features, **self.reduction_)
        return self.response_.predict(smooth @ self.response_.smoothed)

    def _rows(self, perturbations):
        """Pathway membership, each row of length 1: (rows, pathways)."""
        return _unit_rows(self.knowledge_.one_hot(perturbations).to_numpy(dtype=float))


class Propagation(Ridge):
    """Ridge on shares of a walk with restart; what it learns is that of `Ridge`."""

    def _rows(self, perturbations):
        """Shares of time at each gene and set, each row of length 1: (rows, nodes), float32."""
        genes, graph = self.knowledge_.graph
        places = genes.get_indexer(self.knowledge_.symbols(perturbations))
        known = np.flatnonzero(places >= 0)
        start = np.zeros((graph.shape[0], len(places)), dtype=np.float32)
        start[places[known], known] = 1.0
        reached = start
        for _ in range(STEPS):
            reached = RESTART * start + (1 - RESTART) * (graph @ reached)
        reached[places[known], known] = 0.0  # the start is where every walk is most of the time
        return _unit_rows(reached.T)


class Effects:
    """Effects themselves as the response, rows weighted; the constant stands for the intercept.

    Like `Ranks` it holds what is smoothed, `smoothed` (rows, responses), with `row_weights`, and makes
    effects of `deviation`, the smoothed response less its mean, (new rows, responses).
    """

    def __init__(self, train: Competition, constant: Constant, left_out: np.ndarray):
        self.row_weights = constant.row_weights_.to_numpy()
        self.smoothed = train.effects.to_numpy()
        self.constant = constant.effect_.to_numpy()
        self.left_out = left_out.copy()
        self.weights = train.weights.to_numpy()

    def predict(self, deviation: np.ndarray) -> np.ndarray:
        """Return effects: (new rows, genes)."""
        return self.constant + deviation

    def leave_one_out(self, deviation: np.ndarray) -> np.ndarray:
        """Return effects of the training rows, each from the constant of the others: (rows, genes)."""
        return self.left_out + deviation

    def error(self, deviation: np.ndarray) -> np.ndarray:
        """Return the weighted absolute error of each training row, by the others: (rows,)."""
        return (self.weights * np.abs(self.smoothed - self.leave_one_out(deviation))).sum(axis=1)


class Ranks:
    """Weighted mid-ranks of effects within their gene, 0 to 1, and the quantiles at predicted ranks.

    Ranks give every gene the same scale; at rank .5 the quantile is the weighted median. Two responses
    are smoothed, weight x (rank - 1/2) and weight; their ratio is the weighted mean of the ranks of
    similar rows. `deviation` is that of both, (new rows, 2 genes).
    """

    def __init__(self, train: Competition, constant: Constant, left_out: np.ndarray | None = None):
        self.effects = train.effects.to_numpy()
        self.weights = entry_weights(train, constant.row_weights_)
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


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mid-rank of each value in its column, 0 to 1: the share below, half of ties."""
    below = np.array([(weights * (values < row)).sum(axis=0) for row in values])
    up_to = np.array([(weights * (values <= row)).sum(axis=0) for row in values])
    return (below + up_to) / 2 / weights.sum(axis=0)


def smoother(
    kernel: np.ndarray,
    row_weights: np.ndarray,
    penalty: float,
    new: np.ndarray,
    *,
    rank: int | None = None,
    gram: np.ndarray | None = None,
) -> np.ndarray:
    """Return coefficients, new row x training row, of ridge on centred features, without its intercept.

    kernel, new: products of features, (rows, rows) and (new rows, rows); row_weights: (rows,). Times the
    training responses they give the predicted deviation from the weighted mean response. With `rank`, of
    the penalised fit of that rank that is best for responses whose products between rows are `gram`.
    """
    share = row_weights / row_weights.sum()
    root = np.sqrt(row_weights)[:, None]
    centre = np.eye(len(share)) - share  # takes the weighted mean off, of features or responses
    values, vectors = np.linalg.eigh(root * (centre @ kernel @ centre.T) * root.T)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (root * centre)
    products = (new - share @ kernel) @ centre.T * root.T
    smooth = products @ vectors / (values + penalty) @ turned
    if rank is None:
        return smooth
    half = np.sqrt(values / (values + penalty))[:, None] * turned
    strength, directions = np.linalg.eigh(half @ gram @ half.T)
    kept = half.T @ directions[:, -rank:] / np.sqrt(np.maximum(strength[-rank:], 1e-300))
    return smooth @ gram @ kept @ kept.T


def leave_one_out(
    kernel: np.ndarray,
    row_weights: np.ndarray,
    penalty: float,
    *,
    rank: int | None = None,
    gram: np.ndarray | None = None,
) -> np.ndarray:
    """Return `smoother` of each training row by the fit without it: row x row, zero on the diagonal."""
    rows = len(kernel)
    if rank is None:
        share = row_weights / row_weights.sum()
        fitted = share + smoother(kernel, row_weights, penalty, kernel)
        fitted /= 1 - np.diag(fitted)[:, None]
        smooth = fitted - share / (1 - share)[:, None]
        np.fill_diagonal(smooth, 0.0)
        return smooth
    smooth = np.zeros((rows, rows))
    for row in range(rows):
        rest = np.delete(np.arange(rows), row)
        square = np.ix_(rest, rest)
        arguments = kernel[square], row_weights[rest], penalty, kernel[[row]][:, rest]
        smooth[row, rest] = smoother(*arguments, rank=rank, gram=gram[square])[0]
    return smooth


def _unit_rows(features):
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)
