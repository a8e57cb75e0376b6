"""Guess the expression of genes that a dataset did not measure, cell by cell.

Rules: `control_mean`, the mean of the competition's non-targeting cells; `pathway`, that mean shifted by
the deviations of the cell's measured genes, above all of pathway neighbours; `none`, NaN. Only cells are
imputed, as input of a model: an unmeasured response stays unknown.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..io.files import InputError, quote_some, repeated

RULES = ("control_mean", "pathway", "none")
NEIGHBOURS = 20  # of a gene; more gain nothing on the twin or on real cells, and cost time
SHRINKAGE = 10.0  # weight of "no deviation" in the mean over neighbours
RIDGE = 1e-4  # share of the mean square of the regressors
HIDDEN = 0.2  # share of the measured genes, for `hidden_gene_errors`
TERMS = ("shift", "shift_by_level", "cell", "cell_by_level", "neighbours")


class PathwayGuess:
    """The rule `pathway` for one dataset.

    A deviation is a value minus the competition's control mean of its gene, in log2(1 + CP10k). That of
    an unmeasured gene is guessed from five terms: a constant and the gene's level (its control mean,
    standardised), for another cell line and depth; the cell's mean deviation over measured genes, alone
    and times the level, for the depth of this cell; and the mean deviation, less the cell's mean, of the
    20 measured genes with the largest weights, shrunk to zero where weights are small. The coefficients
    are learned by hiding each measured gene in turn: least squares over cells and genes.

    `weights`: gene x gene, from 0, the diagonal left out: those of `Pathways.kernel`, say; `control`: by
    gene; `measured`: mask of genes.
    """

    def __init__(self, weights: np.ndarray, control: np.ndarray, measured: np.ndarray) -> None:
        self.measured, self.missing = np.flatnonzero(measured), np.flatnonzero(~measured)
        if len(self.measured) < 2:
            raise InputError(f"{len(self.measured)} genes are measured; the rule pathway wants two")
        self.control = np.asarray(control, dtype=np.float32)
        own = self.control[self.measured]
        self._level = (self.control - own.mean()) / (own.std() or 1.0)
        self._weights = weights
        self._near = _nearest(weights[np.ix_(self.missing, self.measured)]).astype(np.float32)

    def fit(self, blocks: Iterable[np.ndarray]) -> "PathwayGuess":
        """Learn from `blocks` of values, cell x gene (all genes), and return self."""
        weights = self._weights[np.ix_(self.measured, self.measured)]  # a copy
        np.fill_diagonal(weights, 0.0)
        near = _nearest(weights)
        level = self._level[self.measured][:, None]
        square, product = np.zeros((len(TERMS), len(TERMS))), np.zeros(len(TERMS))
        for values in blocks:
            deviation, cell = self._deviations(values)
            others = (deviation.sum(axis=0) - deviation) / (len(deviation) - 1)
            terms = np.empty((len(TERMS), *deviation.shape))
            terms[0], terms[1], terms[2], terms[3] = 1.0, level, others, others * level
            terms[4] = near @ (deviation - cell)
            terms = terms.reshape(len(TERMS), -1)
            square += terms @ terms.T
            product += terms @ deviation.ravel()
        ridge = max(RIDGE * np.trace(square) / len(TERMS), 1e-12) * np.eye(len(TERMS))
        self.coefficients_ = pd.Series(np.linalg.solve(square + ridge, product), TERMS)
        return self

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return values of the missing genes: cell x missing gene, from `values`, cell x gene."""
        shift, shift_by_level, cell_slope, by_level, neighbours = map(float, self.coefficients_)
        deviation, cell = self._deviations(values)
        level = self._level[self.missing][:, None]
        guess = neighbours * (self._near @ (deviation - cell))
        guess += (cell_slope + by_level * level) * cell
        guess += self.control[self.missing][:, None] + shift + shift_by_level * level
        return np.maximum(guess, 0.0).T  # no expression is below 0

    def _deviations(self, values):
        """Deviations, measured gene x cell, and their mean by cell."""
        deviation = np.ascontiguousarray(values[:, self.measured].T)
        deviation -= self.control[self.measured][:, None]
        return deviation, deviation.mean(axis=0)


def hidden_gene_errors(
    values: np.ndarray,
    measured: pd.Series,
    neighbours: pd.DataFrame | None = None,
    *,
    genes: pd.Index,
    control: pd.Series,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the errors of both rules on genes that are hidden: root mean square over cells, gene x rule.

    A fifth of the measured genes is hidden, `pathway` is learned from half of the cells, and both rules
    predict the other half. values: cell x gene of one dataset, log2(1 + CP10k); measured: by gene;
    neighbours: gene x gene weights, or None; genes: of the columns; control: mean by gene. The column
    `pathway, no neighbours` is `pathway` without the weights.
    """
    random = np.random.default_rng(seed)
    seen, mean = measured[genes].to_numpy(dtype=bool), control[genes].to_numpy(dtype=np.float32)
    hidden = seen & (random.random(len(seen)) < HIDDEN)
    learn, test = np.array_split(random.permutation(values), 2)
    blocks = np.array_split(learn, -(-len(learn) // 128))
    none = np.zeros((len(genes), len(genes)), dtype=np.float32)
    near = none if neighbours is None else aligned_weights(neighbours, genes)
    wrong = {"control_mean": test[:, hidden] - mean[hidden]}
    for rule, weight in {"pathway": near, "pathway, no neighbours": none}.items():
        guess = PathwayGuess(weight, mean, seen & ~hidden).fit(blocks)
        wrong[rule] = test[:, hidden] - guess.predict(test)[:, hidden[guess.missing]]
    return pd.DataFrame({r: np.sqrt((w**2).mean(axis=0)) for r, w in wrong.items()}, genes[hidden])


def _nearest(weights):
    """Each row's largest weights over their sum and the shrinkage: CSR."""
    from scipy.sparse import csr_array

    kept = min(NEIGHBOURS, weights.shape[1])
    places = np.argpartition(weights, -kept, axis=1)[:, -kept:]
    values = np.take_along_axis(weights, places, axis=1).astype(np.float64)
    values /= values.sum(axis=1, keepdims=True) + SHRINKAGE
    indptr = np.arange(len(weights) + 1) * kept
    near = csr_array((values.ravel(), places.ravel(), indptr), shape=weights.shape)
    near.eliminate_zeros()
    return near


def aligned_weights(neighbours: pd.DataFrame, genes: pd.Index) -> np.ndarray:
    """Return gene x gene weights as a float32 array in the order of `genes`, 0 where unknown."""
    for axis, labels in (("rows", neighbours.index), ("columns", neighbours.columns)):
        if again := repeated(labels):
            raise InputError(f"neighbours has repeated {axis}: {quote_some(again)}; name each once")
        if not labels.isin(genes).any():
            raise InputError(f"neighbours: no gene of the {axis} is known; want gene symbols")
    weights = neighbours.reindex(index=genes, columns=genes, fill_value=0.0)
    weights = weights.to_numpy(dtype=np.float32)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError("neighbours holds weights that are negative or not finite; want 0 or more")
    return weights
