"""The board's page: whole by itself, marked where simulated, readable at both widths."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pytest
from small_report import report

from kit.report.board import board, write_page

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture
def outputs(tmp_path):
    figure = {"file": "first.png", "title": 'Genes <x> & "y" move'}
    content = {
        "02_baseline": report("02_baseline", {"mean": 0.0, "best <b>": 3.0}, ceiling=4.5),
        "04_neighbours": report("04_neighbours", {"neighbours": 1.25}, figures=[figure]),
    }
    for name, one in content.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(one))
    (tmp_path / "04_neighbours" / "first.png").write_bytes(PNG)
    (tmp_path / "04_neighbours" / "04_neighbours.html").write_text("<p>shown</p>")
    return tmp_path


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.words, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def read(outputs, **options):
    return Elements(write_page(outputs, **options).read_text())


def test_the_page_shows_every_model_best_first_with_its_interval(outputs):
    page = read(outputs)
    words = [word for word in page.words if word in ("best <b>", "neighbours", "mean")]
    assert words == list(board(outputs)["model"]) == ["best <b>", "neighbours", "mean"]
    pictures = [one["aria-label"] for one in page.all("svg")]
    assert pictures[0] == "3.00, interval 2.00 to 5.00"
    assert any("half the cells against the other half, 4.50" in w for w in page.words)
    labels = [one["aria-label"] for one in page.all("div")]
    assert "gate 0.2" in labels[0]


def test_text_is_aligned_left_with_its_heading_and_numbers_are_not(outputs):
    text = write_page(outputs).read_text()
    left = re.findall(r'<span class="text">(.*?)</span>', text)
    assert {"notebook", "02_baseline", "data", "twin-quick", "started"} < set(left)
    assert not {"score", "3.00", "rows", "40", "seconds", "2", "12", "300"} & set(left)
    assert {"3.00", "40", "2", "12", "300"} < set(Elements(text).words)


def test_a_dot_lies_inside_its_interval_and_the_ceiling_is_a_band(outputs):
    text = write_page(outputs).read_text()
    for picture in re.findall(r"<svg.*?</svg>", text):
        x1, x2 = map(float, re.search(r'"line" x1="([-\d.]+)" x2="([-\d.]+)"', picture).groups())
        dot = float(re.search(r'"dot" x1="([-\d.]+)"', picture)[1])
        assert dot == pytest.approx(x1 + (x2 - x1) / 3)  # from 1 below to 2 above
        start, width = map(float, re.search(r'viewBox="([-\d.]+) 0 ([\d.]+) 1"', picture).groups())
        assert start < x1 < x2 < start + width
        band = re.search(r'"top" x1="([-\d.]+)" x2="([-\d.]+)"', picture).groups()
        assert tuple(map(float, band)) == (1.5, 40)  # an interval, which does not squeeze the rest
        assert start + width < 40
    assert set(re.findall(r'"floor" x1="([\d.]+)"', text)) == {"0"}


def test_the_page_needs_no_other_file(outputs):
    page = read(outputs)
    for tag, attributes in page.found:
        assert tag not in ("script", "link", "iframe")
        assert attributes.get("src", "data:").startswith("data:image/png;base64,"[:5])
        assert not attributes.get("href", "").startswith(("http", "/"))


def test_models_notebooks_figures_and_submissions_link_to_files_beside_the_page(outputs):
    (outputs / "02_baseline").rename(outputs / "old #2")
    for name in ("submission.csv", "submission_robust.csv"):
        (outputs / "old #2" / name).write_text("")
    scores = pd.DataFrame({"public": [4.09]}, ["old #2/submission_robust.csv"])
    links = [one["href"] for one in read(outputs, released=scores).all("a")]
    shown, other = "04_neighbours/04_neighbours.html", "old%20%232/report.json"
    best, robust = "old%20%232/submission.csv", "old%20%232/submission_robust.csv"
    assert links[:4] == [other, shown, other, robust]  # best, neighbours, mean; released truth
    assert links[4:] == [shown, "04_neighbours/first.png", other, best, robust]
    assert all((outputs / unquote(link)).is_file() for link in links)


def test_figures_have_their_finding_as_text_and_tables_have_headers(outputs):
    page = read(outputs)
    assert [one["alt"] for one in page.all("img")] == ['Genes <x> & "y" move']
    assert page.words.count('Genes <x> & "y" move') == 0  # the figure shows its title
    text = write_page(outputs).read_text()
    heads, bodies = (re.findall(rf"<{tag}>.*?</{tag}>", text, re.S) for tag in ("thead", "tbody"))
    assert len(heads) == len(bodies) == 2
    for head, body in zip(heads, bodies, strict=True):
        assert "<th>" in head
        assert "<td" not in head
        rows = re.split("<tr[^>]*>", body)[1:]
        assert all(re.match(r"\s*<th>(<a [^>]*>)?[^<]", row) for row in rows)
    assert all(one["tabindex"] == "0" for one in page.all("div"))
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_data_is_marked(outputs, simulated):
    path = outputs / "02_baseline" / "report.json"
    for path in outputs.glob("*/report.json"):
        content = json.loads(path.read_text())
        content["data"]["simulated"] = simulated
        path.write_text(json.dumps(content))
    marked = any("Simulated data" in word for word in read(outputs).words)
    assert marked == simulated


def test_released_truth_has_a_table_of_its_own(outputs):
    scores = pd.DataFrame({"public": [4.09], "private": [float("nan")]}, ["02/submission.csv"])
    words = read(outputs, released=scores).words
    assert "4.09" in words
    assert "nan" not in words
    assert "Released truth" not in read(outputs).words


def in_chromium(page, profile, *flags):
    """Run Chromium without a window on a page; what it prints."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", f"--user-data-dir={profile}", *flags, page.as_uri()]
    environment = os.environ | {"HOME": str(profile)}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 820])
def test_in_a_browser_nothing_is_wider_than_the_window_and_nothing_is_fetched(
    outputs, tmp_path, width
):
    # The page tells its widths, and what it has loaded, to a page around it.
    text = write_page(outputs).read_text()
    loaded = "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))"
    images = "[...document.images].every(image => image.complete && image.naturalWidth)"
    measure = "[document.documentElement.scrollWidth, innerWidth, "
    measure = f"parent.postMessage({measure}{loaded}.length, {images}].join(), '*')"
    inner = outputs / "inner.html"
    script = f"<script>onload = () => {measure}</script></body>"
    inner.write_text(text.replace("</body>", script))
    tell = "onmessage = event => document.body.append('measured ' + event.data + '.')"
    outer = outputs / "outer.html"
    outer.write_text(
        f'<body><script>{tell}</script><iframe src="inner.html" width="{width}"></iframe></body>'
    )
    done = in_chromium(outer, tmp_path / "new", "--dump-dom", "--virtual-time-budget=5000")
    found = re.search(r"measured (\d+),(\d+),(\d+),(\w+)\.", done.stdout)
    assert found, done.stderr[-2000:]
    content, window, requests, seen = found.groups()
    assert int(content) <= int(window) <= width
    assert requests == "0"
    assert seen == "true"
