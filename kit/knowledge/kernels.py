"""Parts of the kernel between genes: cosines of set memberships, of diffusion on a graph, of tables.

A part has `genes`, the index of those it knows, and `cosine(rows, columns)`: places of genes in, a dense
float32 array out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

SMALLEST, LARGEST, SMALL = (
    3,
    500,
    60,
)  # genes of a set: too few to tell, all that count, specific ones
COLUMNS_AT_ONCE = 128  # of the diffusion: 8 MB a block stays near the processor


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows of unit length, sparse or dense, by gene."""

    genes: pd.Index
    rows: object

    def cosine(self, rows, columns):
        product = self.rows[rows] @ self.rows[columns].T
        return product if isinstance(product, np.ndarray) else product.toarray()


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Cosine of the rows of S = A + A A, A = D^-1/2 W D^-1/2 for the weights W of all edges.

    Where a gene gets to in one step or two along edges, hubs counted less. `step` is A, CSR.
    """

    genes: pd.Index
    step: object

    def cosine(self, rows, columns):
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


def membership(sets):
    """Gene x pathway CSR array of 0 and 1, and the index of each axis, of one source's sets."""
    from scipy.sparse import csr_array

    rows, genes = pd.factorize(sets["gene"])
    columns, pathways = pd.factorize(sets["pathway"])
    ones = np.ones(len(sets), dtype=np.float32)
    member = csr_array((ones, (rows, columns)), shape=(len(genes), len(pathways)))
    member.data[:] = 1  # a gene counts once in a set
    return member, pd.Index(genes), pd.Index(pathways)


def within(sizes, smallest=SMALLEST, largest=LARGEST):
    """Mask of the sets whose number of genes the size rule takes."""
    return (sizes >= smallest) & (sizes <= largest)


def set_vectors(member, genes, smallest, largest):
    """Memberships weighted by log(N / size), N the number of the source's genes: rare sets tell more."""
    sizes = np.asarray(member.sum(axis=0)).ravel()
    taken = within(sizes, smallest, largest)
    rarity = np.log(len(genes) / sizes[taken]).astype(np.float32)
    rows = (member[:, np.flatnonzero(taken)] * rarity[None, :]).tocsr()
    length = np.sqrt(np.asarray((rows * rows).sum(axis=1)).ravel())
    known = length > 0
    rows, length = rows[np.flatnonzero(known)], length[known]
    return Vectors(genes[known], (rows * (1 / length)[:, None]).tocsr())


def diffusion(edges):
    """The part of one source's edges, each undirected and once, none from a gene to itself."""
    from scipy.sparse import csr_array

    ends, genes = pd.factorize(np.concatenate([edges["one"], edges["other"]]))
    one, other = np.split(ends, 2)
    weight = np.tile(edges["weight"].to_numpy(dtype=np.float32), 2)
    places = (np.concatenate([one, other]), np.concatenate([other, one]))
    step = csr_array((weight, places), shape=(len(genes), len(genes)))
    root = 1 / np.sqrt(np.asarray(step.sum(axis=1)).ravel())
    step = (step * root[:, None] * root[None, :]).tocsr()
    return Diffusion(pd.Index(genes), step.astype(np.float32))


def table_vectors(table):
    """Rows of a table whose columns are standardised over all its genes.

    Embeddings share a large common direction: without it, like stands out from unlike.
    """
    values = table.to_numpy(dtype=np.float32)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    length = np.linalg.norm(values, axis=1)
    known = length > 0
    return Vectors(table.index[known], values[known] / length[known, None])
