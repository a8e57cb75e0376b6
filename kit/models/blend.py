"""The best we know: beliefs of several models, mixed as inner validation says.

Beliefs are mixed, not predictions: halfway between two medians lies no median. A few recipes are tried
on inner folds under the official metric, and another than the default is taken only where there are
rows enough and it is clearly better: to choose the best of noise costs more than it brings (on fifteen
rows of real data it threw away three quarters of the score).
"""

import copy

import numpy as np
import pandas as pd

from ..decision import decide, mix, or_nothing
from ..likeness import Likeness
from ..metric import wmae
from ..predictions import OutOfFold, interval
from ..splits import folds
from .boosting import ComponentTrees
from .linear import Ridge
from .neighbours import silent
from .points import Points
from .transfer import Transfer

PAIRS = 5_000  # at which scenarios and genes told apart deserve the same trust
SHARES = (0.8, 0.0)  # of whole training rows as scenarios, tried beside the default
POINTS = 0.25  # share of the models that give points, where they are in a recipe
ENOUGH = 40  # training rows: with fewer scenarios deserve more, and the default is taken as it is
LEVEL = 0.95  # of the paired interval whose lower end must be above 0


class Blend:
    """Scenarios and told-apart genes of `Transfer`, ridge and LightGBM on components.

    pathways, atlas: foreign knowledge, either may be None. levels: as for `Neighbours`. recipe: shares of
    scenarios and of the models that give points; None: the default, or what `parts` inner folds choose
    (0: no inner folds). Learns `recipes_` (frame by recipe: score for 60 rows on inner folds, paired
    difference from the default and its interval), `recipe_`, and `inner_`, the chosen recipe's OutOfFold.
    """

    def __init__(
        self,
        pathways=None,
        atlas=None,
        *,
        levels=None,
        recipe=None,
        parts=5,
        likeness=None,
        seed=0,
    ):
        self.pathways = pathways
        self.atlas = atlas
        self.levels = levels
        self.recipe = recipe
        self.parts = parts
        self.likeness = likeness
        self.seed = seed

    def fit(self, train):
        self.likeness_ = self.likeness or Likeness(self.pathways, self.atlas)
        self.members_ = _Members(self).fit(train)
        self.default_ = default_share(train), 0.0
        self.recipe_ = self.recipe or self.default_
        self.inner_, self.recipes_ = None, None
        parts = min(self.parts, len(train.effects) // 3)
        if parts >= 2 and self.recipe is None and self.likeness_.known:
            self._choose(train, folds(train.effects.index, parts, seed=self.seed))
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene; the constant's for perturbations of which nothing is known."""
        prediction = decide(self.predict_distribution(perturbations))
        unknown = ~self.likeness_.knows(prediction.index).to_numpy()
        self.unknown_ = list(prediction.index[unknown])
        self.covered_ = self.members_.transfer.covered_
        prediction.loc[unknown] = self.members_.constant.effect_.to_numpy()
        return prediction

    def predict_distribution(self, perturbations):
        """Belief over the training rows' effects by the chosen recipe: a Distribution."""
        belief = _mixed(self.members_.beliefs(perturbations, self.recipe_[1] > 0), self.recipe_)
        return or_nothing(belief, silent(self.levels, perturbations))

    def _choose(self, train, held_out):
        recipes = [self.default_]
        if len(train.effects) >= ENOUGH:
            recipes += [(share, 0.0) for share in SHARES if share != self.default_[0]]
            recipes += [(self.default_[0], POINTS)] if self.pathways is not None else []
        with_points = any(points for _, points in recipes)
        predictions, means = {recipe: [] for recipe in recipes}, []
        seen = {}
        for number, names in enumerate(held_out):
            part = train.subset(train.effects.index.difference(names, sort=False))
            beliefs = _Members(self).fit(part).beliefs(names, with_points)
            for recipe in recipes:
                belief = or_nothing(_mixed(beliefs, recipe), silent(self.levels, names))
                predictions[recipe].append(decide(belief))
            mean = part.effects.mean()
            means.append(pd.DataFrame(np.tile(mean, (len(names), 1)), names, mean.index))
            seen[number] = part.effects.index
        mean = pd.concat(means)
        rows = train.subset(mean.index)
        fold = pd.Series(np.repeat(list(seen), [len(names) for names in held_out]), mean.index)
        more = wmae(rows.effects, mean, rows.weights), np.nan, mean, fold, seen
        runs = {
            recipe: OutOfFold(pd.concat(found), rows.effects, rows.weights, *more)
            for recipe, found in predictions.items()
        }
        self.recipes_ = _compared(runs, self.default_)
        better = self.recipes_[self.recipes_["low"] > 0]
        self.recipe_ = better["score"].idxmax() if len(better) else self.default_
        self.inner_ = runs[self.recipe_]


def default_share(train):
    """Share of whole rows as scenarios: large where few pairs, or few rows, can teach more than that."""
    rows, genes = train.effects.shape
    few_pairs, few_rows = PAIRS / (PAIRS + rows * genes), max(0.0, 1 - rows / ENOUGH)
    return round(1 - (1 - few_pairs) * (1 - few_rows), 2)


class _Members:
    """The models of a blend, fitted to the same rows."""

    def __init__(self, blend):
        settings = {"likeness": blend.likeness_, "seed": blend.seed}
        self.transfer = Transfer(blend.atlas, blend.pathways, **settings)
        self.points = []
        if blend.pathways is not None:
            trees = ComponentTrees(blend.pathways, jobs=1, seed=blend.seed)
            self.points = [Points(Ridge(blend.pathways)), Points(trees)]

    def fit(self, train):
        self.transfer.fit(train)
        self.train = train
        return self

    @property
    def constant(self):
        return next(iter(self.transfer.experts_.values())).neighbours_.constant_

    def beliefs(self, perturbations, with_points):
        """Beliefs of scenarios, of genes told apart, and (None without points) of the point models."""
        scenarios, told_apart = self.transfer.beliefs(perturbations)
        if not with_points:
            return scenarios, told_apart, None
        fitted = [copy.deepcopy(model).fit(self.train) for model in self.points]
        ridge, trees = (model.predict_distribution(perturbations, scenarios) for model in fitted)
        return scenarios, told_apart, mix(ridge, trees, 0.5)


def _mixed(beliefs, recipe):
    scenarios, told_apart, points = beliefs
    share, of_points = recipe
    belief = mix(scenarios, told_apart, share)
    return mix(points, belief, of_points) if of_points else belief


def _compared(runs, default):
    """Score of each recipe and its paired difference from the default, for 60 rows."""
    scores = {recipe: run.score() for recipe, run in runs.items()}
    table = {}
    for recipe, score in scores.items():
        low, high = interval(score, than=scores[default], level=LEVEL)
        difference = score.score_per_60 - scores[default].score_per_60
        table[recipe] = score.score_per_60, difference, low, high
    columns = ["score", "difference", "low", "high"]
    frame = pd.DataFrame.from_dict(table, "index", columns=columns)
    frame.index = pd.MultiIndex.from_tuples(table, names=["scenarios", "points"])
    return frame
