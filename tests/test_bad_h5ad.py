"""Spoilt h5ad files: refused in one clear line, or sound numbers; never another file's content."""

import shutil
from dataclasses import replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from attacks import anew, attack, judge, kit, seeded
from bad_files import BYTES, PLACES, some_of, spoilers_of
from scipy.sparse import csr_matrix
from small_competition import GENES, write_small
from small_merged import random_cells, write_cells, write_responses
from small_screen import draw_counts, labels, make_screen, write_screen

from kit import load_competition
from kit.expression import pseudobulk
from kit.screens.atlas import read_responses
from kit.screens.cells import MergedCells

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.filterwarnings("ignore")]


def spoil_h5(path, spoil, random):
    with h5py.File(path, "r+") as file:
        spoil(file, random)


def values_of_cells(path):
    batches = MergedCells(path, imputation="none").batches(16, shuffle=False)
    return np.concatenate([batch.values[batch.measured] for batch in batches])


def values_of_responses(path):
    atlas = read_responses(path, load_competition(path.parent))
    parts = [atlas.effects, atlas.obs["n_cells"], *([] if atlas.se is None else [atlas.se])]
    return np.concatenate([np.nan_to_num(part.to_numpy(dtype=float)).ravel() for part in parts])


def values_of_own(path):
    competition = replace(load_competition(path.parent), cells=path)
    return pseudobulk.effects(competition.read_cells(), competition.genes).to_numpy().ravel()


def values_of_merge(path):
    """What a merge writes of the genes measured; mitochondrial counts may be unknown: 0."""
    out = path.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    words = ("--data", path.parent, "--hgnc", path.parent / "hgnc.txt", "--min-cells", 2)
    code = kit("merge", path, "--out", out, *words)
    if code:
        left = [place for place in out.glob("*") if place.name != "parts"]
        assert not [*left, *out.glob("parts/.*")], f"left {left}"
        return code
    merged = anndata.read_h5ad(out / "responses.h5ad")
    counts = merged.obs[["n_cells", "RNAcount", "featurecount", "mitocount"]].fillna(
        {"mitocount": 0}
    )
    measured = ~np.isnan(merged.X).all(axis=0)
    parts = [merged.X[:, measured], merged.layers["se"][:, measured], counts.to_numpy(dtype=float)]
    parts.append(values_of_cells(out / "cells.h5ad"))
    return np.concatenate([part.ravel() for part in parts])


def make_cells(folder):
    counts, obs, measured = random_cells(40, 6)
    return write_cells(folder / "good.h5ad", counts, obs, measured)


def make_responses(folder):
    effects = pd.DataFrame(seeded("effects").normal(0, 0.2, (6, 8)), list("abcdef"), GENES)
    obs = pd.DataFrame({"sgrna_symbol": ["KRAS", "TFAM", "STAT1"] * 2, "dataset": [*"aaabbb"]})
    obs = obs.assign(n_cells=np.arange(6) + 10.0, competition=False)
    return write_responses(folder / "good.h5ad", effects, obs, se=effects.abs())


def make_own(folder):
    names = labels(control=20, KRAS=20, TFAM=20, AARS1=5, MED12=5, BRD4=5, w_ODD=5)
    obs = pd.DataFrame({"sgrna_symbol": names, "sgrna_id": "g", "channel": ["ch_1", "ch_2"] * 40})
    return write_screen(folder / "good.h5ad", obs, csr_matrix(draw_counts(80, 8)), GENES)


H5AD = {
    "cells": (make_cells, values_of_cells, 2),
    "responses": (make_responses, values_of_responses, 2),
    "own": (make_own, values_of_own, 2),
    "dense screen": (make_screen, values_of_merge, 1),
    "CSR screen": (lambda folder: make_screen(folder, csr_matrix), values_of_merge, 1),
}
UNREAD = ("obsm", "obsp", "uns", "varp", "layers")  # layers are read in responses alone


@pytest.mark.parametrize("kind", H5AD)
def test_a_spoilt_h5ad_is_refused_or_gives_sound_numbers(kind, tmp_path):
    make, values_of, each = H5AD[kind]
    good = make(write_small(tmp_path))
    other = shutil.copy(good, tmp_path / "other.h5ad")
    expected, fault = attack(values_of, good)
    assert not fault
    path, faults = tmp_path / "bad é.h5ad", []
    unread = UNREAD[:-1] if kind == "responses" else UNREAD
    inside = some_of(spoilers_of(good, other), each, seeded(kind))
    for name, spoil in (inside | BYTES | PLACES).items():
        anew(path, good)
        if name in inside:
            spoil_h5(path, spoil, seeded(kind, name))
        else:
            spoil(path, seeded(kind, name))
        found, fault = attack(values_of, path)
        if found is not None and not fault:
            if not np.isfinite(found).all() or (np.abs(found) > 2**31).any():
                fault = "gives what is no number, or none of this kind"
            elif name.endswith("another file's"):
                fault = "reads another file"
            elif name.startswith(unread) and not np.array_equal(found, expected):
                fault = "gives other numbers"
        faults += [f"{name}: {fault}"] if fault else []
    judge(faults, len(inside | BYTES | PLACES), 45)


def stored_outside(file):
    place = Path(file.filename).with_name("secret")
    place.write_bytes(np.arange(416, dtype=np.float32).tobytes())
    del file["X"]
    file.create_dataset("X", (52, 8), "f4", external=[(str(place), 0, h5py.h5f.UNLIMITED)])


def composed(of):
    """X as a virtual matrix of the values of another file or, `.`, of its own."""

    def spoil(file):
        file.move("X", "kept")
        other = of if of == "." else str(Path(file.filename).with_name(of))
        layout = h5py.VirtualLayout((52, 8), "f4")
        layout[:] = h5py.VirtualSource(other, "kept" if of == "." else "X", (52, 8))
        file.create_virtual_dataset("X", layout)

    return spoil


def enormous(place, shape, kind="f8"):
    """A file of some kB that promises more values than any memory holds."""

    def spoil(file):
        del file[place]
        file.create_dataset(place, shape, kind, chunks=(8,) * len(shape))

    return spoil


def all_of(place, value):
    return lambda file: file[place].__setitem__(slice(None), value)


MADE_UP = {
    "values in another file": (stored_outside, "takes X from other files"),
    "values of another file": (composed("good.h5ad"), "takes X from other files"),
    "more rows than memory": (enormous("X", (2**45, 8)), "those of 52 cells and 8 genes"),
    "more columns than memory": (enormous("X", (52, 2**45)), "those of 52 cells and 8 genes"),
    "more labels than memory": (enormous("obs/UMI_count", (2**50,)), "not enough memory"),
    "more names than memory": (enormous("var/gene_name", (2**50,), "S9"), "not enough memory"),
    "shares above all": (all_of("obs/mitopercent", 500.0), "goes from 500 to 500, want a fraction"),
    "shares below zero": (all_of("obs/mitopercent", -0.1), "want a fraction, 0 to 1"),
    "no totals": (
        all_of("obs/UMI_count", np.nan),
        "goes from nan to nan, want UMI by cell, above 0",
    ),
    "totals that overflow": (all_of("obs/UMI_count", 1e300), "goes from 1e+300 to 1e+300"),
    "counts that overflow": (all_of("X", 2**40), "more UMI than any cell has"),
    "no counts": (all_of("X", 0), "holds no count above 0"),
    "values composed of its own": (composed("."), None),
    "mitochondrial shares unknown": (all_of("obs/mitopercent", np.nan), None),
}


@pytest.mark.parametrize("name", MADE_UP)
def test_a_made_up_screen_is_refused_with_its_fault(name, tmp_path, capsys):
    good = make_screen(write_small(tmp_path))
    spoil, message = MADE_UP[name]
    path = shutil.copy(good, tmp_path / "bad.h5ad")
    with h5py.File(path, "r+") as file:
        spoil(file)
    found, fault = attack(values_of_merge, path)
    assert not fault
    assert (found is None) == (message is not None)
    if message:
        words = ("--data", tmp_path, "--hgnc", tmp_path / "hgnc.txt", "--out", tmp_path / "out")
        assert kit("merge", path, *words) == 1
        assert message in capsys.readouterr().err


NAMES = [
    "a b é.h5ad",
    "n" * 200 + ".h5ad",
    "a\nb.h5ad",
    "'; x.h5ad",
    "a=b.h5ad",
    "%s{}.h5ad",
    ".h5ad",
]


@pytest.mark.parametrize("name", [*NAMES, "competition.h5ad"])
def test_a_screen_of_any_name_gives_the_same(name, tmp_path):
    good = make_screen(write_small(tmp_path))
    expected, _ = attack(values_of_merge, good)
    good.rename(tmp_path / name)
    found, fault = attack(values_of_merge, tmp_path / name)
    assert not fault
    assert np.array_equal(found, expected)


def test_two_screens_that_would_bear_one_name_are_refused(tmp_path, capsys):
    good, paths = make_screen(write_small(tmp_path)), []
    for folder in ("a", "b"):
        paths.append(tmp_path / folder / "same" / "s.h5ad")
        paths[-1].parent.mkdir(parents=True)
        shutil.copy(good, paths[-1])
        with h5py.File(paths[-1], "r+") as file:
            file["X"][0, 0] += ord(folder)
    words = ("--data", tmp_path, "--hgnc", tmp_path / "hgnc.txt", "--out", tmp_path / "out")
    assert kit("merge", *paths, *words) == 1
    assert "would be a second dataset `same_s`" in capsys.readouterr().err
