"""Adjacency of genes, sets and interactions, and the parts of the kernel between genes made from it.

A part has `genes`, the index of those it knows, and `cosine(rows, columns)`: positions of genes in, a
dense float32 array out: cosine of set memberships, of diffusion along interactions, of table rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SMALLEST, LARGEST = 3, 500  # genes of the sets that count: smaller and larger ones carry no signal
SMALL = 60  # genes, at most, of a specific set
CSR = "scipy.sparse.csr_array"  # the type in annotations: scipy is imported where it is used
COLUMNS_AT_ONCE = 128  # of the diffusion: 8 MB a block stays near the processor


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows of unit length by gene, sparse or dense; `columns` names what stands in them."""

    genes: pd.Index
    rows: object
    columns: pd.Index

    def cosine(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        product = self.rows[rows] @ self.rows[columns].T
        return product if isinstance(product, np.ndarray) else product.toarray()


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Cosine of the rows of S = A + A A: where one or two steps along edges lead from a gene.

    step: A, the normalised adjacency, in which genes with many edges count less, CSR.
    """

    genes: pd.Index
    step: object

    def cosine(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        from scipy.sparse.linalg import norm

        left, right = self._reach(rows), self._reach(columns)
        out = np.empty((len(rows), len(columns)), dtype=np.float32)
        for start in range(0, len(columns), COLUMNS_AT_ONCE):
            block = slice(start, start + COLUMNS_AT_ONCE)
            # S S^T as A (I + A) S^T: A is a hundred times as sparse as S.
            reached = right[block].T.toarray(order="C")
            out[:, block] = self.step[rows] @ (reached + self.step @ reached)
        return out / np.outer(norm(left, axis=1), norm(right, axis=1))

    def _reach(self, rows):
        """Rows of S: CSR."""
        return self.step[rows] + self.step[rows] @ self.step


def adjacency(edges: pd.DataFrame, genes: pd.Index | None = None):
    """Return the genes of edges (one, other, weight) and their symmetric adjacency, CSR, float32.

    genes: the index to use, by default the genes of the edges in order of appearance.
    """
    from scipy.sparse import csr_array

    ends = np.concatenate([edges["one"], edges["other"]])
    genes = pd.Index(pd.unique(ends)) if genes is None else genes
    one, other = np.split(genes.get_indexer(ends), 2)
    weight = np.tile(edges["weight"].to_numpy(dtype=np.float32), 2)
    places = (np.concatenate([one, other]), np.concatenate([other, one]))
    return genes, csr_array((weight, places), shape=(len(genes), len(genes)))


def normalised(weights: CSR) -> CSR:
    """Return D^-1/2 W D^-1/2 of an adjacency W with the degrees D: CSR, float32."""
    degree = np.asarray(weights.sum(axis=1)).ravel()
    root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return (weights * root[:, None] * root[None, :]).tocsr().astype(np.float32)


def relative(edges: pd.DataFrame) -> pd.DataFrame:
    """Return edges with weights divided by the mean weight of their source."""
    mean = edges.groupby("source")["weight"].transform("mean")
    return edges.assign(weight=edges["weight"] / mean)


def membership(sets: pd.DataFrame) -> tuple[CSR, pd.Index, pd.Index]:
    """Return the gene x pathway CSR array of 0 and 1, and the index of each axis, of a source's sets."""
    from scipy.sparse import csr_array

    rows, genes = pd.factorize(sets["gene"])
    columns, pathways = pd.factorize(sets["pathway"])
    ones = np.ones(len(sets), dtype=np.float32)
    member = csr_array((ones, (rows, columns)), shape=(len(genes), len(pathways)))
    member.data[:] = 1  # a gene counts once in a set
    return member, pd.Index(genes), pd.Index(pathways)


def sizes_of(member: CSR) -> np.ndarray:
    """Return the number of genes of each set: (sets,)."""
    return np.asarray(member.sum(axis=0)).ravel()


def chosen_sets(member: CSR, smallest: int = SMALLEST, largest: int = LARGEST) -> np.ndarray:
    """Return the positions of the sets of `smallest` to `largest` genes."""
    sizes = sizes_of(member)
    return np.flatnonzero((sizes >= smallest) & (sizes <= largest))


def weighted_sets(member: CSR, smallest: int = SMALLEST, largest: int = LARGEST):
    """Return gene x chosen set, CSR: log(N / size), N the genes of the source, as rare sets say more."""
    taken = chosen_sets(member, smallest, largest)
    rarity = np.log(member.shape[0] / sizes_of(member)[taken]).astype(np.float32)
    return (member[:, taken] * rarity[None, :]).tocsr()


def set_vectors(member: CSR, genes: pd.Index, pathways: pd.Index, largest: int) -> Vectors:
    """Return the weighted memberships in sets of 3 to `largest` genes."""
    columns = pathways[chosen_sets(member, SMALLEST, largest)]
    return _unit_vectors(genes, weighted_sets(member, SMALLEST, largest), columns)


def diffusion(edges: pd.DataFrame) -> Diffusion:
    """Return the part of one source's edges, each undirected and once, none from a gene to itself."""
    genes, weights = adjacency(edges)
    return Diffusion(genes, normalised(weights))


def partner_vectors(edges: pd.DataFrame) -> Vectors:
    """Return each gene's partners, itself included, with degrees evened out (Kipf & Welling 2017)."""
    from scipy.sparse import eye_array

    genes, weights = adjacency(relative(edges))
    step = (weights + eye_array(len(genes), dtype=np.float32)).tocsr()
    return _unit_vectors(genes, normalised(step), genes)


def table_vectors(table: pd.DataFrame) -> Vectors:
    """Return the rows of a table whose columns are standardised over all its genes.

    Embeddings share a large common direction, which would hide differences in similarity.
    """
    values = table.to_numpy(dtype=np.float32)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    length = np.linalg.norm(values, axis=1)
    known = length > 0
    return Vectors(table.index[known], values[known] / length[known, None], table.columns)


def mean_of_known(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of square kernels, each entry over those that know both, 0 where none does.

    Silence about a pair is no evidence against similarity.
    """
    return sum(kernels) / voters(kernels)


def voters(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many square kernels know both of each pair, at least 1: float32.

    A kernel knows what its diagonal is above 0 for, and is 0 elsewhere.
    """
    known = [kernel.diagonal() > 0 for kernel in kernels]
    return np.maximum(sum(np.outer(one, one) for one in known), np.float32(1))


def joint_graph(
    memberships: list[tuple[CSR, pd.Index, pd.Index]], edges: pd.DataFrame
) -> tuple[pd.Index, CSR]:
    """Return one graph of all sources: the index of genes, and the normalised adjacency, CSR, float32.

    memberships: of each source of sets, as `membership` returns them. Nodes are the genes, then the sets
    of 3 to 500 genes, each joined to its genes by log(N / size), N the genes of its source. Interactions
    have their weights over the mean of their source.
    """
    from scipy.sparse import block_array, coo_array

    known = [genes for _, genes, _ in memberships]
    genes = pd.Index(pd.unique(np.concatenate([*known, edges["one"], edges["other"]])))
    _, between = adjacency(relative(edges), genes)
    blocks = []
    for member, own, _ in memberships:
        block = weighted_sets(member).tocoo()
        places = genes.get_indexer(own)[block.row], block.col
        blocks.append(coo_array((block.data, places), shape=(len(genes), block.shape[1])))
    corner = [[between, *blocks], *([block.T] + [None] * len(blocks) for block in blocks)]
    return genes, normalised(block_array(corner, format="csr") if blocks else between)


def _unit_vectors(genes, rows, columns):
    """Vectors of the genes whose CSR row is not zero."""
    length = np.sqrt(np.asarray((rows * rows).sum(axis=1)).ravel())
    known = np.flatnonzero(length)
    rows = (rows[known] * (1 / length[known])[:, None]).tocsr()
    return Vectors(genes[known], rows, columns)
