"""One LightGBM for all pairs of perturbation and gene, from the effects of similar perturbations.

Where a tree a gene is fitted to 80 rows, this one is fitted to all entries: it learns how far to follow
the similar perturbations, by how many and how similar they are. What makes perturbations similar is the
knowledge's affair (`kit.knowledge`).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..knowledge import Knowledge
from .baselines import PointModel, entry_weights
from .pooled_regression import gene_quantiles
from .ridge import Ridge, weighted_ranks
from .trees import lightgbm_settings, random_parts

FLOOR = 0.003  # of the kernel, which dissimilar rows keep
PAIRS = 150_000  # drawn at most for a fit
PARTS = 4  # of the rows; each fit is without one of them


@dataclass(eq=False, kw_only=True)
class PooledTrees(PointModel):
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

    trees: int = 60
    jobs: int = 2
    seed: int = 0

    def _fit(self, train, left_out):
        from joblib import Parallel, delayed

        self.train_, row_weights = train, self.constant_.row_weights_
        self.ridge_ = Ridge(self.knowledge_).fit(train)
        self.weights_ = entry_weights(train, row_weights)
        self.ranks_ = weighted_ranks(train.effects.to_numpy(), self.weights_)
        self.strength_ = (1 / row_weights).to_numpy()
        names = train.effects.index
        kernel = self._kernel(names)
        np.fill_diagonal(kernel, 0.0)
        ridge = train.effects - self.ridge_.residuals_
        start, kinds, features = self._pairs(kernel, left_out.to_numpy(), ridge.to_numpy())
        labels = train.effects.to_numpy() - start
        weights = train.weights.mul(row_weights, axis=0).to_numpy()
        known, part = self._knows(names), random_parts(names, PARTS, self.seed)
        seen = [(part != one) & known for one in range(PARTS)]
        # Where a fit would have no rows at all, there is nothing to pool: the constant.
        tasks = enumerate(seen) if all(rows.any() for rows in seen) else ()
        # A thread a fit: threads within a fit wait for each other where the machine is busy.
        self.boosters_ = Parallel(n_jobs=self.jobs, prefer="threads")(
            delayed(self._fit_pairs)(features[rows], labels[rows], weights[rows], one)
            for one, rows in tasks
        )
        for one, booster in enumerate(self.boosters_):
            rows = (part == one) & known
            if rows.any():
                left_out.loc[rows] = start[rows] + self._step([booster], features[rows])
        gain = sum(booster.feature_importance("gain") for booster in self.boosters_)
        self.importance_ = pd.Series(gain, kinds, dtype=float).sort_values(ascending=False)

    def _features(self, perturbations):
        """The perturbations' names, and which of them the pathways hold."""
        return np.array(perturbations), self._knows(perturbations) & bool(self.boosters_)

    def _predict(self, features):
        constant = self.constant_.predict(features).to_numpy()
        ridge = self.ridge_.predict(features).to_numpy()
        start, _, pairs = self._pairs(self._kernel(features), constant, ridge)
        return start + self._step(self.boosters_, pairs)

    def _knows(self, perturbations):
        return Knowledge(self.knowledge_.pathways).knows(perturbations).to_numpy()

    def _kernel(self, perturbations):
        rows = self.train_.effects.index
        return self.knowledge_.pathway_kernel(perturbations, rows).to_numpy(float) ** 2 + FLOOR

    def _pairs(self, kernel, constant, ridge):
        """The kernel-weighted median, names of features, and features: (new rows, genes, features).

        kernel: (new rows, training rows), zero where a row must not use another; median, constant and
        ridge: (new rows, genes), without the rows themselves.
        """
        train, weights = self.train_, self.weights_
        effects = train.effects.to_numpy()
        seen = (kernel > 0).astype(float)
        count = seen.sum(axis=1, keepdims=True)
        share, even = kernel / kernel.sum(axis=1, keepdims=True), seen / count
        mass, even_mass = share @ weights, np.maximum(even @ weights, 1e-6)

        def near(values):
            """Difference of the similar rows' weighted mean from that of all rows that are used."""
            weighted = weights * values
            return share @ weighted / np.maximum(mass, 1e-6) - even @ weighted / even_mass

        near_weights = (weights * row[:, None] for row in kernel)
        median = np.array([gene_quantiles(effects, one, 0.5) for one in near_weights])
        of_pairs = {
            "median": median - constant,
            "weighted mean": near(effects),
            "rank": near(self.ranks_),
            "ridge": ridge - constant,
            "mean": share @ effects - even @ effects,
            "weight": mass / even_mass,
            "constant": self.constant_.effect_.to_numpy(),
            "gene mean": effects.mean(axis=0),
            "gene sd": effects.std(axis=0, ddof=1),
            "control": train.control.to_numpy(),
            "strength": share @ self.strength_[:, None],
            "nearest": kernel.max(axis=1, keepdims=True),
            "similarity": kernel.sum(axis=1, keepdims=True) - FLOOR * count,
        }
        whole = [np.broadcast_to(part, median.shape) for part in of_pairs.values()]
        return median, list(of_pairs), np.stack(whole, axis=-1, dtype=np.float32)

    def _fit_pairs(self, features, labels, weights, part):
        import lightgbm

        pairs = np.arange(labels.size)
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
            features.reshape(-1, features.shape[-1])[pairs],
            labels.ravel()[pairs],
            weight=np.maximum(weights.ravel()[pairs], 1e-6),
        )
        return lightgbm.train(settings, data, self.trees)

    def _step(self, boosters, features):
        """Mean over boosters of the deviation from the kernel-weighted median: (rows, genes)."""
        flat = features.reshape(-1, features.shape[-1])
        each = [booster.predict(flat, num_threads=self.jobs) for booster in boosters]
        return np.mean(each, axis=0).reshape(features.shape[:2])
