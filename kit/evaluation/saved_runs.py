"""Read what notebooks saved for a blend: out-of-fold and target predictions of every model they scored.

A model is used only if its files are those named in the notebook's report, if it was fitted to the data
at hand, and if its folds are those of the others: else scores beside each other would mislead.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PureWindowsPath

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io import locate
from ..io.files import (
    InputError,
    check_known,
    check_labels,
    content_hash,
    existing_file,
    quote_some,
    read_json,
    read_table,
)
from .predictions import OutOfFold

REPORT = "report.json"
LARGEST = 1e300  # number of a report that can still be formatted and drawn
# What reading JSON of another kind raises.
UNSOUND = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class SavedRun:
    """One model's predictions: OutOfFold of the training rows in the competition's order, and of targets.

    test: perturbation x gene, log2; report: its notebook's, if it has one.
    """

    out_of_fold: OutOfFold
    test: pd.DataFrame
    report: dict = field(default_factory=dict)


def slug(name: str) -> str:
    """Return the start of the names of a model's files: lower case, all but a-z and 0-9 to `-`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def saved_files(name: str) -> tuple[str, str]:
    """Return the files of a model's out-of-fold and target predictions, within a run's folder."""
    start = f"predictions/{slug(name)}"
    return f"{start}.oof.csv", f"{start}.test.csv"


def read_report(path: Path) -> dict:
    """Read the report of a run, which may come from another person's notebook.

    Raises InputError where what the board, the page and the blend read is missing or of another kind,
    and for names of files that do not lie in the report's own folder.
    """
    report = read_json(path)
    try:
        figures, submission, data = report["figures"], report["submission"], report["data"]
        files = [report["notebook"], *(figure["file"] for figure in figures)]
        files += [submission["file"]] if submission["file"] else []
        texts = [report["budget"], report["started"], data["folder"], data["hash"], *files]
        texts += [figure["title"] for figure in figures] + [submission["model"] or ""]
        texts += [*report["versions"].values(), *report.get("failed", {}).values()]
        numbers = [report["seed"], report["seconds"], report["peak_memory_mb"] or 0]
        for model in report["models"].values():
            score = model["gates"]["0.2"]
            low, high = score["interval_per_60"]
            numbers += [score["score_per_60"], score["w"], score["wcos"], low, high]
            numbers += [model["seconds"], model["rows"], 1 / model["rows"]]
        if report.get("ceiling"):
            score = report["ceiling"]["0.2"]
            low, high = score["interval_per_60"]
            numbers += [score["score_per_60"], low, high]
        if not all(abs(one) < LARGEST for one in numbers):
            raise ValueError("a number is infinite or missing")
        if {*map(type, texts)} != {str} or not isinstance(data["simulated"], bool):
            raise ValueError("a text or a truth value is missing")
        if elsewhere := [one for one in files if not _is_own_file(one)]:
            raise ValueError(f"{quote_some(elsewhere)} is no name of a file beside it")
    except UNSOUND as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{path} is not a report of a run: {reason}; run its notebook again"
        ) from None
    return report


def find_outputs(folder: Path | str | None = None) -> list[Path]:
    """Return folders with a report: under `folder`, and on Kaggle in the outputs of attached kernels."""
    places = [place for kind in locate.places(locate.RUNS).values() for place in kind]
    if folder is not None:
        places += [Path(folder), *Path(folder).glob("*")]
    return sorted({place for place in places if (place / REPORT).is_file()})


def read_saved_runs(
    competition: Competition, folders: Iterable[Path | str]
) -> tuple[dict[str, SavedRun], list[str]]:
    """Read all saved models: (SavedRun by name, why others are not used).

    The folds that most notebooks share are taken as the right ones. A name that two notebooks share
    counts once where the predictions are equal; else the notebook is added to it. The baseline, `mean`,
    is always included: leaning on it draws a bold blend back. Raises InputError if no other is left.
    """
    models, folds, refused, found = [], Counter(), [], {}
    for folder in map(Path, folders):
        try:
            listed = _models(folder, competition)
        except InputError as error:
            refused.append(str(error))
            continue
        models += [(folder, *one) for one in listed]
        folds.update(list(dict.fromkeys(tuple(fold) for *_, fold in listed)))
    if models:
        usual = pd.Series(folds.most_common(1)[0][0], competition.effects.index)
        found["mean"] = mean_run(competition, usual)
    for folder, report, name, files, fold in models:
        try:
            if not fold.equals(usual):
                raise InputError(
                    f"{folder}: cross-validation folds differ from those of the other runs (seed "
                    f"{report['seed']}); rerun with the same seed"
                )
            known, test = _read(folder, files, competition)
        except InputError as error:
            refused.append(str(error))
            continue
        seconds = report["models"].get(name, {}).get("seconds", np.nan)
        known = OutOfFold.from_predictions(competition, known, fold, seconds=seconds)
        run = SavedRun(known, test, report)
        if name in found and not _equal(run, found[name]):
            name = f"{name} ({report['notebook']})"
        found.setdefault(name, run)
    if len(found) < 2:
        reasons = "; ".join(refused) or "no folder holds a report with predictions"
        raise InputError(f"nothing to blend: {reasons}; run the notebooks first (make demo)")
    return found | {"mean": found.pop("mean")}, list(dict.fromkeys(refused))


def mean_run(competition: Competition, fold: pd.Series) -> SavedRun:
    """Return the baseline `mean`, which scores 0. fold: number of each training row's fold."""
    nothing = competition.effects.loc[fold.index] * 0.0
    known = OutOfFold.from_predictions(competition, nothing, fold)
    rows, mean = list(competition.targets["perturbation"]), competition.effects.mean()
    test = pd.DataFrame([mean] * len(rows), rows)
    return SavedRun(replace(known, prediction=known.mean), test)


def _is_own_file(name):
    """Whether a name is that of a file beside the report, on any system."""
    bare = isinstance(name, str) and name not in ("", ".", "..")
    return bare and PurePath(name).name == PureWindowsPath(name).name == name


def _models(folder, competition):
    """Saved models of a folder: (report, name, hash by file, fold of each training row)."""
    report = read_report(folder / REPORT)
    kept, data = report.get("predictions") or {}, report["data"]["hash"]
    if kept and data != competition.data_hash:
        raise InputError(
            f"{folder} was made from other data (hash {data[:12]}, want "
            f"{competition.data_hash[:12]}); run its notebook on this data"
        )
    found = []
    try:
        if old := "oof.csv" in kept.get("files", {}):  # that of the submission alone
            kept = {report["submission"]["model"]: kept}
        for name, one in kept.items():
            files = ("oof.csv", "test.csv") if old else saved_files(name)
            fold = pd.Series(one["fold"] or {}, dtype=float).reindex(competition.effects.index)
            if fold.isna().any():
                raise ValueError(f"no fold of {quote_some(fold.index[fold.isna()])}")
            found.append((report, name, {file: one["files"].get(file) for file in files}, fold))
    except UNSOUND as error:
        raise InputError(
            f"{folder / REPORT} has no sound list of predictions: {error}; run its notebook again"
        ) from None
    return found


def _read(folder, files, competition):
    """Out-of-fold and target predictions, perturbation x gene, of one model's files by hash."""
    rows = competition.effects.index, pd.Index(competition.targets["perturbation"])
    tables, genes = [], competition.genes
    for (file, wanted_hash), wanted in zip(files.items(), rows, strict=True):
        path = existing_file(folder / file, "run its notebook again")
        if content_hash([path]) != wanted_hash:
            raise InputError(f"{path} is not the file of its report; run its notebook again")
        table = read_table(path, "perturbation")
        check_known(wanted, table.index, f"{path} lacks rows, run its notebook again")
        check_labels(table.columns, genes, f"{path} has other genes, run its notebook again")
        tables.append(table.loc[wanted, genes])
    return tables


def _equal(one, other):
    """Whether two runs predict the same, to rounding."""
    known = one.out_of_fold.prediction, other.out_of_fold.prediction
    return all(np.allclose(*pair, rtol=0, atol=1e-9) for pair in (known, (one.test, other.test)))
