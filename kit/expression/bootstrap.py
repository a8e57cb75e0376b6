"""Bootstrap of cells: effects that a screen might have measured with other cells of the same guides.

Cells are drawn with replacement within each guide and batch, control cells too, whose error all effects
share. A network that is trained on another draw at every step cannot learn the noise of one sample.
"""

from typing import TYPE_CHECKING

import numpy as np

from ..competition import CONTROL, Competition
from ..io.files import InputError, check_known
from .pseudobulk import columns_of, log_normalise

if TYPE_CHECKING:
    from anndata import AnnData

STRATA = ("sgrna_symbol", "sgrna_id", "channel")  # within which cells are drawn


def bootstrap_effects(
    competition: Competition,
    draws: int = 8,
    *,
    seed: int = 0,
    cells: "AnnData | None" = None,
) -> np.ndarray:
    """Return effects of the training rows in `draws` samples of cells: (draws, rows, genes), float32.

    Rows and genes are in the competition's order; cells: AnnData of raw counts with all genes of the
    source, by default `competition.read_cells()`; without obs `sgrna_id` or `channel` they are drawn
    within what is there. Raises InputError where a row has no cells, or no draw is asked for.
    """
    from scipy.sparse import csr_array

    if draws < 1:
        raise InputError(f"draws is {draws}, want at least 1")
    cells = competition.read_cells() if cells is None else cells
    group = cells.obs["sgrna_symbol"].astype(str).to_numpy()
    names = [*competition.effects.index, CONTROL]
    check_known(names, group, "perturbations lack cells")
    columns = columns_of(competition.genes, cells.var_names)
    values = log_normalise(cells.X)[:, columns].astype(np.float32)
    by = [name for name in STRATA if name in cells.obs]
    stratum = cells.obs[by].astype(str).agg("|".join, axis=1)
    _, stratum, sizes = np.unique(stratum, return_inverse=True, return_counts=True)
    order = np.argsort(stratum, kind="stable")  # cells of a stratum side by side
    first = np.cumsum(sizes) - sizes
    start, size = first[stratum[order]], sizes[stratum[order]]
    place = {name: row for row, name in enumerate(names)}
    row = np.array([place.get(name, -1) for name in group])
    random = np.random.default_rng(seed)
    found = np.empty((draws, len(names) - 1, len(columns)), dtype=np.float32)
    for draw in range(draws):
        taken = order[start + (random.random(len(order)) * size).astype(int)]
        taken = taken[row[taken] >= 0]
        count = np.bincount(row[taken], minlength=len(names))
        member = csr_array(
            (1 / count[row[taken]].astype(np.float32), (row[taken], taken)),
            shape=(len(names), len(row)),
        )  # a cell that is drawn twice counts twice: repeated entries add up
        means = (member @ values).toarray()
        found[draw] = means[:-1] - means[-1]
    return found
