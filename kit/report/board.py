"""The board: one row a model from every `report.json` under a folder."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..evaluation.saved_runs import read_report
from ..io.files import InputError
from ..submission import read_submission, score_submission

GATE = "0.2"
SIMULATED = "Simulated data: the scores test the software and say nothing about the models."
COLUMNS = ["notebook", "model", "score/60", "90 % interval", "W/60", "Wcos", "rows", "seconds"]
COLUMNS += ["report"]  # its path


def read_reports(folder: Path | str) -> dict[Path, dict]:
    """Return reports of the notebooks' runs under `folder` (`*/report.json` or `report.json`) by name."""
    folder = Path(folder)
    paths = [*folder.glob("report.json"), *folder.glob("*/report.json")]
    # A run that was killed may leave a hidden folder with half a report.
    paths = sorted(path for path in paths if not path.relative_to(folder).parts[0].startswith("."))
    if not paths:
        raise InputError(f"{folder} holds no */report.json; run the notebooks first (make demo)")
    return {path: read_report(path) for path in paths}


def ceilings(reports: dict[Path, dict]) -> dict[tuple[float, float, float], str]:
    """Return the noise ceilings for 60 rows of the reports that have one: (score, low, high) and text."""
    found = [report["ceiling"][GATE] for report in reports.values() if report.get("ceiling")]
    ends = dict.fromkeys((one["score_per_60"], *one["interval_per_60"]) for one in found)
    text = (
        "half the cells against the other half, {:.2f}, 90 % interval {:.2f} to {:.2f}: an estimate"
    )
    return {one: text.format(*one) for one in ends}


def board(folder: Path | str) -> pd.DataFrame:
    """Return a frame of one row a model, best first; W is for 60 rows: score = W x max(0, Wcos).

    A model with equal scores in several notebooks, such as the mean, has the row of the first of them.
    One that failed comes last, without a score, its interval `failed: reason`.
    """
    rows = []
    for path, report in read_reports(folder).items():
        for name, model in report["models"].items():
            score = model["gates"][GATE]
            low, high = score["interval_per_60"]
            span, w = f"{low:.2f} .. {high:.2f}", 60 * score["w"] / model["rows"]
            numbers = [w, score["wcos"], model["rows"], model["seconds"], path]
            rows.append([report["notebook"], name, score["score_per_60"], span, *numbers])
        for name, reason in report.get("failed", {}).items():
            missing = [np.nan] * 4
            rows.append([report["notebook"], name, np.nan, f"failed: {reason}", *missing, path])
    table = pd.DataFrame(rows, columns=COLUMNS)
    again = table[["model", "score/60", "W/60", "Wcos", "rows"]].round(6).duplicated()
    return table[~again].sort_values("score/60", ascending=False, kind="stable", ignore_index=True)


def released(folder: Path | str, competition: Competition) -> pd.DataFrame:
    """Score every saved submission against released truth, for 60 rows: a frame by path.

    Columns `public` (rows of `val`) and `private` (of `test`), NaN where none is released; only of
    submissions made from this data. Empty where nothing is released.
    """
    rows = {}
    for path, report in read_reports(folder).items():
        ours = report["data"]["hash"] == competition.data_hash
        if not ours or competition.solution is None:
            continue
        split = competition.targets["split"].loc[competition.solution.index]
        parts = [competition.solution[split == part] for part in ("val", "test")]
        for place in sorted(path.parent.glob("submission*.csv")):
            submission = read_submission(place)
            rows[str(place.relative_to(folder))] = [
                score_submission(submission, part)[0].score_per_60 if len(part) else np.nan
                for part in parts
            ]
    found = pd.DataFrame.from_dict(rows, "index", columns=["public", "private"])
    return found.round(6) + 0.0  # no -0


def board_text(folder: Path | str) -> str:
    """Return the board as text, with floor, ceiling, data and the path of each submission."""
    reports = read_reports(folder)
    table = board(folder).drop(columns="report")
    table["rows"] = table["rows"].astype("Int64")  # as whole numbers beside those that lack
    lines = [table.to_string(index=False, float_format="{:.3f}".format, na_rep=""), ""]
    lines.append("Out-of-fold scores for 60 rows, gate 0.2; the floor (mean training effect) is 0.")
    lines += [f"Noise ceiling: {text}" for text in dict.fromkeys(ceilings(reports).values())]
    for path, report in reports.items():
        if report["submission"]["file"]:
            submission = path.parent / report["submission"]["file"]
            lines.append(f"{submission} (model: {report['submission']['model']})")
    if any(report["data"]["simulated"] for report in reports.values()):
        lines.append(SIMULATED)
    return "\n".join(lines)
