"""One LightGBM for all pairs of perturbation and gene, from the effects of similar perturbations.

Where a tree a gene is fitted to 80 rows, this one is fitted to all entries: it learns how far to follow
the similar perturbations, by how many and how similar they are. What makes perturbations similar is the
knowledge's affair (`kit.knowledge`).
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..knowledge import Knowledge
from .baselines import Constant
from .ranks import entry_weights, leave_one_out_constant, metric_row_weights, weighted_ranks
from .ridge import Ridge
from .trees import lightgbm_settings, random_parts

FEATURES = [
    *("median", "weighted mean", "rank", "ridge", "mean", "weight"),  # of a pair
    *("constant", "gene mean", "gene sd", "control"),
    *("strength", "nearest", "similarity"),  # of a perturbation
]
FLOOR = 0.003  # of the kernel, which dissimilar rows keep
PAIRS = 150_000  # drawn at most for a fit
PARTS = 4  # of the rows; each fit is without one of them


class PooledTrees:
    """One LightGBM for all pairs of perturbation and gene: when to follow the similar perturbations.

    A pair's features are differences between similar and all *other* training rows (kernel-weighted
    median, mean, rank, weight; ridge's leave-one-out prediction), those of the gene (constant, mean, sd,
    control level) and those of the perturbation (strength of similar rows, similarity): training and new
    pairs have them in common. The mean of the others would not do as a feature: beside the mean of all
    it reveals the row's own value. Weighted L1 on the deviation from the kernel-weighted median, kernel
    = `pathway_kernel` squared + `FLOOR`; the mean of `PARTS` fits of `trees` trees, in `jobs` threads.
    Learns `residuals_`, `importance_` (gain by feature). A perturbation that the pathways do not hold
    gets the constant's prediction.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        trees: int = 60,
        jobs: int = 2,
        seed: int = 0,
    ):
        self.knowledge = knowledge or Knowledge()
        self.trees = trees
        self.jobs = jobs
        self.seed = seed

    def fit(self, train: Competition) -> Self:
        from joblib import Parallel, delayed

        self.constant_ = Constant().fit(train)
        row_weights = metric_row_weights(train, self.constant_)
        self.ridge_ = Ridge(self.knowledge).fit(train)
        self.effects_, self.control_ = train.effects, train.control
        self.weights_ = entry_weights(train, row_weights)
        pair_weights = train.weights.mul(row_weights, axis=0).to_numpy()
        self.ranks_ = weighted_ranks(train.effects.to_numpy(), self.weights_)
        self.strength_ = (1 / row_weights).to_numpy()
        names = train.effects.index
        kernel = self._kernel(names)
        np.fill_diagonal(kernel, 0.0)
        left_out = leave_one_out_constant(train, row_weights).to_numpy()
        ridge = (train.effects - self.ridge_.residuals_).to_numpy()
        start, features = self._features(kernel, left_out, ridge)
        known = self._known(names)
        part = random_parts(names, PARTS, self.seed)
        labels = train.effects.to_numpy() - start
        held_out = left_out.copy()
        seen = [(part != one) & known for one in range(PARTS)]
        # Where a fit would have no rows at all, there is nothing to pool: the constant.
        tasks = enumerate(seen) if all(rows.any() for rows in seen) else ()
        # A thread a fit: threads within a fit wait for each other where the machine is busy.
        self.boosters_ = Parallel(n_jobs=self.jobs, prefer="threads")(
            delayed(self._fit_pairs)(features, labels, pair_weights, rows, one)
            for one, rows in tasks
        )
        for one, booster in enumerate(self.boosters_):
            rows = (part == one) & known
            if rows.any():
                held_out[rows] = start[rows] + self._add([booster], features[rows])
        gain = sum(booster.feature_importance("gain") for booster in self.boosters_)
        self.importance_ = pd.Series(gain, FEATURES, dtype=float).sort_values(ascending=False)
        self.residuals_ = train.effects - held_out
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects: perturbation x gene."""
        prediction = self.constant_.predict(perturbations)
        known = self._known(perturbations) & bool(self.boosters_)
        if known.any():
            names = prediction.index[known]
            constant = prediction.to_numpy()[known]
            ridge = self.ridge_.predict(names).to_numpy()
            start, features = self._features(self._kernel(names), constant, ridge)
            prediction.iloc[known] = start + self._add(self.boosters_, features)
        return prediction

    def _known(self, perturbations):
        pathways = self.knowledge.pathways
        if pathways is None:
            return np.zeros(len(perturbations), dtype=bool)
        return pathways.knows(perturbations).to_numpy()

    def _kernel(self, perturbations):
        kernel = self.knowledge.pathway_kernel(perturbations, self.effects_.index).to_numpy(float)
        return kernel**2 + FLOOR

    def _features(self, kernel, constant, ridge):
        """The kernel-weighted median and all features of (new row, gene) pairs, (rows, genes, 13).

        kernel: (new rows, training rows), zero where a row must not use another; constant, ridge:
        predictions, (new rows, genes), without the rows themselves.
        """
        effects, weights = self.effects_.to_numpy(), self.weights_
        seen = (kernel > 0).astype(float)
        count = seen.sum(axis=1, keepdims=True)
        share, even = kernel / kernel.sum(axis=1, keepdims=True), seen / count
        mass, even_mass = share @ weights, np.maximum(even @ weights, 1e-6)

        def near(values):
            """Difference of the similar rows' weighted mean from that of all rows that are used."""
            weighted = weights * values
            return share @ weighted / np.maximum(mass, 1e-6) - even @ weighted / even_mass

        median = kernel_median(effects, weights, kernel)
        by_pair = [median - constant, near(effects), near(self.ranks_), ridge - constant]
        by_pair += [share @ effects - even @ effects, mass / even_mass]
        by_gene = [self.constant_.effect_, self.effects_.mean(), self.effects_.std(), self.control_]
        nearest = kernel.max(axis=1), kernel.sum(axis=1) - FLOOR * count[:, 0]
        by_row = [share @ self.strength_, *nearest]
        whole = np.ones_like(median)
        features = [
            *by_pair,
            *(values.to_numpy() * whole for values in by_gene),
            *(values[:, None] * whole for values in by_row),
        ]
        return median, np.stack(features, axis=-1).astype(np.float32)

    def _fit_pairs(self, features, labels, weights, rows, part):
        import lightgbm

        weights = weights[rows].ravel()
        pairs = np.arange(len(weights))
        if len(pairs) > PAIRS:
            random = np.random.default_rng([self.seed, part])
            pairs = np.sort(random.choice(pairs, PAIRS, replace=False))
        settings = lightgbm_settings(
            self.seed,
            objective="regression_l1",
            num_leaves=8,
            min_data_in_leaf=max(5, min(200, len(pairs) // 50)),
            learning_rate=0.05,
        )
        data = lightgbm.Dataset(
            features[rows].reshape(-1, features.shape[-1])[pairs],
            labels[rows].ravel()[pairs],
            weight=np.maximum(weights[pairs], 1e-6),
        )
        return lightgbm.train(settings, data, self.trees)

    def _add(self, boosters, features):
        rows, genes, count = features.shape
        flat = features.reshape(-1, count)
        each = [booster.predict(flat, num_threads=self.jobs) for booster in boosters]
        return np.mean(each, axis=0).reshape(rows, genes)


def kernel_median(values, weights, kernel):
    """Return the weighted median by column for each row of the kernel: (new rows, columns).

    values, weights: (rows, columns); kernel: (new rows, rows), which multiplies the weights.
    """
    settings = {"axis": 0, "method": "inverted_cdf"}
    return np.array(
        [np.quantile(values, 0.5, weights=weights * k[:, None], **settings) for k in kernel]
    )
