"""What is held out: perturbations at random, with similar ones kept together, or once; or a cell line.

A split is a list of held-out lists of perturbations, as `out_of_fold` takes it. At random a complex of
forty proteins lies in every fold, and a model that only finds its other proteins scores well: grouped
folds show what is left of the score without them. An atlas holds the same perturbations in other cell
lines: `each_line` makes every one of them the competition to solve while the rest remain as atlas, which
shows what transfer between screens is worth.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..expression.limma import LFC, t_of_effects
from ..io.files import InputError, check_known, check_labels, check_type, check_unique
from ..metric import weights_from_t, wmae

if TYPE_CHECKING:  # the room of screens imports h5py, and `import kit` is light
    from ..screens import Atlas

WHOLE = "a whole number"
COMPETITION = "competition"  # the name that `merge` gives the competition's own screen


def folds(
    perturbations: Sequence[str], parts: int = 5, *, seed: int | list[int] = 0
) -> list[list[str]]:
    """Part perturbations at random into lists of nearly equal length, each once held out."""
    names = _listed(perturbations)
    _check_parts(parts, names)
    order = np.random.default_rng(seed).permutation(len(names))
    return [[names[i] for i in sorted(order[part::parts])] for part in range(parts)]


def repeated_folds(
    perturbations: Sequence[str], parts: int = 5, repeats: int = 3, *, seed: int = 0
) -> list[list[list[str]]]:
    """Return `repeats` splits into random folds, the first that of `folds` with seed `[seed, 0]`."""
    check_type(repeats, Integral, "repeats", WHOLE)
    return [folds(perturbations, parts, seed=[seed, repeat]) for repeat in range(repeats)]


def hold_out(perturbations: Sequence[str], number: int = 30, *, seed: int = 0) -> list[list[str]]:
    """Hold out `number` perturbations at random, once: a list of one list."""
    names = _listed(perturbations)
    check_type(number, Integral, "number", WHOLE)
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
    check_type(similarity, pd.DataFrame, "similarity", "a frame, perturbation x perturbation")
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


def checked_split(held_out: Iterable[Iterable[str]]) -> list[list[str]]:
    """Return a split as a list of lists; InputError for what is none."""
    want = "lists of perturbations, as folds(competition.effects.index, 5) gives them"
    check_type(held_out, Iterable, "held_out", want)
    parts = list(held_out)
    for part in parts:
        check_type(part, Iterable, "a part of held_out", want)
    parts = [list(part) for part in parts]
    if not parts or not all(parts):
        raise InputError(f"held_out has an empty list, want {want}")
    return parts


def groups(
    similarity: pd.DataFrame, *, at_least: float = 0.5, largest: int | None = None
) -> list[list[str]]:
    """Return lists of similar perturbations: average linkage, cut where similarity is below a limit.

    at_least: of two branches that stay together the pairs' mean similarity reaches it, so that a single
    pair above it can be parted: `by_nearness` shows what is left. A group of more
    than `largest` perturbations is cut back, with a warning: it falls into its two branches, and these
    into theirs, until none is larger.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    names = similarity.index
    check_labels(similarity.columns, names, "similarity: columns do not match rows")
    if len(names) < 2:
        return [[name] for name in names]
    values = np.nan_to_num(similarity.loc[names, names].to_numpy(dtype=float))
    if not np.allclose(values, values.T, atol=1e-6):
        raise InputError("similarity is not symmetric; give one value for both orders of a pair")
    top = max(values.max(), at_least)
    distance = squareform(top - (values + values.T) / 2, checks=False)
    limit = top - at_least + 1e-9  # a pair of exactly at_least stays together
    tree = linkage(distance, "average")
    apart, sizes = tree[:, 2], tree[:, 3]  # of each branch: distance of its two, perturbations
    too_large = sizes > (len(names) if largest is None else largest)
    labels = fcluster(tree, limit, "monocrit", monocrit=np.where(too_large, np.inf, apart))
    parted = np.flatnonzero(too_large & (apart <= limit))
    if parted.size:
        most = parted[sizes[parted].argmax()]
        whole = fcluster(tree, limit, "distance")
        first = names[np.argmax(whole == np.bincount(whole).argmax())]
        warnings.warn(
            f"{sizes[most]:.0f} perturbations ({first} and others, mean similarity "
            f"{top - apart[most]:.2g}) are more than the {largest} of a fold: they are parted where "
            "similarity is lowest; fewer folds keep them together",
            stacklevel=2,
        )
    return [list(group) for _, group in pd.Series(names).groupby(labels, sort=False)]


def with_competition(atlas: Atlas, competition: Competition) -> Atlas:
    """Return the atlas with the competition's training effects as one of its lines, `competition`.

    They replace the rows that the file has of the competition's own cells. Standard errors
    of the new rows are unknown (NaN).
    """
    others = atlas.other_screens()
    effects = competition.effects.reindex(columns=atlas.effects.columns)
    labels = pd.Index([f"{name}|{COMPETITION}" for name in effects.index])
    obs = pd.DataFrame({"sgrna_symbol": effects.index, "dataset": COMPETITION}, index=labels)
    obs = pd.concat([obs.astype(str), others.obs.astype({"sgrna_symbol": str, "dataset": str})])
    obs["competition"] = (obs["dataset"] == COMPETITION).to_numpy()
    effects = pd.concat([effects.set_axis(labels), others.effects])
    se = None if others.se is None else others.se.reindex(effects.index)
    return replace(atlas, effects=effects, obs=obs, se=se)


def line_out(
    atlas: Atlas, dataset: str, competition: Competition, *, lfc: float = LFC
) -> tuple[Competition, Atlas]:
    """Take one line out of an atlas: (a Competition of its perturbations, the Atlas of the other lines).

    Genes are those that the line has measured in all its perturbations; the rest keeps only these. Mean
    expression is the competition's. Weights come from t: the effect,
    less `lfc`, over its standard error, or where the atlas has none, over the gene's spread among
    perturbations. There are no targets. The line `competition` is the competition itself, weights as
    shipped. No row of the rest is marked as the competition's.
    """
    check_known([dataset], atlas.obs["dataset"], "the atlas has no such dataset")
    of_line = (atlas.obs["dataset"] == dataset).to_numpy()
    rest = atlas.take(~of_line)
    rest = replace(rest, obs=rest.obs.assign(competition=False))
    if (atlas.own & of_line).any():
        return competition, rest
    line = atlas.take(of_line & (atlas.obs["sgrna_symbol"] != CONTROL).to_numpy())
    symbols = pd.Index(line.obs["sgrna_symbol"].astype(str), name="perturbation")
    check_unique(symbols, f"{dataset} has perturbations twice")
    effects = line.effects.set_axis(symbols).astype(float).dropna(axis=1)
    if len(effects) < 2 or effects.empty:
        raise InputError(
            f"{dataset} has {len(effects)} perturbations and {effects.shape[1]} genes measured in all "
            "of them; want two and one at least"
        )
    genes = effects.columns
    se = None if line.se is None else line.se.set_axis(symbols)[genes].astype(float)
    weights = weights_from_t(t_of_effects(effects, se, lfc))
    line = Competition(
        effects=effects,
        weights=weights,
        control=competition.control[genes],
        targets=competition.targets.iloc[:0],
        baseline_wmae=wmae(effects, effects.mean(), weights).rename("baseline_wmae"),
        solution=None,
        cells=None,
        source=competition.source,
        files=(atlas.source,),
    )
    rest_se = None if rest.se is None else rest.se[genes]
    return line, replace(rest, effects=rest.effects[genes], se=rest_se)


def each_line(
    atlas: Atlas, competition: Competition, *, at_least: int = 20
) -> Iterator[tuple[str, Competition, Atlas]]:
    """Yield (dataset, Competition, Atlas of the others) for every line, the competition's first.

    Lines of fewer than `at_least` perturbations are only ever among the others.
    """
    atlas = with_competition(atlas, competition)
    for dataset, rows in atlas.obs["dataset"].value_counts(sort=False).items():
        if rows >= at_least:
            yield dataset, *line_out(atlas, dataset, competition)


def _listed(perturbations):
    want = "a list of names, such as competition.effects.index"
    check_type(perturbations, Iterable, "perturbations", want)
    return list(perturbations)


def _check_parts(parts, names):
    check_type(parts, Integral, "parts", WHOLE)
    if not 2 <= parts <= len(names):
        raise InputError(f"{parts} folds of {len(names)} perturbations; want 2 to {len(names)}")
