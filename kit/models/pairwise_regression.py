"""What to believe of each (knockdown, gene) pair: evidence of all kernels, weighed once for all genes.

`Neighbours` gives every gene of a knockdown the same scenarios. Here the genes are told apart: how much
more than usual a gene answered in similar knockdowns, by each kernel; what ridge on the kernel expects;
what the same knockdown did to it in other screens. A pooled regression (`ordinal`) learns from all
pairs what that is worth. Every feature of a training pair is computed without its row, and as a
difference from the other rows' mean: that mean by itself would tell the value that is left out.
"""

from dataclasses import replace

import numpy as np

from ..decision import decide, mix
from ..knowledge import Knowledge
from .neighbours import Neighbours
from .ordinal import PooledOrdinal, gene_thresholds, tilted
from .ranks import metric_row_weights

LEVELS = np.arange(1, 10) / 10
PENALTY = 10.0  # of a coefficient, x the genes, of which count at most
GENES = 100  # as much as independent ones: those of a row go together
PAIRS = 40_000  # that coefficients are learned from; more gain nothing
SMOOTHING = 0.02  # weight of the gene's usual value in a weighted mean over similar rows
FLOOR = 0.003
SOFT = ((1, 3 * FLOOR), (2, FLOOR))  # power and floor of kernels that spread widely
SHARP = ((2, FLOOR),)  # of those made from responses
SHARPER = ((3, FLOOR),)  # of the cosines of whole responses, of which most are small
LIMIT = 5.0  # of a feature, in its root mean squares
RIDGE = 10.0 ** np.arange(-1.5, 1.6, 0.5)  # penalties tried, x the mean of the kernel's diagonal


class PairwiseRegression:
    """Pooled regression over pairs, mixed with `Neighbours`.

    exclude_own_response: as for `Neighbours`. share: of the belief that stays
    with the scenarios of `Neighbours`, in which genes move together.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        share: float = 0.5,
        exclude_own_response: bool = False,
        seed: int = 0,
    ):
        self.knowledge = knowledge or Knowledge()
        self.share = share
        self.exclude_own_response = exclude_own_response
        self.seed = seed

    def fit(self, train):
        self.neighbours_ = Neighbours(
            self.knowledge, exclude_own_response=self.exclude_own_response
        ).fit(train)
        self.train_ = train
        effects, weights = train.effects.to_numpy(), train.weights.to_numpy()
        self.row_weights_ = metric_row_weights(train, self.neighbours_.constant_).to_numpy()
        features = self._features(train.effects.index, training=True)
        self.scale_ = np.sqrt((features**2).mean(axis=(0, 1))) + 1e-9
        features = np.clip(features / self.scale_, -LIMIT, LIMIT)
        pulls = weights * self.row_weights_[:, None]
        self.models_ = learned_chances(features, effects, pulls, seed=self.seed)
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene; the constant's for perturbations of which nothing is known."""
        prediction = decide(self.predict_distribution(perturbations))
        unknown = ~self.knowledge.knows(prediction.index).to_numpy()
        prediction.loc[unknown] = self.neighbours_.constant_.effect_.to_numpy()
        return prediction

    def predict_distribution(self, perturbations):
        """Belief over the training rows' effects: a Distribution."""
        return mix(*self.distributions(perturbations), self.share)

    def distributions(self, perturbations):
        """Two Distributions: scenarios of `Neighbours`, and genes told apart."""
        scenarios = self.neighbours_.predict_distribution(perturbations)
        features, _ = self.evidence(scenarios.perturbations)
        pulls = self.train_.weights.mul(self.row_weights_, axis=0).to_numpy()
        return scenarios, believed(scenarios, features, self.models_, pulls)

    def evidence(self, perturbations):
        """What the regressions hear: features, (perturbations, genes, features), and each one's kernel.

        A feature of the responses themselves, of no kernel, is named `elsewhere`.
        """
        features = self._features(perturbations, training=False) / self.scale_
        return np.clip(features, -LIMIT, LIMIT), list(self.kernels_)

    def _features(self, perturbations, *, training):
        """Features of pairs, (perturbations, genes, features), float32.

        training: the perturbations are the training rows, each to be seen by the others only.
        """
        rows = self.train_.effects.index
        names = list(dict.fromkeys([*rows, *perturbations]))
        kernels = self.knowledge.kernels(names, exclude_own_response=self.exclude_own_response)
        effects, weights = self.train_.effects.to_numpy(), self.train_.weights.to_numpy()
        evidence = _Evidence(effects, weights, training)
        found, self.kernels_ = [], []
        for name, values in kernels.items():
            new = values.loc[perturbations, rows].to_numpy()
            for power, floor in self._settings(name):
                found += evidence.near(new**power + floor)
            if name in ("all_sets", "small_sets") or name not in (
                *self._soft(),
                "neighbour_to_response",
            ):
                found += evidence.ridge(values.loc[rows, rows].to_numpy(), new)
            self.kernels_ += [name] * (len(found) - len(self.kernels_))
        response = self.knowledge.response(
            perturbations, exclude_own_response=self.exclude_own_response
        )
        if response is not None:
            of_rows = self.knowledge.response(rows, exclude_own_response=self.exclude_own_response)
            # A gene that no atlas has answers as the atlas's mean does: not at all.
            aligned = (
                part.reindex(columns=self.train_.genes).fillna(0.0).to_numpy()
                for part in (of_rows, response)
            )
            found += evidence.elsewhere(*aligned)
            self.kernels_ += ["elsewhere"] * (len(found) - len(self.kernels_))
        shape = (len(perturbations), effects.shape[1])
        if not found:
            self.kernels_ = ["nothing"]
            return np.zeros((*shape, 1), dtype=np.float32)
        return np.stack([np.broadcast_to(part, shape) for part in found], axis=2, dtype=np.float32)

    def _settings(self, kernel):
        if kernel in self._soft():
            return SOFT if kernel == "all_sets" else SOFT[:1]
        return (
            SHARPER
            if kernel in ("response_cosine", "smoothed_response", "neighbour_response")
            else SHARP
        )

    def _soft(self):
        pathways = self.knowledge.pathways
        return ["all_sets", "small_sets", *(pathways.parts if pathways is not None else ())]


def learned_chances(features, effects, pulls, *, seed=0):
    """Two pooled regressions: chances as they are, and as the metric's weight falls on them.

    features: (rows, genes, features); effects, pulls (weight x row weight): (rows, genes). seed: of the
    draw of genes where there are more than enough pairs.
    """
    rows, count = effects.shape
    genes = np.sort(np.random.default_rng(seed).permutation(count)[: max(1, PAIRS // rows)])
    return [
        PooledOrdinal(
            gene_thresholds(effects, by, LEVELS), PENALTY * min(effects.shape[1], GENES)
        ).fit(features, effects, by / by.mean(), genes)
        for by in (np.ones_like(effects), np.maximum(pulls, 1e-9))
    ]


def believed(scenarios, features, models, pulls):
    """The belief of `scenarios` with genes told apart by `learned_chances`: a Distribution.

    features: (perturbations, genes, features); pulls: (rows, genes) as they were learned from.
    """
    effects = scenarios.values.to_numpy()
    weights = scenarios.weights.to_numpy(dtype=np.float32).T
    rows = scenarios.rows.to_numpy(dtype=np.float32)
    rows = (rows + 1 / rows.shape[1]) / 2  # atoms within a bin: half by likeness, half alike
    plain, pulled = models
    chance = tilted(rows[None], plain.chances(features), plain.bins(effects))
    expected = chance @ weights[:, :, None]  # of the metric's weight: (genes, perturbations, 1)
    expected /= expected.mean(axis=0)
    base = rows[None] * np.maximum(pulls, 1e-9).T[:, None, :].astype(np.float32)
    mass = expected * tilted(base, pulled.chances(features), pulled.bins(effects))
    return replace(scenarios, chance=chance, mass=mass, scenarios=0.0)


class _Evidence:
    """Features from training rows (rows, genes); with `training` each row is left out of its own."""

    def __init__(self, effects, weights, training):
        self.training = training
        self.effects, self.weights = effects, weights
        size = np.abs(effects)
        least = np.median(size[size > 0]) / 2 if size.any() else 0.0
        self.channels = [effects]
        for beyond in (effects > least, effects < -least):
            if beyond.mean() > 0.01:
                self.channels.append(beyond.astype(float))
        moved = (weights * effects).sum(axis=1) / weights.sum(axis=1)
        self.strength = [size.mean(axis=1)[:, None], moved[:, None]]

    def near(self, kernel):
        """How similar rows differ from all others: kernel (new rows, rows)."""
        if self.training:
            kernel = kernel * (1 - np.eye(len(kernel)))
        share = kernel / kernel.sum(axis=1, keepdims=True)
        found = [self._scaled(share @ values, values) for values in self.channels]
        found += [share @ values - self._mean(values) for values in self.strength]
        usual = self._mean(self.weights * self.effects) / np.maximum(self._mean(self.weights), 1e-9)
        total = share @ (self.weights * self.effects) + SMOOTHING * usual
        return [*found, total / (share @ self.weights + SMOOTHING) - usual]

    def ridge(self, kernel, new):
        """What kernel ridge adds to the mean, its penalty chosen by exact leave-one-out."""
        found = []
        size, axes = np.linalg.eigh(kernel)
        size = np.maximum(size, 0.0)
        scale = np.trace(kernel) / len(kernel) or 1.0
        for values in self.channels:
            deviation = values - values.mean(axis=0)
            turned = axes.T @ deviation
            own = deviation / (len(values) - 1)  # what the mean has moved by without the row
            best = np.inf
            for penalty in RIDGE * scale:
                shrunk = size / (size + penalty)
                fitted = axes @ (shrunk[:, None] * turned)
                moved = own * (1 - axes @ (shrunk * axes.sum(axis=0)))[:, None]
                leverage = (axes**2 @ shrunk)[:, None]
                left = values - (deviation - fitted + moved) / (1 - leverage)
                if (loss := ((values - left) ** 2).mean()) < best:
                    best, kept, left_out = loss, penalty, left
            if self.training:
                found.append(left_out - self._mean(values))
            else:
                found.append(new @ (axes @ (turned / (size + kept)[:, None])))
        return found

    def elsewhere(self, of_rows, response):
        """The response elsewhere, its direction, strength, and what each gene makes of it."""
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

    def _scaled(self, near, values):
        """Difference of a mean from the usual one, of shares as difference of log odds."""
        if values is self.effects:
            return near - self._mean(values)
        return _log_odds(near) - _log_odds(self._mean(values))


def _log_odds(share):
    return np.log((share + SMOOTHING) / (1 - share + SMOOTHING))
