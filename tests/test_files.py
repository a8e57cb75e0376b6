"""Reading and writing whole files: faults are told in one line, a file is old or new, never half."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kit.io import files
from kit.io.files import (
    InputError,
    content_hash,
    label_fault,
    quote_some,
    read_table,
    replacing,
)

ROOT = Path(__file__).resolve().parent.parent


def table_file(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_keeps_labels_numbers_and_words(tmp_path):
    path = table_file(tmp_path, "a,id,kind,b\n1,x,val,-2.5\n3e-2, y ,test,0\n")
    table = read_table(path, "id", text=("kind",))
    assert list(table.columns) == ["a", "kind", "b"]
    assert list(table.index) == ["x", "y"]
    assert list(table["kind"]) == ["val", "test"]
    assert table["a"].tolist() == [1.0, 0.03]
    assert table["b"].tolist() == [-2.5, 0.0]


def test_numbers_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=500) * 10.0 ** np.arange(-250, 250)
    lines = "".join(f"r{i},{float(value)!r}\n" for i, value in enumerate(values))
    table = read_table(table_file(tmp_path, "id,x\n" + lines), "id")
    assert (table["x"].to_numpy() == values).all()


def test_labels_that_look_like_numbers_or_missing_values_stay_strings(tmp_path):
    table = read_table(table_file(tmp_path, "id,x\nNA,1\n007,2\nnan,3\n"), "id")
    assert list(table.index) == ["NA", "007", "nan"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfid,x,y\r\na,1,2\r\nb,3,4\r\n",
        b"id,x,y\na,1,2\n\nb,3,4",
        b'"id","x","y"\n"a","1","2"\n"b"," 3 ",4\n',
        b"id, x, y\na,1,2\nb,3,4\n",
    ],
    ids=["windows", "blank line, no last line ending", "quotes", "spaces"],
)
def test_harmless_dialects_read_alike(tmp_path, text):
    table = read_table(table_file(tmp_path, text), "id")
    assert table.to_dict("index") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; want a CSV file with a header line"),
        ("\n\n", "is empty"),
        ("id,x,y\n", "has a header but no rows; is it cut off?"),
        ("name,x\na,1\n", "has no column `id`; its columns are name, x"),
        ("id,x,x\na,1,2\n", "has repeated columns: x"),
        ("id,x,y\na,1,2\nb,3\n", "line 3: 2 fields, want 3; is the file cut off?"),
        ("id,x,y\na,1,2,9\nb,3,4,9\n", "line 2: 4 fields, want 3"),
        ("id,x,y\na,1,2\nb,3,\n", "line 3: column `y` holds ``, want a finite number"),
        ("id,x,y\na,1,two\n", "line 2: column `y` holds `two`, want a finite number"),
        ("id,x,y\na,1,True\n", "column `y` holds `True`"),
        ("id,x,y\n\na,1,nan\n", "line 3: column `y` holds `nan`"),
        ("id,x,y\na,-inf,2\n", "column `x` holds `-inf`"),
        ("id,x,y\na,1e999,2\n", "column `x` holds `1e999`"),
        ("id,x,y\na,1,2\n ,3,4\n", "line 3: column `id` holds ``, want a label"),
        ('id,x,y\na,1,"two\nlines"\n', "column `y` holds `two lines`, want a finite number"),
        ("id,x,y\na,1,2\na,3,4\n", "has repeated rows in `id`: a"),
        ('id,x,y\na,1,"2\n', "cannot be read as CSV text: unexpected end of data"),
        (b"id,x\na,1\n\xff\xfe,2\n", "cannot be read as CSV text: 'utf-8'"),
        (b"\x89HDF\r\n\x1a\n\xff", "cannot be read as CSV text"),
    ],
)
def test_a_faulty_table_is_told_in_one_line(tmp_path, text, message):
    path = table_file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_table(path, "id")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_blank_word_is_a_fault(tmp_path):
    path = table_file(tmp_path, "id,kind\na,\n")
    with pytest.raises(InputError, match="column `kind` holds ``, want a label"):
        read_table(path, "id", text=("kind",))


def test_a_missing_file_and_a_folder_are_no_tables(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        read_table(tmp_path / "none.csv", "id")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path, "id")


def test_label_fault_counts_and_names():
    assert label_fault(["b", "a"], ["a", "b"]) == ""
    assert label_fault(["a", "x"], ["a", "b"]) == "got 2, want 2; missing: b; unknown: x"
    assert label_fault(["a", "a"], ["a"]) == "got 2, want 1; repeated: a"


def test_quote_some_names_the_first_few():
    assert quote_some(range(8)) == "0, 1, 2, 3, 4 and 3 more"
    assert quote_some("ab") == "a, b"


def test_a_replaced_file_is_new_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path, fault):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(fault), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise fault
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_killed_process_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = (
        "import sys, time\n"
        "from kit.io.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary, open(temporary, 'w') as file:\n"
        "    file.write('half'); file.flush()\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert os.listdir(path) == ["new"]
    assert os.listdir(tmp_path) == ["folder"]


def test_an_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    rename = os.replace

    def fail_for_the_new_one(source, target):
        if Path(target) == path and Path(source).name == path.name:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(files.os, "replace", fail_for_the_new_one)
    with pytest.raises(InputError, match="No space left"), replacing(path) as temporary:
        temporary.mkdir()
    assert os.listdir(path) == ["old"]


@pytest.mark.parametrize("place", ["{tmp}/file/inside.csv", "/proc/none/inside.csv"])
def test_an_unwritable_place_is_told_in_one_line(tmp_path, place):
    (tmp_path / "file").write_text("")
    path = place.format(tmp=tmp_path)
    message = f"cannot write {path}: .*choose a writable folder"
    with pytest.raises(InputError, match=message), replacing(path) as temporary:
        temporary.write_text("never")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_is_told_in_one_line(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"), replacing(tmp_path / "a") as path:
        path.write_text("never")
    tmp_path.chmod(0o755)


def test_a_file_does_not_replace_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write"), replacing(tmp_path / "folder") as path:
        path.write_text("a file")
    assert (tmp_path / "folder").is_dir()


def test_the_content_hash_follows_names_and_bytes_but_not_the_order(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    before = content_hash([one, two])
    assert content_hash([two, one]) == before
    two.write_text("3")
    assert content_hash([one, two]) != before
