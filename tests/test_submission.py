"""Submissions are written whole and as the sample is laid out; what the host refuses is refused here."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_competition import (
    GENES,
    HARMLESS,
    TARGETS,
    add_column,
    cell,
    cut_between_rows,
    cut_in_a_row,
    drop_column,
    empty,
    only_header,
    remove,
    repeat_column,
    repeat_row,
    shuffle_columns,
    shuffle_rows,
    surplus_field,
    write_small,
    write_solution,
)

from kit.competition import InputError, load_competition
from kit.submission import check_submission, read_submission, score_submission, write_submission

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path):
    return write_small(tmp_path / "small")


@pytest.fixture
def competition(folder):
    return load_competition(folder)


@pytest.fixture
def prediction(competition):
    """Small numbers with long fractions for every target, and a row that no target needs."""
    values = np.random.default_rng(3).normal(0, 0.1, (5, 8))
    return pd.DataFrame(values, [*TARGETS.values(), "UNASKED"], GENES)


@pytest.fixture
def submission(prediction, competition, tmp_path):
    return write_submission(prediction, competition, tmp_path / "out" / "submission.csv")


# Writing


def test_a_submission_reads_back_bit_for_bit_in_the_order_of_the_sample(
    folder, prediction, tmp_path
):
    shuffle_rows(folder / "sample_submission.csv")
    shuffle_columns(folder / "sample_submission.csv")
    competition = load_competition(folder)
    shuffled = prediction.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=0)
    path = write_submission(shuffled, competition, tmp_path / "submission.csv")
    written = read_submission(path)
    sample = read_submission(folder / "sample_submission.csv")
    assert path == tmp_path / "submission.csv"
    assert list(written.index) == list(sample.index) == list(competition.targets.index)
    assert list(written.columns) == list(sample.columns)
    expected = prediction.loc[[TARGETS[label] for label in sample.index], sample.columns]
    assert (written.to_numpy() == expected.to_numpy()).all()
    assert sorted(os.listdir(tmp_path)) == ["small", "submission.csv"]


def test_a_written_submission_passes_the_check_without_a_remark(submission, competition):
    assert check_submission(submission, competition) == []


def test_an_id_without_a_name_gets_the_mean_training_effect_and_a_warning(
    folder, prediction, tmp_path
):
    (folder / "pert_ids_all.csv").unlink()
    competition = load_competition(folder)
    named = prediction.loc[["STAT1", "C4orf36.1"]]
    with pytest.warns(UserWarning, match=r"2 ids have no perturbation .* pert_3, pert_4"):
        path = write_submission(named, competition, tmp_path / "submission.csv")
    written = read_submission(path)
    assert list(written.index) == list(TARGETS)
    assert (written.loc["pert_2"] == named.loc["C4orf36.1"]).all()
    assert (written.loc["pert_4"] == competition.effects.mean()).all()
    assert check_submission(path, competition) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.drop(index="SSBP1"), r"lacks targets: SSBP1 \(1 of 4\)"),
        (lambda frame: frame.drop(columns="TFAM"), "got 7, want 8; missing: TFAM"),
        (lambda frame: frame.assign(EXTRA=0.0), "got 9, want 8; unknown: EXTRA"),
        (lambda frame: pd.concat([frame, frame[:1]]), "has repeated rows: STAT1"),
        (lambda frame: frame.assign(TFAM=np.nan), "prediction is nan at STAT1, TFAM; .* 4 are not"),
        (lambda frame: frame.assign(TFAM=np.inf), "prediction is inf at STAT1, TFAM"),
        (
            lambda frame: frame.assign(TFAM="much"),
            "prediction holds values that are not numbers: .*much",
        ),
    ],
)
def test_a_prediction_that_cannot_be_submitted_is_not_written(
    prediction, competition, tmp_path, spoil, message
):
    path = tmp_path / "submission.csv"
    with pytest.raises(InputError, match=message):
        write_submission(spoil(prediction), competition, path)
    assert not path.exists()


def test_a_row_that_is_not_needed_may_hold_anything(prediction, competition, tmp_path):
    prediction.loc["UNASKED"] = np.nan
    write_submission(prediction, competition, tmp_path / "submission.csv")


def test_the_warnings_of_the_check_are_passed_on(prediction, competition, tmp_path):
    prediction.loc["SSBP1"] = 0.0
    with pytest.warns(UserWarning, match=r"submission\.csv: 1 rows are all zero: pert_4"):
        write_submission(prediction, competition, tmp_path / "submission.csv")


@pytest.mark.parametrize("place", ["{tmp}/file/submission.csv", "/proc/none/submission.csv"])
def test_an_unwritable_folder_is_told_in_one_line(prediction, competition, tmp_path, place):
    (tmp_path / "file").write_text("")
    path = place.format(tmp=tmp_path)
    with pytest.raises(InputError, match=f"cannot write {path}: .*choose a writable folder"):
        write_submission(prediction, competition, path)


def test_a_full_disk_leaves_the_old_submission_whole(submission, folder):
    before = submission.read_bytes()
    code = (
        "import resource, sys\n"
        "import pandas as pd\n"
        "from kit import InputError, load_competition, write_submission\n"
        "competition = load_competition(sys.argv[1])\n"
        "rows = competition.targets['perturbation']\n"
        "prediction = pd.DataFrame(0.1234567890123, rows, competition.genes)\n"
        "prediction['KRAS'] = 0.2\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # as if the disk filled up\n"
        "try:\n"
        "    write_submission(prediction, competition, sys.argv[2])\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, folder, submission], cwd=ROOT, capture_output=True, text=True
    )
    start = f"cannot write {submission}: File too large"
    assert result.stdout.startswith(start), result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert submission.read_bytes() == before
    assert os.listdir(submission.parent) == ["submission.csv"]


def test_an_interrupt_while_writing_leaves_the_old_submission_whole(
    submission, prediction, competition, monkeypatch
):
    before = submission.read_bytes()
    write = pd.DataFrame.to_csv

    def write_and_be_interrupted(frame, path, **settings):
        write(frame[:2], path, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", write_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_submission(prediction * 2, competition, submission)
    assert submission.read_bytes() == before
    assert os.listdir(submission.parent) == ["submission.csv"]


# Checking


REFUSED = [
    (remove, "does not exist"),
    (empty, "is empty"),
    (only_header, "has a header but no rows"),
    (cut_in_a_row, "line 5: 8 fields, want 9; is the file cut off"),
    (cut_between_rows, "ids do not match the sample submission: got 3, want 4; missing: pert_4"),
    (repeat_row, "has repeated rows in `pert_id`: pert_1"),
    (cell(1, 0, "pert_9"), "got 4, want 4; missing: pert_1; unknown: pert_9"),
    (cell(1, 0, "STAT1"), "missing: pert_1; unknown: STAT1"),
    (drop_column("TFAM"), "genes do not match the sample submission: got 7, want 8; missing: TFAM"),
    (add_column("EXTRA"), "got 9, want 8; unknown: EXTRA"),
    (repeat_column, "has repeated columns: C4orf36"),
    (drop_column("pert_id"), "has no column `pert_id`"),
    (add_column("w_TFAM"), "columns of the solution, submit genes only: w_TFAM$"),
    (add_column("w_w_ODD"), "columns of the solution, submit genes only: w_w_ODD$"),
    (add_column("baseline_wmae"), "columns of the solution, submit genes only: baseline_wmae$"),
    (cell(2, 3, "low"), "line 3: column `KRAS` holds `low`, want a finite number"),
    (cell(2, 3, ""), "column `KRAS` holds ``, want a finite number"),
    (cell(2, 3, "NaN"), "column `KRAS` holds `NaN`"),
    (cell(2, 3, "-inf"), "column `KRAS` holds `-inf`"),
    (surplus_field, "line 2: 10 fields, want 9"),
]


@pytest.mark.parametrize(
    ("spoil", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED]
)
def test_what_the_host_refuses_is_refused_in_one_line(submission, competition, spoil, message):
    spoil(submission)
    with pytest.raises(InputError, match=message) as caught:
        check_submission(submission, competition)
    assert str(submission) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_of_the_labels_are_told_at_once(submission, competition):
    for spoil in (cut_between_rows, drop_column("TFAM"), add_column("w_KRAS")):
        spoil(submission)
    with pytest.raises(InputError, match=r"w_KRAS; .*missing: pert_4; .*missing: TFAM"):
        check_submission(submission, competition)


@pytest.mark.parametrize("harmless", HARMLESS)
def test_order_and_dialect_of_a_submission_do_not_matter(submission, competition, harmless):
    harmless(submission)
    assert check_submission(submission, competition) == []


def test_a_frame_is_checked_like_a_file(submission, competition):
    frame = read_submission(submission)
    assert check_submission(frame, competition) == []
    assert check_submission(frame.reset_index(), competition) == []
    with pytest.raises(InputError, match=r"submission: ids .* missing: pert_2"):
        check_submission(frame.drop(index="pert_2"), competition)
    with pytest.raises(InputError, match="got 5, want 4; repeated: pert_1"):
        check_submission(pd.concat([frame, frame[:1]]), competition)
    with pytest.raises(InputError, match=r"genes .* got 9, want 8; repeated: TFAM"):
        check_submission(pd.concat([frame, frame[["TFAM"]]], axis=1), competition)
    with pytest.raises(InputError, match=r"submission is nan at .* 4 are not"):
        check_submission(frame.assign(TFAM=np.nan), competition)
    with pytest.raises(InputError, match="submission holds values that are not numbers"):
        check_submission(frame.assign(TFAM="x"), competition)


def remarks_on(submission, competition, label, gene, value):
    frame = read_submission(submission)
    frame.loc[label, gene] = value
    return check_submission(frame, competition)


def test_zero_rows_and_constant_rows_are_remarked_on(submission, competition):
    frame = read_submission(submission)
    frame.loc["pert_2"] = 0.0
    frame.loc[["pert_3", "pert_4"]] = 0.25
    assert check_submission(frame, competition) == [
        "1 rows are all zero: pert_2",
        "2 rows hold one value for every gene: pert_3, pert_4",
    ]


def test_an_own_gene_below_no_expression_is_remarked_on(submission, competition):
    floor = -competition.control["STAT1"]
    competition.effects.iloc[0, 0] = 100.0  # no value is far outside the training range
    assert remarks_on(submission, competition, "pert_1", "STAT1", floor) == []
    [remark] = remarks_on(submission, competition, "pert_1", "STAT1", floor - 0.5)
    assert remark == (
        "1 on-target genes are predicted below minus their control mean, less than no expression: "
        f"pert_1 (STAT1: {floor - 0.5:.3g} below {floor:.3g})"
    )
    assert remarks_on(submission, competition, "pert_2", "STAT1", floor - 0.5) == []


def test_values_far_outside_the_training_effects_are_remarked_on(submission, competition):
    largest = np.abs(competition.effects.to_numpy()).max()
    assert remarks_on(submission, competition, "pert_3", "KRAS", 1.49 * largest) == []
    [remark] = remarks_on(submission, competition, "pert_3", "KRAS", 1.6 * largest)
    assert remark == (
        f"1 values are farther from zero than {1.5 * largest:.3g}, 1.5 times the most extreme "
        f"training effect; the farthest is {1.6 * largest:.3g} at pert_3, KRAS"
    )


def test_the_sample_submission_itself_is_valid(folder, competition):
    assert check_submission(folder / "sample_submission.csv", competition) == [
        "2 rows are all zero: pert_3, pert_4"
    ]


# Scoring


def test_a_submission_is_scored_on_the_rows_of_the_solution_and_the_others_are_named(
    folder, submission
):
    solution = write_solution(folder, ["pert_4", "pert_1"], usage="Usage")
    score, left_out = score_submission(submission, folder / "solution_val.csv")
    assert left_out == ["pert_2", "pert_3"]
    assert score.rows == 2
    frame = read_submission(submission)
    for label in ("pert_1", "pert_4"):
        error = sum(
            solution.at[label, f"w_{gene}"] * abs(solution.at[label, gene] - frame.at[label, gene])
            for gene in GENES
        )
        assert score.table.at[label, "wmae"] == pytest.approx(error / len(GENES))


def test_the_mean_training_effect_gains_nothing(folder, competition, tmp_path):
    write_solution(folder)
    mean = competition.effects.mean()
    prediction = pd.DataFrame({symbol: mean for symbol in TARGETS.values()}).T
    path = write_submission(prediction, competition, tmp_path / "submission.csv")
    score, _ = score_submission(path, load_competition(folder).solution)
    assert score.w == pytest.approx(0, abs=1e-9)


def test_truth_submitted_reaches_the_cap(folder):
    table = write_solution(folder, list(TARGETS))
    score, left_out = score_submission(table[GENES], folder / "solution_val.csv")
    assert left_out == []
    assert score.score == pytest.approx(5 * 4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_between_rows, "ids do not match the solution: got 3, want 4; missing: pert_4"),
        (drop_column("KRAS"), "genes do not match the solution: got 7, want 8; missing: KRAS"),
        (add_column("w_KRAS"), "got 9, want 8; unknown: w_KRAS"),
        (cell(1, 1, "nan"), "column `C4orf36` holds `nan`"),
    ],
)
def test_a_submission_that_does_not_cover_the_solution_has_no_score(
    folder, submission, spoil, message
):
    write_solution(folder, list(TARGETS))
    spoil(submission)
    with pytest.raises(InputError, match=message):
        score_submission(submission, folder / "solution_val.csv")


def test_the_hosts_own_numbers_are_met(shared):
    expected = pd.read_csv(shared("golden", "metric", "expected.csv"), float_precision="round_trip")
    assert len(expected) == 12
    for case in expected.itertuples():
        files = [
            shared("golden", "metric", f"{case.case}_{kind}.csv")
            for kind in ("submission", "solution")
        ]
        score, left_out = score_submission(*files, gate=case.gate_right)
        assert left_out == []
        assert score.score == pytest.approx(case.score, rel=1e-10, abs=1e-12)


# Real folders


@pytest.mark.parametrize("name", ["thp1", "k562", "rpe1"])
def test_the_mean_submission_of_a_real_folder_is_valid_and_gains_nothing(shared, name, tmp_path):
    competition = load_competition(shared("real", name))
    symbols = competition.targets["perturbation"]
    mean = competition.effects.mean()
    prediction = pd.DataFrame(np.tile(mean, (len(symbols), 1)), symbols, mean.index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = write_submission(prediction, competition, tmp_path / "submission.csv")
    assert check_submission(path, competition) == []
    score, left_out = score_submission(path, shared("real", name, "solution_val.csv"))
    assert score.w == pytest.approx(0, abs=1e-9)
    assert list(left_out) == list(symbols.index[competition.targets["split"] == "test"])
