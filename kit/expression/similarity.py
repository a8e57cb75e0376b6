"""Similarity of effects: within a screen, between screens, and of two tables entry by entry."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

FLOOR = {"low": 0.05, "median": 0.5, "high": 0.95}  # quantiles over different perturbations


def centred_cosine(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the cosine of every two perturbations' effects, less the mean effect of each gene."""
    unit = unit_rows((effects - effects.mean()).to_numpy())
    return pd.DataFrame(unit @ unit.T, index=effects.index, columns=effects.index)


def cluster_order(similarity: pd.DataFrame) -> pd.Index:
    """Return the names in the leaf order of average-linkage clustering on 1 - similarity."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = squareform(np.clip(1 - similarity.to_numpy(), 0, None), checks=False)
    return similarity.index[leaves_list(linkage(distance, "average", optimal_ordering=True))]


def most_similar(similarity: pd.DataFrame) -> pd.Series:
    """Return the cosine of all pairs, the most similar first: a series by (one, other)."""
    first, second = np.triu_indices(len(similarity), 1)
    names = similarity.index
    pairs = pd.MultiIndex.from_arrays([names[first], names[second]], names=["one", "other"])
    cosine = pd.Series(similarity.to_numpy()[first, second], pairs, name="cosine")
    return cosine.sort_values(ascending=False, kind="stable")


def rank_correlation(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """Return Spearman's rank correlation over all entries of two frames of the same shape."""
    from scipy.stats import spearmanr

    return float(spearmanr(one.to_numpy().ravel(), other.to_numpy().ravel()).statistic)


def within_groups(
    tables: Mapping[str, pd.DataFrame], groups: pd.Series
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the mean centred cosine of pairs within groups, and of all pairs: (group x table, by table).

    tables: perturbation x gene frames by name; groups: name of its group by perturbation.
    """
    inside, overall = {}, {}
    for kind, table in tables.items():
        pairs = most_similar(centred_cosine(table))
        one, other = (groups.reindex(pairs.index.get_level_values(level)) for level in (0, 1))
        same = one.to_numpy() == other.to_numpy()
        overall[kind] = pairs.mean()
        inside[kind] = pairs[same].groupby(one.to_numpy()[same]).mean()
    sizes = groups.value_counts()
    inside = pd.DataFrame(inside)
    return inside.rename(index=lambda name: f"{name} ({sizes[name]})"), pd.Series(overall)


def between_screens(tables: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the similarity of every two screens: the cosine of their centred effects.

    tables: perturbation x gene frames by screen. Genes count that are measured in every row of both
    screens; each screen's mean effect of a gene is subtracted. Returns `same`, a frame by (one, other,
    perturbation) of `cosine` and `rank`, the share of the other screen's perturbations that are less
    similar; and `floor`, quantiles `low, median, high` over different perturbations by (one, other).
    Pairs of screens without a common gene or perturbation, or without others, are left out.
    """
    same, floor = {}, {}
    for one, other in combinations(tables, 2):
        left, right = (_measured(tables[name]) for name in (one, other))
        tested = left.index.intersection(right.index)
        genes = left.columns.intersection(right.columns)
        different = left.index.to_numpy()[:, None] != right.index.to_numpy()
        if not len(genes) or not len(tested) or not different.any():
            continue
        rows, columns = (unit_rows(table[genes].to_numpy()) for table in (left, right))
        cosine = pd.DataFrame(rows @ columns.T, left.index, right.index)
        for name in tested:
            own = cosine.at[name, name]
            others = cosine.loc[name].drop(name)
            same[one, other, name] = own, (others < own).mean()
        floor[one, other] = np.quantile(cosine.to_numpy()[different], list(FLOOR.values()))
    levels = ["one", "other", "perturbation"]
    same = pd.DataFrame.from_dict(same, "index", columns=["cosine", "rank"])
    floor = pd.DataFrame.from_dict(floor, "index", columns=list(FLOOR))
    same.index = pd.MultiIndex.from_tuples(same.index, names=levels)
    floor.index = pd.MultiIndex.from_tuples(floor.index, names=levels[:2])
    return same, floor


def _measured(table):
    """Perturbation x gene, of genes without a gap, less their mean; a perturbation once."""
    table = table[~table.index.duplicated()].dropna(axis=1)
    return table - table.mean()


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows of floats divided by their length; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
