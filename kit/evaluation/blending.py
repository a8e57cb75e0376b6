"""Blend base models under the official metric itself, and estimate the result on rows no choice has seen.

Shares of base models are never negative and sum to 1. They climb the score from the best base model, one
at a time: no surrogate, no gradient. Two selections come out: the size of blend with the best held-out
score, and the smallest whose held-out score lies within one standard error of that, for a submission a
day tempts to select on noise. All that is chosen, from the base models to the size, shares by group,
stretch and whether to blend at all, is chosen once more without each fold's rows to predict those: the
nested estimate. (Base models were trained on those rows when they predicted the others; that small
optimism of stacking stays.)
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..io.files import InputError, quote_some
from ..metric import GATE, Score, combine, row_terms
from .predictions import TERMS, OutOfFold, interval

STEPS = (0.5, 0.2, 0.1, 0.05)  # share that a move gives to one base model
LEAST = 0.04  # share below which a base model is dropped
MOST = 8  # base models that shares are learned for; of more, the least redundant are taken
SCALES = np.round(np.arange(0.7, 1.45, 0.05), 2)  # tried for all effects
TAILS = np.round(np.arange(0.5, 1.8, 0.1), 2)  # tried for the part of an effect beyond the gate
ENOUGH = 40  # rows, below which shares are not learned: all base models but the mean count the same
ROWS = 20  # in a group, below which it gets no shares of its own


@dataclass(frozen=True, eq=False)
class Selection:
    """A blend: shares, a frame group x base model; effects are multiplied by `scale`, their part beyond
    the gate by `tail` besides.
    """

    shares: pd.DataFrame
    scale: float = 1.0
    tail: float = 1.0
    gate: float = GATE

    @property
    def base_models(self) -> list[str]:
        """Names of the base models with a share, largest first."""
        share = self.shares.mean().sort_values(ascending=False, kind="stable")
        return list(share.index[share > 0])

    def predict(
        self, predictions: dict[str, pd.DataFrame], groups: pd.Series | None = None
    ) -> pd.DataFrame:
        """Return blended effects, perturbation x gene, log2.

        predictions: such a frame by base model; groups: group by perturbation, where shares differ by it.
        """
        if lost := [name for name in self.base_models if name not in predictions]:
            raise InputError(f"no predictions of {quote_some(lost)}; give every base model's")
        first = predictions[self.base_models[0]]
        labels = _kinds(self.shares.index, groups, first.index)
        total = np.zeros(first.shape)
        for name in self.base_models:
            share = self.shares[name].to_numpy()[labels]
            total += share[:, None] * predictions[name].loc[first.index, first.columns].to_numpy()
        values = stretched(total, self.scale, self.tail, self.gate)
        return pd.DataFrame(values, first.index, first.columns)

    def __str__(self):
        parts = [f"{name} {self.shares[name].mean():.2f}" for name in self.base_models]
        stretch = f"; scale {self.scale:g}, tail {self.tail:g}"
        return "; ".join(parts) + (stretch if (self.scale, self.tail) != (1, 1) else "")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Two blends and what to expect of them; `blend` makes it.

    best, robust: Selections learned from all rows; nested: OutOfFold of `best` and `robust` in which each
    fold's rows are predicted by what is chosen and learned from the other folds alone; path: frame by
    number of base models: score for 60 rows of shares learned without each fold, its interval, distance
    from the best size and the standard error of that; dropped: base models without a share in `best`.
    """

    best: Selection
    robust: Selection
    nested: dict[str, OutOfFold]
    path: pd.DataFrame
    dropped: list[str] = field(default_factory=list)


def blend(
    runs: dict[str, OutOfFold],
    *,
    groups: pd.Series | None = None,
    default: str | None = None,
    gate: float = GATE,
) -> Ensemble:
    """Learn the best and the robust blend of base models, and estimate both on rows unseen by any choice.

    runs: by base model, of the same rows in the same folds, two folds at least; groups: one of two kinds
    by perturbation (such as: the atlas holds it, or not), each of which may get shares of its own where
    that is clearly better; default: a base model that is taken alone unless the blend scores higher. Of
    fewer than ENOUGH rows no share is learned for `best`: it is the default, or the plain average.
    """
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if not run.truth.index.equals(first.truth.index) or not run.fold.equals(first.fold):
            raise InputError(f"{name} is not of the same rows in the same folds as the others")
    index, names = first.truth.index, list(runs)
    number = first.fold[index].to_numpy()
    folds = [number == one for one in np.unique(number)]
    if len(folds) < 2:
        raise InputError("a blend is estimated between folds; give out-of-fold runs of two or more")
    counts = pd.Series(dtype=int) if groups is None else groups.loc[index].value_counts()
    kinds = pd.Index(["all"])
    if len(counts) > 1 and counts.min() >= ROWS:
        kinds = pd.Index(sorted(counts.index))
    search = _Search(runs, _kinds(kinds, groups, index), default, gate)
    best, robust, path = search.learn(np.ones(len(index), bool), folds)
    nested = {name: np.empty(first.truth.shape) for name in ("best", "robust")}
    for fold in folds:
        # Two folds leave one: its rows are then parted once more to choose between blends.
        inner = [one for one in folds if one is not fold]
        inner = inner if len(inner) > 1 else _halves(inner[0])
        for name, found in zip(nested, search.learn(~fold, inner)[:2], strict=True):
            nested[name][fold] = search.effects(found)[fold]
    for name, values in nested.items():
        chosen = name == "robust" or search.few is None
        frame = first.truth * 0 + values
        nested[name] = replace(first, prediction=frame, seconds=0.0, chosen=chosen)
    path["base models"] = ["; ".join(names[i] for i in models) for models in path["base models"]]

    def selection(one):
        frame = pd.DataFrame(one.shares, kinds if len(one.shares) > 1 else ["all"], names)
        return Selection(frame, one.scale, one.tail, gate)

    best = selection(best)
    dropped = [name for name in names if name not in best.base_models]
    return Ensemble(best, selection(robust), nested, path, dropped)


def expected_spread(
    run: OutOfFold, *, rows: int = 60, gate: float = GATE, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Return draws of what other `rows` perturbations may score: `score`, `public`, `private`, for 60.

    Perturbations are drawn anew twice: those that the estimate rests on, and from them those to be
    scored, of which one half is public and the other private (a single row is both). The fits of k
    folds share most of their rows, so that n left-out rows carry less information than n rows of their
    own would: the variance is 1 + k / (k - 1) times as large (Nadeau and Bengio 2003, Inference for the
    generalization error), and so many times fewer are drawn first.
    """
    if rows < 1:
        raise InputError(f"{rows} rows have no score; want at least one")
    parts, random = run.score(gate).table[TERMS].to_numpy(), np.random.default_rng(seed)
    count = max(1, round(len(parts) / run.variance))
    found = np.empty((draws, 3))
    for draw in range(draws):
        known = random.integers(len(parts), size=count)
        asked = parts[known[random.integers(count, size=rows)]]
        halves = asked[: max(1, rows // 2)], asked[rows // 2 :]
        found[draw] = [60 / len(part) * combine(*part.T)[0] for part in (asked, *halves)]
    return pd.DataFrame(found, columns=["score", "public", "private"])


def stretched(values: np.ndarray, scale: float, tail: float, gate: float = GATE) -> np.ndarray:
    """Return effects times `scale`, and their part beyond the gate times `tail`."""
    values = scale * values
    beyond = np.sign(values) * np.maximum(np.abs(values) - gate, 0.0)
    return values + (tail - 1) * beyond


@dataclass(frozen=True)
class _Blend:
    """Shares by kind of row, one tuple of all base models each, and the stretch."""

    shares: tuple[tuple[float, ...], ...]
    scale: float = 1.0
    tail: float = 1.0


class _Search:
    """Learns blends from any rows. A row's terms of the score do not depend on the rows learned from, so
    that those of a blend are computed once and summed over whatever rows are asked for.
    """

    def __init__(self, runs, kinds, default, gate):
        first = next(iter(runs.values()))
        index, genes = first.truth.index, first.truth.columns
        self.stack = [run.prediction.loc[index, genes].to_numpy(float) for run in runs.values()]
        self.known = (
            first.truth.to_numpy(float),
            first.weights.loc[index, genes].to_numpy(float),
            first.baseline_wmae.loc[index].to_numpy(float),
        )
        self.kinds, self.gate = kinds, gate
        count = len(runs)
        self.single = [tuple(np.eye(count)[place]) for place in range(count)]
        self.mean = list(runs).index("mean") if "mean" in runs else None
        self.default = None if default is None else list(runs).index(default)
        even = np.array([1.0 if place != self.mean else 0.0 for place in range(count)])
        even = even if even.any() else 1 - even
        self.few = None  # what is taken where too few rows are there to learn from
        if len(index) < ENOUGH:
            few = even / even.sum() if default is None else self.single[self.default]
            self.few = _Blend((tuple(few),))
        self._kept, self._chosen, self._products = {}, {}, None

    def effects(self, blend):
        """Blended effects of all rows, (rows, genes)."""
        total = np.zeros(self.known[0].shape)
        for kind, shares in enumerate(blend.shares):
            rows = self.kinds == kind if len(blend.shares) > 1 else slice(None)
            for share, values in zip(shares, self.stack, strict=True):
                if share:
                    total[rows] += share * values[rows]
        return stretched(total, blend.scale, blend.tail, self.gate)

    def terms(self, blend):
        """Terms of the score, (4, rows), of a blend."""
        if len(blend.shares) > 1:
            parts = [self.terms(replace(blend, shares=(one,))) for one in blend.shares]
            return np.choose(self.kinds, parts)
        if blend not in self._kept:
            truth, weights, baseline = self.known
            found = row_terms(truth, self.effects(blend), weights, baseline, self.gate)
            self._kept[blend] = found
        return self._kept[blend]

    def score(self, blend, rows):
        return float(combine(*self.terms(blend)[:, rows])[0])

    def learn(self, rows, folds):
        """The best blend, the robust one, and the path of sizes, from the rows of a mask alone.

        folds: masks that part these rows; whatever is chosen is chosen by scores between them.
        """

        def held_out(learn):
            found = np.zeros((4, len(rows)))
            for fold in folds:
                found[:, fold] = self.terms(learn(rows & ~fold))[:, fold]
            return _as_score(found[:, rows], self.gate)

        whole = {most: self.climb(rows, most) for most in range(1, min(len(self.stack), MOST) + 1)}
        sizes = {most: one for most, one in whole.items() if np.count_nonzero(one) == most}
        scores = {
            most: held_out(lambda part, most=most: _Blend((self.climb(part, most),)))
            for most in sizes
        }
        path = _path(scores, {most: np.flatnonzero(one) for most, one in sizes.items()})
        # The smallest blend that is not significantly worse than the best one.
        small = next(most for most in sizes if path.at[most, "behind"] <= path.at[most, "error"])
        robust, top = _Blend((sizes[small],)), path["score"].idxmax()
        if self.few is not None:
            return self.few, robust, path
        best, reached = _Blend((sizes[top],)), scores[top]
        if self.kinds.any():
            apart = held_out(lambda part: self.apart(part, self.climb(part, top), top))
            if interval(apart, than=reached)[0] > 0:
                best, reached = self.apart(rows, sizes[top], top), apart

        def again(part):
            common = self.climb(part, top)
            return _Blend((common,)) if len(best.shares) == 1 else self.apart(part, common, top)

        finished = held_out(lambda part: self.stretch(part, again(part)))
        if interval(finished, than=reached)[0] > 0:
            best, reached = self.stretch(rows, best), finished
        if self.default is not None:
            alone = _Blend((self.single[self.default],))
            best = best if reached.score > self.score(alone, rows) else alone
        return best, robust, path

    def climb(self, rows, most, start=None):
        """Shares of at most `most` base models with the best score that single moves find: a tuple."""
        allowed = self.candidates(rows)
        if start is None:
            start = max(
                (self.single[place] for place in allowed),
                key=lambda one: self.score(_Blend((one,)), rows),
            )
        shares = np.array(start)
        best = self.score(_Blend((tuple(start),)), rows)
        for step in STEPS:
            moved = True
            while moved:
                moved = False
                for place in allowed:
                    if shares[place] == 0 and np.count_nonzero(shares) >= most:
                        continue
                    tried = (1 - step) * shares
                    tried[place] += step
                    found = self.score(_Blend((tuple(tried),)), rows)
                    if found > best + 1e-6 * abs(best):
                        shares, best, moved = tried, found, True
        kept = np.where(shares >= LEAST, shares, 0.0)
        return tuple(kept / kept.sum())

    def candidates(self, rows):
        """Places of at most MOST base models: the best, the mean, and those that average best with them.

        The average of a set has the weighted squared error mean_ij sum w (y - p_i) (y - p_j), so that one
        table of these products by row serves all sets and all rows.
        """
        count, key = len(self.stack), rows.tobytes()
        if count <= MOST:
            return range(count)
        if key in self._chosen:
            return self._chosen[key]
        if self._products is None:
            truth, weights, _ = self.known
            missed = np.stack([truth - values for values in self.stack], axis=1)
            self._products = np.stack(
                [(weights[i] * one) @ one.T for i, one in enumerate(missed)]
            )  # (rows, models, models)
        error = self._products[rows].sum(axis=0)
        best = max(range(count), key=lambda place: self.score(_Blend((self.single[place],)), rows))
        found = list(dict.fromkeys([best] if self.mean is None else [best, self.mean]))
        while len(found) < MOST:
            more = error.diagonal() + 2 * error[:, found].sum(axis=1)  # of the sum over the set
            more[found] = np.inf
            found.append(int(more.argmin()))
        self._chosen[key] = sorted(found)
        return self._chosen[key]

    def apart(self, rows, common, most):
        """Shares by kind of row, each climbed on the rows of its kind from the common ones."""
        kinds = [rows & (self.kinds == kind) for kind in range(self.kinds.max() + 1)]
        return _Blend(tuple(self.climb(part, most, common) for part in kinds))

    def stretch(self, rows, blend):
        """The blend with the best scale, then the best tail."""
        scales = [replace(blend, scale=float(one), tail=1.0) for one in SCALES]
        blend = max(scales, key=lambda one: self.score(one, rows))
        tails = [replace(blend, tail=float(one)) for one in TAILS]
        return max(tails, key=lambda one: self.score(one, rows))


def _as_score(terms, gate):
    return Score(*map(float, combine(*terms)), gate, pd.DataFrame(terms.T, columns=TERMS))


def _halves(rows):
    place = np.cumsum(rows)
    return [rows & (place % 2 == half) for half in (0, 1)]


def _path(scores, models):
    best = max(scores, key=lambda most: scores[most].score_per_60)
    table = {}
    for most, score in scores.items():
        low, high = interval(score)
        gap = interval(scores[best], than=score, level=0.6827)
        table[most] = {
            "base models": models[most],
            "score": score.score_per_60,
            "low": low,
            "high": high,
            "behind": scores[best].score_per_60 - score.score_per_60,
            "error": (gap[1] - gap[0]) / 2,
        }
    return pd.DataFrame.from_dict(table, "index").rename_axis("size")


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
