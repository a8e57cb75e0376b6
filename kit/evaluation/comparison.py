"""Truthful scores: models fitted inside each fold, compared on the same rows, and read by nearness.

Whatever is fitted sees a fold's training rows alone. Which rows are held out is in `splits`, what an
out-of-fold prediction can be asked in `predictions`, how far noise lets anyone come in `ceiling`, other
cell lines in `lines`.
"""

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, printable, quote_some
from ..metric import GATE, wmae
from .predictions import OutOfFold, interval, summary
from .splits import (
    grouped_folds,
    repeated_folds,
)


def out_of_fold(model, competition, held_out):
    """Fit a fresh copy of `model` without each list of `held_out` rows in turn and predict those.

    held_out: lists of perturbations, such as `folds` gives; a single list is one split. The shipped
    `baseline_wmae` knows the mean of all rows: each fit sees that of its own rows instead.
    """
    start, predictions, number = time.perf_counter(), [], {}
    for fold, names in enumerate(held_out):
        if unknown := [name for name in names if name not in competition.effects.index]:
            raise InputError(f"held-out rows are not in the data: {quote_some(unknown)}")
        train = competition.subset(competition.effects.index.difference(names, sort=False))
        mean = train.effects.mean()
        train = replace(train, baseline_wmae=wmae(train.effects, mean, train.weights))
        predictions.append(copy.deepcopy(model).fit(train).predict(list(names)))
        number |= dict.fromkeys(names, fold)
    seconds, fold = time.perf_counter() - start, pd.Series(number, dtype=int)
    prediction = pd.concat(predictions)
    return OutOfFold.from_predictions(competition, prediction, fold, seconds=seconds)


def compare(
    models: Mapping[str, object],
    competition: Competition,
    held_out: Sequence,
    *,
    reference: str | None = "constant",
    gate: float = GATE,
) -> tuple[pd.DataFrame, dict[str, list[OutOfFold]]]:
    """Compare models on the same held-out rows: (table, runs).

    models: by name; held_out: a split, or several splits (`repeated_folds`). table: a row a model with
    the columns of `summary`, its `difference` against the model `reference` (None: against none), and
    `failed`, "" or why the model failed: its numbers are then NaN. runs: for each model that did not fail
    its OutOfFold, one a split. Raises InputError where every model, or the reference, fails.
    """
    if reference is not None and reference not in models:
        raise InputError(
            f"the reference `{reference}` is none of the models: {quote_some(models)}; name one"
        )
    splits = [held_out] if isinstance(held_out[0][0], str) else held_out
    runs, failed = {}, {}
    for name, model in models.items():
        try:
            runs[name] = [out_of_fold(model, competition, split) for split in splits]
        except Exception as error:  # one that fails does not cost the others their results
            failed[name] = failure(error)
            warnings.warn(f"{name} failed: {failed[name]}", stacklevel=2)
    if not runs or reference in failed:
        raise InputError(f"{reference or 'every model'} failed: {next(iter(failed.values()))}")
    than = None if reference is None else runs[reference]
    table = pd.DataFrame({name: summary(run, than=than, gate=gate) for name, run in runs.items()})
    table = table.T.reindex(list(models)).fillna({"rows": 0}).astype({"rows": int})
    table["failed"] = pd.Series(failed, dtype=object).reindex(table.index).fillna("")
    return table.rename_axis("model"), runs


def failure(reason: Exception | str) -> str:
    """Return in one line why a model failed."""
    kind = f"{type(reason).__name__}: " if isinstance(reason, Exception) else ""
    first = next(iter(str(reason).splitlines()), "")
    return printable(f"{kind}{first}".rstrip(": "))[:200]


def compare_grouped(
    models, competition, similarity, *, parts=5, repeats=1, seed=0, at_least=0.5, **options
):
    """Compare models on folds that keep similar perturbations together, beside random ones.

    similarity: perturbation x perturbation; a training row that it lacks is like no other. Returns
    (table, runs) of `compare`, in which `random` and `grouped` lead to each kind of folds.
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
    both = {kind: compare(models, competition, split, **options) for kind, split in splits.items()}
    tables = {kind: table for kind, (table, _) in both.items()}
    return pd.concat(tables, names=["folds"]), {kind: runs for kind, (_, runs) in both.items()}


def nearest_similarity(run, similarity):
    """Each held-out row's largest similarity to a training row of its own fold: a series.

    NaN where `similarity` does not know the row, or none of the training rows.
    """
    nearest = pd.Series(np.nan, run.truth.index, name="similarity")
    for fold, names in run.fold.groupby(run.fold).groups.items():
        known = similarity.reindex(index=names, columns=run.training[fold])
        nearest.loc[names] = known.max(axis=1)
    return nearest


def by_nearness(run, similarity, bins=3, *, gate=GATE):
    """Score held-out rows by how near their nearest training row is: a frame, the farthest first.

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
    numbers = np.unique(place.dropna())
    parts = {f"bin {i}": place.index[place == number] for i, number in enumerate(numbers, 1)}
    if nearest.isna().any():
        parts["unknown"] = nearest.index[nearest.isna()]
    table = {}
    for part, names in parts.items():
        score = run.subset(names).score(gate)
        low, high = interval(score)
        table[part] = {
            "least": nearest[names].min(),
            "most": nearest[names].max(),
            "rows": len(names),
            "score": score.score_per_60,
            "low": low,
            "high": high,
            "w_per_row": score.w / score.rows,
            "wcos": score.wcos,
        }
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
        for name, run in runs.items() if len(rows) > 1 else ():
            part, than = (each[0].subset(rows).score(gate) for each in (run, runs[reference]))
            low, high = interval(part, than=than)
            gain = part.score_per_60 - than.score_per_60
            table[group, name] = len(rows), part.score_per_60, gain, low, high
    index = pd.MultiIndex.from_tuples(table, names=["group", "model"])
    columns = ["rows", "score", "gain", "low", "high"]
    return pd.DataFrame(list(table.values()), index, columns)
