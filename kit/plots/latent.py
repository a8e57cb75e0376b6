"""The autoencoder's latent state: one perturbation's shift, all of them by pathway, cells."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..expression.similarity import most_similar
from .style import BLUE, COLOURS, ORANGE, cut, height_of, name_rows, new_figure, with_legend

OPEN = 0.5  # probability from which a gate counts as open
CLEAR = 0.3  # gain in cosine from which cells lie where the shift predicts


def one_shift(shift: pd.Series, gates: pd.Series, decoded: pd.Series, truth: pd.Series) -> Figure:
    """Draw the axes that one perturbation shifts, and the decoded against the measured effects.

    shift, gates: by axis, of `VAE.latent_shifts`, named by the perturbation; decoded, truth: by gene,
    log2, the truth held out from training.
    """
    moved = gates >= OPEN
    figure, (left, right) = new_figure(
        f"{shift.name}, held out of these cells, shifts {moved.sum()} of {len(shift)} axes;\n"
        f"correlation of decoded with measured effects {decoded.corr(truth):.2f}",
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
    return with_legend(figure, left)


def shift_map(shift: pd.DataFrame, groups: pd.Series) -> Figure:
    """Draw shifts by perturbation and axis, perturbations of a group side by side.

    shift: perturbation x axis; groups: by perturbation, "" for none. Axes with the largest shifts come
    first. The title compares the mean cosine of pairs within groups with that of all pairs.
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
    names = [f"{name}  {cut(groups[name])}".strip() for name in order]
    name_rows(axis, names, size=6 if len(order) > 40 else 7)
    axis.set(xticks=[], xlabel="axes of the latent state (white: no shift)")
    figure.colorbar(drawn, ax=axis, label="shift, sd of the states", shrink=0.6)
    return figure


def latent_map(states: pd.DataFrame, shift: pd.DataFrame, control: str, shown: int = 3) -> Figure:
    """Draw cells of some perturbations among control cells, in the plane of most variance of the states.

    states: cell x axis, index the cells' perturbations, all encoded as control cells; shift: predicted
    shifts, perturbation x axis; control: the name of control cells. Drawn are the `shown` perturbations
    with the largest shifts; the title is about all.
    """
    centre = states[states.index == control].mean()
    middle = (states.groupby(level=0).mean() - centre).loc[shift.index]
    same, other = matching_cosine(middle, shift)
    verb = "lie" if same > other + CLEAR else "hardly lie"
    figure, (axis,) = new_figure(
        f"Encoded as control cells, perturbed cells {verb} where their shift predicts:\nmean cosine with "
        f"their own shift {same:.2f}, with others {other:.2f} ({len(shift)} perturbations)",
        height=4.6,
    )
    _, _, plane = np.linalg.svd((states - states.mean()).to_numpy(), full_matrices=False)
    drawn = (states - centre).to_numpy() @ plane[:2].T
    axis.scatter(*drawn[states.index == control].T, 8, "0.8", linewidth=0, label="control cells")
    size = shift.pow(2).sum(axis=1).sort_values(ascending=False, kind="stable")
    arrows = shift.loc[size.index[:shown]].to_numpy() @ plane[:2].T
    for name, colour, arrow in zip(size.index[:shown], COLOURS, arrows, strict=False):
        own = drawn[states.index == name]
        axis.scatter(*own.T, 12, colour, alpha=0.6, linewidth=0, label=name)
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5}
        axis.annotate("", arrow, (0, 0), arrowprops=style, zorder=3)
    axis.update_datalim(np.vstack([arrows, [0, 0]]))
    axis.autoscale_view()
    axis.set(xlabel="first component of the states", ylabel="second component")
    return with_legend(figure, axis)


def cosine_within(shift: pd.DataFrame, groups: pd.Series) -> tuple[float, float]:
    """Return the mean cosine of shifts over pairs of one group, and over all pairs; NaN without pairs."""
    shift = shift[(shift != 0).any(axis=1)]
    unit = shift.div(np.linalg.norm(shift, axis=1), axis=0)
    pairs = most_similar(unit @ unit.T)
    one, other = (groups[pairs.index.get_level_values(level)].to_numpy() for level in (0, 1))
    return pairs[(one == other) & (one != "")].mean(), pairs.mean()


def matching_cosine(middle: pd.DataFrame, shift: pd.DataFrame) -> tuple[float, float]:
    """Return the mean cosine of each row with the same row of another frame, and with all others."""
    from sklearn.metrics.pairwise import cosine_similarity

    cosine = cosine_similarity(middle, shift)
    same = np.eye(len(cosine), dtype=bool)
    return cosine[same].mean(), cosine[~same].mean() if len(cosine) > 1 else np.nan
