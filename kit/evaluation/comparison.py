"""Scores of models side by side: fitted inside each fold, on the same rows, chosen on other rows.

Whatever is fitted sees a fold's training rows alone. Which rows are held out is in `splits`, how an
out-of-fold prediction is scored in `predictions`, how far noise lets anyone come in `expected`.
"""

import copy
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, check_known, check_type, printable
from ..io.progress import progress
from ..metric import GATE, wmae
from .blending import Search
from .predictions import OutOfFold, estimate, listed, summary
from .splits import checked_split, grouped_folds, hold_out, repeated_folds

SPLIT = 30  # perturbations of the single hold-out
NOT_APPLICABLE = "not applicable"


class Recorder(Protocol):
    """Keeps each model's result as soon as it is there, as `kit.Run` does."""

    def record(self, name: str, out_of_fold: list[OutOfFold], test: pd.DataFrame) -> str: ...

    def record_failure(self, name: str, reason: Exception) -> None: ...


def out_of_fold(
    model: object, competition: Competition, held_out: Sequence[Sequence[str]]
) -> OutOfFold:
    """Fit a fresh copy of `model` without each list of `held_out` rows in turn and predict those.

    held_out: lists of perturbations, such as `folds` gives; a single list is one split. The shipped
    `baseline_wmae` knows the mean of all rows: each fit sees that of its own rows instead.
    """
    check_type(competition, Competition, "competition", "what load_competition returns")
    if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "predict")):
        raise InputError(f"model is {model}, want a model with fit and predict, such as Constant()")
    (found,), _ = _validated(model, competition, [checked_split(held_out)])
    return found


def fit_each(model: object, trains: Sequence[Competition]) -> Iterator[object]:
    """Yield a fitted copy of a model for each Competition: all at once where it has a `fit_each`."""
    if hasattr(model, "fit_each"):
        yield from model.fit_each(trains)
    else:
        for train in trains:
            yield copy.deepcopy(model).fit(train)


def _validated(model, competition, splits, final=False):
    """OutOfFold of each split, and a model fitted on all rows if `final`, else None."""
    parts = [
        (number, fold, names)
        for number, split in enumerate(splits)
        for fold, names in enumerate(split)
    ]
    trains = [_without(competition, names) for *_, names in parts]
    models = fit_each(model, trains + [competition] * final)
    start = time.perf_counter()
    predictions, folds = ([[] for _ in splits] for _ in range(2))
    with progress(f"{type(getattr(model, 'base', model)).__name__}, folds", len(parts)) as done:
        for number, fold, names in parts:
            predictions[number].append(next(models).predict(list(names)))
            folds[number] += [(name, fold) for name in names]
            done()
    last = next(models) if final else None
    each = (time.perf_counter() - start) / (len(parts) + final)  # a fit and its predictions
    found = [
        OutOfFold.from_predictions(
            competition, pd.concat(some), pd.Series(dict(fold), dtype=int), seconds=each * len(some)
        )
        for some, fold in zip(predictions, folds, strict=True)
    ]
    return found, last


def _without(competition, names):
    """A competition without some rows, with the baseline of the others."""
    train = competition.subset(competition.effects.index.difference(names, sort=False))
    mean = train.effects.mean()
    return replace(train, baseline_wmae=wmae(train.effects, mean, train.weights))


def compare(
    models: dict[str, object],
    competition: Competition,
    held_out: Sequence,
    *,
    reference: str | None = "constant",
    gate: float = GATE,
    run: Recorder | None = None,
) -> tuple[pd.DataFrame, dict[str, list[OutOfFold]]]:
    """Compare models on the same held-out rows: (table, runs).

    models: by name; held_out: a split, or several splits (`repeated_folds`); run: where each model is
    saved as soon as it is scored, with its fit on all rows for the targets. table: a row a model with
    the columns of `summary`, its `difference` against the model `reference` (None: against none), and
    `failed`: "", or why the model has no score. runs: for each model its OutOfFold, one a split; models
    that failed are not in it. Raises InputError where all fail.
    """
    check_type(models, Mapping, "models", "a dict of models by name")
    check_type(competition, Competition, "competition", "what load_competition returns")
    if reference is not None:
        check_known([reference], models, "the reference is none of the models")
    parts = checked_split(held_out)
    splits = [parts] if isinstance(parts[0][0], str) else [checked_split(one) for one in parts]
    targets, runs, failed = list(competition.targets["perturbation"]), {}, dict.fromkeys(models, "")
    with progress("models", len(models)) as done:
        for name, model in models.items():
            try:
                found, last = _validated(model, competition, splits, final=run is not None)
                found[0].score(gate)  # values that are not finite fail here
                if run is not None:
                    test = last.predict(targets)
            except Exception as error:  # whatever one model does, the others go on
                failed[name] = failure(error)
                if run is None:
                    warnings.warn(f"{name} failed: {failed[name]}", stacklevel=2)
                else:
                    run.record_failure(name, error)
            else:
                runs[name] = found
                if run is not None:
                    print(run.record(name, found, test))
            done()
    if not runs:
        reasons = "; ".join(f"{name} failed: {reason}" for name, reason in failed.items())
        raise InputError(f"no model has a score: {reasons}")
    than = runs.get(reference)
    table = pd.DataFrame({name: summary(run, than=than, gate=gate) for name, run in runs.items()})
    table = table.T.reindex(list(models)).fillna({"rows": 0}).astype({"rows": int})
    if reference is not None and than is None:
        table[["difference", "difference_low", "difference_high"]] = np.nan
    return table.assign(failed=pd.Series(failed)).rename_axis("model"), runs


def compare_grouped(
    models: dict[str, object],
    competition: Competition,
    similarity: pd.DataFrame,
    *,
    parts: int = 5,
    repeats: int = 1,
    seed: int = 0,
    at_least: float = 0.5,
    run: Recorder | None = None,
    **options,
) -> tuple[pd.DataFrame, dict[str, dict[str, list[OutOfFold]]]]:
    """Compare models on folds that keep similar perturbations together, beside random ones.

    similarity: perturbation x perturbation; a training row that it lacks is like no other. Returns
    (table, runs) of `compare`, in which `random` and `grouped` lead to each kind of folds. The models
    are saved in `run` with their random folds.
    """
    names = competition.effects.index
    known = similarity.reindex(index=names, columns=names)
    splits = {
        "random": repeated_folds(names, parts, repeats, seed=seed),
        "grouped": [
            grouped_folds(known, parts, seed=[seed, repeat], at_least=at_least)
            for repeat in range(repeats)
        ],
    }
    both = {
        kind: compare(models, competition, split, run=run if kind == "random" else None, **options)
        for kind, split in splits.items()
    }
    tables = {kind: table for kind, (table, _) in both.items()}
    return pd.concat(tables, names=["folds"]), {kind: runs for kind, (_, runs) in both.items()}


def choose(
    runs: dict[str, OutOfFold | list[OutOfFold]], *, gate: float = GATE
) -> tuple[str, list[OutOfFold]]:
    """Choose the model with the best score, and estimate the choice: (name, one OutOfFold a repeat).

    runs: by model, simplest first, which wins where scores are equal. The name is that of the best score
    on all rows, whose own score is optimistic. In the OutOfFold each fold's rows are predicted by the
    model that is best on the *other* folds: its score is that of choosing.
    """
    runs = {name: listed(run) for name, run in runs.items()}
    score = {name: np.mean([run.score(gate).score for run in each]) for name, each in runs.items()}
    picked = []
    for repeat in zip(*runs.values(), strict=True):
        search = Search(dict(zip(runs, repeat, strict=True)), gate=gate)
        found = search.nested(search.single[search.leading(~fold)] for fold in search.folds)
        picked.append(replace(found, seconds=sum(run.seconds for run in repeat)))
    return max(score, key=score.get), picked


def with_hold_out(
    table: pd.DataFrame,
    models: dict[str, object],
    runs: dict[str, list[OutOfFold]],
    competition: Competition,
    *,
    seed: int = 0,
    gate: float = GATE,
) -> pd.DataFrame:
    """Return a table of `compare` with two other ways to hold out rows beside its folds.

    `hold-out of 30`: score for 60 rows of a single split by the seed, with its interval; 30
    perturbations where there are at least 60, else three eighths. `screens only`: models with
    the policy `screens` learn responses from screens alone, so that all rows of the competition serve as
    validation and test, scored with the shipped `baseline_wmae`; networks take the odds and the
    shrinkage of a row from the other folds' rows. Other models: "not applicable".
    """
    rows = competition.effects.index
    number = SPLIT if len(rows) >= 2 * SPLIT else max(1, len(rows) * 3 // 8)
    known, split = {name: models[name] for name in runs}, hold_out(rows, number, seed=seed)
    once, _ = compare(known, competition, split, reference=None, gate=gate)
    columns = [f"hold-out of {number}", "hold-out low", "hold-out high"]
    found = once[["score", "low", "high"]].set_axis(columns, axis=1)
    screens = f"screens only: {len(rows)} rows, shipped baseline"
    failed = once["failed"]
    found[screens] = ("hold-out failed: " + failed).where(failed != "", NOT_APPLICABLE)
    for name, (run, *_) in runs.items():
        if getattr(getattr(models[name], "base", models[name]), "policy", None) == "screens":
            shipped = replace(run, baseline_wmae=competition.baseline_wmae[run.truth.index])
            three = estimate(shipped.score(gate))
            found.at[name, screens] = "{:.2f} ({:.2f} to {:.2f})".format(*three)
    return table.join(found)


def failure(reason: Exception | str) -> str:
    """Return in one line why a model failed."""
    kind = f"{type(reason).__name__}: " if isinstance(reason, Exception) else ""
    first = next(iter(str(reason).splitlines()), "")
    return printable(f"{kind}{first}".rstrip(": "))[:200]


def nearest_similarity(run: OutOfFold, similarity: pd.DataFrame) -> pd.Series:
    """Return each held-out row's largest similarity to a training row of its own fold.

    NaN where `similarity` does not know the row, or none of the training rows.
    """
    nearest = pd.Series(np.nan, run.truth.index, name="similarity")
    for fold, names in run.fold.groupby(run.fold).groups.items():
        known = similarity.reindex(index=names, columns=run.training[fold])
        nearest.loc[names] = known.max(axis=1)
    return nearest


def by_nearness(
    run: OutOfFold,
    similarity: pd.DataFrame,
    bins: int | Sequence[float] = 3,
    *,
    gate: float = GATE,
) -> pd.DataFrame:
    """Score held-out rows by how near their nearest training row is: a row a bin, the farthest first.

    bins: a number of bins, equally full but for ties, or the edges between bins. Columns:
    `least` and `most` similarity of a bin, its `rows`, `score` for 60 rows with its 90 % interval,
    `w_per_row` and `wcos`. Rows that `similarity` does not know come last, as `unknown`.
    """
    nearest = nearest_similarity(run, similarity)
    if nearest.isna().all():
        raise InputError("similarity knows none of the held-out rows beside a training row")
    if np.ndim(bins) == 0:
        place = np.floor((nearest.rank() - 0.5) / nearest.count() * bins)
    else:
        place = pd.Series(np.searchsorted(bins, nearest), nearest.index).where(nearest.notna())
    table = {}
    for bin, (number, names) in enumerate(place.groupby(place.fillna(np.inf)).groups.items(), 1):
        part = "unknown" if np.isinf(number) else f"bin {bin}"
        ends = {"least": nearest[names].min(), "most": nearest[names].max(), "rows": len(names)}
        summed = summary(run.subset(names), gate=gate)
        table[part] = ends | summed[["score", "low", "high", "w_per_row", "wcos"]].to_dict()
    return pd.DataFrame.from_dict(table, "index").rename_axis("nearness")


def by_group(
    runs: Mapping[str, list[OutOfFold]],
    groups: pd.Series,
    *,
    reference: str = "constant",
    gate: float = GATE,
) -> pd.DataFrame:
    """Return scores for 60 rows and gains over a reference model within groups: (group, model) x columns.

    runs: as `compare` gives, of which the first repeat counts; groups: name of its group by perturbation.
    `low` and `high` are the paired 90 % interval of the `gain`. Groups of one row are left out.
    """
    table = {}
    for group, rows in groups.groupby(groups).groups.items():
        parts = {name: run.subset(rows).score(gate) for name, (run, *_) in runs.items()}
        for name, part in parts.items() if len(rows) > 1 else ():
            gain = estimate(part, than=parts[reference])
            table[group, name] = len(rows), part.score_per_60, *gain
    columns = ["rows", "score", "gain", "low", "high"]
    index = pd.MultiIndex.from_tuples(table, names=["group", "model"])
    return pd.DataFrame(list(table.values()), index, columns)
