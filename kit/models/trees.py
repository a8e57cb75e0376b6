"""LightGBM on pathway membership: a model a gene, or a model a component.

With 80 rows of sparse 0/1 features LightGBM's own settings (20 rows a leaf, 3 rows a bin) leave no
split: it predicts plain constants. Here a leaf holds a handful of rows, trees are stumps (one question
about one pathway) and few, and all start at the metric-optimal `Constant`. With `parts`, further
fits without a part of the rows give each training row a prediction that never saw it: `residuals_`,
truth minus that. Not here: early stopping, for which 80 rows are too few; one model of all genes
(`pooled`).
"""

import numpy as np
import pandas as pd

from ..knowledge import Knowledge
from .baselines import Constant
from .ranks import Ranks, entry_weights, leave_one_out_constant, metric_row_weights

BLOCK = 64  # genes whose models one worker fits in turn on the same binned features


class _PathwayTrees:
    """What trees on pathway features share: features, folds, the constant, who is unknown."""

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        objective="regression_l1",
        trees=60,
        rate=0.05,
        leaf=5,
        share=0.3,
        shrinkage=1.0,
        parts=None,
        smallest=3,
        largest=500,
        jobs=2,
        seed=0,
    ):
        self.knowledge = knowledge or Knowledge()
        self.objective = objective
        self.trees = trees
        self.rate = rate
        self.leaf = leaf
        self.share = share
        self.shrinkage = shrinkage
        self.parts = parts
        self.smallest = smallest
        self.largest = largest
        self.jobs = jobs
        self.seed = seed

    def fit(self, train):
        self.constant_ = Constant().fit(train)
        row_weights = metric_row_weights(train, self.constant_)
        raw = self._one_hot(train.effects.index)
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

    def predict(self, perturbations):
        """Effects, perturbation x gene; the constant's for those in no pathway that trees ask for."""
        prediction = self.constant_.predict(perturbations)
        features = self._one_hot(perturbations)[self.pathways_].to_numpy(dtype=float)
        known = features.any(axis=1)
        if known.any():
            prediction.iloc[known] = self._predict(features[known])
        return prediction

    def _one_hot(self, perturbations):
        return self.knowledge.one_hot(perturbations, smallest=self.smallest, largest=self.largest)

    def _stumps(self, names, features, labels, weights, leaf):
        """Fit each column of `labels`: offset (columns), effect (pathways, columns) and `unseen`.

        features: (rows, pathways); labels, weights: (rows, columns). A sum of stumps is linear in
        membership. `unseen` (rows, columns) are predictions without the row's part, or None.
        """
        from joblib import Parallel, delayed
        from tqdm import tqdm

        settings = {
            "objective": self.objective,
            "num_leaves": 2,
            "min_data_in_leaf": leaf,
            "min_data_in_bin": 1,
            "min_sum_hessian_in_leaf": 1e-6,
            "learning_rate": self.rate,
            "lambda_l2": self.shrinkage,
            "feature_fraction": self.share,
            "feature_pre_filter": False,
            "boost_from_average": False,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "seed": self.seed,
            "verbosity": -1,
        }
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

    Sample weights are shipped weight x row weight. `trees` stumps of learning rate `rate`, each
    choosing from a `share` of the pathways of at least `leaf` training rows inside and outside (a
    fifth of the rows, if they are few), `shrinkage` = lambda_l2. Learns `pathway_effects_` (pathway x
    gene, log2: what membership adds), `residuals_` (None without `parts`, each of which costs as much
    again). `jobs`: processes, one thread each.
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

    Squared error on the scores of `components` components; the predicted ranks are looked up in the
    genes' weighted quantiles as in `Ridge`. Otherwise like `GeneTrees`.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, components: int = 20, **settings):
        defaults = {"objective": "regression", "rate": 0.03, "parts": 10}
        super().__init__(knowledge, **defaults | settings)
        self.components = components

    def _fit_trees(self, train, row_weights, features, leaf, left_out):
        self.response_ = Ranks(train, row_weights)
        smoothed = self.response_.smoothed
        centred = smoothed - smoothed.mean(axis=0)
        scores, size, axes = np.linalg.svd(centred, full_matrices=False)
        count = min(self.components, len(size) - 1)
        scale = np.sqrt(len(centred))
        self.axes_ = size[:count, None] * axes[:count] / scale
        labels = scores[:, :count] * scale
        self.offset_, self.effects_, unseen = self._stumps(
            train.effects.index, features, labels, np.ones_like(labels), leaf
        )
        return None if unseen is None else self.response_.leave_one_out(unseen @ self.axes_)

    def _predict(self, features):
        return self.response_.predict((self.offset_ + features @ self.effects_) @ self.axes_)


def random_parts(names, parts, seed):
    """Number of the part of each row, at random by name, of nearly equal sizes."""
    part = np.random.default_rng(seed).permutation(np.arange(len(names)) % parts)
    return part[np.argsort(np.argsort(names))]


def _fit_stumps(features, labels, weights, settings, trees):
    """Offset and effect of each feature, (1 + features, columns), of one LightGBM a column."""
    import lightgbm

    rows, columns = features.shape
    names = {"params": settings, "free_raw_data": True}
    data = lightgbm.Dataset(features, labels[:, 0], weight=np.ones(rows), **names).construct()
    asked = np.vstack([np.zeros((1, columns)), np.eye(columns)])
    result = np.empty((1 + columns, labels.shape[1]))
    for column in range(labels.shape[1]):
        data.set_label(np.ascontiguousarray(labels[:, column]))
        data.set_weight(np.maximum(weights[:, column], 1e-6))
        booster = lightgbm.Booster(settings, data)
        for _ in range(trees):
            if booster.update():
                break
        result[:, column] = booster.predict(asked, num_threads=1)
    result[1:] -= result[0]
    return result
