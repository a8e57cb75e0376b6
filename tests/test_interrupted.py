"""Runs that meet, are stopped, or find no room: nothing half-written, and the next run ends right."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from attacks import kit, seeded
from conftest import ROOT
from small_competition import write_small
from small_merged import same
from small_screen import make_screen

from kit.io.files import content_hash, replacing
from kit.io.hdf5 import made, opened

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.filterwarnings("ignore")]


def started(*words):
    """The command line in a process of its own, its exit code that of the command."""

    def work():
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os._exit(kit(*words))
        except KeyboardInterrupt:  # before the words are read, on a busy machine
            os._exit(130)

    process = multiprocessing.get_context("fork").Process(target=work)
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the new process runs `work`
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, earlier)
    return process


def ended(process):
    """Exit code of a process, at most two minutes later."""
    process.join(120)
    return process.exitcode


def content(folder):
    """What identifies a twin: its tables' content, and the names of all its files."""
    return content_hash(folder.glob("*.csv")), {path.name for path in folder.iterdir()}


@pytest.fixture
def merging(tmp_path):
    """Words of a merge into the folder `out`, and what it writes when nothing disturbs it."""
    screen = make_screen(write_small(tmp_path / "data"))
    words = ("--data", screen.parent, "--hgnc", screen.parent / "hgnc.txt", "--min-cells", 2)
    assert kit("merge", screen, *words, "--out", tmp_path / "alone") == 0
    return ("merge", screen, *words, "--out", tmp_path / "out"), tmp_path / "alone"


def same_merge(one, other):
    names = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (one, other)]
    files = ("responses.h5ad", "cells.h5ad")
    return names[0] == names[1] and all(same(one / name, other / name) for name in files)


def test_two_twins_at_once_in_one_folder_end_right(twin, tmp_path):
    folder = tmp_path / "a twin"
    assert [ended(run) for run in [started("twin", folder) for _ in range(2)]] == [0, 0]
    assert content(folder) == content(twin)
    assert os.listdir(tmp_path) == ["a twin"]


def test_three_merges_at_once_in_one_folder_end_right(merging, tmp_path):
    words, alone = merging
    assert [ended(run) for run in [started(*words) for _ in range(3)]] == [0, 0, 0]
    assert same_merge(tmp_path / "out", alone)


def test_a_twin_stopped_at_any_moment_is_made_by_the_next_run(twin, tmp_path):
    random, folder, codes = seeded("moments"), tmp_path / "twin", []
    for how in (signal.SIGKILL, signal.SIGINT):
        run = started("twin", folder)
        time.sleep(random.uniform(0.05, 0.8))
        os.kill(run.pid, how)
        codes.append(ended(run))
        # Whole or not there: a fast machine may have finished.
        assert not folder.exists() or content(folder) == content(twin)
    assert set(codes) <= {0, 130, -signal.SIGKILL}
    assert ended(started("twin", folder)) == 0
    assert content(folder) == content(twin)
    assert os.listdir(tmp_path) == ["twin"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_merge_stopped_at_any_moment_is_taken_up_by_the_next_run(how, merging, tmp_path):
    words, alone = merging
    for moment in seeded("moments", how.name).uniform(0, 0.3, 4):
        run = started(*words)
        time.sleep(moment)
        os.kill(run.pid, how)
        assert ended(run) in {0, 130, -how}
    assert ended(started(*words)) == 0
    assert same_merge(tmp_path / "out", alone)


@pytest.mark.parametrize(
    "becomes", [None, SystemError("<cyfunction> returned a result"), OSError(5)]
)
def test_an_interrupt_that_c_code_loses_or_renames_leaves_no_file(becomes, tmp_path):
    """As h5py does where the signal arrives while C calls back: the block sees another error, or none."""
    path = tmp_path / "new.h5"

    def interrupted():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if becomes is not None:
                raise becomes from None

    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), replacing(path) as part, made(part) as file:
            interrupted()
        assert not os.listdir(tmp_path)
        with made(path) as file:
            file["obs"] = file["var"] = [1, 2, 3]
        with pytest.raises(KeyboardInterrupt), opened(path):
            interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, earlier)


# as a shell sees it


def command(*words, **settings):
    words = [sys.executable, "-m", "kit", *map(str, words)]
    return subprocess.run(words, cwd=ROOT, stderr=subprocess.PIPE, check=False, **settings)


def limited():
    """No file may exceed 100 kB, as on a disk that is nearly full; to be called in the new process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_twin_without_room_is_one_clear_line_and_leaves_nothing(tmp_path):
    done = command("twin", tmp_path / "twin", preexec_fn=limited)
    assert done.returncode == 1, done.stderr  # HDF5 would end the process instead
    _, line = done.stderr.splitlines()  # the first says what is being done
    assert b"File too large" in line
    assert not os.listdir(tmp_path)


def test_paths_of_any_letters_are_read_and_printed_on_any_terminal(tmp_path):
    folder = write_small(tmp_path / "a b é \udcff \x1b[31m")
    file = folder / "line\nbreak.csv"
    shutil.copy(folder / "sample_submission.csv", file)
    for encoding in ("ascii", "utf-8"):
        settings = {"env": os.environ | {"PYTHONIOENCODING": encoding}, "stdout": subprocess.PIPE}
        good = command("check", file, "--data", folder, **settings)
        assert (good.returncode, b"valid, 4 ids" in good.stdout) == (0, True), good.stderr
        bad = command("check", folder / "\udcff\n.csv", "--data", folder, **settings)
        assert bad.returncode == 1
        lines = bad.stderr.splitlines()
        assert [line.startswith(b"error: ") for line in lines] == [False] * (len(lines) - 1) + [
            True
        ]
        assert lines[-1].isascii() or encoding == "utf-8"


def test_a_full_or_closed_output_ends_without_a_traceback(tmp_path):
    folder = write_small(tmp_path / "data")
    words = ("check", folder / "sample_submission.csv", "--data", folder)
    with open("/dev/full", "w") as full:
        done = command(*words, stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(b"error: ")
    reader, writer = os.pipe()
    os.close(reader)
    done = command(*words, stdout=writer)
    os.close(writer)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


VARIANTS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_planted import an_atlas, planted
from kit import Run, folds
from kit.knowledge import Knowledge
from kit.networks import Settings, Transformer, compare_variants
from kit.networks.transformer import Shape

place = Path({place!r})
place.mkdir(exist_ok=True)
competition, pathways = planted(place, rows=24)
run, steps = Run("06", competition, seed=0), Settings(steps=16, every=8)
model = Transformer(
    Knowledge(pathways, an_atlas(competition)), shape=Shape(4, 2, 8, 4), members=2,
    pretraining=steps, tuning=steps, checkpoints=run.folder / "checkpoints",
)
compare_variants(model, "transformer", competition, folds(competition.effects.index, 3), run=run)
"""


def test_a_comparison_killed_during_its_third_variant_ends_as_one_that_was_not(tmp_path):
    def started_in(name):
        code = VARIANTS.format(tests=str(ROOT / "tests"), place=str(tmp_path / name))
        environment = os.environ | {"ESG_OUTPUTS": str(tmp_path / name), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-c", code], env=environment)

    def saved(name):
        found = (tmp_path / name / "06" / "predictions").glob("transformer-*.csv")
        return {path.name: path.read_bytes() for path in found}

    assert started_in("whole").wait(300) == 0
    run, kept = started_in("killed"), tmp_path / "killed" / "06" / "checkpoints"
    while len(saved("killed")) < 4 or len(list(kept.glob("*.pt"))) < 3:  # in the third, `pretrain`
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    before = saved("killed")
    assert 4 <= len(before) < len(saved("whole")) == 8
    assert started_in("killed").wait(300) == 0
    assert saved("killed") == saved("whole")
    assert before.items() <= saved("killed").items()
