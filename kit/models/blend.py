"""The best blend known: distributions of several models, mixed by inner validation.

Predictive distributions are mixed, not predictions: halfway between two medians is no median. A few
recipes are compared on inner folds under the official metric, and another than the default is taken only
where there are enough rows and it is clearly better: choosing the best of noise costs more than it gains
(on fifteen rows of real data it lost three quarters of the score).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import pandas as pd

from ..competition import Competition
from ..decision import Distribution, decide, join, mix
from ..evaluation.predictions import OutOfFold, interval
from ..evaluation.splits import folds
from ..io.progress import progress
from .baselines import DistributionModel
from .pairwise_regression import PairwiseRegression
from .pooled_regression import ResidualDistribution
from .ridge import Ridge
from .transfer import Transfer
from .trees import ComponentTrees

PAIRS = 5_000  # at which scenarios and distributions by gene have equal shares
SHARES = (0.8, 0.0)  # of whole training rows as scenarios, tried beside the default
POINTS = 0.25  # share of the models of point predictions, where they are in a recipe
ENOUGH = 40  # training rows: with fewer, scenarios have a larger share, and the default is taken
AT_ONCE = 2**24  # perturbations x genes x training rows in one block: bounds memory
LEVEL = 0.95  # of the paired interval whose lower end must be above 0


@dataclass(eq=False, kw_only=True)
class Blend(DistributionModel):
    """Scenarios and gene-wise distributions of `Transfer`, ridge and LightGBM on components.

    recipe: shares of scenarios and of the models of point predictions; None: the default, or the choice
    of `parts` inner folds (0: no inner folds). Learns `recipes_` (frame by recipe: score for 60 rows on
    inner folds, paired difference from the default and its interval), `recipe_`, and `inner_`, the
    OutOfFold in which each fold is predicted by the recipe that the other folds choose; `recipes_` and
    `inner_` are None without inner folds.
    """

    recipe: tuple[float, float] | None = None
    parts: int = 5
    seed: int = 0

    def fit(self, train: Competition, asked: Sequence[str] | None = None) -> Self:
        """Fit to the training rows; asked: perturbations to predict, by default all."""
        self.knowledge_ = self.knowledge.concerning(train)
        self.default_ = default_share(train), 0.0
        self.recipe_ = self.recipe or self.default_
        self.inner_, self.recipes_ = None, None
        parts = min(self.parts, len(train.effects) // 3)
        if parts >= 2 and self.recipe is None and self.knowledge_:
            self._choose(train, folds(train.effects.index, parts, seed=self.seed))
        models = ()
        if self.recipe_[1] and self.knowledge_.pathways is not None:
            models = Ridge(self.knowledge_), ComponentTrees(self.knowledge_, jobs=1, seed=self.seed)
        with progress(f"fit of {len(train.effects)} rows"):
            self.transfer_ = Transfer(self.knowledge_, seed=self.seed).fit(train, asked)
            self.points_ = [ResidualDistribution(model).fit(train) for model in models]
        self.constant_ = self.transfer_.constant_
        return self

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the distribution over the training rows' effects by the chosen recipe."""
        names = list(perturbations)
        step = max(1, AT_ONCE // self.constant_.effect_.size // len(self.constant_.error_))
        blocks = [names[one : one + step] for one in range(0, max(len(names), 1), step)]
        return join([_mixed(self._distributions(block), self.recipe_) for block in blocks])

    def expert(self, perturbation: str) -> PairwiseRegression:
        """Return the fitted pairwise regression, and by it the neighbours, behind one perturbation."""
        with_response = bool(self.knowledge_.has_response([perturbation]).iloc[0])
        return self.transfer_.expert(with_response)

    def _distributions(self, perturbations):
        """Distributions: of scenarios, by gene, and of the models of point predictions (if any)."""
        scenarios, by_gene = self.transfer_.distributions(perturbations)
        points = [one.predict_distribution(perturbations, scenarios) for one in self.points_]
        return scenarios, by_gene, *([mix(*points, 0.5)] if points else [])

    def _choose(self, train, held_out):
        recipes = [self.default_]
        if len(train.effects) >= ENOUGH:
            recipes += [(share, 0.0) for share in SHARES if share != self.default_[0]]
            recipes += [(self.default_[0], POINTS)] if self.knowledge_.pathways is not None else []
        predictions, fold = {recipe: [] for recipe in recipes}, {}
        with progress("inner folds", len(held_out)) as done:
            for number, names in enumerate(held_out):
                part = train.subset(train.effects.index.difference(names, sort=False))
                # The last recipe is the one with most models.
                fitted = Blend(self.knowledge_, recipe=recipes[-1], seed=self.seed).fit(part, names)
                found = fitted._distributions(names)
                for recipe in recipes:
                    predictions[recipe].append(decide(_mixed(found, recipe)))
                fold |= dict.fromkeys(names, number)
                done()
        fold = pd.Series(fold)
        runs = {
            recipe: OutOfFold.from_predictions(train, pd.concat(found), fold)
            for recipe, found in predictions.items()
        }
        self.recipes_ = _compared(runs, self.default_)
        self.recipe_ = _chosen(self.recipes_, self.default_)
        # Each fold is predicted by the recipe that the others choose: it saw no part of the choice.
        parts = []
        for number in range(len(held_out)):
            others = {
                recipe: run.subset(fold.index[fold != number]) for recipe, run in runs.items()
            }
            recipe = _chosen(_compared(others, self.default_), self.default_)
            parts.append(predictions[recipe][number])
        inner = OutOfFold.from_predictions(train, pd.concat(parts), fold)
        self.inner_ = replace(inner, chosen=len(runs) > 1)


def default_share(train):
    """Share of whole rows as scenarios: large where there are few pairs, or few rows, to learn from."""
    rows, genes = train.effects.shape
    few_pairs, few_rows = PAIRS / (PAIRS + rows * genes), max(0.0, 1 - rows / ENOUGH)
    return round(1 - (1 - few_pairs) * (1 - few_rows), 2)


def _mixed(distributions, recipe):
    scenarios, by_gene, *points = distributions
    share, of_points = recipe
    mixed = mix(scenarios, by_gene, share)
    return mix(*points, mixed, of_points) if points and of_points else mixed


def _compared(runs, default):
    """Score for 60 rows of each recipe, and its paired difference from the default: a frame by recipe."""
    scores, rows = {recipe: run.score() for recipe, run in runs.items()}, []
    for score in scores.values():
        difference = score.score_per_60 - scores[default].score_per_60
        ends = interval(score, than=scores[default], level=LEVEL)
        rows.append((score.score_per_60, difference, *ends))
    index = pd.MultiIndex.from_tuples(scores, names=["scenarios", "points"])
    return pd.DataFrame(rows, index, ["score", "difference", "low", "high"])


def _chosen(table, default):
    """The recipe with the best score of those that are clearly better than the default, else that."""
    better = table[table["low"] > 0]
    return better["score"].idxmax() if len(better) else default
