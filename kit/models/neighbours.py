"""Knockdowns that are alike answer alike: training rows as scenarios, likelier the more alike they are.

For each knockdown every training row has a chance, a mixture over many settings of likeness (kernel,
power, floor). The floor is what an unlike row keeps: where no row is alike the chances are even and the
prediction is that of all rows, the constant. One setting is never chosen: 80 rows cannot tell. The
mixture is learned by how well it foresees left-out training rows, and then shrunk to the even one, more
where there are fewer rows. The prediction is what the metric rewards, see `decision`.
"""

import numpy as np
import pandas as pd

from ..decision import Distribution, decide
from ..knowledge import Knowledge
from ..metric import wmae
from .baselines import Constant

POWERS = (1, 2, 3)
FLOORS = (0.001, 0.003, 0.01, 0.03)  # of likeness to a power; to the power 1 three times that
ROWS = 80  # training rows at which the learned mixture counts half
EXPRESSED = 0.02  # log2(1 + CP10k): about 3 counts in 100 cells of 20,000 UMI
STEPS = 300  # of the multiplicative descent; it stands still after about 200


class Neighbours:
    """Training rows by similarity.

    learn: whether the mixture over settings is learned. exclude_own_response: use no response of the
    perturbation itself in other screens, only those of its pathway neighbours. Learns `mixture_` (series
    by kernel, power, floor). A perturbation of which nothing is known gets the constant's prediction.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        learn: bool = True,
        exclude_own_response: bool = False,
    ):
        self.knowledge = knowledge or Knowledge()
        self.learn = learn
        self.exclude_own_response = exclude_own_response

    def fit(self, train):
        self.train_ = train
        self.constant_ = Constant().fit(train)
        self.error_ = wmae(train.effects, self.constant_.effect_, train.weights)
        rows = train.effects.index
        chances = self.settings(rows, rows)
        even = np.full(len(chances), 1 / max(len(chances), 1))
        if self.learn and len(chances):
            share = len(rows) / (len(rows) + ROWS)
            learned = _learned(np.array(list(chances.values())), train, self.error_)
            even = share * learned + (1 - share) * even
        index = pd.MultiIndex.from_tuples(chances, names=["kernel", "power", "floor"])
        self.mixture_ = pd.Series(even, index if len(chances) else None, name="share")
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene; the constant's for perturbations of which nothing is known."""
        belief = self.predict_distribution(perturbations)
        prediction = decide(belief)
        unknown = ~self.knowledge.knows(prediction.index).to_numpy()
        prediction.loc[unknown] = self.constant_.effect_.to_numpy()
        return prediction

    def predict_distribution(self, perturbations):
        """Belief over the training rows as scenarios: a Distribution."""
        train = self.train_
        rows = self.rows(perturbations)
        baseline = train.effects.mean()
        return Distribution(train.effects, train.weights, rows, self.error_, baseline)

    def rows(self, perturbations):
        """Chance of each training row for each perturbation: perturbation x row frame, sums to 1."""
        names = list(perturbations)
        chances = self.settings(names, self.train_.effects.index)
        index, columns = pd.Index(names, name="perturbation"), self.train_.effects.index
        if not chances:
            return pd.DataFrame(1 / len(columns), index, columns)
        mixed = np.tensordot(self.mixture_.to_numpy(), np.array(list(chances.values())), axes=1)
        return pd.DataFrame(mixed, index, columns)

    def settings(self, perturbations, rows):
        """Chances of `rows` for `perturbations` by (kernel, power, floor); a row is none of its own."""
        names = list(dict.fromkeys([*rows, *perturbations]))
        other = np.not_equal.outer(np.array(perturbations, object), np.array(rows, object))
        found = {}
        for kernel, values in self.knowledge.kernels(
            names, exclude_own_response=self.exclude_own_response
        ).items():
            similarity = values.loc[perturbations, rows].to_numpy()
            for power in POWERS:
                for floor in FLOORS:
                    chance = (similarity**power + floor * (3 if power == 1 else 1)) * other
                    found[kernel, power, floor] = chance / chance.sum(axis=1, keepdims=True)
        return found


def _learned(chances, train, error):
    """Shares of the settings by the energy score of left-out rows; (settings, rows, rows) in.

    Energy score: the mean distance of a row from the scenarios less half their distance from one another,
    smallest for the true chances. Distance: weighted absolute difference over the row's error under the
    constant, so that every row counts alike. Convex in the shares; multiplicative descent from even ones.
    """
    effects, weights = train.effects.to_numpy(), train.weights.to_numpy()
    scale = error.to_numpy() + 0.5 * np.median(error)
    scale = np.where(scale > 0, scale, scale.mean() or 1.0)  # rows that the constant hits exactly
    apart = [
        (weights[row] * np.abs(effects[row] - effects)).mean(axis=1) / scale[row]
        for row in range(len(effects))
    ]
    apart = (np.array(apart) + np.array(apart).T) / 2
    linear = np.einsum("kps,ps->k", chances, apart)
    flat = chances.reshape(len(chances), -1)
    square = (chances @ apart).reshape(len(chances), -1) @ flat.T
    shares = np.full(len(chances), 1 / len(chances))
    rate = 10 / max(np.abs(linear).max(), 1e-12)
    for _ in range(STEPS):
        slope = linear - square @ shares
        shares = shares * np.exp(-rate * (slope - slope.mean()))
        shares /= shares.sum()
    return shares
