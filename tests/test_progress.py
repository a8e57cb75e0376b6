"""Progress: a bar on a terminal, a line a step in a log, nothing where it is not wanted."""

import io
import re
import time

import pytest

from kit.io import progress as module
from kit.io.progress import progress


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_log_has_a_line_a_step_with_its_time(clock, capsys):
    with progress("folds", 3) as done:
        for seconds in (12, 7, 0.2):
            clock.now += seconds
            done()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["folds: 1 of 3 took 12 s", "folds: 2 of 3 took 7 s"]


def test_one_step_has_a_line_at_its_end_and_a_short_one_none(clock, capsys):
    with progress("fit"):
        clock.now += 40
    with progress("glance"):
        clock.now += 0.5
    assert capsys.readouterr().err.splitlines() == ["fit took 40 s"]


def test_of_many_steps_a_log_has_a_line_now_and_then(clock, capsys):
    with progress("K562", 10_000, " cells") as done:
        for _ in range(100):
            clock.now += 1
            done(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "K562: 3,000 of 10,000 cells after 30 s"
    assert len(lines) == 4
    assert lines[-1] == "K562 took 100 s"


def test_inner_work_is_not_in_the_log_also_after_an_error(clock, capsys):
    def work(label):
        with progress(label, 2) as done:
            with progress("inner"):
                clock.now += 5
            done()
            raise ValueError("broken")

    for label in "ab":
        with pytest.raises(ValueError, match="broken"):
            work(label)
    assert capsys.readouterr().err.splitlines() == [f"{x}: 1 of 2 took 5 s" for x in "ab"]


def test_a_terminal_has_a_bar_and_a_variable_hides_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = {}
    for hidden in ("", "1"):
        monkeypatch.setenv("TQDM_DISABLE", hidden)
        if not hidden:
            monkeypatch.delenv("TQDM_DISABLE")
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        with progress("folds", 2) as done:
            for _ in range(2):
                time.sleep(0.11)  # a bar is drawn ten times a second at most
                done()
        shown[hidden] = terminal.getvalue()
    assert re.search(r"folds: 100%.*2/2", shown[""])
    assert shown["1"] == ""


def test_a_program_without_stderr_shows_nothing(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("sys.stderr", None)
    with progress("folds", 2) as done:
        done()
