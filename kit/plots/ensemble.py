"""Figures of a blend: how alike its members are, what each size is worth, what new rows may score."""

import numpy as np

from .style import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    SKY,
    legend_below,
    name_rows,
    new_figure,
    percent,
)


def members_alike(cosine):
    """Map of the cosines between members' predictions, each less the mean effect.

    cosine: member x member frame; NaN where a member predicts nothing but the mean.
    """
    names, values = list(cosine.index), cosine.to_numpy()
    first, second = np.triu_indices(len(names), 1)
    pairs = values[first, second]
    title = "One member alone: nothing to compare"
    if np.isfinite(pairs).any():
        most, least = np.nanargmax(pairs), np.nanargmin(pairs)
        title = f"Most alike: “{names[first[most]]}” and “{names[second[most]]}”, {pairs[most]:.2f}"
        if most != least:
            title += f";\nleast: “{names[first[least]]}” and “{names[second[least]]}”, {pairs[least]:.2f}"
    figure, (axis,) = new_figure(title, height=1.7 + 0.35 * len(names))
    image = axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 else "black"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, size=8)
    numbers = range(1, len(names) + 1)
    name_rows(axis, [f"{name}  {number}" for number, name in zip(numbers, names, strict=True)], 9)
    axis.set_xticks(range(len(names)), numbers, fontsize=9)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    figure.colorbar(image, label="cosine")
    axis.set(xlabel="left-out predictions less the mean effect")
    return figure


def blend_path(path, best, robust):
    """Nested score of the best blend of each size, with intervals, and the two that are submitted.

    path: `Ensemble.path`; best: nested score for 60 rows of the submitted best, after shares by group
    and stretch; robust: size of the robust blend.
    """
    top, kept = path["score"].max(), path.at[robust, "score"]
    plural = "member scores" if robust == 1 else "members score"
    within = f"within one standard error of the best size, {top:.2f}"
    figure, (axis,) = new_figure(
        f"{robust} {plural} {kept:.2f}, {within if kept < top else 'the best size'};\n"
        f"the best blend as it is submitted: {best:.2f}",
        height=3.8,
    )
    reach = np.stack([path["score"] - path["low"], path["high"] - path["score"]])
    sizes = path.index
    axis.errorbar(
        sizes, path["score"].to_numpy(), yerr=reach, fmt="o-", color=BLUE, capsize=3, label="blend"
    )
    axis.plot(robust, kept, "o", color=GREEN, markersize=12, alpha=0.6, label="robust")
    axis.plot(path["score"].idxmax(), best, "D", color=ORANGE, markersize=7, label="best", zorder=4)
    axis.axhline(0, color="black", linewidth=1, label="floor: the mean")
    axis.set_xticks(sizes)
    axis.set_xlim(sizes.min() - 0.5, sizes.max() + 0.5)
    axis.set(xlabel="members at most", ylabel="score for 60 left-out rows,\n90 % interval")
    legend_below(figure, axis)
    return figure


def spread(draws, estimate, ceiling=None):
    """What new rows may score, and how far public and private rows of one submission part.

    draws: frame of `ensemble.expected_spread`; estimate, ceiling: scores for 60 rows.
    """
    low, high = draws["score"].quantile([0.05, 0.95])
    gap = (draws["public"] - draws["private"]).abs().quantile(0.9)
    below = (draws["score"] < 0).mean()
    figure, (left, right) = new_figure(
        f"Expected of all targets: {low:.2f} to {high:.2f} for 60 rows (90 %), under the mean in "
        f"{percent(round(below, 3))};\none time in ten public and private differ by {gap:.2f} or more",
        columns=2,
        height=3.8,
    )
    left.hist(draws["score"], 40, color=SKY)
    left.axvspan(low, high, color=BLUE, alpha=0.12, label="90 %")
    left.axvline(estimate, color=BLUE, linewidth=2, label="left-out rows")
    left.axvline(0, color="black", linewidth=1, label="floor")
    if ceiling is not None:
        left.axvline(ceiling, color=RED, linestyle="--", label="ceiling")
    left.set(xlabel="score for 60 rows", ylabel="draws")
    right.scatter(draws["public"], draws["private"], 5, SKY, alpha=0.5, linewidth=0)
    ends = draws[["public", "private"]].quantile([0.002, 0.998])
    ends = [ends.min().min(), ends.max().max()]
    right.plot(ends, ends, color="0.6", linewidth=1)
    right.set(xlim=ends, ylim=ends, xlabel="public rows", ylabel="private rows, same draw")
    legend_below(figure, left)
    return figure
