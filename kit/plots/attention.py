"""Figures of the transformer: one prediction from end to end, who is looked at, what heads learned."""

import numpy as np

from .style import (
    BLUE,
    ORANGE,
    legend_below,
    name_rows,
    new_figure,
    percent,
)

ROWS, GENES = 8, 30  # shown of one prediction
TARGETS, LOOKED = 3, 7  # shown of attention


def episode(shares, effects, said):
    """How one prediction comes about: whom it looks at, what these rows say, what the network says.

    shares: attention by training row, a series named after the knockdown asked for; effects: training
    row x gene, log2; said: shift of each gene's log odds, a series by gene. Shown are the rows most
    looked at and the genes said to lie lowest and highest, each row in the gene's own terms.
    """
    rows = shares.nlargest(min(ROWS, len(shares)))
    genes = said.sort_values().index
    genes = genes[: GENES // 2].append(genes[GENES // 2 :][-(GENES // 2) :])
    places = 2 * effects[genes].rank(pct=True).loc[rows.index] - 1
    largest = said.abs().max()
    same = (np.sign(places.iloc[0]) == np.sign(said[genes])).sum()
    last = said[genes] / largest if largest else said[genes]
    figure, (left, right) = new_figure(
        f"Asked for {shares.name}, the network looks at {rows.index[0]} "
        f"{rows.iloc[0] * len(shares):.1f} times as much as at the average row;\n"
        f"{same} of {len(genes)} genes are said (last line) to lie on the side where that row's lie",
        columns=2,
        height=4.2,
    )
    figure.get_layout_engine().set(wspace=0.01)
    left.get_gridspec().set_width_ratios([1, 2.2])
    left.barh(range(len(rows)), rows * len(shares), color=BLUE)
    left.axvline(1, color="black", linewidth=0.8)
    name_rows(left, [*rows.index, f"said of {shares.name}"], size=9)
    left.set(xlabel="attention, times that of\nthe average row")
    table = np.vstack([places.to_numpy(), last.to_numpy()])
    picture = right.imshow(table, "RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="none")
    right.axhline(len(rows) - 0.5, color="black", linewidth=2)
    right.set_yticks([])
    right.set_xticks(range(len(genes)), genes, rotation=90, fontsize=6)
    bar = figure.colorbar(picture, ax=right, location="right", fraction=0.04, pad=0.02)
    bar.set_label("effect among those of its gene:\n-1 the lowest, 1 the highest", fontsize=8)
    return figure


def attention(shares, likeness=None):
    """Training rows most looked at for a few knockdowns, beside how alike they are by pathways.

    shares: knockdown x training row, each summing to 1; likeness: the same rows and columns, or more, 0
    to 1, or None. Shown are the knockdowns with the most uneven attention, led by different rows.
    """
    uneven = shares.max(axis=1).sort_values(ascending=False, kind="stable")
    leads = shares.idxmax(axis=1)[uneven.index].drop_duplicates()
    shown = list(leads.index[:TARGETS])
    if likeness is None:
        title = "Whom the network looks at, without pathways to compare with"
    else:
        nearest = likeness.loc[shares.index, shares.columns]
        told = nearest.max(axis=1) > 0
        same = (shares.idxmax(axis=1) == nearest.idxmax(axis=1))[told].sum()
        title = (
            f"For {same} of {told.sum()} knockdowns the row most looked at\n"
            "is also the nearest by pathways"
        )
    figure, axes = new_figure(title, columns=len(shown), height=3.8)
    for axis, name in zip(axes, shown, strict=True):
        rows = shares.loc[name].nlargest(min(LOOKED, shares.shape[1]))
        times = rows * shares.shape[1]
        axis.barh(range(len(rows)), times, color=BLUE, label="attention, 1 = the average row")
        if likeness is not None:
            beside = axis.twiny()
            beside.spines[["right"]].set_visible(False)
            alike = likeness.loc[name, rows.index]
            beside.plot(alike, range(len(rows)), "D", color=ORANGE)
            axis.plot([], [], "D", color=ORANGE, label="likeness by pathways, 0 to 1 (above)")
            beside.set_xlim(-0.03, 1.03)
            beside.tick_params(labelsize=8)
        axis.axvline(1, color="black", linewidth=0.8)
        name_rows(axis, rows.index)
        axis.set_title(name, fontsize=10)
    legend_below(figure, axes[0])
    return figure


def mixtures(learned, start, counts):
    """What each head takes for likeness, and how much it counts in telling knockdowns apart.

    learned, start: head x kernel shares, a ring at the kernel from which a head started; counts: share
    of each source in what tells knockdowns apart, a series of the heads and of what else there is.
    """
    moved = (learned - start).clip(lower=0).sum(axis=1).mean()
    title = f"Heads moved {percent(round(moved, 3))} of their weight to other kinds of likeness;\n"
    title += f"{counts.idxmax()} counts most, {percent(round(counts.max(), 3))} "
    title += "of what tells knockdowns apart"
    others = [name for name in counts.index if name not in learned.index]
    rows = [*learned.index, *others]
    figure, (left, right) = new_figure(title, columns=2, height=2 + 0.19 * len(rows))
    left.get_gridspec().set_width_ratios([2, 1])
    left.imshow(learned, "Blues", vmin=0, vmax=1, aspect="auto")
    first = start.to_numpy().argmax(axis=1)
    style = {"color": ORANGE, "fillstyle": "none", "markersize": 9}
    left.plot(first, range(len(start)), "o", label="where a head started", **style)
    left.plot([], [], "s", color=BLUE, label="share of its likeness, learned")
    name_rows(left, rows)
    right.barh(range(len(rows)), 100 * counts[rows], color=BLUE)
    name_rows(right, [""] * len(rows))
    right.set(xlabel="% of what tells\nknockdowns apart")
    left.set_xticks(range(learned.shape[1]), learned.columns, rotation=40, ha="right", fontsize=8)
    legend_below(figure, left)
    return figure
