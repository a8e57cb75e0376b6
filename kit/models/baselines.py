"""One prediction for every perturbation, and the one gene that is known to differ: the perturbed one.

`Zero` and `Mean` are the floors (the mean scores exactly 0). `Constant` is the best single row by the
metric. `OnTargetGene` sets, in any model's prediction, the effect on the perturbed gene itself. Nothing
here distinguishes one perturbation from another.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..decision import Distribution, decide
from ..metric import wmae

FLOOR = 0.1  # of `Constant`, x the rows' median WMAE under the mean
STEPS = 100  # of `Constant`, which converges after about 20


class Zero:
    """Predict no effect."""

    def fit(self, train: Competition) -> Self:
        self.effect_ = train.effects.iloc[0] * 0.0
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects, perturbation x gene: the same row for each."""
        rows = np.tile(self.effect_.to_numpy(), (len(perturbations), 1))
        index = pd.Index(perturbations, name="perturbation")
        return pd.DataFrame(rows, index=index, columns=self.effect_.index)


class Mean(Zero):
    """Predict the mean training effect: the competition's baseline, which scores 0."""

    def fit(self, train: Competition) -> Self:
        self.effect_ = train.effects.mean()
        return self


class Constant(Zero):
    """Predict the row that scores best on the training rows.

    Minimises sum_l log(WMAE_l + f), f = `FLOOR` x the rows' median WMAE under the mean: without f a
    row that the constant can predict exactly would outweigh all others. The logarithm is concave, so each
    step (a median by gene, weighted by w / (WMAE_l + f)) cannot increase the sum; steps are taken until
    it no longer falls.
    """

    def fit(self, train: Competition) -> Self:
        truth, weights = train.effects, train.weights
        error = wmae(truth, truth.mean(), weights)
        floor = FLOOR * error.median()
        effect, best = truth.mean(), np.inf
        for _ in range(STEPS):
            row_weights = 1.0 / np.maximum(error + floor, 1e-12)
            candidate = weighted_median(truth, weights.mul(row_weights, axis=0))
            error = wmae(truth, candidate, weights)
            loss = np.log(np.maximum(error + floor, 1e-12)).sum()
            if loss >= best - 1e-9:
                break
            effect, best = candidate, loss
        self.effect_ = effect
        return self


def decide_known(
    distribution: Distribution, known: pd.Series | np.ndarray, constant: Constant
) -> pd.DataFrame:
    """Return score-optimal effects, perturbation x gene, the constant's where `known` is false.

    known: bool by perturbation, in the distribution's order.
    """
    prediction = decide(distribution)
    prediction.loc[~np.asarray(known)] = constant.effect_.to_numpy()
    return prediction


def weighted_median(values: pd.DataFrame, weights: pd.DataFrame) -> pd.Series:
    """Return the median of each column under weights of the same shape: a series by column.

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
    """Another model's prediction with the on-target effects set.

    A share `escaped_` of the cells keeps the gene untouched, in the others each of its molecules is
    kept with probability `kept_`. With control level m = log2(1 + x) of a gene with x CP10k, the effect
    is (1 - escaped) (log2(1 + kept x) - m), never below -m. Both numbers are the least-squares
    fit to the on-target effects of the training rows. `shape="fraction"` fixes kept = 1 - fraction of m
    instead: the effect is then a plain share of -m. The on-target gene has no weight in WMAE but counts
    in Wcos.
    """

    def __init__(self, base: Any, shape: str = "mixture"):
        self.base = base
        self.shape = shape

    def fit(self, train: Competition) -> Self:
        self.base.fit(train)
        return self.fit_effect(train)

    def fit_effect(self, train: Competition) -> Self:
        """Fit the on-target effect alone; the base model stays as it is."""
        self.control_ = train.control
        names = self._expressed(train.effects.index)
        self.learned_from_ = len(names)
        if names:
            effect = np.array([train.effects.at[name, name] for name in names])
            self.escaped_, self.kept_ = self._best(train.control[names].to_numpy(), effect)
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects, perturbation x gene; a gene without a column or expression stays unchanged."""
        return self.with_effect(self.base.predict(perturbations))

    def with_effect(self, prediction: pd.DataFrame) -> pd.DataFrame:
        """Return a prediction, perturbation x gene, with its on-target effects set."""
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
