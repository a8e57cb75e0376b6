"""Streaming sums: right for every layout, the same everywhere, bounded, and clear about bad files."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse

from kit.io.files import InputError
from kit.io.matrix import Matrix
from kit.screens import _task
from kit.screens._task import Task
from kit.screens.streaming import by_rows, check_scale, gene_tiles, group_sums, read_rows, run

ROOT = Path(__file__).resolve().parent.parent
GENES = 9


def drawn_counts(cells=60, width=13, seed=0):
    """Counts with empty cells, an empty column and some large values; cell x source column."""
    random = np.random.default_rng(seed)
    counts = random.poisson(random.gamma(0.4, 3, (cells, width)))
    counts[[3, cells - 1]] = 0
    counts[:, 7] = 0
    counts[5, 2], counts[6, 2] = 63, 64  # either side of the table of logarithms
    return counts


def drawn_groups(cells=60, seed=1):
    """Ids 0, 2, 5 and 11 in any order, some cells left out."""
    return np.random.default_rng(seed).choice([-1, 0, 2, 5, 11], cells).astype(np.int32)


# Nine genes, of which 4 is not measured and 1 and 6 have several columns; two columns lead nowhere.
COLUMNS = np.array([5, 1, 0, -1, 6, 3, 1, 2, 8, 1, 7, 6, -1], dtype=np.int32)
DISTINCT = np.array([5, 1, 0, -1, 6, 3, -1, 2, 8, -1, 7, -1, 4], dtype=np.int32)
MITO = np.arange(13) % 5 == 0


def task_of(matrix, *given, **settings):
    """A task of a matrix or, of one stored by columns, of a new copy by rows."""
    copy = matrix.path.with_suffix(".rows")
    copy.unlink(missing_ok=True)
    return Task(by_rows(matrix, copy, settings.get("budget", 10**9)), *given, **settings)


def sums_of(*given, executor=None, progress=None, **settings):
    return group_sums(task_of(*given, **settings), executor, progress)


def slow_sums(counts, group, columns, genes=GENES, total=None):
    """Cells, sums and squares by group id, cell by cell and column by column."""
    result = {}
    for cell in range(len(counts)):
        if group[cell] < 0:
            continue
        merged = np.zeros(genes)
        for column, gene in enumerate(columns):
            if gene >= 0:
                merged[gene] += counts[cell, column]
        all_genes = counts[cell].sum() if total is None else total[cell]
        value = np.log2(1 + merged / all_genes * 10_000) if all_genes > 0 else np.zeros(genes)
        cells, sums, squares = result.get(group[cell], (0, np.zeros(genes), np.zeros(genes)))
        result[group[cell]] = cells + 1, sums + value, squares + value**2
    return result


def write_matrix(path, matrix, compression=None, chunks=None, key="X", dtype=None, old=False):
    """Write a scipy sparse matrix, as its arrays stand, or a dense one."""
    kind = {"compression": compression, "chunks": chunks or (True if compression else None)}
    with h5py.File(path, "w") as file:
        if not sparse.issparse(matrix):
            file.create_dataset(key, data=matrix.astype(dtype or matrix.dtype), **kind)
            return Matrix(path, key)
        group = file.create_group(key)
        name = f"{matrix.format}_matrix"
        group.attrs.update(
            {"h5sparse_format": matrix.format, "h5sparse_shape": matrix.shape}
            if old
            else {"encoding-type": name, "encoding-version": "0.1.0", "shape": matrix.shape}
        )
        group.create_dataset("data", data=matrix.data.astype(dtype or matrix.dtype), **kind)
        group.create_dataset("indices", data=matrix.indices, **kind)
        group.create_dataset("indptr", data=matrix.indptr, **kind)
    return Matrix(path, key)


def stored_as(counts, layout, seed=2):
    """Counts as `csr`, `csc` or `dense`; ` shuffled`: indices in any order; ` repeated`: in parts."""
    form, _, order = layout.partition(" ")
    if form == "dense":
        return counts
    whole = sparse.csr_array(counts) if form == "csr" else sparse.csc_array(counts)
    if not order:
        return whole
    random = np.random.default_rng(seed)
    data, indices, ends = [], [], [0]
    for line in range(len(whole.indptr) - 1):
        stored = slice(whole.indptr[line], whole.indptr[line + 1])
        values, places = whole.data[stored], whole.indices[stored]
        if order == "repeated":
            part = values // 2
            values, places = np.concatenate([part, values - part]), np.tile(places, 2)
        mixed = random.permutation(len(values))
        data.append(values[mixed])
        indices.append(places[mixed])
        ends.append(ends[-1] + len(values))
    arrays = np.concatenate(data), np.concatenate(indices), np.array(ends)
    return type(whole)(arrays, shape=whole.shape)


def assert_right(sums, expected, genes=GENES):
    assert sums.groups.tolist() == sorted(expected)
    for i, group in enumerate(sums.groups):
        cells, total, squares = expected[group]
        assert sums.cells[i] == cells
        assert sums.sums[i].shape == (genes,)
        np.testing.assert_allclose(sums.sums[i], total, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(sums.squares[i], squares, rtol=1e-12, atol=1e-12)


def assert_same_bits(one, other):
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


LAYOUTS = [
    "csr", "csr shuffled", "csr repeated", "csc", "csc shuffled", "csc repeated", "dense",
]  # fmt: skip


@pytest.mark.parametrize("columns", [DISTINCT, COLUMNS], ids=["distinct genes", "repeated genes"])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_equal_a_slow_loop(tmp_path, layout, compression, columns):
    counts, group = drawn_counts(), drawn_groups()
    matrix = write_matrix(
        tmp_path / "a.h5ad", stored_as(counts, layout), compression, dtype=np.float32
    )
    assert (matrix.shape, matrix.format) == ((60, 13), layout.split()[0])
    sums = sums_of(matrix, group, columns, GENES, mito=MITO)
    assert_right(sums, slow_sums(counts, group, columns))
    np.testing.assert_array_equal(sums.total, counts.sum(axis=1))
    np.testing.assert_array_equal(sums.detected, (counts > 0).sum(axis=1))
    np.testing.assert_array_equal(sums.mitochondrial, counts[:, MITO].sum(axis=1))


@pytest.mark.parametrize("layout", ["csr", "csr repeated", "csc repeated", "dense"])
@pytest.mark.parametrize(
    "dtype", ["u1", "i4", "i8", "u2", "u8", "f2", "f4", "f8", ">f4", ">i8", "?"]
)
def test_every_kind_of_number_gives_the_same(tmp_path, layout, dtype):
    counts, group = drawn_counts(), drawn_groups()
    if dtype == "?":
        counts, layout = (counts > 0).astype(int), layout.split()[0]
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(counts, layout), dtype=dtype)
    sums = sums_of(matrix, group, COLUMNS, GENES)
    assert_right(sums, slow_sums(counts, group, COLUMNS))


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64, np.uint64])
def test_every_kind_of_index_gives_the_same(tmp_path, dtype):
    counts, group = drawn_counts(), drawn_groups()
    stored = stored_as(counts, "csr")
    stored.indices, stored.indptr = stored.indices.astype(dtype), stored.indptr.astype(np.int32)
    sums = sums_of(write_matrix(tmp_path / "a.h5ad", stored), group, COLUMNS, GENES)
    assert_right(sums, slow_sums(counts, group, COLUMNS))


def test_files_of_anndata_old_and_new_are_read(tmp_path):
    import anndata

    counts, group = drawn_counts(), drawn_groups()
    expected = slow_sums(counts, group, COLUMNS)
    cells = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32))
    cells.layers["counts"] = sparse.csc_matrix(counts)
    cells.layers["dense"] = counts.astype(np.int32)
    cells.raw = cells
    cells.write_h5ad(tmp_path / "new.h5ad", compression="gzip")
    matrices = [
        Matrix(tmp_path / "new.h5ad", key)
        for key in ("X", "layers/counts", "layers/dense", "raw/X")
    ]
    matrices += [
        write_matrix(tmp_path / f"{form}.h5ad", stored_as(counts, form), key="raw.X", old=True)
        for form in ("csr", "csc")
    ]
    for matrix in matrices:
        assert_right(sums_of(matrix, group, COLUMNS, GENES), expected)


def test_a_matrix_travels_without_an_open_file(tmp_path):
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(drawn_counts(), "csr"))
    assert matrix.header.stored == (drawn_counts() > 0).sum()
    sent = pickle.loads(pickle.dumps(matrix))
    assert (sent, sent.shape) == (matrix, (60, 13))


def test_given_totals_normalise_and_absent_ones_are_the_sums_over_all_genes(tmp_path):
    counts, group = drawn_counts(), drawn_groups()
    given = counts.sum(axis=1) * 2.5 + 1
    for layout in ("csr", "csc", "dense"):
        matrix = write_matrix(tmp_path / "a.h5ad", stored_as(counts, layout))
        sums = sums_of(matrix, group, COLUMNS, GENES, total=given)
        assert_right(sums, slow_sums(counts, group, COLUMNS, total=given))
        np.testing.assert_array_equal(sums.total, given)
        given_float32 = counts.sum(axis=1).astype(np.float32) * np.float32(1 - 5e-7)
        sums_of(matrix, group, COLUMNS, GENES, total=given_float32)
        wrong = given.copy()
        wrong[[12, 30]] = counts[12].sum() - 1, np.nan
        message = f"row 12 .* adds up to {counts[12].sum()}, its total is {counts[12].sum() - 1}"
        with pytest.raises(InputError, match=message):
            sums_of(matrix, group, COLUMNS, GENES, total=wrong)


@pytest.mark.parametrize("layout", ["csr", "csr repeated", "csc", "dense"])
@pytest.mark.parametrize("name", ["log1p_cp10k", "log2_cp10k"])
def test_log_normalised_values_come_to_the_same_sums_without_totals(tmp_path, layout, name):
    counts, group = drawn_counts(), drawn_groups()
    total = counts.sum(axis=1, keepdims=True)
    log = np.log1p(counts / np.maximum(total, 1) * 10_000)
    log = log / np.log(2) if name == "log2_cp10k" else log
    stored = stored_as(log, layout.split()[0])
    if layout == "csr repeated":  # an explicit zero beside the value: a repeated index
        indices = np.repeat(stored.indices, 2)
        data = np.stack([stored.data, np.zeros_like(stored.data)], axis=1).ravel()
        stored = sparse.csr_array((data, indices, stored.indptr * 2), shape=stored.shape)
    matrix = write_matrix(tmp_path / "a.h5ad", stored)
    sums = sums_of(matrix, group, COLUMNS, GENES, mito=MITO, scale=name)
    assert_right(sums, slow_sums(counts, group, COLUMNS))
    assert np.isnan(sums.total).all()
    assert np.isnan(sums.mitochondrial).all()
    np.testing.assert_array_equal(sums.detected, (counts > 0).sum(axis=1))
    known = sums_of(matrix, group, COLUMNS, GENES, total=np.arange(60.0), scale=name)
    np.testing.assert_array_equal(known.total, np.arange(60.0))
    with pytest.raises(InputError, match=r"a\.h5ad, X: row \d+, column \d+ .*want raw counts"):
        sums_of(matrix, group, COLUMNS, GENES)


@pytest.mark.parametrize(
    ("per", "message"),
    [
        (1e6, "row 0, column .* want log1p_cp10k, 0 to 9.21"),
        (2e4, "adds up to 20000, its total is 10000"),
    ],
)
def test_a_log_of_another_scale_is_refused(tmp_path, per, message):
    counts = np.ones((4, 50)) if per == 2e4 else drawn_counts() + 1
    matrix = write_matrix(tmp_path / "a.h5ad", np.log1p(counts / counts.sum(axis=1)[:, None] * per))
    with pytest.raises(InputError, match=message):
        sums_of(
            matrix,
            drawn_groups(len(counts)),
            np.zeros(counts.shape[1], int),
            1,
            scale="log1p_cp10k",
        )


@pytest.mark.parametrize("layout", ["csr", "csr repeated", "dense"])
def test_row_ranges_join_to_the_whole(tmp_path, monkeypatch, layout):
    counts, group = drawn_counts(), np.sort(drawn_groups())  # the parts hold different groups
    group[:40] = -1
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(counts, layout))
    whole = sums_of(matrix, group, COLUMNS, GENES, mito=MITO)
    monkeypatch.setattr(_task, "TASK_VALUES", 100)
    parts = [task() for task in Task(matrix, group, COLUMNS, GENES, mito=MITO).split()]
    assert {len(part.groups) for part in parts} > {0}
    joined = sums_of(matrix, group, COLUMNS, GENES, mito=MITO)
    assert_right(joined, slow_sums(counts, group, COLUMNS))
    for name in ("groups", "cells", "total", "detected", "mitochondrial"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_neither_budget_nor_passes_nor_cores_change_a_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(_task, "TASK_VALUES", 100)
    counts, group = drawn_counts(), drawn_groups()
    assert gene_tiles(4, GENES) == [range(9)]
    assert [len(tile) for tile in gene_tiles(4, GENES, 1000)] == [2, 2, 2, 2, 1]
    assert gene_tiles(0, 0) == [range(0)]
    for layout in ("csr repeated", "csc", "dense"):
        matrix = write_matrix(
            tmp_path / "a.h5ad",
            stored_as(counts, layout),
            "gzip",
            (8, 3)[: 1 + (layout == "dense")],
        )
        assert len(task_of(matrix, group, COLUMNS, GENES).split()) > 1
        whole = sums_of(matrix, group, COLUMNS, GENES, mito=MITO)
        assert_right(whole, slow_sums(counts, group, COLUMNS))
        for cores in (1, 3):
            monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
            for budget in (1000, 10**9):
                again = sums_of(matrix, group, COLUMNS, GENES, mito=MITO, budget=budget)
                assert_same_bits(whole, again)
                for tile in gene_tiles(4, GENES, budget):
                    columns = np.where(np.isin(COLUMNS, tile), COLUMNS - tile.start, -1)
                    part = sums_of(matrix, group, columns, len(tile), budget=budget)
                    for name in ("sums", "squares"):
                        of_tile = getattr(whole, name)[:, tile.start : tile.stop]
                        np.testing.assert_array_equal(getattr(part, name), of_tile)


def test_a_task_holds_its_rows_alone_and_only_groups_that_occur(tmp_path, monkeypatch):
    monkeypatch.setattr(_task, "TASK_VALUES", 100)
    group = np.repeat([4, 900, 70], 20)
    matrix = write_matrix(tmp_path / "a.h5ad", drawn_counts(), chunks=(4, 13))
    split = Task(matrix, group, COLUMNS, GENES, mito=MITO).split()
    assert [task.rows for task in split] == [range(i, i + 12) for i in range(0, 60, 12)]
    first = split[0]()
    assert first.groups.tolist() == [4]
    assert first.sums.shape == (1, GENES)
    assert len(pickle.dumps(split[0])) < 2500
    assert len(pickle.dumps(first)) < 2500


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_counts_come_in_blocks_with_their_totals(tmp_path, layout):
    counts = drawn_counts()
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(counts, layout), "gzip", dtype=np.float32)
    merged = np.zeros((60, GENES))
    for column, gene in enumerate(COLUMNS):
        if gene >= 0:
            merged[:, gene] += counts[:, column]
    for rows in (np.arange(60), np.arange(20, 50), np.array([2, 3, 17, 40, 59])):
        task = task_of(matrix, drawn_groups(), COLUMNS, GENES, MITO, budget=2560)
        blocks, totals = read_rows(task, rows)
        dense = []
        for block in blocks:
            kind = np.float64 if layout.startswith("csc") else np.float32
            assert (block.format, block.dtype) == ("csr", kind)
            assert block.has_canonical_format
            assert (block.data > 0).all()
            dense.append(block.toarray())
        assert len(dense) > 1
        np.testing.assert_array_equal(np.concatenate(dense), merged[rows])
        np.testing.assert_array_equal(totals.total, counts.sum(axis=1))
        np.testing.assert_array_equal(totals.detected, (counts > 0).sum(axis=1))
        np.testing.assert_array_equal(totals.mitochondrial, counts[:, MITO].sum(axis=1))


def test_cells_of_no_group_are_totalled(tmp_path):
    counts = drawn_counts()
    for layout in ("csr repeated", "csc repeated", "dense"):
        matrix = write_matrix(tmp_path / "a.h5ad", stored_as(counts, layout))
        totals = sums_of(matrix, np.full(60, -1), np.full(13, -1), 0)
        np.testing.assert_array_equal(totals.total, counts.sum(axis=1))
        np.testing.assert_array_equal(totals.detected, (counts > 0).sum(axis=1))
        assert np.isnan(totals.mitochondrial).all()
        assert totals.sums.shape == (0, 0)


def test_a_file_without_cells_gives_nothing(tmp_path):
    for layout in ("csr", "csc", "dense"):
        matrix = write_matrix(tmp_path / "a.h5ad", stored_as(np.zeros((0, 13)), layout))
        sums = sums_of(matrix, np.zeros(0, int), COLUMNS, GENES)
        assert (len(sums.groups), len(sums.total)) == (0, 0)
        assert list(read_rows(task_of(matrix, [], COLUMNS, GENES), np.arange(0))[0]) == []


@dataclass(frozen=True)
class Square:
    """A task: its number's square."""

    number: int

    def __call__(self):
        return self.number**2


@dataclass(frozen=True)
class Fatal:
    """A task that kills its worker, and notes every run."""

    notes: Path

    def __call__(self):
        with open(self.notes, "a") as notes:
            notes.write("run\n")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Faulty:
    """A task with bad input, which notes every run."""

    notes: Path

    def __call__(self):
        with open(self.notes, "a") as notes:
            notes.write("run\n")
        raise InputError("the file is bad")


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, get_context("forkserver")) as executor:
        yield executor


@pytest.fixture(scope="module")
def cluster():
    """A dask cluster of two processes, in which a task that loses its worker is not tried again."""
    distributed = pytest.importorskip("distributed")
    import dask

    settings = {"distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as made,
        distributed.Client(made) as client,
    ):
        yield client.get_executor()


@pytest.fixture(params=["pool", "cluster"])
def executor(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("layout", ["csr repeated", "csc", "dense"])
def test_every_executor_gives_the_same_bits(tmp_path, monkeypatch, executor, layout):
    monkeypatch.setattr(_task, "TASK_VALUES", 100)
    group = drawn_groups()
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(drawn_counts(), layout), "gzip")
    here = sums_of(matrix, group, COLUMNS, GENES, mito=MITO)
    done = []
    there = sums_of(
        matrix, group, COLUMNS, GENES, mito=MITO, executor=executor, progress=done.append
    )
    assert_same_bits(here, there)
    assert sum(done) == 60
    assert len(done) == len(task_of(matrix, group, COLUMNS, GENES).split())


def test_results_come_in_the_order_of_tasks_few_at_a_time(pool):
    taken = []

    def given():
        for number in range(20):
            taken.append(number)
            yield Square(number)

    for executor, ahead in ((None, 1), (pool, 4)):
        taken.clear()
        for number, result in enumerate(run(given(), executor)):
            assert result == number**2
            assert len(taken) <= number + ahead
        assert number == 19


@pytest.mark.parametrize("kind", ["pool", "cluster"])
def test_a_task_that_is_lost_with_its_worker_is_one_clear_line(tmp_path, kind, request):
    notes = tmp_path / "notes"
    with ProcessPoolExecutor(1) as own_pool:
        executor = own_pool if kind == "pool" else request.getfixturevalue(kind)
        work = [Square(2), Fatal(notes), *map(Square, range(3, 9))]
        with pytest.raises(InputError, match=r"lost with its worker .*give workers more") as fault:
            list(run(work, executor))
    assert "\n" not in str(fault.value)
    assert notes.read_text() == "run\n"


def test_bad_input_is_not_tried_again(tmp_path, executor):
    notes = tmp_path / "notes"
    for used in (None, executor):
        notes.unlink(missing_ok=True)
        with pytest.raises(InputError, match=r"^the file is bad$"):
            list(run([Square(2), Faulty(notes), Square(3)], used))
        assert notes.read_text() == "run\n"


def changed(counts, layout, **places):
    """A matrix in which stored values or indices at a place are replaced."""
    matrix = stored_as(counts, layout)
    if layout == "dense":
        matrix = matrix.astype(np.float64)
        matrix[places["cell"]] = places["value"]
        return matrix
    matrix.data = matrix.data.astype(np.float64)
    for name, (place, value) in places.items():
        getattr(matrix, name)[place] = value
    return matrix


@pytest.mark.parametrize("value", [2.5, -1, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["csr", "csr repeated", "csc", "dense"])
def test_what_is_no_count_is_named_with_its_place(tmp_path, layout, value):
    counts = drawn_counts()
    if layout == "dense":
        matrix, row, column = changed(counts, layout, cell=(17, 4), value=value), 17, 4
    else:
        matrix = changed(counts, layout, data=(50, value))
        line = int(np.searchsorted(matrix.indptr, 50, side="right")) - 1
        index = int(matrix.indices[50])
        row, column = (line, index) if layout.startswith("csr") else (index, line)
    matrix = write_matrix(tmp_path / "a.h5ad", matrix, key="layer")
    message = rf"a\.h5ad, layer: row {row}, column {column} \(from 0\) holds {value:g}; want raw"
    for group in (drawn_groups(), np.full(60, -1)):
        with pytest.raises(InputError, match=message) as caught:
            sums_of(matrix, group, COLUMNS, GENES)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        list(read_rows(task_of(matrix, drawn_groups(), COLUMNS, GENES), np.arange(60))[0])


@pytest.mark.parametrize("index", [-1, "length", 2**31 - 1, 2**40, -(2**40)])
@pytest.mark.parametrize("layout", ["csr", "csr shuffled", "csc"])
def test_an_index_out_of_range_is_named_with_its_place(tmp_path, layout, index):
    matrix = stored_as(drawn_counts(), layout)
    matrix.indices = matrix.indices.astype(np.int64)
    line = int(np.searchsorted(matrix.indptr, 50, side="right")) - 1
    line_word, index_word, last = (
        ("column", "row", 59) if layout == "csc" else ("row", "column", 12)
    )
    index = last + 1 if index == "length" else index
    matrix.indices[50] = index
    message = f"X: {line_word} {line} .from 0. has {index_word} index {index}, want 0 to {last}"
    for scale in ("counts", "log1p_cp10k"):
        if scale != "counts":
            matrix.data = np.full(len(matrix.data), 0.1)
        file = write_matrix(tmp_path / "a.h5ad", matrix)
        with pytest.raises(InputError, match=message):
            sums_of(file, drawn_groups(), COLUMNS, GENES, scale=scale)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda file: file["X/indptr"].__setitem__(30, 10**9), "indptr is broken at or after 29"),
        (lambda file: file["X/indptr"].__setitem__(30, -5), "indptr is broken"),
        (lambda file: file["X/indptr"].__setitem__(0, 1), "indptr goes from 1"),
        (lambda file: file["X/indptr"].__setitem__(60, 10**6), "indptr goes from 0 to 1000000"),
        (lambda file: file.__delitem__("X/indices"), "is no CSR, CSC or dense matrix"),
        (lambda file: file["X"].attrs.__delitem__("shape"), "is no CSR, CSC or dense matrix"),
        (lambda file: file["X"].attrs.__setitem__("shape", (61, 13)), "want 62 indptr"),
        (lambda file: file["X"].attrs.__setitem__("encoding-type", "dict"), "is no CSR, CSC"),
        (lambda file: file.move("X", "layers/raw"), "has no `X`; it has layers/raw"),
        (lambda file: file.__delitem__("X"), "has no `X`; it has no matrix"),
    ],
)
def test_a_broken_matrix_is_one_clear_line(tmp_path, fault, message):
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(drawn_counts(), "csr"))
    with h5py.File(matrix.path, "r+") as file:
        fault(file)
    with pytest.raises(InputError, match=message) as caught:
        sums_of(matrix, drawn_groups(), COLUMNS, GENES)
    assert str(matrix.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_clear_line(tmp_path):
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(drawn_counts(3000), "csr"), "gzip", (500,))
    with h5py.File(matrix.path) as file:
        chunk = file["X/data"].id.get_chunk_info(7)
    whole = matrix.path.read_bytes()
    inside = chunk.byte_offset + chunk.size // 2
    for content, message in (
        (whole[: len(whole) // 2], "cannot be read: .*truncated.*if it was cut off"),
        (b"", "cannot be read: OSError"),
        (whole[:inside] + b"\xff" * 40 + whole[inside + 40 :], "cannot be read: OSError.*filter"),
        (None, "does not exist; give the path of an h5ad file"),
    ):
        matrix.path.unlink()
        if content is not None:
            matrix.path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            sums_of(Matrix(matrix.path), drawn_groups(3000), COLUMNS, GENES)
        assert str(matrix.path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_text_and_a_vector_are_no_counts(tmp_path):
    words = write_matrix(tmp_path / "a.h5ad", np.full((60, 13), b"one"))
    with pytest.raises(InputError, match=r"X holds .S3 in /X; want numbers"):
        sums_of(words, drawn_groups(), COLUMNS, GENES)
    with pytest.raises(InputError, match=r"X has shape \(60,\); want a matrix"):
        sums_of(write_matrix(tmp_path / "a.h5ad", np.zeros(60)), drawn_groups(), COLUMNS, GENES)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"group": np.zeros(59, int)}, r"group has shape \(59,\), want 60 for .*a\.h5ad, X"),
        ({"columns": np.zeros(60, int)}, r"columns has shape \(60,\), want 13"),
    ],
)
def test_arguments_that_do_not_fit_the_file_are_refused(tmp_path, asked, message):
    matrix = write_matrix(tmp_path / "a.h5ad", stored_as(drawn_counts(), "csr"))
    given = {"group": drawn_groups(), "columns": COLUMNS, "genes": GENES} | asked
    with pytest.raises(InputError, match=message):
        Task(matrix, **given)


def test_the_loops_run_where_no_folder_can_keep_them(tmp_path):
    # Stands in for a read-only install: numba knows no place to look for a folder.
    code = (
        "from numba.core import caching; caching.CompileResultCacheImpl._locator_classes = []\n"
        "from kit.screens._kernels import add_logarithms, np\n"
        "slots, values, table, sums = np.arange(2), np.array([1.0, 7.0]), np.zeros(9), np.zeros(2)\n"
        "add_logarithms(slots, values, slots, 1.0, table, sums, np.zeros(2))\n"
        "print(*sums, add_logarithms.stats.cache_path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1.0", "3.0", "None"]


BOUNDED = """
import re, sys
from pathlib import Path
import numpy as np
from kit.io.matrix import Matrix
from kit.screens._task import Task
from kit.screens.streaming import by_rows, group_sums, read_rows

def memory(name):
    status = Path("/proc/self/status").read_text()
    return int(re.search(name + r":\\s+(\\d+) kB", status)[1]) * 1024

def work(matrix):
    cells, genes = matrix.shape
    columns = np.arange(genes)
    matrix = by_rows(matrix, matrix.path.with_suffix(".rows"), budget)
    task = Task(matrix, np.arange(cells) % 40, columns, genes, budget=budget)
    group_sums(task)
    for block in read_rows(task, np.arange(cells))[0]:
        pass

budget = int(sys.argv[3])
work(Matrix(Path(sys.argv[1])))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is in use now
before = memory("VmRSS")
work(Matrix(Path(sys.argv[2])))
print(memory("VmHWM") - before)
"""


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_memory_stays_within_the_budget(tmp_path, layout):
    budget, repeats = 12 * 10**6, 30
    counts = np.random.default_rng(0).poisson(1.5, (800, 400)).astype(np.float32)
    counts = np.maximum(counts, 1)
    small = write_matrix(tmp_path / "small.h5ad", stored_as(counts[:400], layout))
    large = write_matrix(tmp_path / "large.h5ad", stored_as(np.tile(counts, (repeats, 1)), layout))
    assert large.path.stat().st_size > 3 * budget
    grown = subprocess.run(
        [sys.executable, "-c", BOUNDED, small.path, large.path, str(budget)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert int(grown) < budget + len(counts) * repeats * 32 * (layout == "csc")


def numbers_of_r(file):
    """All numbers of the matrix as float64, its attributes and names as lists of one."""
    for part in ("indptr", "indices", "data"):
        values = file[f"X/{part}"][()].astype(np.float64)
        del file[f"X/{part}"]
        file[f"X/{part}"] = values
    file["X"].attrs["encoding-type"] = np.array([file["X"].attrs["encoding-type"]], object)
    file["X"].attrs["shape"] = file["X"].attrs["shape"].astype(float)


def without_attributes(file):
    for name in list(file["X"].attrs):
        del file["X"].attrs[name]


def names_of_r(file):
    without_attributes(file)
    for name, part in (("p", "indptr"), ("i", "indices"), ("x", "data")):
        file.move(f"X/{part}", f"X/{name}")
    file["X/Dim"] = [60, 13]


def genes_by_cells(file):
    """The same arrays named as the transposed matrix: what R's genes x cells become."""
    form = file["X"].attrs["encoding-type"]
    without_attributes(file)
    file["X"].attrs["dims"] = [13.0, 60.0]
    file["X"].attrs["encoding-type"] = "csc_matrix" if form == "csr_matrix" else "csr_matrix"


@pytest.mark.parametrize(
    "change",
    [numbers_of_r, without_attributes, names_of_r, genes_by_cells],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_sparse_matrices_as_r_packages_write_them_are_read(form, change, tmp_path):
    counts, group = drawn_counts(), drawn_groups()
    matrix = write_matrix(tmp_path / "r.h5ad", stored_as(counts, form))
    with h5py.File(matrix.path, "r+") as file:
        change(file)
    matrix = Matrix(matrix.path, labelled=(60, 13))
    assert (matrix.format, matrix.header.turned) == (form, change is genes_by_cells)
    assert_right(sums_of(matrix, group, COLUMNS, GENES), slow_sums(counts, group, COLUMNS))


@pytest.mark.parametrize("chunks", [None, (5, 7)])
def test_a_dense_matrix_stored_gene_by_cell_is_read(chunks, tmp_path):
    counts, group = drawn_counts(), drawn_groups()
    matrix = write_matrix(tmp_path / "r.h5ad", counts.T, chunks=chunks)
    matrix = Matrix(matrix.path, labelled=(60, 13))
    assert matrix.shape == (60, 13)
    expected = slow_sums(counts, group, COLUMNS)
    for budget in (1000, 10**9):
        assert_right(sums_of(matrix, group, COLUMNS, GENES, budget=budget), expected)


def test_a_matrix_whose_form_is_in_doubt_is_refused(tmp_path):
    square = write_matrix(tmp_path / "a.h5ad", stored_as(drawn_counts(13, 13), "csr"))
    with h5py.File(square.path, "r+") as file:
        without_attributes(file)
    with pytest.raises(InputError, match=r"encoding-type is None, its shape .13 13.; want"):
        _ = Matrix(square.path, labelled=(13, 13)).header
    with h5py.File(square.path, "r+") as file:
        file["X"].attrs.update({"encoding-type": "csr_matrix", "shape": (13, 13)})
        file["X/indptr"][5] = 0
        values = file["X/indptr"][()] + np.where(np.arange(14) == 5, 1.5, 0.0)
        del file["X/indptr"]
        file["X/indptr"] = values
    with pytest.raises(InputError, match="indptr is broken at or after 4"):
        list(Matrix(square.path).blocks(0, 13, 10**6))


def logs_of(counts, per, unit, missing=0):
    """Logarithms of the counts times `per` / total, or of raw counts; the last genes are missing."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    scaled = counts if per is None else counts / total * per
    return (np.log1p(scaled) / unit)[:, : counts.shape[1] - missing].astype(np.float32)


E, TWO = 1.0, np.log(2)
FITS = [
    ("log1p_cp10k", 1e4, E, None), ("log2_cp10k", 1e4, TWO, None),
    ("log1p_cp10k", 1e4, TWO, "`log2_cp10k`"), ("log2_cp10k", 1e4, E, "`log1p_cp10k`"),
    ("log1p_cp10k", 2345, E, "`log1p`"), ("log2_cp10k", 2345, E, "`log1p`"),
    ("log2_cp10k", 2e4, TWO, "`log2`"), ("log1p_cp10k", None, E, "`log1p`"),
    ("log2_cp10k", None, E, "`log1p`"), ("log1p", 1e4, TWO, "`log2_cp10k`"),
    ("log2", None, E, "`log1p`"),
]  # fmt: skip


@pytest.mark.parametrize("rate", [0.4, 30])  # sparse cells, and deep ones without single counts
@pytest.mark.parametrize(("scale", "per", "unit", "fits"), FITS)
def test_a_scale_that_the_values_contradict_is_refused_with_the_one_that_fits(
    scale, per, unit, fits, rate, tmp_path
):
    random = np.random.default_rng(0)
    counts = random.poisson(rate * random.gamma(5, 0.2, (90, 1)) * np.ones(200))
    matrix = write_matrix(tmp_path / "a.h5ad", logs_of(counts, per, unit))
    if fits is None:
        assert check_scale(matrix, scale) == []
        return
    if (scale, per, unit, rate) == ("log1p_cp10k", None, E, 0.4):  # or downsampled: uncertain
        (line,) = check_scale(matrix, scale)
        assert "else declare `log1p`" in line
        return
    with pytest.raises(InputError, match=f"is no {scale}: .*declare its scale as {fits}"):
        check_scale(matrix, scale)


@pytest.mark.parametrize("total", [10_000, 5_000])
def test_downsampled_cells_without_all_genes_are_a_line_of_the_scale(total, tmp_path):
    random = np.random.default_rng(0)
    counts = random.multinomial(total, random.dirichlet(np.full(300, 0.3)), 60)
    matrix = write_matrix(tmp_path / "a.h5ad", logs_of(counts, 1e4, E, missing=60))
    (line,) = check_scale(matrix, "log1p_cp10k")
    assert "downsampled to equal totals" in line


def test_where_genes_are_missing_the_sum_is_stated_and_counts_show_the_base(tmp_path):
    random = np.random.default_rng(0)
    counts = random.poisson(0.4 * random.gamma(5, 0.2, (90, 1)) * np.ones(200))
    good = write_matrix(tmp_path / "a.h5ad", logs_of(counts, 1e4, E, missing=60))
    (line,) = check_scale(good, "log1p_cp10k")
    sums = np.expm1(logs_of(counts, 1e4, E, missing=60)).sum(axis=1)
    assert (
        f"cells add up to {np.median(sums):,.0f} ({sums.min():,.0f} to {sums.max():,.0f})" in line
    )
    with pytest.raises(InputError, match="declare its scale as `log1p_cp10k`, or"):
        check_scale(good, "log2_cp10k")
    deep = write_matrix(
        tmp_path / "b.h5ad", logs_of(random.poisson(30, (90, 200)), 5e3, E, missing=60)
    )
    assert len(check_scale(deep, "log1p_cp10k")) == 1  # uncertain: a line, no error


@pytest.mark.parametrize(("scale", "unit"), [("log1p", E), ("log2", TWO)])
@pytest.mark.parametrize("per", [None, 2345])
def test_cells_of_any_sum_are_brought_to_cp10k_by_their_own(scale, unit, per, tmp_path):
    counts, group = drawn_counts(), drawn_groups()
    log = np.log1p(
        counts if per is None else counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * per
    )
    for form in ("csr", "csc", "dense"):
        matrix = write_matrix(tmp_path / f"{form}.h5ad", stored_as(log / unit, form))
        sums = sums_of(matrix, group, COLUMNS, GENES, scale=scale)
        assert_right(sums, slow_sums(counts, group, COLUMNS))
        assert np.isnan(sums.total).all()
