"""Predictive distributions of (perturbation, gene) pairs from all kernels, weighed once for all genes.

`Neighbours` gives every gene of a perturbation the same scenarios. Here each gene has probabilities of
its own. Features of a pair: how much larger than usual the gene's effects are in similar perturbations,
by each kernel; the prediction of ridge on the kernel; the effect of the same perturbation in other
screens. A pooled regression over all pairs learns their coefficients. Every feature of a training pair is
computed without its row, and as a difference from the other rows' mean: that mean by itself would reveal
the value that is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..competition import Competition
from ..decision import Distribution, mix
from .baselines import DistributionModel
from .neighbours import Neighbours
from .pooled_regression import LIMIT, distribution_by_gene, fit_regressions

SMOOTHING = 0.02  # weight of the gene's usual value in a weighted mean over similar rows
FLOOR = 0.003
SOFT, SHARP, SHARPER = (1, 3 * FLOOR), (2, FLOOR), (3, FLOOR)  # power of a kernel, and its floor
# Kernels of sets spread widely; of the cosines of whole responses most are small.
RESPONSES = ("response_cosine", "smoothed_response", "neighbour_response")
SETTINGS = {"all_sets": (SOFT, SHARP)} | dict.fromkeys(RESPONSES, (SHARPER,))
RIDGE = 10.0 ** np.arange(-1.5, 1.6, 0.5)  # penalties tried, x the mean of the kernel's diagonal


@dataclass(eq=False, kw_only=True)
class PairwiseRegression(DistributionModel):
    """Pooled regression over pairs, mixed with `Neighbours`.

    exclude_own_response: as for `Neighbours`. share: of the distribution that stays with the scenarios
    of `Neighbours`, in which genes vary together. A perturbation of which nothing is known gets the
    constant's prediction.
    """

    share: float = 0.5
    exclude_own_response: bool = False
    seed: int = 0

    def fit(self, train: Competition) -> Self:
        self.knowledge_ = self.knowledge.concerning(train)
        neighbours = Neighbours(self.knowledge_, exclude_own_response=self.exclude_own_response)
        self.neighbours_, self.train_ = neighbours.fit(train), train
        self.constant_ = self.neighbours_.constant_
        features, _ = self._features(train.effects.index, training=True)
        self.scale_ = np.sqrt((features**2).mean(axis=(0, 1))) + 1e-9
        features = self._scaled(features)
        self.regressions_ = fit_regressions(features, train, seed=self.seed)
        return self

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the distribution over the training rows' effects."""
        return mix(*self.distributions(perturbations), self.share)

    def distributions(self, perturbations: Sequence[str]) -> tuple[Distribution, Distribution]:
        """Return two Distributions: the scenarios of `Neighbours`, and gene by gene."""
        scenarios = self.neighbours_.predict_distribution(perturbations)
        features, _ = self.evidence(perturbations)
        row_weights = self.constant_.row_weights_
        return scenarios, distribution_by_gene(scenarios, features, self.regressions_, row_weights)

    def evidence(self, perturbations: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """Return the regressions' features, (perturbations, genes, features), and each one's kernel.

        The kernel of features of the responses themselves is named `elsewhere`.
        """
        features, kernels = self._features(perturbations, training=False)
        return self._scaled(features), kernels

    def _scaled(self, features):
        features /= self.scale_
        return np.clip(features, -LIMIT, LIMIT, out=features)

    def _features(self, perturbations, *, training):
        """Features of pairs, (perturbations, genes, features), float32, and the kernel of each.

        training: the perturbations are the training rows, each described by the others only.
        """
        train, hidden = self.train_, {"exclude_own_response": self.exclude_own_response}
        rows, names = train.effects.index, list(perturbations)
        evidence = _Evidence(train.effects.to_numpy(), train.weights.to_numpy(), training)
        found = []  # (kernel, feature)
        pathways = self.knowledge_.pathways
        of_sets = ["all_sets", "small_sets", *(pathways.parts if pathways is not None else ())]
        everything = list(dict.fromkeys([*rows, *names]))
        kernels = self.knowledge_.kernels(everything, rows=rows, **hidden)
        for name, values in kernels.items():
            new = values.loc[names, rows].to_numpy()
            for power, floor in SETTINGS.get(name, (SOFT if name in of_sets else SHARP,)):
                found += [(name, part) for part in evidence.near(new**power + floor)]
            if name not in (*of_sets[2:], "neighbour_to_response"):
                square = values.loc[rows, rows].to_numpy()
                found += [(name, part) for part in evidence.ridge(square, new)]
        response = self.knowledge_.response(names, **hidden)
        if response is not None:
            # A gene that no screen measured has the atlas's mean effect: none.
            aligned = (
                part.reindex(columns=train.genes).fillna(0.0).to_numpy()
                for part in (self.knowledge_.response(rows, **hidden), response)
            )
            found += [("elsewhere", part) for part in evidence.elsewhere(*aligned)]
        found = found or [("nothing", np.zeros((1, 1)))]
        shape = len(names), train.effects.shape[1]
        parts = [np.broadcast_to(part, shape) for _, part in found]
        return np.stack(parts, axis=2, dtype=np.float32), [name for name, _ in found]


class _Evidence:
    """Features from training rows (rows, genes); with `training` each row is left out of its own."""

    def __init__(self, effects, weights, training):
        self.training = training
        self.effects, self.weights = effects, weights
        size = np.abs(effects)
        least = np.median(size[size > 0]) / 2 if size.any() else 0.0
        strong = [beyond for beyond in (effects > least, effects < -least) if beyond.mean() > 0.01]
        self.channels = [effects, *(beyond.astype(float) for beyond in strong)]
        moved = (weights * effects).sum(axis=1) / weights.sum(axis=1)
        self.strength = [size.mean(axis=1)[:, None], moved[:, None]]
        # What no kernel changes.
        centred = [values - values.mean(axis=0) for values in self.channels]
        self.deviations = [(one, one @ one.T) for one in centred]
        self.means = [self._mean(values) for values in self.channels]
        self.odds = [_log_odds(mean) for mean in self.means[1:]]
        self.weighted, of_weights = weights * effects, self._mean(weights)
        self.usual = self._mean(self.weighted) / np.maximum(of_weights, 1e-9)

    def near(self, kernel):
        """Difference of similar rows from all others: features for a kernel, (new rows, rows)."""
        if self.training:
            kernel = kernel * (1 - np.eye(len(kernel)))
        share = kernel / kernel.sum(axis=1, keepdims=True)
        found = [share @ self.effects - self.means[0]]
        for strong, odds in zip(self.channels[1:], self.odds, strict=True):
            found.append(_log_odds(share @ strong) - odds)
        found += [share @ values - self._mean(values) for values in self.strength]
        total = share @ self.weighted + SMOOTHING * self.usual
        return [*found, total / (share @ self.weights + SMOOTHING) - self.usual]

    def ridge(self, kernel, new):
        """Deviation from the mean by kernel ridge, its penalty chosen by exact leave-one-out."""
        size, axes = np.linalg.eigh(kernel)
        size = np.maximum(size, 0.0)
        penalties = RIDGE * (np.trace(kernel) / len(kernel) or 1.0)
        errors = []  # by penalty: deviation -> leave-one-out error, a matrix common to all genes
        for shrunk in size / (size + penalties[:, None]):
            fitted = (axes * shrunk) @ axes.T
            moved = (1 - fitted.sum(axis=1)) / (len(kernel) - 1)  # the mean changes without the row
            off = np.eye(len(kernel)) - fitted + np.diag(moved)
            errors.append(off / (1 - np.diag(fitted))[:, None])
        found = []
        rows = zip(self.channels, self.means, self.deviations, strict=True)
        for values, mean, (deviation, products) in rows:
            best = np.argmin([((error @ products) * error).sum() for error in errors])
            if self.training:
                found.append(values - errors[best] @ deviation - mean)
            else:
                found.append(new @ (axes / (size + penalties[best]) @ axes.T) @ deviation)
        return found

    def elsewhere(self, of_rows, response):
        """Responses in other screens: values, signs, strength, and a regression on them by gene."""
        strength = np.abs(response).mean(axis=1, keepdims=True)
        centred = of_rows - of_rows.mean(axis=0)
        square = (centred**2).sum(axis=0)
        prior = max(10 * square.mean() / len(of_rows), 1e-12)
        found = [response, np.sign(response), strength - np.abs(of_rows).mean()]
        for values in self.channels:
            deviation = values - values.mean(axis=0)
            product = (centred * deviation).sum(axis=0)
            slope = (product + prior * product.sum() / max(square.sum(), 1e-12)) / (square + prior)
            if self.training:
                leverage = 1 / len(values) + centred**2 / (square + prior)
                left = values - (deviation - centred * slope) / (1 - leverage)
                found.append(left - self._mean(values))
            else:
                found.append((response - of_rows.mean(axis=0)) * slope)
        return found

    def _mean(self, values):
        """Mean of all rows, or of all others."""
        total = values.sum(axis=0)
        return (total - values) / (len(values) - 1) if self.training else total / len(values)


def _log_odds(share):
    return np.log((share + SMOOTHING) / (1 - share + SMOOTHING))
