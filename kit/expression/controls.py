"""Features of a perturbed gene from the control cells, whether or not it is an output gene.

All genes of the cells count: 28 of the competition's 200 targets have no output column, but they have an
expression level, a share of cells that express them, and genes that covary with them.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io.files import InputError, check_unique
from .pseudobulk import log_normalise

MEAN, DETECTION, COMPONENT = "control mean", "detection", "covariance"
FLAT = 1e-9  # spread, log2, of a gene that does not vary but for rounding


def target_features(
    competition: Competition, perturbations: Iterable[str], components: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Return features of targets from all genes of the control cells: perturbation x feature.

    `control mean`, of log2(1 + CP10k); `detection`, the share of control cells with a count; and
    `covariance 1` to `covariance <components>`, the principal components over all genes of the gene's
    correlations with the output genes, as root mean squares over these. The features of a target do not
    depend on the other targets. A target that is no gene of the cells has NaN.
    `seed`: of the start of the iteration. Raises InputError without cells, and for fewer than
    `components` + 2 control cells.
    """
    values = _control_values(competition)
    cells = len(values)
    outputs = values.columns.intersection(competition.genes, sort=False)
    most = min(cells, len(outputs)) - 2
    if not 1 <= components <= most:
        raise InputError(
            f"components is {components}, want 1 to {most}: there are {cells} control cells and "
            f"{len(outputs)} output genes in {competition.cells}"
        )
    mean, detection = values.mean(), (values > 0).mean()
    scores = _components(values, outputs, components, seed)
    features = pd.concat([mean.rename(MEAN), detection.rename(DETECTION), scores], axis=1)
    return features.reindex(pd.Index(list(perturbations), name="perturbation"))


def _control_values(competition):
    """Log2(1 + CP10k) of the control cells, cell x gene, all genes of the source: a dense frame."""
    cells = competition.subset([]).read_cells()
    cells = cells[(cells.obs["sgrna_symbol"] == CONTROL).to_numpy()]
    check_unique(cells.var_names, f"{competition.cells} has repeated genes")
    values = log_normalise(cells.X).toarray()
    return pd.DataFrame(values, columns=cells.var_names, copy=False)


def _components(values, outputs, components, seed):
    """Principal components of the genes' correlations with the output genes: gene x component frame."""
    from scipy.sparse.linalg import eigsh

    unit = values.to_numpy() - values.to_numpy().mean(axis=0)
    spread = unit.std(axis=0)
    unit /= np.where(spread > FLAT, spread, 1.0)
    targets = unit[:, values.columns.get_indexer(outputs)]
    unit -= unit.mean(axis=1, keepdims=True)  # takes the mean over genes off each correlation
    # The correlations themselves, 19,226 x 5,127, are never made: with targets targets^T = R R^T
    # they have the components of unit^T R, gene x cell.
    square, basis = np.linalg.eigh(targets @ targets.T)
    root = basis * np.sqrt(np.maximum(square, 0))
    inner = root.T @ (unit @ unit.T) @ root
    start = np.random.default_rng(seed).normal(size=len(inner))
    size, axes = eigsh(inner, k=components, v0=start)
    scores = unit.T @ (root @ axes[:, np.argsort(-size)])
    scores /= len(unit) * np.sqrt(len(outputs))
    scores *= np.where((scores**3).sum(axis=0) < 0, -1, 1)  # signs are arbitrary: longer tail up
    names = [f"{COMPONENT} {number}" for number in range(1, components + 1)]
    return pd.DataFrame(scores, values.columns, names)
