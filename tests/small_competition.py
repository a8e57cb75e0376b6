"""A valid competition folder of 6 training rows, 4 targets and 8 genes, and ways to spoil its files."""

import csv
import io

import numpy as np
import pandas as pd

GENES = ["C4orf36", "C4orf36.1", "KRAS", "TFAM", "w_ODD", "MT-ND1", "STAT1", "AARS1"]
TRAINING = ["KRAS", "TFAM", "AARS1", "MED12", "BRD4", "w_ODD"]
TARGETS = {"pert_1": "STAT1", "pert_2": "C4orf36.1", "pert_3": "LRPPRC", "pert_4": "SSBP1"}


def write_small(folder, seed=0):
    """Write the folder's CSV files; the numerical identities hold to rounding. Returns the folder."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    control = pd.Series(random.uniform(1, 4, len(GENES)), GENES)
    effects = pd.DataFrame(random.normal(0, 0.3, (6, 8)), TRAINING, GENES)
    truth = host_table(effects, random, mean=effects.mean())
    means = pd.concat([effects + control, control.rename("non-targeting").to_frame().T])
    ids = pd.DataFrame({"pert": TARGETS.values(), "class": ["val", "val", "test", "test"]})
    ids["pert_id"] = list(TARGETS)
    sample = pd.DataFrame(np.tile(effects.mean(), (4, 1)), list(TARGETS), GENES)
    sample.loc[["pert_3", "pert_4"]] = 0.0
    truth.rename_axis("pert_id").to_csv(folder / "training_data_ground_truth_table.csv")
    means.rename_axis("pert_symbol").to_csv(folder / "training_data_means.csv")
    ids.to_csv(folder / "pert_ids_all.csv", index=False)
    ids[:2].to_csv(folder / "pert_ids_val.csv", index=False)
    sample.rename_axis("pert_id").to_csv(folder / "sample_submission.csv")
    return folder


def write_solution(folder, ids=("pert_1", "pert_2"), name="solution_val.csv", usage=None):
    """Add released truth of some targets to a small folder; returns its frame by `pert_id`."""
    random = np.random.default_rng(1)
    training = pd.read_csv(folder / "training_data_ground_truth_table.csv", index_col=0)
    symbols = [TARGETS[label] for label in ids]
    effects = pd.DataFrame(random.normal(0, 0.3, (len(ids), 8)), symbols, GENES)
    table = host_table(effects, random, mean=training[GENES].mean())
    table.index = pd.Index(ids, name="pert_id")
    if usage:
        table.insert(0, usage, "Public")
    table.to_csv(folder / name)
    return table


def host_table(effects, random, *, mean):
    """Effects, weights and baseline_wmae as the host lays them out; own genes weigh nothing."""
    weights = pd.DataFrame(random.gamma(0.5, 1, effects.shape), effects.index, effects.columns)
    for perturbation in effects.index.intersection(effects.columns):
        weights.loc[perturbation, perturbation] = 0.0
    weights = weights.mul(effects.shape[1] / weights.sum(axis=1), axis=0)
    baseline = (weights * (effects - mean).abs()).mean(axis=1).rename("baseline_wmae")
    return pd.concat([effects, weights.add_prefix("w_"), baseline], axis=1)


def rows_of(path):
    """All fields of a CSV as lists of strings, the header first."""
    return list(csv.reader(io.StringIO(path.read_text())))


def put_rows(path, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def only_header(path):
    put_rows(path, rows_of(path)[:1])


def cut_in_a_row(path):
    text = path.read_text()
    path.write_text(text[: text.rindex(",") - 1])


def cut_between_rows(path):
    put_rows(path, rows_of(path)[:-1])


def cut_in_quotes(path):
    path.write_text(path.read_text() + '"')


def repeat_column(path):
    rows = rows_of(path)
    put_rows(path, [[*row, row[1]] for row in rows])


def repeat_row(path):
    rows = rows_of(path)
    put_rows(path, [*rows, rows[1]])


def surplus_field(path):
    header, *rows = rows_of(path)
    put_rows(path, [header, *([*row, "1.0"] for row in rows)])


def cell(row, column, value):
    """A spoiler that sets one cell: row and column are places, the header is row 0."""

    def put(path):
        rows = rows_of(path)
        rows[row][column] = value
        put_rows(path, rows)

    return put


def add_column(name, value="0.0"):
    """A spoiler that appends a column."""

    def put(path):
        header, *rows = rows_of(path)
        put_rows(path, [[*header, name], *([*row, value] for row in rows)])

    return put


def drop_column(name):
    """A spoiler that takes a column away."""

    def put(path):
        rows = rows_of(path)
        place = rows[0].index(name)
        put_rows(path, [row[:place] + row[place + 1 :] for row in rows])

    return put


def shuffle_rows(path):
    header, *rows = rows_of(path)
    put_rows(path, [header, *rows[::-1]])


def shuffle_columns(path):
    rows = rows_of(path)
    order = np.random.default_rng(2).permutation(len(rows[0]))
    put_rows(path, [[row[place] for place in order] for row in rows])


def windows_line_endings(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def byte_order_mark(path):
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def no_last_line_ending(path):
    path.write_bytes(path.read_bytes().rstrip(b"\n"))


def quoted_fields(path):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows_of(path))
    path.write_text(text.getvalue())


HARMLESS = [
    shuffle_rows,
    shuffle_columns,
    windows_line_endings,
    byte_order_mark,
    no_last_line_ending,
    quoted_fields,
]
