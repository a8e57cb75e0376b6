"""What notebooks left for a blend: out-of-fold and target predictions, read and compared.

A member is used only if its files are those that its report tells of, if it was made from the data at
hand, and if it left out the same rows together as the others: else scores beside each other would lie.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..io import locate
from ..io.files import (
    InputError,
    content_hash,
    label_fault,
    quote_some,
    read_table,
)
from .predictions import OutOfFold
from .reports import read_report

OUT_OF_FOLD, TEST, REPORT = "oof.csv", "test.csv", "report.json"


@dataclass(frozen=True, eq=False)
class Member:
    """One model's predictions: perturbation x gene frames of training rows and of targets.

    fold: number of each training row's fold; seconds: of all fits; report: its notebook's, if it has one.
    """

    name: str
    out_of_fold: pd.DataFrame
    test: pd.DataFrame
    fold: pd.Series
    seconds: float
    report: dict = field(default_factory=dict)


def find_outputs(folder=None):
    """Folders with a report: under `folder`, and on Kaggle in the outputs of attached kernels."""
    places = [place for kind in locate.places(locate.RUNS).values() for place in kind]
    if folder is not None:
        places += [Path(folder), *Path(folder).glob("*")]
    return sorted({place for place in places if (place / REPORT).is_file()})


def slug(name: str) -> str:
    """Return the start of the names of a model's files: lower case, all but a-z and 0-9 to `-`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def saved_files(name: str) -> tuple[str, str]:
    """Return the files of a model's out-of-fold and target predictions, within a run's folder."""
    start = f"predictions/{slug(name)}"
    return f"{start}.oof.csv", f"{start}.test.csv"


def read_members(competition, folders):
    """Members by name of model, and why others are not: (dict of Member, dict of reasons by folder).

    Folders whose report has no predictions, such as `00_merge`'s, are no members. The folds most members
    share are taken as the right ones. A model that several runs saved alike, such as the constant, is one
    member. The baseline, `mean`, is always a member: leaning on it draws a bold blend back. Raises
    InputError if no other is left.
    """
    found, refused = {}, {}
    for folder in map(Path, folders):
        try:
            found |= {(folder, one.name): one for one in _read(folder, competition)}
        except InputError as error:
            refused[folder] = str(error)
    kinds = [tuple(member.fold) for member in found.values()]
    usual = max(kinds, key=kinds.count, default=None)
    members = {}
    for (folder, name), member in found.items():
        if tuple(member.fold) != usual:
            refused[folder] = (
                f"{folder}: cross-validation folds differ from those of the other runs (seed "
                f"{member.report['seed']}); run it again with their seed and repeats"
            )
            continue
        if name in members:
            if np.allclose(member.out_of_fold, members[name].out_of_fold, rtol=0, atol=1e-9):
                continue
            name = f"{name} ({member.report['notebook']})"
        members[name] = member
    if not members:
        reasons = "; ".join(refused.values()) or "no folder holds a report with predictions"
        raise InputError(f"nothing to blend: {reasons}; run the notebooks first (make demo)")
    return with_mean(competition, members), refused


def with_mean(competition, members):
    """Members and, as one of them, the baseline that scores 0."""
    fold = next(iter(members.values())).fold
    nothing = competition.effects.loc[fold.index] * 0.0
    mean = OutOfFold.from_predictions(competition, nothing, fold).mean
    rows = competition.targets["perturbation"]
    test = np.broadcast_to(competition.effects.mean(), (len(rows), len(competition.genes)))
    test = pd.DataFrame(test, pd.Index(rows), competition.genes)
    return {**members, "mean": Member("mean", mean, test, fold, 0.0)}


def out_of_fold_runs(competition, members):
    """OutOfFold of each member on the same rows: dict by name."""
    fold = next(iter(members.values())).fold
    return {
        name: OutOfFold.from_predictions(
            competition, member.out_of_fold.loc[fold.index], fold, seconds=member.seconds
        )
        for name, member in members.items()
    }


def _read(folder, competition):
    """Members of a folder, a list, without the mean."""
    report = read_report(folder / REPORT)
    kept, data = report.get("predictions") or {}, report["data"]["hash"]
    if not kept:
        return []
    if data != competition.data_hash:
        raise InputError(
            f"{folder} was made from other data (hash {data[:12]}, want "
            f"{competition.data_hash[:12]}); run its notebook on this data"
        )
    if set(kept) == {"files", "fold"} and "files" not in report["models"]:
        # Before every model was saved, a run kept one: that of its submission.
        kept, names = {report["submission"]["model"]: kept}, (OUT_OF_FOLD, TEST)
        return [_member(folder, report, *one, names, competition) for one in kept.items()]
    return [
        _member(folder, report, name, one, saved_files(name), competition)
        for name, one in kept.items()
        if name != "mean"
    ]


def _member(folder, report, name, kept, files, competition):
    tables, genes = [], competition.genes
    rows = competition.effects.index, pd.Index(competition.targets["perturbation"])
    for file, wanted in zip(files, rows, strict=True):
        path = folder / file
        if not path.is_file():
            raise InputError(f"{path} is missing; run its notebook again")
        if content_hash([path]) != kept["files"].get(file):
            raise InputError(f"{path} is not the file of its report; run its notebook again")
        table = read_table(path, "perturbation")
        lost, fault = wanted.difference(table.index), label_fault(table.columns, genes)
        fault = f"no row of {quote_some(lost)}" if len(lost) else fault and f"genes: {fault}"
        if fault or not np.isfinite(table.to_numpy()).all():
            raise InputError(f"{path}: {fault or 'values are not finite'}; run it again")
        tables.append(table.loc[wanted, genes])
    fold = pd.Series(kept["fold"] or {}, dtype=float).reindex(competition.effects.index)
    if fold.isna().any():
        lost = quote_some(fold.index[fold.isna()])
        raise InputError(f"{folder / REPORT} has no fold of {lost}; run its notebook again")
    seconds = report["models"][name]["seconds"] if name in report["models"] else np.nan
    return Member(name, *tables, fold, seconds, report)
