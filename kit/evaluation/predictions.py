"""Predictions for rows that no fit has seen, the several ways to score them, and intervals.

The unit is the perturbation. A held-out row's baseline is the mean of *its own fold's* training rows,
so the mean model scores exactly 0 and every score is a gain over it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, check_known, check_labels
from ..metric import GATE, Score, combine, score, wmae

TERMS = ["w", "truth_prediction", "truth_truth", "prediction_prediction"]  # of a row, by `combine`
STRONGEST = (1, 3, 5)  # numbers of rows without which a score is given too


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions for held-out rows, beside what is needed to score them.

    `prediction`, `truth`, `weights`: perturbation x gene; `baseline_wmae`: WMAE of each row under the
    mean of its fold's training rows; `seconds`: all fits and predictions. `mean`: that mean, perturbation
    x gene; `fold`: number of each row's fold, a series; `training`: training perturbations by fold.
    `chosen`: whether what predicts a fold was chosen by scores on the other folds. Choices of k folds
    agree in part, so that the variance of the score is 1 + k / (k - 1) times that of independent rows
    (Nadeau and Bengio 2003, Inference for the generalization error), and its intervals are wider.
    """

    prediction: pd.DataFrame
    truth: pd.DataFrame
    weights: pd.DataFrame
    baseline_wmae: pd.Series
    seconds: float
    mean: pd.DataFrame
    fold: pd.Series
    training: dict[int, pd.Index]
    chosen: bool = False

    @classmethod
    def from_predictions(
        cls,
        competition: Competition,
        prediction: pd.DataFrame,
        fold: pd.Series,
        *,
        seconds: float = 0.0,
    ) -> Self:
        """Predictions of left-out training rows, each scored against the mean of its own fold's fit.

        prediction: perturbation x gene, log2; fold: number of each of these rows' fold. The training rows
        of a fold are all rows of the competition that are not in it. Raises InputError for rows that are
        no training rows, and where a fold leaves no row to train on.
        """
        fold = fold.loc[prediction.index].rename("fold")
        held = competition.subset(fold.index)
        training, mean = {}, held.effects * 0.0
        for number in fold.unique():
            names = fold.index[fold == number]
            training[number] = competition.effects.index.difference(names, sort=False)
            if training[number].empty:
                raise InputError("a fold holds out every row; leave some to train on")
            mean.loc[names] = competition.effects.loc[training[number]].mean().to_numpy()
        return cls(
            prediction=prediction[held.effects.columns],
            truth=held.effects,
            weights=held.weights,
            baseline_wmae=wmae(held.effects, mean, held.weights),
            seconds=seconds,
            mean=mean,
            fold=fold,
            training=training,
        )

    def score(self, gate: float = GATE) -> Score:
        """Score these rows as the competition does."""
        found = score(self.truth, self.prediction, self.weights, self.baseline_wmae, gate=gate)
        return replace(found, variance=self.variance) if self.chosen else found

    @property
    def variance(self) -> float:
        """How many times that of independent rows the variance of the score is, by the folds' overlap."""
        parts = self.fold.nunique()
        return 1 + parts / (parts - 1) if parts > 1 else 1.0

    @property
    def training_rows(self) -> float:
        """How many rows a fold is predicted from, on average."""
        return float(np.mean([len(rows) for rows in self.training.values()]))

    def score_minus_mean(self, gate: float = GATE) -> Score:
        """Score the effects less the fold's training mean, which truth and prediction both lose.

        Errors, and W with them, stay as they are; Wcos is then of the deviations, and a model that only
        repeats the mean has a Wcos of 0.
        """
        truth, prediction = self.truth - self.mean, self.prediction - self.mean
        return score(truth, prediction, self.weights, self.baseline_wmae, gate=gate)

    def subset(self, perturbations: Sequence[str]) -> Self:
        """Return these predictions with only some rows, in this order; fits and baselines stay."""
        rows = list(perturbations)
        check_known(rows, self.truth.index, "rows are not among the held-out ones")
        by_row = ("prediction", "truth", "weights", "baseline_wmae", "mean", "fold")
        return replace(self, **{name: getattr(self, name).loc[rows] for name in by_row})

    def without_strongest(self, number: int, gate: float = GATE) -> Self:
        """Return these predictions without the `number` rows of largest gated energy, sum g^2 y^2.

        Energy is that of the truth alone, so that the same rows fall away for every model.
        """
        if not 0 <= number < len(self.truth):
            raise InputError(f"{number} of {len(self.truth)} rows cannot be left out; leave one in")
        nothing = score(self.truth, self.truth * 0.0, self.weights, self.baseline_wmae, gate=gate)
        weak_first = nothing.table["truth_truth"].sort_values(kind="stable").index
        strongest = set(weak_first[len(weak_first) - number :])
        return self.subset([name for name in self.truth.index if name not in strongest])


def interval(
    of: Score | list[Score],
    *,
    than: Score | list[Score] | None = None,
    level: float = 0.9,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval over perturbations of a score for 60 rows: (low, high).

    of: Score, or Scores of the same rows, one a repeat, whose mean is taken: each draw takes the same
    perturbations in all. With `than`, a Score (or Scores) of the same rows, it is the interval of the
    difference `of - than` in which each draw takes the same rows for both.
    """
    of, than = listed(of), listed([] if than is None else than)
    index = of[0].table.index
    rows = len(index)
    counts = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), size=draws)
    gain = _drawn_scores(of, index, counts)
    if than:
        gain = gain - _drawn_scores(than, index, counts)
    wider = max(one.variance for one in [*of, *than]) ** 0.5
    gain = gain.mean() + wider * (gain - gain.mean())
    low, high = np.quantile(gain, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(
    of: Score | list[Score], *, than: Score | list[Score] | None = None, level: float = 0.9
) -> tuple[float, float, float]:
    """Return the score for 60 rows, or the gain over `than`, and its `interval`: (value, low, high)."""
    value = np.mean([one.score_per_60 for one in listed(of)])
    if than is not None:
        value = value - np.mean([one.score_per_60 for one in listed(than)])
    return float(value), *interval(of, than=than, level=level)


def summary(
    runs: OutOfFold | list[OutOfFold],
    *,
    than: OutOfFold | list[OutOfFold] | None = None,
    gate: float = GATE,
) -> pd.Series:
    """Sum up one model: a series of scores for 60 rows with their parts, means over repeats.

    runs: OutOfFold, or several of the same rows, one a repeat; than: those of the model to compare with.
    `low` and `high` are the 90 % interval over perturbations, `sd` the spread over repeats (NaN for one);
    `difference` is the gain over `than`, paired by row. `minus_mean` scores effects less the training
    mean, `without_1`, `_3` and `_5` leave the strongest rows out (NaN where no row would be left).
    """
    runs = listed(runs)
    scores = [run.score(gate) for run in runs]
    table = pd.DataFrame([_parts(run, gate) for run in runs])  # a row a repeat
    ends = dict(zip(("score", "low", "high"), estimate(scores), strict=True))
    result = ends | {"sd": table["score"].std()} | table.drop(columns="score").mean().to_dict()
    if than is not None:
        others = [run.score(gate) for run in listed(than)]
        names = ("difference", "difference_low", "difference_high")
        result |= zip(names, estimate(scores, than=others), strict=True)
    return pd.Series(result | {"rows": scores[0].rows, "seconds": sum(run.seconds for run in runs)})


def versus(runs: dict, one: str, other: str, *, gate: float = GATE) -> str:
    """Return a sentence on how two models compare: the gain for 60 rows, paired, and what it shows.

    runs: by model OutOfFold, or a list of them, one a repeat, as `compare` gives.
    """
    ours, theirs = ([run.score(gate) for run in listed(runs[name])] for name in (one, other))
    gain, low, high = estimate(ours, than=theirs)
    verb = "is not significantly different from"
    verb = "beats" if low > 0 else "loses to" if high < 0 else verb
    return f"{one} {verb} {other}: {gain:+.2f}, paired 90 % interval {low:.2f} to {high:.2f}."


def against_baselines(
    prediction: pd.DataFrame,
    runs: OutOfFold | list[OutOfFold] | None,
    baselines: Mapping[str, tuple[float, pd.DataFrame]],
    instead: str,
) -> list[str]:
    """Return lines on a submission that equals a baseline, or whose estimated score is below one.

    prediction: of the targets, perturbation x gene; runs: its out-of-fold predictions, one a repeat, or
    None; baselines: by name the score for 60 rows of the same training rows, and the predictions of the
    targets; instead: how to submit a baseline, its name at `{}`. Nothing else is done about it: an
    estimate on few rows is too uncertain for that.
    """
    prediction = prediction.sort_index()
    same = {
        name
        for name, (_, other) in baselines.items()
        if np.allclose(prediction, other.loc[prediction.index, prediction.columns], atol=1e-6)
    }
    lines = [f"this submission equals the {name} in every value" for name in sorted(same)]
    floors = {name: score for name, (score, _) in baselines.items() if name not in same}
    if runs is None or not floors:
        return lines
    scores = [run.score() for run in listed(runs)]
    value, low, high = estimate(scores)
    best = max(floors, key=floors.get)
    step = instead.replace("{}", best, 1)
    if value < floors[best]:
        lines.append(
            f"out of fold, the model of this submission scores {value:.2f} (90 % interval {low:.2f} to "
            f"{high:.2f}), less than the {best}, {floors[best]:.2f}; both rest on "
            f"{scores[0].rows} training rows; to submit the {best}: {step}"
        )
    return lines


def listed(of: object) -> list:
    """Return a list or tuple as a list, anything else as a list of one."""
    return list(of) if isinstance(of, (list, tuple)) else [of]


def _parts(run, gate):
    """The score for 60 rows of one repeat, its parts, and the score of parts of it, by name."""
    score, deviations = run.score(gate), run.score_minus_mean(gate)
    parts = {
        "score": score.score_per_60,
        "w_per_row": score.w / score.rows,
        "w_per_60": 60 * score.w / score.rows,
        "wcos": score.wcos,
        "minus_mean": deviations.score_per_60,
        "wcos_minus_mean": deviations.wcos,
    }
    for number in STRONGEST:
        left = run.without_strongest(number, gate) if number < score.rows else None
        parts[f"without_{number}"] = np.nan if left is None else left.score(gate).score_per_60
    return parts


def _drawn_scores(scores, index, counts):
    """Score for 60 rows of each draw, mean over repeats; counts: draw x row, how often it is drawn."""
    total = 0.0
    for one in scores:
        check_labels(one.table.index, index, "scores are not of the same perturbations")
        table = one.table.loc[index]
        total = total + combine(*(counts * table[name].to_numpy() for name in TERMS))[0]
    return 60 / len(index) * total / len(scores)
