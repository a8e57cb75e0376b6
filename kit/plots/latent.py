"""The autoencoder's latent state: one perturbation's shift, all of them by pathway, cells."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..expression.similarity import most_similar
from .style import BLUE, ORANGE, cut, height_of, name_rows, new_figure, sentence, with_legend

OPEN = 0.5  # probability from which a gate counts as open
SMALL = 0.05  # sd of the states, below which a shift is none
NOTHING = f"No shift of the latent state by {SMALL:g} sd or more is used in predictions"
CLEAR = 0.3  # gain in cosine from which cells lie where the shift predicts


def one_shift(shift: pd.Series, gates: pd.Series, decoded: pd.Series, truth: pd.Series) -> Figure:
    """Draw the axes that one perturbation shifts, and the decoded against the measured effects.

    shift, gates: by axis, of `VAE.latent_shifts`, named by the perturbation; decoded, truth: by gene,
    log2, the truth held out from training.
    """
    if (shift.abs() < SMALL).all():
        return sentence(f"{NOTHING} for {shift.name}, which is held out.")
    moved = gates >= OPEN
    figure, (left, right) = new_figure(
        f"{shift.name}, held out of training, shifts {moved.sum()} of {len(shift)} axes;\n"
        f"correlation of decoded with measured effects {decoded.corr(truth):.2f}",
        columns=2,
        height=3.8,
    )
    for mask, colour, label in ((moved, ORANGE, "open"), (~moved, "0.6", "mostly shut")):
        if shift[mask].any():
            left.bar(np.flatnonzero(mask), shift[mask], color=colour, label=f"gate {label}")
    left.axhline(0, color="black", linewidth=0.8)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="axis of the latent state", ylabel="shift, sd of the states")
    right.scatter(decoded, truth, 10, BLUE, alpha=0.4, linewidth=0)
    for line in (right.axhline, right.axvline):
        line(0, color="black", linewidth=0.8)
    right.set(xlabel="decoded effect, log2", ylabel="measured effect, log2")
    return with_legend(figure, left)


def shift_map(shift: pd.DataFrame, groups: pd.Series) -> Figure:
    """Draw shifts by perturbation and axis, perturbations of a group side by side.

    shift: perturbation x axis; groups: by perturbation, "" for none. Axes with the largest shifts come
    first. The title compares the mean cosine of pairs within groups with that of all pairs.
    """
    if (shift.abs() < SMALL).all(axis=None):
        return sentence(f"{NOTHING}: no map of {len(shift)} perturbations.")
    groups = groups[shift.index]
    order = groups.replace("", "~").sort_values(kind="stable").index
    axes = shift.abs().mean().sort_values(ascending=False, kind="stable").index
    inside, overall = cosine_within(shift, groups)
    known = groups.replace("", np.nan).nunique()
    figure, (axis,) = new_figure(
        f"Mean cosine of shifts within {known} groups {inside:.2f}, of all pairs {overall:.2f}",
        height=height_of(order),
    )
    values = shift.loc[order, axes].to_numpy()
    limit = np.quantile(np.abs(values[values != 0]), 0.98)
    drawn = axis.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    names = [f"{name}  {cut(groups[name])}".strip() for name in order]
    name_rows(axis, names, size=6 if len(order) > 40 else 7)
    axis.set(xticks=[], xlabel="axes of the latent state (white: no shift)")
    figure.colorbar(drawn, ax=axis, label="shift, sd of the states", shrink=0.6)
    return figure


def shift_agreement(states: pd.DataFrame, shift: pd.DataFrame, control: str) -> Figure:
    """Draw the cosine of each perturbation's mean state with its own predicted shift, and with others.

    states: cell x axis, index the cells' perturbations, all encoded as control cells; shift: predicted
    shifts, perturbation x axis; control: the name of control cells, whose mean is subtracted.
    """
    shift = shift[(shift.abs() >= SMALL).any(axis=1)]
    if shift.empty:
        return sentence(f"{NOTHING}: nothing to compare with the states of perturbed cells.")
    lost = (~shift.index.isin(states.index)).sum()
    shift = shift[shift.index.isin(states.index)]
    if shift.empty:
        return sentence(f"None of {lost} perturbations with a shift has cells: nothing to compare.")
    centre = states[states.index == control].mean()
    middle = (states.groupby(level=0).mean() - centre).loc[shift.index]
    from sklearn.metrics.pairwise import cosine_similarity

    cosine = pd.DataFrame(cosine_similarity(middle, shift), shift.index, shift.index)
    matches = np.eye(len(cosine), dtype=bool)
    same = pd.Series(np.diag(cosine), cosine.index).sort_values(ascending=False)
    other = cosine.mask(matches).loc[same.index]
    apart = other.stack().mean() if len(cosine) > 1 else 0.0
    verb = "lie" if same.mean() > apart + CLEAR else "hardly lie"
    beside = f", with others {apart:.2f}" if len(shift) > 1 else ""
    figure, (axis,) = new_figure(
        f"Encoded as control cells, perturbed cells {verb} where their shift predicts:\n"
        f"mean cosine with their own shift {same.mean():.2f}{beside} (perturbations: {len(shift)}"
        f"{f'; without cells: {lost}' if lost else ''})",
        height=height_of(same),
    )
    for place, row in enumerate(other.to_numpy() if len(other) > 1 else ()):
        label = None if place else "with the shifts of others"
        axis.plot(row, np.full(len(row), place), "o", color="0.75", markersize=5, label=label)
    axis.plot(same, range(len(same)), "D", color=ORANGE, label="with its own shift")
    axis.axvline(0, color="black", linewidth=0.8)
    name_rows(axis, same.index)
    axis.set(
        xlim=(-1.03, 1.03), xlabel="cosine of the cells' mean state, less that of control cells"
    )
    return with_legend(figure, axis)


def cosine_within(shift: pd.DataFrame, groups: pd.Series) -> tuple[float, float]:
    """Return the mean cosine of shifts over pairs of one group, and over all pairs; NaN without pairs."""
    shift = shift[(shift != 0).any(axis=1)]
    unit = shift.div(np.linalg.norm(shift, axis=1), axis=0)
    pairs = most_similar(unit @ unit.T)
    one, other = (groups[pairs.index.get_level_values(level)].to_numpy() for level in (0, 1))
    return pairs[(one == other) & (one != "")].mean(), pairs.mean()
