"""Time shuffled mini-batches of merged cells beside plain indexing of a backed AnnData.

    python benchmarks/merged.py [--cells 50000] [--genes 5127] [--buffer-mb 256] [--folder DIR]

Generates cells as `merge` writes them (gzip), sorted by dataset and perturbation, and the same file
uncompressed. The plain way, `adata[places].X` of random places, gives sparse raw counts; ours, with the
rules, gives dense log2(1 + CP10k), mask and labels too. `mixing` is the standard deviation of a dataset's
share over batches, divided by that of a perfect shuffle: 1 is perfect. Memory is the growth of the peak
in a process of its own.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from kit.competition import CONTROL, Competition
from kit.screens.cells import MergedCells
from kit.screens.writer import new_counts, new_h5ad, write_labels

BATCH = 256
PERTURBATIONS = 80


def write_cells(path, cells, genes, seed=0):
    """Two datasets, the second with half of the genes; about 1,300 and 700 genes a cell are not zero."""
    random = np.random.default_rng(seed)
    names = gene_names(genes)
    measured = pd.DataFrame({"A": np.ones(genes, bool), "B": random.random(genes) < 0.5}, names)
    present = np.minimum(random.gamma(1.0, 0.3, genes), 1.0)
    place = np.arange(cells)
    dataset = (place >= cells // 2).astype(np.int8)
    totals = []
    with new_h5ad(path, names) as file:
        stored = new_counts(file, genes)
        for start in range(0, cells, 2_000):
            own = dataset[start : start + 2_000]
            chance = present * measured.to_numpy().T[own]
            row, column = np.nonzero(random.random(chance.shape, dtype=np.float32) < chance)
            counts = random.geometric(0.5, len(row)).astype(np.float32)
            stored.append(csr_array((counts, (row, column)), shape=chance.shape))
            totals.append(3.0 * np.bincount(row, counts, minlength=len(own)))
        anndata.io.write_elem(file, "varm", {"measured": measured})
        labels = [CONTROL, *(f"P{i}" for i in range(1, PERTURBATIONS))]
        of_cell = place * 2 * PERTURBATIONS // cells % PERTURBATIONS
        columns = {
            "sgrna_symbol": pd.Categorical.from_codes(of_cell, labels),
            "dataset": pd.Categorical.from_codes(dataset, ["A", "B"]),
            "batch": pd.Categorical.from_codes(random.integers(0, 2, cells), ["b1", "b2"]),
            "RNAcount": np.concatenate(totals),
        }
        write_labels(file, columns.items(), map(str, place), cells)


def gene_names(genes):
    return pd.Index([f"G{i}" for i in range(genes)])


def invented_competition(genes):
    """What the imputation needs of a competition: genes and control means."""
    names = gene_names(genes)
    control = pd.Series(np.random.default_rng(1).uniform(0, 2, genes), names)
    effects = pd.DataFrame(columns=names, dtype=float)
    targets = pd.DataFrame(columns=["perturbation", "split"])
    return Competition(effects, effects, control, targets, None, None, None, Path("invented"))


def invented_neighbours(genes):
    """Weights of 40 neighbours a gene; 20 are used."""
    random = np.random.default_rng(2)
    weights = np.zeros((genes, genes), dtype=np.float32)
    places = random.integers(0, genes, (genes, 40))
    np.put_along_axis(weights, places, random.random(places.shape, dtype=np.float32), axis=1)
    return pd.DataFrame(weights, gene_names(genes), gene_names(genes))


def ours(merged, **options):
    """Yield the size and the share of dataset A of each batch."""
    for batch in merged.batches(BATCH, **options):
        yield len(batch.obs), (batch.obs["dataset"] == "A").mean()


def plain(path, shuffle):
    """The same by plain indexing."""
    backed = anndata.read_h5ad(path, backed="r")
    places = np.arange(backed.n_obs)
    if shuffle:
        places = np.random.default_rng(0).permutation(places)
    in_a = (backed.obs["dataset"] == "A").to_numpy()
    for start in range(0, len(places), BATCH):
        counts = backed[places[start : start + BATCH]].X
        yield counts.shape[0], in_a[places[start : start + BATCH]].mean()
    backed.file.close()


def time_batches(name, batches, seconds):
    """Print cells a second of the clock and of all threads, and how well the batches mix.

    At most `seconds` long. A busy machine shows in the clock alone.
    """
    start, busy, cells, shares = time.perf_counter(), time.process_time(), 0, []
    for size, share in batches:
        cells += size
        shares += [share] if size == BATCH else []
        if time.perf_counter() - start > seconds:
            break
    rate, of_threads = cells / (time.perf_counter() - start), cells / (time.process_time() - busy)
    mixing = np.std(shares) / np.sqrt(0.25 / BATCH)
    print(f"{name:36}{rate:9.0f}{of_threads:13.0f}{mixing:8.2f}", flush=True)


def memory(path, genes, buffer_mb):
    """Megabytes by which the peak grows in an epoch."""

    def peak():
        # Not ru_maxrss: a new process takes over that of its parent.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    merged = MergedCells(path, invented_competition(genes), buffer_mb=buffer_mb)
    before = peak()
    for _ in merged.batches(BATCH):
        pass
    return peak() - before


def report(path, args):
    megabytes = path.stat().st_size / 1e6
    print(f"\n{path.name}: {args.cells} cells x {args.genes} genes, {megabytes:.0f} MB")
    print(f"{'batches of 256':36}{'cells/s':>9}{'cells/CPU s':>13}{'mixing':>8}")
    competition, room = invented_competition(args.genes), {"buffer_mb": args.buffer_mb}
    time_batches("adata[places].X, random", plain(path, True), args.seconds)
    time_batches("adata[places].X, in order", plain(path, False), args.seconds)
    none = MergedCells(path, competition, imputation="none", **room)
    time_batches("kit: none, raw counts", ours(none, counts=True), args.seconds)
    time_batches("kit: none", ours(none), args.seconds)
    mean = MergedCells(path, competition, **room)
    time_batches("kit: control_mean, in order", ours(mean, shuffle=False), args.seconds)
    time_batches("kit: control_mean", ours(mean), args.seconds)
    weights = invented_neighbours(args.genes)
    start = time.perf_counter()
    pathway = MergedCells(path, competition, imputation="pathway", neighbours=weights, **room)
    learned = time.perf_counter() - start
    time_batches("kit: pathway", ours(pathway), args.seconds)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        grown = other.submit(memory, path, args.genes, args.buffer_mb).result()
    print(
        f"rule pathway learned in {learned:.1f} s; memory: {grown:.0f} MB, buffer {args.buffer_mb:g} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=5_127)
    parser.add_argument("--buffer-mb", type=float, default=256)
    parser.add_argument("--seconds", type=float, default=20, help="at most, for each line")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        gzip, raw = (folder / f"cells_{args.cells}_{kind}.h5ad" for kind in ("gzip", "raw"))
        if not gzip.exists():
            write_cells(gzip, args.cells, args.genes)
        if not raw.exists():
            anndata.read_h5ad(gzip).write_h5ad(raw)
        for path in (gzip, raw):
            report(path, args)


if __name__ == "__main__":
    main()
