"""LightGBM on pathway membership: a model a gene, or a model a component.

With 80 rows of sparse 0/1 features LightGBM's own settings (20 rows a leaf, 3 rows a bin) leave no
split: it predicts plain constants. Here a leaf holds a handful of rows, trees are stumps (one pathway
each) and few, and all start at the metric-optimal `Constant`. With `parts`, further fits without a part
of the rows give each training row a prediction that did not use it: `residuals_`, truth minus that. Not
here: early stopping, for which 80 rows are too few; one model of all genes (`pooled_trees`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.progress import progress
from .baselines import PointModel, entry_weights
from .ridge import Effects, Ranks

BLOCK = 64  # genes whose models one worker fits in turn on the same binned features
SHARE = 0.3  # of the pathways, among which each stump chooses
COMPONENTS = 20  # of the effects' ranks


@dataclass(eq=False, kw_only=True)
class _PathwayTrees(PointModel):
    """What trees on pathway features share: features, folds, what is unknown.

    trees: stumps a model. leaf: training rows at least inside and outside a pathway (a fifth of the rows,
    if they are few). parts: of the rows, for `residuals_`, each at the price of another fit; None: none.
    jobs: processes, one thread each. A subclass has LightGBM's objective and learning `rate`, and
    `_labels(train, left_out)`, which returns the columns to fit and their weights, (rows, columns), and
    sets `response_`; columns that are not genes also have `_deviation`.
    """

    trees: int = 60
    leaf: int = 5
    parts: int | None = None
    jobs: int = 2
    seed: int = 0

    def fit(self, train: Competition) -> Self:
        super().fit(train)
        self.residuals_ = self.residuals_ if self.parts else None
        return self

    def _fit(self, train, left_out):
        raw = self.knowledge_.one_hot(train.effects.index)
        leaf = max(2, min(self.leaf, len(raw) // 5))
        members = raw.sum()
        split = (members >= leaf) & (members <= len(raw) - leaf)
        self.pathways_ = raw.columns[split & ~raw.T.duplicated()]
        features, known = self._features(train.effects.index)
        if not known.any():
            return
        labels, weights = self._labels(train, left_out.to_numpy())
        part = random_parts(train.effects.index, self.parts or 1, self.seed)
        fits = self._stumps(features, labels, weights, part, leaf)
        self.offset_, self.effects_ = fits[0, 0], fits[0, 1:]
        if self.parts:
            unseen = fits[1 + part, 0] + np.einsum("rp,rpg->rg", features, fits[1 + part, 1:])
            left_out.loc[known] = self.response_.leave_one_out(self._deviation(unseen))[known]

    def _features(self, perturbations):
        """Membership in the pathways that can be split, and whether there is any: (rows, pathways)."""
        features = self.knowledge_.one_hot(perturbations)[self.pathways_].to_numpy(dtype=float)
        return features, features.any(axis=1)

    def _predict(self, features):
        return self.response_.predict(self._deviation(self.offset_ + features @ self.effects_))

    def _deviation(self, columns):
        """Departure of the response from its mean, by fitted columns."""
        return columns

    def _stumps(self, features, labels, weights, part, leaf):
        """Offset and effect of each pathway in all fits, (1 + parts, 1 + pathways, columns).

        The first fit is to all rows, each other to those without one part. A sum of stumps is linear in
        membership.
        """
        from joblib import Parallel, delayed

        settings = lightgbm_settings(
            self.seed,
            objective=self.objective,
            num_leaves=2,
            min_data_in_leaf=leaf,
            min_data_in_bin=1,
            min_sum_hessian_in_leaf=1e-6,
            learning_rate=self.rate,
            lambda_l2=1.0,
            feature_fraction=SHARE,
            feature_pre_filter=False,
        )
        fits = [part != one for one in range(-1, self.parts or 0)]  # rows of each
        blocks = [slice(start, start + BLOCK) for start in range(0, labels.shape[1], BLOCK)]
        tasks = (
            delayed(_fit_stumps)(
                features[rows], labels[rows, block], weights[rows, block], settings, self.trees
            )
            for block in blocks
            for rows in fits
        )
        total = len(fits) * len(blocks)
        fitted = Parallel(n_jobs=min(self.jobs, total), return_as="generator")(tasks)
        found = []
        with progress(f"{type(self).__name__}, blocks of genes", total) as done:
            for one in fitted:
                found.append(one)
                done()
        return np.stack([np.hstack(found[fit :: len(fits)]) for fit in range(len(fits))])


class GeneTrees(_PathwayTrees):
    """One LightGBM a gene: stumps on pathway membership, weighted L1 from the constant on.

    Sample weights are metric weight x row weight. trees, leaf, parts, jobs: stumps a gene, rows a leaf,
    folds for `residuals_` (None without), processes. A perturbation in none of its pathways gets the
    constant's prediction.
    """

    objective, rate = "regression_l1", 0.05

    @property
    def pathway_effects_(self) -> pd.DataFrame:
        """What membership in a pathway adds to each effect: pathway x gene, log2."""
        return pd.DataFrame(self.effects_, self.pathways_, self.constant_.effect_.index)

    def _labels(self, train, left_out):
        self.response_ = Effects(train, self.constant_, left_out)
        labels = self.response_.smoothed - self.response_.constant
        return labels, entry_weights(train, self.constant_.row_weights_)


@dataclass(eq=False, kw_only=True)
class ComponentTrees(_PathwayTrees):
    """LightGBM on the first principal components of the effects' weighted ranks: seconds.

    Squared error on the scores of the first `COMPONENTS`; effects are the genes' weighted quantiles at
    the predicted ranks, as in `Ridge`. Otherwise like `GeneTrees`.
    """

    parts: int | None = 10

    objective, rate = "regression", 0.03

    def _labels(self, train, left_out):
        self.response_ = Ranks(train, self.constant_)
        centred = self.response_.smoothed - self.response_.smoothed.mean(axis=0)
        scores, size, axes = np.linalg.svd(centred, full_matrices=False)
        count = min(COMPONENTS, len(size) - 1)
        scale = np.sqrt(len(centred))
        self.axes_ = size[:count, None] * axes[:count] / scale
        labels = scores[:, :count] * scale
        return labels, np.ones_like(labels)

    def _deviation(self, columns):
        return columns @ self.axes_


def lightgbm_settings(seed: int, **settings: Any) -> dict[str, Any]:
    """Return settings of LightGBM with which one thread fits the same from the constant on each time."""
    return settings | {
        "boost_from_average": False,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "seed": seed,
        "verbosity": -1,
    }


def random_parts(names: Sequence[str], parts: int, seed: int) -> np.ndarray:
    """Return the number of each row's part, at random by name, of nearly equal sizes: (rows,)."""
    part = np.random.default_rng(seed).permutation(np.arange(len(names)) % parts)
    return part[np.argsort(np.argsort(names))]


def _fit_stumps(features, labels, weights, settings, trees):
    """Offset and effect of each feature, (1 + features, columns), of one LightGBM a column."""
    import lightgbm

    rows, columns = features.shape
    data = lightgbm.Dataset(features, labels[:, 0], weight=np.ones(rows), params=settings)
    data.construct()
    memberships, found = np.eye(1 + columns, columns, k=-1), []  # none, and each feature alone
    for label, weight in zip(labels.T, weights.T, strict=True):
        data.set_label(label.copy())
        data.set_weight(np.maximum(weight, 1e-6))
        booster = lightgbm.train(settings, data, trees, keep_training_booster=True)
        found.append(booster.predict(memberships, num_threads=1))
    result = np.transpose(found)
    result[1:] -= result[0]
    return result
