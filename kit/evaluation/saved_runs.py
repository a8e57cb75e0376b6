"""What notebooks left for a blend: out-of-fold and target predictions, read and compared.

A member is used only if its files are those that its report tells of, if it was made from the data at
hand, and if it left out the same rows together as the others: else scores beside each other would lie.
"""

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


def read_members(competition, folders):
    """Members by name of model, and why others are not: (dict of Member, dict of reasons by folder).

    Folders whose report has no submission, such as `00_merge`'s, are no members. The folds most members
    share are taken as the right ones. The baseline, `mean`, is always a member: leaning on it draws a
    bold blend back. Raises InputError if no other is left.
    """
    found, refused = {}, {}
    for folder in map(Path, folders):
        try:
            member = _read(folder, competition)
        except InputError as error:
            refused[folder] = str(error)
            continue
        if member is not None:
            found[folder] = member
    kinds = [tuple(member.fold) for member in found.values()]
    usual = max(kinds, key=kinds.count, default=None)
    members = {}
    for folder, member in found.items():
        if tuple(member.fold) != usual:
            seed = member.report["seed"]
            refused[folder] = (
                f"{folder}: other rows were left out together (seed {seed}); want the "
            )
            refused[folder] += "folds of the others: run it again with their seed and repeats"
            continue
        name = member.name
        if name in members:
            name = f"{name} ({member.report['notebook']})"
        members[name] = member
    if not members:
        reasons = "; ".join(refused.values()) or "no folder holds a report with a submission"
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
    """The Member of a folder, None where its report has no submission."""
    report = read_report(folder / REPORT)
    made, data = report["submission"]["model"], report["data"]["hash"]
    if not made:
        return None
    if made == "mean":
        raise InputError(f"{folder} found nothing better than the mean, which is a member anyway")
    if data != competition.data_hash:
        raise InputError(
            f"{folder} was made from other data (hash {data[:12]}, want "
            f"{competition.data_hash[:12]}); run its notebook on this data"
        )
    if not (kept := report.get("predictions")):
        raise InputError(f"{folder / REPORT} tells of no predictions; run its notebook again")
    tables = {}
    for name in (OUT_OF_FOLD, TEST):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing; run its notebook again")
        if content_hash([path]) != kept["files"].get(name):
            raise InputError(f"{path} is not the file its report tells of; run its notebook again")
        tables[name] = read_table(path, "perturbation")
    wanted = {OUT_OF_FOLD: competition.effects.index, TEST: competition.targets["perturbation"]}
    for name, table in tables.items():
        lost = pd.Index(wanted[name]).difference(table.index)
        fault = label_fault(table.columns, competition.genes)
        fault = f"no row of {quote_some(lost)}" if len(lost) else fault and f"genes: {fault}"
        if fault or not np.isfinite(table.to_numpy()).all():
            raise InputError(f"{folder / name}: {fault or 'values are not finite'}; run it again")
    fold = pd.Series(kept["fold"] or {}).reindex(competition.effects.index)
    if fold.isna().any():
        raise InputError(
            f"{folder / REPORT} tells no fold of {quote_some(fold.index[fold.isna()])}"
        )
    genes = competition.genes
    rows = pd.Index(competition.targets["perturbation"])
    seconds = report["models"][made]["seconds"] if made in report["models"] else np.nan
    unseen, test = tables[OUT_OF_FOLD][genes], tables[TEST].loc[rows, genes]
    return Member(made, unseen, test, fold, seconds, report)
