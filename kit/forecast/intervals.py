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
from ..knowledge import Knowledge
from ..models.blend import Blend
from .predict import predict_targets

LEVELS = (0.5, 0.8, 0.9, 0.95)
SIZES = (0.5, 0.8, 0.95)  # quantiles of the expected sizes, between groups
DRAWS = 2000  # of the bootstrap over perturbations
ON_TARGET = "on-target gene"


class Intervals:
    """Intervals of a model with `predict_distribution`, widened as inner folds ask for.

    levels: shares of effects that are to lie inside. parts: inner folds; with fewer than six rows there
    are none, and nothing is widened. Learns `widening_` (series by level, in mean absolute deviations
    of the gene; below 0 intervals are narrowed), `observed_` (series by level: share of the left-out
    effects inside, each fold widened by what the others ask for) and `on_target_` (on-target effects of
    the training rows over the control level).
    """

    def __init__(
        self, model: Any, *, levels: Sequence[float] = LEVELS, parts: int = 5, seed: int = 0
    ):
        self.model = model
        self.levels = levels
        self.parts = parts
        self.seed = seed

    def fit(self, train: Competition) -> Self:
        rows, outside = train.effects.index, {level: [] for level in self.levels}
        parts = min(self.parts, len(rows) // 3)
        for names in folds(rows, parts, seed=self.seed) if parts > 1 else ():
            part = train.subset(rows.difference(names, sort=False))
            distribution = copy.deepcopy(self.model).fit(part).predict_distribution(names)
            truth, scale = train.effects.loc[names], mean_deviation(part.effects)
            for level in self.levels:
                low, high = central_interval(distribution, level)
                distance = (np.maximum(low - truth, truth - high) / scale).to_numpy()
                outside[level].append(distance[~is_on_target(truth)])
        by_level = {
            level: (_reached(x, level), _observed(x, level)) for level, x in outside.items()
        }
        table = pd.DataFrame.from_dict(by_level, "index", columns=["widening", "observed"])
        self.widening_, self.observed_ = table["widening"], table["observed"]
        self.scale_, self.control_ = mean_deviation(train.effects), train.control
        fell = [train.effects.at[x, x] / train.control[x] for x in _expressed(rows, train.control)]
        self.on_target_ = np.array(fell, dtype=float)
        self.model.fit(train)
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the ends of the intervals, log2: perturbation x (level, `low` or `high`, gene)."""
        return self.ends(self.model.predict_distribution(list(perturbations)))

    def ends(self, distribution: Distribution) -> pd.DataFrame:
        """Return the ends from a predictive distribution of the model, as `predict` gives them."""
        frames = {}
        for level in self.levels:
            frames[level, "low"], frames[level, "high"] = self._widened(distribution, level)
        return pd.concat(frames, axis=1, names=["level", "end", "gene"])

    def _widened(self, distribution, level):
        low, high = central_interval(distribution, level)
        # Narrowed past one another both ends meet in the middle.
        step = np.maximum(self.widening_[level] * self.scale_.to_numpy(), (low - high) / 2)
        low, high = low - step, high + step
        if len(self.on_target_) > 1:
            ends = on_target_interval(self.on_target_, level)
            for name in _expressed(distribution.perturbations, self.control_):
                low.at[name, name], high.at[name, name] = ends * self.control_[name]
        return low, high


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often intervals held; frames are perturbation x gene.

    By level: inside, whether the truth lay inside; probability, that the predictive distribution gives
    to the interval, above the level where many effects are equal; width, log2. size: of the expected
    effect; weights: the metric's.
    """

    inside: dict[float, pd.DataFrame]
    probability: dict[float, pd.DataFrame]
    width: dict[float, pd.DataFrame]
    size: pd.DataFrame
    weights: pd.DataFrame

    def by_perturbation(self, level: float = 0.9) -> pd.Series:
        """Return the share of each perturbation's effects that lay inside, the smallest first."""
        return self.inside[level].mean(axis=1).sort_values(kind="stable").rename("observed")

    def table(self, *, level: float = 0.9, seed: int = 0) -> pd.DataFrame:
        """Return the observed coverage by size of the expected effect and nominal level.

        Sizes: all, ranges, and the on-target genes, which are in no range. `observed` with its interval
        (`low`, `high`, of level `level`, bootstrap over perturbations), `by_weight`: the share of the
        metric's weight that lay inside; `probability` and `width`, means; `pairs` counted.
        """
        even = np.full(len(self.size), 1 / len(self.size))
        counts = np.random.default_rng(seed).multinomial(len(even), even, size=DRAWS)
        rows = {
            (name, nominal): self._row(nominal, taken, counts, level)
            for name, taken in self._groups().items()
            for nominal in self.inside
        }
        return pd.DataFrame.from_dict(rows, "index").rename_axis(["size", "nominal"])

    def _groups(self):
        """Which entries each line of the table is about, by name: (perturbations, genes)."""
        on_target, size = is_on_target(self.size), self.size.to_numpy()
        cuts = np.unique(np.quantile(size[~on_target], SIZES))
        place = np.where(on_target, -1, np.digitize(size, cuts, right=True))
        edges = [0.0, *cuts, float(size[~on_target].max())]
        groups = {"all": np.ones(size.shape, dtype=bool)}
        for number in np.unique(place[~on_target]):
            groups[f"{edges[number]:.3g} to {edges[number + 1]:.3g}"] = place == number
        return groups | ({ON_TARGET: on_target} if on_target.any() else {})

    def _row(self, nominal, taken, counts, level):
        inside = self.inside[nominal].to_numpy() & taken
        hits, pairs = inside.sum(axis=1), taken.sum(axis=1)
        drawn = (counts @ hits) / np.maximum(counts @ pairs, 1)
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        weights = self.weights.to_numpy()
        return {
            "observed": hits.sum() / pairs.sum(),
            "low": low,
            "high": high,
            "by_weight": weights[inside].sum() / (weights[taken].sum() or np.nan),
            "probability": self.probability[nominal].to_numpy()[taken].mean(),
            "width": self.width[nominal].to_numpy()[taken].mean(),
            "pairs": int(pairs.sum()),
        }


def calibration(
    model: Any,
    competition: Competition,
    held_out: Sequence[Sequence[str]],
    *,
    levels: Sequence[float] = LEVELS,
    parts: int = 5,
    seed: int = 0,
) -> Calibration:
    """Test a model's `Intervals` on each list of `held_out` rows in turn.

    parts: inner folds that the widening is learned from; 0 tests the distribution's own quantiles.
    """
    found, sizes = {level: [] for level in levels}, []
    for names in held_out:
        train = competition.subset(competition.effects.index.difference(names, sort=False))
        fitted = Intervals(copy.deepcopy(model), levels=levels, parts=parts, seed=seed).fit(train)
        distribution = fitted.model.predict_distribution(list(names))
        truth = competition.effects.loc[distribution.perturbations]
        ends = fitted.ends(distribution)
        sizes.append(distribution.mean().abs())
        for level in levels:
            low, high = ends[level]["low"], ends[level]["high"]
            inside = (low <= truth) & (truth <= high)
            found[level].append((inside, _probability(distribution, low, high), high - low))
    parts = {level: [*map(pd.concat, zip(*rows, strict=True))] for level, rows in found.items()}
    inside, probability, width = ({level: parts[level][n] for level in levels} for n in range(3))
    size = pd.concat(sizes)
    weights = competition.subset(size.index).weights
    return Calibration(inside, probability, width, size, weights)


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
    labels = {
        "pert_id": np.repeat(names.index.to_numpy(), len(genes)),
        "perturbation": np.repeat(names.to_numpy(), len(genes)),
        "gene": np.tile(genes.to_numpy(), len(names)),
    }
    with replacing(path) as place:
        pd.DataFrame(labels | values).to_csv(place, index=False, float_format="%.5g")
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


def _probability(distribution, low, high):
    """Probability by the distribution of each effect between two ends: perturbation x gene."""
    values = distribution.values.to_numpy().T[:, None, :]  # (genes, 1, points)
    inside = (low.to_numpy().T[:, :, None] <= values) & (values <= high.to_numpy().T[:, :, None])
    found = (distribution.chances() * inside).sum(axis=2).T
    return pd.DataFrame(found, distribution.perturbations, distribution.genes)


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
