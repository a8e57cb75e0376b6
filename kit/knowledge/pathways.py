"""`Pathways`: what sets, edges and tables say of genes, as features, kernels and a graph."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ..io.files import InputError, frames_hash, quote_some
from ..screens.gene_names import GeneNames
from .kernels import (
    LARGEST,
    SMALL,
    SMALLEST,
    diffusion,
    membership,
    set_vectors,
    table_vectors,
    within,
)
from .tables import checked

SETS, EDGES = ["source", "pathway", "gene"], ["one", "other", "weight", "source"]


@dataclass(frozen=True, eq=False)
class Pathways:
    """What is known of genes before any experiment, by current symbols.

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
    def fingerprint(self):
        """Hash of what it holds, wherever its files lie."""
        return frames_hash({"sets": self.sets, "edges": self.edges, **self.tables})

    def with_knowledge(self, table, name):
        """These pathways and one more table: gene x column numbers, as `load_knowledge` gives them."""
        if name in self._parts:
            raise InputError(f"`{name}` is known already: {quote_some(self._parts, 12)}; rename it")
        return replace(self, tables={**self.tables, name: checked(table, self.names, name)})

    def one_hot(self, perturbations, *, smallest=SMALLEST, largest=LARGEST):
        """Perturbation x pathway frame of 0 and 1 (uint8), columns named `source: pathway`.

        The columns are the same for any perturbations: all sets of `smallest` to `largest` genes, in the
        files' order; size counts all genes of the file. That leaves out the top of the hierarchy, which
        tells nothing, and tiny sets, which no second knockdown shares. One in no set has a row of zeros.
        """
        symbols, blocks, columns = self._symbols(perturbations), [], []
        for source, (member, genes, pathways) in self._memberships.items():
            taken = np.flatnonzero(within(_sizes(member), smallest, largest))
            columns += [f"{source}: {pathway}" for pathway in pathways[taken]]
            block = np.zeros((len(symbols), len(taken)), dtype=np.uint8)
            places = genes.get_indexer(symbols)
            block[places >= 0] = member[places[places >= 0]][:, taken].toarray()
            blocks.append(block)
        values = np.hstack(blocks) if blocks else np.zeros((len(symbols), 0), dtype=np.uint8)
        return pd.DataFrame(values, _index(perturbations), columns)

    @property
    def parts(self):
        """Names of the kernel's parts: each source of sets twice, each of edges, each table."""
        return list(self._parts)

    def kernels(self, genes):
        """Kernel of each part: gene x gene frames (float32, 0 to 1) by the part's name.

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

    def kernel(self, a, b, parts=None):
        """Kernel between two lists of genes: an a x b frame, float32, the mean over parts.

        An entry averages those parts that know both genes, so that what a part does not know is no
        evidence against likeness; it is 0 where no part knows both. `parts`: names, by default all.
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
            count += np.multiply.outer(row, column)
        total /= np.maximum(count, 1)
        return pd.DataFrame(total, _index(a, "gene"), _index(b, "gene"), copy=False)

    def graph(self, genes):
        """Edges between `genes`, named as given, each pair once: frame (one, other, weight, source).

        Interactions with their files' weights, and of each source of sets the pairs that share sets of 3
        to 60 genes, weighted by the sum of 1 / size over these.
        """
        symbols, labels = self._symbols(genes), _index(genes)
        frames = []
        for source, (member, known, _) in self._memberships.items():
            sizes = _sizes(member)
            taken = np.flatnonzero(within(sizes, SMALLEST, SMALL))
            places = known.get_indexer(symbols)
            asked = np.flatnonzero(places >= 0)
            inside = member[places[asked]][:, taken]
            shared = ((inside / sizes[taken]).tocsr() @ inside.T).tocoo()
            frames.append((source, asked[shared.row], asked[shared.col], shared.data))
        for source, edges in self.edges.groupby("source", sort=False):
            frames.append((source, *_between(edges, symbols)))
        found = [
            pd.DataFrame(
                {"one": labels[row], "other": labels[column], "weight": weight, "source": source}
            )[(row < column) & (symbols[row] != symbols[column])]
            for source, row, column, weight in frames
        ]
        return pd.concat(found, ignore_index=True) if found else self.edges.head(0)

    def coverage(self, perturbations):
        """What is known of each perturbation, a frame by perturbation.

        By source of sets the number of sets (3 to 500 genes) that hold it, by source of edges the number
        of its edges, by table whether it is in it; `known`: whether any part of the kernel knows it.
        """
        symbols, columns = self._symbols(perturbations), {}
        for source, (member, genes, _) in self._memberships.items():
            counts = member[:, np.flatnonzero(within(_sizes(member)))].sum(axis=1)
            columns[source] = _looked_up(genes, np.asarray(counts).ravel(), symbols)
        for source, edges in self.edges.groupby("source", sort=False):
            counts = pd.concat([edges["one"], edges["other"]]).value_counts()
            columns[source] = _looked_up(counts.index, counts.to_numpy(), symbols)
        for name, table in self.tables.items():
            columns[name] = pd.Index(symbols).isin(table.index)
        known = [pd.Index(symbols).isin(part.genes) for part in self._parts.values()]
        columns["known"] = np.any(known, axis=0) if known else np.zeros(len(symbols), dtype=bool)
        return pd.DataFrame(columns, _index(perturbations))

    def knows(self, perturbations):
        """Whether any part of the kernel knows each perturbation: a bool series."""
        return self.coverage(perturbations)["known"]

    def shared(self, one, other, top=5):
        """Sets that hold both genes, the rarest first: size by `source: pathway`."""
        pair, found = self._symbols([one, other]), {}
        for source, (member, genes, pathways) in self._memberships.items():
            if (places := genes.get_indexer(pair)).min() < 0:
                continue
            both = np.flatnonzero(np.asarray(member[places].sum(axis=0)).ravel() == len(pair))
            for place, size in zip(both, _sizes(member)[both], strict=True):
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
        for source, (member, genes, _) in self._memberships.items():
            found[source] = set_vectors(member, genes, SMALLEST, LARGEST)
            found[f"{source}, small"] = set_vectors(member, genes, SMALLEST, SMALL)
        for source, edges in self.edges.groupby("source", sort=False):
            found[source] = diffusion(edges)
        return found | {name: table_vectors(table) for name, table in self.tables.items()}


def _sizes(member):
    return np.asarray(member.sum(axis=0)).ravel()


def _index(labels, name="perturbation"):
    return pd.Index(list(labels), name=name)


def _looked_up(genes, values, symbols):
    """Whole number of each symbol, 0 where it is not among the genes."""
    places = genes.get_indexer(symbols)
    return np.where(places >= 0, values[places], 0).astype(int)


def _between(edges, symbols):
    """Places of both ends, the smaller first, and the weights, of the edges between these symbols."""
    places = pd.DataFrame({"symbol": symbols, "place": np.arange(len(symbols))})
    found = edges.merge(places, left_on="one", right_on="symbol")
    found = found.merge(places, left_on="other", right_on="symbol", suffixes=("", "_other"))
    ends = found[["place", "place_other"]].to_numpy()
    return ends.min(axis=1), ends.max(axis=1), found["weight"].to_numpy()


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
