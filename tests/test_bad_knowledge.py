"""Spoilt gene sets, edge lists, tables, names and layouts: refused in one clear line, or numbers."""

import gzip
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from attacks import anew, attack, judge, seeded
from bad_files import BYTES, PLACES, TEXT

from kit.io.files import InputError
from kit.knowledge import formats, load_knowledge, load_pathways, tables
from kit.screens.gene_names import GeneNames, load_gene_names
from kit.screens.layouts import load_layout

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.filterwarnings("ignore")]
SYMBOLS = [f"G{i}" for i in range(30)]


def packed(content, *, flags=0, method=None):
    """A zip of one file; `flags` 1 says that it is encrypted, `method` how it is packed."""
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sets.gmt", content)
    data = bytearray(box.getvalue())
    central = data.rindex(b"PK\x01\x02")
    for start in (6, central + 8):
        data[start] |= flags
    for start in (8, central + 10) if method else ():
        data[start] = method
    return bytes(data)


def arrays(values, genes=SYMBOLS):
    box = io.BytesIO()
    np.savez(box, genes=np.array(genes), values=values)
    return box.getvalue()


def knowledge_files():
    random = seeded("knowledge")
    sets = [f"set {i}\tR-{i}\t" + "\t".join(random.choice(SYMBOLS, 6)) for i in range(12)]
    pairs = random.choice(SYMBOLS, (40, 2))
    names = [f"{one}\tApproved\tA{one}|B{one}\tP{one}" for one in SYMBOLS]
    table = pd.DataFrame(random.normal(size=(30, 4)), SYMBOLS, list("abcd")).to_csv()
    gmt = ("\n".join(sets) + "\n").encode()
    layout = {"perturbation": "gene", "pattern": "(.+)", "where": {"line": ["A"]}}
    return {
        "sets.gmt": gmt,
        "sets.gmt.gz": gzip.compress(gmt),
        "sets.zip": packed(gmt),
        "pairs.tsv": "".join(f"{one} {other}\n" for one, other in pairs).encode(),
        "weighed.csv": "".join(f"{one},{other},0.5\n" for one, other in pairs).encode(),
        "table.csv": table.encode(),
        "table.npz": arrays(random.normal(size=(30, 4))),
        "names.txt": "\n".join(["symbol\tstatus\talias_symbol\tprev_symbol", *names, ""]).encode(),
        "layout.json": json.dumps(layout).encode(),
    }


def kernel(path):
    pathways = load_pathways(path, names=GeneNames())
    _ = pathways.graph
    values = pathways.kernel(SYMBOLS, SYMBOLS).to_numpy()
    return values if (values >= 0).all() and (values < 1.0001).all() else np.nan


READERS = {"table": load_knowledge, "names": load_gene_names, "layout": load_layout}


def reader_of(path):
    return READERS.get(path.name.partition(".")[0], kernel)


@pytest.mark.parametrize("name", knowledge_files())
def test_spoilt_knowledge_is_refused_or_gives_numbers(name, tmp_path):
    good, path, faults = tmp_path / "good", tmp_path / name, []
    good.write_bytes(knowledge_files()[name])
    found, fault = attack(reader_of(path), path.with_name("none"))
    assert found is None, fault
    spoilers = BYTES | PLACES | ({} if name.endswith(("gz", "zip", "npz")) else TEXT)
    for kind, spoil in spoilers.items():
        for again in "1234" if kind in BYTES and len(path.suffixes) > 1 else "1":
            anew(path, good)
            try:
                spoil(path, seeded(name, kind, again))
            except (ValueError, IndexError):
                continue  # a spoiler of tables that this text is not
            found, fault = attack(reader_of(path), path)
            if isinstance(found, float | np.ndarray | pd.DataFrame) and not np.isfinite(found).all(
                None
            ):
                fault = "gives what is no number"
            faults += [f"{kind}: {fault}"] if fault else []
    judge(faults, len(spoilers), 20)


ARCHIVES = {
    "encrypted.zip": packed(b"a", flags=1),
    "unknown method.zip": packed(b"a", method=99),
    "deep.json": b"[" * 100_000,
    "pattern.json": b'{"perturbation": "g", "pattern": "("}',
    "no group.json": b'{"perturbation": "g", "pattern": ".+"}',
    "pickled table.npz": arrays(np.ones((30, 2)), np.array(SYMBOLS, dtype=object)),
    "complex table.npz": arrays(np.full((30, 2), 1j)),
    "records table.npz": arrays(np.zeros((30, 2), [("a", "f8")])),
    "dates table.npz": arrays(np.zeros((30, 2), "M8[s]")),
    "large table.npz": arrays(np.full((30, 2), 1e39)),
    "long line.gmt": b"set\tR\t" + b"\t".join(b"G%d" % i for i in range(1_500_000)),
    "heavy.csv": b"one,other,weight\nG1,G2,1e308\nG3,G4,1\n",
    "light.csv": b"one,other,weight\nG1,G2,1e-320\nG3,G4,1\n",
    "not a number.csv": b"one,other,weight\nG1,G2,1_0\nG3,G4,1\n",
    "numbers.tsv": b"1 2\n3 4\n5 6\n",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_made_up_knowledge_is_refused_in_one_line(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name])
    reader = (
        load_layout if path.suffix == ".json" else load_knowledge if "table" in name else kernel
    )
    assert attack(reader, path) == (None, "")


def test_an_archive_that_unpacks_without_end_is_refused_before_it_fills_the_memory(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tables, "LARGEST", 10**6)
    for name, content in (
        ("a.gmt.gz", gzip.compress(bytes(10**7))),
        ("a.zip", packed(bytes(10**7))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="more than 1,000,000 bytes are packed"):
            formats.read_source(tmp_path / name)


def test_lines_of_old_systems_are_lines(tmp_path):
    for ending in ("\n", "\r\n", "\r"):
        path = tmp_path / "sets.gmt"
        path.write_bytes(ending.join(["one\t\tA\tB\tC", "two\t\tC\tD\tE", ""]).encode())
        _, sets, _ = formats.read_source(path)
        assert list(sets.groupby("pathway")["gene"].agg("".join)) == ["ABC", "CDE"]
