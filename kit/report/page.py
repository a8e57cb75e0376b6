"""The board as one page: `index.html`, which needs no network and no other file to be read.

Figures are embedded; executed notebooks are linked where they lie beside the page. The frame and the
style of the page are in `page.html`.
"""

import base64
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from ..io.files import replacing
from .board import GATE, SIMULATED, board, read_reports

WIDTH = 220  # of an interval's picture, pixels
FRAME = Path(__file__).with_name("page.html")
TEXT = ("notebook", "data", "hash", "budget", "started")  # columns of text, which begin at the left


def write_page(folder: Path | str, released: pd.DataFrame | None = None) -> Path:
    """Write `index.html` into the folder of the runs; return its path.

    released: frame by submission's path of scores against released truth, as `board.released` gives it.
    """
    reports = read_reports(folder)
    parts = []
    if any(report["data"]["simulated"] for report in reports.values()):
        parts.append(f'<p class="mark">{SIMULATED}</p>')
    parts += _board(folder, reports)
    if released is not None and len(released):
        rows = [
            [
                escape(name).replace("/", "/<wbr>"),
                *("" if pd.isna(one) else f"{one:.2f}" for one in row),
            ]
            for name, row in zip(released.index, released.to_numpy(), strict=True)
        ]
        note = "Saved submissions against released truth, for 60 rows (public: val, private: test)."
        heads = ["submission", *released.columns]
        parts += ["<h2>Released truth</h2>", _table(heads, rows, note)]
    parts += [*_notebooks(Path(folder), reports), *_provenance(reports)]
    page = Template(FRAME.read_text(encoding="utf-8")).substitute(content="\n".join(parts))
    path = Path(folder) / "index.html"
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _board(folder, reports):
    table = board(folder)
    tops = [one["ceiling"][GATE]["score_per_60"] for one in reports.values() if one.get("ceiling")]
    ends = table["90 % interval"].str.extract(r"^(-?[\d.]+) \.\. (-?[\d.]+)$").astype(float)
    limits = (min(0.0, ends[0].min()), max(0.0, ends[1].max())) if len(table) else (0.0, 1.0)
    ceiling, rows = min(tops, default=None), []
    for place, row in table.iterrows():
        model, span, notebook = (
            escape(row[name]) for name in ("model", "90 % interval", "notebook")
        )
        if pd.isna(row["score/60"]):  # it failed: the reason stands for the interval
            rows.append([model, "", "", span, "", "", notebook, "", ""])
            continue
        picture = _interval(row["score/60"], *ends.loc[place], limits, ceiling)
        numbers = [f"{row[name]:.2f}" for name in ("W/60", "Wcos")]
        counts = [f"{row[name]:.0f}" for name in ("rows", "seconds")]
        rows.append([model, f"{row['score/60']:.2f}", picture, span, *numbers, notebook, *counts])
    heads = ["model", "score", "", "90 % interval", "W", "Wcos", "notebook", "rows", "seconds"]
    note = (
        "Out-of-fold scores for 60 rows, gate 0.2: W, the gains in weighted error over the mean, times "
        "Wcos, the cosine of prediction and truth. Floor (orange line): the mean training effect, 0."
    )
    if tops:
        note += f" Ceiling (grey line): half the cells against the other half, {ceiling:.2f}."
    return ["<h2>Models, best first</h2>", _table(heads, rows, note)]


def _notebooks(folder, reports):
    """Each notebook's main figure, with a link to all it shows."""
    parts = ["<h2>Notebooks</h2>"]
    for path, report in reports.items():
        title = escape(report["notebook"])
        shown = path.parent / f"{report['notebook']}.html"
        if shown.is_file():
            link = escape(shown.relative_to(folder).as_posix(), quote=True)
            title = f'<a href="{link}">{title}</a>'
        parts.append(f"<h3>{title}</h3>")
        figure = next(iter(report["figures"]), None)
        image = figure and path.parent / figure["file"]
        if image and image.is_file():
            content = base64.b64encode(image.read_bytes()).decode()
            text = escape(figure["title"], quote=True)
            parts.append(
                f'<figure><img alt="{text}" src="data:image/png;base64,{content}">'
                f"<figcaption>{text}</figcaption></figure>"
            )
    return parts


def _provenance(reports):
    heads = ["notebook", "data", "hash", "seed", "budget", "seconds", "peak memory, MB", "started"]
    rows = []
    for report in reports.values():
        data = report["data"]
        cells = [report["notebook"], data["folder"], data["hash"][:12], report["seed"]]
        cells += [report["budget"], f"{report['seconds']:.0f}", report["peak_memory_mb"]]
        rows.append([escape(str(cell)) for cell in (*cells, report["started"])])
    last = list(reports.values())[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    return [
        "<h2>How it was made</h2>",
        _table(heads, rows, "Runs: what they read, how long they took."),
        f"<dl><dt>versions</dt><dd>{escape(versions)}</dd></dl>",
    ]


def _table(heads, rows, note):
    """A table of cells in HTML, the first of a row its header; it scrolls by itself where too wide."""

    def cell(kind, place, content):
        left = ' class="text"' if place == 0 or heads[place] in TEXT else ""
        scope = f' scope="{kind}"' if kind else ""
        tag = "th" if kind else "td"
        return f"<{tag}{scope}{left}>{content}</{tag}>"

    unnamed = '<span class="hidden">interval drawn</span>'  # for screen readers
    head = "".join(cell("col", place, escape(one) or unnamed) for place, one in enumerate(heads))
    body = [
        "".join(cell("" if place else "row", place, one) for place, one in enumerate(row))
        for row in rows
    ]
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    label = escape(note.split(".")[0], quote=True)
    return (
        f"<p>{escape(note)}</p>"
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _interval(score, low, high, limits, ceiling):
    """An interval as a picture: a line with a dot, the floor and, where it is in sight, the ceiling."""
    start, end = limits
    span = (end - start) or 1.0

    def across(value):
        return f"{6 + (WIDTH - 12) * (value - start) / span:.1f}"

    top = ""
    if ceiling is not None and start <= ceiling <= end:
        top = f'<line class="top" x1="{across(ceiling)}" x2="{across(ceiling)}" y1="0" y2="16"/>'
    return (
        f'<svg width="{WIDTH}" height="16" viewBox="0 0 {WIDTH} 16" role="img" '
        f'aria-label="{score:.2f}, interval {low:.2f} to {high:.2f}">'
        f'<line class="floor" x1="{across(0)}" x2="{across(0)}" y1="0" y2="16"/>{top}'
        f'<line class="line" stroke-width="2" x1="{across(low)}" x2="{across(high)}" y1="8" y2="8"/>'
        f'<circle class="dot" cx="{across(score)}" cy="8" r="4"/></svg>'
    )
