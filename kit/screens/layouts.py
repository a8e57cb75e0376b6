"""What the columns of each screen mean: layouts, declared or recognised by column names alone.

A layout is never guessed from values: `recognise` looks at the names of obs and var columns, and where
none or several layouts fit, the user declares one, by name, as a `Layout` or as a JSON file of its
fields. Nothing here reads counts; `h5ad` opens the files, `merge` makes responses and cells of them.
"""

import json
import re
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..io.files import InputError, quote_some, read_json

INDEX = "index"
SCALES = ("counts", "log1p_cp10k", "log2_cp10k")
KINDS = ("cells", "bulk")
MITO_UNITS = {"percent": 100.0, "fraction": 1.0}
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
    one label; such cells are left out. guide, batch: columns or none. dataset: a column that splits a
    file into screens of their own (cell lines). total: UMI by cell over *all* genes, for files that
    hold only some; by default the sum of the row. mito: share of mitochondrial UMI, in mito_unit
    (percent or fraction); by default counted over the genes MT-*. symbols, ensembl: var columns.
    counts: the first of these places that the file has. scale: what lies there, raw counts or the
    logarithm of CP10k. kind: cells, or bulk: mean UMI by gene, with the first of the columns `cells`
    that has a value as number of cells. where: only cells whose column holds one of the values.
    optional: fields whose columns a file may lack. marks, var_marks: the columns by which it is
    recognised; unless: those that speak against it.
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
        if not self.perturbation:
            raise InputError(f"layout `{self.name}` names no column `perturbation`; want one")
        for field, value, allowed in (
            ("scale", self.scale, SCALES),
            ("kind", self.kind, KINDS),
            ("mito_unit", self.mito_unit, MITO_UNITS),
        ):
            if value not in allowed:
                raise InputError(
                    f"layout `{self.name}`: {field} is `{value}`, want one of {quote_some(allowed)}"
                )
        if self.kind == "bulk" and self.scale != "counts":
            raise InputError(f"layout `{self.name}`: bulk takes mean UMI, want scale `counts`")
        if self.symbols is None and self.ensembl is None:
            raise InputError(f"layout `{self.name}` names neither symbols nor ensembl; want one")
        if self.pattern is not None and not _has_group(self.pattern):
            raise InputError(
                f"layout `{self.name}`: pattern is `{self.pattern}`, want a regular expression with (.+)"
            )

    def is_control(self, label):
        return any(fnmatchcase(label, pattern) for pattern in self.controls)

    def fits(self, obs, var):
        """Whether files with these columns of obs and var are recognised as this layout."""
        return (
            bool(self.marks or self.var_marks)
            and set(self.marks) <= set(obs)
            and set(self.var_marks) <= set(var)
            and not set(self.unless) & set(obs)
        )

    def present(self, obs, var):
        """The layout without the optional columns that a file lacks; `missing` names the others."""
        absent, missing = {}, []
        wanted = [(field, getattr(self, field), obs) for field in COLUMNS]
        wanted += [(field, getattr(self, field), var) for field in ("symbols", "ensembl")]
        for field, column, there in wanted:
            if column in (None, INDEX) or column in there:
                continue
            if field in self.optional:
                absent[field] = None
            else:
                missing.append(column)
        missing += [column for column, _ in self.where if column not in obs]
        if self.kind == "bulk" and not set(self.cells) & set(obs):
            missing += self.cells
        return replace(self, **absent) if not missing else self, missing


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "competition",
            perturbation="sgrna_symbol",
            guide="sgrna_id",
            batch="channel",
            mito="percent.mt",
            optional=("guide", "batch", "mito"),
            marks=("sgrna_symbol", "sgrna_id"),
        ),
        Layout(
            "vcc",  # Virtual Cell Challenge 2025
            perturbation="target_gene",
            guide="guide_id",
            batch="batch",
            ensembl="gene_id",
            optional=("ensembl",),
            marks=("target_gene", "guide_id", "batch"),
        ),
        Layout(
            "replogle",  # Replogle 2022, Nadig 2025: only expressed genes, UMI_count is over all
            perturbation="gene",
            guide="sgID_AB",
            batch="gem_group",
            total="UMI_count",
            mito="mitopercent",
            mito_unit="fraction",
            symbols="gene_name",
            ensembl=INDEX,
            optional=("guide", "batch", "total", "mito"),
            marks=("gene",),
            var_marks=("gene_name",),
            unless=("perturbation", "target_gene", "cell_type", "sgrna_symbol"),
        ),
        Layout(
            "replogle-bulk",  # index 10023_ZC3H18_P1P2_ENSG00000158545; X is mean UMI a cell
            perturbation=INDEX,
            pattern=r"\d+_(.+)_[^_]+_[^_]+",
            symbols="gene_name",
            ensembl=INDEX,
            mito="mitopercent",
            mito_unit="fraction",
            kind="bulk",
            cells=("num_cells_filtered", "num_cells_unfiltered"),
            optional=("mito",),
            marks=("num_cells_filtered", "num_cells_unfiltered"),
            var_marks=("gene_name",),
            unless=("gene",),
        ),
        Layout(
            "jiang",  # Jiang 2025, converted from Seurat: several cell lines in a file
            perturbation="gene",
            controls=("NT", "NTC", "non-targeting"),
            guide="guide",
            batch="Batch_info",
            dataset="cell_type",
            mito="percent.mito",
            counts=("layers/counts", "raw/X", "X"),
            optional=("guide", "batch"),
            marks=("gene", "cell_type", "percent.mito"),
            unless=("perturbation", "target_gene"),
        ),
        Layout(
            "scperturb",
            perturbation="perturbation",
            controls=("control",),
            combination="_",
            guide="guide_id",
            batch="batch",
            total="UMI_count",  # in the editions of Replogle's screens, which hold some genes only
            mito="percent_mito",
            ensembl="ensembl_id",
            optional=("guide", "batch", "total", "mito", "ensembl"),
            marks=("perturbation",),
            unless=("target_gene", "sgrna_symbol", "gene_target"),
        ),
        Layout(
            "x-atlas",  # X-Atlas/Orion 2025
            perturbation="gene_target",
            controls=("Non-Targeting", "non-targeting"),
            guide="guide_target",
            batch="sample",
            mito="pct_counts_mt",
            ensembl="gene_ids",
            where=(("pass_guide_filter", ("1", "True", "1.0")),),
            optional=("guide", "batch", "mito", "ensembl"),
            marks=("gene_target", "pass_guide_filter"),
        ),
        Layout(
            "cd4",  # Zhu 2025, CD4+ T cells
            perturbation="perturbed_gene_name",
            controls=("non-targeting",),
            control_column="guide_type",
            guide="guide_id",
            batch="lane_id",
            mito="pct_counts_mt",
            symbols="gene_name",
            ensembl="gene_ids",
            where=(("low_quality", ("0", "False")),),
            optional=("mito",),
            marks=("perturbed_gene_name", "guide_type", "lane_id"),
        ),
    )
}

_MAY_BE_NULL = {field.name for field in fields(Layout) if field.type == str | None}


def recognise(path, obs, var):
    """The one built-in layout that the columns of obs and var fit; InputError for none or several."""
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


def load_layout(declared):
    """A layout from a `Layout`, the name of a built-in one, or a JSON file of its fields.

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
    values = read_json(path)
    known = {field.name: field.default for field in fields(Layout)}
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object; want the fields of a layout")
    if unknown := [key for key in values if key != "like" and key not in known]:
        raise InputError(
            f"{path}: unknown fields {quote_some(unknown)}; want {quote_some(known, len(known))}"
        )
    base = values.pop("like", None)
    if base is not None and base not in LAYOUTS:
        raise InputError(f"{path}: like is `{base}`, want one of {quote_some(LAYOUTS, 20)}")
    values = {key: _of_json(path, key, value, known[key]) for key, value in values.items()}
    values.setdefault("name", path.stem)
    return replace(LAYOUTS[base], **values) if base else Layout(**values)


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
