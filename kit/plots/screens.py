"""Merged screens: what each one brings, how two agree, what batches and missing genes do.

Series are by (screen, perturbation) or (screen, gene).
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..competition import CONTROL
from .style import (
    BLUE,
    RED,
    SKY,
    name_rows,
    new_figure,
    percent,
    sentence,
    span,
    strips,
    with_legend,
)


def targets_covered(screens: pd.Series, split: pd.Series) -> Figure:
    """Draw bars of the competition's perturbations by the number of other screens that hold them.

    screens: that number, split: the split, both series by perturbation.
    """
    if not screens.any():
        return sentence("No perturbation of the competition is in another screen.")
    number = pd.crosstab(split, screens.clip(upper=3))
    number = number.reindex(index=split.unique(), columns=range(4), fill_value=0)
    train = split == "train"
    figure, (axis,) = new_figure(
        f"{(screens[~train] > 0).sum()} of {(~train).sum()} targets and "
        f"{(screens[train] > 0).sum()} of {train.sum()} training perturbations are in another screen",
        height=1.6 + 0.35 * len(number),
    )
    number.columns = ["none", "one", "two", "three or more"]
    number.plot.barh(ax=axis, stacked=True, width=0.8, color=["0.85", SKY, BLUE, "black"])
    name_rows(axis, number.index, size=10)
    axis.set(xlabel="perturbations of the competition", ylabel="split")
    axis.legend(title="other screens", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def agreement(same: pd.DataFrame, floor: pd.DataFrame) -> Figure:
    """Draw cosines of the same perturbation in two screens; grey: 90 % of different perturbations.

    same: `cosine` by (screen, screen, perturbation); floor: `low`, `median`, `high` by pair of screens.
    """
    high = floor["high"].reindex(same.index.droplevel("perturbation")).to_numpy()
    figure, (axis,) = new_figure(
        f"The same perturbation in two screens: median cosine {same['cosine'].median():.2f}, "
        f"different ones {floor['median'].median().round(2) + 0.0:.2f};\n"
        f"{percent((same['cosine'] > high).mean())} of the same exceed 95 % of the different",
        height=max(2.6, 1.6 + 0.5 * len(floor)),
    )
    axis.use_sticky_edges = False  # or a bar would end at the frame
    same = same.sort_index()
    places, width = range(len(floor)), floor["high"] - floor["low"]
    label = "90 % of different perturbations"
    axis.barh(places, width, 0.8, left=floor["low"], color="0.85", label=label)
    strips(axis, {pair: same["cosine"].loc[pair] for pair in floor.index}, "the same perturbation")
    name_rows(axis, [f"{one}\n{other}" for one, other in floor.index])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.set(xlabel="cosine of the effects less each screen's mean effect")
    return with_legend(figure, axis)


def batches(obs: pd.DataFrame, min_controls: int) -> Figure:
    """Draw the median UMI and the number of control cells of each batch, a row a screen, a dot a batch.

    obs: of merged cells, `dataset`, `batch`, `sgrna_symbol` and `RNAcount` by cell.
    """
    by = [obs["dataset"].astype(str), obs["batch"].astype(str)]
    depth = obs["RNAcount"].groupby(by, sort=False).median()
    controls = (obs["sgrna_symbol"] == CONTROL).groupby(by, sort=False).sum()
    fold = depth.groupby(level=0).max() / depth.groupby(level=0).min()
    screens = list(dict.fromkeys(by[0]))
    figure, (left, right) = new_figure(
        f"Within a screen the median UMI of batches differs up to {fold.max():.2f}-fold;\n"
        f"{(controls < min_controls).sum()} of {len(controls)} batches have fewer than "
        f"{min_controls} control cells",
        columns=2,
        height=2.2 + 0.35 * len(screens),
    )
    strips(left, {screen: depth[screen] for screen in screens})
    strips(right, {screen: controls[screen] for screen in screens})
    left.set(xlabel="median UMI of a cell, a dot a batch", xlim=(0, None))
    right.axvline(min_controls, color=RED, label="enough of its own")
    right.set(xlabel="control cells, a dot a batch", yticklabels=[], xlim=(0, None))
    return with_legend(figure, right)


def without_batches(shift: pd.Series) -> Figure:
    """Draw how far a perturbation's effects move, in standard errors, when batches are ignored.

    shift: root mean square over genes.
    """
    if not shift.any():
        return sentence("No effect moves when batches are ignored.")
    median = shift.groupby(level=0, sort=False).median()
    figure, axis = _by_screen(
        f"Without batches effects move by {span(median, '{:.2f}')} standard errors "
        f"in the median of a screen,\nat most by {shift.max():.2f} ({shift.idxmax()[1]})",
        shift,
    )
    axis.set(xlabel="move of a perturbation's effects, standard errors", xlim=(0, None))
    return with_legend(figure, axis)


def hidden_genes(errors: pd.DataFrame) -> Figure:
    """Draw the error of the rule `pathway` over that of `control_mean`, by gene that was hidden.

    errors: root mean square over cells, columns `control_mean` and `pathway`.
    """
    errors = errors[errors["control_mean"] > 0]
    whole = np.sqrt((errors**2).groupby(level=0, sort=False).mean())
    whole, ratio = (table["pathway"] / table["control_mean"] for table in (whole, errors))
    title = f"Imputed by pathway, hidden genes have {span(100 * whole, '{:.1f} %')} of the control mean's"
    title += f" error;\nfor {percent((ratio < 1).mean())} of {len(ratio)} genes it is smaller"
    figure, axis = _by_screen(title, ratio)
    axis.axvline(1, color=RED, label="no gain")
    axis.set(xlabel="error by `pathway` / error by `control_mean`, a dot a gene")
    low, high = np.quantile(ratio, [0.005, 0.995])
    axis.set_xlim(min(low, 0.95) - 0.02, max(high, 1.05) + 0.02)
    return with_legend(figure, axis)


def _by_screen(title, values):
    """A figure with a row of dots for each screen, and its axis."""
    groups = {screen: part.droplevel(0) for screen, part in values.groupby(level=0, sort=False)}
    figure, (axis,) = new_figure(title, height=2 + 0.4 * len(groups))
    strips(axis, groups)
    return figure, axis
