"""One pooled regression for all (perturbation, gene) pairs: the probability of effects.

A logistic regression for the probability that an effect exceeds each threshold: coefficients common to
all genes, an intercept for each gene, shrunk to the common one. Probabilities between thresholds then
reweight the genes' own training effects: support points in one bin keep their proportions.
`PairwiseRegression` provides features of similar perturbations; `ResidualDistribution` those of any
model's point prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit

from ..competition import Competition
from ..decision import AT_ONCE, Distribution
from .baselines import Constant, DistributionModel, leave_one_out_constant, once_each
from .neighbours import Neighbours

LEVELS = np.arange(1, 10) / 10  # of each gene's training effects: the thresholds
PENALTY = 10.0  # of a coefficient, x the genes, of which count at most
GENES = 100  # as much as independent ones: those of a row go together
PAIRS = 40_000  # that coefficients are learned from; more gain nothing
ROUNDS = 12  # of Newton's method, which converges after about six
PRIOR = 2.0  # rows by which a gene's intercept is shrunk to the common one
LEAST = 0.003  # probability that a bin is taken to have had, so that empty bins are not inflated
LIMIT = 5.0  # of a step from the constant, in root mean squares


@dataclass(eq=False)
class PooledOrdinal:
    """Probabilities of bins from features of pairs.

    thresholds: (thresholds, genes), ascending. penalty: ridge on the coefficients of features scaled to
    root mean square 1, in pairs' worth of information. Learns `coefficients_` (thresholds, features) and
    `intercepts_` (thresholds, genes).
    """

    thresholds: np.ndarray
    penalty: float

    def fit(
        self,
        features: np.ndarray,
        effects: np.ndarray,
        weights: np.ndarray,
        genes: np.ndarray | None = None,
    ) -> Self:
        """Fit to features (rows, genes, features), effects and weights (rows, genes).

        genes: places of the genes that coefficients are learned from, by default all.
        """
        from threadpoolctl import threadpool_limits

        chosen = slice(None) if genes is None else genes
        some, few = np.ascontiguousarray(features[:, chosen]), weights[:, chosen]
        exact = some.reshape(few.size, -1).astype(float)
        beyond = effects > self.thresholds[:, None]  # (thresholds, rows, genes)
        # One thread: several wait for each other on products this small, ten times as long on a busy
        # machine, and the sums then depend on their number.
        with threadpool_limits(1):
            fits = [_logistic(some, exact, one[:, chosen], few, self.penalty) for one in beyond]
            self.coefficients_ = np.array([slope for slope, _ in fits])
            known = np.moveaxis(self._linear(features), 2, 0)
        # With these coefficients, the intercepts of all genes.
        commons = [found.mean() for _, found in fits]
        each = zip(known, beyond, commons, strict=True)
        self.intercepts_ = np.array([_intercepts(*one, weights) for one in each])
        return self

    def chances(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of each bin, from the lowest up: (rows, genes, thresholds + 1)."""
        linear = self._linear(features)
        beyond = np.minimum.accumulate(expit(linear + self.intercepts_.T), axis=2)
        return -np.diff(beyond, axis=2, prepend=1.0, append=0.0)

    def bins(self, effects: np.ndarray) -> np.ndarray:
        """Return the bin of each effect: (rows, genes), whole numbers."""
        return (effects[None] > self.thresholds[:, None]).sum(axis=0)

    def _linear(self, features):
        """Log odds but for the intercepts: (rows, genes, thresholds)."""
        return features @ self.coefficients_.T.astype(features.dtype)


def tilted(base: np.ndarray, chances: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Return probabilities of points that agree with those of bins, float32, shaped as `base`.

    base: the probability of each point before, (genes, perturbations, points) or broadcast to it;
    chances: (perturbations, genes, bins); bins: (points, genes).
    """
    count, (perturbations, genes, width) = len(bins), chances.shape
    base = np.broadcast_to(base, (genes, perturbations, count))
    tilted, step = np.empty(base.shape, dtype=np.float32), max(1, AT_ONCE // base[0].size)
    for block in (slice(start, start + step) for start in range(0, genes, step)):
        even = base[block] / base[block].sum(axis=2, keepdims=True)
        inside = (bins.T[block, :, None] == np.arange(width)).astype(np.float32)
        before = even @ inside  # (genes, perturbations, bins)
        ratio = np.moveaxis(chances[:, block], 1, 0).astype(np.float32)
        ratio /= before + np.float32(LEAST)
        after = even * (ratio @ np.swapaxes(inside, 1, 2))
        # Between equal thresholds a bin is empty: a probability that lies all there changes no point.
        nowhere = ~after.any(axis=2)
        after[nowhere] = even[nowhere]
        np.divide(after, after.sum(axis=2, keepdims=True), out=tilted[block])
    return tilted


def gene_quantiles(effects: np.ndarray, weights: np.ndarray, levels: ArrayLike) -> np.ndarray:
    """Return weighted quantiles of each gene's effects at `levels`: (levels, genes) or (genes,).

    Each is the least effect that reaches its level. effects, weights: (rows, genes); rows of genes
    without any weight count equally.
    """
    weights = np.where(weights.sum(axis=0) > 0, weights, 1.0)
    return np.quantile(effects, levels, axis=0, weights=weights, method="inverted_cdf")


def fit_regressions(
    features: np.ndarray, train: Competition, *, seed: int = 0
) -> list[PooledOrdinal]:
    """Return two pooled regressions: of the probabilities, and of the metric's weight on effects.

    features: of the training rows, (rows, genes, features). seed: of the draw of genes where there are
    more than enough pairs.
    """
    effects = train.effects.to_numpy()
    rows, count = effects.shape
    genes = np.sort(np.random.default_rng(seed).permutation(count)[: max(1, PAIRS // rows)])
    penalty = PENALTY * min(count, GENES)
    return [
        PooledOrdinal(thresholds, penalty).fit(features, effects, weights, genes)
        for thresholds, weights in _thresholds(train)
    ]


@once_each
def _thresholds(train):
    """Thresholds, (thresholds, genes), and weights of pairs, mean 1: even, and by the metric."""
    effects = train.effects.to_numpy()
    weights = train.weights.mul(Constant().fit(train).row_weights_, axis=0).to_numpy()
    even, by_metric = np.ones_like(effects), np.maximum(weights, 1e-9)
    return [(gene_quantiles(effects, by, LEVELS), by / by.mean()) for by in (even, by_metric)]


def distribution_by_gene(
    scenarios: Distribution,
    features: np.ndarray,
    regressions: Sequence[PooledOrdinal],
    row_weights: pd.Series,
) -> Distribution:
    """Return the distribution of `scenarios` with probabilities of its own for each gene.

    features: (perturbations, genes, features); regressions: as `fit_regressions` returns them;
    row_weights: of the training rows, as `Constant` learns them.
    """
    effects = scenarios.values.to_numpy()
    metric_weights = scenarios.weights.to_numpy(dtype=np.float32).T
    weights = scenarios.weights.mul(row_weights, axis=0).to_numpy()
    rows = scenarios.rows.to_numpy(dtype=np.float32)
    rows = (rows + 1 / rows.shape[1]) / 2  # points within a bin: half by similarity, half equal
    plain, weighted = regressions
    chance = tilted(rows[None], plain.chances(features), plain.bins(effects))
    expected = chance @ metric_weights[:, :, None]  # (genes, perturbations, 1)
    expected /= expected.mean(axis=0)
    base = rows[None] * np.maximum(weights, 1e-9).T[:, None, :].astype(np.float32)
    mass = expected * tilted(base, weighted.chances(features), weighted.bins(effects))
    return replace(scenarios, chance=chance, mass=mass, scenarios=0.0)


class ResidualDistribution(DistributionModel):
    """A model of point predictions with a predictive distribution, by its residuals on left-out rows.

    model: any with `residuals_` (truth minus leave-one-out prediction). A pooled regression learns how
    effects are distributed around those predictions; where they predict nothing, the distribution is
    that of each gene's training effects. What the model does not know gets the constant's prediction.
    """

    def __init__(self, model: Any):
        self.model = model

    def fit(self, train: Competition) -> Self:
        self.model.fit(train)
        self.even_ = Neighbours().fit(train)
        self.constant_ = self.even_.constant_
        left_out = train.effects - self.model.residuals_
        left_out -= leave_one_out_constant(train)
        step = left_out.to_numpy()
        self.scale_ = np.sqrt((step**2).mean()) + 1e-9
        self.regressions_ = fit_regressions(self._features(step), train)
        return self

    def predict_distribution(
        self, perturbations: Sequence[str], scenarios: Distribution | None = None
    ) -> Distribution:
        """Return the distribution over the training rows' effects.

        scenarios: a Distribution of whole rows to start from, by default one of equal probabilities.
        """
        if scenarios is None:
            scenarios = self.even_.predict_distribution(perturbations)
        step = self.model.predict(scenarios.perturbations) - self.constant_.effect_
        features, row_weights = self._features(step.to_numpy()), self.constant_.row_weights_
        return distribution_by_gene(scenarios, features, self.regressions_, row_weights)

    def _known(self, perturbations):
        predicted = self.model.predict(perturbations)
        return (predicted != self.constant_.effect_).any(axis=1).to_numpy()

    def _features(self, step):
        """Step from the constant and its size, (rows, genes, 2)."""
        scaled = np.clip(step / self.scale_, -LIMIT, LIMIT)
        return np.stack([scaled, np.abs(scaled) - 1], axis=2, dtype=np.float32)


def _logistic(features, exact, beyond, weights, penalty):
    """Coefficients and intercepts of genes by Newton's method, the intercepts profiled in each step.

    exact: the features of each pair in double precision, in which the gradient is summed. Intercepts are
    shrunk to their mean, from the log odds of all pairs on.
    """
    flat = features.reshape(exact.shape)
    share = np.clip((weights * beyond).sum() / weights.sum(), 1e-4, 1 - 1e-4)
    middle = np.log(share / (1 - share))
    intercepts = np.full(features.shape[1], middle)
    slope = np.zeros(flat.shape[1], dtype=features.dtype)
    shrinkage = penalty * np.eye(len(slope))
    for _ in range(ROUNDS):
        chance = expit(features @ slope + intercepts)
        curvature = (np.maximum(chance * (1 - chance), 1e-4) * weights).astype(features.dtype)
        residual = weights * (beyond - chance)
        by_gene = curvature.sum(axis=0) + PRIOR
        mixed = np.einsum("rg,rgk->gk", curvature, features)
        profile = (mixed / by_gene[:, None]).T
        root = flat * np.sqrt(curvature).reshape(-1, 1)
        square = root.T @ root - profile @ mixed  # of one matrix with itself: half the products
        gradient = residual.sum(axis=0) - PRIOR * (intercepts - middle)
        right = residual.ravel() @ exact - penalty * slope - profile @ gradient
        step = np.linalg.solve(square + shrinkage, right)
        move = np.clip((gradient - mixed @ step) / by_gene, -3, 3)
        slope, intercepts = slope + step.astype(features.dtype), intercepts + move
        middle = intercepts.mean()
        if np.abs(step).max(initial=0) < 1e-3 and np.abs(move).max() < 1e-2:
            break
    return slope, intercepts


def _intercepts(known, beyond, common, weights):
    """Intercepts of genes by Newton's method, shrunk to `common`.

    known: the log odds without them; known, beyond, weights: (rows, genes). Genes whose intercept has
    settled leave the rounds.
    """
    found, left = np.full(known.shape[1], common), np.arange(known.shape[1])
    for _ in range(ROUNDS):
        chance = expit(known + found[left])
        curvature = (np.maximum(chance * (1 - chance), 1e-4) * weights).sum(axis=0) + PRIOR
        gradient = (weights * (beyond - chance)).sum(axis=0) - PRIOR * (found[left] - common)
        move = np.clip(gradient / curvature, -3, 3)
        found[left] += move
        moving = np.abs(move) > 1e-3
        if not moving.any():
            break
        known, beyond, weights = known[:, moving], beyond[:, moving], weights[:, moving]
        left = left[moving]
    return found
