"""`Pathways`: sets, interactions and tables of genes, as features, kernels and a graph."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ..io.files import InputError, check_known, frames_hash, quote_some
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
EVERY = 10**9  # genes: no set is larger


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
        symbols, index = self._symbols(perturbations), _index(perturbations)
        blocks = [pd.DataFrame(index=index)]
        for source, (member, genes, pathways) in self._memberships.items():
            taken, places = chosen_sets(member, smallest, largest), genes.get_indexer(symbols)
            block = member[places][:, taken].toarray() * (places >= 0)[:, None]
            columns = [f"{source}: {pathway}" for pathway in pathways[taken]]
            blocks.append(pd.DataFrame(block.astype(np.uint8), index, columns))
        return pd.concat(blocks, axis=1)

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
        genes, found = list(genes), {}
        for name in self._parts:
            kernel = self.kernel(genes, genes, [name])
            values = kernel.to_numpy(copy=True)
            np.fill_diagonal(values, values.diagonal().round())  # 0 or 1 but for rounding
            found[name] = pd.DataFrame(values, kernel.index, kernel.columns, copy=False)
        return found

    def kernel(
        self, a: Iterable[str], b: Iterable[str], parts: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Return the kernel between two lists of genes: an a x b frame, float32, the mean over parts.

        An entry averages those parts that know both genes, so that missing knowledge is no evidence
        against similarity; it is 0 where no part knows both. `parts`: names, by default all.
        """
        chosen = self.parts if parts is None else list(parts)
        check_known(chosen, self._parts, "no part of the kernel is named")
        rows, columns = self._symbols(a), self._symbols(b)
        total = np.zeros((len(rows), len(columns)), dtype=np.float32)
        count = np.zeros_like(total)
        for part in (self._parts[name] for name in chosen):
            row, column = part.genes.get_indexer(rows), part.genes.get_indexer(columns)
            both = np.ix_(row >= 0, column >= 0)
            if both[0].size and both[1].size:
                total[both] += np.clip(part.cosine(row[row >= 0], column[column >= 0]), 0, 1)
                count[both] += 1
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
        symbols = self._symbols(perturbations)
        columns = {
            source: values.reindex(symbols, fill_value=0).to_numpy(dtype=int)
            for source, values in self._counts.items()
        }
        for name, table in self.tables.items():
            columns[name] = pd.Index(symbols).isin(table.index)
        known = [pd.Index(symbols).isin(part.genes) for part in self._parts.values()]
        columns["known"] = np.any(known, axis=0) if known else np.zeros(len(symbols), dtype=bool)
        return pd.DataFrame(columns, _index(perturbations))

    def of_sources(self, sources: Iterable[str]) -> "Pathways | None":
        """Return these sources alone, None where none is left."""
        kept = list(sources)
        parts = {name: getattr(self, name) for name in ("sets", "edges")}
        parts = {name: frame[frame["source"].isin(kept)] for name, frame in parts.items()}
        tables = {name: table for name, table in self.tables.items() if name in kept}
        return replace(self, tables=tables, **parts) if kept else None

    def knows(self, perturbations: Iterable[str]) -> pd.Series:
        """Return whether any part of the kernel knows each perturbation: a bool series."""
        return self.coverage(perturbations)["known"]

    def shared(self, one: str, other: str, top: int = 5) -> pd.Series:
        """Return the sets that hold both genes, the smallest first: size by `source: pathway`."""
        both = self.one_hot([one, other], smallest=2, largest=EVERY).all()
        return self.sizes[both[both].index].sort_values(kind="stable").head(top)

    @cached_property
    def sizes(self) -> pd.Series:
        """Number of genes of each set, by `source: pathway` in the files' order."""
        found = {}
        for source, (member, _, pathways) in self._memberships.items():
            names = [f"{source}: {pathway}" for pathway in pathways]
            found |= dict(zip(names, sizes_of(member).astype(int), strict=True))
        return pd.Series(found, name="genes", dtype=int).rename_axis("pathway")

    def _symbols(self, labels):
        return self.names.current(list(labels)).to_numpy()

    @cached_property
    def _counts(self):
        """Number of sets, or of edges, of each gene that has any, by source."""
        counts = {
            source: pd.Series(np.asarray(member[:, chosen_sets(member)].sum(axis=1)).ravel(), genes)
            for source, (member, genes, _) in self._memberships.items()
        }
        for source, edges in self.edges.groupby("source", sort=False):
            counts[source] = pd.concat([edges["one"], edges["other"]]).value_counts()
        return counts

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
    for pathway in pathways.sizes[member.columns].sort_values(kind="stable").index:
        free = member.index[(member[pathway] > 0) & (found == "")]
        if len(free) >= at_least:
            found[free] = pathway.partition(": ")[2].partition(" (GO:")[0]
        if found[found != ""].nunique() == largest:
            break
    return found
