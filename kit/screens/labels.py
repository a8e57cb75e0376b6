"""Open a screen's h5ad file: its cells' labels and its genes' names, whatever version wrote it.

Only the columns that the layout names are read, and no counts. Current anndata, anndata before 0.8
(categories in `__categories`) and before 0.7 (obs and var as compound arrays) are understood.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.files import InputError, quote_some
from ..io.hdf5 import opened
from ..io.matrix import MOST
from .layouts import INDEX, MITO_UNITS, Layout, load_layout, recognise

NO_BATCH = "none"


@dataclass(eq=False)
class Screen:
    """One file of a screen, without its counts.

    matrix: where they lie in the file. var: by column of the matrix, `name` and `ensembl` (or missing).
    obs: by row, `kept`; categoricals `target`, `dataset`, `batch` (`none` for rows without one) and,
    where known, `guide`; `control`, and where known `total` (UMI), `mito` (share of UMI, 0 to 1); for
    bulk `cells`. left_out: rows without use, by reason.
    """

    path: Path
    layout: Layout
    matrix: str
    obs: pd.DataFrame
    var: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)

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
    declared = None if layout is None else load_layout(layout)
    with opened(path) as file:
        cells, obs_columns = file["obs"], column_names(file["obs"])
        layout = declared or recognise(path, obs_columns, column_names(file["var"]))
        matrix = next((place for place in layout.counts if place in file), None)
        if matrix is None:
            raise InputError(
                f"{path} has no {quote_some(layout.counts)}, where layout `{layout.name}` wants "
                "counts; declare another place as `counts`"
            )
        genes = file["raw/var"] if matrix == "raw/X" else file["var"]
        layout, missing = layout.present(obs_columns, column_names(genes))
        if missing:
            raise InputError(
                f"{path} has no column {quote_some(missing)}, which layout `{layout.name}` wants; "
                f"obs has {quote_some(obs_columns, 20)}; var has {quote_some(column_names(genes))}"
            )

        def read(table, *fields):
            columns = {field: getattr(layout, field) for field in fields}
            return {
                field: _column(path, table, column)
                for field, column in columns.items()
                if column is not None
            }

        columns = read(cells, "perturbation", "control_column", "guide", "batch", "dataset")
        numbers = read(cells, "total", "mito")
        for field, values in numbers.items():
            numbers[field] = _numbers(path, getattr(layout, field), values)
        if layout.kind == "bulk":
            counts = [column for column in layout.cells if column in obs_columns]
            each = [_numbers(path, column, _column(path, cells, column)) for column in counts]
            numbers["cells"] = pd.DataFrame(each).bfill().iloc[0].to_numpy()
        tests = {column: _column(path, cells, column) for column, _ in layout.where}
        var = read(genes, "symbols", "ensembl")
    for table, read_from_it in (("obs", columns | numbers | tests), ("var", var)):
        lengths = sorted({len(values) for values in read_from_it.values()})
        if len(lengths) > 1:
            raise InputError(
                f"{path}: columns of {table} have {quote_some(lengths)} values, want as many in each; is "
                "the file corrupt?"
            )
    if "mito" in numbers:
        numbers["mito"] = numbers["mito"] / MITO_UNITS[layout.mito_unit]
    obs, left_out = _labels(path, columns, tests, layout, dataset)
    var = pd.DataFrame({name: _texts(values) for name, values in var.items()}, dtype=object)
    var = var.rename(columns={"symbols": "name"})
    if "name" not in var:
        var.insert(0, "name", var["ensembl"])
    screen = Screen(path, layout, matrix, obs.assign(**numbers), var, left_out)
    _check(screen)
    return screen


def column_names(table: h5py.Group | h5py.Dataset) -> list[str]:
    """Return the names of the columns of an obs or var table, without the index."""
    if not hasattr(table, "keys"):
        return list(table.dtype.names[1:])
    index = table.attrs.get("_index", "_index")
    order = table.attrs.get("column-order", sorted(table.keys()))
    return [_text(name) for name in order if _text(name) not in (index, "__categories")]


def read_column(
    table: h5py.Group | h5py.Dataset, column: str
) -> np.ndarray | pd.api.extensions.ExtensionArray:
    """Return one column of an obs or var table in an open file: a plain array or a categorical."""
    from anndata.io import read_elem

    if not hasattr(table, "keys"):  # a compound array, its categories in uns
        column = table.dtype.names[0] if column == INDEX else column
        values = table[column]
        categories = f"uns/{column}_categories"
        if categories in table.file:
            return pd.Categorical.from_codes(values, _strings(table.file[categories][()]))
        return _strings(values)
    if column == INDEX:
        column = _text(table.attrs.get("_index", "_index"))
    element = table[column]
    if hasattr(element, "keys"):
        return read_elem(element)
    values = _strings(element[()])
    if "categories" in element.attrs:  # a reference to the dataset of their names
        categories = element.file[element.attrs["categories"]]
        return pd.Categorical.from_codes(values, _strings(categories[()]))
    return values


def _column(path, table, column):
    """A column as `read_column` has it, once it is sure to be one of labels or numbers."""
    values = read_column(table, column)
    kind = getattr(getattr(values, "dtype", None), "kind", "V")
    if getattr(values, "ndim", 0) != 1 or kind not in "biufOSU":
        raise InputError(
            f"{path}: column `{column}` is no list of labels or numbers; is it corrupt?"
        )
    return values


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(values):
    """The array itself, bytes decoded."""
    if values.dtype.kind == "S" or (values.dtype.kind == "O" and not values.dtype.names):
        return np.array([_text(value) for value in values], dtype=object)
    return values


def _texts(values):
    """Strings, None where the value is missing."""
    return [
        None if missing else str(value)
        for value, missing in zip(values, pd.isna(values), strict=True)
    ]


def _numbers(path, column, values):
    numeric = pd.api.types.is_numeric_dtype(values.dtype)
    if not numeric or isinstance(values, pd.Categorical) or values.dtype.kind == "b":
        kind = "truths" if values.dtype.kind == "b" else "text"
        raise InputError(f"{path}: column `{column}` holds {kind}, want numbers")
    return pd.Series(values).to_numpy(dtype=np.float64, na_value=np.nan)


def as_categories(values: np.ndarray, rename: Callable[[str], str | None] = str) -> pd.Categorical:
    """Return a categorical of strings; names that are the same once renamed are one category.

    `values`: an array, a series or a categorical. Names are stripped of blanks; empty ones are missing.
    """
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


def _labels(path, columns, tests, layout, dataset):
    """The frame `obs` of a screen without its numbers, and its rows left out, by reason."""
    labels = as_categories(columns["perturbation"])
    target = labels
    if layout.pattern:
        found = {label: re.fullmatch(layout.pattern, label) for label in labels.categories}
        if not any(found.values()):
            raise InputError(
                f"{path}: no label in `{layout.perturbation}` looks like {layout.pattern}; they are "
                f"{quote_some(found)}; declare another layout"
            )
        target = as_categories(labels, lambda label: found[label][1] if found[label] else label)
    marks = as_categories(columns["control_column"]) if layout.control_column else target
    control = _where(marks, layout.is_control) | _where(target, CONTROL.__eq__)
    combined = _where(target, lambda name: bool(layout.combination) and layout.combination in name)
    split = as_categories(columns["dataset"]) if layout.dataset else None

    target = target.add_categories([CONTROL] if CONTROL not in target.categories else [])
    obs = pd.DataFrame({"target": target})
    obs.loc[control, "target"] = CONTROL
    obs["target"] = obs["target"].cat.remove_unused_categories()
    one = pd.Categorical.from_codes(np.zeros(len(obs), dtype=np.int8), [dataset])
    if split is not None:
        one = split.rename_categories(lambda part: f"{dataset}:{part}")
    obs["dataset"] = one
    if "guide" in columns:
        obs["guide"] = as_categories(columns["guide"])
    obs["batch"] = NO_BATCH
    if "batch" in columns:
        obs["batch"] = as_categories(columns["batch"])
        if obs["batch"].isna().any():
            known = obs["batch"].cat.categories.union([NO_BATCH], sort=False)
            obs["batch"] = obs["batch"].cat.set_categories(known).fillna(NO_BATCH)
    obs["batch"] = obs["batch"].astype("category")
    faults = {}
    for column, wanted in layout.where:
        passed = _where(as_categories(tests[column]), set(wanted).__contains__)
        faults[f"{column} is not {' or '.join(wanted)}"] = ~passed
    faults["no target"] = ~control & target.isna()
    faults["no dataset"] = obs["dataset"].isna().to_numpy()
    faults["several targets"] = ~control & combined
    kept, left_out = np.ones(len(obs), dtype=bool), {}
    for reason, fault in faults.items():
        if number := int((kept & fault).sum()):
            left_out[reason] = number
        kept &= ~fault
    obs["kept"], obs["control"] = kept, control & kept
    unused = obs["dataset"].cat.categories.difference(obs.loc[kept, "dataset"].unique())
    obs["dataset"] = obs["dataset"].cat.remove_categories(unused)
    return obs, left_out


def _where(values, holds):
    """Mask of the rows whose category meets a condition; rows without one do not."""
    return np.array([*map(holds, values.categories), False], dtype=bool)[values.codes]


def _check(screen):
    """Every dataset of a screen has cells and control cells, and totals are usable."""
    path, layout, obs = screen.path, screen.layout, screen.obs
    if not obs["kept"].any():
        reasons = ", ".join(f"{number} {reason}" for reason, number in screen.left_out.items())
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
    for name, said, what in (
        ("total", layout.total, "UMI by cell"),
        ("cells", quote_some(layout.cells), "cells by row"),
    ):
        if name in used and not used[name].between(0, MOST, inclusive="neither").all():
            low, high = used[name].min(), used[name].max()
            raise InputError(
                f"{path}: `{said}` is not above 0 in all cells, or too large: {low:g} to {high:g}; "
                f"want {what}"
            )
    if "mito" in used and not (used["mito"].isna() | used["mito"].between(0, 1 + 1e-6)).all():
        most = MITO_UNITS[layout.mito_unit]
        low, high = most * used["mito"].min(), most * used["mito"].max()
        raise InputError(
            f"{path}: `{layout.mito}` goes from {low:g} to {high:g}, want a {layout.mito_unit}, 0 to "
            f"{most:g}; declare its `mito_unit`"
        )
