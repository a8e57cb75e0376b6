"""What the networks learned: training curves, attention of the transformer, the graph network's edges."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import (
    BLUE,
    ORANGE,
    bars,
    colours_of,
    cut,
    name_rows,
    new_figure,
    percent,
    sentence,
    span,
    with_legend,
)

ROWS, GENES = 8, 30  # shown of one prediction
TARGETS, CONTEXT = 3, 7  # shown of attention
HUBS, REACHED = 9, 7  # shown of the routes of a signal
CARRIERS = 12  # training perturbations shown that carry a prediction
GAIN = 0.001  # least fall of the loss of left-out rows that counts: printed with three digits
EVEN = 1.01  # times the average attention, below which it is even
FAINT = 0.002  # of the whole signal: a route that brings less explains nothing


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw losses by step, a panel a stage, ensemble members as thin lines; a dot where each stopped.

    history: (stage, member, step, loss, check), as `Trained.history_`; check: of left-out rows, 0 for a
    network that has learned nothing, NaN where nothing is left out.
    """
    stages = dict(list(history.groupby("stage", sort=False)))
    verdicts = [_verdict(stage, part) for stage, part in stages.items()]
    figure, axes = new_figure("\n".join(verdicts), columns=len(stages), height=3.6)
    for (stage, part), axis in zip(stages.items(), axes, strict=True):
        for place, (_, run) in enumerate(part.groupby("member")):
            shown = [None, None] if place else ["training rows", "left-out rows"]
            smooth = run["loss"].rolling(1 + len(run) // 10, min_periods=1, center=True).mean()
            axis.plot(run["step"], smooth, color=BLUE, alpha=0.7, linewidth=1, label=shown[0])
            axis.plot(run["step"], run["check"], color=ORANGE, linewidth=1.5, label=shown[1])
            if run["check"].min() <= -GAIN:
                best = run.loc[run["check"].idxmin()]
                axis.plot(best["step"], best["check"], "o", color=ORANGE)
        axis.axhline(0, color="black", linestyle="--", linewidth=1, label="nothing learned")
        axis.set_xlabel("step")
        if len(stages) > 1:
            axis.set_title(f"training on the {stage}", fontsize=10)
    axes[0].set_ylabel("loss less that of the\ngenes' own odds (below 0: gain)")
    return with_legend(figure, axes[0])


def episode(shares: pd.Series, effects: pd.DataFrame, shift: pd.Series) -> Figure:
    """Draw how one prediction comes about: attention, effects of context perturbations, logit shift.

    shares: attention by context perturbation, named after the target; effects: context perturbation x
    gene, log2; shift: logit shift by gene. Shown are the rows with most attention and the genes with
    the lowest and highest shift, each row as the rank among the effects of its gene.
    """
    if not shift.any():
        return sentence(
            f"No gene of {shares.name} is shifted: its prediction is the best constant's."
        )
    rows = shares.nlargest(min(ROWS, len(shares)))
    genes = shift.sort_values().index
    genes = genes[: GENES // 2].append(genes[GENES // 2 :][-(GENES // 2) :])
    places = 2 * effects[genes].rank(pct=True).loc[rows.index] - 1
    same = (np.sign(places.iloc[0]) == np.sign(shift[genes])).sum()
    last = shift[genes] / shift.abs().max()
    figure, (left, right) = new_figure(
        f"{shares.name} attends to {rows.index[0]} {rows.iloc[0] * len(shares):.1f} times as much as to "
        f"the average row;\n{same} of {len(genes)} genes shift (last line) as in that row",
        columns=2,
        height=4.2,
    )
    figure.get_layout_engine().set(wspace=0.01)
    left.get_gridspec().set_width_ratios([1, 2.2])
    left.barh(range(len(rows)), rows * len(shares), color=BLUE)
    left.axvline(1, color="black", linewidth=0.8)
    name_rows(left, [*rows.index, f"shift of {shares.name}"], size=9)
    left.set(xlabel="attention, times that of\nthe average row")
    table = np.vstack([places.to_numpy(), last.to_numpy()])
    picture = right.imshow(table, "RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="none")
    right.axhline(len(rows) - 0.5, color="black", linewidth=2)
    right.set_yticks([])
    right.set_xticks(range(len(genes)), genes, rotation=90, fontsize=6)
    bar = figure.colorbar(picture, ax=right, location="right", fraction=0.04, pad=0.02)
    bar.set_label("effect among those of its gene:\n-1 the lowest, 1 the highest", fontsize=8)
    return figure


def attention(shares: pd.DataFrame, similarity: pd.DataFrame | None = None) -> Figure:
    """Draw the context perturbations with most attention of a few targets, beside their similarity.

    shares: target x context perturbation, each row sums to 1; similarity: by pathways, the same rows
    and columns or more, 0 to 1. Shown are the targets with the most uneven attention, led by different
    rows.
    """
    if (shares.max(axis=1) < EVEN * shares.mean(axis=1)).all():
        return sentence("No target attends to one row more than to another.")
    uneven = shares.max(axis=1).sort_values(ascending=False, kind="stable")
    leads = shares.idxmax(axis=1)[uneven.index].drop_duplicates()
    shown = list(leads.index[:TARGETS])
    title = "Attention to context perturbations, without pathways to compare with"
    if similarity is not None:
        nearest = similarity.loc[shares.index, shares.columns]
        known = nearest.max(axis=1) > 0
        same = (shares.idxmax(axis=1) == nearest.idxmax(axis=1))[known].sum()
        title = f"For {same} of {known.sum()} targets the row with most attention\n"
        title += "is also the most similar by pathways"
    figure, axes = new_figure(title, columns=len(shown), height=3.8)
    for axis, name in zip(axes, shown, strict=True):
        rows = shares.loc[name].nlargest(min(CONTEXT, shares.shape[1]))
        times = rows * shares.shape[1]
        bars(axis, times, label="attention, 1 = the average row")
        if similarity is not None:
            beside = axis.twiny()
            beside.spines[["right"]].set_visible(False)
            beside.plot(similarity.loc[name, rows.index], range(len(rows)), "D", color=ORANGE)
            axis.plot([], [], "D", color=ORANGE, label="similarity by pathways, 0 to 1 (above)")
            beside.set_xlim(-0.03, 1.03)
            beside.tick_params(labelsize=8)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(name, fontsize=10)
    return with_legend(figure, axes[0])


def mixtures(learned: pd.DataFrame, start: pd.DataFrame, counts: pd.Series) -> Figure:
    """Draw which kernels each attention head uses, and how much each source counts.

    learned, start: head x kernel shares, a ring at the kernel from which a head started; counts: share
    of each source in the differences between perturbations, of the heads and of what else there is. A
    source that has no head and no share, such as other screens where there are none, is left out.
    """
    if not counts.any():
        return sentence("The network predicts the same of all targets: no head counts.")
    moved = (learned - start).clip(lower=0).sum(axis=1).mean()
    title = f"Heads moved {percent(round(moved, 3))} of their weight to other kernels;\n"
    share = percent(round(counts.max(), 3))
    title += f"“{counts.idxmax()}” counts most, {share} of the differences between targets"
    others = counts[counts > 0].index.difference(learned.index, sort=False)
    rows = [*learned.index, *others]
    figure, (left, right) = new_figure(title, columns=2, height=2 + 0.19 * len(rows))
    left.get_gridspec().set_width_ratios([2, 1])
    left.imshow(learned, "Blues", vmin=0, vmax=1, aspect="auto")
    first = start.to_numpy().argmax(axis=1)
    style = {"color": ORANGE, "fillstyle": "none", "markersize": 9}
    left.plot(first, range(len(start)), "o", label="where a head started", **style)
    left.plot([], [], "s", color=BLUE, label="learned share of each kernel")
    name_rows(left, rows)
    bars(right, 100 * counts[rows].rename(lambda _: ""))
    right.set(xlabel="% of the differences\nbetween perturbations")
    left.set_xticks(range(learned.shape[1]), learned.columns, rotation=40, ha="right", fontsize=8)
    return with_legend(figure, left)


def routes(ways: pd.DataFrame, carried: pd.Series) -> Figure:
    """Draw the routes of a signal from the perturbed gene by hubs to training perturbations.

    ways: (row, type, hub, amount), amounts sum to 1 or less; hub "" where an edge leads straight to the
    row. carried: share of the prediction that each row carries, named after the perturbation. The wider
    a line the more signal; shown are the rows that most arrives at.
    """
    if not ways["amount"].any() or not carried.any():
        return sentence(f"No training perturbation carries a part of {carried.name}'s prediction.")
    reached = ways.groupby("row")["amount"].sum().nlargest(REACHED)
    kind = ways["type"].str.removesuffix(", small")  # the same hubs, counted twice
    shown = ways.astype({"amount": float}).assign(type=kind)[ways["row"].isin(reached.index)]
    by_hub = shown[shown["hub"] != ""].groupby("hub")["amount"].sum().sort_values(ascending=False)
    few = by_hub.index[HUBS:]
    shown["hub"] = shown["hub"].mask(shown["hub"].isin(few), f"other hubs: {len(few)}")
    shown = shown.groupby(["row", "type", "hub"], sort=False, as_index=False)["amount"].sum()
    shown = shown.sort_values("amount", ascending=False)  # a wide line does not hide a narrow one
    parts = reached / ways["amount"].sum()
    title = f"The signal of {carried.name} reaches {parts.index[0]} most, "
    title += f"{percent(round(parts.iloc[0], 3))};\n"
    title += f"{percent(round(parts.sum(), 3))} of it reaches the {len(reached)} rows shown"
    figure, (axis,) = new_figure(title, height=4.6)
    names = [*by_hub.index[:HUBS], *([f"other hubs: {len(few)}"] if len(few) else [])]
    hubs, rows = (
        pd.Series(np.linspace(0.97, 0.03, len(part)), part) for part in (names, reached.index)
    )
    colour = colours_of(dict.fromkeys(kind))
    widest = shown.groupby("hub")["amount"].sum().max()
    straight = list(dict.fromkeys(shown["type"][shown["hub"] == ""]))

    def line(places, ends, kind, amount, **style):
        style |= {"color": colour[kind], "alpha": 0.75, "solid_capstyle": "butt"}
        axis.plot(places, ends, linewidth=0.3 + 7 * amount / widest, **style)

    for (hub, kind), part in shown.groupby(["hub", "type"], sort=False):
        for row, amount in zip(part["row"], part["amount"], strict=True):
            if hub == "":
                beside = 0.015 * (straight.index(kind) - (len(straight) - 1) / 2)
                line([0, 1], np.array([0.5, rows[row]]) + beside, kind, amount, ls=(0, (4, 1)))
            else:
                line([0.45, 1], [hubs[hub], rows[row]], kind, amount)
        if hub:
            line([0, 0.45], [0.5, hubs[hub]], kind, part["amount"].sum())
    box = {"va": "center", "bbox": {"fc": "white", "ec": "0.7", "boxstyle": "round,pad=0.25"}}
    axis.text(0, 0.5, carried.name, ha="center", fontsize=10, weight="bold", **box)
    for hub, place in hubs.items():
        axis.text(0.45, place, cut(hub.partition(" (GO:")[0]), ha="center", fontsize=7, **box)
    for row, place in rows.items():
        text = f"{row}  {round(100 * carried[row]) + 0} %"
        axis.text(1, place, text, ha="left", fontsize=9, **box)
    axis.text(1, 1.08, "share of the logit shift", ha="left", fontsize=8)
    for kind in dict.fromkeys(shown["type"]):
        axis.plot([], [], color=colour[kind], linewidth=3, label=_plain(kind))
    axis.set(xlim=(-0.12, 1.25), ylim=(-0.05, 1.12))
    axis.set_axis_off()
    return with_legend(figure, axis)


def carriers(carried: pd.Series, signal: pd.DataFrame) -> Figure:
    """Draw the training perturbations that carry a prediction, by the type of edge with most signal.

    carried: share of the logit shift, named after the perturbation, largest first; signal: row x type.
    """
    if not carried.any():
        return sentence(f"No training perturbation carries a part of {carried.name}'s prediction.")
    largest = carried.abs().sort_values(ascending=False, kind="stable").index[:CARRIERS]
    shown = carried[carried.index.isin(largest)]
    arrived = signal.loc[shown.index]
    kind = arrived.idxmax(axis=1).map(_plain)
    kind = kind.where(arrived.max(axis=1) >= FAINT, "hardly any signal: as all rows")
    first = percent(round(carried.iloc[0], 3))
    rest = percent(round(carried.iloc[1:].sum(), 3) + 0.0)
    figure, (axis,) = new_figure(
        f"{carried.name}: {carried.index[0]} carries {first} of the logit shift,\n"
        f"the {len(carried) - 1} other training perturbations together {rest}",
        height=1.6 + 0.26 * len(shown),
    )
    for name, colour in colours_of(dict.fromkeys(kind)).items():
        rows = np.flatnonzero(kind == name)
        grey = "0.6" if name.startswith("hardly") else colour
        axis.barh(rows, 100 * shown.iloc[rows], color=grey, label=name)
    axis.axvline(0, color="black", linewidth=0.8)
    name_rows(axis, shown.index, size=9)
    axis.set(xlabel="share of the logit shift from its effects, % (below 0: opposite direction)")
    return with_legend(figure, axis)


def gates(learned: pd.DataFrame, start: pd.DataFrame) -> Figure:
    """Draw how far each type of edge is open in the two rounds, beside where it started.

    learned, start: round x type, each round sums to 1; NaN where a type has no part in a round.
    """
    moved = (learned - start).clip(lower=0).sum(axis=1).mean()
    if round(moved, 3) == 0:
        return sentence("The gates stand where they started: no type of edge counts more.")
    first, second = (
        f"{_plain(row.idxmax())} ({percent(round(row.max(), 3))})" for _, row in learned.iterrows()
    )
    figure, axes = new_figure(
        f"Gates moved {percent(round(moved, 3))} of their share;\n"
        f"largest in the first round: {first},\nin the second: {second}",
        columns=2,
        height=2.3 + 0.24 * learned.shape[1],
    )
    for axis, (name, row) in zip(axes, learned.iterrows(), strict=True):
        shown = row.fillna(0).rename(_plain if axis is axes[0] else lambda _: "")
        bars(axis, 100 * shown, label="learned")
        axis.plot(100 * start.loc[name], range(len(row)), "D", color=ORANGE, label="at the start")
        axis.set(xlabel="share of the gates, %", title=f"{name} round")
        axis.title.set_fontsize(10)
    return with_legend(figure, axes[0])


def _verdict(stage, history):
    """Title of a stage: at which step left-out rows were predicted best, and by how much."""
    best = history.groupby("member")["check"].min()
    gained = best[best <= -GAIN]
    if best.isna().all():
        return f"Training on the {stage}: no rows left out to stop on"
    if gained.empty:
        loss = f"loss at best {max(best.min(), 0):.3f}"
        return f"Training on the {stage}: left-out rows gain nothing ({loss})"
    members = history[history["member"].isin(gained.index)].groupby("member")
    steps = span(history.loc[members["check"].idxmin(), "step"], "{:.0f}")
    which = "" if len(best) == 1 else f" in {len(gained)} of {len(best)} members"
    gain = f"left-out rows gain {-gained.mean():.3f}{which}"
    return f"Training on the {stage}: {gain}, most at step {steps}"


def _plain(kind):
    return kind.replace("_", " ")
