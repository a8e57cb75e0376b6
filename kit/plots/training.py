"""Figure of how networks learned: the loss on the rows they see, and the check on those left out."""

import numpy as np

from .style import (
    BLUE,
    ORANGE,
    RED,
    legend_below,
    new_figure,
)


def training_curves(history):
    """Losses by step, one panel a stage, members as thin lines; a dot where each was stopped.

    history: frame (stage, member, step, loss, check), as `Trained.history_`; check: of left-out rows, 0
    for a network that has learned nothing, NaN where nothing is left out.
    """
    stages = list(dict.fromkeys(history["stage"]))
    verdicts = [_verdict(stage, history[history["stage"] == stage]) for stage in stages]
    figure, axes = new_figure("\n".join(verdicts), columns=len(stages), height=3.6)
    for stage, axis in zip(stages, axes, strict=True):
        for place, (_, run) in enumerate(history[history["stage"] == stage].groupby("member")):
            shown = [None, None] if place else ["rows seen", "rows left out"]
            smooth = run["loss"].rolling(5, min_periods=1, center=True).mean()
            axis.plot(run["step"], smooth, color=BLUE, alpha=0.7, linewidth=1, label=shown[0])
            axis.plot(run["step"], run["check"], color=ORANGE, linewidth=1.5, label=shown[1])
            if run["check"].min() < 0:
                best = run.loc[run["check"].idxmin()]
                axis.plot(best["step"], best["check"], "o", color=ORANGE)
        axis.axhline(0, color=RED, linestyle="--", linewidth=1, label="nothing learned")
        axis.set(xlabel="step", title=f"learning from {_source(stage)}")
        axis.title.set_fontsize(10)
    axes[0].set_ylabel("loss less that of the genes' own odds")
    legend_below(figure, axes[0])
    return figure


def _verdict(stage, history):
    """Title of a stage: at which step left-out rows were foretold best, and by how much."""
    best = history.groupby("member")["check"].min()
    if best.isna().all():
        return f"On {_source(stage)} nothing was left out to stop on"
    gained = best[best < 0]
    if gained.empty:
        return f"On {_source(stage)} nothing was learned that holds for rows left out"
    steps = [
        int(run.loc[run["check"].idxmin(), "step"])
        for member, run in history.groupby("member")
        if member in gained.index
    ]
    which = "" if len(best) == 1 else f" in {len(gained)} of {len(best)} members"
    span = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} to {max(steps)}"
    return (
        f"On {_source(stage)} rows left out gain{which}, most at step {span} "
        f"({np.minimum(best, 0).mean():.3f} on average)"
    )


def _source(stage):
    return "the competition" if stage == "competition" else f"the {stage}"
