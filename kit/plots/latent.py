"""Figures of an autoencoder: one knockdown's shift, all of them by pathway, cells in the latent space."""

from textwrap import shorten

import numpy as np

from .style import (
    BLUE,
    COLOURS,
    ORANGE,
    height_of,
    legend_below,
    name_rows,
    new_figure,
)

OPEN = 0.5  # chance from which a gate counts as open
CLEAR = 0.3  # gain in cosine from which cells lie where they are told to


def one_shift(shift, gates, decoded, truth):
    """How one knockdown is told: the axes that it moves, and what the decoder makes of them.

    shift, gates: series by axis, of `latent_shifts`, named by the knockdown; decoded, truth: series by
    gene, log2, the truth one that the network has not seen.
    """
    moved = gates >= OPEN
    fit = decoded.corr(truth)
    figure, (left, right) = new_figure(
        f"{shift.name}, not seen in these cells, moves {moved.sum()} of {len(shift)} axes;\n"
        f"what the decoder makes of it correlates {fit:.2f} with what was measured",
        columns=2,
        height=3.8,
    )
    for mask, colour, label in ((moved, ORANGE, "open"), (~moved, "0.6", "mostly shut")):
        left.bar(np.flatnonzero(mask), shift[mask], color=colour, label=f"gate {label}")
    left.axhline(0, color="black", linewidth=0.8)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="axis of the latent state", ylabel="shift, sd of the states")
    right.scatter(decoded, truth, 10, BLUE, alpha=0.4, linewidth=0)
    for line in (right.axhline, right.axvline):
        line(0, color="black", linewidth=0.8)
    right.set(xlabel="decoded effect, log2", ylabel="measured effect, log2")
    legend_below(figure, left)
    return figure


def shift_map(shift, groups):
    """Shifts by knockdown and axis, knockdowns of a group side by side.

    shift: perturbation x axis frame; groups: series by perturbation, "" for none. Axes that move most
    come first. Stated is the mean cosine of pairs within groups beside that of all pairs.
    """
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
    limit = max(np.quantile(np.abs(values), 0.98), 1e-9)
    drawn = axis.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    short = groups.map(lambda group: shorten(group, 40, placeholder=" ..."))
    names = [f"{name}  {short[name]}".strip() for name in order]
    name_rows(axis, names, size=6 if len(order) > 40 else 7)
    axis.set_xticks([])
    axis.set(xlabel="axes of the latent state (white: not moved)")
    figure.colorbar(drawn, ax=axis, label="shift, sd of the states", shrink=0.6)
    return figure


def cosine_within(shift, groups):
    """Mean cosine of shifts, over pairs of one group and over all pairs: two numbers, NaN without."""
    values = shift.to_numpy(dtype=float)
    length = np.linalg.norm(values, axis=1)
    moved = length > 0
    unit = values[moved] / length[moved, None]
    names = groups[shift.index[moved]].to_numpy()
    one, other = np.triu_indices(len(unit), 1)
    cosine = (unit @ unit.T)[one, other]
    same = (names[one] == names[other]) & (names[one] != "")
    return tuple(part.mean() if len(part) else np.nan for part in (cosine[same], cosine))


def latent_map(states, shift, control, shown=3):
    """Cells of some knockdowns among control cells, in the plane of most variance of the states.

    states: cell x axis frame, index the cells' perturbations, encoded as if all were control cells;
    shift: told shifts, perturbation x axis; control: the name of control cells. Drawn are the `shown`
    knockdowns with the largest shifts; the title is about all.
    """
    centre = states[states.index == control].mean()
    middle = (states.groupby(level=0).mean() - centre).loc[shift.index]
    right, wrong = own_and_other_cosine(middle, shift)
    verb = "lie" if right > wrong + CLEAR else "hardly lie"
    figure, (axis,) = new_figure(
        f"Encoded blind, cells {verb} where their knockdown is told to go:\nmean cosine with its own "
        f"shift {right:.2f}, with other knockdowns' {wrong:.2f} ({len(shift)} knockdowns)",
        height=4.6,
    )
    _, _, plane = np.linalg.svd((states - states.mean()).to_numpy(), full_matrices=False)
    drawn = (states - centre).to_numpy() @ plane[:2].T
    rest = drawn[states.index == control]
    axis.scatter(*rest.T, 8, "0.8", linewidth=0, label="control cells")
    size = shift.pow(2).sum(axis=1).sort_values(ascending=False, kind="stable")
    for name, colour in zip(size.index[:shown], COLOURS, strict=False):
        own, arrow = drawn[states.index == name], shift.loc[name].to_numpy() @ plane[:2].T
        axis.scatter(*own.T, 12, colour, alpha=0.6, linewidth=0, label=name)
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5}
        axis.annotate("", arrow, (0, 0), arrowprops=style, zorder=3)
    axis.update_datalim(np.vstack([shift.loc[size.index[:shown]].to_numpy() @ plane[:2].T, [0, 0]]))
    axis.autoscale_view()
    axis.set(xlabel="first component of the states", ylabel="second component")
    legend_below(figure, axis)
    return figure


def own_and_other_cosine(middle, shift):
    """Mean cosine of each row of one frame with its own row of the other, and with all others."""
    length = [np.linalg.norm(frame, axis=1, keepdims=True) for frame in (middle, shift)]
    cosine = np.asarray(middle) @ np.asarray(shift).T
    cosine /= np.maximum(length[0] * length[1].T, 1e-12)
    mine = np.eye(len(cosine), dtype=bool)
    return cosine[mine].mean(), cosine[~mine].mean() if len(cosine) > 1 else np.nan
