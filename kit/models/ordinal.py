"""One pooled regression for all (knockdown, gene) pairs: the chance that an effect exceeds a threshold.

A logistic regression for each threshold: coefficients common to all genes, an intercept for each gene,
shrunk to the common one. Chances between thresholds then tilt the genes' own training effects: atoms in
a bin share the bin's chance as they did before. Nothing here knows where features come from.
"""

import numpy as np

ROUNDS = 12  # of Newton's method, which stands still after about six
PRIOR = 2.0  # rows' worth of belief that a gene's intercept is the common one
LEAST = 0.003  # chance that a bin is taken to have had, so that empty bins blow nothing up


class PooledOrdinal:
    """Chances of bins from features of pairs.

    thresholds: (thresholds, genes), ascending. penalty: ridge on the coefficients of features scaled to
    root mean square 1, in pairs' worth of information. Learns `coefficients_` (thresholds, features) and
    `intercepts_` (thresholds, genes).
    """

    def __init__(self, thresholds, penalty):
        self.thresholds = thresholds
        self.penalty = penalty

    def fit(self, features, effects, weights, genes=None):
        """features: (rows, genes, features); effects, weights: (rows, genes).

        genes: places of the genes that coefficients are learned from, by default all.
        """
        from threadpoolctl import threadpool_limits

        chosen = slice(None) if genes is None else genes
        some = features[:, chosen]
        coefficients, intercepts = [], []
        # One thread: several wait for each other on products this small, ten times as long on a busy
        # machine, and the sums then depend on their number.
        with threadpool_limits(1):
            for threshold in self.thresholds:
                beyond = (effects > threshold).astype(np.float32)
                slope, start = _logistic(some, beyond[:, chosen], weights[:, chosen], self.penalty)
                coefficients.append(slope)
                intercepts.append(_intercepts(features @ slope, beyond, weights, start))
        self.coefficients_ = np.array(coefficients)
        self.intercepts_ = np.array(intercepts)
        return self

    def chances(self, features):
        """Chance of each bin, from below the first threshold up: (rows, genes, thresholds + 1)."""
        linear = features @ self.coefficients_.T.astype(features.dtype)  # (rows, genes, thresholds)
        beyond = _chance(linear + self.intercepts_.T)
        beyond = np.minimum.accumulate(beyond, axis=2)
        edges = np.ones((*beyond.shape[:2], 1))
        return -np.diff(np.concatenate([edges, beyond, 0 * edges], axis=2), axis=2)

    def bins(self, effects):
        """Bin of each effect: (rows, genes), whole numbers."""
        return (effects[None] > self.thresholds[:, None]).sum(axis=0)


def tilted(base, chances, bins):
    """Chances of atoms that agree with the chances of bins: (genes, perturbations, atoms), float32.

    base: chance of each atom before, (genes, perturbations, atoms) or broadcast to it; chances:
    (perturbations, genes, bins); bins: (atoms, genes).
    """
    members = bins.T[:, :, None] == np.arange(chances.shape[2])  # (genes, atoms, bins)
    members = members.astype(np.float32)
    base = base / base.sum(axis=2, keepdims=True)
    before = base @ members
    ratio = np.moveaxis(chances, 1, 0).astype(np.float32) / (before + np.float32(LEAST))
    after = base * (ratio @ np.swapaxes(members, 1, 2))
    # Between equal thresholds a bin is empty: a chance that lies all there leaves the atoms as they are.
    silent = ~after.any(axis=2)
    after[silent] = np.broadcast_to(base, after.shape)[silent]
    return after / after.sum(axis=2, keepdims=True)


def gene_thresholds(effects, weights, levels):
    """Weighted quantiles of each gene's effects at `levels`: (levels, genes), ascending.

    effects, weights: (rows, genes); genes without weight count all rows alike.
    """
    weights = np.where(weights.sum(axis=0) > 0, weights, 1.0)
    order = np.argsort(effects, axis=0)
    ordered = np.take_along_axis(effects, order, axis=0)
    mass = np.take_along_axis(weights, order, axis=0).cumsum(axis=0)
    places = np.array([(mass < level * mass[-1]).sum(axis=0) for level in levels])
    return np.take_along_axis(ordered, np.minimum(places, len(effects) - 1), axis=0)


def _chance(linear):
    return 1 / (1 + np.exp(-np.clip(linear, -30, 30)))


def _logistic(features, beyond, weights, penalty):
    """Coefficients and the common intercept, by Newton's method with the gene intercepts profiled."""
    count = features.shape[2]
    share = np.clip((weights * beyond).sum() / weights.sum(), 1e-4, 1 - 1e-4)
    common = np.log(share / (1 - share))
    intercepts = np.full(features.shape[1], common)
    slope = np.zeros(count, dtype=features.dtype)
    for _ in range(ROUNDS):
        chance = _chance(features @ slope + intercepts)
        curvature = (np.maximum(chance * (1 - chance), 1e-4) * weights).astype(features.dtype)
        miss = weights * (beyond - chance)
        by_gene = curvature.sum(axis=0) + PRIOR
        mixed = np.einsum("rg,rgk->gk", curvature, features)
        flat = (features * curvature[:, :, None]).reshape(-1, count)
        square = flat.T @ features.reshape(-1, count) - (mixed / by_gene[:, None]).T @ mixed
        pull = miss.sum(axis=0) - PRIOR * (intercepts - common)
        right = miss.ravel() @ features.reshape(-1, count) - penalty * slope
        right -= (mixed / by_gene[:, None]).T @ pull
        step = np.linalg.solve(square + penalty * np.eye(count), right)
        move = np.clip((pull - mixed @ step) / by_gene, -3, 3)
        slope, intercepts = slope + step.astype(features.dtype), intercepts + move
        common = intercepts.mean()
        if np.abs(step).max() < 1e-3 and np.abs(move).max() < 1e-2:
            break
    return slope, common


def _intercepts(offset, beyond, weights, common):
    """Intercept of each gene beside known offsets (rows, genes), shrunk to the common one."""
    intercepts = np.full(offset.shape[1], common)
    for _ in range(ROUNDS):
        chance = _chance(offset + intercepts)
        pull = (weights * (beyond - chance)).sum(axis=0) - PRIOR * (intercepts - common)
        move = pull / ((weights * np.maximum(chance * (1 - chance), 1e-4)).sum(axis=0) + PRIOR)
        intercepts = intercepts + np.clip(move, -3, 3)
        if np.abs(move).max() < 1e-2:
            break
    return intercepts
