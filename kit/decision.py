"""From what is believed of each effect to the value that the metric rewards.

A mean is the wrong answer to this metric. WMAE is won by a median, tilted towards values that bring
weight with them (weights grow with the truth); its logarithm by the rows that can be predicted well;
Wcos by direction, one cosine over all rows, where a value below the gate costs nothing. `decide` looks
for the values with the best expected W x Wcos directly. Beliefs are atoms: effects that may come true,
those of the training rows, each with a chance. Where the chances come from is the models' affair.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .io.files import InputError, quote_some
from .metric import GATE

CANDIDATES = 33  # values tried for a gene: half at quantiles, half along its range, and 0
FLOOR = 0.5  # x the median error of the constant: no scenario is believed to be hit more exactly
EXCHANGE = tuple(np.geomspace(6, 0.15, 13))  # rates at which W is given for Wcos, tried in turn
SWEEPS = 2  # at each rate: row weights and norms move a little with every choice


@dataclass(frozen=True, eq=False)
class Distribution:
    """Belief about the effects of perturbations: atoms with chances.

    values, weights: atom x gene frames, effects (log2) and metric weights of whole scenarios, such as
    the training rows. rows: perturbation x atom frame, the chance of each scenario, sums to 1. chance:
    (genes, perturbations, atoms), the chance of each atom where genes are told apart, sums to 1 over
    atoms; None: that of its row. mass: same shape, the metric weight expected to fall on an atom, mean 1
    over genes; None: chance x weight. scenarios: share of the belief in which genes move together as
    in `rows`; in the rest an error averages out over genes. error: what the best constant misses in a
    scenario, a series by atom; baseline: by gene, the mean training effect.
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
    def genes(self):
        return self.values.columns

    @property
    def perturbations(self):
        return self.rows.index

    def chances(self):
        """Chance of each atom: (genes, perturbations, atoms), float32."""
        if self.chance is not None:
            return self.chance
        rows = self.rows.to_numpy(dtype=np.float32)
        return np.broadcast_to(rows, (len(self.genes), *rows.shape))

    def masses(self):
        """Expected metric weight on each atom: (genes, perturbations, atoms), float32."""
        if self.mass is not None:
            return self.mass
        return self.chances() * self.weights.to_numpy(dtype=np.float32).T[:, None, :]

    def reindex(self, perturbations):
        """This belief about these of its perturbations, in this order."""
        places = self.perturbations.get_indexer(perturbations)
        if unknown := [
            name for name, place in zip(perturbations, places, strict=True) if place < 0
        ]:
            raise InputError(f"there is no belief about {quote_some(unknown)}; ask for it")
        return replace(
            self,
            rows=self.rows.iloc[places],
            chance=None if self.chance is None else self.chance[:, places],
            mass=None if self.mass is None else self.mass[:, places],
        )

    def mean(self):
        """Expected effect: perturbation x gene frame."""
        values = self.values.to_numpy(dtype=np.float32).T[:, :, None]  # (genes, atoms, 1)
        mean = (self.chances() @ values)[:, :, 0].T.astype(float)
        return pd.DataFrame(mean, self.perturbations, self.genes)

    def quantile(self, level):
        """Quantile of each effect, 0 < level < 1: perturbation x gene frame."""
        values = self.values.to_numpy().T
        order = np.argsort(values, axis=1)
        reached = np.take_along_axis(self.chances(), order[:, None, :], axis=2).cumsum(axis=2)
        place = np.argmax(reached >= level * reached[:, :, -1:], axis=2)  # (genes, perturbations)
        ordered = np.take_along_axis(values, order, axis=1)
        chosen = np.take_along_axis(ordered, place, axis=1)
        return pd.DataFrame(chosen.T, self.perturbations, self.genes)


def mix(one, other, share):
    """Belief that holds `one` with chance `share` and else `other`, both over the same scenarios."""
    if not one.values.equals(other.values) or not one.rows.index.equals(other.rows.index):
        raise InputError("beliefs rest on other training rows or perturbations; fit both alike")
    share = np.float32(share)
    return Distribution(
        one.values,
        one.weights,
        share * one.rows + (1 - share) * other.rows,
        one.error,
        one.baseline,
        share * one.chances() + (1 - share) * other.chances(),
        share * one.masses() + (1 - share) * other.masses(),
        float(share * one.scenarios + (1 - share) * other.scenarios),
    )


def join(beliefs):
    """Beliefs about different perturbations over the same scenarios as one."""
    first = beliefs[0]
    return Distribution(
        first.values,
        first.weights,
        pd.concat([belief.rows for belief in beliefs]),
        first.error,
        first.baseline,
        np.concatenate([belief.chances() for belief in beliefs], axis=1),
        np.concatenate([belief.masses() for belief in beliefs], axis=1),
        first.scenarios,
    )


def decide(belief, *, gate=GATE):
    """Choose effects for a high expected W x Wcos: perturbation x gene frame, log2.

    Between W and Wcos there is a rate of exchange: at a given rate the best value of each gene is
    found alone, among candidates of its range; rates are tried in turn, and that with the largest
    product of expected W and Wcos is taken: near the best for hundreds of genes, of which each moves the
    sums little, not for two or three. The own gene counts as any other: see `OnTargetGene`.
    """
    outlook = ExpectedScore(belief, gate)
    best = max(outlook.path(), key=lambda step: step[2].product)[1]
    effects = outlook.value(best).astype(float)
    return pd.DataFrame(effects, belief.perturbations, belief.genes)


@dataclass(frozen=True)
class Expected:
    """What a choice is expected to bring: W, the sums of which Wcos is made, slopes of W."""

    w: float
    dot: float
    predicted: float
    true: float
    loss: np.ndarray  # (genes, perturbations, candidates): what each candidate takes from W

    @property
    def wcos(self):
        return self.dot / max(np.sqrt(self.predicted * self.true), 1e-12)

    @property
    def product(self):
        return self.w * self.wcos if self.dot > 0 else -np.inf


class ExpectedScore:
    """Expected errors and gated products of every candidate, (genes, perturbations, candidates)."""

    def __init__(self, belief, gate):
        self.belief = belief
        values = belief.values.to_numpy(dtype=np.float32).T  # (genes, atoms)
        self.candidates = _candidates(values)
        apart = np.abs(values[:, :, None] - self.candidates[:, None, :])
        size = np.maximum(np.abs(values[:, :, None]), np.abs(self.candidates[:, None, :]))
        ramp = np.minimum(size / np.float32(gate), 1)
        gated = (ramp * ramp * (3 - 2 * ramp)) ** 2
        chance = belief.chances()
        self.dot = chance @ (gated * values[:, :, None] * self.candidates[:, None, :])
        self.predicted = chance @ (gated * self.candidates[:, None, :] ** 2)
        self.true = chance @ (gated * values[:, :, None] ** 2)
        self.apart, self.mass = apart, belief.masses()
        self.error = self.mass @ apart
        near = np.abs(self.candidates - belief.baseline.to_numpy()[:, None]).argmin(axis=1)
        places = np.broadcast_to(near, (len(belief.perturbations), len(near)))
        self.baseline = _taken(self.error, places).mean(axis=1)
        self.values, self.weights = values, belief.weights.to_numpy(dtype=np.float32).T
        self.scenario_baseline = self._scenario_errors(places[:1])[0]
        self.floor = max(FLOOR * float(np.median(belief.error)), 1e-9)

    def path(self):
        """Steps (rate, places of candidates, Expected): the weighted medians, then each rate."""
        chosen = self.error.argmin(axis=2).T
        state = self.expected(chosen)
        yield np.inf, chosen, state
        for rate in EXCHANGE:
            for _ in range(SWEEPS):
                chosen = self.best(rate, state)
                state = self.expected(chosen)
            yield rate, chosen, state

    def expected(self, chosen):
        """Expected of the candidates chosen, (perturbations, genes)."""
        belief, rows = self.belief, self.belief.rows.to_numpy()
        missed = self._scenario_errors(chosen) + self.floor  # (perturbations, atoms)
        mean_missed = np.maximum(_taken(self.error, chosen).mean(axis=1), 1e-12)
        together = (rows * np.log2((self.scenario_baseline + self.floor) / missed)).sum()
        apart = np.log2(np.maximum(self.baseline, 1e-12) / mean_missed).sum()
        share = belief.scenarios
        # W counts logarithms: a scenario that can be hit well weighs more, as 1 / its error.
        pull = 1 / missed
        level = (rows * pull).sum(axis=1, keepdims=True)
        pull *= share + (1 - share) / (mean_missed[:, None] * level)
        slope = (self.mass * pull.astype(np.float32)) @ self.apart
        sums = (float(_taken(part, chosen).sum()) for part in (self.dot, self.predicted, self.true))
        w = share * together + (1 - share) * apart
        return Expected(float(w), *sums, slope / (len(belief.genes) * np.log(2)))

    def best(self, rate, state):
        """The best candidate of each gene where a row of W is worth `rate` times the log of Wcos."""
        gain = self.dot / max(state.dot, 1e-9) - self.predicted / (2 * state.predicted + 1e-9)
        gain -= self.true / (2 * state.true + 1e-9)
        gain -= np.float32(rate / len(self.belief.perturbations)) * state.loss
        return gain.argmax(axis=2).T

    def value(self, chosen):
        """Effects of the candidates chosen: (perturbations, genes), float32."""
        return np.take_along_axis(self.candidates, chosen.T, axis=1).T

    def _scenario_errors(self, chosen):
        """WMAE of each row of choices were each scenario true: (rows of `chosen`, atoms)."""
        weights = self.weights / np.float32(len(self.weights))
        errors = [
            np.einsum("ga,ga->a", weights, np.abs(self.values - row[:, None]))
            for row in self.value(chosen)
        ]
        return np.array(errors, dtype=float)


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
    return np.take_along_axis(table, chosen.T[:, :, None], axis=2)[:, :, 0].T
