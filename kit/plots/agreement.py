"""How alike the same knockdown answers in two screens, beside different knockdowns: the floor."""

from .style import (
    legend_below,
    name_rows,
    new_figure,
    percent,
    strips,
)


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
