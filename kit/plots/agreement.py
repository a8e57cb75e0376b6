"""How alike the same knockdown answers in two screens, beside different knockdowns: the floor."""

from itertools import combinations

import numpy as np
import pandas as pd

from .style import legend_below, name_rows, new_figure, percent, strips

FLOOR = {"low": 0.05, "median": 0.5, "high": 0.95}  # quantiles of different knockdowns


def between_screens(tables):
    """Compare the knockdowns of every two screens by the cosine of their centred effects.

    tables: perturbation x gene frames by screen. Of two screens the genes count that are measured in
    every row of both; each screen's mean effect of a gene is taken off. Returns `same`, a frame by
    (one, other, perturbation) of `cosine` and `rank`, the share of the other screen's knockdowns that
    are less alike; and `floor`, quantiles `low, median, high` of different knockdowns by (one, other).
    Pairs of screens that share no gene or no knockdown, or have no other, are left out.
    """
    same, floor = {}, {}
    for one, other in combinations(tables, 2):
        left, right = (_measured(tables[name]) for name in (one, other))
        tested = left.index.intersection(right.index)
        genes = left.columns.intersection(right.columns)
        different = left.index.to_numpy()[:, None] != right.index.to_numpy()
        if not len(genes) or not len(tested) or not different.any():
            continue
        cosine = pd.DataFrame(_unit(left[genes]) @ _unit(right[genes]).T, left.index, right.index)
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


def agreement(same, floor):
    """Cosines of the same knockdown, a row a pair of screens; grey: 90 % of different knockdowns."""
    high = floor["high"].reindex(same.index.droplevel("perturbation")).to_numpy()
    alike = (same["cosine"] > high).mean()
    figure, (axis,) = new_figure(
        f"The same knockdown in two screens has a cosine of {same['cosine'].median():.2f} in median, "
        f"different ones {floor['median'].median().round(2) + 0.0:.2f};\n"
        f"{percent(alike)} of the same are more alike than 95 % of the different",
        height=max(2.6, 1.6 + 0.5 * len(floor)),
    )
    axis.use_sticky_edges = False  # or a bar would end at the frame
    same = same.sort_index()
    for place, band in enumerate(floor.itertuples()):
        label = None if place else "90 % of different knockdowns"
        axis.barh(place, band.high - band.low, 0.8, left=band.low, color="0.85", label=label)
    strips(axis, {pair: same["cosine"].loc[pair] for pair in floor.index}, "the same knockdown")
    name_rows(axis, [f"{one}\n{other}" for one, other in floor.index])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.set(xlabel="cosine of the effects less each screen's mean effect")
    legend_below(figure, axis)
    return figure


def _measured(table):
    """Perturbation x gene, of genes without a gap, less their mean; a perturbation once."""
    table = table[~table.index.duplicated()].dropna(axis=1)
    return table - table.mean()


def _unit(table):
    values = table.to_numpy()
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
