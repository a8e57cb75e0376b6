"""Read atlas responses: the effects of perturbations in other screens. `merge` writes them.

NaN is not measured, 0 is no effect; nothing is imputed here.
"""

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io import locate
from ..io.files import InputError, frames_hash, quote_some, repeated
from ..io.hdf5 import opened
from ..io.matrix import MOST

RESPONSES = locate.RESPONSES.names[0]
LABELS = ("sgrna_symbol", "dataset")
KEYS = {"effects": "X", "se": "layers/se"}
FARTHEST = 1e6  # from zero: no effect, on whatever scale, is so large


@dataclass(frozen=True, eq=False)
class Atlas:
    """Effects in other screens; every frame has one row for each perturbation and dataset.

    effects: row x gene, log2, NaN where not measured. obs: `sgrna_symbol`, `dataset`, `n_cells` (NaN
    where unknown) and the other columns of the file. se: standard errors, shaped as `effects`, or None.
    source: the file.
    """

    effects: pd.DataFrame
    obs: pd.DataFrame
    se: pd.DataFrame | None
    source: Path

    def __repr__(self):
        rows, genes = self.effects.shape
        screens = quote_some(self.obs["dataset"].unique())
        return f"Atlas({rows} responses x {genes} genes of {screens}, from {self.source})"

    def __deepcopy__(self, memo):
        return self  # never changed; models that hold it are copied once a fold

    @property
    def own(self) -> np.ndarray:
        """Mask of the rows that come from the competition's own cells: (rows,)."""
        return own_rows(self.source, self.obs)

    @cached_property
    def _other_screens(self):
        return self.take(~self.own)

    def other_screens(self) -> "Atlas":
        """Return the rows of other screens only: none of the competition's own cells.

        Every kernel, response, feature and pretraining reads through this door: an own row would show a
        model the effects that it is to predict.
        """
        return self._other_screens

    def rows(self, train: Competition) -> "Atlas":
        """Return other screens and, of the competition's own rows, the control and those in `train`.

        For training on them: rows that a fold holds out, and targets, are not among them.
        """
        return self.take(visible_rows(self.source, self.obs, train))

    def take(self, mask: np.ndarray) -> "Atlas":
        """Return the rows of a bool mask, (rows,)."""
        se = None if self.se is None else self.se[mask]
        return replace(self, effects=self.effects[mask], obs=self.obs[mask], se=se)

    def effects_by_screen(self) -> dict[str, pd.DataFrame]:
        """Return the effects of each screen, by its name: perturbation x gene frames."""
        groups = self.obs.groupby("dataset", observed=True, sort=False).groups
        symbols = self.obs["sgrna_symbol"].astype(str)
        return {name: self.effects.loc[own].set_axis(symbols[own]) for name, own in groups.items()}

    @cached_property
    def fingerprint(self):
        """Hash of what it holds, wherever its file lies."""
        frames = {"effects": self.effects, "obs": self.obs, "se": self.se}
        return frames_hash({name: frame for name, frame in frames.items() if frame is not None})


def find_responses(
    path: Path | str | None = None,
    competition: Competition | None = None,
    *,
    folder: Path | str | None = None,
) -> Path | None:
    """Return the path of a `responses.h5ad`, found as `kit.io.locate` lists it, or None.

    path: the file, or a folder that holds it. competition: what is only found, not named, was made for
    it. folder: searched instead of the competition's. Raises InputError where `path` or $ESG_ATLAS
    names no file.
    """
    found = _by_place(path, competition, folder).items()
    return next((place for place, fault in found if fault is None), None)


def find_atlas(
    path: Path | str | None = None,
    competition: Competition | None = None,
    *,
    folder: Path | str | None = None,
) -> tuple[Atlas | None, list[str]]:
    """Return what `find_responses` finds, read, or None, and a line on each file that is not used.

    A file that is only found and cannot be read is not used. Arguments and errors: as `find_responses`.
    """
    must = locate.named(locate.RESPONSES, path) is not None
    found, lines = None, []
    for place, fault in _by_place(path, competition, folder).items():
        if found is None and fault is None:
            try:
                found = read_responses(place, competition)
                continue
            except InputError as error:
                if must:
                    raise
                fault = str(error)
        elif fault is None:
            fault = f"{found.source} comes first"
        lines.append(f"ignored: {place}, because {fault}")
    return found, lines


def _by_place(path, competition, folder):
    """Each file that is found, in order, and why it is not to be used, or None; or the one named."""
    if locate.named(locate.RESPONSES, path) is not None:
        return {locate.find_file(locate.RESPONSES, path): None}
    if folder is None and competition is not None:
        folder = competition.source
    found = locate.find_files(locate.RESPONSES, folder=folder)
    others = set() if folder is None else {*Path(folder).glob("*.h5ad")} - {*found}
    fault = f"only {RESPONSES} is found by itself; name it to use it: --atlas FILE"
    named_else = {place: fault for place in sorted(others) if _holds_responses(place)}
    return {place: _fault(place, competition) for place in found} | named_else


def _holds_responses(path):
    """Whether a file is one of responses, under whatever name: one row a perturbation and dataset."""
    with suppress(InputError), opened(path, ("obs", "X")) as file:
        columns = {*getattr(file["obs"], "keys", tuple)()}
        return {"sgrna_symbol", "dataset"} <= columns and hasattr(file["X"], "shape")
    return False


def _fault(path, competition):
    """Why a file that is found by itself is not to be used, or None."""
    try:
        with opened(path) as file:
            own = file.get("obs/competition")
            if own is not None and own[:].all():
                return "it holds the competition's own cells only"
        origin = _origin(path)
    except InputError as error:
        return str(error)
    made_here = path.parent in (locate.output_folder("00_merge"), locate.ROOT / "data" / "atlas")
    if made_here and (competition is None or origin is None):
        return "it does not say that it was made for this competition; name it to use it"
    return _difference(origin, competition)


def _origin(path):
    """Hash of the competition that a file was made for, and whether that was simulated, or None."""
    with opened(path) as file:
        stored = file["uns/provenance"] if "provenance" in file.get("uns", ()) else ()
        if not {"competition", "simulated"} <= {*getattr(stored, "keys", tuple)()}:
            return None
        return stored["competition"].asstr()[()], bool(stored["simulated"][()])


def _difference(origin, competition):
    """How the competition that a file was made for differs from this one, or None."""
    if origin is None or competition is None or not competition.files:
        return None
    made_for, simulated = origin
    if simulated != competition.simulated:
        kinds = {False: "real data", True: "simulated data"}
        return f"it was made for {kinds[simulated]}, this is {kinds[competition.simulated]}"
    if made_for != competition.training_hash:
        return "it was made for another competition (by the hash in it)"
    return None


def read_responses(path: Path | str | None = None, competition: Competition | None = None) -> Atlas:
    """Read atlas responses from where `find_responses` finds them.

    Genes are those of `competition`, in its order, all NaN where the file lacks one; rows of its own
    screen (`obs["competition"]` true) remain only if their perturbation is in its `effects`. Without
    `competition` genes are the file's, and no such row remains. Warns of a file that was made for
    another competition. Raises InputError where there is no file, for a missing column, repeated genes,
    infinite effects, and a file that cannot be read.
    """
    place = find_responses(path, competition)
    if place is None:
        searched = ", ".join(locate.places(locate.RESPONSES, competition and competition.source))
        step = (
            "give its path, set ESG_ATLAS, or make it: python -m kit merge FILE... --out data/atlas"
        )
        if locate.on_kaggle():
            step = "attach the output of the notebook ESG 00 Merge (Add Input)"
        raise InputError(f"no {RESPONSES} for this competition in {searched}; {step}")
    if fault := _difference(_origin(place), competition):
        warnings.warn(f"{place}: {fault}", stacklevel=2)
    obs, genes, arrays = _read(place)
    check_labels(place, obs, LABELS, numbers=("n_cells",))
    wanted = genes if competition is None else competition.genes
    places = gene_places(place, genes, wanted)
    kept = visible_rows(place, obs, competition)
    frames = {"se": None}
    for name, values in arrays.items():
        if values.dtype.kind not in "iuf":
            raise InputError(f"{place}: {name} holds {values.dtype}, want numbers, or NaN")
        if values.dtype.kind != "f":
            values = values.astype(np.float32)
        if (np.abs(values) > FARTHEST).any():
            raise InputError(
                f"{place}: {name} holds infinite values, or some beyond {FARTHEST:g}; want numbers or NaN"
            )
        if name == "se" and (values < 0).any():
            raise InputError(f"{place}: {name} holds values below 0; want standard errors, or NaN")
        aligned = values[np.ix_(kept, places)]
        aligned[:, places < 0] = np.nan
        frames[name] = pd.DataFrame(aligned, obs.index[kept], wanted)
    return Atlas(obs=obs[kept], source=place, **frames)


def _read(path):
    """Labels, genes, and the arrays `effects` and, where known, `se`."""
    read_elem = element_reader()
    with opened(path) as file:
        obs, genes = read_elem(file["obs"]), read_elem(file["var"]).index
        stored = {name: file[key] for name, key in KEYS.items() if key in file}
        for name in {"effects", *stored}:
            if getattr(stored.get(name), "shape", None) != (len(obs), len(genes)):
                raise InputError(
                    f"{path}: {KEYS[name]} is no dense matrix of {len(obs)} rows and {len(genes)} "
                    f"genes; is it {RESPONSES}?"
                )
        return obs, genes, {name: array[:] for name, array in stored.items()}


def element_reader() -> Callable:
    """Return anndata's reader of obs and var; InputError where anndata is not installed, as on Kaggle."""
    try:
        from anndata.io import read_elem
    except ImportError:
        raise InputError("h5ad files need the package anndata; run: pip install anndata") from None
    return read_elem


def check_labels(
    path: Path, obs: pd.DataFrame, wanted: Iterable[str], numbers: Iterable[str] = ()
) -> None:
    """InputError where obs lacks one of the columns, or a value in one of `wanted`.

    Columns of `numbers` hold numbers from 0, or NaN.
    """
    if lost := [name for name in (*wanted, *numbers) if name not in obs]:
        raise InputError(
            f"{path} has no obs column {quote_some(lost)}, it has {quote_some(obs.columns, 12)}; "
            "want what this writes: python -m kit merge FILE... --out DIR"
        )
    kinds = {name: getattr(obs[name].dtype, "kind", "O") for name in (*wanted, *numbers)}
    if strange := [name for name, kind in kinds.items() if kind == "V"]:
        raise InputError(f"{path}: obs {quote_some(strange)} is no text and no number")
    if blank := [name for name in wanted if obs[name].isna().any()]:
        raise InputError(
            f"{path}: obs {quote_some(blank)} has rows without a value; merge it again"
        )
    for name in numbers:
        known = obs[name].dropna()
        if kinds[name] not in "iuf" or not known.between(0, MOST).all():
            raise InputError(f"{path}: obs {name} holds other things than numbers from 0")


def gene_places(path: Path, genes: pd.Index, wanted: pd.Index) -> np.ndarray:
    """Return the place among the file's `genes` of each wanted gene, -1 for one that it lacks."""
    if again := repeated(genes):
        raise InputError(f"{path} has repeated genes: {quote_some(again)}; merge it again")
    places = genes.get_indexer(wanted)
    if not (places >= 0).any():
        raise InputError(
            f"{path} has none of the competition's genes; it has {quote_some(genes)}, want "
            f"{quote_some(wanted)}; merge it for this competition"
        )
    return places


def own_rows(path: Path, obs: pd.DataFrame) -> np.ndarray:
    """Return the mask of the rows that come from the competition's own cells."""
    if "competition" not in obs:
        return np.zeros(len(obs), dtype=bool)
    if obs["competition"].dtype != bool:
        raise InputError(
            f"{path}: obs `competition` is {obs['competition'].dtype}, want bool; merge it again"
        )
    return obs["competition"].to_numpy()


def visible_rows(path: Path, obs: pd.DataFrame, competition: Competition | None) -> np.ndarray:
    """Return the mask of all rows of other screens and those of the competition that no fold holds out.

    These are its control and the perturbations of `competition.effects`; none without `competition`.
    """
    known = [CONTROL] if competition is None else [CONTROL, *competition.effects.index]
    return ~own_rows(path, obs) | obs["sgrna_symbol"].isin(known).to_numpy()
