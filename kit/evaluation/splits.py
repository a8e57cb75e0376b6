"""Which perturbations are held out: at random, with similar ones kept together, or once.

A split is a list of held-out lists of perturbations, as `out_of_fold` takes it. At random a complex of
forty proteins lies in every fold, and a model that only finds its other proteins scores well: grouped
folds show what is left of the score without them.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..io.files import InputError, label_fault


def folds(
    perturbations: Sequence[str], parts: int = 5, *, seed: int | list[int] = 0
) -> list[list[str]]:
    """Part perturbations at random into lists of nearly equal length, each once held out."""
    names = list(perturbations)
    _check_parts(parts, names)
    order = np.random.default_rng(seed).permutation(len(names))
    return [[names[i] for i in sorted(order[part::parts])] for part in range(parts)]


def repeated_folds(
    perturbations: Sequence[str], parts: int = 5, repeats: int = 3, *, seed: int = 0
) -> list[list[list[str]]]:
    """Return `repeats` splits into random folds, the first that of `folds` with seed `[seed, 0]`."""
    return [folds(perturbations, parts, seed=[seed, repeat]) for repeat in range(repeats)]


def hold_out(perturbations: Sequence[str], number: int = 30, *, seed: int = 0) -> list[list[str]]:
    """Hold out `number` perturbations at random, once: a list of one list."""
    names = list(perturbations)
    if not 1 <= number < len(names):
        raise InputError(
            f"{number} of {len(names)} perturbations cannot be held out; want 1 to "
            f"{len(names) - 1}, or use folds"
        )
    chosen = np.random.default_rng(seed).permutation(len(names))[:number]
    return [[names[i] for i in sorted(chosen)]]


def grouped_folds(
    similarity: pd.DataFrame,
    parts: int = 5,
    *,
    seed: int | list[int] = 0,
    at_least: float = 0.5,
) -> list[list[str]]:
    """Part perturbations into folds of nearly equal length that keep similar ones together.

    similarity: perturbation x perturbation, of any source; of a pair without a value (NaN) it is 0.
    Groups come from `groups`; the largest is placed first, each in the fold that is then the shortest.
    """
    names = list(similarity.index)
    _check_parts(parts, names)
    together = groups(similarity, at_least=at_least, largest=-(-len(names) // parts))
    if len(together) < parts:
        raise InputError(
            f"{len(together)} groups of similar perturbations do not fill {parts} folds; want fewer "
            f"folds, or raise at_least above {at_least}"
        )
    order = np.random.default_rng(seed).permutation(len(together))
    held_out = [[] for _ in range(parts)]
    for group in sorted((together[i] for i in order), key=len, reverse=True):
        min(held_out, key=len).extend(group)
    return [[name for name in names if name in set(part)] for part in held_out]


def groups(
    similarity: pd.DataFrame, *, at_least: float = 0.5, largest: int | None = None
) -> list[list[str]]:
    """Return lists of similar perturbations: average linkage, cut where similarity is below a limit.

    at_least: of two branches that stay together the pairs' mean similarity reaches it, so that a single
    pair above it can be parted: `by_nearness` shows what is left. A group of more
    than `largest` perturbations is cut back, with a warning: it falls into its two branches, and these
    into theirs, until none is larger.
    """
    from scipy.cluster.hierarchy import linkage, to_tree
    from scipy.spatial.distance import squareform

    names = similarity.index
    if fault := label_fault(similarity.columns, names):
        raise InputError(f"similarity: columns do not match rows: {fault}")
    if len(names) < 2:
        return [[name] for name in names]
    values = np.nan_to_num(similarity.loc[names, names].to_numpy(dtype=float))
    if not np.allclose(values, values.T, atol=1e-6):
        raise InputError("similarity is not symmetric; give one value for both orders of a pair")
    top = max(values.max(), at_least)
    distance = squareform(top - (values + values.T) / 2, checks=False)
    limit = top - at_least + 1e-9  # a pair of exactly at_least stays together
    largest = len(names) if largest is None else largest
    open_branches, together, parted = [to_tree(linkage(distance, "average"))], [], []
    while open_branches:
        branch = open_branches.pop()
        if branch.dist <= limit and branch.count <= largest:
            together.append(sorted(branch.pre_order()))
            continue
        if branch.dist <= limit:
            parted.append((branch.count, names[min(branch.pre_order())], top - branch.dist))
        open_branches += [branch.right, branch.left]
    if parted:
        count, name, mean = max(parted)
        warnings.warn(
            f"{count} perturbations ({name} and others, mean similarity {mean:.2g}) are more than the "
            f"{largest} of a fold: they are parted where similarity is lowest; fewer folds keep them "
            "together",
            stacklevel=2,
        )
    return [[names[i] for i in group] for group in sorted(together)]


def _check_parts(parts, names):
    if not 2 <= parts <= len(names):
        raise InputError(f"{parts} folds of {len(names)} perturbations; want 2 to {len(names)}")
