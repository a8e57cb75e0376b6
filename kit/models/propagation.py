"""Plain propagation: a walk with restart on the pathway and interaction graph, and a ridge on its visits.

All sources are one graph: genes are joined to each other by interactions and to hubs, one a set, by
membership. A walk starts at the knocked-down gene and returns to it with a fixed chance; the shares of
time it spends at all other nodes are the knockdown's features (Koehler et al. 2008, Cowen et al. 2017). A
ridge on them predicts the ranks of effects, see `linear`. Nothing of the walk is learned: this is what
a graph network has to beat.
"""

import numpy as np
import pandas as pd

from ..knowledge import Knowledge
from .baselines import Constant
from .ranks import Ranks, metric_row_weights
from .ridge import PENALTIES, leave_one_out, smoother

RESTART = 0.3  # chance to return at each step
STEPS = 8  # after which 6 % of the walk is still under way


class Propagation:
    """Ridge on shares of a walk with restart.

    Learns `penalty_` by exact leave-one-out. A perturbation that is in no set and no interaction gets the
    constant's prediction.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        restart=RESTART,
        steps=STEPS,
        penalties=PENALTIES,
    ):
        self.knowledge = knowledge or Knowledge()
        self.restart = restart
        self.steps = steps
        self.penalties = penalties

    def fit(self, train):
        self.constant_ = Constant().fit(train)
        self.response_ = Ranks(train, metric_row_weights(train, self.constant_))
        self.genes_, self.graph_ = self.knowledge.graph
        visits = self._visits(train.effects.index)
        known = visits.any(axis=1)
        # Between rows the nodes only count by the directions in which training rows lie.
        self.axes_ = np.linalg.svd(visits, full_matrices=False)[2].T
        self.features_ = visits @ self.axes_
        self.penalty_, self.curve_ = np.inf, pd.Series(dtype=float)
        if known.sum() > 2:
            error = {penalty: self._error(penalty)[known] for penalty in self.penalties}
            self.curve_ = pd.Series(
                {p: np.log(np.maximum(e, 1e-12)).mean() for p, e in error.items()}
            )
            self.penalty_ = self.curve_.idxmin()
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene; the constant's for those that no source knows."""
        prediction = self.constant_.predict(perturbations)
        visits = self._visits(perturbations)
        known = visits.any(axis=1)
        if known.any() and np.isfinite(self.penalty_):
            parts = self.features_, visits[known] @ self.axes_, self.response_.row_weights
            smooth = smoother(*parts, self.penalty_)
            prediction.loc[known] = self.response_.predict(smooth @ self.response_.smoothed)
        return prediction

    def _error(self, penalty):
        smooth = leave_one_out(self.features_, self.response_.row_weights, penalty)
        return self.response_.error(smooth @ self.response_.smoothed)

    def _visits(self, perturbations):
        """Rows of unit length: (perturbations, nodes), float32; zeros where no source knows the gene."""
        places = self.genes_.get_indexer(self.knowledge.symbols(perturbations))
        known = np.flatnonzero(places >= 0)
        start = np.zeros((self.graph_.shape[0], len(places)), dtype=np.float32)
        start[places[known], known] = 1.0
        reached = start
        for _ in range(self.steps):
            reached = self.restart * start + (1 - self.restart) * (self.graph_ @ reached)
        reached[places[known], known] = 0.0  # where every walk is most: no two would be alike
        length = np.linalg.norm(reached, axis=0)
        return (reached / np.where(length > 0, length, 1)).T
