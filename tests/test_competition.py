"""A competition folder is found, read and checked once; each kind of bad file is told in one line."""

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from small_competition import (
    GENES,
    HARMLESS,
    TARGETS,
    TRAINING,
    add_column,
    cell,
    cut_between_rows,
    cut_in_a_row,
    cut_in_quotes,
    drop_column,
    empty,
    only_header,
    remove,
    repeat_column,
    repeat_row,
    rows_of,
    surplus_field,
    write_small,
    write_solution,
)

from kit.competition import CONTROL, InputError, load_competition, read_solution
from kit.io import locate

MEANS = "training_data_means.csv"
TRUTH = "training_data_ground_truth_table.csv"
SAMPLE = "sample_submission.csv"
ALL_IDS = "pert_ids_all.csv"
VAL_IDS = "pert_ids_val.csv"
SOLUTION = "solution_val.csv"


@pytest.fixture
def folder(tmp_path):
    return write_small(tmp_path / "small")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty project and no Kaggle: nothing to find."""
    monkeypatch.delenv("ESG_DATA", raising=False)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.setattr(locate, "ROOT", tmp_path / "project")
    monkeypatch.setattr(locate, "KAGGLE_INPUT", tmp_path / "kaggle" / "input")
    return tmp_path


def load_quietly(folder):
    """Load, taking every warning for an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_competition(folder)


def assert_same(left, right):
    """Both competitions hold the same labels and numbers, in any order."""
    for name in ("effects", "weights", "control", "targets", "baseline_wmae", "solution"):
        one, two = getattr(left, name), getattr(right, name)
        if one is None or two is None:
            assert one is two
            continue
        two = two.loc[one.index] if one.ndim == 1 else two.loc[one.index, one.columns]
        assert len(one) == len(getattr(right, name))
        assert one.equals(two), name
    assert sorted(left.submission_ids) == sorted(right.submission_ids)
    assert sorted(left.submission_genes) == sorted(right.submission_genes)


# What is read


def test_the_tables_are_read_with_their_labels(folder):
    competition = load_quietly(folder)
    truth = pd.read_csv(folder / TRUTH, index_col=0, float_precision="round_trip")
    means = pd.read_csv(folder / MEANS, index_col=0, float_precision="round_trip")
    assert list(competition.genes) == GENES
    assert list(competition.effects.index) == TRAINING
    assert (competition.effects.to_numpy() == truth[GENES].to_numpy()).all()
    assert competition.weights.at["TFAM", "KRAS"] == truth.at["TFAM", "w_KRAS"]
    assert competition.weights.at["w_ODD", "w_ODD"] == 0
    assert competition.control["C4orf36.1"] == means.at[CONTROL, "C4orf36.1"]
    assert competition.baseline_wmae["BRD4"] == truth.at["BRD4", "baseline_wmae"]
    assert competition.targets["perturbation"].to_dict() == TARGETS
    assert list(competition.targets["split"]) == ["val", "val", "test", "test"]
    assert competition.solution is None
    assert competition.cells is None
    assert competition.source == folder
    assert not competition.simulated


def test_the_control_row_is_found_by_its_label(folder):
    before = load_quietly(folder)
    rows = rows_of(folder / MEANS)
    (folder / MEANS).write_text(
        "\n".join(",".join(row) for row in [rows[0], rows[-1], *rows[1:-1]])
    )
    assert_same(load_quietly(folder), before)


@pytest.mark.parametrize("harmless", HARMLESS)
def test_harmless_differences_give_the_same_competition(folder, harmless):
    write_solution(folder)
    before = load_quietly(folder)
    for name in (MEANS, TRUTH, SAMPLE, ALL_IDS, VAL_IDS, SOLUTION):
        harmless(folder / name)
    assert_same(load_quietly(folder), before)


def test_genes_follow_the_truth_table_and_targets_the_sample(folder):
    text = [",".join(row) for row in rows_of(folder / SAMPLE)]
    (folder / SAMPLE).write_text("\n".join([text[0], text[4], text[2], text[1], text[3]]))
    competition = load_quietly(folder)
    assert list(competition.targets.index) == ["pert_4", "pert_2", "pert_1", "pert_3"]
    assert list(competition.targets["perturbation"])[:2] == ["SSBP1", "C4orf36.1"]
    assert list(competition.submission_ids) == list(competition.targets.index)


def test_without_a_sample_the_targets_keep_their_order(folder):
    (folder / SAMPLE).unlink()
    competition = load_quietly(folder)
    assert list(competition.submission_ids) == list(TARGETS)
    assert list(competition.submission_genes) == GENES


def test_with_only_validation_ids_the_other_ids_have_no_name(folder):
    (folder / ALL_IDS).unlink()
    competition = load_quietly(folder)
    assert list(competition.targets.index) == ["pert_1", "pert_2"]
    assert list(competition.submission_ids) == list(TARGETS)


def test_the_hash_follows_the_csv_files_and_not_the_cells(folder):
    first = load_competition(folder)
    (folder / "training_cells.h5ad").write_bytes(b"cells")
    assert load_competition(folder).data_hash == first.data_hash
    assert first.subset(["KRAS"]).data_hash == first.data_hash
    write_solution(folder)
    assert load_competition(folder).data_hash != first.data_hash


# What is refused: file, what is done to it, what the message says


FAULTS = [
    *((name, remove, "does not exist") for name in (TRUTH,)),
    (MEANS, remove, "holds no training_data_means.csv; give the folder of the CSV files"),
    *((name, empty, "is empty") for name in (MEANS, TRUTH, SAMPLE, ALL_IDS, SOLUTION)),
    *((name, only_header, "no rows") for name in (MEANS, TRUTH, SAMPLE, VAL_IDS, SOLUTION)),
    *((name, cut_in_a_row, "is the file cut off") for name in (MEANS, TRUTH, SAMPLE, SOLUTION)),
    (ALL_IDS, cut_in_a_row, "line 5: 2 fields, want 3; is the file cut off?"),
    (MEANS, cut_between_rows, "rows do not match .*got 6, want 7; missing: non-targeting"),
    (TRUTH, cut_between_rows, "means.csv: rows do not match .*got 7, want 6; unknown: w_ODD"),
    (SAMPLE, cut_between_rows, "ids do not match sample_submission.csv: got 4, want 3.* pert_4"),
    (ALL_IDS, cut_between_rows, "got 3, want 4; missing: pert_4"),
    (VAL_IDS, cut_between_rows, "val rows of pert_ids_all.csv: got 1, want 2; missing: pert_2"),
    (TRUTH, cut_in_quotes, "unexpected end of data; is it cut off"),
    *((name, repeat_column, "repeated columns: ") for name in (MEANS, TRUTH, SAMPLE, SOLUTION)),
    *((name, surplus_field, "fields, want") for name in (MEANS, TRUTH, SAMPLE, ALL_IDS)),
    *((name, repeat_row, "has repeated rows in") for name in (MEANS, TRUTH, SAMPLE, SOLUTION)),
    *((name, repeat_row, "has repeated rows in `pert_id`: pert_1") for name in (ALL_IDS, VAL_IDS)),
    (MEANS, cell(2, 3, "high"), "line 3: column `KRAS` holds `high`, want a finite number"),
    (TRUTH, cell(2, 12, ""), "line 3: column `w_TFAM` holds ``, want a finite number"),
    (TRUTH, cell(1, -1, "nan"), "column `baseline_wmae` holds `nan`"),
    (SAMPLE, cell(1, 1, "inf"), "column `C4orf36` holds `inf`"),
    (SOLUTION, cell(1, 1, "NaN"), "column `C4orf36` holds `NaN`"),
    (MEANS, drop_column("TFAM"), "genes do not match .*got 7, want 8; missing: TFAM"),
    (MEANS, add_column("EXTRA"), "got 9, want 8; unknown: EXTRA"),
    (MEANS, drop_column("pert_symbol"), "has no column `pert_symbol`"),
    (TRUTH, drop_column("w_TFAM"), "columns do not match .*unknown: TFAM"),
    (TRUTH, drop_column("TFAM"), "columns do not match .*unknown: w_TFAM"),
    (TRUTH, drop_column("baseline_wmae"), "missing: baseline_wmae"),
    (TRUTH, add_column("notes", "1"), "unknown: notes"),
    (SAMPLE, drop_column("KRAS"), "genes do not match .*missing: KRAS"),
    (SAMPLE, add_column("w_KRAS"), "unknown: w_KRAS"),
    (MEANS, cell(1, 0, "kras"), "missing: KRAS; unknown: kras"),
    (MEANS, cell(7, 0, "control"), "missing: non-targeting; unknown: control"),
    (SAMPLE, cell(1, 0, "pert_9"), "missing: pert_9; unknown: pert_1"),
    (ALL_IDS, cell(4, 2, "pert_9"), "missing: pert_4; unknown: pert_9"),
    (ALL_IDS, cell(1, 0, "SSBP1"), "has repeated perturbations: SSBP1"),
    (ALL_IDS, cell(1, 0, ""), "column `pert` holds ``, want a label"),
    (ALL_IDS, drop_column("class"), "lacks columns: class"),
    (VAL_IDS, cell(1, 0, "STAT3"), "and pert_ids_all.csv differ in pert_1"),
    (VAL_IDS, cell(1, 1, "test"), "and pert_ids_all.csv differ in pert_1"),
    (SOLUTION, cell(1, 0, "pert_77"), "has ids that .* do not name: pert_77"),
    (SOLUTION, drop_column("w_KRAS"), "columns do not match .*unknown: KRAS"),
    (SOLUTION, drop_column("baseline_wmae"), "missing: baseline_wmae"),
]


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    FAULTS,
    ids=[f"{name}-{spoil.__qualname__.split('.')[0]}" for name, spoil, _ in FAULTS],
)
def test_a_spoiled_folder_is_refused_in_one_line(folder, name, spoil, message):
    write_solution(folder)
    load_quietly(folder)
    spoil(folder / name)
    with pytest.raises(InputError, match=message) as caught:
        load_competition(folder)
    assert "\n" not in str(caught.value)


def test_a_gene_and_its_weight_missing_together_are_noticed(folder):
    drop_column("TFAM")(folder / TRUTH)
    drop_column("w_TFAM")(folder / TRUTH)
    with pytest.raises(InputError, match=r"genes do not match .*unknown: TFAM"):
        load_competition(folder)


def test_a_folder_without_any_ids_is_refused(folder):
    (folder / ALL_IDS).unlink()
    (folder / VAL_IDS).unlink()
    with pytest.raises(InputError, match=r"neither pert_ids_all\.csv nor pert_ids_val\.csv"):
        load_competition(folder)


def test_an_unknown_validation_id_is_refused_when_all_ids_are_missing(folder):
    (folder / ALL_IDS).unlink()
    cell(1, 2, "pert_9")(folder / VAL_IDS)
    with pytest.raises(InputError, match="got 2, want 1; unknown: pert_9"):
        load_competition(folder)


# Numbers that should agree: table, row, column, what the warning says


@pytest.mark.filterwarnings("ignore::UserWarning")  # a wrong weight spoils two identities
@pytest.mark.parametrize(
    ("name", "row", "column", "message"),
    [
        (
            MEANS,
            2,
            "STAT1",
            "control row and the effects .* in 1 of 48 values, most by 0.01 at TFAM, STAT1",
        ),
        (TRUTH, 3, "w_STAT1", "sums of weights .* in 1 of 6 values, most by 0.01 at AARS1"),
        (
            TRUTH,
            1,
            "w_KRAS",
            "on-target genes .* and zero differ in 1 of 4 values, most by 0.01 at KRAS",
        ),
        (TRUTH, 4, "baseline_wmae", "WMAE of the mean training effect .* 0.01 at MED12"),
        (SOLUTION, 2, "w_C4orf36.1", "on-target genes in the solution .* 0.01 at C4orf36.1"),
        (SOLUTION, 1, "baseline_wmae", "baseline_wmae in the solution .* 0.01 at STAT1"),
    ],
)
def test_numbers_that_disagree_are_a_warning_with_size_and_place(
    folder, name, row, column, message
):
    write_solution(folder)
    before = rows_of(folder / name)
    place = before[0].index(column)
    value = float(before[row][place])
    sign = -1 if "baseline" in column else 1  # the shipped value is the subtrahend
    cell(row, place, repr(value + sign * 1e-5))(folder / name)
    load_quietly(folder)
    cell(row, place, repr(value + sign * 1e-2))(folder / name)
    with pytest.warns(UserWarning, match=message):
        load_competition(folder)


# Where the folder is looked for


def test_an_argument_is_taken_at_its_word(tmp_path):
    with pytest.raises(InputError, match=r"none .the path given. is not a folder"):
        load_competition(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no training_data_means\.csv"):
        load_competition(tmp_path)


def test_a_relative_path_holds_when_the_working_folder_changes(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    competition = load_competition("small")
    monkeypatch.chdir(tmp_path.parent)
    assert competition.data_hash == load_competition(folder).data_hash


def test_a_competition_is_shown_in_one_line(folder):
    assert repr(load_competition(folder)) == (
        f"Competition(6 training rows x 8 genes, 4 targets, from {folder})"
    )


def test_the_environment_variable_is_taken_at_its_word(nowhere, monkeypatch):
    monkeypatch.setenv("ESG_DATA", str(nowhere / "none"))
    write_small(nowhere / "project" / "data" / "echoes-of-silenced-genes")
    with pytest.raises(InputError, match=r"none .\$ESG_DATA. is not a folder"):
        load_competition()


@pytest.mark.parametrize(
    "mount",
    [
        "competitions/echoes-of-silenced-genes",
        "echoes-of-silenced-genes",
        "datasets/someone/echoes-of-silenced-genes",
        "competitions/myllia-echoes-of-silenced-genes-competition-data",
        "myllia-echoes-of-silenced-genes-competition-data",
        "datasets/mylliabiotechnology/myllia-echoes-of-silenced-genes-competition-data",
    ],
)
def test_every_kaggle_mount_is_found(nowhere, mount):
    folder = write_small(nowhere / "kaggle" / "input" / mount)
    assert load_competition().source == folder


def test_a_mount_without_the_means_does_not_count(nowhere):
    (nowhere / "kaggle" / "input" / "echoes-of-silenced-genes").mkdir(parents=True)
    folder = write_small(nowhere / "kaggle/input/datasets/me/echoes-of-silenced-genes")
    assert load_competition().source == folder


def test_the_argument_goes_before_the_variable_before_kaggle_before_the_project(
    nowhere, monkeypatch
):
    twin = write_small(nowhere / "project" / "data" / "twin-quick")
    assert load_competition().source == twin
    project = write_small(nowhere / "project" / "data" / "echoes-of-silenced-genes")
    assert load_competition().source == project
    kaggle = write_small(nowhere / "kaggle" / "input" / "echoes-of-silenced-genes")
    assert load_competition().source == kaggle
    variable = write_small(nowhere / "variable")
    monkeypatch.setenv("ESG_DATA", str(variable))
    assert load_competition().source == variable
    argument = write_small(nowhere / "argument")
    assert load_competition(str(argument)).source == argument


def test_the_twin_is_never_used_on_kaggle(nowhere, monkeypatch):
    write_small(nowhere / "project" / "data" / "twin-quick")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    with pytest.raises(InputError, match="attach the competition") as caught:
        load_competition()
    assert "twin-quick" not in str(caught.value)


@pytest.mark.parametrize("kaggle", [False, True])
def test_when_nothing_is_found_every_place_and_the_step_are_named(kaggle, nowhere, monkeypatch):
    project = nowhere / "project" / "data"
    parts = ["project/data/echoes-of-silenced-genes"]
    if kaggle:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
        parts.append("kaggle/input/competitions/echoes-of-silenced-genes")
        parts.append("kaggle/input/datasets/*/myllia-echoes-of-silenced-genes-competition-data")
        parts.append("attach the competition")
    else:
        parts += ["set ESG_DATA", f"python -m kit twin {project / 'twin-quick'}"]
    with pytest.raises(InputError) as caught:
        load_competition()
    for part in parts:
        assert part in str(caught.value)
    assert ("kaggle/input" in str(caught.value)) == kaggle
    assert "\n" not in str(caught.value)


def test_simulated_data_is_announced_however_it_was_found(folder, nowhere):
    (folder / "twin.json").write_text("{}")
    with pytest.warns(UserWarning, match="SIMULATED"):
        assert load_competition(folder).simulated
    shutil.copytree(folder, nowhere / "project" / "data" / "twin-quick")
    with pytest.warns(UserWarning, match="SIMULATED"):
        assert load_competition().simulated


# Parts of a competition


def test_a_subset_keeps_the_order_asked_for_and_leaves_the_released_truth(folder):
    write_solution(folder)
    whole = load_competition(folder)
    part = whole.subset(["MED12", "KRAS"])
    for table in (part.effects, part.weights, part.baseline_wmae):
        assert list(table.index) == ["MED12", "KRAS"]
        assert table.index.name == "perturbation"
    assert part.effects.equals(whole.effects.loc[["MED12", "KRAS"]])
    assert part.solution is None
    assert part.targets is whole.targets
    assert len(whole.effects) == 6


def test_a_subset_of_unknown_or_repeated_rows_is_refused(folder):
    competition = load_competition(folder)
    with pytest.raises(InputError, match=r"not training rows: STAT1 \(1 of 2\)"):
        competition.subset(["KRAS", "STAT1"])
    with pytest.raises(InputError, match="repeated: KRAS"):
        competition.subset(["KRAS", "KRAS"])


def test_known_adds_the_released_rows_by_symbol(folder):
    table = write_solution(folder, usage="Usage")
    competition = load_competition(folder)
    known = competition.with_released()
    assert list(known.effects.index) == [*TRAINING, "STAT1", "C4orf36.1"]
    assert known.effects.at["STAT1", "KRAS"] == pytest.approx(table.at["pert_1", "KRAS"])
    assert known.weights.at["STAT1", "KRAS"] == pytest.approx(table.at["pert_1", "w_KRAS"])
    assert known.baseline_wmae["STAT1"] == pytest.approx(table.at["pert_1", "baseline_wmae"])
    assert known.solution is None
    assert known.subset(["STAT1", "KRAS"]).effects.shape == (2, 8)


def test_known_needs_released_truth(folder):
    with pytest.raises(InputError, match="has no released truth"):
        load_competition(folder).with_released()


def test_a_released_row_that_is_already_shipped_is_not_taken_twice(folder):
    write_solution(folder)
    cell(1, 0, "KRAS")(folder / ALL_IDS)
    cell(1, 0, "KRAS")(folder / VAL_IDS)
    with pytest.warns(UserWarning, match="on-target genes"):
        competition = load_competition(folder)
    known = competition.with_released()
    assert list(known.effects.index) == [*TRAINING, "C4orf36.1"]
    assert known.effects.loc["KRAS"].equals(competition.effects.loc["KRAS"])


@pytest.mark.parametrize("usage", ["Usage", "usage", None])
def test_solutions_in_several_files_are_one(folder, usage):
    write_solution(folder, ["pert_2", "pert_1"], usage=usage)
    write_solution(folder, ["pert_3", "pert_4"], "solution_test.csv")
    solution = load_quietly(folder).solution
    assert sorted(solution.index) == list(TARGETS)
    assert list(solution.columns) == [*GENES, *(f"w_{gene}" for gene in GENES), "baseline_wmae"]


def test_an_id_in_two_solutions_is_refused(folder):
    write_solution(folder)
    write_solution(folder, ["pert_2", "pert_3"], "solution_more.csv")
    with pytest.raises(InputError, match=r"more than one of .*: pert_2"):
        load_competition(folder)


def test_a_solution_is_read_alone(folder):
    table = write_solution(folder, usage="USAGE")
    expected = table.drop(columns="USAGE")
    pd.testing.assert_frame_equal(read_solution(folder / SOLUTION), expected, rtol=0, atol=1e-15)


# Cells


@pytest.fixture
def cells_folder(folder):
    """A small folder with 60 cells, among them some that belong to no training row."""
    anndata = pytest.importorskip("anndata")
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(0)
    symbols = [*TRAINING, CONTROL, "STAT1", "unassigned"]
    obs = pd.DataFrame(
        {"sgrna_symbol": random.permutation(np.resize(symbols, 63)), "channel": "ch_1"},
        index=[f"cell{number}" for number in range(63)],
    )
    counts = csr_matrix(random.poisson(1.0, (63, 10)).astype(float))
    var = pd.DataFrame(index=[*GENES, "OTHER1", "OTHER2"])
    anndata.AnnData(counts, obs, var).write_h5ad(folder / "training_cells.h5ad")
    return folder


def test_only_the_cells_of_the_own_rows_and_the_control_are_read(cells_folder):
    import anndata

    everything = anndata.read_h5ad(cells_folder / "training_cells.h5ad")
    part = load_competition(cells_folder).subset(["TFAM", "BRD4"])
    cells = part.read_cells()
    keep = everything.obs["sgrna_symbol"].isin(["TFAM", "BRD4", CONTROL])
    assert set(cells.obs["sgrna_symbol"]) == {"TFAM", "BRD4", CONTROL}
    assert list(cells.obs_names) == list(everything.obs_names[keep])
    assert (cells.X.toarray() == everything.X[keep.to_numpy()].toarray()).all()
    assert not cells.isbacked


def test_a_folder_without_cells_says_so_when_they_are_read(folder):
    with pytest.raises(InputError, match=r"has no training_cells\.h5ad"):
        load_competition(folder).read_cells()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-2000])


def rename_labels(path):
    import anndata

    cells = anndata.read_h5ad(path)
    cells.obs = cells.obs.rename(columns={"sgrna_symbol": "gene"})
    cells.write_h5ad(path)


def drop_controls(path):
    import anndata

    cells = anndata.read_h5ad(path)
    cells[cells.obs["sgrna_symbol"] != CONTROL].copy().write_h5ad(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "cannot be read: .*fetch it again if it was cut off"),
        (empty, "cannot be read"),
        (rename_labels, "cannot be read: KeyError .*want an h5ad file with obs `sgrna_symbol`"),
        (drop_controls, "has no cell with sgrna_symbol `non-targeting`"),
    ],
)
def test_spoiled_cells_are_told_in_one_line(cells_folder, spoil, message):
    spoil(cells_folder / "training_cells.h5ad")
    with pytest.raises(InputError, match=message) as caught:
        load_competition(cells_folder).read_cells()
    assert "\n" not in str(caught.value)


# Real folders


@pytest.mark.parametrize(
    ("name", "training", "targets", "genes", "released"),
    [("thp1", 15, 10, 299, 5), ("k562", 80, 120, 20, 60), ("rpe1", 80, 120, 532, 60)],
)
def test_real_folders_load_without_a_warning(shared, name, training, targets, genes, released):
    competition = load_quietly(shared("real", name))
    assert competition.effects.shape == (training, genes)
    assert len(competition.targets) == len(competition.submission_ids) == targets
    assert competition.solution.shape == (released, 2 * genes + 1)
    assert len(competition.with_released().effects) == training + released
    assert not competition.simulated


def test_the_real_cells_are_read(shared):
    pytest.importorskip("anndata")
    competition = load_competition(shared("real", "thp1"))
    cells = competition.subset(["SPI1", "MYC"]).read_cells()
    assert cells.obs["sgrna_symbol"].value_counts().to_dict() == {
        CONTROL: 2386,
        "MYC": 109,
        "SPI1": 48,
    }


def test_the_twin_loads_with_its_announcement_alone(twin):
    with pytest.warns(UserWarning, match="SIMULATED") as caught:
        competition = load_competition(twin)
    assert len(caught) == 1
    assert competition.simulated
