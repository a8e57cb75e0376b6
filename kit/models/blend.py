"""The best blend known: distributions of several models, mixed by inner validation.

Predictive distributions are mixed, not predictions: halfway between two medians is no median. A few
recipes are compared on inner folds under the official metric, and another than the default is taken only
where there are enough rows and it is clearly better: choosing the best of noise costs more than it gains
(on fifteen rows of real data it lost three quarters of the score).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import pandas as pd

from ..competition import Competition
from ..decision import Distribution, decide, mix
from ..evaluation.predictions import OutOfFold, interval
from ..evaluation.splits import folds
from ..knowledge import Knowledge
from .baselines import decide_known
from .pairwise_regression import PairwiseRegression
from .pooled_regression import ResidualDistribution
from .ridge import Ridge
from .transfer import Transfer
from .trees import ComponentTrees

PAIRS = 5_000  # at which scenarios and distributions by gene have equal shares
SHARES = (0.8, 0.0)  # of whole training rows as scenarios, tried beside the default
POINTS = 0.25  # share of the models of point predictions, where they are in a recipe
ENOUGH = 40  # training rows: with fewer, scenarios have a larger share, and the default is taken
LEVEL = 0.95  # of the paired interval whose lower end must be above 0


class Blend:
    """Scenarios and gene-wise distributions of `Transfer`, ridge and LightGBM on components.

    recipe: shares of scenarios and of the models of point predictions; None: the default, or the choice
    of `parts` inner folds (0: no inner folds). Learns `recipes_` (frame by recipe: score for 60 rows on
    inner folds, paired difference from the default and its interval), `recipe_`, and `inner_`, the
    OutOfFold in which each fold is predicted by the recipe that the other folds choose; `recipes_` and
    `inner_` are None without inner folds.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        recipe: tuple[float, float] | None = None,
        parts: int = 5,
        seed: int = 0,
    ):
        self.knowledge = knowledge or Knowledge()
        self.recipe = recipe
        self.parts = parts
        self.seed = seed

    def fit(self, train: Competition) -> Self:
        self.default_ = default_share(train), 0.0
        self.recipe_ = self.recipe or self.default_
        self.inner_, self.recipes_ = None, None
        parts = min(self.parts, len(train.effects) // 3)
        if parts >= 2 and self.recipe is None and self.knowledge:
            self._choose(train, folds(train.effects.index, parts, seed=self.seed))
        self.base_models_ = _BaseModels(self, self.recipe_[1] > 0).fit(train)
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return score-optimal effects: perturbation x gene."""
        distribution = self.predict_distribution(perturbations)
        known = self.knowledge.knows(perturbations)
        return decide_known(distribution, known, self.base_models_.transfer.constant_)

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the distribution over the training rows' effects by the chosen recipe."""
        return _mixed(self.base_models_.distributions(perturbations), self.recipe_)

    def expert(self, perturbation: str) -> PairwiseRegression:
        """Return the fitted pairwise regression, and by it the neighbours, behind one perturbation."""
        with_response = bool(self.knowledge.has_response([perturbation]).iloc[0])
        return self.base_models_.transfer.expert(with_response)

    def _choose(self, train, held_out):
        recipes = [self.default_]
        if len(train.effects) >= ENOUGH:
            recipes += [(share, 0.0) for share in SHARES if share != self.default_[0]]
            points = self.knowledge.pathways is not None
            recipes += [(self.default_[0], POINTS)] if points else []
        with_points = any(points for _, points in recipes)
        predictions, fold = {recipe: [] for recipe in recipes}, {}
        for number, names in enumerate(held_out):
            part = train.subset(train.effects.index.difference(names, sort=False))
            fitted = _BaseModels(self, with_points).fit(part)
            found = fitted.distributions(names)
            for recipe in recipes:
                predictions[recipe].append(decide(_mixed(found, recipe)))
            fold |= dict.fromkeys(names, number)
        runs = {
            recipe: OutOfFold.from_predictions(train, pd.concat(found), pd.Series(fold))
            for recipe, found in predictions.items()
        }
        self.recipe_, self.recipes_ = _chosen(runs, self.default_)
        # Each fold is predicted by the recipe that the others choose: it saw no part of the choice.
        parts = []
        for names in held_out:
            others = train.effects.index.difference(names, sort=False)
            recipe, _ = _chosen(
                {one: run.subset(others) for one, run in runs.items()}, self.default_
            )
            parts.append(runs[recipe].prediction.loc[names])
        inner = OutOfFold.from_predictions(train, pd.concat(parts), pd.Series(fold))
        self.inner_ = replace(inner, chosen=len(runs) > 1)


def default_share(train):
    """Share of whole rows as scenarios: large where there are few pairs, or few rows, to learn from."""
    rows, genes = train.effects.shape
    few_pairs, few_rows = PAIRS / (PAIRS + rows * genes), max(0.0, 1 - rows / ENOUGH)
    return round(1 - (1 - few_pairs) * (1 - few_rows), 2)


class _BaseModels:
    """The models of a blend, fitted to the same rows."""

    def __init__(self, blend, with_points):
        knowledge, seed = blend.knowledge, blend.seed
        self.transfer = Transfer(knowledge, seed=seed)
        self.points = []
        if with_points and knowledge.pathways is not None:
            trees = ComponentTrees(knowledge, jobs=1, seed=seed)
            self.points = [ResidualDistribution(Ridge(knowledge)), ResidualDistribution(trees)]

    def fit(self, train):
        for model in (self.transfer, *self.points):
            model.fit(train)
        return self

    def distributions(self, perturbations):
        """Distributions: of scenarios, by gene, and of the models of point predictions (None without)."""
        scenarios, by_gene = self.transfer.distributions(perturbations)
        if not self.points:
            return scenarios, by_gene, None
        found = (model.predict_distribution(perturbations, scenarios) for model in self.points)
        return scenarios, by_gene, mix(*found, 0.5)


def _mixed(distributions, recipe):
    scenarios, by_gene, points = distributions
    share, of_points = recipe
    mixed = mix(scenarios, by_gene, share)
    return mix(points, mixed, of_points) if points is not None and of_points else mixed


def _chosen(runs, default):
    """The recipe, and score for 60 rows of each recipe and its paired difference from the default."""
    scores = {recipe: run.score() for recipe, run in runs.items()}
    table = {}
    for recipe, score in scores.items():
        low, high = interval(score, than=scores[default], level=LEVEL)
        difference = score.score_per_60 - scores[default].score_per_60
        table[recipe] = score.score_per_60, difference, low, high
    columns = ["score", "difference", "low", "high"]
    frame = pd.DataFrame.from_dict(table, "index", columns=columns)
    frame.index = pd.MultiIndex.from_tuples(table, names=["scenarios", "points"])
    better = frame[frame["low"] > 0]
    return better["score"].idxmax() if len(better) else default, frame
