"""From a predictive distribution of each effect to the values with the best expected score.

The mean is not the score-optimal value. WMAE is minimised by a median, weighted towards values that carry
metric weight (weights grow with the true effect); its logarithm rewards rows that can be predicted well;
Wcos is one cosine over all rows, in which a value below the gate counts nothing. `decide` searches for
the values with the largest expected W x Wcos. Support points of the distributions are effects of training
rows; the models provide their probabilities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .io.files import InputError, quote_some
from .metric import GATE

CANDIDATES = 33  # values tried for a gene: half at quantiles, half along its range, and 0
FLOOR = 0.5  # x the median error of the constant: the least error that is expected in a scenario
EXCHANGE = tuple(np.geomspace(6, 0.15, 13))  # rates at which W is given for Wcos, tried in turn
SWEEPS = 2  # at each rate: row weights and norms move a little with every choice
AT_ONCE = 2**18  # entries of a table that are computed together, as many as a cache holds


@dataclass(frozen=True, eq=False)
class Distribution:
    """Predictive distribution of the effects of perturbations: support points with probabilities.

    values, weights: point x gene frames, effects (log2) and metric weights of whole scenarios, such as
    the training rows. rows: perturbation x point frame, the probability of each scenario, sums to 1.
    chance: (genes, perturbations, points), the probability of each point gene by gene, sums to 1 over
    points; None: that of its row. mass: same shape, the metric weight expected on a point, mean 1 over
    genes; None: probability x weight. scenarios: share of the distribution in which genes vary together
    as in `rows`; in the rest an error averages out over genes. error: WMAE of the best constant in each
    scenario, a series by point; baseline: by gene, the mean training effect.
    """

    values: pd.DataFrame
    weights: pd.DataFrame
    rows: pd.DataFrame
    error: pd.Series
    baseline: pd.Series
    chance: np.ndarray | None = None
    mass: np.ndarray | None = None
    scenarios: float = 1.0

    @property
    def genes(self) -> pd.Index:
        return self.values.columns

    @property
    def perturbations(self) -> pd.Index:
        return self.rows.index

    def chances(self) -> np.ndarray:
        """Return the probability of each point: (genes, perturbations, points), float32."""
        if self.chance is not None:
            return self.chance
        rows = self.rows.to_numpy(dtype=np.float32)
        return np.broadcast_to(rows, (len(self.genes), *rows.shape))

    def masses(self) -> np.ndarray:
        """Return the expected metric weight on each point: (genes, perturbations, points), float32."""
        if self.mass is not None:
            return self.mass
        return self.chances() * self.weights.to_numpy(dtype=np.float32).T[:, None, :]

    def reindex(self, perturbations: Sequence[str]) -> "Distribution":
        """Return the distribution of these of its perturbations, in this order.

        Raises InputError for a perturbation that it does not hold.
        """
        places = self.perturbations.get_indexer(perturbations)
        if unknown := [name for name in perturbations if name not in self.perturbations]:
            raise InputError(f"the distribution does not hold {quote_some(unknown)}; predict them")
        chance, mass = (
            None if part is None else part[:, places] for part in (self.chance, self.mass)
        )
        return replace(self, rows=self.rows.iloc[places], chance=chance, mass=mass)

    def mean(self) -> pd.DataFrame:
        """Return the expected effects: perturbation x gene."""
        values = self.values.to_numpy(dtype=np.float32).T[:, :, None]  # (genes, points, 1)
        mean = (self.chances() @ values)[:, :, 0].T.astype(float)
        return pd.DataFrame(mean, self.perturbations, self.genes)

    def quantile(self, level: float) -> pd.DataFrame:
        """Return a quantile of each effect, 0 < level < 1: perturbation x gene."""
        values = self.values.to_numpy().T
        order = np.argsort(values, axis=1)
        reached = np.take_along_axis(self.chances(), order[:, None, :], axis=2).cumsum(axis=2)
        place = np.argmax(reached >= level * reached[:, :, -1:], axis=2)  # (genes, perturbations)
        chosen = np.take_along_axis(np.sort(values, axis=1), place, axis=1)
        return pd.DataFrame(chosen.T, self.perturbations, self.genes)


def mix(one: Distribution, other: Distribution, share: float) -> Distribution:
    """Return the mixture of `one` with probability `share` and else `other`.

    Both have the same scenarios and perturbations; InputError otherwise.
    """
    if not one.values.equals(other.values) or not one.rows.index.equals(other.rows.index):
        raise InputError("cannot mix: training rows or perturbations differ; fit both on the same")
    share = np.float32(share)
    return replace(
        one,
        rows=share * one.rows + (1 - share) * other.rows,
        chance=_mean(share, one.chances(), other.chances()),
        mass=_mean(share, one.masses(), other.masses()),
        scenarios=float(share * one.scenarios + (1 - share) * other.scenarios),
    )


def join(distributions: Sequence[Distribution]) -> Distribution:
    """Return distributions of different perturbations over the same scenarios as one."""
    rows, parts = pd.concat([part.rows for part in distributions]), {}
    if any(part.chance is not None for part in distributions):
        parts["chance"] = np.concatenate([part.chances() for part in distributions], axis=1)
    if any(part.mass is not None for part in distributions):
        parts["mass"] = np.concatenate([part.masses() for part in distributions], axis=1)
    return replace(distributions[0], rows=rows, **parts)


def decide(distribution: Distribution, *, gate: float = GATE) -> pd.DataFrame:
    """Return the score-optimal values, those with a high expected W x Wcos: perturbation x gene, log2.

    Between W and Wcos there is a rate of exchange: at a given rate the best value of each gene is
    found by itself, among candidates of its range; rates are tried in turn, and the one with the largest
    product of expected W and Wcos is taken: near the best for hundreds of genes, each of which moves the
    sums little, not for two or three. On-target genes are set by `OnTargetGene`.
    """
    expected = ExpectedScore(distribution, gate)
    best = max(expected.path(), key=lambda step: step[2].product)[1]
    effects = expected.value(best).astype(float)
    return pd.DataFrame(effects, distribution.perturbations, distribution.genes)


@dataclass(frozen=True)
class Expected:
    """Expectation for one choice of values: W, the sums of Wcos, and the weights of errors in W."""

    w: float
    dot: float
    predicted: float
    true: float
    scale: np.ndarray  # (perturbations, points): what an error in a scenario takes from W

    @property
    def wcos(self) -> float:
        return self.dot / max(np.sqrt(self.predicted * self.true), 1e-12)

    @property
    def product(self) -> float:
        return self.w * self.wcos if self.dot > 0 else -np.inf


class ExpectedScore:
    """Expected errors and gated products of all candidate values, (genes, perturbations, candidates)."""

    def __init__(self, distribution: Distribution, gate: float):
        self.distribution = distribution
        self.weights = distribution.weights.to_numpy(dtype=np.float32).T  # (genes, points)
        self.values = distribution.values.to_numpy(dtype=np.float32).T
        self.candidates = _candidates(self.values)
        chance, self.mass = distribution.chances(), distribution.masses()
        (count, size), perturbations = self.values.shape, chance.shape[1]
        step = max(1, AT_ONCE // (max(perturbations, CANDIDATES) * size))
        self.blocks = [slice(start, start + step) for start in range(0, count, step)]  # of genes
        tables = np.empty((4, count, perturbations, CANDIDATES), dtype=np.float32)
        self.dot, self.predicted, self.true, self.error = tables
        self.distance = np.empty((count, size, CANDIDATES), dtype=np.float32)
        for genes in self.blocks:
            points, tried = self.values[genes, :, None], self.candidates[genes, None, :]
            ramp = np.minimum(np.maximum(np.abs(points), np.abs(tried)) / np.float32(gate), 1)
            gated = (ramp * ramp * (3 - 2 * ramp)) ** 2
            self.dot[genes] = chance[genes] @ (gated * points * tried)
            self.predicted[genes] = chance[genes] @ (gated * tried**2)
            self.true[genes] = chance[genes] @ (gated * points**2)
            self.distance[genes] = np.abs(points - tried)
            self.error[genes] = self.mass[genes] @ self.distance[genes]
        baseline = distribution.baseline.to_numpy()[:, None]
        nearest = np.abs(self.candidates - baseline).argmin(axis=1)
        places = np.broadcast_to(nearest, (len(distribution.perturbations), len(nearest)))
        self.baseline = _taken(self.error, places).mean(axis=1)
        self.scenario_baseline = self._scenario_errors(places[:1])[0]
        self.floor = max(FLOOR * float(np.median(distribution.error)), 1e-9)

    def path(self) -> Iterator[tuple[float, np.ndarray, Expected]]:
        """Yield (rate, places of candidates, Expected): the weighted medians, then each rate."""
        chosen = self.error.argmin(axis=2).T
        state = self.expected(chosen)
        yield np.inf, chosen, state
        for rate in EXCHANGE:
            for _ in range(SWEEPS):
                chosen = self.best(rate, state)
                state = self.expected(chosen)
            yield rate, chosen, state

    def expected(self, chosen: np.ndarray) -> Expected:
        """Return the Expected of the candidates chosen, (perturbations, genes)."""
        rows, share = self.distribution.rows.to_numpy(), self.distribution.scenarios
        scenario_error = self._scenario_errors(chosen) + self.floor  # (perturbations, points)
        mean_error = np.maximum(_taken(self.error, chosen).mean(axis=1), 1e-12)
        together = (rows * np.log2((self.scenario_baseline + self.floor) / scenario_error)).sum()
        by_gene = np.log2(np.maximum(self.baseline, 1e-12) / mean_error).sum()
        # W counts logarithms: a scenario that can be predicted well weighs more, as 1 / its error.
        scale = 1 / scenario_error
        level = (rows * scale).sum(axis=1, keepdims=True)
        scale *= share + (1 - share) / (mean_error[:, None] * level)
        sums = (float(_taken(part, chosen).sum()) for part in (self.dot, self.predicted, self.true))
        w = share * together + (1 - share) * by_gene
        return Expected(float(w), *sums, scale.astype(np.float32))

    def best(self, rate: float, state: Expected) -> np.ndarray:
        """Return the best candidate of each gene where W of a row is worth `rate` x the log of Wcos."""
        price = np.float32(rate / (self.error[:, :, 0].size * np.log(2)))
        chosen = np.empty(self.dot.shape[:2], dtype=int)
        for genes in self.blocks:
            loss = (self.mass[genes] * state.scale) @ self.distance[genes]
            gain = self.dot[genes] / max(state.dot, 1e-9)
            gain -= self.predicted[genes] / (2 * state.predicted + 1e-9)
            gain -= self.true[genes] / (2 * state.true + 1e-9)
            gain -= price * loss
            chosen[genes] = gain.argmax(axis=2)
        return chosen.T

    def value(self, chosen: np.ndarray) -> np.ndarray:
        """Return the effects of the candidates chosen: (perturbations, genes), float32."""
        return np.take_along_axis(self.candidates, chosen.T, axis=1).T

    def _scenario_errors(self, chosen):
        """WMAE of each row of choices were each scenario true: (rows of `chosen`, points)."""
        weights, distance = self.weights / np.float32(len(self.weights)), np.empty_like(self.values)
        errors = []
        for row in self.value(chosen):
            np.abs(np.subtract(self.values, row[:, None], out=distance), out=distance)
            errors.append(np.einsum("ga,ga->a", weights, distance))
        return np.array(errors, dtype=float)


def _mean(share, one, other):
    """Weighted mean of two tables, float32, without a third one beside it."""
    total = share * one
    total += (1 - share) * other
    return total


def _candidates(values):
    """Values tried for each gene, sorted: (genes, CANDIDATES)."""
    half = CANDIDATES // 2
    quantiles = np.quantile(values, np.linspace(0, 1, half), axis=1).T
    low = np.minimum(values.min(axis=1), 0)[:, None]
    high = np.maximum(values.max(axis=1), 0)[:, None]
    line = low + (high - low) * np.linspace(0, 1, CANDIDATES - half - 1)
    zero = np.zeros((len(values), 1))
    return np.sort(np.hstack([quantiles, line, zero]), axis=1).astype(np.float32)


def _taken(table, chosen):
    """Entries of (genes, perturbations, candidates) at the choices: (perturbations, genes)."""
    first = np.arange(0, table.size, table.shape[2]).reshape(table.shape[:2])
    return table.ravel().take(first + chosen.T).T
