"""One prediction for every knockdown, and the one gene that is known to differ: its own.

`Zero` and `Mean` are the floors (the mean scores exactly 0). `Constant` is the best that a single row
can do for the metric. `OnTargetGene` sets, in any model's prediction, the expression of the knocked-down
gene itself. Nothing here knows one knockdown from another.
"""

import numpy as np
import pandas as pd

from ..metric import wmae


class Zero:
    """Predict no effect."""

    def fit(self, train):
        self.effect_ = train.effects.iloc[0] * 0.0
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene: the same row for each."""
        rows = np.tile(self.effect_.to_numpy(), (len(perturbations), 1))
        index = pd.Index(perturbations, name="perturbation")
        return pd.DataFrame(rows, index=index, columns=self.effect_.index)


class Mean(Zero):
    """Predict the mean training effect: the competition's baseline, which scores 0."""

    def fit(self, train):
        self.effect_ = train.effects.mean()
        return self


class Constant(Zero):
    """Predict the row that does best by the metric on the training rows.

    Minimises sum_l log(WMAE_l + f), f = `floor` x the rows' median WMAE under the mean: without f a
    row that the constant can hit exactly would outweigh all others. The logarithm is concave, so each
    step (a median by gene, weighted by w / (WMAE_l + f)) cannot worsen the sum; steps are taken until
    it stands still.
    """

    def __init__(self, floor=0.1, steps=100):
        self.floor = floor
        self.steps = steps

    def fit(self, train):
        truth, weights = train.effects, train.weights
        error = wmae(truth, truth.mean(), weights)
        floor = self.floor * error.median()
        effect, best = truth.mean(), np.inf
        for _ in range(self.steps):
            row_weights = 1.0 / np.maximum(error + floor, 1e-12)
            candidate = weighted_median(truth, weights.mul(row_weights, axis=0))
            error = wmae(truth, candidate, weights)
            loss = np.log(np.maximum(error + floor, 1e-12)).sum()
            if loss >= best - 1e-9:
                break
            effect, best = candidate, loss
        self.effect_ = effect
        return self


def weighted_median(values, weights):
    """Median of each column under weights of the same shape: a series by column.

    Halfway between the two middle values where both minimise the weighted absolute error; the plain
    mean where a column has no weight at all.
    """
    order = np.argsort(values.to_numpy(), axis=0)
    ordered = np.take_along_axis(values.to_numpy(), order, axis=0)
    mass = np.cumsum(np.take_along_axis(weights.to_numpy(), order, axis=0), axis=0)
    half, slack = mass[-1] / 2, mass[-1] * 1e-12
    lower = np.argmax(mass >= half - slack, axis=0)
    upper = np.argmax(mass > half + slack, axis=0)
    columns = np.arange(values.shape[1])
    middle = (ordered[lower, columns] + ordered[upper, columns]) / 2
    middle = np.where(mass[-1] > 0, middle, values.to_numpy().mean(axis=0))
    return pd.Series(middle, index=values.columns)


class OnTargetGene:
    """Another model's prediction with the knocked-down gene's own expression set.

    A share `escaped_` of the cells keeps the gene untouched, in the others each of its molecules is
    kept with chance `kept_`. With control level m = log2(1 + x) of a gene with x CP10k, the effect is
    (1 - escaped) (log2(1 + kept x) - m), which never falls below -m. Both numbers are those that fit the
    training rows' own genes best in squares. `shape="fraction"` fixes kept = 1 - fraction of m instead:
    the effect is then a plain share of -m. The own gene has no weight in WMAE but counts in Wcos.
    """

    def __init__(self, base, shape="mixture"):
        self.base = base
        self.shape = shape

    def fit(self, train):
        self.base.fit(train)
        return self.fit_effect(train)

    def fit_effect(self, train):
        """Fit the on-target effect alone; the base model stays as it is."""
        self.control_ = train.control
        own = self._expressed(train.effects.index)
        self.learned_from_ = len(own)
        if own:
            effect = np.array([train.effects.at[name, name] for name in own])
            self.escaped_, self.kept_ = self._best(train.control[own].to_numpy(), effect)
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene; a gene that is no output or not expressed stays as it was."""
        return self.with_effect(self.base.predict(perturbations))

    def with_effect(self, prediction):
        """A prediction, perturbation x gene, with its on-target effects set."""
        prediction = prediction.copy()
        for name in self._expressed(prediction.index) if self.learned_from_ else ():
            drop = self._effect(self.control_[name], self.escaped_, self.kept_)
            prediction.loc[name, name] = float(drop)
        return prediction

    def _expressed(self, perturbations):
        control = self.control_
        return [name for name in perturbations if name in control.index and control[name] > 0]

    def _best(self, control, effect):
        grid = np.linspace(0, 1, 101)
        kept = grid if self.shape == "mixture" else np.zeros(1)
        escaped, kept = (axis.ravel()[:, None] for axis in np.meshgrid(grid, kept, indexing="ij"))
        error = ((self._effect(control, escaped, kept) - effect) ** 2).sum(axis=1)
        best = int(np.argmin(error))
        return float(escaped[best, 0]), float(kept[best, 0])

    @staticmethod
    def _effect(control, escaped, kept):
        return (1 - escaped) * (np.log2(1 + kept * (2**control - 1)) - control)
