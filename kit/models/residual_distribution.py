"""A belief for models that only give points: what their predictions were worth on left-out rows.

A pooled regression learns from the leave-one-out predictions of the training rows how an effect is
distributed around a prediction. One that foresees nothing is worth nothing: the belief is then that of
each gene's training effects.
"""

import numpy as np
import pandas as pd

from ..decision import Distribution, decide
from ..metric import wmae
from .baselines import Constant
from .pairwise_regression import believed, learned_chances
from .ranks import leave_one_out_constant, metric_row_weights


class ResidualDistribution:
    """Any model with `residuals_` (truth minus leave-one-out prediction), with a belief of its own."""

    def __init__(self, model):
        self.model = model

    def fit(self, train):
        self.model.fit(train)
        self.train_ = train
        self.constant_ = Constant().fit(train)
        row_weights = metric_row_weights(train, self.constant_)
        self.pulls_ = train.weights.mul(row_weights, axis=0).to_numpy()
        foreseen = train.effects - self.model.residuals_
        step = (foreseen - leave_one_out_constant(train, row_weights)).to_numpy()
        self.scale_ = np.sqrt((step**2).mean()) + 1e-9
        effects = train.effects.to_numpy()
        self.chances_ = learned_chances(self._features(step), effects, self.pulls_)
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene: the values that the metric rewards under the belief."""
        prediction = decide(self.predict_distribution(perturbations))
        constant = self.constant_.effect_
        unknown = (self.model.predict(prediction.index) == constant).all(axis=1)
        prediction.loc[unknown] = constant.to_numpy()
        return prediction

    def predict_distribution(self, perturbations, scenarios=None):
        """Belief over the training rows' effects; scenarios: that of whole rows, by default even."""
        if scenarios is None:
            names = pd.Index(list(perturbations), name="perturbation")
            effects = self.train_.effects
            rows = pd.DataFrame(1 / len(effects), names, effects.index)
            error = wmae(effects, self.constant_.effect_, self.train_.weights)
            weights, mean = self.train_.weights, effects.mean()
            scenarios = Distribution(effects, weights, rows, error, mean)
        step = self.model.predict(scenarios.perturbations) - self.constant_.effect_
        return believed(scenarios, self._features(step.to_numpy()), self.chances_, self.pulls_)

    def _features(self, step):
        """Step from the constant and its size, (rows, genes, 2)."""
        scaled = np.clip(step / self.scale_, -5, 5)
        return np.stack([scaled, np.abs(scaled) - 1], axis=2, dtype=np.float32)
