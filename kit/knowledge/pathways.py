"""`Pathways`: sets, interactions and tables of genes, as features, kernels and a graph."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ..io.files import InputError, frames_hash, quote_some
from ..screens.gene_names import GeneNames
from .kernels import (
    CSR,
    LARGEST,
    SMALL,
    SMALLEST,
    Vectors,
    chosen_sets,
    diffusion,
    joint_graph,
    membership,
    partner_vectors,
    set_vectors,
    sizes_of,
    table_vectors,
)
from .tables import checked

SETS, EDGES = ["source", "pathway", "gene"], ["one", "other", "weight", "source"]
SMALL_SETS = ", small"  # ending of the part of small sets


@dataclass(frozen=True, eq=False)
class Pathways:
    """Sets, interactions and tables of genes by current symbols: knowledge before any experiment.

    sets: frame (source, pathway, gene). edges: frame (one, other, weight, source), each pair once, none
    from a gene to itself. tables: gene x column frames by name. names: the naming of genes; aliases do
    not count. provenance: frame by source: what was read from where.
    """

    sets: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SETS))
    edges: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EDGES))
    tables: dict = field(default_factory=dict)
    names: GeneNames = field(default_factory=GeneNames)
    provenance: pd.DataFrame = None

    def __repr__(self):
        sets = self.sets.drop_duplicates(["source", "pathway"])["source"].value_counts(sort=False)
        edges = self.edges["source"].value_counts(sort=False)
        kinds = [f"{count:,} sets of {source}" for source, count in sets.items()]
        kinds += [f"{count:,} edges of {source}" for source, count in edges.items()]
        kinds += [f"{len(table):,} genes of {name}" for name, table in self.tables.items()]
        return f"Pathways({', '.join(kinds)})"

    def __deepcopy__(self, memo):
        return self  # never changed; models that hold it are copied once a fold

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content, independent of where its files are."""
        return frames_hash({"sets": self.sets, "edges": self.edges, **self.tables})

    def with_knowledge(self, table: pd.DataFrame, name: str) -> "Pathways":
        """Return these pathways and one more table: gene x column, as `load_knowledge` returns it."""
        if name in self._parts:
            raise InputError(f"`{name}` is known already: {quote_some(self._parts, 12)}; rename it")
        return replace(self, tables={**self.tables, name: checked(table, self.names, name)})

    def one_hot(
        self, perturbations: Iterable[str], *, smallest: int = SMALLEST, largest: int = LARGEST
    ) -> pd.DataFrame:
        """Return membership in sets: perturbation x pathway, 0 or 1 (uint8), named `source: pathway`.

        The columns are the same for any perturbations: all sets of `smallest` to `largest` genes, in the
        files' order; size counts all genes of the file. That leaves out the top of the hierarchy, which
        holds nearly every gene, and tiny sets, which no two perturbations share. A perturbation in no set
        has a row of zeros.
        """
        symbols, blocks, columns = self._symbols(perturbations), [], []
        for source, (member, genes, pathways) in self._memberships.items():
            taken = chosen_sets(member, smallest, largest)
            columns += [f"{source}: {pathway}" for pathway in pathways[taken]]
            block = np.zeros((len(symbols), len(taken)), dtype=np.uint8)
            places = genes.get_indexer(symbols)
            block[places >= 0] = member[places[places >= 0]][:, taken].toarray()
            blocks.append(block)
        values = np.hstack(blocks) if blocks else np.zeros((len(symbols), 0), dtype=np.uint8)
        return pd.DataFrame(values, _index(perturbations), columns)

    @property
    def parts(self) -> list[str]:
        """Names of the kernel's parts: each source of sets twice, each of edges, each table."""
        return list(self._parts)

    @property
    def whole_parts(self) -> list[str]:
        """Names of the parts but those of small sets: each source once."""
        return [name for name in self._parts if not name.endswith(SMALL_SETS)]

    @property
    def specific_parts(self) -> list[str]:
        """Names of the parts, with small sets in place of all sets of their source."""
        return [name for name in self._parts if f"{name}{SMALL_SETS}" not in self._parts]

    def kernels(self, genes: Iterable[str]) -> dict[str, pd.DataFrame]:
        """Return the kernel of each part: gene x gene frames (float32, 0 to 1) by the part's name.

        For sets `<source>` (3 to 500 genes) and `<source>, small` (3 to 60), cosine of memberships
        weighted by log(N / size); for edges cosine of two-step diffusion; for tables cosine of rows after
        standardising columns, negatives cut. A gene that a part does not know has zeros there, on the
        diagonal too.
        """
        symbols, labels, found = self._symbols(genes), _index(genes, "gene"), {}
        for name, part in self._parts.items():
            values, known, _ = _cosine(part, symbols, symbols)
            np.fill_diagonal(values, known)
            found[name] = pd.DataFrame(values, labels, labels, copy=False)
        return found

    def kernel(
        self,
        a: Iterable[str],
        b: Iterable[str],
        parts: Iterable[str] | None = None,
        *,
        unknown_as_zero: bool = False,
    ) -> pd.DataFrame:
        """Return the kernel between two lists of genes: an a x b frame, float32, the mean over parts.

        An entry averages those parts that know both genes, so that missing knowledge is no evidence
        against similarity; it is 0 where no part knows both. With `unknown_as_zero` it averages all
        parts. `parts`: names, by default all.
        """
        chosen = self.parts if parts is None else list(parts)
        if unknown := [name for name in chosen if name not in self._parts]:
            raise InputError(
                f"no part is named {quote_some(unknown)}; there are: {quote_some(self.parts, 20)}"
            )
        rows, columns = self._symbols(a), self._symbols(b)
        total = np.zeros((len(rows), len(columns)), dtype=np.float32)
        count = np.zeros(total.shape, dtype=np.float32)
        for name in chosen:
            values, row, column = _cosine(self._parts[name], rows, columns)
            total += values
            count += 1 if unknown_as_zero else np.multiply.outer(row, column)
        total /= np.maximum(count, 1)
        return pd.DataFrame(total, _index(a, "gene"), _index(b, "gene"), copy=False)

    @cached_property
    def graph(self) -> tuple[pd.Index, CSR]:
        """Genes and the normalised adjacency of genes and sets, of all sources: see `joint_graph`."""
        return joint_graph(list(self._memberships.values()), self.edges)

    @cached_property
    def hubs(self) -> dict[str, Vectors]:
        """Gene x hub rows of unit length by type: sets and small sets, interaction partners, tables."""
        partners = {
            source: partner_vectors(edges)
            for source, edges in self.edges.groupby("source", sort=False)
        }
        return self._parts | partners

    def coverage(self, perturbations: Iterable[str]) -> pd.DataFrame:
        """Return how much is known of each perturbation, by source: perturbation x source.

        By source of sets the number of sets (3 to 500 genes) that hold it, by source of edges the number
        of its edges, by table whether it is in it; `known`: whether any part of the kernel knows it.
        """
        symbols, columns = self._symbols(perturbations), {}
        for source, (member, genes, _) in self._memberships.items():
            counts = member[:, chosen_sets(member)].sum(axis=1)
            columns[source] = _counts_of(genes, np.asarray(counts).ravel(), symbols)
        for source, edges in self.edges.groupby("source", sort=False):
            counts = pd.concat([edges["one"], edges["other"]]).value_counts()
            columns[source] = _counts_of(counts.index, counts.to_numpy(), symbols)
        for name, table in self.tables.items():
            columns[name] = pd.Index(symbols).isin(table.index)
        known = [pd.Index(symbols).isin(part.genes) for part in self._parts.values()]
        columns["known"] = np.any(known, axis=0) if known else np.zeros(len(symbols), dtype=bool)
        return pd.DataFrame(columns, _index(perturbations))

    def knows(self, perturbations: Iterable[str]) -> pd.Series:
        """Return whether any part of the kernel knows each perturbation: a bool series."""
        return self.coverage(perturbations)["known"]

    def shared(self, one: str, other: str, top: int = 5) -> pd.Series:
        """Return the sets that hold both genes, the smallest first: size by `source: pathway`."""
        pair, found = self._symbols([one, other]), {}
        for source, (member, genes, pathways) in self._memberships.items():
            if (places := genes.get_indexer(pair)).min() < 0:
                continue
            both = np.flatnonzero(np.asarray(member[places].sum(axis=0)).ravel() == len(pair))
            for place, size in zip(both, sizes_of(member)[both], strict=True):
                found[f"{source}: {pathways[place]}"] = int(size)
        sizes = pd.Series(found, name="genes", dtype=int).rename_axis("pathway")
        return sizes.sort_values(kind="stable").head(top)

    def _symbols(self, labels):
        return self.names.current(list(labels)).to_numpy()

    @cached_property
    def _memberships(self):
        grouped = self.sets.groupby("source", sort=False)
        return {source: membership(sets) for source, sets in grouped}

    @cached_property
    def _parts(self):
        found = {}
        for source, sets in self._memberships.items():
            found[source] = set_vectors(*sets, LARGEST)
            found[f"{source}{SMALL_SETS}"] = set_vectors(*sets, SMALL)
        for source, edges in self.edges.groupby("source", sort=False):
            found[source] = diffusion(edges)
        return found | {name: table_vectors(table) for name, table in self.tables.items()}


def _index(labels, name="perturbation"):
    return pd.Index(list(labels), name=name)


def _counts_of(genes, values, symbols):
    """Whole number of each symbol, 0 where it is not among the genes."""
    places = genes.get_indexer(symbols)
    return np.where(places >= 0, values[places], 0).astype(int)


def _cosine(part, rows, columns):
    """Values (row x column, 0 where unknown) and, for each axis, 1 where the part knows the gene."""
    places = [part.genes.get_indexer(symbols) for symbols in (rows, columns)]
    row, column = (np.flatnonzero(found >= 0) for found in places)
    values = np.zeros((len(rows), len(columns)), dtype=np.float32)
    if len(row) and len(column):
        values[np.ix_(row, column)] = part.cosine(places[0][row], places[1][column])
    np.clip(values, 0, 1, out=values)
    return values, *((found >= 0).astype(np.float32) for found in places)


def smallest_sets(
    pathways: Pathways | None, perturbations: Sequence[str], *, at_least: int = 3, largest: int = 8
) -> pd.Series:
    """Return the smallest gene set of each perturbation that at least so many share: names, "" for none.

    Sets are taken from the smallest up, at most `largest`, each perturbation in one.
    """
    names = pd.Index(perturbations, name="perturbation")
    found = pd.Series("", names)
    if pathways is None or pathways.sets.empty:
        return found
    member = pathways.one_hot(names)
    sizes = pathways.sets.groupby(["source", "pathway"]).size()
    sizes.index = [f"{source}: {pathway}" for source, pathway in sizes.index]
    for pathway in sizes[member.columns].sort_values(kind="stable").index:
        free = member.index[(member[pathway] > 0) & (found == "")]
        if len(free) >= at_least:
            found[free] = pathway.partition(": ")[2].partition(" (GO:")[0]
        if found[found != ""].nunique() == largest:
            break
    return found
