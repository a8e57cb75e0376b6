"""What the columns of each screen mean: layouts, declared or recognised by column names alone.

A layout is never guessed from values: `recognise` compares the names of obs and var columns, and where
none or several layouts fit, the user declares one, by name, as a `Layout` or as a JSON file of its
fields. The built-in ones are in `layouts.json`, written as a user writes one. Nothing here reads counts:
`labels` opens the files, `merging` makes responses and cells of them.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..competition import CONTROL
from ..io.files import InputError, quote_some, read_json
from ..io.hdf5 import INDEX

SCALES = ("counts", "log1p_cp10k", "log2_cp10k", "log1p", "log2")
KINDS = ("cells", "bulk")
MITO_UNITS = {"percent": 100.0, "fraction": 1.0, "either": 100.0}
BUILT_IN = Path(__file__).with_name("layouts.json")
VAR_COLUMNS = ("symbols", "ensembl")
# Labels that name no perturbation, in lower case.
NO_TARGET = {
    "na", "n/a", "<na>", "#n/a", "none", "null", "unassigned", "unknown", "undetermined", "multiple",
    "multiplet", "doublet", "ambiguous",
}  # fmt: skip
# Labels of control guides, in lower case; what joins labels; what only says which guide it is.
CONTROL_GUIDES = {
    CONTROL, "nontargeting", "non_targeting", "control", "ctrl", "nt", "ntc", "neg", "safe-targeting",
    "scramble", "scrambled",
}  # fmt: skip
JOINERS = "+", "|"
GUIDE = re.compile(r"\d+|(sg|sgrna|grna|guide)\d*|chr(\d+|[xym])", re.IGNORECASE)
COLUMNS = ("perturbation", "control_column", "guide", "batch", "dataset", "total", "mito")


def _has_group(pattern):
    try:
        return re.compile(pattern).groups > 0
    except (re.error, OverflowError, RecursionError):
        return False


@dataclass(frozen=True)
class Layout:
    """Where a screen keeps what. Columns are of obs unless said otherwise; `index` is the index.

    perturbation: the target's symbol; pattern: a regular expression whose first group is the target in
    a longer label. controls: labels of non-targeting cells, `*` and `?` as in file names;
    control_column: where they stand, by default `perturbation`. combination: what joins the targets of
    one label, beside `+` and `|`, which join a target and control guides; cells of several targets are
    left out. guide, batch: columns or none. dataset: a column that splits a file into screens of their
    own (cell lines). total: UMI by cell over *all* genes, for files that hold only some; by default the
    sum of the row. mito: share of mitochondrial UMI, in mito_unit (percent, fraction, or `either`,
    which its range decides; a fraction with values above 1 is read as percent); by default counted over
    the genes MT-*. symbols, ensembl: var columns. counts: the first of these places that the file has.
    scale: what lies there, raw counts, the natural or binary logarithm of 1 + CP10k or, `log1p` and
    `log2`, of 1 + counts times any factor by cell, in a file of all genes. kind: cells, or bulk: mean
    UMI by gene, with the first of the columns `cells` that has a value as number of cells. where: only
    cells whose column holds one of the values. optional: fields whose columns a file may lack. marks,
    var_marks: the columns by which it is recognised; unless: columns that exclude it.
    """

    name: str = "custom"
    perturbation: str = ""
    controls: tuple[str, ...] = ("non-targeting",)
    control_column: str | None = None
    pattern: str | None = None
    combination: str | None = None
    guide: str | None = None
    batch: str | None = None
    dataset: str | None = None
    total: str | None = None
    mito: str | None = None
    mito_unit: str = "percent"
    symbols: str | None = INDEX
    ensembl: str | None = None
    counts: tuple[str, ...] = ("X",)
    scale: str = "counts"
    kind: str = "cells"
    cells: tuple[str, ...] = ()
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    optional: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    var_marks: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    def __post_init__(self):
        faults = {"names no column `perturbation`; want one": not self.perturbation}
        for field, allowed in (("scale", SCALES), ("kind", KINDS), ("mito_unit", MITO_UNITS)):
            value = getattr(self, field)
            fault = f"is no layout: {field} is `{value}`, want one of {quote_some(allowed)}"
            faults[fault] = value not in allowed
        bulk = self.kind == "bulk" and self.scale != "counts"
        faults["is bulk, which takes mean UMI; want scale `counts`"] = bulk
        faults["names neither symbols nor ensembl; want one"] = not (self.symbols or self.ensembl)
        fault = f"is no layout: pattern is `{self.pattern}`, want a regular expression with (.+)"
        faults[fault] = self.pattern is not None and not _has_group(self.pattern)
        if fault := next((fault for fault, holds in faults.items() if holds), ""):
            raise InputError(f"layout `{self.name}` {fault}")

    def is_control(self, label: str) -> bool:
        """Whether a label is one of non-targeting cells."""
        return any(fnmatchcase(label, pattern) for pattern in self.controls)

    def targets(self, label: str) -> list[str]:
        """Return the targets that a label names: none, one or several; CONTROL is that of controls.

        Control guides beside a target do not count, nor do numbers of guides: `ctrl+A` is A, `NT_1` a
        control. `_` joins only as the layout's `combination`; elsewhere `NT_A` may be a control or a
        perturbation and names none: losing control cells does less harm than mixing others into them.
        Several targets that are joined otherwise than by `combination` stay one label.
        """
        by_label = self.control_column is None
        if by_label and (self.is_control(label) or self._is_numbered_control(label)):
            return [CONTROL]
        if label.lower() in NO_TARGET:
            return []
        for joiner in dict.fromkeys(filter(None, (*JOINERS, self.combination))):
            parts = [part.strip() for part in label.split(joiner) if part.strip()]
            if len(parts) < 2:
                continue
            parts[1:] = [part for part in parts[1:] if not GUIDE.fullmatch(part)]
            targets = list(dict.fromkeys(p for p in parts if not self._is_control_guide(p)))
            if len(targets) < 2:
                return self.targets(targets[0]) if targets else [CONTROL]
            if joiner == self.combination:
                return targets
        words = label.split("_")
        begins = ("_".join(words[:number]) for number in range(1, len(words)))
        return [] if by_label and any(map(self._is_control_guide, begins)) else [label]

    def _is_control_guide(self, name):
        """Whether a name is that of a control guide, by the layout or by the known labels."""
        known = self.is_control(name) or name.lower() in CONTROL_GUIDES
        return known or self._is_numbered_control(name)

    def _is_numbered_control(self, name):
        """Whether a name is a control guide's with its number, such as `NT_1` or `control_sgRNA_2`."""
        stem, _, number = name.rpartition("_")
        return bool(stem and GUIDE.fullmatch(number)) and self._is_control_guide(stem)

    def fits(self, obs: Iterable[str], var: Iterable[str]) -> bool:
        """Whether files with these columns of obs and var are recognised as this layout."""
        return (
            bool(self.marks or self.var_marks)
            and set(self.marks) <= set(obs)
            and set(self.var_marks) <= set(var)
            and not set(self.unless) & set(obs)
        )

    def present(self, obs: Iterable[str], var: Iterable[str]) -> tuple["Layout", list[str]]:
        """Return the layout without optional columns that a file lacks, and the others that it lacks."""
        absent, missing = {}, []
        for field in (*COLUMNS, *VAR_COLUMNS):
            column = getattr(self, field)
            if column in (None, INDEX) or column in (var if field in VAR_COLUMNS else obs):
                continue
            if field in self.optional:
                absent[field] = None
            else:
                missing.append(column)
        missing += [column for column, _ in self.where if column not in obs]
        if self.kind == "bulk" and not set(self.cells) & set(obs):
            missing += self.cells
        return replace(self, **absent) if not missing else self, missing


_MAY_BE_NULL = {field.name for field in fields(Layout) if field.type == str | None}


def recognise(path: Path | str, obs: Iterable[str], var: Iterable[str]) -> Layout:
    """Return the built-in layout that the columns of obs and var fit; InputError unless it is one."""
    fitting = [layout for layout in LAYOUTS.values() if layout.fits(obs, var)]
    if len(fitting) == 1:
        return fitting[0]
    fault = "fits no known layout"
    if fitting:
        fault = f"fits several layouts ({quote_some(layout.name for layout in fitting)})"
    raise InputError(
        f"{path} {fault}: obs has {quote_some(obs, 20) or 'no columns'}, var has "
        f"{quote_some(var, 8) or 'no columns'}; declare one with --layout (layouts=): "
        f"{quote_some(LAYOUTS, 20)}, or a JSON file such as "
        '{"perturbation": "<obs column>", "controls": ["<label>"], "batch": "<obs column>"}'
    )


def load_layout(declared: Layout | Path | str) -> Layout:
    """Return a layout from a `Layout`, the name of a built-in one, or a JSON file of its fields.

    The JSON object may begin from another layout: `{"like": "jiang", "where": {"cell_type": "A549"}}`.
    """
    if isinstance(declared, Layout):
        return declared
    if str(declared) in LAYOUTS:
        return LAYOUTS[str(declared)]
    path = Path(declared)
    if path.suffix != ".json":
        raise InputError(
            f"layout `{declared}` is unknown; want one of {quote_some(LAYOUTS, 20)} or a .json file"
        )
    return _from_json(path, path.stem, read_json(path))


def _from_json(path, name, values):
    """A layout from the JSON object of its fields; `about` is for readers."""
    known = {field.name: field.default for field in fields(Layout)}
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object; want the fields of a layout")
    if unknown := [key for key in values if key not in {"like", "about", *known}]:
        raise InputError(
            f"{path}: unknown fields {quote_some(unknown)}; want {quote_some(known, len(known))}"
        )
    like = values.get("like")
    if like is not None and like not in list(LAYOUTS):
        raise InputError(f"{path}: like is `{like}`, want one of {quote_some(LAYOUTS, 20)}")
    given = {
        key: _of_json(path, key, value, known[key]) for key, value in values.items() if key in known
    }
    given = {"name": name} | given
    return replace(LAYOUTS[like], **given) if like else Layout(**given)


def _of_json(path, key, value, default):
    """A JSON value as the field `key` wants it: a string, or a tuple of strings."""
    if key == "where" and isinstance(value, dict):
        return tuple((column, _texts(wanted)) for column, wanted in value.items())
    if isinstance(default, tuple) and key != "where" and isinstance(value, str | list):
        return _texts(value)
    if not isinstance(default, tuple) and isinstance(value, str):
        return value
    if value is None and key in _MAY_BE_NULL:
        return value
    want = "text"
    if isinstance(default, tuple):
        want = "an object of columns and values" if key == "where" else "text or a list of texts"
    raise InputError(f"{path}: {key} is {json.dumps(value)}, want {want}")


def _texts(value):
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


LAYOUTS = {name: _from_json(BUILT_IN, name, values) for name, values in read_json(BUILT_IN).items()}
