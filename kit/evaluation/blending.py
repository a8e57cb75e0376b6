"""Blend predictions under the official metric itself, and say honestly what that is worth.

Shares of members are never negative and sum to 1. They climb the score from the best member, one member
at a time: no surrogate, no gradient. Whatever is learned here is learned once more without each fold's
rows to predict those: the nested score. (Members saw those rows when they predicted the others; that is
the little by which stacking flatters itself.) Two selections come out: the size of blend with the best
nested score, and the smallest whose nested score lies within one standard error of that, for a
submission a day tempts to select on noise.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..io.files import InputError, quote_some
from ..metric import GATE, score_arrays
from .predictions import interval

STEPS = (0.5, 0.2, 0.1, 0.05)  # share that a move gives to one member
LEAST = 0.04  # share below which a member is dropped
SCALES = np.round(np.arange(0.7, 1.45, 0.05), 2)  # tried for all effects
TAILS = np.round(np.arange(0.5, 1.8, 0.1), 2)  # tried for the part of an effect beyond the gate
ENOUGH = 40  # rows, below which shares are not learned: all members but the mean count alike
ROWS = 20  # in a group, below which it gets no shares of its own


@dataclass(frozen=True, eq=False)
class Selection:
    """A blend: shares, a frame group x member; effects are multiplied by `scale`, their part beyond the
    gate by `tail` besides.
    """

    shares: pd.DataFrame
    scale: float = 1.0
    tail: float = 1.0
    gate: float = GATE

    @property
    def members(self):
        """Members with a share, largest first."""
        share = self.shares.mean().sort_values(ascending=False, kind="stable")
        return list(share.index[share > 0])

    def predict(self, predictions, groups=None):
        """Blended effects, perturbation x gene. predictions: frames by member; groups: a series."""
        if lost := [name for name in self.members if name not in predictions]:
            raise InputError(f"no predictions of {quote_some(lost)}; give every member's")
        first = predictions[self.members[0]]
        labels = _kinds(self.shares.index, groups, first.index)
        total = np.zeros(first.shape)
        for name in self.members:
            share = self.shares[name].to_numpy()[labels]
            total += share[:, None] * predictions[name].loc[first.index, first.columns].to_numpy()
        values = stretched(total, self.scale, self.tail, self.gate)
        return pd.DataFrame(values, first.index, first.columns)

    def __str__(self):
        parts = [f"{name} {self.shares[name].mean():.2f}" for name in self.members]
        stretch = f"; scale {self.scale:g}, tail {self.tail:g}"
        return "; ".join(parts) + (stretch if (self.scale, self.tail) != (1, 1) else "")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What `blend` found.

    best, robust: Selections; nested: OutOfFold of both, and of each size of the path, by name; path:
    frame by number of members: nested score for 60 rows, its interval, distance from the best size and
    the standard error of that; dropped: members without a share in `best`.
    """

    best: Selection
    robust: Selection
    nested: dict
    path: pd.DataFrame
    dropped: list = field(default_factory=list)


def blend(runs, *, groups=None, gate=GATE):
    """Blend members: an Ensemble.

    runs: OutOfFold by member, of the same rows in the same folds; groups: a series of two kinds by
    perturbation (such as: the atlas holds it, or not), each of which may get shares of its own where
    that is clearly better; None: shares are common. Of fewer than ENOUGH rows no share is learned for
    `best`.
    """
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if not run.truth.index.equals(first.truth.index) or not run.fold.equals(first.fold):
            raise InputError(f"{name} is not of the same rows in the same folds as the others")
    rows, index = _Rows.of(runs, gate), first.truth.index
    fold = first.fold[index].to_numpy()
    names, count = list(runs), len(runs)
    whole = [_climb(rows, most) for most in range(1, count + 1)]
    sizes = {most: shares for most, shares in enumerate(whole, 1) if (shares > 0).sum() == most}

    def held_out(learn):
        """Predictions of every fold's rows by what is learned from the others."""
        found = np.empty(rows.truth.shape)
        for number in np.unique(fold):
            inside = fold == number
            found[inside] = learn(rows.take(~inside)).of(rows.take(inside))
        return replace(first, prediction=first.truth * 0 + found)

    nested = {}
    for most in sizes:
        nested[f"{most} members"] = held_out(
            lambda part, most=most: _Learned(_climb(part, most)[None])
        )
    scores = {most: nested[f"{most} members"].score(gate) for most in sizes}
    path = _path(scores, {most: [names[i] for i in np.flatnonzero(sizes[most])] for most in sizes})
    # The smallest blend that noise cannot tell from the best one.
    small = next(most for most in sizes if path.at[most, "behind"] <= path.at[most, "error"])
    nested["robust"] = nested[f"{small} members"]

    top = path["score"].idxmax()
    common = sizes[top]
    learned = _Learned(common[None])
    nested["best"] = nested[f"{top} members"]
    if few := len(index) < ENOUGH:
        learned = _Learned(_even(names)[None])
        nested["best"] = held_out(lambda part: learned)
    counts = pd.Series(dtype=int) if groups is None else groups.loc[index].value_counts()
    kinds = pd.Index(["all"])
    if len(counts) > 1 and counts.min() >= ROWS:
        kinds = pd.Index(sorted(counts.index))
        rows = replace(rows, kinds=_kinds(kinds, groups, index))
        apart = held_out(lambda part: _apart(part, _climb(part, top), top))
        if _better(apart, nested["best"], gate):
            learned, nested["best"] = _apart(rows, common, top), apart
    if not few:
        finished = held_out(lambda part: _stretch(part, _again(part, learned, top)))
        if _better(finished, nested["best"], gate):
            learned, nested["best"] = _stretch(rows, learned), finished

    def selection(one):
        frame = pd.DataFrame(one.shares, kinds if len(one.shares) > 1 else ["all"], names)
        return Selection(frame, one.scale, one.tail, gate)

    best = selection(learned)
    robust = selection(_Learned(sizes[small][None]))
    dropped = [name for name in names if name not in best.members]
    return Ensemble(best, robust, nested, path, dropped)


def expected_spread(run, *, rows=60, gate=GATE, draws=2000, seed=0):
    """What other `rows` perturbations may score: a frame of draws, `score`, `public`, `private`, for 60.

    Knockdowns are drawn anew twice: those that the estimate rests on, and from them those to be
    scored, of which one half is public and the other private (a single row is both). The fits of k
    folds share most of their rows, so that n left-out rows tell less than n rows of their own would:
    the variance is 1 + k / (k - 1) times as large (Nadeau and Bengio 2003, Inference for the
    generalization error), and so many times fewer are drawn first.
    """
    if rows < 1:
        raise InputError(f"{rows} rows have no score; want at least one")
    table = run.score(gate).table
    columns = ["w", "truth_prediction", "truth_truth", "prediction_prediction"]
    parts, random = table[columns].to_numpy(), np.random.default_rng(seed)
    parted = 1 if run.fold is None else run.fold.nunique()
    worth = 1 + parted / (parted - 1) if parted > 1 else 1
    count = max(1, round(len(parts) / worth))
    found = np.empty((draws, 3))
    for draw in range(draws):
        known = random.integers(len(parts), size=count)
        asked = parts[known[random.integers(count, size=rows)]]
        halves = asked[: max(1, rows // 2)], asked[rows // 2 :]
        found[draw] = [60 / len(part) * _score(part) for part in (asked, *halves)]
    return pd.DataFrame(found, columns=["score", "public", "private"])


def stretched(values, scale, tail, gate=GATE):
    """Effects times `scale`, and their part beyond the gate times `tail`."""
    values = scale * values
    beyond = np.sign(values) * np.maximum(np.abs(values) - gate, 0.0)
    return values + (tail - 1) * beyond


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is climbed on: stack (members, rows, genes), truth, weights (rows, genes), baseline."""

    stack: np.ndarray
    truth: np.ndarray
    weights: np.ndarray
    baseline: np.ndarray
    gate: float
    kinds: np.ndarray | None = None

    @classmethod
    def of(cls, runs, gate):
        first = next(iter(runs.values()))
        index, genes = first.truth.index, first.truth.columns
        stack = np.stack([run.prediction.loc[index, genes].to_numpy() for run in runs.values()])
        weights = first.weights.loc[index, genes].to_numpy()
        baseline = first.baseline_wmae.loc[index].to_numpy()
        return cls(stack, first.truth.to_numpy(), weights, baseline, gate)

    def take(self, which):
        return _Rows(
            self.stack[:, which],
            self.truth[which],
            self.weights[which],
            self.baseline[which],
            self.gate,
            None if self.kinds is None else self.kinds[which],
        )

    def score(self, prediction):
        return float(
            score_arrays(self.truth, prediction, self.weights, self.baseline, gate=self.gate)[0]
        )


@dataclass(frozen=True, eq=False)
class _Learned:
    """Shares, (kinds, members), and the stretch; `of` gives the blended effects of rows."""

    shares: np.ndarray
    scale: float = 1.0
    tail: float = 1.0

    def of(self, rows):
        kinds = np.zeros(rows.stack.shape[1], int) if len(self.shares) == 1 else rows.kinds
        values = np.einsum("rm,mrg->rg", self.shares[kinds], rows.stack)
        return stretched(values, self.scale, self.tail, rows.gate)


def _climb(rows, most, start=None):
    """Shares of at most `most` members with the best score that single moves find: (members,)."""
    stack = rows.stack
    if start is None:
        single = [rows.score(one) for one in stack]
        start = np.eye(len(stack))[int(np.argmax(single))]
    shares = start.copy()
    blended = np.tensordot(shares, stack, 1)
    best = rows.score(blended)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for member in range(len(stack)):
                if shares[member] == 0 and (shares > 0).sum() >= most:
                    continue
                tried = (1 - step) * blended + step * stack[member]
                found = rows.score(tried)
                if found > best + 1e-6 * abs(best):
                    shares = (1 - step) * shares
                    shares[member] += step
                    blended, best, moved = tried, found, True
    kept = np.where(shares >= LEAST, shares, 0.0)
    return kept / kept.sum()


def _even(names):
    """The same share for each member but the mean, unless there is no other."""
    counted = np.array([name != "mean" for name in names])
    counted = counted if counted.any() else ~counted
    return counted / counted.sum()


def _apart(rows, common, most):
    """Shares by kind of row, each climbed on the rows of its kind from the common ones."""
    parts = [rows.take(rows.kinds == kind) for kind in range(rows.kinds.max() + 1)]
    return _Learned(np.stack([_climb(part, most, common) for part in parts]))


def _again(rows, learned, most):
    """What was learned, learned once more from these rows alone."""
    common = _climb(rows, most)
    return _Learned(common[None]) if len(learned.shares) == 1 else _apart(rows, common, most)


def _stretch(rows, learned):
    """The best scale, then the best tail, of a blend."""
    values = replace(learned, scale=1.0, tail=1.0).of(rows)
    scale = max(SCALES, key=lambda one: rows.score(stretched(values, one, 1.0, rows.gate)))
    tail = max(TAILS, key=lambda one: rows.score(stretched(values, scale, one, rows.gate)))
    return replace(learned, scale=float(scale), tail=float(tail))


def _better(one, other, gate):
    """Whether the paired 90 % interval of the gain lies above 0."""
    return interval(one.score(gate), than=other.score(gate))[0] > 0


def _path(scores, names):
    best = max(scores, key=lambda most: scores[most].score_per_60)
    table = {}
    for most, score in scores.items():
        low, high = interval(score)
        gap = interval(scores[best], than=score, level=0.6827)
        table[most] = {
            "members": "; ".join(names[most]),
            "score": score.score_per_60,
            "low": low,
            "high": high,
            "behind": scores[best].score_per_60 - score.score_per_60,
            "error": (gap[1] - gap[0]) / 2,
        }
    return pd.DataFrame.from_dict(table, "index").rename_axis("size")


def _score(parts):
    w, dot, truth, predicted = parts.sum(axis=0)
    norm = np.sqrt(truth * predicted)
    return w * max(0.0, dot / norm) if norm > 0 else 0.0


def _kinds(kinds, groups, index):
    """Number of each row's kind; 0 for all where there is but one."""
    if len(kinds) == 1:
        return np.zeros(len(index), dtype=int)
    if groups is None:
        raise InputError("this blend has shares by group; give `groups`, a series by perturbation")
    places = kinds.get_indexer(groups.loc[index])
    if (places < 0).any():
        raise InputError(f"groups hold kinds without shares; want {quote_some(kinds)} only")
    return places
