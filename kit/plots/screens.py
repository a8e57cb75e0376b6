"""Figures of a merge: what each screen brings, and what batches and missing genes do to it.

`obs` is that of merged cells: `dataset`, `batch`, `sgrna_symbol`, `RNAcount` and so on by cell.
"""

import numpy as np

from ..competition import CONTROL
from .style import (
    BLUE,
    RED,
    SKY,
    colours_of,
    legend_below,
    name_rows,
    new_figure,
    percent,
    strips,
)


def targets_covered(screens, split):
    """Bars of the competition's knockdowns by the number of other screens that hold them.

    screens: that number, split: the split, both series by perturbation.
    """
    number = screens.clip(upper=3).groupby([split, screens.clip(upper=3)]).size().unstack()
    number = number.reindex(index=split.unique(), columns=range(4)).fillna(0).astype(int)
    foreign = screens[split != "train"]
    figure, (axis,) = new_figure(
        f"{(foreign > 0).sum()} of {len(foreign)} targets to predict "
        f"and {(screens[split == 'train'] > 0).sum()} of {(split == 'train').sum()} training "
        "knockdowns are in another screen",
        height=1.6 + 0.35 * len(number),
    )
    labels, start = ("none", "one", "two", "three or more"), np.zeros(len(number))
    for count, label, colour in zip(number, labels, ("0.85", SKY, BLUE, "black"), strict=True):
        axis.barh(range(len(number)), number[count], left=start, color=colour, label=label)
        start += number[count].to_numpy()
    name_rows(axis, number.index, size=10)
    axis.set(xlabel="knockdowns of the competition", ylabel="split")
    axis.legend(title="other screens", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def depth_by_screen(obs):
    """Distributions over cells of UMI, genes and mitochondrial share, a line a screen."""
    panels = {
        "UMI in a cell": obs["RNAcount"],
        "genes in a cell": obs["featurecount"],
        "% mitochondrial in a cell": 100 * obs["mitocount"] / obs["RNAcount"],
    }
    screens = obs["dataset"].astype(str)
    median = obs["RNAcount"].groupby(screens, sort=False).median()
    figure, axes = new_figure(
        f"The median cell of a screen has {_span(median, '{:,.0f}')} UMI", columns=3, height=4.2
    )
    for axis, (label, values) in zip(axes, panels.items(), strict=True):
        reach = values.quantile(0.995)  # a few cells go far beyond; NaN where nothing is known
        reach = reach if reach > 0 else 1
        for screen, colour in colours_of(median.index).items():
            own = values[screens == screen].dropna()
            share = np.full(len(own), 100 / max(len(own), 1))
            style = {"histtype": "step", "color": colour, "label": screen}
            axis.hist(own, 40, range=(0, reach), weights=share, **style)
        axis.set(xlabel=label, ylabel="% of the screen's cells")
        axis.locator_params(axis="x", nbins=4)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def batches(obs, min_controls):
    """Median UMI and number of control cells of each batch, a row a screen and a dot a batch."""
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
    legend_below(figure, right)
    return figure


def without_batches(shift):
    """Root mean square move of a knockdown's effects in standard errors when batches are ignored.

    shift: a series by (screen, perturbation).
    """
    median = shift.groupby(level=0, sort=False).median()
    figure, (axis,) = new_figure(
        f"Without batches effects move by {_span(median, '{:.2f}')} standard errors "
        f"in the median of a screen,\nat most by {shift.max():.2f} ({shift.idxmax()[1]})",
        height=1.8 + 0.4 * len(median),
    )
    strips(axis, {screen: shift[screen] for screen in median.index})
    axis.set(xlabel="move of a knockdown's effects, standard errors", xlim=(0, None))
    legend_below(figure, axis)
    return figure


def hidden_genes(errors):
    """Error of the rule `pathway` over that of `control_mean`, by gene that was hidden.

    errors: root mean square over cells, columns `control_mean`, `pathway`, by (screen, gene).
    """
    errors = errors[errors["control_mean"] > 0]
    whole = np.sqrt((errors**2).groupby(level=0, sort=False).mean())
    whole, ratio = (table["pathway"] / table["control_mean"] for table in (whole, errors))
    figure, (axis,) = new_figure(
        "Guessed from the cell, hidden genes of a screen have "
        f"{_span(100 * whole, '{:.1f} %')} of the control mean's error;\n"
        f"{percent((ratio < 1).mean())} of {len(ratio)} genes gain",
        height=2 + 0.4 * len(whole),
    )
    strips(axis, {screen: ratio[screen] for screen in whole.index})
    axis.axvline(1, color=RED, label="no gain")
    axis.set(xlabel="error by `pathway` / error by `control_mean`, a dot a gene")
    axis.set_xlim(_shown(ratio, 0.95, 1.05))
    legend_below(figure, axis)
    return figure


def _shown(values, least, most):
    """Limits of an axis: these, or wider as far as all but one in a hundred values reach."""
    low, high = np.quantile(values, [0.005, 0.995])
    return min(low, least) - 0.02, max(high, most) + 0.02


def _span(values, form):
    """`low to high` of a series, or its one value."""
    ends = [form.format(value) for value in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(ends))
