"""Do intervals hold on rows that no fit has seen: as often as they say, by size, by knockdown?"""

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .intervals import LEVELS, Intervals, own_genes

SIZES = (0.5, 0.8, 0.95)  # quantiles of the expected sizes, between groups
DRAWS = 2000  # of the bootstrap over perturbations


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether intervals held; frames are perturbation x gene.

    By level: inside, whether the truth lay inside; believed, the chance of that by the belief itself,
    above the level where many effects are equal; width, log2. size: of the expected effect; weights: the
    metric's.
    """

    inside: dict
    believed: dict
    width: dict
    size: pd.DataFrame
    weights: pd.DataFrame

    def by_perturbation(self, level=0.9):
        """Share of each perturbation's effects that lay inside, the smallest first: a series."""
        return self.inside[level].mean(axis=1).sort_values(kind="stable").rename("observed")

    def table(self, *, level=0.9, seed=0):
        """Observed coverage by size of the expected effect and nominal level: a frame.

        Sizes: all, ranges, and the knocked-down genes themselves, which are in no range. `observed` with
        its interval (`low`, `high`, of level `level`, bootstrap over perturbations), `by_weight`: the
        share of the metric's weight that lay inside; `believed` and `width`, means; `pairs` counted.
        """
        rows = len(self.size)
        even = np.full(rows, 1 / rows)
        counts = np.random.default_rng(seed).multinomial(rows, even, size=DRAWS)
        return pd.DataFrame.from_dict(
            {
                (name, nominal): self._row(nominal, taken, counts, level)
                for name, taken in self._groups().items()
                for nominal in self.inside
            },
            "index",
        ).rename_axis(["size", "nominal"])

    def _groups(self):
        """Which entries each line of the table is about, by name: (perturbations, genes)."""
        own, size = own_genes(self.size), self.size.to_numpy()
        cuts = np.unique(np.quantile(size[~own], SIZES))
        place = np.where(own, -1, np.digitize(size, cuts, right=True))
        edges = [0.0, *cuts, float(size[~own].max())]
        groups = {"all": np.ones(size.shape, dtype=bool)}
        for number in np.unique(place[~own]):
            groups[f"{edges[number]:.3g} to {edges[number + 1]:.3g}"] = place == number
        return groups | ({"own gene": own} if own.any() else {})

    def _row(self, nominal, taken, counts, level):
        inside = self.inside[nominal].to_numpy() & taken
        hits, pairs = inside.sum(axis=1), taken.sum(axis=1)
        drawn = (counts @ hits) / np.maximum(counts @ pairs, 1)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        weights = self.weights.to_numpy()
        return {
            "observed": hits.sum() / pairs.sum(),
            "low": low,
            "high": high,
            "by_weight": weights[inside].sum() / (weights[taken].sum() or np.nan),
            "believed": self.believed[nominal].to_numpy()[taken].mean(),
            "width": self.width[nominal].to_numpy()[taken].mean(),
            "pairs": int(pairs.sum()),
        }


def calibration(model, competition, held_out, *, levels=LEVELS, parts=5, seed=0):
    """Put a model's `Intervals` to the test on each list of `held_out` rows in turn: a Calibration.

    parts: inner folds that the widening is learned from; 0 tests the belief's own quantiles.
    """
    inside, believed, width = ({level: [] for level in levels} for _ in range(3))
    sizes = []
    for names in held_out:
        train = competition.subset(competition.effects.index.difference(names, sort=False))
        fitted = Intervals(copy.deepcopy(model), levels=levels, parts=parts, seed=seed).fit(train)
        belief = fitted.model.predict_distribution(list(names))
        truth, ends = competition.effects.loc[belief.perturbations], fitted.ends(belief)
        sizes.append(belief.mean().abs())
        for level in levels:
            low, high = ends[level]["low"], ends[level]["high"]
            inside[level].append((low <= truth) & (truth <= high))
            believed[level].append(_believed(belief, low, high))
            width[level].append(high - low)
    joined = [
        {level: pd.concat(frames) for level, frames in parts.items()}
        for parts in (inside, believed, width)
    ]
    size = pd.concat(sizes)
    return Calibration(*joined, size, competition.subset(size.index).weights)


def _believed(belief, low, high):
    """Chance by the belief that each effect lies between two ends: perturbation x gene frame."""
    values = belief.values.to_numpy().T[:, None, :]  # (genes, 1, atoms)
    inside = (low.to_numpy().T[:, :, None] <= values) & (values <= high.to_numpy().T[:, :, None])
    chance = (belief.chances() * inside).sum(axis=2).T
    return pd.DataFrame(chance, belief.perturbations, belief.genes)
