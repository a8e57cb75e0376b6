"""Which perturbations are held out: at random, with those that are alike kept together, or once.

A split is a list of held-out lists of perturbations, as `validation.out_of_fold` takes it. At random a
complex of forty proteins lies in every fold, and a model that only finds its other members looks good:
grouped folds say what is left of the score without them.
"""

import warnings

import numpy as np

from ..io.files import InputError, label_fault


def folds(perturbations, parts=5, *, seed=0):
    """Part perturbations at random into lists of nearly equal length, each once held out."""
    names = list(perturbations)
    _check_parts(parts, names)
    order = np.random.default_rng(seed).permutation(len(names))
    return [[names[i] for i in sorted(order[part::parts])] for part in range(parts)]


def repeated_folds(perturbations, parts=5, repeats=3, *, seed=0):
    """Random folds `repeats` times over: a list of splits, the first that of `folds` with this seed."""
    return [folds(perturbations, parts, seed=[seed, repeat]) for repeat in range(repeats)]


def hold_out(perturbations, number=30, *, seed=0):
    """One split with `number` perturbations held out at random: a list of one list."""
    names = list(perturbations)
    if not 1 <= number < len(names):
        raise InputError(
            f"{number} of {len(names)} perturbations cannot be held out; want 1 to "
            f"{len(names) - 1}, or use folds"
        )
    chosen = np.random.default_rng(seed).permutation(len(names))[:number]
    return [[names[i] for i in sorted(chosen)]]


def grouped_folds(similarity, parts=5, *, seed=0, at_least=0.5):
    """Folds of nearly equal length that never part a group of perturbations that are alike.

    similarity: perturbation x perturbation, of any source; a pair without a value (NaN) is not alike.
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


def groups(similarity, *, at_least=0.5, largest=None):
    """Lists of perturbations that are alike: average linkage, cut where similarity falls below a limit.

    at_least: of two branches that stay together the pairs' mean similarity reaches it, so that a single
    pair above it can be parted: `validation.by_nearness` shows what is left. A group of more
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
        count, name, alike = max(parted)
        warnings.warn(
            f"{count} perturbations ({name} and others, alike to {alike:.2g}) are more than the "
            f"{largest} of a fold: they are parted where they are least alike; fewer folds keep them "
            "together",
            stacklevel=2,
        )
    return [[names[i] for i in group] for group in sorted(together)]


def _check_parts(parts, names):
    if not 2 <= parts <= len(names):
        raise InputError(f"{parts} folds of {len(names)} perturbations; want 2 to {len(names)}")
