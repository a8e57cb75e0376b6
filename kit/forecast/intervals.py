"""An interval for each predicted effect, calibrated on left-out rows, and how well such intervals hold.

A predictive distribution has quantiles of its own, but only among effects that training rows have had:
of fifteen rows the widest such interval misses one new row in eight. So inner folds measure how far the
truth lies outside, and every interval is widened by that (conformalised quantile regression: Romano,
Patterson and Candes, NeurIPS 2019). On-target genes fall further than other effects: their interval
comes from how far the on-target genes of the training rows fell. `calibration` tests the intervals on
rows that no fit has seen.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..decision import Distribution
from ..evaluation.splits import folds
from ..io.files import InputError, replacing
from ..io.progress import progress
from ..knowledge import Knowledge
from ..models.blend import Blend
from .predict import predict_targets

LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(eq=False)
class Intervals:
    """Intervals of a model with `predict_distribution`, widened as inner folds ask for.

    levels: shares of effects that are to lie inside. parts: inner folds; with fewer than six rows there
    are none, and nothing is widened. Learns `widening_` (series by level, in mean absolute deviations
    of the gene; below 0 intervals are narrowed), `observed_` (series by level: share of the left-out
    effects inside, each fold widened by what the others ask for) and `on_target_` (on-target effects of
    the training rows over the control level).
    """

    model: Any
    levels: Sequence[float] = LEVELS
    parts: int = 5
    seed: int = 0

    def fit(self, train: Competition) -> Self:
        rows, outside = train.effects.index, {level: [] for level in self.levels}
        parts = min(self.parts, len(rows) // 3)
        with progress("folds of the intervals", parts) as done:
            for names in folds(rows, parts, seed=self.seed) if parts > 1 else ():
                part = train.subset(rows.difference(names, sort=False))
                distribution = copy.deepcopy(self.model).fit(part).predict_distribution(names)
                truth, scale = train.effects.loc[names], mean_deviation(part.effects)
                for level in self.levels:
                    low, high = central_interval(distribution, level)
                    distance = (np.maximum(low - truth, truth - high) / scale).to_numpy()
                    outside[level].append(distance[~is_on_target(truth)])
                done()
        self.widening_ = pd.Series({level: _reached(x, level) for level, x in outside.items()})
        self.observed_ = pd.Series({level: _observed(x, level) for level, x in outside.items()})
        self.scale_, self.control_ = mean_deviation(train.effects), train.control
        fell = [train.effects.at[x, x] / train.control[x] for x in _expressed(rows, train.control)]
        self.on_target_ = np.array(fell, dtype=float)
        self.model.fit(train)
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the ends of the intervals, log2: perturbation x (level, `low` or `high`, gene)."""
        distribution, frames = self.model.predict_distribution(list(perturbations)), {}
        for level in self.levels:
            low, high = central_interval(distribution, level)
            # Narrowed past one another both ends meet in the middle.
            step = np.maximum(self.widening_[level] * self.scale_.to_numpy(), (low - high) / 2)
            low, high = low - step, high + step
            if len(self.on_target_) > 1:
                ends = on_target_interval(self.on_target_, level)
                for name in _expressed(low.index, self.control_):
                    low.at[name, name], high.at[name, name] = ends * self.control_[name]
            frames[level, "low"], frames[level, "high"] = low, high
        return pd.concat(frames, axis=1, names=["level", "end", "gene"])


def calibration(
    model: Any,
    competition: Competition,
    held_out: Sequence[Sequence[str]],
    *,
    levels: Sequence[float] = LEVELS,
    parts: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how well a model's `Intervals` hold on each list of `held_out` rows: by (level, row).

    Columns: `observed`, the share of a perturbation's effects inside; `by_weight`, the share of its
    metric weight inside; `width`, the mean, log2; `on_target`, whether its on-target effect lies inside
    (NaN where that is not among the genes). parts: inner folds that the widening is learned from; 0
    tests the distribution's own quantiles.
    """
    found = {level: [] for level in levels}
    with progress("calibration, folds", len(held_out)) as done:
        for names in held_out:
            train = competition.subset(competition.effects.index.difference(names, sort=False))
            one = Intervals(copy.deepcopy(model), levels=levels, parts=parts, seed=seed).fit(train)
            ends, held = one.predict(names), competition.subset(names)
            on_target = is_on_target(held.effects)
            for level in levels:
                low, high = ends[level]["low"], ends[level]["high"]
                inside = (low <= held.effects) & (held.effects <= high)
                columns = {
                    "observed": inside.mean(axis=1),
                    "by_weight": inside.mul(held.weights).sum(axis=1) / held.weights.sum(axis=1),
                    "width": (high - low).mean(axis=1),
                    "on_target": inside.astype(float).where(on_target).max(axis=1),
                }
                found[level].append(pd.DataFrame(columns))
            done()
    return pd.concat({level: pd.concat(each) for level, each in found.items()}, names=["level"])


def central_interval(distribution: Distribution, level: float = 0.9) -> list[pd.DataFrame]:
    """Return low and high quantiles of the distribution alone: perturbation x gene, log2.

    Half of a support point's probability lies on either side of it, and quantiles between points are
    interpolated: a step from one point to the next would come at another level with a row more.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level:g}; want a share between 0 and 1, such as 0.9")
    values = distribution.values.to_numpy().T  # (genes, points)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    chance = np.take_along_axis(distribution.chances(), order[:, None, :], axis=2)
    reached = (chance.cumsum(axis=2) - chance / 2) / chance.sum(axis=2, keepdims=True)
    ends = (_interpolated(reached, ordered, share) for share in ((1 - level) / 2, (1 + level) / 2))
    return [pd.DataFrame(end.T, distribution.perturbations, distribution.genes) for end in ends]


def mean_deviation(effects: pd.DataFrame) -> pd.Series:
    """Return each gene's mean absolute deviation from its median over perturbations, above 0."""
    found = (effects - effects.median()).abs().mean()
    return found.clip(lower=max(0.01 * found.mean(), 1e-9))


def on_target_interval(fell: np.ndarray, level: float) -> np.ndarray:
    """Return (low, high) of a new on-target effect over its control level, from training rows' `fell`.

    Where these are too few for the level: from -1, all of the expression lost, to 0.
    """
    fell, tail = np.asarray(fell), (1 - level) / 2
    if tail * (len(fell) + 1) < 1:
        return np.array([min(-1.0, fell.min()), max(0.0, fell.max())])
    return np.quantile(fell, [tail, 1 - tail], method="weibull")


def is_on_target(frame: pd.DataFrame) -> np.ndarray:
    """Return whether an entry is the perturbed gene itself: bool (perturbations, genes)."""
    return np.equal.outer(np.array(frame.index, object), np.array(frame.columns, object))


def target_intervals(
    competition: Competition, knowledge: Knowledge | None, level: float = 0.9, *, seed: int = 0
) -> tuple[pd.DataFrame, str]:
    """Return intervals of all targets by the default blend, and a line on how well they hold.

    The intervals are a perturbation x (`low` or `high`, gene) frame, log2. As in a forecast, a target
    whose truth is released gets those of a fit without it.
    """
    model = Intervals(Blend(knowledge, parts=0, seed=seed), levels=(level,), seed=seed)
    fitted = copy.deepcopy(model).fit(competition)
    ends = predict_targets(model, competition, fitted=fitted)[level]
    remark = f"intervals for {level:.3g} of effects, by the default blend: "
    if np.isnan(fitted.observed_[level]):
        return ends, remark + "too few training rows to test them"
    observed = 100 * fitted.observed_[level]
    return ends, remark + f"they held {observed:.1f} % of the effects of left-out training rows"


def write_intervals(
    ends: pd.DataFrame, prediction: pd.DataFrame, competition: Competition, path: Path | str
) -> Path | str:
    """Write one level's intervals of the targets beside their prediction; return the path.

    ends: perturbation x (`low` or `high`, gene); prediction: perturbation x gene. A CSV, compressed
    where its name ends so (`.gz`), with a line for each target and gene: pert_id, perturbation, gene,
    prediction, low, high (log2).
    """
    names, genes = competition.targets["perturbation"], competition.genes
    columns = {"prediction": prediction, "low": ends["low"], "high": ends["high"]}
    values = {name: frame.loc[names, genes].to_numpy().ravel() for name, frame in columns.items()}
    rows = names.repeat(len(genes)).rename_axis("pert_id").reset_index(name="perturbation")
    table = rows.assign(gene=np.tile(genes, len(names)), **values)
    with replacing(path) as place:
        table.to_csv(place, index=False, float_format="%.5g")
    return path


def _interpolated(reached, ordered, share):
    """Values where a share of the probability is reached, (genes, perturbations), the outermost at most.

    reached: ascending shares, (genes, perturbations, points); ordered: values, (genes, points).
    """
    above = np.clip((reached < share).sum(axis=2), 1, reached.shape[2] - 1)
    places = np.stack([above - 1, above])  # (2, genes, perturbations)
    first, last = (np.take_along_axis(reached, place[:, :, None], 2)[:, :, 0] for place in places)
    low, high = (np.take_along_axis(ordered, place, axis=1) for place in places)
    return low + (high - low) * np.clip((share - first) / np.maximum(last - first, 1e-9), 0, 1)


def _expressed(names, control):
    return [name for name in names if name in control.index and control[name] > 0]


def _reached(distances, level):
    """Distance that a share `level` of the values in a list of arrays stays within; 0 of none."""
    if not distances:
        return 0.0
    return float(np.quantile(np.concatenate(distances), level, method="higher"))


def _observed(distances, level):
    """Share of values that stay within what the other arrays of the list ask for; NaN of none."""
    inside = [
        values <= _reached(distances[:place] + distances[place + 1 :], level)
        for place, values in enumerate(distances)
    ]
    return float(np.concatenate(inside).mean()) if inside else np.nan
