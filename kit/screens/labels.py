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
from .layouts import COLUMNS, INDEX, MITO_UNITS, Layout, load_layout, recognise

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
    with opened(path) as file:
        obs_columns, var_columns = column_names(file["obs"]), column_names(file["var"])
        if layout is None:
            layout = recognise(path, obs_columns, var_columns)
        layout = load_layout(layout)
        matrix = next((place for place in layout.counts if place in file), None)
        if matrix is None:
            raise InputError(
                f"{path} has no {quote_some(layout.counts)}, where layout `{layout.name}` wants "
                "counts; declare another place as `counts`"
            )
        genes = file["raw/var"] if matrix == "raw/X" else file["var"]
        var_columns = column_names(genes)
        layout, missing = layout.present(obs_columns, var_columns)
        if missing:
            raise InputError(
                f"{path} has no column {quote_some(missing)}, which layout `{layout.name}` wants; "
                f"obs has {quote_some(obs_columns, 20)}; var has {quote_some(var_columns)}"
            )
        wanted = [getattr(layout, field) for field in COLUMNS] + [name for name, _ in layout.where]
        cells = [name for name in layout.cells if name in obs_columns and layout.kind == "bulk"]
        columns = _read(path, file["obs"], wanted + cells)
        names = _read(path, genes, [layout.symbols, layout.ensembl])

    obs, left_out = _labels(path, columns, layout, dataset)
    _check(path, layout, obs, left_out)
    unit = MITO_UNITS[layout.mito_unit]
    for name, place, want in (
        ("total", [layout.total], f"UMI by cell, above 0, below {MOST:g}"),
        ("cells", cells, f"cells by row, above 0, below {MOST:g}"),
        ("mito", [layout.mito], f"a {layout.mito_unit}, 0 to {unit:g}; declare its `mito_unit`"),
    ):
        if not any(place):
            continue
        values = _numbers(path, columns[place])
        sound = values.between(0, MOST, inclusive="neither")
        if name == "mito":
            sound = values.isna() | values.between(0, unit * (1 + 1e-6))
        if not sound[obs["kept"]].all():
            low, high = values[obs["kept"]].agg(["min", "max"])
            raise InputError(
                f"{path}: `{quote_some(place)}` goes from {low:g} to {high:g}, want {want}"
            )
        obs[name] = values / unit if name == "mito" else values
    var = pd.DataFrame({"name": names[layout.symbols or layout.ensembl]}, dtype=object)
    if layout.ensembl:
        var["ensembl"] = names[layout.ensembl]
    return Screen(path, layout, matrix, obs, var.map(str, na_action="ignore"), left_out)


def _read(path, table, columns):
    """Some columns of a table as one frame; None is no column."""
    values = {column: read_column(table, column) for column in filter(None, columns)}
    for column, array in values.items():
        kind = getattr(getattr(array, "dtype", None), "kind", "V")
        if getattr(array, "ndim", 0) != 1 or kind not in "biufOSU":
            raise InputError(
                f"{path}: column `{column}` is no list of labels or numbers; is it corrupt?"
            )
    lengths = sorted({len(column) for column in values.values()})
    if len(lengths) > 1:
        raise InputError(
            f"{path}: columns of {table.name} have {quote_some(lengths)} values, want as many in "
            "each; is the file corrupt?"
        )
    return pd.DataFrame(values)


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

    if hasattr(table, "keys"):
        name = _text(table.attrs.get("_index", "_index")) if column == INDEX else column
        element = table[name]
        if hasattr(element, "keys"):
            return read_elem(element)
        values, categories = element[()], element.attrs.get("categories")
        if categories is not None:  # a reference to the dataset of their names
            categories = element.file[categories]
    else:  # a compound array, its categories in uns
        name = table.dtype.names[0] if column == INDEX else column
        values, categories = table[name], table.file.get(f"uns/{name}_categories")
    if categories is not None:
        return pd.Categorical.from_codes(values, _strings(categories[()]))
    return _strings(values)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(values):
    """The array itself, bytes decoded."""
    if values.dtype.kind == "S" or (values.dtype.kind == "O" and not values.dtype.names):
        return np.array([_text(value) for value in values], dtype=object)
    return values


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
    """The frame `obs` of a screen without its numbers, and its rows left out, by reason."""
    labels = target = as_categories(columns[layout.perturbation])
    if layout.pattern:
        found = {label: re.fullmatch(layout.pattern, label) for label in labels.categories}
        if not any(found.values()):
            raise InputError(
                f"{path}: no label in `{layout.perturbation}` looks like {layout.pattern}; they are "
                f"{quote_some(found)}; declare another layout"
            )
        target = as_categories(labels, lambda label: found[label][1] if found[label] else label)
    marks = as_categories(columns[layout.control_column]) if layout.control_column else target
    control = _where(marks, layout.is_control) | _where(target, CONTROL.__eq__)
    combined = _where(target, lambda name: bool(layout.combination) and layout.combination in name)

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
    faults["no target"] = ~control & obs["target"].isna().to_numpy()
    faults["no dataset"] = obs["dataset"].isna().to_numpy()
    faults["several targets"] = ~control & combined
    kept, left_out = np.ones(len(obs), dtype=bool), {}
    for reason, fault in faults.items():
        if number := int((kept & fault).sum()):
            left_out[reason] = number
        kept &= ~fault
    obs["kept"], obs["control"] = kept, control & kept
    obs["dataset"] = obs["dataset"].where(kept).cat.remove_unused_categories()
    return obs, left_out


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
