"""Similar perturbations have similar effects: training rows as scenarios, weighted by similarity.

For each perturbation every training row has a probability, a mixture over many settings of similarity
(kernel, power, floor). The floor is what a dissimilar row keeps: where no row is similar the
probabilities are equal and the prediction is the constant. No single setting is chosen: 80 rows are too
few for that. The mixture is learned from how well it predicts left-out training rows, and then shrunk
towards equal shares, more so with fewer rows. Predictions are the score-optimal values, see `decision`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..decision import Distribution
from .baselines import Constant, DistributionModel

FLOORS = (0.001, 0.003, 0.01, 0.03)
# Power of similarity, and the floor that is added to it.
SETTINGS = [(power, 3 * floor if power == 1 else floor) for power in (1, 2, 3) for floor in FLOORS]
ROWS = 80  # training rows at which the learned mixture counts half
STEPS = 300  # of the multiplicative descent, which converges after about 200


@dataclass(eq=False, kw_only=True)
class Neighbours(DistributionModel):
    """Training rows by similarity.

    exclude_own_response: use no response of the perturbation itself in other screens, only those of its
    pathway neighbours. Learns `mixture_` (series by kernel, power, floor). A perturbation of which
    nothing is known gets the constant's prediction.
    """

    exclude_own_response: bool = False

    def fit(self, train: Competition) -> Self:
        self.train_, self.knowledge_ = train, self.knowledge.concerning(train)
        self.constant_ = Constant().fit(train)
        rows = train.effects.index
        chances = self.settings(rows, rows)
        self.mixture_ = pd.Series(dtype=float, name="share")
        if chances:
            share = len(rows) / (len(rows) + ROWS)
            learned = _learned(np.array(list(chances.values())), train, self.constant_.error_)
            mixture = share * learned + (1 - share) / len(chances)
            index = pd.MultiIndex.from_tuples(chances, names=["kernel", "power", "floor"])
            self.mixture_ = pd.Series(mixture, index, name="share")
        return self

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the distribution over the training rows as scenarios."""
        train, rows = self.train_, self.rows(perturbations)
        error = self.constant_.error_
        return Distribution(train.effects, train.weights, rows, error, train.effects.mean())

    def rows(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the probability of each training row: perturbation x row, sums to 1."""
        rows, index = self.train_.effects.index, pd.Index(perturbations, name="perturbation")
        mixed = np.full((len(index), len(rows)), 1 / len(rows))
        if chances := self.settings(index, rows):
            mixed = np.tensordot(self.mixture_.to_numpy(), np.array(list(chances.values())), axes=1)
        return pd.DataFrame(mixed, index, rows)

    def settings(
        self, perturbations: Sequence[str], rows: Sequence[str]
    ) -> dict[tuple[str, int, float], np.ndarray]:
        """Return probabilities of `rows` by (kernel, power, floor): (perturbations, rows) each.

        A row is no scenario of its own. Empty without knowledge.
        """
        options = {"exclude_own_response": self.exclude_own_response}
        names = list(dict.fromkeys([*rows, *perturbations]))
        other = np.not_equal.outer(np.array(perturbations, object), np.array(rows, object))
        kernels = self.knowledge_.kernels(names, rows=self.train_.effects.index, **options)
        found = {}
        for kernel, values in kernels.items():
            similarity = values.loc[perturbations, rows].to_numpy()
            for power, floor in SETTINGS:
                chance = (similarity**power + floor) * other
                found[kernel, power, floor] = chance / chance.sum(axis=1, keepdims=True)
        return found


def _learned(chances, train, error):
    """Shares of the settings by the energy score of left-out rows; chances: (settings, rows, rows).

    Energy score: the mean distance of a row from the scenarios less half their distance from one another,
    smallest for the true probabilities. Distance: weighted absolute difference over the row's error under
    the constant, so that all rows count equally. Convex in the shares; multiplicative descent from equal
    ones.
    """
    effects, weights = train.effects.to_numpy(), train.weights.to_numpy()
    scale = error.to_numpy() + 0.5 * np.median(error)
    # Rows that the constant predicts exactly count like the mean row.
    scale = np.where(scale > 0, scale, scale.mean() or 1.0)
    rows = zip(effects, weights, scale, strict=True)
    distance = np.array([(w * np.abs(row - effects)).mean(axis=1) / s for row, w, s in rows])
    distance = (distance + distance.T) / 2
    linear = np.einsum("kps,ps->k", chances, distance)
    flat = chances.reshape(len(chances), -1)
    square = (chances @ distance).reshape(len(chances), -1) @ flat.T
    shares = np.full(len(chances), 1 / len(chances))
    rate = 10 / max(np.abs(linear).max(), 1e-12)
    for _ in range(STEPS):
        slope = linear - square @ shares
        shares = shares * np.exp(-rate * (slope - slope.mean()))
        shares /= shares.sum()
    return shares
