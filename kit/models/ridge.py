"""Ridge on pathway membership or on a walk with restart: shared pathways, shared effects.

All genes at once, B = argmin sum_l r_l |z_l - a - (x_l - mean x) B|^2 + penalty |B|^2, with x the
one-hot pathway row of a perturbation scaled to one length, z its response, r the weight of its row. All
is solved between rows (80 x 80), never between pathways. A conditional mean of effects scores badly
(the metric rewards weighted medians), so either z is the effect and the metric-optimal `Constant` takes
the place of the intercept a, or z is the rank of the effect among its gene's, and the prediction is the
gene's weighted quantile at the predicted rank: rank .5 is the weighted median, the constant again.

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
from typing import Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..knowledge import Knowledge
from .baselines import Constant
from .ranks import Ranks, leave_one_out_constant, metric_row_weights

PENALTIES = (*10.0 ** np.arange(-2, 3.1, 0.5), np.inf)  # infinite: features have no effect
RESTART = 0.3  # of a walk, probability to return at each step
STEPS = 8  # after which 6 % of the walk is still under way


class Ridge:
    """Multi-output ridge with one penalty for all genes, the best by exact leave-one-out.

    response: `ranks` or `effects`. rank: directions of the response that are kept, at the penalty of
    full rank; None: all. Learns `penalty_`, `curve_` (geometric mean of the rows' weighted absolute
    leave-one-out errors, by penalty), `residuals_` (truth minus leave-one-out prediction, training
    perturbation x gene). A perturbation that shares no pathway with a training row gets the constant's
    prediction.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        response: str = "ranks",
        rank: int | None = None,
        penalties: Sequence[float] = PENALTIES,
    ):
        self.knowledge = knowledge or Knowledge()
        self.response = response
        self.rank = rank
        self.penalties = penalties

    def fit(self, train: Competition) -> Self:
        self.constant_ = Constant().fit(train)
        row_weights = metric_row_weights(train, self.constant_)
        left_out = leave_one_out_constant(train, row_weights)
        if self.response == "ranks":
            self.response_ = Ranks(train, row_weights)
        else:
            self.response_ = _Effects(train, row_weights, self.constant_, left_out)
        features, connected = self._training_features(train.effects.index)
        # Between rows features only count by the directions in which training rows lie.
        self.axes_ = np.linalg.svd(features, full_matrices=False)[2].T
        self.features_ = features @ self.axes_
        self.penalty_, self.curve_ = np.inf, pd.Series(dtype=float)
        if connected.sum() > 2:
            weights = self.response_.row_weights
            self._choose_penalty(connected)
            smooth = leave_one_out(self.features_, weights, self.penalty_, **self._reduction())
            found = self.response_.leave_one_out(smooth @ self.response_.smoothed)
            left_out[connected] = found[connected]
        self.residuals_ = train.effects - left_out
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects: perturbation x gene."""
        prediction = self.constant_.predict(perturbations)
        features, known = self._features(perturbations)
        if known.any() and np.isfinite(self.penalty_):
            new, weights = features[known] @ self.axes_, self.response_.row_weights
            smooth = smoother(self.features_, new, weights, self.penalty_, **self._reduction())
            prediction.loc[known] = self.response_.predict(smooth @ self.response_.smoothed)
        return prediction

    def _training_features(self, perturbations):
        """Features of the training rows, and which of them share one with another: (rows, k), (rows,)."""
        raw = self.knowledge.one_hot(perturbations)
        self.members_ = raw.sum().to_numpy()
        # Without a partner a row would be met as unknown: its leave-one-out value is the constant's.
        return self._features(perturbations)[0], raw.to_numpy()[:, self.members_ > 1].any(axis=1)

    def _features(self, perturbations):
        """Rows of one length over the pathways with a training member, and which rows have one."""
        raw = self.knowledge.one_hot(perturbations).to_numpy(dtype=float)
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        scaled = np.divide(raw, length, out=raw, where=length > 0)[:, self.members_ > 0]
        return scaled, scaled.any(axis=1)

    def _reduction(self):
        if self.rank is None:
            return {}
        responses = self.response_.smoothed
        return {"rank": self.rank, "gram": responses @ responses.T}

    def _choose_penalty(self, connected):
        losses = {}
        for penalty in self.penalties:
            smooth = leave_one_out(self.features_, self.response_.row_weights, penalty)
            error = self.response_.error(smooth @ self.response_.smoothed)[connected]
            losses[penalty] = np.exp(np.log(np.maximum(error, 1e-12)).mean())
        self.curve_ = pd.Series(losses)
        self.penalty_ = self.curve_.idxmin()


class Propagation(Ridge):
    """Ridge on shares of a walk with restart; what it learns is that of `Ridge`.

    A perturbation that is in no set and no interaction gets the constant's prediction.
    """

    def _training_features(self, perturbations):
        self.genes_, self.graph_ = self.knowledge.graph
        return self._features(perturbations)

    def _features(self, perturbations):
        """Rows of unit length, (perturbations, nodes), float32, and which of them the graph holds."""
        places = self.genes_.get_indexer(self.knowledge.symbols(perturbations))
        known = np.flatnonzero(places >= 0)
        start = np.zeros((self.graph_.shape[0], len(places)), dtype=np.float32)
        start[places[known], known] = 1.0
        reached = start
        for _ in range(STEPS):
            reached = RESTART * start + (1 - RESTART) * (self.graph_ @ reached)
        reached[places[known], known] = 0.0  # the start is where every walk is most of the time
        length = np.linalg.norm(reached, axis=0)
        visits = (reached / np.where(length > 0, length, 1)).T
        return visits, visits.any(axis=1)


class _Effects:
    """Effects themselves, rows weighted; the constant stands for the intercept."""

    def __init__(self, train, row_weights, constant, left_out):
        self.row_weights = row_weights.to_numpy()
        self.smoothed = train.effects.to_numpy()
        self.constant = constant.effect_.to_numpy()
        self.left_out = left_out.to_numpy()
        self.weights = train.weights.to_numpy()

    def predict(self, deviation):
        return self.constant + deviation

    def leave_one_out(self, deviation):
        return self.left_out + deviation

    def error(self, deviation):
        residuals = self.smoothed - self.leave_one_out(deviation)
        return (self.weights * np.abs(residuals)).sum(axis=1)


def smoother(features, new, row_weights, penalty, *, rank=None, gram=None):
    """Return coefficients, new row x training row, of ridge on centred features, without its intercept.

    features: (rows, pathways); new: (new rows, pathways); row_weights: (rows,). Times the training
    responses they give the predicted deviation from the weighted mean response. With `rank`, of the
    penalised fit of that rank that is best for responses whose products between rows are `gram`.
    """
    share = row_weights / row_weights.sum()
    root = np.sqrt(row_weights)[:, None]
    centre = share @ features
    centred = root * (features - centre)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values, 0.0)
    turned = vectors.T @ (root * (np.eye(len(share)) - share))  # centres responses and weighs rows
    smooth = (new - centre) @ centred.T @ vectors / (values + penalty) @ turned
    if rank is None:
        return smooth
    half = np.sqrt(values / (values + penalty))[:, None] * turned
    strength, directions = np.linalg.eigh(half @ gram @ half.T)
    kept = half.T @ directions[:, -rank:] / np.sqrt(np.maximum(strength[-rank:], 1e-300))
    return smooth @ gram @ kept @ kept.T


def leave_one_out(features, row_weights, penalty, *, rank=None, gram=None):
    """Return `smoother` of each training row by the fit without it: row x row, zero on the diagonal."""
    rows = len(features)
    if rank is None:
        share = row_weights / row_weights.sum()
        fitted = share + smoother(features, features, row_weights, penalty)
        fitted /= 1 - np.diag(fitted)[:, None]
        smooth = fitted - share / (1 - share)[:, None]
        np.fill_diagonal(smooth, 0.0)
        return smooth
    smooth = np.zeros((rows, rows))
    for row in range(rows):
        rest = np.delete(np.arange(rows), row)
        arguments = features[rest], features[[row]], row_weights[rest], penalty
        smooth[row, rest] = smoother(*arguments, rank=rank, gram=gram[np.ix_(rest, rest)])[0]
    return smooth
