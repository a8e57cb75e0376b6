"""Read merged cells for training: shuffled mini-batches from a file that is never loaded whole.

Chunks of neighbouring rows in random order fill a buffer, the buffer is shuffled, batches are cut from
it, and the next is read meanwhile. Memory is the buffer, a batch, and labels, 100 bytes a cell. Genes
that a dataset did not measure are imputed by a named rule, with the mask beside them. `merge` writes
the file.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, quote_some, repeated
from ..io.hdf5 import opened
from ..io.matrix import Matrix
from .atlas import check_labels, element_reader, gene_places, visible_rows
from .imputation import RULES, PathwayGuess, aligned_weights

SCALE = 10_000  # counts per ten thousand
STORED = 8  # bytes of a count and its gene, where they are held
CHUNK = 64  # rows read together: fewer mix better, more read faster
LEARN_FROM = 1_000  # cells a dataset, for the rule `pathway`
LABELS = ("sgrna_symbol", "dataset", "batch", "RNAcount")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some cells. values: cell x gene, float32; measured: bool, same shape; obs: their labels."""

    values: np.ndarray
    measured: np.ndarray
    obs: pd.DataFrame


class MergedCells:
    """Cells of a `cells.h5ad`: X raw counts in CSR, `varm["measured"]` a frame gene x dataset.

    competition: its genes, in its order, are those returned, and its control means impute; cells of its
    own screen (`obs["competition"]` true) are left out unless they are control cells or their
    perturbation is in its `effects`. Without it genes are the file's and of its own cells only the
    control remains. imputation: `control_mean`, `none` (NaN) or `pathway`, which needs `neighbours`, a
    gene x gene frame of weights, and learns from 1,000 cells a dataset chosen by `seed`. buffer_mb: for
    the counts held, half of it shuffled while the other half is read; a file that fits the half is read
    once and kept.

    Then `obs`: labels of the cells; `genes`; `datasets`; `measured`: gene x dataset, bool. Raises
    InputError for a wrong argument and for a file that is not as `merge` writes it.
    """

    def __init__(
        self,
        path: Path | str,
        competition: Competition | None = None,
        *,
        imputation: str = "control_mean",
        neighbours: pd.DataFrame | None = None,
        buffer_mb: float = 256,
        seed: int = 0,
    ) -> None:
        _check_rule(imputation, competition, neighbours)
        if not buffer_mb > 0:
            raise InputError(f"buffer_mb is {buffer_mb}, want megabytes above 0")
        self.path, self.imputation = Path(path), imputation
        self._matrix = Matrix(self.path)
        self._room, self._held = buffer_mb * 1e6 / 2, None
        obs, file_genes, measured = self._read_layout()
        self._file_rows = np.flatnonzero(visible_rows(self.path, obs, competition))
        self.obs = obs.iloc[self._file_rows]
        self._bytes = STORED * np.diff(self._indptr)[self._file_rows]  # by cell
        self.genes = file_genes if competition is None else competition.genes
        self._places = gene_places(self.path, file_genes, self.genes)
        self.measured = measured.reindex(self.genes, fill_value=False)
        self.datasets = self.measured.columns
        names = self.obs["dataset"].astype(str)
        self._dataset = self.datasets.get_indexer(names)
        if (lost := self._dataset < 0).any():
            raise InputError(
                f'{self.path}: varm["measured"] has no column {quote_some(names[lost].unique())}'
            )
        self._mask = np.ascontiguousarray(self.measured.to_numpy().T)  # dataset x gene
        self._control = np.full(len(self.genes), np.nan, dtype=np.float32)
        self._guesses = {}
        if imputation != "none":
            self._control = competition.control.loc[self.genes].to_numpy(dtype=np.float32)
        if imputation == "pathway":
            self._learn(aligned_weights(neighbours, self.genes), np.random.default_rng(seed))

    def __len__(self):
        return len(self.obs)

    def __repr__(self):
        size = f"{len(self)} cells x {len(self.genes)} genes, {len(self.datasets)} datasets"
        return f"MergedCells({size}, from {self.path})"

    def batches(
        self,
        batch_size: int,
        *,
        rows: np.ndarray | None = None,
        seed: int = 0,
        shuffle: bool = True,
        counts: bool = False,
    ) -> Iterator[Batch]:
        """Yield every cell once, as `Batch`es of `batch_size` cells; the last may be smaller.

        `rows`: a mask over `obs` or places in it, by default all. The same `seed` gives the same order;
        take another one every epoch. Without `shuffle` cells come in the file's order. Values are
        log2(1 + CP10k), normalised by `RNAcount`, or, with `counts`, raw counts, which only the rule
        `none` can give: imputed values are not counts.
        """
        if counts and self.imputation != "none":
            raise InputError(f"counts are not imputed by {self.imputation}; take imputation none")
        if batch_size < 1 or int(batch_size) != batch_size:
            raise InputError(f"batch_size is {batch_size}, want a whole number from 1")
        cells = np.arange(len(self)) if rows is None else self._selected(np.asarray(rows))
        return self._iterate(cells, int(batch_size), np.random.default_rng(seed), shuffle, counts)

    def _iterate(self, cells, batch_size, random, shuffle, counts):
        groups = self._groups(cells, batch_size, random, shuffle)
        blocks = map(self._read, groups)
        with ThreadPoolExecutor(1) as reader:
            following = reader.submit(next, blocks, None)
            for group in groups:
                block = following.result()
                following = reader.submit(next, blocks, None)
                order = random.permutation(len(group)) if shuffle else np.arange(len(group))
                for start in range(0, len(group), batch_size):
                    chosen = order[start : start + batch_size]
                    yield self._batch(block[chosen], group[chosen], counts)
                del block  # or a third would be read beside it

    def _groups(self, cells, batch_size, random, shuffle):
        """Cells that are held together, each group sorted, from chunks in random order.

        A group is a whole number of batches, at least one; the last takes what remains.
        """
        if shuffle:
            chunk = self._file_rows[cells] // self._chunk
            rank = random.permutation(len(self._indptr) // self._chunk + 1)
            cells = cells[np.argsort(rank[chunk], kind="stable")]
        ends, groups, start = np.cumsum(self._bytes[cells]), [], 0
        while start < len(cells):
            limit = self._room + (ends[start - 1] if start else 0)
            stop = np.searchsorted(ends, limit, side="right")
            if stop < len(cells):
                stop = start + max((stop - start) // batch_size, 1) * batch_size
            groups.append(np.sort(cells[start:stop]))
            start = stop
        return groups

    def _batch(self, block, cells, counts):
        values, dataset = self._dense(block, cells, counts), self._dataset[cells]
        measured = self._mask[dataset]
        np.copyto(values, self._control, where=~measured)
        for code in self._guesses.keys() & set(dataset):
            guess, rows = self._guesses[code], np.flatnonzero(dataset == code)
            values[np.ix_(rows, guess.missing)] = guess.predict(values[rows])
        return Batch(values, measured, self.obs.iloc[cells])

    def _dense(self, block, cells, counts=False):
        """Counts or log2(1 + CP10k), cell x gene; 0 where the file has no value. Changes `block`."""
        if not counts:
            total = self.obs["RNAcount"].to_numpy()[cells]
            scale = np.divide(SCALE, total, out=np.zeros(len(total)), where=total > 0)
            block.data *= np.repeat(scale.astype(np.float32), np.diff(block.indptr))
            block.data += 1
            np.log2(block.data, out=block.data)
        if not np.array_equal(self._places, np.arange(block.shape[1])):
            block.resize(len(cells), block.shape[1] + 1)  # the last: genes that the file lacks
            block = block[:, self._places]
        return block.toarray()

    def _learn(self, weights, random):
        """Fit the rule `pathway` for each dataset that lacks genes."""
        for dataset, measured in enumerate(self._mask):
            cells = np.flatnonzero(self._dataset == dataset)
            if not measured.all() and len(cells):
                some = np.sort(random.choice(cells, min(LEARN_FROM, len(cells)), replace=False))
                parts = np.array_split(some, len(some) // 128 + 1)
                blocks = (self._dense(self._read_rows(part), part) for part in parts)
                self._guesses[dataset] = PathwayGuess(weights, self._control, measured).fit(blocks)

    def _selected(self, rows):
        """Places in `obs`, sorted, from a mask or places."""
        if rows.dtype == bool and rows.shape == (len(self),):
            return np.flatnonzero(rows)
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            want = f"a mask of {len(self)} or places"
            raise InputError(f"rows is {rows.dtype} of shape {rows.shape}; want {want}")
        if ((rows < 0) | (rows >= len(self))).any():
            span = f"{rows.min()} to {rows.max()}"
            raise InputError(f"rows go from {span}, want 0 to {len(self) - 1}")
        if again := repeated(rows):
            raise InputError(f"rows are repeated: {quote_some(again)}; name each once")
        return np.sort(rows)

    def _read_layout(self):
        """Check the file; keep where its rows lie; return obs, genes and the measured mask."""
        read_elem, header = element_reader(), self._matrix.header
        if header.format != "csr":
            raise InputError(f"{self.path}: X is {header.format}, want raw counts as csr_matrix")
        with opened(self.path) as file:
            if "measured" not in file.get("varm", ()):
                raise InputError(f'{self.path} has no varm["measured"]; want merged cells')
            obs, genes = read_elem(file["obs"]), read_elem(file["var"]).index
            measured = read_elem(file["varm/measured"])
            self._indptr, data = file["X/indptr"][:].astype(np.int64), file["X/data"]
            # Rows that are compressed together are read together, or each would unpack them all.
            packed = data.chunks[0] if data.compression else 0
        kinds = {kind.kind for kind in getattr(measured, "dtypes", ())}
        if kinds != {"b"} or len(measured) != len(genes):
            raise InputError(f'{self.path}: varm["measured"] is no frame of bool by dataset')
        if header.shape != (len(obs), len(genes)) or (np.diff(self._indptr) < 0).any():
            raise InputError(f"{self.path}: X does not fit obs and var, or its indptr is broken")
        self._chunk = max(CHUNK, packed * len(obs) // max(header.stored, 1))
        check_labels(self.path, obs, LABELS, numbers=("RNAcount",))
        return obs, genes, measured.set_axis(genes).astype(bool)

    def _read(self, cells):
        """Counts of sorted cells, cell x gene of the file; where the buffer holds all, read once."""
        if self._bytes.sum() > self._room:
            return self._read_rows(cells)
        if self._held is None:
            self._held = self._read_rows(np.arange(len(self)))
        return self._held[cells]

    def _read_rows(self, cells):
        """Counts of sorted cells, cell x gene of the file, CSR float32, checked."""
        from scipy.sparse import csr_array

        rows = self._file_rows[cells]
        indptr = np.concatenate([[0], np.cumsum(self._bytes[cells]) // STORED])
        counts, genes = np.empty(indptr[-1], np.float32), np.empty(indptr[-1], np.int32)
        start, width = 0, self._matrix.shape[1]
        with opened(self.path) as file:
            for chunk in np.split(rows, 1 + np.flatnonzero(np.diff(rows // self._chunk))):
                ends = self._indptr[chunk[0] : chunk[-1] + 2]
                data, indices = (
                    file["X"][name][ends[0] : ends[-1]] for name in ("data", "indices")
                )
                sound = (data >= 0) & (data < np.inf) & (np.rint(data) == data)
                if not (sound & (indices >= 0) & (indices < width)).all():
                    raise self._matrix.fault(chunk[0], ends - ends[0], indices, data)
                wanted = np.isin(np.arange(chunk[0], chunk[-1] + 1), chunk)
                wanted = np.repeat(wanted, np.diff(ends))
                here = slice(start, start + wanted.sum())
                counts[here], genes[here] = data[wanted], indices[wanted]
                start = here.stop
        # Of two kinds of integers scipy would copy the one.
        indptr = indptr.astype(np.int32 if indptr[-1] < 2**31 else np.int64)
        block = csr_array((counts, genes, indptr), shape=(len(rows), width))
        counted, total = block.sum(axis=1), self.obs["RNAcount"].to_numpy()[cells]
        short = total < counted * (1 - 1e-6)  # totals may be float32
        if short.any():
            cell = np.argmax(short)
            raise InputError(
                f"{self.path}: RNAcount of {self.obs.index[cells[cell]]} is {total[cell]:g}, its counts "
                f"sum to {counted[cell]:g}; want the total over all genes of the source"
            )
        return block


def _check_rule(imputation, competition, neighbours):
    if imputation not in RULES:
        raise InputError(f"imputation is {imputation}, want one of {quote_some(RULES)}")
    if imputation != "none" and competition is None:
        raise InputError(
            f"imputation {imputation} needs control means; give the competition, or take none"
        )
    if imputation == "pathway" and neighbours is None:
        raise InputError(
            "imputation pathway needs neighbours, a gene x gene frame of weights; "
            "kit.knowledge.load_pathways(...).kernel(genes, genes) makes one"
        )
