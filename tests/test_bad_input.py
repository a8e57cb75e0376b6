"""Bad input of every kind ends in one clear line and exit code 1, or in a right result.

Good files are spoilt in named ways (`bad_files`), read through the command line or the readers, and what
comes back is judged (`attacks`): no other exception, no wait beyond the limit, no half-written file, no
silent nonsense. Each test counts its attacks. Here tables and reports; knowledge and h5ad files have
tests of their own.
"""

import copy
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from attacks import anew, attack, judge, kit, seeded
from bad_files import BYTES, PLACES, TEXT
from small_competition import write_small, write_solution
from small_report import report

from kit.io.files import read_table

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.filterwarnings("ignore")]
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def as_pandas_reads(path, index, words):
    """A CSV by another reader, its numbers by a strict pattern: ValueError where they are none."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.columns = [name.strip() for name in table.columns.str.replace("Unnamed: 0", "")]
    table = table.map(str.strip).set_index(index)
    for name in table.columns.difference(words):
        if not all(map(NUMBER.fullmatch, table[name])):
            raise ValueError(f"{name} holds {list(table[name])}")
        table[name] = table[name].astype(float)
    return table


TABLES = {
    "training_data_means.csv": "pert_symbol",
    "training_data_ground_truth_table.csv": "pert_id",
    "pert_ids_all.csv": "pert_id",
    "pert_ids_val.csv": "pert_id",
    "sample_submission.csv": "pert_id",
    "solution_val.csv": "pert_id",
    "submission é 1.csv": "pert_id",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_spoilt_table_is_refused_or_read_as_it_stands(name, tmp_path):
    good, folder = write_small(tmp_path / "good"), tmp_path / "with a space"
    write_solution(good)
    shutil.copy(good / "sample_submission.csv", good / "submission é 1.csv")
    shutil.copytree(good, folder)
    path, submission, faults = folder / name, folder / "submission é 1.csv", []
    check = ("check", submission, "--data", folder)
    score = ("score", submission, "--solution", folder / "solution_val.csv")
    scored = name.startswith(("s", "solution")) and not name.startswith("sample")
    spoilers = BYTES | TEXT | PLACES
    for kind, spoil in spoilers.items():
        for words in (check, score) if scored else (check,):
            anew(path, good / name)
            spoil(path, seeded(name, kind))
            found, fault = attack(kit, *words)
            if found == 0 and not fault and path.is_file():
                text = ("pert", "class") if "ids" in name else ("Usage",)
                try:
                    read = as_pandas_reads(path, TABLES[name], text)
                    pd.testing.assert_frame_equal(
                        read_table(path, TABLES[name], text=text), read, rtol=1e-12
                    )
                except (ValueError, AssertionError, KeyError) as error:
                    fault = f"read otherwise than by pandas: {error}"[:300]
            faults += [f"{words[0]} {kind}: {fault}"] if fault else []
    judge(faults, len(spoilers), 80)
    assert {entry.name for entry in folder.iterdir()} <= {*TABLES, "kept elsewhere é"}


# reports

VALUES = {
    "null": None, "text": "x", "minus": -1e308, "nan": np.nan, "list": [], "object": {}, "true": True,
    "elsewhere": "../../secret", "nested": {"a": [1]}, "huge": 10**400,
}  # fmt: skip


def places_in(value, place=()):
    """Every place in a report, as a tuple of keys."""
    yield place
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield from places_in(part, (*place, key))


def with_value(whole, place, value):
    """A copy with another value at a place; the place goes where the value is `gone`."""
    changed = copy.deepcopy(whole)
    part = changed
    for key in place[:-1]:
        part = part[key]
    if value == "gone":
        del part[place[-1]]
    else:
        part[place[-1]] = value
    return changed


def test_a_spoilt_report_is_refused_or_shown_without_other_peoples_files(tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    (tmp_path / "secret.html").write_text("SECRET")
    path = tmp_path / "outputs" / "a" / "report.json"
    path.parent.mkdir(parents=True)
    figures = [{"file": "first.png", "title": "x"}]
    good, attacks, faults = report("a", {"mean": 0.0}, ceiling=4.5, figures=figures), 0, []
    for place in places_in(good):
        for kind, value in (VALUES | {"gone": "gone"}).items() if place else ():
            path.write_text(json.dumps(with_value(good, place, value)).replace("Infinity", "1e999"))
            found, fault = attack(kit, "board", tmp_path / "outputs")
            attacks += 1
            if found == 0 and re.search(
                "SECRET|U0VDUkVU|secret.html", (path.parents[1] / "index.html").read_text()
            ):
                fault = "shows a file from elsewhere"
            faults += [f"{place} {kind}: {fault}"] if fault else []
    for content in (
        "",
        "[" * 100_000,
        "null",
        "{}",
        "\x00",
        "NaN",
        '{"models": 1, "data": 2, "submission": 3}',
    ):
        path.write_text(content)
        found, fault = attack(kit, "board", tmp_path / "outputs")
        faults += [f"{content[:9]}: {fault or found}"] if fault or found is not None else []
    judge(faults, attacks, 200)


def test_half_a_report_of_a_run_that_was_killed_is_not_read(tmp_path):
    (tmp_path / ".report.json.x1").mkdir()
    (tmp_path / ".report.json.x1" / "report.json").write_text('{"half')
    (tmp_path / "report.json").write_text(json.dumps(report("a", {"mean": 0.0})))
    assert attack(kit, "board", tmp_path) == (0, "")
