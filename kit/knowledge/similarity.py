"""How alike knockdowns are, by all that is known of them before they are measured.

`Knowledge` joins the pathway map and the responses of the same knockdowns in other screens to kernels
between perturbations, and to the response that is expected from elsewhere. A knockdown without a
response elsewhere gets that of its pathway neighbours; `exclude_own_response` treats all
so, each without its own response: then knockdowns with and without one compare like with like.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..screens.atlas import Atlas
from .pathways import LARGEST, SMALLEST, Pathways

COMPONENTS = 40  # of the atlas's similarity, that count by the root of their size
SHRINKAGE = 0.05  # mass of pathway neighbours at which their mean response counts half
KEPT = 64  # kernels and means remembered
POWER = 2  # of the pathway kernel in that mean


class Knowledge:
    """All foreign knowledge of perturbations in one object: pathways and the responses of other screens.

    pathways: `kit.knowledge.Pathways` or None; atlas: `kit.screens.Atlas` or None; `gather` makes it from
    files. remarks: lines that say what was found where. The same for every fold, so never copied.
    Perturbations are named as the caller names them: old symbols meet the current ones of the files.
    """

    def __init__(
        self,
        pathways: Pathways | None = None,
        atlas: Atlas | None = None,
        *,
        remarks: Sequence[str] = (),
    ):
        self.pathways = pathways
        self.atlas = atlas
        self.remarks = list(remarks)
        self.names = None if pathways is None else pathways.names
        responses = None if atlas is None else joined_responses(atlas, self.names)
        self.responses_ = None if responses is None or responses.empty else responses
        self._kept = {}

    def __deepcopy__(self, memo):
        return self

    def __bool__(self):
        """Whether there is anything: sets, interactions, tables, or a response in another screen."""
        return self.pathways is not None or self.responses_ is not None

    @property
    def fingerprint(self):
        """Hashes of the pathways and of the atlas, None for what there is not."""
        parts = self.pathways, self.atlas
        return tuple(None if part is None else part.fingerprint for part in parts)

    def symbols(self, perturbations: Sequence[str]) -> list[str]:
        """Current symbols of perturbations, in their order."""
        return list(
            perturbations if self.names is None else self.names.current(list(perturbations))
        )

    def has_response(self, perturbations: Sequence[str]) -> pd.Series:
        """Whether another screen holds a response of each perturbation: a bool series."""
        held = set() if self.responses_ is None else set(self.responses_.index)
        symbols = self.symbols(perturbations)
        return pd.Series([name in held for name in symbols], pd.Index(perturbations), dtype=bool)

    def knows(self, perturbations: Sequence[str]) -> pd.Series:
        """Whether anything is known of each perturbation: a bool series."""
        known = self.has_response(perturbations)
        if self.pathways is not None:
            known |= self.pathways.knows(perturbations).to_numpy()
        return known

    def one_hot(
        self, perturbations: Sequence[str], *, smallest: int = SMALLEST, largest: int = LARGEST
    ) -> pd.DataFrame:
        """Membership in gene sets, perturbation x set, as `Pathways.one_hot` has it."""
        if self.pathways is None:
            index = pd.Index(perturbations, name="perturbation")
            return pd.DataFrame(np.zeros((len(index), 0), dtype=np.uint8), index)
        return self.pathways.one_hot(perturbations, smallest=smallest, largest=largest)

    def pathway_kernel(self, one: Sequence[str], other: Sequence[str]) -> pd.DataFrame:
        """Similarity by pathways alone, one x other, 0 to 1, as `Pathways.kernel`."""
        if self.pathways is None:
            return pd.DataFrame(0.0, pd.Index(one), pd.Index(other))
        return self.pathways.kernel(one, other)

    def without_screen(self, screen: str) -> "Knowledge":
        """The same knowledge but for one screen: what a network that learns on that screen may see."""
        atlas = self.atlas
        rest = atlas.take((atlas.obs["dataset"] != screen).to_numpy())
        return Knowledge(self.pathways, rest)

    def kernels(self, perturbations, *, exclude_own_response=False):
        """Square frames by name, (perturbation, other), zero where a part knows nothing.

        From pathways `wide` (mean over parts), `narrow` (over those of small sets and edges) and each
        wide part. From the atlas `same` (cosine of responses), `shape` (its strongest components evened
        out), `smooth` (of responses averaged with pathway neighbours'), and the means of the last two
        with `wide`. With `exclude_own_response` none of these: `near` is the cosine
        of pathway neighbours' responses, `near same` that of the row's neighbours with the column's
        own, not symmetric. A perturbation's
        own response then enters only as that of the other.
        """
        names = list(perturbations)
        return self._once(
            "kernels",
            exclude_own_response,
            tuple(names),
            make=lambda: self._kernels(names, exclude_own_response),
        )

    def response(self, perturbations, *, exclude_own_response=False):
        """Expected response from elsewhere, centred by gene: perturbation x gene, 0 where unknown.

        The perturbation's own response in the atlas; of those not in it, and of all with
        `exclude_own_response`, the shrunk mean of its pathway neighbours'. None without an atlas.
        """
        if self.responses_ is None:
            return None
        own, near = self._own(perturbations), self._near(perturbations)
        covered = ~np.isnan(own).all(axis=1, keepdims=True)
        values = np.where(covered & (not exclude_own_response), np.nan_to_num(own), near)
        return pd.DataFrame(values, pd.Index(perturbations), self.responses_.columns)

    def _once(self, *key, make):
        """What `make` gives, kept for the next call with the same key: folds ask again and again."""
        if key not in self._kept:
            if len(self._kept) > KEPT:
                self._kept.clear()
            self._kept[key] = make()
        return self._kept[key]

    def _kernels(self, names, exclude_own_response):
        found = self._pathway_kernels(names)
        if self.responses_ is not None:
            wide = found.get("all_sets", 0.0)
            found |= (
                self._near_kernels(names, wide)
                if exclude_own_response
                else self._own_kernels(names, wide)
            )
        index = pd.Index(names)
        return {
            name: pd.DataFrame(np.maximum(values, 0.0), index, index)
            for name, values in found.items()
        }

    def _pathway_kernels(self, names):
        if self.pathways is None:
            return {}
        parts = {name: part.to_numpy() for name, part in self.pathways.kernels(names).items()}
        small = [name for name in parts if name.endswith(", small")]
        large = [name for name in parts if name not in small]
        sets = [name.removesuffix(", small") for name in small]
        specific = [name for name in parts if name not in sets]
        found = {"all_sets": np.mean([parts[name] for name in large], axis=0)}
        if small:
            found["small_sets"] = np.mean([parts[name] for name in specific], axis=0)
        return found | ({name: parts[name] for name in large} if len(large) > 1 else {})

    def _own_kernels(self, names, wide):
        own = self._own(names)
        places = self._places(names)
        shape = _unit(
            np.where(
                places[:, None] >= 0, self._once("components", make=self._evened_out)[places], 0.0
            )
        )
        found = {"response_cosine": masked_cosine(own, own), "response_components": shape @ shape.T}
        if self.pathways is not None:
            smooth = _unit(np.nan_to_num(own) + self._near(names))
            found["smoothed_response"] = smooth @ smooth.T
            found["smoothed_response and all_sets"] = (
                np.maximum(found["smoothed_response"], 0) + wide
            ) / 2
            found["response_components and all_sets"] = (
                np.maximum(found["response_components"], 0) + wide
            ) / 2
        return found

    def _near_kernels(self, names, wide):
        if self.pathways is None:
            return {}
        near, own = _unit(self._near(names)), _unit(np.nan_to_num(self._own(names)))
        found = {"neighbour_response": near @ near.T, "neighbour_to_response": near @ own.T}
        return found | {
            "neighbour_response and all_sets": (np.maximum(found["neighbour_response"], 0) + wide)
            / 2
        }

    def _own(self, names):
        """Responses in the atlas, (perturbations, genes), NaN where not measured."""
        places = self._places(names)
        return np.where(places[:, None] >= 0, self.responses_.to_numpy()[places], np.nan)

    def _places(self, names):
        """Row of each perturbation among the responses, -1 where there is none."""
        return self.responses_.index.get_indexer(self.symbols(names))

    def _evened_out(self):
        """Strongest components of the responses, each by the root of its size: (responses, k)."""
        from sklearn.utils.extmath import randomized_svd

        held = np.nan_to_num(self.responses_.to_numpy())
        axes, size, _ = randomized_svd(held, min(COMPONENTS, *held.shape), random_state=0)
        return axes * np.sqrt(size)

    def _near(self, names):
        """Mean response of pathway neighbours without the own one, shrunk: (perturbations, genes)."""
        return self._once(
            "neighbour_response", tuple(names), make=lambda: self._neighbours_mean(list(names))
        )

    def _neighbours_mean(self, names):
        held = self.responses_.to_numpy()
        if self.pathways is None:
            return np.zeros((len(names), held.shape[1]))
        total = np.zeros((len(names), held.shape[1]))
        other = np.not_equal.outer(
            np.array(self.symbols(names), dtype=object),
            np.array(self.responses_.index, dtype=object),
        )
        kernels = self.pathways.parts
        narrow = [name for name in kernels if f"{name}, small" not in kernels]
        for parts in (narrow, [name for name in kernels if not name.endswith(", small")]):
            kernel = self.pathways.kernel(names, self.responses_.index, parts=parts).to_numpy()
            weight = kernel**POWER * other
            measured = ~np.isnan(held)
            total += (weight @ np.nan_to_num(held)) / (weight @ measured + SHRINKAGE)
        return total


def joined_responses(atlas, names=None):
    """Responses of an Atlas by perturbation: perturbation x gene frame, centred, NaN not measured.

    names: a GeneNames, under which screens of different age name a perturbation alike.
    From each dataset the mean effect of its genes is taken off; a knockdown of several datasets gets the
    mean by precision. Of an atlas with standard errors that is 1 / se^2, held down by a tenth of the
    typical error, which also stands where one is missing; else the number of cells, else equal.
    """
    atlas = atlas.other_screens()
    obs = atlas.obs.reset_index(drop=True)
    foreign = (obs["sgrna_symbol"] != CONTROL).to_numpy()
    values = atlas.effects.to_numpy(dtype=float)
    precision = np.ones_like(values)
    if atlas.se is not None:
        spread = atlas.se.to_numpy(dtype=float)
        told = spread[foreign][~np.isnan(spread[foreign])]
        typical = np.median(told) if told.any() else 1.0
        spread = np.where(np.isnan(spread), typical, spread)
        precision = 1 / (spread**2 + (0.1 * typical) ** 2)
    elif obs["n_cells"].notna().all() and (obs["n_cells"] > 0).all():
        precision = np.repeat(
            obs["n_cells"].to_numpy(dtype=float)[:, None], values.shape[1], axis=1
        )
    precision = np.where(np.isnan(values), 0.0, precision)
    centred = np.full_like(values, np.nan)
    for dataset in obs["dataset"].unique():
        rows = ((obs["dataset"] == dataset) & foreign).to_numpy()
        measured = ~np.isnan(values[rows])
        count = np.maximum(measured.sum(axis=0), 1)
        centred[rows] = values[rows] - np.nan_to_num(values[rows]).sum(axis=0) / count
    groups = obs["sgrna_symbol"][foreign].astype(str).to_numpy()
    groups = groups if names is None else names.current(groups).to_numpy()
    columns = atlas.effects.columns
    total = pd.DataFrame(np.nan_to_num(centred[foreign]) * precision[foreign], columns=columns)
    mass = pd.DataFrame(precision[foreign], columns=columns)
    total, mass = (frame.groupby(groups, sort=False).sum() for frame in (total, mass))
    return total / mass.where(mass > 0)


def masked_cosine(a, b):
    """Cosine of every two rows over the columns that both know (not NaN): (rows of a, rows of b)."""
    known_a, known_b = (~np.isnan(rows) for rows in (a, b))
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    square = (a**2 @ known_b.T.astype(float)) * (known_a.astype(float) @ (b**2).T)
    return np.divide(a @ b.T, np.sqrt(square), out=np.zeros(square.shape), where=square > 0)


def _unit(rows):
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
