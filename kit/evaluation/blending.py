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

import numpy as np
import pandas as pd

from ..io.files import InputError
from ..metric import GATE, Score, combine, row_terms
from .predictions import TERMS, OutOfFold, estimate, interval
from .selection import Selection

STEPS = (0.5, 0.2, 0.1, 0.05)  # share that a move gives to one base model
LEAST = 0.04  # share below which a base model is dropped
MOST = 8  # base models that shares are learned for; of more, the least redundant are taken
SCALES = np.round(np.arange(0.7, 1.45, 0.05), 2)  # tried for all effects
TAILS = np.round(np.arange(0.5, 1.8, 0.1), 2)  # tried for the part of an effect beyond the gate
ENOUGH = 40  # rows, below which shares are not learned: all base models but the mean count the same
ROWS = 20  # in a group, below which it gets no shares of its own


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
    best, robust, path = search.learn(np.logical_or.reduce(search.folds), search.folds)
    learned = []
    for fold in search.folds:
        # Two folds leave one: its rows are then parted once more to choose between blends.
        inner = [one for one in search.folds if one is not fold]
        inner = inner if len(inner) > 1 else _halves(inner[0])
        learned.append(search.learn(~fold, inner)[:2])
    on_best, on_robust = map(search.nested, zip(*learned, strict=True))
    nested = {"best": replace(on_best, chosen=search.few is None), "robust": on_robust}
    dropped = [name for name in runs if name not in best.base_models]
    return Ensemble(best, robust, nested, path, dropped)


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
        index, genes = first.truth.axes
        number = first.fold[index].to_numpy()
        self.folds = [number == one for one in np.unique(number)]
        if len(self.folds) < 2:
            raise InputError("a choice is estimated between folds; want runs of two or more")
        self.names, self.gate = tuple(runs), gate
        frames = {name: run.prediction.loc[index, genes] for name, run in runs.items()}
        self.values = {name: frame.to_numpy(float) for name, frame in frames.items()}
        known = first.truth, first.weights[genes], first.baseline_wmae
        self.known = [frame.loc[index].to_numpy(float) for frame in known]
        self.labels, self.kinds = (), None  # of groups, where they are large enough
        if groups is not None:
            kinds, labels = pd.factorize(groups.loc[index], sort=True)
            if len(labels) > 1 and np.bincount(kinds).min() >= ROWS:
                self.labels, self.kinds = tuple(labels), kinds
        alone = map(self.common, np.eye(len(runs)))
        self.single = dict(zip(runs, alone, strict=True))
        self.default = self.single.get(default)
        self.few = None  # what is taken where too few rows are there to learn from
        if len(index) < ENOUGH:
            others = [name for name in self.names if name != "mean"] or self.names
            self.few = self.default or self.common(np.isin(self.names, others) / len(others))
        self._terms = {}

    def common(self, shares: Iterable[float]) -> Selection:
        """Return the blend of these shares of the base models in all rows."""
        return Selection(self.names, (tuple(shares),), gate=self.gate)

    def terms(self, blend: Selection) -> np.ndarray:
        """Return the terms of the score, (4, rows), of a blend."""
        if blend not in self._terms:
            truth, *others = self.known
            effects = blend.effects(self.values, self.kinds)
            self._terms[blend] = row_terms(truth, effects, *others, self.gate)
        return self._terms[blend]

    def score(self, blend: Selection, rows: np.ndarray) -> float:
        """Return the score of a blend on some rows."""
        return float(combine(*self.terms(blend)[:, rows])[0])

    def learn(
        self, rows: np.ndarray, folds: Sequence[np.ndarray]
    ) -> tuple[Selection, Selection, pd.DataFrame]:
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
        whole = {size: one for size, one in whole.items() if len(one.base_models) == size}
        scores = {size: held_out(sizes[size]) for size in whole}
        path = self.path(whole, scores)
        # The smallest blend that is not significantly worse than the best one.
        robust = whole[path.index[path["behind"] <= path["error"]][0]]
        if self.few is not None:
            return self.few, robust, path
        top = path["score"].idxmax()
        learned, reached = sizes[top], scores[top]
        refinements = [partial(self.apart, most=top)] if self.labels else []
        for refine in [*refinements, self.stretch]:
            refined = _composed(learned, refine)
            score = held_out(refined)
            if interval(score, than=reached)[0] > 0:
                learned, reached = refined, score
        if self.default and reached.score <= self.score(self.default, rows):
            return self.default, robust, path
        return learned(rows), robust, path

    def nested(self, blends: Iterable[Selection]) -> OutOfFold:
        """Return the OutOfFold in which a blend learned from the other folds predicts each fold."""
        prediction = self.first.truth * 0.0
        for fold, blend in zip(self.folds, blends, strict=True):
            prediction.loc[fold] = blend.effects(self.values, self.kinds)[fold]
        return replace(self.first, prediction=prediction, seconds=0.0, chosen=True)

    def path(self, blends: dict[int, Selection], scores: dict[int, Score]) -> pd.DataFrame:
        """Return a frame by size: base models, held-out score, and how far it is behind the best."""
        best = max(scores.values(), key=lambda score: score.score_per_60)
        table = {}
        for size, score in scores.items():
            behind, low, high = estimate(best, than=score, level=0.6827)
            names = "; ".join(blends[size].base_models)
            table[size] = names, *estimate(score), behind, (high - low) / 2
        columns = ["base models", "score", "low", "high", "behind", "error"]
        return pd.DataFrame.from_dict(table, "index", columns=columns).rename_axis("size")

    def leading(self, rows: np.ndarray) -> str:
        """Return the name of the base model with the best score."""
        return max(self.names, key=lambda name: self.score(self.single[name], rows))

    def climb(self, rows: np.ndarray, most: int, start: Selection | None = None) -> Selection:
        """Return the blend of at most `most` base models with the best score that single moves find."""
        blend = start or self.single[self.leading(rows)]
        shares, best = np.array(blend.by_group[0]), self.score(blend, rows)
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
                    found = self.score(self.common(tried), rows)
                    if found > best + 1e-6 * abs(best):
                        shares, best, moved = tried, found, True
        kept = np.where(shares >= LEAST, shares, 0.0)
        return self.common(kept / kept.sum())

    @cached_property
    def products(self) -> np.ndarray:
        """Sums over genes of w (y - p_i) (y - p_j) for base models i and j, (rows, models, models)."""
        truth, weights, _ = self.known
        missed = (truth - np.stack(list(self.values.values()))).swapaxes(
            0, 1
        )  # (rows, models, genes)
        return np.stack([(w * one) @ one.T for w, one in zip(weights, missed, strict=True)])

    def candidates(self, rows: np.ndarray) -> Sequence[int]:
        """Return places of MOST base models at most: the best, the mean, and those that average best with
        them.

        The weighted squared error of the average of a set is the mean of its `products`.
        """
        if len(self.names) <= MOST:
            return range(len(self.names))
        error = self.products[rows].sum(axis=0)
        first = dict.fromkeys([self.leading(rows), "mean"])
        found = [self.names.index(name) for name in first if name in self.names]
        while len(found) < MOST:
            more = error.diagonal() + 2 * error[:, found].sum(axis=1)  # of the sum over the set
            more[found] = np.inf
            found.append(int(more.argmin()))
        return sorted(found)

    def apart(self, rows: np.ndarray, blend: Selection, most: int) -> Selection:
        """Return shares by group, each climbed from the common ones on the rows of its group."""
        masks = [rows & (self.kinds == place) for place in range(len(self.labels))]
        shares = tuple(self.climb(part, most, blend).by_group[0] for part in masks)
        return replace(blend, by_group=shares, groups=self.labels)

    def stretch(self, rows: np.ndarray, blend: Selection) -> Selection:
        """Return the blend with the best scale, then the best tail."""
        scales = [replace(blend, scale=float(one)) for one in SCALES]
        blend = max(scales, key=lambda one: self.score(one, rows))
        tails = [replace(blend, tail=float(one)) for one in TAILS]
        return max(tails, key=lambda one: self.score(one, rows))


def _composed(learned, refine):
    return lambda rows: refine(rows, learned(rows))


def _halves(rows):
    place = np.cumsum(rows)
    return [rows & (place % 2 == half) for half in (0, 1)]
