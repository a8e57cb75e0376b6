"""LightGBM on pathway membership: a model a gene, or a model a component.

With 80 rows of sparse 0/1 features LightGBM's own settings (20 rows a leaf, 3 rows a bin) leave no
split: it predicts plain constants. Here a leaf holds a handful of rows, trees are stumps (one pathway
each) and few, and all start at the metric-optimal `Constant`. With `parts`, further fits without a part
of the rows give each training row a prediction that did not use it: `residuals_`, truth minus that. Not
here: early stopping, for which 80 rows are too few; one model of all genes (`pooled_trees`).
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..knowledge import Knowledge
from .baselines import Constant
from .ranks import Ranks, entry_weights, leave_one_out_constant, metric_row_weights

BLOCK = 64  # genes whose models one worker fits in turn on the same binned features
SHARE = 0.3  # of the pathways, among which each stump chooses
COMPONENTS = 20  # of the effects' ranks


class _PathwayTrees:
    """What trees on pathway features share: features, folds, the constant, what is unknown.

    trees: stumps a model. leaf: training rows at least inside and outside a pathway (a fifth of the rows,
    if they are few). parts: of the rows, for `residuals_`, each at the price of another fit; None: none.
    jobs: processes, one thread each.
    """

    objective, rate = "regression_l1", 0.05  # of LightGBM

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        trees: int = 60,
        leaf: int = 5,
        parts: int | None = None,
        jobs: int = 2,
        seed: int = 0,
    ):
        self.knowledge = knowledge or Knowledge()
        self.trees = trees
        self.leaf = leaf
        self.parts = parts
        self.jobs = jobs
        self.seed = seed

    def fit(self, train: Competition) -> Self:
        self.constant_ = Constant().fit(train)
        row_weights = metric_row_weights(train, self.constant_)
        raw = self.knowledge.one_hot(train.effects.index)
        leaf = max(2, min(self.leaf, len(raw) // 5))
        members = raw.sum()
        split = (members >= leaf) & (members <= len(raw) - leaf)
        self.pathways_ = raw.columns[split & ~raw.T.duplicated()]
        features = raw[self.pathways_].to_numpy(dtype=float)
        left_out = leave_one_out_constant(train, row_weights)
        if len(self.pathways_):
            known = features.any(axis=1)
            unseen = self._fit_trees(train, row_weights, features, leaf, left_out.to_numpy())
            if unseen is not None:
                left_out.loc[known] = unseen[known]
        self.residuals_ = train.effects - left_out if self.parts else None
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects: perturbation x gene."""
        prediction = self.constant_.predict(perturbations)
        features = self.knowledge.one_hot(perturbations)[self.pathways_].to_numpy(dtype=float)
        known = features.any(axis=1)
        if known.any():
            prediction.iloc[known] = self._predict(features[known])
        return prediction

    def _stumps(self, names, features, labels, weights, leaf):
        """Fit each column of `labels`: offset (columns), effect (pathways, columns) and `unseen`.

        features: (rows, pathways); labels, weights: (rows, columns). A sum of stumps is linear in
        membership. `unseen` (rows, columns) are predictions without the row's part, or None.
        """
        from joblib import Parallel, delayed
        from tqdm import tqdm

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
        starts = range(0, labels.shape[1], BLOCK)
        rows = [np.ones(len(features), bool)]
        part = None
        if self.parts:
            part = random_parts(names, self.parts, self.seed)
            rows += [part != one for one in range(self.parts)]
        tasks = (
            delayed(_fit_stumps)(
                features[fitted],
                labels[fitted, start : start + BLOCK],
                weights[fitted, start : start + BLOCK],
                settings,
                self.trees,
            )
            for fitted in rows
            for start in starts
        )
        total = len(rows) * len(starts)
        done = Parallel(n_jobs=min(self.jobs, total), return_as="generator")(tasks)
        blocks = list(tqdm(done, f"{type(self).__name__}, blocks of genes", total, disable=None))
        size = len(starts)
        fits = np.stack([np.hstack(blocks[i * size : (i + 1) * size]) for i in range(len(rows))])
        offsets, effects = fits[:, 0], fits[:, 1:]
        if part is None:
            return offsets[0], effects[0], None
        unseen = offsets[1 + part] + np.einsum("rp,rpg->rg", features, effects[1 + part])
        return offsets[0], effects[0], unseen


class GeneTrees(_PathwayTrees):
    """One LightGBM a gene: stumps on pathway membership, weighted L1 from the constant on.

    Sample weights are metric weight x row weight. trees, leaf, parts, jobs: stumps a gene, rows a leaf,
    folds for `residuals_` (None without), processes. Learns `pathway_effects_` (pathway x gene, log2:
    the effect of membership). A perturbation in none of its pathways gets the constant's prediction.
    """

    def _fit_trees(self, train, row_weights, features, leaf, left_out):
        labels = train.effects.to_numpy() - self.constant_.effect_.to_numpy()
        weights = entry_weights(train, row_weights)
        offset, effects, unseen = self._stumps(train.effects.index, features, labels, weights, leaf)
        genes = train.effects.columns
        self.offset_ = self.constant_.effect_ + offset
        self.pathway_effects_ = pd.DataFrame(effects, self.pathways_, genes)
        return None if unseen is None else left_out + unseen

    def _predict(self, features):
        return self.offset_.to_numpy() + features @ self.pathway_effects_.to_numpy()


class ComponentTrees(_PathwayTrees):
    """LightGBM on the first principal components of the effects' weighted ranks: seconds.

    Squared error on the scores of the first `COMPONENTS`; effects are the genes' weighted quantiles at
    the predicted ranks, as in `Ridge`. Otherwise like `GeneTrees`.
    """

    objective, rate = "regression", 0.03

    def __init__(
        self, knowledge: Knowledge | None = None, *, parts: int | None = 10, **options: Any
    ):
        super().__init__(knowledge, parts=parts, **options)

    def _fit_trees(self, train, row_weights, features, leaf, left_out):
        self.response_ = Ranks(train, row_weights)
        smoothed = self.response_.smoothed
        centred = smoothed - smoothed.mean(axis=0)
        scores, size, axes = np.linalg.svd(centred, full_matrices=False)
        count = min(COMPONENTS, len(size) - 1)
        scale = np.sqrt(len(centred))
        self.axes_ = size[:count, None] * axes[:count] / scale
        labels = scores[:, :count] * scale
        self.offset_, self.effects_, unseen = self._stumps(
            train.effects.index, features, labels, np.ones_like(labels), leaf
        )
        return None if unseen is None else self.response_.leave_one_out(unseen @ self.axes_)

    def _predict(self, features):
        return self.response_.predict((self.offset_ + features @ self.effects_) @ self.axes_)


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
    names = {"params": settings, "free_raw_data": True}
    data = lightgbm.Dataset(features, labels[:, 0], weight=np.ones(rows), **names).construct()
    memberships = np.vstack([np.zeros((1, columns)), np.eye(columns)])
    result = np.empty((1 + columns, labels.shape[1]))
    for column in range(labels.shape[1]):
        data.set_label(np.ascontiguousarray(labels[:, column]))
        data.set_weight(np.maximum(weights[:, column], 1e-6))
        booster = lightgbm.Booster(settings, data)
        for _ in range(trees):
            if booster.update():
                break
        result[:, column] = booster.predict(memberships, num_threads=1)
    result[1:] -= result[0]
    return result
