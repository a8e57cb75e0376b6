"""Read what notebooks saved for a blend: out-of-fold and target predictions of every model they scored.

A model is used only if its files are those named in the notebook's report, if it was fitted to the data
at hand, and if its folds are those of the others: else scores beside each other would mislead.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PureWindowsPath

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io import locate
from ..io.files import InputError, content_hash, label_fault, quote_some, read_json, read_table
from .predictions import OutOfFold

REPORT = "report.json"
LARGEST = 1e300  # number of a report that can still be formatted and drawn


@dataclass(frozen=True, eq=False)
class SavedRun:
    """One model's predictions: perturbation x gene frames, log2, of training rows and of targets.

    fold: number of each training row's fold; seconds: of all fits; report: its notebook's, if it has one.
    """

    name: str
    out_of_fold: pd.DataFrame
    test: pd.DataFrame
    fold: pd.Series
    seconds: float
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
        figures, models = report["figures"], report["models"]
        names = [report["notebook"], report["submission"]["file"] or "none"]
        names += [figure["file"] for figure in figures]
        data, versions = report["data"], report["versions"]
        texts = [report["budget"], report["started"], data["folder"], data["hash"]]
        texts += [figure["title"] for figure in figures] + list(versions.values())
        texts += [report["submission"]["model"] or "", *report.get("failed", {}).values()]
        numbers = [report["seed"], report["seconds"], report["peak_memory_mb"] or 0]
        for model in models.values():
            score = model["gates"]["0.2"]
            low, high = score["interval_per_60"]
            numbers += [score["score_per_60"], score["w"], score["wcos"], low, high]
            numbers += [model["seconds"], model["rows"], 1 / model["rows"]]
        if report.get("ceiling"):
            numbers.append(report["ceiling"]["0.2"]["score_per_60"])
        if not all(isinstance(one, int | float) and abs(one) < LARGEST for one in numbers):
            raise ValueError("a number is missing or infinite")
        if not all(isinstance(one, str) for one in texts) or not isinstance(
            data["simulated"], bool
        ):
            raise ValueError("a text or a truth value is missing")
        if elsewhere := [one for one in names if not _is_own_file(one)]:
            raise ValueError(f"{quote_some(elsewhere)} is no name of a file beside it")
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
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
) -> tuple[dict[str, SavedRun], dict[Path, str]]:
    """Read all saved models: (SavedRun by name, reason by folder or file of what is not used).

    The folds that most notebooks share are taken as the right ones. A name that two notebooks share
    counts once where the predictions are equal; else the notebook is added to it. The baseline, `mean`,
    is always included: leaning on it draws a bold blend back. Raises InputError if no other is left.
    """
    kept, refused = {}, {}
    for folder in map(Path, folders):
        try:
            kept |= {(folder, *one): fold for one, fold in _models(folder, competition)}
        except InputError as error:
            refused[folder] = str(error)
    kinds = {folder: tuple(fold) for (folder, *_), fold in kept.items()}
    usual = max(kinds.values(), key=list(kinds.values()).count, default=None)
    found, mean = {}, None
    for (folder, name, files), fold in kept.items():
        report = read_report(folder / REPORT)
        if tuple(fold) != usual:
            refused[folder] = (
                f"{folder}: cross-validation folds differ from those of the other runs (seed "
                f"{report['seed']}); rerun with the same seed"
            )
            continue
        mean = mean or _mean(competition, fold)
        try:
            run = _read(folder, name, files, report, fold, competition)
        except InputError as error:
            refused[folder / files[0][0]] = str(error)
            continue
        others = {**found, "mean": mean}
        if name in others and not _equal(run, others[name]):
            name = f"{name} ({report['notebook']})"
        if name not in others:
            found[name] = replace(run, name=name)
    if not found:
        reasons = "; ".join(refused.values()) or "no folder holds a report with predictions"
        raise InputError(f"nothing to blend: {reasons}; run the notebooks first (make demo)")
    return {**found, "mean": mean}, refused


def with_mean(competition: Competition, runs: dict[str, SavedRun]) -> dict[str, SavedRun]:
    """Return the runs and, as one of them, the baseline `mean` that scores 0."""
    return {**runs, "mean": _mean(competition, next(iter(runs.values())).fold)}


def out_of_fold_runs(competition: Competition, runs: dict[str, SavedRun]) -> dict[str, OutOfFold]:
    """Return the out-of-fold predictions of each run, by name, on the same rows."""
    fold = next(iter(runs.values())).fold
    return {
        name: OutOfFold.from_predictions(
            competition, run.out_of_fold.loc[fold.index], fold, seconds=run.seconds
        )
        for name, run in runs.items()
    }


def _is_own_file(name):
    """Whether a name is that of a file beside the report, on any system."""
    bare = isinstance(name, str) and name not in ("", ".", "..")
    return bare and PurePath(name).name == PureWindowsPath(name).name == name


def _models(folder, competition):
    """Saved models of a folder: ((name, its files and their hashes), fold of each training row)."""
    report = read_report(folder / REPORT)
    kept, data = report.get("predictions") or {}, report["data"]["hash"]
    if kept and data != competition.data_hash:
        raise InputError(
            f"{folder} was made from other data (hash {data[:12]}, want "
            f"{competition.data_hash[:12]}); run its notebook on this data"
        )
    found = []
    try:
        if "oof.csv" in kept.get("files", {}):  # an older run: that of its submission alone
            kept = {report["submission"]["model"]: kept}
        for name, one in kept.items():
            old = "oof.csv" in one["files"]
            files = ("oof.csv", "test.csv") if old else saved_files(name)
            fold = pd.Series(one["fold"] or {}, dtype=float).reindex(competition.effects.index)
            found.append(((name, tuple((file, one["files"].get(file)) for file in files)), fold))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / REPORT} has no sound list of predictions: {error}; run its notebook again"
        ) from None
    for _, fold in found:
        if fold.isna().any():
            lost = quote_some(fold.index[fold.isna()])
            raise InputError(f"{folder / REPORT} has no fold of {lost}; run its notebook again")
    return found


def _read(folder, name, files, report, fold, competition):
    rows = competition.effects.index, pd.Index(competition.targets["perturbation"])
    tables, genes = [], competition.genes
    for (file, wanted_hash), wanted in zip(files, rows, strict=True):
        path = folder / file
        if not path.is_file():
            raise InputError(f"{path} is missing; run its notebook again")
        if content_hash([path]) != wanted_hash:
            raise InputError(f"{path} is not the file of its report; run its notebook again")
        table = read_table(path, "perturbation")
        lost, fault = wanted.difference(table.index), label_fault(table.columns, genes)
        fault = f"no row of {quote_some(lost)}" if len(lost) else fault and f"genes: {fault}"
        if fault:
            raise InputError(f"{path}: {fault}; run its notebook again")
        tables.append(table.loc[wanted, genes])
    seconds = report["models"].get(name, {}).get("seconds", np.nan)
    return SavedRun(name, *tables, fold, seconds, report)


def _mean(competition, fold):
    nothing = competition.effects.loc[fold.index] * 0.0
    mean = OutOfFold.from_predictions(competition, nothing, fold).mean
    rows = pd.Index(competition.targets["perturbation"])
    test = np.broadcast_to(competition.effects.mean(), (len(rows), len(competition.genes)))
    return SavedRun("mean", mean, pd.DataFrame(test, rows, competition.genes), fold, 0.0)


def _equal(one, other):
    """Whether two runs predict the same, to rounding."""
    pairs = (one.out_of_fold, other.out_of_fold), (one.test, other.test)
    return all(np.allclose(a, b, rtol=0, atol=1e-9) for a, b in pairs)
