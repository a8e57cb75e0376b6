"""Time the streaming sums beside merely reading the file, and beside scanpy in memory.

    python -m benchmarks.merge [--cells 50000 200000 500000] [--folder DIR] [--repeats 3]

Every measurement is a process of its own, after a warm-up on a hundred cells, so that peak memory is
its own and neither imports nor compilation are timed. The kinds take turns; the fastest of `repeats`
counts, and beside it the least processor time, which other work on the machine disturbs less. Files
(7 kB a cell for both) stay in `--folder`, or go with a temporary one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

GENES, OUTPUTS, GROUPS, UMI = 8_000, 5_000, 300, 1_150
SIMULATED = 10_000  # cells drawn; a larger file repeats them in other groups
VALUES_AT_ONCE = 2**22


def draw(cells, seed=0):
    """Counts of up to ten thousand cells, CSR, about 700 genes detected in each."""
    import numpy as np
    from scipy.sparse import csr_array, vstack

    random = np.random.default_rng(seed)
    share = np.exp(random.normal(0, 2, GENES))
    mean = np.outer(random.lognormal(0, 0.3, cells) * UMI, share / share.sum())
    blocks = [csr_array(random.poisson(part), dtype=np.float32) for part in np.split(mean, 10)]
    return vstack(blocks, format="csr")


def layout(cells, seed=1):
    """Group of each cell and output gene of each source column, -1 for none."""
    import numpy as np

    random = np.random.default_rng(seed)
    columns = np.full(GENES, -1, dtype=np.int32)
    columns[random.permutation(GENES)[:OUTPUTS]] = np.arange(OUTPUTS)
    return random.integers(0, GROUPS, cells).astype(np.int32), columns


def generate(path, cells):
    """Write an h5ad file, gzip or not by its name, and return nothing to time."""
    import anndata
    import h5py
    import numpy as np
    import pandas as pd

    drawn = draw(SIMULATED)
    times = cells // SIMULATED
    group, _ = layout(cells)
    obs = pd.DataFrame({"group": pd.Categorical([f"group {i:03}" for i in group])})
    obs.index, names = obs.index.astype(str), [f"G{i}" for i in range(GENES)]
    anndata.AnnData(obs=obs, var=pd.DataFrame(index=names)).write_h5ad(path)
    kind = {"compression": "gzip", "chunks": True} if path.stem.endswith("gzip") else {}
    with h5py.File(path, "r+") as file:
        counts = file.create_group("X")
        shape = {
            "shape": (cells, GENES),
            "encoding-type": "csr_matrix",
            "encoding-version": "0.1.0",
        }
        counts.attrs.update(shape)
        lengths = np.tile(np.diff(drawn.indptr), times)
        counts["indptr"] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        for name, values in {"data": drawn.data, "indices": drawn.indices}.items():
            stored = counts.create_dataset(name, (len(values) * times,), values.dtype, **kind)
            for i in range(times):
                stored[i * len(values) : (i + 1) * len(values)] = values


def read(path, stop=None):
    """Read the stored arrays in slices and do nothing with them."""
    import h5py

    with h5py.File(path) as file:
        counts = file["X"]
        indptr = counts["indptr"][:]
        stop = stop or indptr[-1]
        for start in range(0, stop, VALUES_AT_ONCE):
            for name in ("indices", "data"):
                counts[name][start : min(stop, start + VALUES_AT_ONCE)]


def sums(path, cells=None):
    """Mean and variance, group x gene, by kit.screens.streaming."""
    from kit.io.matrix import Matrix
    from kit.screens._task import Task
    from kit.screens.streaming import group_sums

    matrix = Matrix(path)
    group, columns = layout(matrix.shape[0])
    rows = range(cells or matrix.shape[0])
    result = group_sums(Task(matrix, group[: len(rows)], columns, OUTPUTS, rows=rows))
    number = result.cells[:, None]
    mean = result.sums / number
    return mean, (result.squares - number * mean**2) / (number - 1)


def in_memory(path, cells=None):
    """Mean and variance, group x gene, by loading, normalising and scanpy.get.aggregate."""
    import anndata
    import numpy as np
    import scanpy

    loaded = (
        anndata.read_h5ad(path, backed="r")[:cells].to_memory()
        if cells
        else anndata.read_h5ad(path)
    )
    _, columns = layout(loaded.n_obs)
    scanpy.pp.normalize_total(loaded, target_sum=1e4)
    scanpy.pp.log1p(loaded, base=2)
    order = np.flatnonzero(columns >= 0)[np.argsort(columns[columns >= 0])]
    result = scanpy.get.aggregate(loaded[:, order], by="group", func=["mean", "var"])
    return result.layers["mean"], result.layers["var"]


def measure(kind, path, result):
    """Do one kind of work, a small part of it first; print seconds of clock and processors."""
    import time

    import numpy as np

    work = {"read": read, "sums": sums, "in memory": in_memory}[kind]
    work(path, 100)
    start = time.perf_counter(), time.process_time()
    made = work(path)
    print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]))
    if made is not None:
        np.save(result, np.stack(made))


def child(*arguments):
    """Run this file in a new process: what it printed, and its peak memory in MB."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.merge", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return printed, usage.ru_maxrss / 1000


def fits_in_memory(path, cells):
    """Whether five times the arrays of the file are free: scanpy takes about four."""
    free = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvail" in line
    )
    return 5 * 8 * 700 * cells < int(free.split()[1]) * 1000


def compare(path, cells, repeats):
    """Measure all kinds on one file and print a line for each."""
    import numpy as np

    kinds = ["read", "sums"] + ["in memory"] * fits_in_memory(path, cells)
    results = {kind: path.with_suffix(f".{kind}.npy") for kind in kinds}
    seconds, peaks = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    for repeat in range(repeats):
        for kind in kinds[: 2 if repeat else 3]:  # the slow one once
            printed, peak = child("--measure", kind, path, results[kind])
            seconds[kind].append(json.loads(printed))
            peaks[kind].append(peak)
    best = {kind: np.min(both, axis=0) for kind, both in seconds.items()}
    for kind in kinds:
        clock, processor = best[kind] / best["read"]
        print(
            f"{path.stem:14}{kind:10}{best[kind][0]:8.2f} s {clock:6.2f} x read"
            f"{best[kind][1]:9.2f} s of processors {processor:6.2f} x read{max(peaks[kind]):7.0f} MB"
        )
    if len(kinds) == 3:
        ours, theirs = (np.load(results[kind]) for kind in ("sums", "in memory"))
        apart = np.abs(ours - theirs).max(axis=(1, 2))
        print(
            f"{path.stem:14}{best['in memory'][0] / best['sums'][0]:.1f} times as fast as in memory; "
            f"means differ by {apart[0]:.1e}, variances by {apart[1]:.1e}"
        )
    for result in results.values():
        result.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 200_000, 500_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--generate", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.generate:
        generate(Path(args.generate[0]), int(args.generate[1]))
        return
    if args.measure:
        kind, path, result = args.measure
        measure(kind, Path(path), result)
        return
    if any(cells % SIMULATED for cells in args.cells):
        parser.error(f"--cells: want multiples of {SIMULATED}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for cells in args.cells:
            for kind in ("gzip", "plain"):
                path = folder / f"{cells}-{kind}.h5ad"
                if not path.exists():
                    child("--generate", path, cells)
                compare(path, cells, args.repeats)
                if not args.folder:
                    path.unlink()


if __name__ == "__main__":
    main()
