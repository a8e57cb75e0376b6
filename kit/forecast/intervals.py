"""How sure a prediction is: an interval for each effect, held to its level by rows that no fit has seen.

A belief knows its own quantiles, but only among effects that training rows have had: of fifteen rows
the widest such interval misses one new row in eight. So inner folds measure how far the truth lies
beyond, and every interval is widened by that (conformalised quantiles: Romano, Patterson and Candes
2019). The knocked-down gene answers unlike it does in any other row: its interval comes from how far the
training rows' own genes fell. Whether such intervals hold is put to the test in `calibration`.
"""

import copy

import numpy as np
import pandas as pd

from ..evaluation.splits import folds
from ..io.files import InputError, replacing
from ..models.blend import Blend
from .predict import predict_targets

LEVELS = (0.5, 0.8, 0.9, 0.95)


def intervals(belief, level=0.9):
    """Interval of each effect by the belief alone: (low, high), perturbation x gene frames, log2.

    Half of an atom's chance lies on either side of it, and quantiles between atoms are interpolated: a
    step from one atom to the next would come at another level with a row more.
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level:g}; want a share between 0 and 1, such as 0.9")
    values = belief.values.to_numpy().T  # (genes, atoms)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    chance = np.take_along_axis(belief.chances(), order[:, None, :], axis=2)
    reached = (chance.cumsum(axis=2) - chance / 2) / chance.sum(axis=2, keepdims=True)
    ends = (_interpolated(reached, ordered, share) for share in ((1 - level) / 2, (1 + level) / 2))
    return tuple(pd.DataFrame(end.T, belief.perturbations, belief.genes) for end in ends)


class Intervals:
    """Intervals of a model with `predict_distribution`, widened as inner folds ask for.

    levels: shares of effects that are to lie inside. parts: inner folds; with fewer rows than six there
    are none, and nothing is widened. Learns `widening_` (series by level, in mean absolute deviations of
    the gene; below 0 intervals are narrowed), `observed_` (series by level: share of the left-out effects
    inside, each fold widened by what the others ask for) and `own_` (own effect over control level of the
    training rows).
    """

    def __init__(self, model, *, levels=LEVELS, parts=5, seed=0):
        self.model = model
        self.levels = levels
        self.parts = parts
        self.seed = seed

    def fit(self, train):
        rows, found = train.effects.index, {level: [] for level in self.levels}
        parts = min(self.parts, len(rows) // 3)
        for names in folds(rows, parts, seed=self.seed) if parts > 1 else ():
            part = train.subset(rows.difference(names, sort=False))
            belief = copy.deepcopy(self.model).fit(part).predict_distribution(names)
            truth, scale = train.effects.loc[names], spread(part.effects)
            for level in self.levels:
                low, high = intervals(belief, level)
                beyond = (np.maximum(low - truth, truth - high) / scale).to_numpy()
                found[level].append(beyond[~own_genes(truth)])
        index = pd.Index(self.levels, name="level")
        widening = [_reached(beyond, level) for level, beyond in found.items()]
        self.widening_ = pd.Series(widening, index, name="widening")
        observed = [_observed(beyond, level) for level, beyond in found.items()]
        self.observed_ = pd.Series(observed, index, name="observed")
        self.spread_, self.control_ = spread(train.effects), train.control
        own = _expressed(rows, train.control)
        fell = [train.effects.at[name, name] / train.control[name] for name in own]
        self.own_ = np.array(fell, dtype=float)
        self.model.fit(train)
        return self

    def predict(self, perturbations):
        """Ends of the intervals, log2: perturbation x (level, `low` or `high`, gene) frame."""
        return self.ends(self.model.predict_distribution(list(perturbations)))

    def ends(self, belief):
        """Ends of the intervals from a belief of the model, as `predict` gives them."""
        frames = {}
        for level in self.levels:
            frames[level, "low"], frames[level, "high"] = self._widened(belief, level)
        return pd.concat(frames, axis=1, names=["level", "end", "gene"])

    def _widened(self, belief, level):
        low, high = intervals(belief, level)
        # Narrowed past one another both ends meet in the middle.
        step = np.maximum(self.widening_[level] * self.spread_.to_numpy(), (low - high) / 2)
        low, high = low - step, high + step
        if len(self.own_) > 1:
            fell = own_fall(self.own_, level)
            for name in _expressed(belief.perturbations, self.control_):
                low.at[name, name], high.at[name, name] = fell * self.control_[name]
        return low, high


def spread(effects):
    """Mean absolute deviation of each gene from its median over perturbations: a series, above 0."""
    found = (effects - effects.median()).abs().mean()
    return found.clip(lower=max(0.01 * found.mean(), 1e-9))


def own_fall(fell, level):
    """Interval of a new own effect over its control level, from those of training rows: (low, high).

    Where they are too few for the level: from -1, all of the expression lost, to 0.
    """
    fell, tail = np.asarray(fell), (1 - level) / 2
    if tail * (len(fell) + 1) < 1:
        return np.array([min(-1.0, fell.min()), max(0.0, fell.max())])
    return np.quantile(fell, [tail, 1 - tail], method="weibull")


def own_genes(frame):
    """Whether an entry is the knocked-down gene itself: (perturbations, genes)."""
    return np.equal.outer(np.array(frame.index, object), np.array(frame.columns, object))


def target_intervals(competition, knowledge=None, level=0.9, *, seed=0):
    """Intervals of all targets by the belief of the default blend, and a line on them: (ends, remark).

    ends: perturbation x (`low` or `high`, gene) frame, log2. As in a forecast, a target whose truth is
    released gets those of a fit that has not seen it.
    """
    blend = Blend(knowledge, parts=0, seed=seed)
    model = Intervals(blend, levels=(level,), seed=seed)
    fitted = copy.deepcopy(model).fit(competition)
    ends = predict_targets(model, competition, fitted=fitted)[level]
    remark = f"intervals for {level:.3g} of effects, by the default blend: "
    if np.isnan(fitted.observed_[level]):
        return ends, remark + "too few training rows to say whether they hold"
    observed = 100 * fitted.observed_[level]
    return ends, remark + f"they held {observed:.1f} % of those of left-out training rows"


def write_intervals(ends, prediction, competition, path):
    """Write one level's intervals of the targets beside their prediction; returns the path.

    ends: perturbation x (`low` or `high`, gene) frame; prediction: perturbation x gene. A CSV, compressed
    where its name ends so (`.gz`), with a line for each target and gene: pert_id, perturbation, gene,
    prediction, low, high (log2).
    """
    names, genes = competition.targets["perturbation"], competition.genes
    columns = {"prediction": prediction, "low": ends["low"], "high": ends["high"]}
    values = {name: frame.loc[names, genes].to_numpy().ravel() for name, frame in columns.items()}
    table = pd.DataFrame(
        {
            "pert_id": np.repeat(names.index.to_numpy(), len(genes)),
            "perturbation": np.repeat(names.to_numpy(), len(genes)),
            "gene": np.tile(genes.to_numpy(), len(names)),
            **values,
        }
    )
    with replacing(path) as place:
        table.to_csv(place, index=False, float_format="%.5g")
    return path


def _interpolated(reached, ordered, share):
    """Values where a share of the chance is reached, (genes, perturbations), the outermost at most.

    reached: ascending shares, (genes, perturbations, atoms); ordered: values, (genes, atoms).
    """
    above = np.clip((reached < share).sum(axis=2), 1, reached.shape[2] - 1)
    places = np.stack([above - 1, above])  # (2, genes, perturbations)
    first, last = (np.take_along_axis(reached, place[:, :, None], 2)[:, :, 0] for place in places)
    low, high = (np.take_along_axis(ordered, place, axis=1) for place in places)
    return low + (high - low) * np.clip((share - first) / np.maximum(last - first, 1e-9), 0, 1)


def _expressed(names, control):
    return [name for name in names if name in control.index and control[name] > 0]


def _reached(beyond, level):
    """Distance that a share `level` of the values in a list of arrays stays within; 0 of none."""
    if not beyond:
        return 0.0
    return float(np.quantile(np.concatenate(beyond), level, method="higher"))


def _observed(beyond, level):
    """Share of values that stay within what the other arrays of the list ask for; NaN of none."""
    inside = [
        values <= _reached(beyond[:place] + beyond[place + 1 :], level)
        for place, values in enumerate(beyond)
    ]
    return float(np.concatenate(inside).mean()) if inside else np.nan
