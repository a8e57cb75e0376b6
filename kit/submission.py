"""Write, check and score submissions: what the host would refuse is refused here, with reasons.

The host wants each `pert_id` and each gene of the sample submission once, in any order, numbers only, and
none of the solution's weight columns. The check also warns of what is allowed but probably wrong.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from .competition import Competition, read_solution, split_solution
from .io.files import (
    InputError,
    check_known,
    check_labels,
    check_type,
    check_unique,
    finite_values,
    label_fault,
    quote_some,
    read_table,
    replacing,
)
from .metric import GATE, Score, score

FAR = 1.5  # times the most extreme training effect of any gene: a prediction beyond that gets a warning
SLACK = 1e-6  # log2 units by which an on-target gene may lie below its floor, for rounding


def write_submission(prediction: pd.DataFrame, competition: Competition, path: Path | str) -> Path:
    """Write a prediction in the layout of the sample submission, whole or not at all; return the path.

    prediction: perturbation x gene frame, log2, with a row for every target; further rows are left out.
    An id whose perturbation the competition's files do not name gets the mean training effect. Raises
    InputError for what the host would refuse; issues the warnings of `check_submission`.
    """
    check_type(path, (str, Path), "path", "the path of a CSV file to write")
    table = submission_table(prediction, competition)
    remarks = check_submission(table, competition)
    if unnamed := [name for name in table.index if name not in competition.targets.index]:
        remarks.append(
            f"{len(unnamed)} ids have no perturbation in pert_ids_*.csv and are written as the mean "
            f"training effect: {quote_some(unnamed)}"
        )
    for remark in remarks:
        warnings.warn(f"{path}: {remark}", stacklevel=2)
    with replacing(path) as temporary:
        table.to_csv(temporary, lineterminator="\n")  # floats by repr: they read back bit for bit
    return Path(path)


def submission_table(prediction: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """Return the `pert_id` x gene frame that `write_submission` writes."""
    check_type(prediction, pd.DataFrame, "prediction", "a frame, perturbation x gene")
    check_type(competition, Competition, "competition", "what load_competition returns")
    symbols = competition.targets["perturbation"]
    genes, ids = competition.submission_genes, competition.submission_ids
    check_unique(prediction.index, "prediction has repeated rows")
    check_known(symbols, prediction.index, "prediction lacks targets")
    check_labels(prediction.columns, genes, "prediction's genes do not match the sample submission")
    mean = competition.effects.mean()[genes]
    table = pd.DataFrame(np.tile(mean, (len(ids), 1)), index=ids, columns=genes)
    table.loc[symbols.index] = finite_values(prediction.loc[symbols, genes], "prediction")
    return table.rename_axis("pert_id")


def read_submission(path: Path | str) -> pd.DataFrame:
    """Return a submission file: `pert_id` x gene frame, float64, rows and columns as in the file."""
    return read_table(path, "pert_id")


def check_submission(submission: pd.DataFrame | Path | str, competition: Competition) -> list[str]:
    """Check a submission (path, or frame by `pert_id`) as the host does; return warnings.

    Raises InputError for an id or gene that is missing, unknown or repeated, for any column of weights or
    baseline, and for values that are not finite numbers. The warnings name rows that are all zero or all
    equal, on-target effects below minus the control mean, and values more than 1.5 times as far from
    zero as any training effect.
    """
    check_type(competition, Competition, "competition", "what load_competition returns")
    table, name = _read(submission)
    wanted = competition.submission_genes
    solution = [gene for gene in table.columns.difference(wanted, sort=False) if _of_solution(gene)]
    faults = {
        "columns of the solution, submit genes only": quote_some(solution),
        "ids do not match the sample submission": label_fault(
            table.index, competition.submission_ids
        ),
        "genes do not match the sample submission": label_fault(
            table.columns[~table.columns.isin(solution)], wanted
        ),
    }
    if found := [f"{kind}: {fault}" for kind, fault in faults.items() if fault]:
        raise InputError(f"{name}: {'; '.join(found)}")
    return list(_remarks(_as_numbers(table, name), competition))


def score_submission(
    submission: pd.DataFrame | Path | str,
    solution: pd.DataFrame | Path | str,
    *,
    gate: float = GATE,
) -> tuple[Score, list[str]]:
    """Score a submission against a solution (paths, or frames by `pert_id`).

    Returns the Score, and the ids of the submission that the solution lacks, which are left out. Raises
    InputError where the submission lacks an id of the solution, or their genes differ.
    """
    table, name = _read(submission)
    check_type(solution, (pd.DataFrame, str, Path), "solution", "a path or a frame by pert_id")
    if not isinstance(solution, pd.DataFrame):
        solution = read_solution(solution)
    truth, weights, baseline = split_solution(solution)
    left_out = [label for label in table.index if label not in truth.index]
    table = table.drop(index=left_out)
    check_labels(table.index, truth.index, f"{name}: ids do not match the solution")
    check_labels(table.columns, truth.columns, f"{name}: genes do not match the solution")
    return score(truth, _as_numbers(table, name), weights, baseline, gate=gate), left_out


def _read(submission):
    """The submission's frame by `pert_id` and its name for messages."""
    check_type(submission, (pd.DataFrame, str, Path), "submission", "a path or a frame by pert_id")
    if not isinstance(submission, pd.DataFrame):
        return read_submission(submission), str(submission)
    if "pert_id" in submission:
        submission = submission.set_index("pert_id")
    return submission, "submission"


def _of_solution(column):
    return str(column).startswith("w_") or column == "baseline_wmae"


def _as_numbers(table, name):
    """The frame as float64."""
    return pd.DataFrame(finite_values(table, name), table.index, table.columns)


def _remarks(table, competition):
    values = table.to_numpy()
    zero = (values == 0).all(axis=1)
    if zero.any():
        yield f"{zero.sum()} rows are all zero: {quote_some(table.index[zero])}"
    equal = (values == values[:, :1]).all(axis=1) & ~zero
    if equal.any():
        yield f"{equal.sum()} rows hold one value for every gene: {quote_some(table.index[equal])}"

    floors = -competition.control
    below = []
    for label, symbol in competition.targets["perturbation"].items():
        if symbol in table and table.at[label, symbol] < floors[symbol] - SLACK:
            value = table.at[label, symbol]
            below.append(f"{label} ({symbol}: {value:.3g} below {floors[symbol]:.3g})")
    if below:
        yield (
            f"{len(below)} on-target genes are predicted below minus their control mean, less than no "
            f"expression: {quote_some(below)}"
        )

    largest = FAR * np.abs(competition.effects.to_numpy()).max()
    far = np.abs(values) > largest
    if far.any():
        row, column = np.unravel_index(np.argmax(np.abs(values)), values.shape)
        yield (
            f"{far.sum()} values are farther from zero than {largest:.3g}, {FAR} times the most extreme "
            f"training effect; the farthest is {values[row, column]:.3g} at {table.index[row]}, "
            f"{table.columns[column]}"
        )
