"""Reading merged cells: what a batch holds, in what order, with how much memory."""

import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from small_merged import random_cells, small_competition, write_cells

from kit import InputError, load_competition
from kit.expression.pseudobulk import log_normalise
from kit.screens import merge
from kit.screens.cells import MergedCells

CONTROL = pd.Series([0.5, 1.0, 1.5, 2.0], ["A", "B", "C", "D"])


@pytest.fixture
def four_cells(tmp_path):
    """Two cells of dataset `one`, which lacks gene D, and two of `two`, which has all."""
    counts = [[1, 0, 3, 0], [0, 0, 0, 0], [0, 7, 0, 2], [10, 0, 0, 0]]
    obs = pd.DataFrame(
        {
            "sgrna_symbol": ["KRAS", "non-targeting", "KRAS", "TFAM"],
            "dataset": ["one", "one", "two", "two"],
            "batch": ["x", "y", "x", "x"],
            "RNAcount": [10_000.0, 0.0, 20_000.0, 10.0],
        }
    )
    measured = pd.DataFrame(
        {"one": [True, True, True, False], "two": [True, True, True, True]}, CONTROL.index
    )
    return write_cells(tmp_path / "cells.h5ad", counts, obs, measured)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of 3,000 cells x 12 genes, its log2 values (dense, by row) and a competition."""
    counts, obs, measured = random_cells(3_000, 12)
    path = write_cells(tmp_path_factory.mktemp("merged") / "cells.h5ad", counts, obs, measured)
    control = pd.Series(np.linspace(1, 2, 12), measured.index)
    return path, log_normalise(counts, obs["RNAcount"]).toarray(), small_competition(control)


def all_of(batches):
    """All batches as one: values, measured, obs; and their sizes."""
    parts = list(batches)
    sizes = [len(part.obs) for part in parts]
    return (
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.measured for part in parts]),
        pd.concat([part.obs for part in parts]),
        sizes,
    )


def order_of(batches):
    return [name for part in batches for name in part.obs.index]


def numbers(obs):
    """Rows of the file, from the names of the cells."""
    return obs.index.str.removeprefix("cell").astype(int)


def test_values_are_log2_of_counts_per_ten_thousand_of_all_genes(four_cells):
    merged = MergedCells(four_cells, small_competition(CONTROL, ["KRAS"]))
    (batch,) = merged.batches(10, shuffle=False)
    assert batch.values.dtype == np.float32
    # CP10k: 1 and 3; nothing; 3.5 and 1; 10,000. Gene D is imputed in the first two.
    wanted = [
        [1, 0, 2, 2.0],
        [0, 0, 0, 2.0],
        [0, np.log2(4.5), 0, 1],
        [np.log2(10_001), 0, 0, 0],
    ]
    np.testing.assert_allclose(batch.values, wanted, rtol=1e-6)
    assert list(batch.obs["sgrna_symbol"]) == ["KRAS", "non-targeting", "KRAS", "TFAM"]


def test_the_mask_separates_measured_from_imputed(four_cells):
    (batch,) = MergedCells(four_cells, small_competition(CONTROL)).batches(10, shuffle=False)
    assert batch.measured.dtype == bool
    assert batch.measured[:, 3].tolist() == [False, False, True, True]
    assert batch.measured[:, :3].all()


def test_the_rule_none_gives_nan_where_not_measured_and_zero_where_measured(four_cells):
    merged = MergedCells(four_cells, small_competition(CONTROL), imputation="none")
    (batch,) = merged.batches(10, shuffle=False)
    np.testing.assert_array_equal(np.isnan(batch.values), ~batch.measured)
    assert batch.values[3, 3] == 0


def test_raw_counts_come_as_they_are_and_are_never_imputed(four_cells):
    (batch,) = MergedCells(four_cells, imputation="none").batches(10, shuffle=False, counts=True)
    wanted = [[1, 0, 3, np.nan], [0, 0, 0, np.nan], [0, 7, 0, 2], [10, 0, 0, 0]]
    np.testing.assert_array_equal(batch.values, wanted)
    with pytest.raises(
        InputError, match="counts are not imputed by control_mean; take imputation none"
    ):
        MergedCells(four_cells, small_competition(CONTROL)).batches(2, counts=True)


def test_genes_are_the_competitions_in_its_order(four_cells):
    control = pd.Series([9.0, 2.0, 0.5], ["NEW", "D", "A"])
    merged = MergedCells(four_cells, small_competition(control))
    (batch,) = merged.batches(10, shuffle=False)
    assert list(merged.genes) == ["NEW", "D", "A"]
    assert merged.measured.loc["NEW"].tolist() == [False, False]
    np.testing.assert_allclose(batch.values[0], [9, 2, 1], rtol=1e-6)
    np.testing.assert_allclose(batch.values[2], [9, 1, 0], rtol=1e-6)
    assert batch.measured[2].tolist() == [False, True, True]


@pytest.mark.parametrize("buffer_mb", [0.004, 0.05, 100])
@pytest.mark.parametrize("batch_size", [7, 64, 999, 5_000])
def test_every_cell_comes_once_an_epoch_with_its_own_values(many, buffer_mb, batch_size):
    path, expected, competition = many
    merged = MergedCells(path, competition, buffer_mb=buffer_mb)
    values, measured, obs, sizes = all_of(merged.batches(batch_size, seed=3))
    assert sorted(numbers(obs)) == list(range(3_000))
    assert set(sizes[:-1]) <= {batch_size}
    assert 0 < sizes[-1] <= batch_size
    expected = expected[numbers(obs)]
    np.testing.assert_allclose(values[measured], expected[measured], rtol=1e-5)
    assert (values[~measured] == 2.0).all()
    second = (obs["dataset"] == "two").to_numpy()
    np.testing.assert_array_equal(~measured, np.outer(second, np.arange(12) == 11))


@pytest.mark.parametrize("buffer_mb", [0.05, 100])
def test_a_seed_gives_the_same_order_and_another_seed_another(many, buffer_mb):
    path, _, competition = many
    merged = MergedCells(path, competition, buffer_mb=buffer_mb)
    first, again = order_of(merged.batches(100, seed=1)), order_of(merged.batches(100, seed=1))
    other = order_of(merged.batches(100, seed=2))
    fresh = order_of(MergedCells(path, competition, buffer_mb=buffer_mb).batches(100, seed=1))
    assert first == again == fresh
    assert sum(a == b for a, b in zip(first, other, strict=True)) < 20
    assert order_of(merged.batches(100, shuffle=False)) == list(merged.obs.index)


def test_batches_mix_a_file_sorted_by_dataset(tmp_path):
    # The buffer holds 50 of 500 chunks of 64 rows.
    counts = np.ones((32_000, 4), dtype=np.int8)
    _, obs, measured = random_cells(32_000, 4)
    path = write_cells(tmp_path / "cells.h5ad", counts, obs.assign(RNAcount=9.0), measured)
    merged = MergedCells(path, imputation="none", buffer_mb=0.205)
    batches = list(merged.batches(64, seed=0))
    share = np.array([(batch.obs["dataset"] == "one").mean() for batch in batches])
    # Of a batch's 64 cells 64 / 50 more than one come from the same chunk, so the variance is about
    # 1 + 63 / 50 times that of a perfect shuffle, 0.25 / 64.
    assert share.std() < 1.2 * np.sqrt((1 + 63 / 50) * 0.25 / 64)
    place = np.array([numbers(batch.obs).to_numpy() for batch in batches]).ravel()
    assert abs(np.corrcoef(place, np.arange(32_000))[0, 1]) < 0.1
    # Neighbours in the file are hardly ever neighbours in an epoch.
    assert (np.abs(np.diff(place)) == 1).mean() < 0.002


@pytest.mark.parametrize("buffer_mb", [0.01, 100])
def test_only_the_rows_asked_for_are_read(many, buffer_mb):
    path, expected, competition = many
    merged = MergedCells(path, competition, buffer_mb=buffer_mb)
    control = merged.obs["sgrna_symbol"] == "non-targeting"
    values, measured, obs, _ = all_of(merged.batches(100, rows=control, seed=0))
    assert sorted(obs.index) == sorted(merged.obs.index[control])
    np.testing.assert_allclose(values[measured], expected[numbers(obs)][measured], rtol=1e-5)
    places = np.array([2_999, 7, 64, 65, 1_500])
    values, measured, obs, _ = all_of(merged.batches(2, rows=places, seed=0))
    assert sorted(numbers(obs)) == sorted(places)
    np.testing.assert_allclose(values[measured], expected[numbers(obs)][measured], rtol=1e-5)
    assert list(merged.batches(10, rows=np.zeros(3_000, dtype=bool))) == []


@pytest.mark.parametrize(
    "options", [{"compression": "gzip"}, {"kind": np.float64}, {"kind": np.int64}], ids=str
)
def test_files_of_other_kinds_of_numbers_and_compressed_ones_read_the_same(tmp_path, many, options):
    counts, obs, measured = random_cells(3_000, 12)
    path = write_cells(tmp_path / "cells.h5ad", counts, obs, measured, **options)
    original = MergedCells(many[0], many[2], buffer_mb=0.05)
    other = MergedCells(path, many[2], buffer_mb=0.05)
    rows = np.arange(3_000) % 3 > 0
    a, b = (all_of(cells.batches(50, rows=rows, shuffle=False)) for cells in (original, other))
    np.testing.assert_array_equal(a[0], b[0])


def test_cells_of_held_out_perturbations_of_the_competition_are_never_read(tmp_path):
    counts, obs, measured = random_cells(400, 5)
    obs["competition"] = obs["dataset"] == "one"
    path = write_cells(tmp_path / "cells.h5ad", counts, obs, measured)
    control = pd.Series(1.0, measured.index)
    merged = MergedCells(path, small_competition(control, ["KRAS"]), buffer_mb=0.001)
    seen = all_of(merged.batches(30))[2]
    own = seen[seen["dataset"] == "one"]
    assert set(own["sgrna_symbol"]) == {"KRAS", "non-targeting"}
    assert len(own) == 150
    assert set(seen["sgrna_symbol"][seen["dataset"] == "two"]) == {"KRAS", "TFAM", "non-targeting"}
    np.testing.assert_array_equal(
        log_normalise(counts, obs["RNAcount"]).toarray()[numbers(seen)][:, 0] > 0,
        all_of(merged.batches(30))[0][:, 0] > 0,
    )
    alone = MergedCells(path, imputation="none").obs
    assert set(alone["sgrna_symbol"][alone["competition"]]) == {"non-targeting"}


def test_what_merge_writes_of_the_competition_has_its_effects(twin, tmp_path):
    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    screen = next(twin.glob("*_essential_raw_singlecell_01.h5ad"))
    written = merge([screen], competition, tmp_path, names=twin / "hgnc_complete_set.txt")
    merged = MergedCells(written.cells, competition, imputation="none", buffer_mb=1)
    values, measured, obs, _ = all_of(merged.batches(256, rows=merged.obs["competition"]))
    assert measured.all()
    by = obs["sgrna_symbol"].to_numpy()
    means = pd.DataFrame(values, columns=merged.genes).groupby(by, observed=True).mean()
    effects = (means - means.loc["non-targeting"]).loc[competition.effects.index]
    np.testing.assert_allclose(effects, competition.effects, atol=1e-5)
    other = all_of(merged.batches(256, rows=~merged.obs["competition"]))
    assert 0 < len(other[2]) == len(merged) - len(obs)
    np.testing.assert_array_equal(np.isnan(other[0]), ~other[1])
    assert 0.1 < np.isnan(other[0]).mean() < 0.5


def test_an_epoch_may_be_left_early_and_two_may_run_at_once(many):
    merged = MergedCells(many[0], many[2], buffer_mb=0.02)
    left = merged.batches(10, seed=0)
    next(left)
    left.close()
    one, two = merged.batches(500, seed=0), merged.batches(500, seed=0)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_memory_is_bounded_by_the_buffer(tmp_path):
    """An epoch over 80 MB of counts (values and genes) with a buffer of 16 MB."""
    status = Path("/proc/self/status")
    if not status.exists() or "VmHWM" not in status.read_text():
        pytest.skip("needs VmHWM of /proc/self/status: ru_maxrss begins with that of the parent")
    cells, genes, stored = 20_000, 1_000, 500
    path = tmp_path / "cells.h5ad"
    _, obs, _ = random_cells(cells, 2)
    names = pd.Index([f"G{i}" for i in range(genes)])
    wide = pd.DataFrame({"one": np.ones(genes, bool), "two": np.ones(genes, bool)}, names)
    write_cells(path, np.zeros((cells, genes), np.int8), obs.assign(RNAcount=1e4), wide)
    with h5py.File(path, "a") as file:
        del file["X/data"], file["X/indices"], file["X/indptr"]
        file["X/indptr"] = np.arange(cells + 1) * stored
        file["X/indices"] = np.tile(np.arange(0, genes, 2, dtype=np.int32), cells)
        file["X/data"] = np.ones(cells * stored, dtype=np.float32)
    script = f"""
        import scipy.sparse
        from kit.screens.cells import MergedCells
        merged = MergedCells({str(path)!r}, imputation="none", buffer_mb=16)
        def peak():
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            return int(status["VmHWM"].split()[0]) / 1024
        before, cells = peak(), 0
        for batch in merged.batches(64):
            cells += len(batch.obs)
        print(cells, peak() - before)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    read, grown = run.stdout.split()
    assert int(read) == cells
    assert float(grown) < 28


def spoil_data(value):
    def spoil(file):
        file["X/data"][0] = value

    return spoil


def spoil_index(file):
    file["X/indices"][0] = 99


def spoil_indptr(file):
    file["X/indptr"][3] = 10**6


def drop_column(name):
    def spoil(file):
        order = [column for column in file["obs"].attrs["column-order"] if column != name]
        file["obs"].attrs["column-order"] = order
        del file["obs"][name]

    return spoil


def dense(file):
    del file["X"]
    file["X"] = np.zeros((4, 4))


def no_mask(file):
    del file["varm/measured"]


def wrong_mask(file):
    del file["varm/measured"]
    file["varm/measured"] = np.ones((4, 2), dtype=bool)


def other_dataset(file):
    file["obs/dataset/categories"][0] = "three"


def small_total(file):
    file["obs/RNAcount"][0] = 2.0


def no_total(file):
    file["obs/RNAcount"][0] = np.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoil_data(0.5),
            r"X: row \d, column \d \(from 0\) holds 0.5; want raw counts, whole numbers",
        ),
        (spoil_data(-1), "holds -1; want raw counts"),
        (spoil_data(np.inf), "holds inf; want raw counts"),
        (spoil_index, "X: row 0 .* has column index .*, want 0 to 3; is the file corrupt"),
        (spoil_indptr, "X does not fit obs and var, or its indptr is broken"),
        (
            drop_column("sgrna_symbol"),
            "no obs column sgrna_symbol, it has dataset, batch, RNAcount",
        ),
        (drop_column("RNAcount"), "no obs column RNAcount"),
        (dense, "X is .*, want raw counts as csr_matrix"),
        (no_mask, r'no varm\["measured"\]; want merged cells'),
        (wrong_mask, r'varm\["measured"\] is no frame of bool by dataset'),
        (other_dataset, r'varm\["measured"\] has no column three'),
        (small_total, "RNAcount of cell0 is 2, its counts sum to 4; want the total over all genes"),
        (no_total, "obs RNAcount has rows without a value"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_a_spoilt_file_is_one_clear_line(four_cells, spoil, message):
    with h5py.File(four_cells, "a") as file:
        spoil(file)
    with pytest.raises(InputError, match=message) as error:
        list(MergedCells(four_cells, small_competition(CONTROL)).batches(4))
    assert str(four_cells) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_off_missing_or_foreign_is_one_clear_line(four_cells, tmp_path):
    whole = four_cells.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not HDF5"):
        four_cells.write_bytes(content)
        with pytest.raises(InputError, match=r"cells.h5ad cannot be read: .* cut off"):
            MergedCells(four_cells, small_competition(CONTROL))
    with pytest.raises(InputError, match=r"none.h5ad does not exist"):
        MergedCells(tmp_path / "none.h5ad", small_competition(CONTROL))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imputation": "zero"}, "imputation is zero, want one of control_mean, pathway, none"),
        (
            {"competition": None},
            "imputation control_mean needs control means; give the competition",
        ),
        ({"imputation": "pathway"}, "pathway needs neighbours, a gene x gene frame of weights"),
        ({"buffer_mb": 0}, "buffer_mb is 0, want megabytes above 0"),
        (
            {"competition": small_competition(pd.Series(1.0, ["X", "Y"]))},
            "none of the competition's genes; it has A, B, C, D, want X, Y",
        ),
    ],
)
def test_wrong_settings_are_refused(four_cells, settings, message):
    competition = settings.pop("competition", small_competition(CONTROL))
    with pytest.raises(InputError, match=message):
        MergedCells(four_cells, competition, **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": [True, False]}, r"rows is bool of shape \(2,\); want a mask of 4 or places"),
        ({"rows": ["cell0"]}, "want a mask of 4 or places"),
        ({"rows": [0, 4]}, "rows go from 0 to 4, want 0 to 3"),
        ({"rows": [1, 1]}, "rows are repeated: 1"),
        ({"batch_size": 0}, "batch_size is 0, want a whole number from 1"),
    ],
)
def test_wrong_rows_and_batch_sizes_are_refused_before_the_first_batch(
    four_cells, options, message
):
    merged = MergedCells(four_cells, small_competition(CONTROL))
    with pytest.raises(InputError, match=message):
        merged.batches(**{"batch_size": 2} | options)
