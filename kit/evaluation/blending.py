"""Blend base models under the official metric itself, and estimate the result on rows no choice has seen.

Shares of base models are never negative and sum to 1. They climb the score from the best base model, one
at a time: no surrogate, no gradient. Two selections come out: the size of blend with the best held-out
score, and the smallest whose held-out score lies within one standard error of that, for a submission a
day tempts to select on noise. All that is chosen, from the base models to the size, shares by group,
stretch and whether to blend at all, is chosen once more without each fold's rows to predict those: the
nested estimate. (Base models were trained on those rows when they predicted the others; that small
optimism of stacking stays.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..io.files import InputError, quote_some
from ..metric import GATE, Score, combine, row_terms
from .predictions import TERMS, OutOfFold, estimate, interval

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
        kinds = _kinds(self.shares.index, groups, first.index)
        stack = [predictions[name].loc[first.index, first.columns] for name in self.base_models]
        mixed = _mixed(stack, self.shares[self.base_models].to_numpy(), kinds)
        values = stretched(mixed, self.scale, self.tail, self.gate)
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
    dropped: list[str]


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
    search = Search(runs, groups, default, gate)
    best, robust, path = search.learn(np.full(len(search.kinds), True), search.folds)
    learned = []
    for fold in search.folds:
        # Two folds leave one: its rows are then parted once more to choose between blends.
        inner = [one for one in search.folds if one is not fold]
        inner = inner if len(inner) > 1 else _halves(inner[0])
        learned.append(search.learn(~fold, inner)[:2])
    on_best, on_robust = map(search.nested, zip(*learned, strict=True))
    nested = {"best": replace(on_best, chosen=search.few is None), "robust": on_robust}
    best, robust = map(search.selection, (best, robust))
    dropped = [name for name in runs if name not in best.base_models]
    return Ensemble(best, robust, nested, path, dropped)


def stretched(values: np.ndarray, scale: float, tail: float, gate: float = GATE) -> np.ndarray:
    """Return effects times `scale`, and their part beyond the gate times `tail`."""
    values = scale * values
    beyond = np.sign(values) * np.maximum(np.abs(values) - gate, 0.0)
    return values + (tail - 1) * beyond


class _Blend(NamedTuple):
    """Shares by kind of row, one tuple of all base models each, and the stretch."""

    shares: tuple[tuple[float, ...], ...]
    scale: float = 1.0
    tail: float = 1.0


class Search:
    """Learns blends of base models (OutOfFold by name) from any of their rows.

    A row's terms of the score do not depend on the rows learned from: those of a blend are computed once
    and summed over whatever rows are asked for. Sets of rows are masks.
    """

    def __init__(
        self,
        runs: dict[str, OutOfFold],
        groups: pd.Series | None = None,
        default: str | None = None,
        gate: float = GATE,
    ):
        self.first = first = next(iter(runs.values()))
        for name, run in runs.items():
            if not run.truth.index.equals(first.truth.index) or not run.fold.equals(first.fold):
                raise InputError(f"{name} is not of the same rows in the same folds as the others")
        index, genes = first.truth.index, first.truth.columns
        number = first.fold[index].to_numpy()
        self.folds = [number == one for one in np.unique(number)]
        if len(self.folds) < 2:
            raise InputError("a choice is estimated between folds; want runs of two or more")
        self.names, self.gate = list(runs), gate
        counts = pd.Series(dtype=int) if groups is None else groups.loc[index].value_counts()
        apart = len(counts) > 1 and counts.min() >= ROWS
        self.labels = pd.Index(sorted(counts.index) if apart else ["all"])
        self.kinds = _kinds(self.labels, groups, index)
        self.stack = [run.prediction.loc[index, genes].to_numpy(float) for run in runs.values()]
        known = first.truth, first.weights[genes], first.baseline_wmae
        self.known = [frame.loc[index].to_numpy(float) for frame in known]
        alone = map(tuple, np.eye(len(runs)))
        self.single = {name: _Blend((one,)) for name, one in zip(runs, alone, strict=True)}
        self.default = self.single.get(default)
        self.few = None  # what is taken where too few rows are there to learn from
        if len(index) < ENOUGH:
            others = [name for name in self.names if name != "mean"] or self.names
            even = np.isin(self.names, others) / len(others)
            self.few = self.default or _Blend((tuple(even),))
        self._terms = {}

    def effects(self, blend: _Blend) -> np.ndarray:
        """Return blended effects of all rows, (rows, genes)."""
        kinds = self.kinds if len(blend.shares) > 1 else 0 * self.kinds
        mixed = _mixed(self.stack, np.array(blend.shares), kinds)
        return stretched(mixed, blend.scale, blend.tail, self.gate)

    def terms(self, blend: _Blend) -> np.ndarray:
        """Return the terms of the score, (4, rows), of a blend."""
        if blend not in self._terms:
            truth, *others = self.known
            self._terms[blend] = row_terms(truth, self.effects(blend), *others, self.gate)
        return self._terms[blend]

    def score(self, blend: _Blend, rows: np.ndarray) -> float:
        """Return the score of a blend on some rows."""
        return float(combine(*self.terms(blend)[:, rows])[0])

    def learn(
        self, rows: np.ndarray, folds: Sequence[np.ndarray]
    ) -> tuple[_Blend, _Blend, pd.DataFrame]:
        """Return the best blend, the robust one, and the path of sizes, from the rows of a mask alone.

        folds: masks that part these rows; whatever is chosen is chosen by scores between them.
        """

        def held_out(learned):
            terms = np.zeros((4, len(rows)))
            for fold in folds:
                terms[:, fold] = self.terms(learned(rows & ~fold))[:, fold]
            table = pd.DataFrame(terms[:, rows].T, columns=TERMS)
            return Score(*map(float, combine(*terms[:, rows])), self.gate, table)

        sizes = {size: partial(self.climb, most=size) for size in range(1, MOST + 1)}
        whole = {size: learned(rows) for size, learned in sizes.items()}
        whole = {size: one for size, one in whole.items() if np.count_nonzero(one.shares) == size}
        scores = {size: held_out(sizes[size]) for size in whole}
        path = self.path(whole, scores)
        # The smallest blend that is not significantly worse than the best one.
        robust = whole[path.index[path["behind"] <= path["error"]][0]]
        if self.few is not None:
            return self.few, robust, path
        top = path["score"].idxmax()
        learned, reached = sizes[top], scores[top]
        refinements = [partial(self.apart, most=top)] if self.kinds.any() else []
        for refine in [*refinements, self.stretch]:
            refined = _composed(learned, refine)
            score = held_out(refined)
            if interval(score, than=reached)[0] > 0:
                learned, reached = refined, score
        if self.default and reached.score <= self.score(self.default, rows):
            return self.default, robust, path
        return learned(rows), robust, path

    def nested(self, blends: Iterable[_Blend]) -> OutOfFold:
        """Return the OutOfFold in which a blend learned from the other folds predicts each fold."""
        prediction = self.first.truth * 0.0
        for fold, blend in zip(self.folds, blends, strict=True):
            prediction.loc[fold] = self.effects(blend)[fold]
        return replace(self.first, prediction=prediction, seconds=0.0, chosen=True)

    def selection(self, blend: _Blend) -> Selection:
        """Return a blend with the names of its groups and base models."""
        labels = self.labels if len(blend.shares) > 1 else ["all"]
        return Selection(pd.DataFrame(blend.shares, labels, self.names), *blend[1:], self.gate)

    def path(self, blends: dict[int, _Blend], scores: dict[int, Score]) -> pd.DataFrame:
        """Return a frame by size: base models, held-out score, and how far it is behind the best."""
        best = max(scores.values(), key=lambda score: score.score_per_60)
        table = {}
        for size, score in scores.items():
            used = np.flatnonzero(blends[size].shares)
            behind, low, high = estimate(best, than=score, level=0.6827)
            names = "; ".join(self.names[place] for place in used)
            table[size] = names, *estimate(score), behind, (high - low) / 2
        columns = ["base models", "score", "low", "high", "behind", "error"]
        return pd.DataFrame.from_dict(table, "index", columns=columns).rename_axis("size")

    def leading(self, rows: np.ndarray) -> str:
        """Return the name of the base model with the best score."""
        return max(self.names, key=lambda name: self.score(self.single[name], rows))

    def climb(self, rows: np.ndarray, most: int, start: _Blend | None = None) -> _Blend:
        """Return the blend of at most `most` base models with the best score that single moves find."""
        blend = start or self.single[self.leading(rows)]
        shares, best = np.array(blend.shares[0]), self.score(blend, rows)
        allowed = self.candidates(rows)
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
        return _Blend((tuple(kept / kept.sum()),))

    @cached_property
    def products(self) -> np.ndarray:
        """Sums over genes of w (y - p_i) (y - p_j) for base models i and j, (rows, models, models)."""
        truth, weights, _ = self.known
        missed = (truth - np.stack(self.stack)).swapaxes(0, 1)  # (rows, models, genes)
        return np.stack([(w * one) @ one.T for w, one in zip(weights, missed, strict=True)])

    def candidates(self, rows: np.ndarray) -> Sequence[int]:
        """Return places of MOST base models at most: the best, the mean, and those that average best with
        them.

        The weighted squared error of the average of a set is the mean of its `products`.
        """
        if len(self.stack) <= MOST:
            return range(len(self.stack))
        error = self.products[rows].sum(axis=0)
        first = dict.fromkeys([self.leading(rows), "mean"])
        found = [self.names.index(name) for name in first if name in self.names]
        while len(found) < MOST:
            more = error.diagonal() + 2 * error[:, found].sum(axis=1)  # of the sum over the set
            more[found] = np.inf
            found.append(int(more.argmin()))
        return sorted(found)

    def apart(self, rows: np.ndarray, blend: _Blend, most: int) -> _Blend:
        """Return shares by kind of row, each climbed from the common ones on the rows of its kind."""
        kinds = [rows & (self.kinds == kind) for kind in range(self.kinds.max() + 1)]
        return _Blend(tuple(self.climb(part, most, blend).shares[0] for part in kinds))

    def stretch(self, rows: np.ndarray, blend: _Blend) -> _Blend:
        """Return the blend with the best scale, then the best tail."""
        scales = [blend._replace(scale=float(one)) for one in SCALES]
        blend = max(scales, key=lambda one: self.score(one, rows))
        tails = [blend._replace(tail=float(one)) for one in TAILS]
        return max(tails, key=lambda one: self.score(one, rows))


def _mixed(stack, shares, kinds):
    """Weighted sum of predictions, (rows, genes); shares: kind x base model; kinds: number by row."""
    total = 0.0
    for share, values in zip(shares.T, stack, strict=True):
        if share.any():
            total = total + share[kinds][:, None] * np.asarray(values)
    return total


def _composed(learned, refine):
    return lambda rows: refine(rows, learned(rows))


def _halves(rows):
    place = np.cumsum(rows)
    return [rows & (place % 2 == half) for half in (0, 1)]


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
