"""The board: one row a model from every `report.json` under a folder, as text and as one page.

The page, `index.html`, needs no network and no other file to be read. Figures are embedded; models link
to their executed notebook or report, and submissions to their files, by paths relative to the page. Its
frame and style are in `page.html`.
"""

import base64
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
import pandas as pd

from ..competition import Competition
from ..evaluation.saved_runs import read_report
from ..io.files import InputError, replacing
from ..submission import read_submission, score_submission

GATE = "0.2"
SIMULATED = "Simulated data: the scores test the software and say nothing about the models."
COLUMNS = ["notebook", "model", "score/60", "90 % interval", "W/60", "Wcos", "rows", "seconds"]
COLUMNS += ["report"]  # its path
FRAME = Path(__file__).with_name("page.html")
PICTURE = '<span class="hidden">interval drawn</span>'  # a heading for screen readers
LEFT = '<span class="text">{}</span>'
COUNTS = ["rows", "seconds", "peak memory, MB"]  # shown as whole numbers
MADE = {"data.folder": "data", "data.hash": "hash", "seed": "seed", "budget": "budget"}
MADE |= {"seconds": "seconds", "peak_memory_mb": "peak memory, MB", "started": "started"}
MARGIN = 0.05  # of an interval's picture on either side, as a share of its range


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


def write_page(folder: Path | str, released: pd.DataFrame | None = None) -> Path:
    """Write `index.html` into the folder of the runs; return its path.

    released: frame by submission's path of scores against released truth, as `board.released` gives it.
    """
    reports = read_reports(folder)
    parts = []
    if any(report["data"]["simulated"] for report in reports.values()):
        parts.append(f'<p class="mark">{SIMULATED}</p>')
    parts += ["<h2>Models, best first</h2>", _models(folder, reports)]
    if released is not None and len(released):
        note = "Saved submissions against released truth, for 60 rows (public: val, private: test)."
        links = [_link(name, folder, Path(folder, name)) for name in released.index]
        table = _table(released.rename_axis("submission"), note, links)
        parts += ["<h2>Released truth</h2>", table]
    parts.append("<h2>Notebooks</h2>")
    parts += [_notebook(folder, path, report) for path, report in reports.items()]
    parts += ["<h2>How it was made</h2>", _provenance(reports)]
    page = Template(FRAME.read_text(encoding="utf-8")).substitute(content="\n".join(parts))
    path = Path(folder) / "index.html"
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _models(folder, reports):
    """Table of all models with a picture of each interval."""
    table = board(folder)
    ends = table["90 % interval"].str.extract(r"^(-?[\d.]+) \.\. (-?[\d.]+)$").astype(float)
    tops = ceilings(reports)
    top = min(tops, default=None)
    limits = min(0.0, ends[0].min()), max(0.0, ends[1].max())
    pictures = [
        "" if pd.isna(score) else _interval(score, low, high, limits, top)
        for score, low, high in zip(table["score/60"], ends[0], ends[1], strict=True)
    ]
    shown = table.rename(columns={"score/60": "score", "W/60": "W"}).assign(**{PICTURE: pictures})
    columns = ["score", PICTURE, "90 % interval", "W", "Wcos", "notebook", *COUNTS[:2]]
    shown = shown.set_index("model")[columns]
    note = (
        "Out-of-fold scores for 60 rows, gate 0.2: W, the gains in weighted error over the mean, times "
        "Wcos, the cosine of prediction and truth. Floor (orange line): the mean training effect, 0."
    )
    if top is not None:
        note += f" Noise ceiling (grey band): {tops[top]}, which a model may exceed."
    runs = zip(table["model"], table["report"], table["notebook"], strict=True)
    return _table(shown, note, [_link(name, folder, _shown(*run)) for name, *run in runs])


def _shown(report, notebook):
    """The executed notebook beside a report, or the report where there is none."""
    shown = report.with_name(f"{notebook}.html")
    return shown if shown.is_file() else report


def _link(text, folder, path):
    """Text in HTML that links to a file under the folder; it may break after a slash."""
    text = escape(text).replace("/", "/<wbr>")
    return f'<a href="{quote(path.relative_to(folder).as_posix())}">{text}</a>'


def _interval(score, low, high, limits, top):
    """An interval as a picture in units of the score: a line with a dot, the floor and the ceiling."""
    margin = MARGIN * (limits[1] - limits[0] or 1.0)
    start, width = limits[0] - margin, limits[1] - limits[0] + 2 * margin
    marks = {"floor": (0, 0, 0, 1), "line": (low, high, 0.5, 0.5), "dot": (score, score, 0.5, 0.5)}
    if top is not None:
        marks = {"top": (*top[1:], 0.5, 0.5)} | marks
    lines = [
        '<line class="{}" x1="{:.6g}" x2="{:.6g}" y1="{}" y2="{}"/>'.format(name, *ends)
        for name, ends in marks.items()
    ]
    return (
        f'<svg viewBox="{start:.6g} 0 {width:.6g} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{score:.2f}, interval {low:.2f} to {high:.2f}">{"".join(lines)}</svg>'
    )


def _notebook(folder, path, report):
    """A notebook's main figure, with links to all it shows and to its submissions."""
    parts = [f"<h3>{_link(report['notebook'], folder, _shown(path, report['notebook']))}</h3>"]
    for figure in list(report["figures"])[:1]:
        image, text = path.parent / figure["file"], escape(figure["title"])
        if image.is_file():
            source = f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
            target = quote(image.relative_to(folder).as_posix())
            parts.append(f'<a href="{target}"><img alt="{text}" src="{source}"></a>')
    files = sorted(path.parent.glob("submission*.csv"))
    parts += [f"<p>{_link(file.name, folder, file)}</p>" for file in files]
    return "".join(parts)


def _provenance(reports):
    """Table of the runs: what they read, how long they took, and the versions of the last."""
    reports = list(reports.values())
    table = pd.json_normalize(reports, max_level=1).set_index("notebook")
    table = table.reindex(columns=list(MADE)).rename(columns=MADE)
    table["hash"] = table["hash"].str[:12]
    versions = ", ".join(f"{name} {version}" for name, version in reports[-1]["versions"].items())
    return (
        _table(table, "Runs: what they read, how long they took.")
        + f"<dl><dt>versions</dt><dd>{escape(versions)}</dd></dl>"
    )


def _table(frame, note, heads=None):
    """A note and a frame in HTML, scrolled by itself where it is too wide; the index heads rows.

    Text is escaped and aligned left, as is the heading of its column; pictures and `heads`, which
    stand for the index, are HTML already.
    """
    words = frame.select_dtypes(exclude="number").columns.drop(PICTURE, errors="ignore")
    left = {name: LEFT.format(name) for name in words}
    shown = dict.fromkeys(COUNTS, "{:.0f}".format)
    shown |= dict.fromkeys(left.values(), lambda cell: LEFT.format(escape(str(cell))))
    heads = heads or list(map(escape, frame.index))
    # The index's name as that of the columns: names are then in one row, not two.
    frame = frame.set_axis(heads).rename(columns=left).rename_axis(columns=frame.index.name)
    options = {"float_format": "{:.2f}".format, "formatters": shown, "na_rep": ""}
    with pd.option_context("display.max_colwidth", None):
        table = frame.to_html(border=0, escape=False, **options)
    scroll = f'class="scroll" role="region" tabindex="0" aria-label="{escape(note.split(". ")[0])}"'
    return f"<p>{escape(note)}</p><div {scroll}>{table}</div>"
