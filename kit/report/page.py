"""The board as one page: `index.html`, which needs no network and no other file to be read.

Figures are embedded; executed notebooks are linked where they lie beside the page.
"""

import base64
from html import escape
from pathlib import Path

import pandas as pd

from ..io.files import replacing
from .board import GATE, board, read_reports

WIDTH = 220  # of an interval's picture, pixels

STYLE = """
:root { color-scheme: light dark; --line: #ccc; --soft: #666; --bar: #0072b2; --floor: #d55e00 }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #aaa; --bar: #56b4e9 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
.scroll { overflow-x: auto } .scroll:focus { outline: 2px solid var(--bar) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: middle; font-weight: normal }
thead th { font-weight: bold } th[scope=row], td.text, th.text { text-align: left }
th[scope=row] { white-space: normal; min-width: 7rem }
.mark { border: 2px solid var(--floor); padding: .5rem 1rem; font-weight: bold }
figure { margin: 1rem 0 } figure img { max-width: 100%; height: auto; background: white }
figcaption, dd, main > p:not(.mark) { color: var(--soft) }
dl { overflow-wrap: anywhere } dt { font-weight: bold }
svg .line { stroke: var(--bar) } svg .dot { fill: var(--bar) }
@media (max-width: 40rem) {
  th, td { padding: .3rem } th[scope=row] { overflow-wrap: anywhere; max-width: 12rem }
  svg { width: 8rem } }
svg .floor { stroke: var(--floor) } svg .top { stroke: var(--soft) }
"""


def write_page(folder, released=None):
    """Write `index.html` into the folder of the runs; returns its path.

    released: frame by submission's path of scores against released truth, as `board.released` gives it.
    """
    reports = read_reports(folder)
    simulated = any(report["data"]["simulated"] for report in reports.values())
    parts = ["<h1>Echoes of Silenced Genes: the board</h1>"]
    if simulated:
        parts.append(
            '<p class="mark">Simulated data: the scores test the software and say nothing about the '
            "models.</p>"
        )
    parts += _board(folder, reports)
    if released is not None and len(released):
        parts += _released(released)
    parts += _notebooks(Path(folder), reports)
    parts += _provenance(reports)
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Echoes of Silenced Genes: the board</title>\n<style>{STYLE}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )
    path = Path(folder) / "index.html"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _board(folder, reports):
    table, tops = board(folder), []
    for report in reports.values():
        if report.get("ceiling"):
            tops.append(report["ceiling"][GATE]["score_per_60"])
    ends = table["90 % interval"].str.extract(r"^(-?[\d.]+) \.\. (-?[\d.]+)$").astype(float)
    low, high = (min(0.0, ends[0].min()), max(0.0, ends[1].max())) if len(table) else (0.0, 1.0)
    ceiling = min(tops, default=None)
    rows = []
    for place, row in table.iterrows():
        if pd.isna(row["score/60"]):
            cells = [escape(row[name]) for name in ("model", "90 % interval", "notebook")]
            rows.append(
                f'<tr><th scope="row">{cells[0]}</th><td class="text" colspan="5">{cells[1]}</td>'
                f'<td class="text">{cells[2]}</td><td colspan="2"></td></tr>'
            )
            continue
        picture = _interval(row["score/60"], *ends.loc[place], (low, high), ceiling)
        cells = [
            f'<th scope="row">{escape(row["model"])}</th>',
            f"<td>{row['score/60']:.2f}</td>",
            f"<td>{picture}</td>",
            f"<td>{row['90 % interval']}</td>",
            *(f"<td>{row[name]:.2f}</td>" for name in ("W/60", "Wcos")),
            f'<td class="text">{escape(row["notebook"])}</td>',
            *(f"<td>{row[name]:.0f}</td>" for name in ("rows", "seconds")),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["model", "score", "", "90 % interval", "W", "Wcos", "notebook", "rows", "seconds"]
    note = (
        "Out-of-fold scores for 60 rows, gate 0.2: W, the gains in weighted error over the mean, times "
        "Wcos, the cosine of prediction and truth. Floor (orange line): the mean training effect, 0."
    )
    if tops:
        note += f" Ceiling (grey line): half the cells against the other half, {ceiling:.2f}."
    return ["<h2>Models, best first</h2>", _table(heads, rows, note)]


def _released(released):
    rows = [
        f'<tr><th scope="row">{escape(name).replace("/", "/<wbr>")}</th>'
        + "".join(f"<td>{'' if pd.isna(value) else f'{value:.2f}'}</td>" for value in row)
        + "</tr>"
        for name, row in zip(released.index, released.to_numpy(), strict=True)
    ]
    note = "Saved submissions against released truth, for 60 rows (public: val, private: test)."
    return ["<h2>Released truth</h2>", _table(["submission", *released.columns], rows, note)]


def _notebooks(folder, reports):
    """Each notebook's figure worth seeing, with a link to all it shows."""
    parts = ["<h2>Notebooks</h2>"]
    for path, report in reports.items():
        name = report["notebook"]
        shown = path.parent / f"{name}.html"
        link = shown.relative_to(folder).as_posix() if shown.is_file() else None
        title = f'<a href="{escape(link, quote=True)}">{escape(name)}</a>' if link else escape(name)
        parts.append(f"<h3>{title}</h3>")
        figure = next(iter(report.get("figures", [])), None)
        image = figure and path.parent / figure["file"]
        if image and image.is_file():
            content = base64.b64encode(image.read_bytes()).decode()
            alt = escape(figure["title"], quote=True)
            parts.append(
                f'<figure><img alt="{alt}" src="data:image/png;base64,{content}">'
                f"<figcaption>{escape(figure['title'])}</figcaption></figure>"
            )
    return parts


def _provenance(reports):
    heads = ["notebook", "data", "hash", "seed", "budget", "seconds", "peak memory, MB", "started"]
    rows = []
    for report in reports.values():
        data = report["data"]
        cells = [data["folder"], data["hash"][:12], report["seed"], report["budget"]]
        cells += [f"{report['seconds']:.0f}", report["peak_memory_mb"], report["started"]]
        text = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(report["notebook"])}</th>{text}</tr>')
    last = list(reports.values())[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    return [
        "<h2>How it was made</h2>",
        _table(heads, rows, "Runs: what they read, how long they took."),
        f"<dl><dt>versions</dt><dd>{escape(versions)}</dd></dl>",
    ]


def _table(heads, rows, note):
    """A table with headers for columns and rows, that scrolls by itself where it is too wide."""
    cells = "".join(
        f'<th scope="col"{_left(place, head)}>{escape(head) or _hidden("interval drawn")}</th>'
        for place, head in enumerate(heads)
    )
    label = escape(note.split(".")[0], quote=True)
    return (
        f"<p>{escape(note)}</p>"
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _left(place, head):
    return ' class="text"' if place == 0 or head == "notebook" else ""


def _hidden(text):
    """Text for screen readers only."""
    return f'<span style="position:absolute;left:-9999px">{text}</span>'


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
