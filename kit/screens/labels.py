"""Open a screen's h5ad file: its cells' labels and its genes' names, whatever version wrote it.

Only the columns that the layout names are read, and no counts. Counts have the labels that lie with
them: those of `raw/X` the genes of `raw/var`, those of `mod/rna/X` in a MuData file the obs and var of
`mod/rna`; columns that only the obs of the whole file has are matched by the names of the cells.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.files import InputError, quote_some, repeated
from ..io.hdf5 import INDEX, column_names, opened, read_columns
from ..io.matrix import MOST, Matrix
from .layouts import COLUMNS, MITO_UNITS, Layout, load_layout, recognise

NO_BATCH = "none"
# Where counts have labels of cells and genes: the part of a MuData file, and the place in it.
PLACE = re.compile(r"(mod/[^/]+/)?(?:X|layers/[^/]+|(raw[/.])X)")


@dataclass(eq=False)
class Screen:
    """One file of a screen, without its counts.

    matrix: where they lie in the file. var: by column of the matrix, `name` and `ensembl` (or missing).
    obs: by row, `kept`; categoricals `target`, `dataset`, `batch` (`none` for rows without one) and,
    where known, `guide`; `control`, and where known `total` (UMI), `mito` (share of UMI, 0 to 1); for
    bulk `cells`. left_out: rows without use, by reason. remarks: how the file was understood where that
    is not plain from its layout, a line each.
    """

    path: Path
    layout: Layout
    matrix: Matrix
    obs: pd.DataFrame
    var: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def datasets(self):
        return list(self.obs["dataset"].cat.categories)


def read_screen(
    path: Path | str, layout: Layout | Path | str | None = None, *, dataset: str | None = None
) -> Screen:
    """Read the labels of a screen's cells and the names of its genes.

    `layout`: as `load_layout` takes it, by default recognised by columns; `dataset`: the screen's name,
    by default that of the file. Raises InputError naming the file and the column at fault.
    """
    path = Path(path)
    dataset = path.name.removesuffix(".h5ad") if dataset is None else dataset
    with opened(path) as file:
        home = _home(file)
        if layout is None:
            layout = recognise(path, _obs_columns(file, home), column_names(file[f"{home}var"]))
        layout = load_layout(layout)
        key, home, genes = _place(path, file, home, layout)
        obs_columns, var_columns = _obs_columns(file, home), column_names(genes)
        layout, missing = layout.present(obs_columns, var_columns)
        if missing:
            raise InputError(
                f"{path} has no column {quote_some(missing)}, which layout `{layout.name}` wants; "
                f"obs has {quote_some(obs_columns, 20)}; var has {quote_some(var_columns)}"
            )
        wanted = [getattr(layout, field) for field in COLUMNS] + [name for name, _ in layout.where]
        cells = [name for name in layout.cells if name in obs_columns and layout.kind == "bulk"]
        columns, elsewhere = _obs(path, file, home, [*filter(None, wanted), *cells])
        names = read_columns(genes, filter(None, [layout.symbols, layout.ensembl]))
        remarks = [f"counts are those of {key}, genes those of {genes.name[1:]}"]

    remarks = remarks if key != "X" else []
    if elsewhere:
        remarks.append(f"{quote_some(elsewhere)} of obs is matched to {home}obs by cell name")
    obs, left_out, more = _labels(path, columns, layout, dataset)
    _check(path, layout, obs, left_out)
    remarks += more
    for name, place, want in (
        ("total", [layout.total], f"UMI by cell, above 0, below {MOST:g}"),
        ("cells", cells, f"cells by row, above 0, below {MOST:g}"),
        ("mito", [layout.mito], "a fraction, 0 to 1, or a percentage, 0 to 100"),
    ):
        if not any(place):
            continue
        values, unit = _numbers(path, columns[place]), 1.0
        low, high = values[obs["kept"]].agg(["min", "max"])
        sound = values.between(0, MOST, inclusive="neither")
        if name == "mito":
            found = layout.mito_unit
            low_range = 0 < high <= 1 + 1e-6  # of many cells one has more than 1 percent
            if found == "either" or (found == "fraction" and high > 0 and not low_range):
                found = "fraction" if low_range else "percent"
            unit = MITO_UNITS[found]
            sound = values.isna() | values.between(0, unit * (1 + 1e-6))
            line = f"`{layout.mito}` goes from {low:g} to {high:g}: its unit is taken as `{found}`"
            if found != layout.mito_unit:
                remarks.append(line)
            elif found == "percent" and low_range:
                remarks.append(f"{line}; if it is a fraction, declare mito_unit as `fraction`")
        if not sound[obs["kept"]].all():
            raise InputError(
                f"{path}: `{quote_some(place)}` goes from {low:g} to {high:g}, want {want}"
            )
        obs[name] = values / unit
    var = pd.DataFrame({"name": names[layout.symbols or layout.ensembl]}, dtype=object)
    if layout.ensembl:
        var["ensembl"] = names[layout.ensembl]
    matrix = Matrix(path, key, (len(obs), len(var)))
    return Screen(path, layout, matrix, obs, var.map(str, na_action="ignore"), left_out, remarks)


def _home(file):
    """Where in a MuData file the RNA lies, or its only part: `mod/rna/`; empty in an h5ad file."""
    parts = list(file.get("mod", ()))
    found = "rna" if "rna" in parts else parts[0] if len(parts) == 1 else None
    return f"mod/{found}/" if found and f"mod/{found}/obs" in file and "X" not in file else ""


def _place(path, file, home, layout):
    """Where the counts lie, where the part of the file with their labels begins, and their var."""
    # Files of anndata before 0.7 have `raw.X` and `raw.var` instead of `raw/X` and `raw/var`.
    spelled = [name for place in layout.counts for name in (place, place.replace("raw/", "raw."))]
    key = next((at for name in spelled for at in (name, home + name) if at in file), None)
    if key is None:
        raise InputError(
            f"{path} has no {quote_some(layout.counts)}, where layout `{layout.name}` wants "
            "counts; declare another place as `counts`"
        )
    if (found := PLACE.fullmatch(key)) is None:
        raise InputError(
            f"{path}: which cells and genes {key} holds is not known; want counts in X, layers/NAME or "
            "raw/X, or in such a place of mod/NAME"
        )
    home, raw = found[1] or "", found[2] or ""
    if lost := [name for name in (f"{home}obs", f"{home}{raw}var") if name not in file]:
        raise InputError(
            f"{path} has {key} without {quote_some(lost)}, its labels; declare another place"
        )
    return key, home, file[f"{home}{raw}var"]


def _obs_columns(file, home):
    """Names of the columns of obs, of a part of a MuData file and of the whole."""
    return list(dict.fromkeys(column_names(file[f"{home}obs"]) + column_names(file["obs"])))


def _obs(path, file, home, wanted):
    """Columns of obs, and the names of those that were matched from the obs of a whole MuData file."""
    own = file[f"{home}obs"]
    here = {INDEX, *column_names(own)}
    elsewhere = [column for column in wanted if column not in here]
    columns = read_columns(own, [column for column in wanted if column in here] or [INDEX])
    if not elsewhere:
        return columns, []
    names, whole = read_columns(own, [INDEX])[INDEX], read_columns(file["obs"], [INDEX, *elsewhere])
    if again := repeated(whole[INDEX]):
        raise InputError(
            f"{path}: obs names {quote_some(again)} twice; {own.name} cannot be matched"
        )
    rows = pd.Index(whole[INDEX]).get_indexer(names)
    if (rows < 0).any():
        lost = names[rows < 0]
        raise InputError(
            f"{path}: {len(lost)} cells of {own.name} are not in obs, which has {quote_some(elsewhere)}: "
            f"{quote_some(lost)}; give cells the same names in both"
        )
    return columns.join(whole[elsewhere].take(rows).reset_index(drop=True)), elsewhere


def _numbers(path, table):
    """The values of a table of numbers, by row that of the first column which has one."""
    for column, kind in table.dtypes.items():
        if not pd.api.types.is_numeric_dtype(kind) or kind.kind == "b":
            held = "truths" if kind.kind == "b" else "text"
            raise InputError(f"{path}: column `{column}` holds {held}, want numbers")
    values = pd.DataFrame(table.to_numpy(dtype=np.float64, na_value=np.nan))
    return values.bfill(axis=1).iloc[:, 0]


def as_categories(values: np.ndarray, rename: Callable[[str], str | None] = str) -> pd.Categorical:
    """Return a categorical of strings; names that are the same once renamed are one category.

    `values`: an array, a series or a categorical. Names are stripped of blanks; empty ones are missing.
    """
    values = getattr(values, "array", values)
    if isinstance(values, pd.Categorical):
        codes, names = np.asarray(values.codes), values.categories
    else:
        codes, names = pd.factorize(np.asarray(values, dtype=object))
    texts = [str(name).strip() for name in names]
    texts = [rename(text) if text and text.lower() != "nan" else "" for text in texts]
    kept = list(dict.fromkeys(filter(None, texts)))
    place = {text: number for number, text in enumerate(kept)}
    moved = np.array([place.get(text, -1) for text in texts] + [-1])  # code -1 takes the last
    return pd.Categorical.from_codes(moved[codes], pd.Index(kept, dtype=object))


def _labels(path, columns, layout, dataset):
    """The frame `obs` of a screen without its numbers, its rows left out by reason, and remarks."""
    labels = as_categories(columns[layout.perturbation])
    named = {label: label for label in labels.categories}
    if layout.pattern:
        found = {label: re.fullmatch(layout.pattern, label) for label in named}
        if not any(found.values()):
            raise InputError(
                f"{path}: no label in `{layout.perturbation}` looks like {layout.pattern}; they are "
                f"{quote_some(found)}; declare another layout"
            )
        named = {label: match[1] if match else label for label, match in found.items()}
    targets = {label: layout.targets(name) for label, name in named.items()}
    target = as_categories(labels, lambda label: (layout.combination or "+").join(targets[label]))
    marks = as_categories(columns[layout.control_column]) if layout.control_column else target
    control = _where(marks, layout.is_control) | _where(target, CONTROL.__eq__)
    combined = _where(labels, lambda label: len(targets[label]) > 1)
    # One target beside control guides, as in `ctrl+A`.
    beside = [
        label for label, found in targets.items()
        if len(found) == 1 and found[0] not in (named[label], CONTROL)
    ]  # fmt: skip
    joined = int((_where(labels, set(beside).__contains__) & ~control).sum())
    remark = (
        f"{joined} cells count as those of the only target in their label: {quote_some(beside)}"
    )
    unnamed = [label for label, found in targets.items() if not found]

    obs = pd.DataFrame({"target": _labelled(target, control, CONTROL)})
    obs["dataset"] = pd.Categorical.from_codes(np.zeros(len(obs), dtype=np.int8), [dataset])
    if layout.dataset:
        obs["dataset"] = as_categories(columns[layout.dataset], lambda part: f"{dataset}:{part}")
    if layout.guide:
        obs["guide"] = as_categories(columns[layout.guide])
    batch = as_categories(columns[layout.batch] if layout.batch else np.full(len(obs), None))
    obs["batch"] = _labelled(batch, batch.codes < 0, NO_BATCH)

    faults = {}
    for column, wanted in layout.where:
        passed = _where(as_categories(columns[column]), set(wanted).__contains__)
        faults[f"{column} is not {' or '.join(wanted)}"] = ~passed
    no_target = f"no target ({quote_some(unnamed)})" if unnamed else "no target"
    faults[no_target] = ~control & obs["target"].isna().to_numpy()
    faults["no dataset"] = obs["dataset"].isna().to_numpy()
    faults["several targets"] = ~control & combined
    kept, left_out = np.ones(len(obs), dtype=bool), {}
    for reason, fault in faults.items():
        if number := int((kept & fault).sum()):
            left_out[reason] = number
        kept &= ~fault
    obs["kept"], obs["control"] = kept, control & kept
    obs["dataset"] = obs["dataset"].where(kept).cat.remove_unused_categories()
    return obs, left_out, [remark] if joined else []


def _where(values, holds):
    """Mask of the rows whose category meets a condition; rows without one do not."""
    return np.array([*map(holds, values.categories), False], dtype=bool)[values.codes]


def _labelled(values, where, label):
    """A categorical with one label, perhaps a new one, in the rows of a mask: a series."""
    categories = values.categories.union([label], sort=False)
    labelled = pd.Series(values.set_categories(categories)).mask(where, label)
    return labelled.cat.remove_unused_categories()


def _check(path, layout, obs, left_out):
    """Every dataset of a screen has cells and control cells."""
    if not obs["kept"].any():
        reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise InputError(f"{path} has no cell to use: {reasons or 'it is empty'}")
    used = obs[obs["kept"]]
    without = set(used["dataset"]) - set(used.loc[used["control"], "dataset"])
    if without:
        column = layout.control_column or layout.perturbation
        seen = used["target"].value_counts()
        raise InputError(
            f"{path}: no control cell in {quote_some(sorted(without))}: no `{column}` is "
            f"{' or '.join(layout.controls)}, the commonest are {quote_some(seen.index)}; declare the "
            "screen's control labels as `controls`"
        )
