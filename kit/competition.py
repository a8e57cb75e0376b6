"""The competition's tables: find the folder, read and check it once, return labelled frames.

Numbers of rows and genes come from the files. Labels are matched in any order, except that genes keep the
order of the ground-truth table and targets that of the sample submission. Released truth is read from
`solution*.csv`, in the host's format: `pert_id`, genes, `w_<gene>`, `baseline_wmae`.
"""

import os
import shlex
import warnings
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .io import locate
from .io.files import (
    InputError,
    check_known,
    check_labels,
    check_type,
    check_unique,
    content_hash,
    quote_some,
    read_table,
)
from .metric import wmae

if TYPE_CHECKING:
    from anndata import AnnData

CONTROL = "non-targeting"
MEANS = locate.COMPETITION.names[0]
TRUTH = "training_data_ground_truth_table.csv"
SAMPLE = "sample_submission.csv"
CELLS = "training_cells.h5ad"
USAGE = ["Usage", "usage", "USAGE"]  # a solution's column that marks public and private rows
TOLERANCE = 1e-3  # the host's own files hold the numerical identities only to about 1e-4


@dataclass(frozen=True, eq=False)
class Competition:
    """A competition's tables. Frames are perturbation x gene, float64, effects and means in log2.

    effects: mean log2(1 + CP10k) of the perturbed cells minus that of the non-targeting cells.
    weights: the metric's, each row sums to the number of genes. control: mean of the non-targeting
    cells by gene. targets: by `pert_id`, columns `perturbation` and `split`. baseline_wmae: by
    perturbation, as shipped: of the training mean that contains the row itself. solution: released truth
    by `pert_id` in the host's format, or None. submission_ids, submission_genes: what a submission must
    hold, in its order, by default that of `targets` and `effects`; where the folder names no perturbation
    for an id, `targets` lacks it. files: the CSV files read.
    """

    effects: pd.DataFrame
    weights: pd.DataFrame
    control: pd.Series
    targets: pd.DataFrame
    baseline_wmae: pd.Series
    solution: pd.DataFrame | None
    cells: Path | None
    source: Path
    submission_ids: pd.Index = None
    submission_genes: pd.Index = None
    files: tuple[Path, ...] = ()

    def __post_init__(self):
        if self.submission_ids is None:
            object.__setattr__(self, "submission_ids", self.targets.index)
        if self.submission_genes is None:
            object.__setattr__(self, "submission_genes", self.effects.columns)

    def __repr__(self):
        rows, genes = self.effects.shape
        size = f"{rows} training rows x {genes} genes, {len(self.targets)} targets"
        return f"Competition({size}, from {self.source})"

    @property
    def genes(self) -> pd.Index:
        """Genes of the effects, in the order of the ground-truth table."""
        return self.effects.columns

    @property
    def splits(self) -> pd.Series:
        """Return the split of each perturbation, training rows (`train`) first."""
        train = pd.Series("train", self.effects.index, dtype=object)
        others = self.targets.set_index("perturbation")["split"]
        return pd.concat([train, others[~others.index.isin(train.index)]])

    @property
    def simulated(self) -> bool:
        """Whether the folder was made by `twin`: scores on it do not hold for real data."""
        return (self.source / "twin.json").exists()

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of the CSV files read; without the cells, which would take seconds."""
        return content_hash(self.files)

    @cached_property
    def training_hash(self) -> str:
        """SHA-256 of the training tables: the same after released truth or names of targets are added."""
        return content_hash(self.files[:2])

    def subset(self, perturbations: Iterable[str]) -> "Competition":
        """Return the competition with only these training rows, in this order, without released truth."""
        rows = list(perturbations)
        check_known(rows, self.effects.index, "perturbations are not training rows")
        check_unique(rows, "perturbations are repeated")
        return replace(
            self,
            effects=self.effects.loc[rows],
            weights=self.weights.loc[rows],
            baseline_wmae=self.baseline_wmae.loc[rows],
            solution=None,
        )

    def with_released(self) -> "Competition":
        """Return the competition with the released rows of `solution` among its training rows."""
        if self.solution is None:
            raise InputError(f"{self.source} has no released truth; put its solution*.csv there")
        symbols = self.targets["perturbation"].loc[self.solution.index]
        released = self.solution.set_axis(pd.Index(symbols, name=self.effects.index.name))
        released = split_solution(released[~released.index.isin(self.effects.index)])
        shipped = (self.effects, self.weights, self.baseline_wmae)
        effects, weights, baseline = map(pd.concat, zip(shipped, released, strict=True))
        parts = {"effects": effects, "weights": weights, "baseline_wmae": baseline}
        return replace(self, **parts, solution=None)

    def read_cells(self) -> "AnnData":
        """Return the cells of the `effects` rows and the control: AnnData of raw counts, in memory."""
        if self.cells is None:
            raise InputError(f"{self.source} has no {CELLS}; put it there or do without cells")
        try:
            import anndata
        except ImportError:
            raise InputError("cells need the package anndata; run: pip install anndata") from None
        from scipy.sparse import issparse

        from .io.hdf5 import reason
        from .io.matrix import Matrix

        _ = Matrix(self.cells).header  # or faults of the matrix would show only where it is used
        try:
            backed = anndata.read_h5ad(self.cells, backed="r")
            with closing(backed.file):
                keep = backed.obs["sgrna_symbol"].isin([*self.effects.index, CONTROL])
                cells = (backed if keep.all() else backed[keep.to_numpy()]).to_memory()
            if issparse(cells.X):
                cells.X.check_format(full_check=True)  # indices beyond the genes corrupt memory
        except MemoryError:
            raise
        except Exception as error:  # h5py and anndata raise nearly every kind on a damaged file
            raise InputError(
                f"{self.cells} cannot be read: {reason(error)}; want an h5ad file with obs "
                "`sgrna_symbol`, fetch it again if it was cut off"
            ) from None
        if CONTROL not in set(cells.obs["sgrna_symbol"]):
            raise InputError(f"{self.cells} has no cell with sgrna_symbol `{CONTROL}`")
        return cells


def load_competition(path: Path | str | None = None) -> Competition:
    """Read and check a competition folder and return its tables.

    path: the folder; by default $ESG_DATA, the Kaggle mounts, `data/echoes-of-silenced-genes` in the
    project and, outside Kaggle, the twin in `data/twin-quick`. Raises InputError for faults of structure,
    labels that do not match and values that are not finite. Warns where numbers that should agree differ
    by more than 1e-3, and for simulated data.
    """
    check_type(path, (str, Path, type(None)), "path", "the path of a folder")
    source = find_folder(path)
    means = read_table(source / MEANS, "pert_symbol")
    training = read_solution(source / TRUTH).rename_axis("perturbation")
    effects, weights, baseline = split_solution(training)
    genes = effects.columns
    _match(source / MEANS, "genes", means.columns, genes, TRUTH)
    _match(source / MEANS, "rows", means.index, [*effects.index, CONTROL], f"{TRUTH} and {CONTROL}")
    control = means.loc[CONTROL, genes].rename("control")
    targets, target_files = _read_targets(source)
    files = [source / MEANS, source / TRUTH, *target_files]
    ids, submission_genes = None, None
    if os.path.lexists(source / SAMPLE):
        sample = read_table(source / SAMPLE, "pert_id")
        files.append(source / SAMPLE)
        ids, submission_genes = sample.index, sample.columns
        _match(source / SAMPLE, "genes", submission_genes, genes, TRUTH)
        # Early in the competition only the validation rows were named: the others stay without a name.
        named = ids if target_files[0].name == "pert_ids_all.csv" else ids[ids.isin(targets.index)]
        _match(target_files[0], "ids", targets.index, named, SAMPLE)
        targets = targets.loc[named]
    solution, solution_files = _read_solutions(source, targets, genes)
    competition = Competition(
        effects=effects,
        weights=weights,
        control=control,
        targets=targets,
        baseline_wmae=baseline,
        solution=solution,
        cells=source / CELLS if os.path.lexists(source / CELLS) else None,
        source=source,
        submission_ids=ids,
        submission_genes=submission_genes,
        files=(*files, *solution_files),
    )
    if competition.simulated:
        warnings.warn(f"{source} holds SIMULATED data: no score on it is real", stacklevel=2)
    for fault in _identity_faults(competition, means):
        warnings.warn(f"{source}: {fault}", stacklevel=2)
    return competition


def find_folder(path: Path | str | None = None) -> Path:
    """Return the folder that `load_competition` reads; InputError naming every place searched."""
    if (named := locate.named(locate.COMPETITION, path)) is not None:
        folder, origin = named[0].absolute(), named[1]
        if not (folder / MEANS).is_file():
            fault = f"holds no {MEANS}" if folder.is_dir() else "is not a folder"
            raise InputError(f"{folder} ({origin}) {fault}; give the folder of the CSV files")
        return folder
    if (means := locate.find_file(locate.COMPETITION)) is not None:
        return means.parent
    *places, last = locate.places(locate.COMPETITION)
    step = "attach the competition to the notebook (Add Input)"
    if not locate.on_kaggle():
        step = (
            f"put its CSV files in {places[0]}, set ESG_DATA to their folder, or simulate some: "
            f"python -m kit twin {shlex.quote(last)}"
        )
    raise InputError(f"no competition data in {', '.join([*places, last])}; {step}")


def read_solution(path: Path | str) -> pd.DataFrame:
    """Return a table in the host's solution format: float64 frame by `pert_id`, columns as in the file.

    A column `Usage` (public or private) is dropped. Raises InputError.
    """
    table = read_table(path, "pert_id", text=USAGE).drop(columns=USAGE, errors="ignore")
    genes = _genes_of(table)
    wanted = [*genes, *(f"w_{gene}" for gene in genes), "baseline_wmae"]
    _match(path, "columns", table.columns, wanted, "genes with a weight each and baseline_wmae")
    below = table.drop(columns=genes).min()
    if (below < 0).any():
        raise InputError(f"{path}: `{below.idxmin()}` holds {below.min():g}, want numbers from 0")
    return table


def split_solution(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return effects, weights (row x gene) and baseline_wmae of a table in the host's solution format."""
    genes = _genes_of(table)
    weights = table[[f"w_{gene}" for gene in genes]].set_axis(genes, axis=1)
    return table[genes], weights, table["baseline_wmae"]


def _genes_of(table):
    """Columns that have a weight column `w_<gene>`; a gene's own name may begin with `w_`."""
    return [name for name in table if f"w_{name}" in table]


def _match(path, kind, got, want, reference):
    check_labels(got, want, f"{path}: {kind} do not match {reference}")


def _read_targets(source):
    """Targets by `pert_id`, columns `perturbation` and `split`, and the files read, the fullest first."""
    tables = {}
    for path in (source / "pert_ids_all.csv", source / "pert_ids_val.csv"):
        if os.path.lexists(path):  # a link to nothing is a fault, not a file that is not there
            table = read_table(path, "pert_id", text=("pert", "class"))
            check_known(("pert", "class"), table, f"{path} lacks columns")
            check_unique(table["pert"], f"{path} has repeated perturbations")
            check_known(table["class"].unique(), ("val", "test"), f"{path} has unknown classes")
            table = table.rename(columns={"pert": "perturbation", "class": "split"})
            tables[path] = table[["perturbation", "split"]]
    if not tables:
        raise InputError(
            f"{source} holds neither pert_ids_all.csv nor pert_ids_val.csv; fetch them"
        )
    (_, targets), *others = tables.items()
    for path, validation in others:
        named = targets[targets["split"] == "val"]
        _match(path, "ids", validation.index, named.index, "the val rows of pert_ids_all.csv")
        other = (validation.loc[named.index] != named).any(axis=1)
        if other.any():
            raise InputError(
                f"{path} and pert_ids_all.csv differ in {quote_some(other.index[other])}"
            )
    return targets, list(tables)


def _read_solutions(source, targets, genes):
    """Released truth of all `solution*.csv`, columns in the order of `genes`, or None; the files."""
    columns = [*genes, *(f"w_{gene}" for gene in genes), "baseline_wmae"]
    tables = {path: read_solution(path) for path in sorted(source.glob("solution*.csv"))}
    for path, table in tables.items():
        _match(path, "genes", _genes_of(table), genes, TRUTH)
        named = "pert_ids_all.csv and pert_ids_val.csv"
        check_known(table.index, targets.index, f"{path} has ids that {named} do not name")
    if not tables:
        return None, []
    solution = pd.concat([table[columns] for table in tables.values()])
    names = quote_some(path.name for path in tables)
    check_unique(solution.index, f"{source}: ids stand in more than one of {names}")
    return solution, list(tables)


def _identity_faults(competition, means):
    """Yield which numbers that should agree do not, each with its largest deviation and its row."""
    effects = competition.effects
    gap = means.loc[effects.index, effects.columns] - competition.control - effects
    gaps = pd.Series(gap.to_numpy().ravel(), pd.MultiIndex.from_product(gap.axes))
    deviations = {f"{MEANS} minus its control row and the effects of {TRUTH}": gaps}
    tables = {TRUTH: (effects, competition.weights, competition.baseline_wmae)}
    if competition.solution is not None:
        symbols = competition.targets["perturbation"].loc[competition.solution.index]
        tables["the solution"] = split_solution(competition.solution.set_axis(symbols))
    for name, (truth, weights, baseline) in tables.items():
        own = weights.index.intersection(weights.columns)
        deviations |= {
            f"sums of weights in {name} and the number of genes": (
                weights.sum(axis=1) - weights.shape[1]
            ),
            f"weights of on-target genes in {name} and zero": pd.Series(
                {gene: weights.at[gene, gene] for gene in own}, dtype=float
            ),
            f"baseline_wmae in {name} and the WMAE of the mean training effect": (
                wmae(truth, effects.mean(), weights) - baseline
            ),
        }
    for what, deviation in deviations.items():
        if (beyond := deviation.abs() > TOLERANCE).any():
            worst = deviation.abs().idxmax()
            place = worst if isinstance(worst, str) else ", ".join(worst)
            yield (
                f"{what} differ in {beyond.sum()} of {len(deviation)} values, "
                f"most by {deviation[worst]:.3g} at {place}"
            )
