"""Models without knowledge, and how those with knowledge fall back to the best of them.

`Zero` and `Mean` are the floors (the mean scores exactly 0). `Constant` is the best single row by the
metric: weighted medians. `PointModel` and `DistributionModel` predict it for whatever a model does not
know. `OnTargetGene` sets, in any model's prediction, the effect on the perturbed gene itself.
"""

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..competition import Competition
from ..decision import decide
from ..evaluation.comparison import fit_each
from ..knowledge import Knowledge
from ..metric import wmae

FLOOR = 0.1  # x the rows' median WMAE, added to that of a row: none can be predicted exactly
STEPS = 100  # of `Constant`, which converges after about 20


def once_each(make: Callable[[Competition], Any]) -> Callable[[Competition], Any]:
    """Return `make` with its result kept as long as the Competition: several models of it share one.

    It is made anew where effects or weights were changed in place.
    """
    kept = WeakKeyDictionary()

    @functools.wraps(make)
    def found(train):
        now = [zlib.crc32(frame.to_numpy().tobytes()) for frame in (train.effects, train.weights)]
        before, result = kept.get(train, (None, None))
        if before != now:
            result = make(train)
            kept[train] = now, result
        return result

    return found


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
    it no longer falls. Learns `error_` (the training rows' WMAE) and `row_weights_` (their weights where
    errors are summed, mean 1: the metric rewards relative gains), series by perturbation.
    """

    def fit(self, train: Competition) -> Self:
        found = (part.copy() for part in _best_constant(train))
        self.effect_, self.error_, self.row_weights_ = found
        return self


@once_each
def _best_constant(train):
    """Best constant, its error in each row, and the rows' weights."""
    truth, weights = train.effects, train.weights
    error = wmae(truth, truth.mean(), weights)
    floor = max(FLOOR * error.median(), 1e-12)
    effect, best = truth.mean(), np.inf
    for _ in range(STEPS):
        candidate = weighted_median(truth, weights.div(error + floor, axis=0))
        error = wmae(truth, candidate, weights)
        loss = np.log(error + floor).sum()
        if loss >= best - 1e-9:
            break
        effect, best = candidate, loss
    error = wmae(truth, effect, weights)
    row_weights = 1 / (error + max(FLOOR * error.median(), 1e-12))
    return effect, error, row_weights / row_weights.mean()


def weighted_median(values: pd.DataFrame, weights: pd.DataFrame) -> pd.Series:
    """Return the median of each column under weights of the same shape: a series by column.

    Halfway between the two middle values where both minimise the weighted absolute error; the plain
    mean where a column has no weight at all.
    """
    levels = np.full((1, values.shape[1]), 0.5)
    median = weighted_quantiles(values.to_numpy(), weights.to_numpy(), levels)
    return pd.Series(median[0], values.columns)


def weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, levels: np.ndarray, *, leave_out: bool = False
) -> np.ndarray:
    """Return weighted quantiles of each column at the levels of each row: (rows of `levels`, columns).

    Halfway between two values where the mass below is just the level, the plain mean where a column has
    no weight. With `leave_out` row i of the result is computed without row i of the values.
    """
    order = np.argsort(values, axis=0)
    ordered, sorted_weights = (np.take_along_axis(part, order, 0) for part in (values, weights))
    mass = np.cumsum(sorted_weights, axis=0)
    total, plain, own = mass[-1], values.sum(axis=0), None
    if leave_out:
        total, plain, own = total - weights, plain - values, (weights, np.argsort(order, axis=0))
    slack = total * 1e-12
    lower = _reached(mass, np.maximum(levels * total - slack, slack), own)
    upper = _reached(mass, np.minimum(levels * total + slack, total - slack), own)
    low, high = (np.take_along_axis(ordered, place, axis=0) for place in (lower, upper))
    return np.where(total > 0, (low + high) / 2, plain / max(len(values) - leave_out, 1))


def _reached(mass, least, own):
    """Places at which ascending `mass` (rows, columns) reaches `least` (levels, columns).

    own: None, or the weight and the place of an entry that is left out at each level, shaped as `least`.
    """

    def search(sought):
        before = np.zeros(sought.shape, dtype=int)  # entries that have not reached it: by bisection
        for step in 2 ** np.arange(len(mass).bit_length())[::-1]:
            trial = np.minimum(before + step, len(mass))
            value = np.take_along_axis(mass, trial - 1, axis=0)
            before = np.where(value < sought, trial, before)
        return np.minimum(before, len(mass) - 1)

    places = search(least)
    if own is None:
        return places
    weight, place = own
    return np.where(places < place, places, search(least + weight))


def entry_weights(train: Competition, row_weights: pd.Series) -> np.ndarray:
    """Return metric weight x row weight, mean 1 in each gene: (rows, genes), 1 where a gene has none."""
    weights = train.weights.to_numpy() * row_weights.to_numpy()[:, None]
    mean = weights.mean(axis=0)
    return np.where(mean > 0, weights / np.where(mean > 0, mean, 1.0), 1.0)


@once_each
def leave_one_out_constant(train: Competition) -> pd.DataFrame:
    """Return the weighted median of all *other* training rows: perturbation x gene, not to be changed.

    `Constant` fitted without each row but for the row weights, which stay those of all rows.
    """
    weights = entry_weights(train, Constant().fit(train).row_weights_)
    values = train.effects.to_numpy()
    median = weighted_quantiles(values, weights, np.full(values.shape, 0.5), leave_out=True)
    return pd.DataFrame(median, index=train.effects.index, columns=train.effects.columns)


@dataclass(eq=False)
class WithKnowledge:
    """A model that uses knowledge: the first argument, by default none at all.

    `fit` keeps what of it concerns the training rows and targets as `knowledge_`.
    """

    knowledge: Knowledge | None = None

    def __post_init__(self):
        self.knowledge = self.knowledge or Knowledge()


class PointModel(WithKnowledge):
    """A model of point predictions; what it does not know gets the constant's.

    A subclass has `_fit(train, left_out)`, which writes predictions of training rows, by fits without
    them, over the constant's in the frame `left_out`; `_features(perturbations)`, which returns features
    of each row and which rows are known, (rows,) bool; and `_predict(features)`, which returns effects of
    known rows, (rows, genes). Learns `constant_` and `residuals_`, truth minus `left_out`.
    """

    def fit(self, train: Competition) -> Self:
        self.knowledge_ = self.knowledge.concerning(train)
        self.constant_ = Constant().fit(train)
        left_out = leave_one_out_constant(train).copy()
        self._fit(train, left_out)
        self.residuals_ = train.effects - left_out
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects: perturbation x gene."""
        prediction = self.constant_.predict(perturbations)
        features, known = self._features(perturbations)
        if known.any():
            prediction.loc[known] = self._predict(features[known])
        return prediction


class DistributionModel(WithKnowledge):
    """A model of predictive distributions; what it does not know gets the constant's prediction.

    A subclass has `predict_distribution` and learns `constant_`.
    """

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return score-optimal effects: perturbation x gene."""
        prediction = decide(self.predict_distribution(perturbations))
        prediction.loc[~self._known(perturbations)] = self.constant_.effect_.to_numpy()
        return prediction

    def _known(self, perturbations):
        return self.knowledge_.knows(perturbations).to_numpy()


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

    def fit_each(self, trains: Sequence[Competition]) -> Iterator[Self]:
        """Yield a fitted copy for each Competition: base models that can are fitted side by side."""
        for base, train in zip(fit_each(self.base, trains), trains, strict=True):
            yield OnTargetGene(base, self.shape).fit_effect(train)

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
