"""How similar perturbations are, by everything that is known of them before they are measured.

`Knowledge` joins pathways and the responses to the same perturbations in other screens to kernels between
perturbations, and to the response that is expected. A perturbation without a response in another screen
gets that of its pathway neighbours; with `exclude_own_response` all do, so that perturbations with and
without a response are compared on equal terms.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..expression.similarity import unit_rows
from ..screens.atlas import Atlas
from ..screens.gene_names import GeneNames
from .kernels import CSR, mean_of_known
from .pathways import LARGEST, SMALLEST, Pathways

COMPONENTS = 40  # of the responses, each weighted by the root of its size
SHRINKAGE = 0.05  # summed similarity of pathway neighbours at which their mean counts half
KEPT = 64  # kernels and means remembered
POWER = 2  # of the pathway kernel in that mean
MIXED = " and all_sets"  # ending of a kernel that is the mean of another and `all_sets`


class Knowledge:
    """All foreign knowledge of perturbations: pathways, and their responses in other screens.

    pathways: `kit.knowledge.Pathways` or None; atlas: `kit.screens.Atlas` or None; `gather` makes it from
    files. remarks: lines on what was found where. The same for every fold, so never copied. Perturbations
    are named as the caller names them: previous symbols match the current ones of the files.
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
    def fingerprint(self) -> tuple[str | None, str | None]:
        """Hashes of the pathways and of the atlas, None for what is absent."""
        parts = self.pathways, self.atlas
        return tuple(None if part is None else part.fingerprint for part in parts)

    @property
    def graph(self) -> tuple[pd.Index, CSR]:
        """Genes and the normalised adjacency of genes and gene sets, as `Pathways.graph`."""
        return (self.pathways or Pathways()).graph

    def symbols(self, perturbations: Sequence[str]) -> list[str]:
        """Return the current symbols of perturbations, in their order."""
        names = list(perturbations)
        return names if self.names is None else list(self.names.current(names))

    def has_response(self, perturbations: Sequence[str]) -> pd.Series:
        """Return whether another screen holds a response of each perturbation: a bool series."""
        index = pd.Index(perturbations)
        return pd.Series(
            self.responses_ is not None and self._places(index) >= 0, index, dtype=bool
        )

    def knows(self, perturbations: Sequence[str]) -> pd.Series:
        """Return whether anything is known of each perturbation: a bool series."""
        known = self.has_response(perturbations)
        if self.pathways is not None:
            known |= self.pathways.knows(perturbations).to_numpy()
        return known

    def one_hot(
        self, perturbations: Sequence[str], *, smallest: int = SMALLEST, largest: int = LARGEST
    ) -> pd.DataFrame:
        """Return membership in gene sets, perturbation x set, as `Pathways.one_hot` does."""
        known = self.pathways or Pathways()
        return known.one_hot(perturbations, smallest=smallest, largest=largest)

    def pathway_kernel(self, one: Sequence[str], other: Sequence[str]) -> pd.DataFrame:
        """Return similarity by pathways alone, one x other, 0 to 1, as `Pathways.kernel` does."""
        return (self.pathways or Pathways()).kernel(one, other)

    def concerning(self, train: Competition) -> "Knowledge":
        """Return the sources and screens that know something of a competition: what models learn from.

        A source of pathways stays if it knows two perturbations, of which one is a training row or target
        and one has effects: a training row, or one of another screen. A screen stays if it holds a
        response of a training row or target, or of a perturbation that such a source knows. All others
        are silent about every pair, and must change no prediction.
        """
        own = [*train.effects.index, *train.targets["perturbation"]]
        key = "concerning", tuple(own), len(train.effects)
        return self._once(*key, make=lambda: self._concerning(own, len(train.effects)))

    def without_screen(self, screen: str) -> "Knowledge":
        """Return the same knowledge without one screen, for a network that is trained on it."""
        rest = self.atlas.take((self.atlas.obs["dataset"] != screen).to_numpy())
        return Knowledge(self.pathways, rest)

    def kernels(
        self,
        perturbations: Sequence[str],
        *,
        exclude_own_response: bool = False,
        rows: Sequence[str] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Return kernels by name: perturbation x perturbation frames, 0 where a source knows nothing.

        From pathways: `all_sets` (mean over sources), `small_sets` (over small sets, edges, tables), and
        each source; a mean is over the parts that know both perturbations. From the atlas:
        `response_cosine`; `response_components` (the strongest components, evened out);
        `smoothed_response` (responses averaged with those of pathway neighbours). With
        `exclude_own_response` instead `neighbour_response` (cosine of pathway neighbours' responses) and
        `neighbour_to_response` (that of the row's neighbours with the column's own response, not
        symmetric), so that a perturbation's own response counts only as that of the other. The means of
        some with `all_sets` end in ` and all_sets`.

        rows: training perturbations. With them only kernels that know two: others teach nothing.
        """
        names = list(perturbations)
        key = "kernels", exclude_own_response, tuple(names)
        found = self._once(*key, make=lambda: self._kernels(names, exclude_own_response))
        if rows is None or not found:
            return found
        count = known_to(found).loc[rows].sum()
        return {name: kernel for name, kernel in found.items() if count[name] >= 2}

    def response(
        self, perturbations: Sequence[str], *, exclude_own_response: bool = False
    ) -> pd.DataFrame | None:
        """Return the expected response, centred by gene: perturbation x gene, log2, 0 where unknown.

        It is the perturbation's own response in the atlas; for those without one, and for all with
        `exclude_own_response`, the shrunk mean of its pathway neighbours'. None without an atlas.
        """
        if self.responses_ is None:
            return None
        own, near = self._own(perturbations), self._near(perturbations)
        has_own = ~np.isnan(own).all(axis=1, keepdims=True)
        values = np.where(has_own & (not exclude_own_response), np.nan_to_num(own), near)
        return pd.DataFrame(values, pd.Index(perturbations), self.responses_.columns)

    def _once(self, *key, make):
        """What `make` gives, kept for the next call with the same key: folds repeat them."""
        if key not in self._kept:
            if len(self._kept) > KEPT:
                self._kept.clear()
            self._kept[key] = make()
        return self._kept[key]

    def _concerning(self, own, count):
        """Knowledge that concerns perturbations `own`, of which the first `count` are training rows."""
        screens = [] if self.responses_ is None else self.responses_.index
        symbols = self.symbols(own)
        names = pd.Index([*symbols, *screens]).unique()
        concerned, has_effects = names.isin(symbols), names.isin([*symbols[:count], *screens])
        linked = concerned
        if self.pathways is not None:
            known = self.pathways.coverage(names).drop(columns="known") > 0
            kept = known[concerned].any() & known[has_effects].any() & (known.sum() > 1)
            if not kept.all():
                rest = Knowledge(self.pathways.of_sources(kept.index[kept]), self.atlas)
                return rest._concerning(own, count)
            linked = linked | known.any(axis=1).to_numpy()
        if self.atlas is None:
            return self
        obs, own_rows = self.atlas.obs, self.atlas.own
        useful = pd.Index(self.symbols(obs["sgrna_symbol"])).isin(names[linked]) & ~own_rows
        useful &= self.atlas.effects.notna().any(axis=1).to_numpy()
        kept = own_rows | obs["dataset"].isin(obs["dataset"][useful]).to_numpy()
        if kept.all():
            return self
        return Knowledge(self.pathways, self.atlas.take(kept) if kept.any() else None)

    def _kernels(self, names, exclude_own_response):
        found = self._pathway_kernels(names)
        linked = bool(found)
        if self.responses_ is not None:
            own, near = self._own(names), self._near(names)
            if not exclude_own_response:
                found |= self._response_kernels(names, own, near if linked else None)
            elif linked:
                near = unit_rows(near)
                found |= {"neighbour_response": near @ near.T}
                found |= {"neighbour_to_response": near @ unit_rows(np.nan_to_num(own)).T}
            if linked:
                for name in ("smoothed_response", "response_components", "neighbour_response"):
                    if name in found:
                        similar = np.maximum(found[name], 0)
                        found[f"{name}{MIXED}"] = mean_of_known([similar, found["all_sets"]])
        index = pd.Index(names)
        return {k: pd.DataFrame(np.maximum(v, 0.0), index, index) for k, v in found.items()}

    def _pathway_kernels(self, names):
        if self.pathways is None or not self.pathways.parts:
            return {}
        parts = {name: part.to_numpy() for name, part in self.pathways.kernels(names).items()}
        whole, specific = self.pathways.whole_parts, self.pathways.specific_parts
        means = {"all_sets": whole} | ({"small_sets": specific} if whole != specific else {})
        found = {
            mean: mean_of_known([parts[name] for name in chosen]) for mean, chosen in means.items()
        }
        return found | ({name: parts[name] for name in whole} if len(whole) > 1 else {})

    def _response_kernels(self, names, own, near):
        places = self._places(names)
        strongest = self._once("components", make=self._components)[places]
        strongest = unit_rows(np.where(places[:, None] >= 0, strongest, 0.0))
        found = {"response_cosine": masked_cosine(own, own)}
        found["response_components"] = strongest @ strongest.T
        if near is not None:
            smooth = unit_rows(np.nan_to_num(own) + near)
            found["smoothed_response"] = smooth @ smooth.T
        return found

    def _own(self, names):
        """Responses in the atlas, (perturbations, genes), NaN where not measured."""
        places = self._places(names)
        return np.where(places[:, None] >= 0, self.responses_.to_numpy()[places], np.nan)

    def _places(self, names):
        """Row of each perturbation among the responses, -1 where there is none."""
        return self.responses_.index.get_indexer(self.symbols(names))

    def _components(self):
        """Strongest components of the responses, each times the root of its size: (responses, k)."""
        from sklearn.utils.extmath import randomized_svd

        held = np.nan_to_num(self.responses_.to_numpy())
        axes, size, _ = randomized_svd(held, min(COMPONENTS, *held.shape), random_state=0)
        return axes * np.sqrt(size)

    def _near(self, names):
        """Mean response of pathway neighbours without the own one, shrunk: (perturbations, genes)."""
        return self._once("near", tuple(names), make=lambda: self._neighbours_mean(list(names)))

    def _neighbours_mean(self, names):
        held = self.responses_.to_numpy()
        total = np.zeros((len(names), held.shape[1]))
        if self.pathways is None:
            return total
        rows = np.array(self.symbols(names), dtype=object)
        other = rows[:, None] != self.responses_.index.to_numpy(dtype=object)
        for parts in (self.pathways.specific_parts, self.pathways.whole_parts):
            kernel = self.pathways.kernel(names, self.responses_.index, parts=parts).to_numpy()
            weight = kernel**POWER * other
            total += (weight @ np.nan_to_num(held)) / (weight @ ~np.isnan(held) + SHRINKAGE)
        return total


def joined_responses(atlas: Atlas, names: GeneNames | None = None) -> pd.DataFrame:
    """Return the responses of an Atlas: perturbation x gene frame, log2, centred, NaN not measured.

    names: by which screens of different age name a perturbation the same. The mean effect of each gene of
    a dataset is subtracted; a perturbation of several datasets gets the mean weighted by precision. With
    standard errors that is 1 / se^2, limited by a tenth of the typical error, which also replaces a
    missing one; else the number of cells; else equal.
    """
    atlas = atlas.other_screens()
    atlas = atlas.take((atlas.obs["sgrna_symbol"] != CONTROL).to_numpy())
    obs, effects = atlas.obs, atlas.effects.to_numpy(dtype=float)
    measured = np.isfinite(effects)
    precision = np.ones(effects.shape)
    if atlas.se is not None:
        se = atlas.se.to_numpy(dtype=float)
        typical = 1.0 if np.isnan(se).all() else np.nanmedian(se)
        precision = 1 / (np.where(np.isnan(se), typical, se) ** 2 + (0.1 * typical) ** 2)
    elif obs["n_cells"].notna().all() and (obs["n_cells"] > 0).all():
        precision *= obs["n_cells"].to_numpy(dtype=float)[:, None]
    precision *= measured
    effects = np.where(measured, effects, 0.0)
    by_screen, _ = _sums_by(obs["dataset"].astype(str).to_numpy())
    mean = (by_screen @ effects) / np.maximum(by_screen @ measured, 1)
    effects -= by_screen.T @ mean
    symbols = obs["sgrna_symbol"].astype(str).to_numpy()
    by_symbol, index = _sums_by(symbols if names is None else names.current(symbols).to_numpy())
    total, mass = by_symbol @ (effects * precision), by_symbol @ precision
    joined = np.divide(total, mass, out=np.full(mass.shape, np.nan), where=mass > 0)
    return pd.DataFrame(joined, index, atlas.effects.columns).dropna(how="all")


def _sums_by(labels):
    """Matrix that sums rows with the same label, CSR (labels, rows), and the labels as they appear."""
    from scipy.sparse import csr_array

    codes, index = pd.factorize(labels)
    places = codes, np.arange(len(codes))
    return csr_array((np.ones(len(codes)), places), shape=(len(index), len(codes))), index


def known_to(kernels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return which perturbations each of `Knowledge.kernels` knows: perturbation x kernel, bool."""
    found = pd.DataFrame({name: np.diag(kernel) > 0 for name, kernel in kernels.items()})
    if "neighbour_to_response" in found:  # its diagonal is a cosine of two different responses
        found["neighbour_to_response"] = found["neighbour_response"]
    return found.set_axis(next(iter(kernels.values())).index)


def masked_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of every two rows over the columns where neither is NaN: (rows of a, of b)."""
    known_a, known_b = (~np.isnan(rows) for rows in (a, b))
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    square = (a**2 @ known_b.T.astype(float)) * (known_a.astype(float) @ (b**2).T)
    return np.divide(a @ b.T, np.sqrt(square), out=np.zeros(square.shape), where=square > 0)
