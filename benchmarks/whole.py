"""Measure the whole kit in one table: seconds, peak memory, and how both grow.

    python -m benchmarks.whole [FOLDER] [--atlas FILE] [--pathways FILE...] [--only PART...] [--quick]

FOLDER is a competition folder; without it the full twin is simulated. The atlas is by default merged from
the screens in the folder, the pathways are those in it. Every measurement is a process of its own, after
a warm-up on a small part, so that neither imports nor compilation are timed and peak memory is its own.
Ratios are of times taken side by side in one process. `demo` is timed on the quick twin. --quick measures
small sizes: it tests this file.
"""

import argparse
import multiprocessing
import os
import queue
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from pathlib import Path

from benchmarks import merge, network_cost
from benchmarks import metric as metrics
from benchmarks.growth import growth
from kit.io.files import InputError

ROOT = Path(__file__).resolve().parent.parent
MODELS = (
    "constant",
    "ridge",
    "LightGBM",
    "gene trees",
    "pooled trees",
    "neighbours",
    "pairwise regression",
    "transfer",
    "default forecast",
)
SIZES = ((120, 5127), (240, 5127), (120, 10_254))  # rows and genes of a submission
CELLS = (50_000, 200_000, 500_000)
QUICK_SIZES, QUICK_CELLS = ((20, 500), (40, 500), (20, 1_000)), (10_000, 20_000)


def line(part, what, size="", seconds=None, peak=None, remark=""):
    """Print one row of the table; seconds and peak memory (MB) where they were measured."""
    clock = "" if seconds is None else f"{seconds:.3g}" if seconds < 1 else f"{seconds:.1f}"
    memory = "" if peak is None else f"{peak:.0f}"
    print(f"{part:9}{what:27}{size:>26}{clock:>10}{memory:>9}  {remark}".rstrip(), flush=True)


def apart(task, *arguments):
    """What a function returns in a process of its own, and the peak memory of that in MB."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        return other.submit(_with_peak, task, *arguments).result()


def _with_peak(task, *arguments):
    found = task(*arguments)
    if loky := sys.modules.get("joblib.externals.loky"):
        # Its workers would hold this process up until they have been idle for minutes.
        loky.get_reusable_executor().shutdown(kill_workers=True)
    # Not ru_maxrss: a new process takes over that of its parent.
    status = Path("/proc/self/status").read_text()
    return found, int(status.split("VmHWM:")[1].split()[0]) / 1024


def install(place, args):
    """Sizes on disk of what requirements.txt brings, and of the kit."""
    sizes = {
        package.metadata["Name"]: sum(
            path.stat().st_size
            for path in map(package.locate_file, package.files or ())
            if path.is_file()
        )
        for package in metadata.distributions()
    }
    largest = sorted(sizes, key=sizes.get)[:-6:-1]
    named = ", ".join(f"{name} {sizes[name] / 1e6:.0f} MB" for name in largest)
    line("install", f"{len(sizes)} packages", f"{sum(sizes.values()) / 1e6:.0f} MB", remark=named)
    files = sorted((ROOT / "kit").rglob("*.py"))
    own = sum(path.stat().st_size for path in files)
    line("install", f"kit, {len(files)} files", f"{own / 1e6:.2f} MB")


def imports(place, args):
    """Time to start Python and import, fastest of five turns."""
    modules = ("sys", "numpy", "pandas", "kit", "kit.models", "kit.plots")
    seconds = dict.fromkeys(modules, float("inf"))
    for _ in range(5):
        for module in modules:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True)
            seconds[module] = min(seconds[module], time.perf_counter() - start)
    for module in modules:
        ratio = seconds[module] / seconds["pandas"]
        line("import", module, "", seconds[module], remark=f"{ratio:.2f} x import pandas")


def metric(place, args):
    """The metric beside a plain walk through the columns."""
    for rows, genes in QUICK_SIZES if args.quick else SIZES:
        (ours, plain), peak = apart(_metric, rows, genes)
        remark = f"{plain / ours:.0f} x as fast as column by column"
        line("metric", "score", f"{rows} x {genes}", ours, peak, remark)


def _metric(rows, genes):
    from kit.metric import score

    solution, submission, names = metrics.simulated_frames(rows, genes)
    weights = solution[[f"w_{name}" for name in names]].set_axis(names, axis=1)
    frames = solution[names], submission, weights, solution["baseline_wmae"]
    ours, found = metrics.fastest(lambda: score(*frames), 5)
    flat = solution.reset_index(), submission.reset_index(), names
    seconds, expected = metrics.fastest(lambda: metrics.plain_score(*flat), 3)
    if abs(found.score - expected[0]) > 1e-9:
        raise InputError(f"scores differ: {found.score} and {expected[0]}; mend the metric")
    return ours, seconds


def sums(place, args):
    """Means and variances by perturbation of a file's cells, beside reading it and beside scanpy."""
    for cells in QUICK_CELLS if args.quick else CELLS:
        for form in ("gzip", "plain"):
            path = place / f"{cells}-{form}.h5ad"
            merge.child("--generate", path, cells)
            taken, kinds = {}, ["read", "sums"]
            kinds += ["in memory"] * merge.fits_in_memory(path, cells)
            for kind in kinds:
                printed, peak = merge.child("--measure", kind, path, place / "sums.npy")
                taken[kind] = float(printed.strip("[]\n").split(",")[0]), peak
            seconds, peak = taken["sums"]
            remark = f"{seconds / taken['read'][0]:.2f} x reading the file"
            if "in memory" in taken:
                other, more = taken["in memory"]
                remark += (
                    f", scanpy {other / seconds:.1f} x the time, {more / peak:.1f} x the memory"
                )
            line("sums", f"{form} file", f"{cells} x {merge.GENES}", seconds, peak, remark)
            path.unlink()


def merges(place, args):
    """The command `merge` on the folder's own cells and one screen more each time."""
    before = None
    for count in range(len(_screens(args.folder)) + 1):
        out = place / f"merged-{count}"
        (seconds, cells, megabytes), peak = apart(_merge, args.folder, count, out)
        rate = f"{cells / seconds:,.0f} cells a second, {megabytes:.0f} MB written"
        remark = rate if before is None else f"{rate}, {seconds / before:.1f} x the line above"
        line("merge", f"own cells, {count} screens", f"{cells} cells", seconds, peak, remark)
        before = seconds


def _screens(folder):
    import kit

    competition = kit.load_competition(folder)
    taken = {competition.cells, *folder.glob("atlas*.h5ad"), *folder.glob("responses*.h5ad")}
    return sorted(set(folder.glob("*.h5ad")) - taken)


def _merge(folder, count, out):
    """Seconds, cells, and megabytes of what is written; parts are not kept from one to the next."""
    import kit
    from kit.screens import merge as merge_screens

    competition = kit.load_competition(folder)
    start = time.perf_counter()
    merged = merge_screens(_screens(folder)[:count], competition, out)
    seconds = time.perf_counter() - start
    written = [path for path in (merged.responses, merged.cells) if path]
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    return seconds, int(merged.coverage["cells"].sum()), megabytes


def models(place, args):
    """Fit and prediction of all targets by each model, and the time for twice as much of all."""
    for name in MODELS:
        found, peak = apart(growth, name, args)
        if found is None:
            line("model", name, remark="left out: the knowledge that it needs is not there")
            continue
        whole, size = sum(found["whole"]), found.pop("size")
        fit, predict = found.pop("whole")
        twice = [f"{what} {whole / max(sum(t), 1e-9):.1f} x" for what, t in found.items()]
        remark = f"fit {fit:.2f} s, predict {predict:.2f} s; twice the {', '.join(twice)}"
        line("model", name, size, whole, peak, remark)


def networks(place, args):
    """A step of one of several networks side by side on this machine, and as estimated for a T4."""
    for name in network_cost.NAMES:
        costs, peak = apart(_network, name, args)
        for found in costs:
            remark = (
                f"a step of one of {found['networks']}; {found['operations']:.0f} operations, "
                f"{found['flops'] / 1e9:.1f} GFLOP, {1000 * found['t4']:.1f} ms on a T4"
            )
            line("network", name, f"policy {found['policy']}", found["seconds"], peak, remark)


def _network(name, args):
    lines = queue.SimpleQueue()
    network_cost.cost(name, args, lines)
    return [lines.get() for _ in range(lines.qsize())]


def demo(place, args):
    """`make demo` on the quick twin, the twin made before, and each of its notebooks."""
    from kit.report.board import read_reports
    from kit.twin import simulate

    outputs = place / "outputs"
    environment = os.environ | {
        "ESG_DATA": str(simulate(place / "twin-quick")),
        "ESG_OUTPUTS": str(outputs),
    }
    only = ["NOTEBOOKS=notebooks/02_baseline.ipynb"] * args.quick
    with (place / "demo.log").open("w") as log:
        start = time.perf_counter()
        command = ["make", "demo", *only]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        seconds = time.perf_counter() - start
    if done.returncode:
        last = (place / "demo.log").read_text().splitlines()[-1:]
        raise InputError(f"make demo failed: {' '.join(last)}")
    line("demo", "make demo", "", seconds)
    for report in read_reports(outputs).values():
        line("demo", report["notebook"], "", report["seconds"], report["peak_memory_mb"])


PARTS = {
    "install": install,
    "import": imports,
    "metric": metric,
    "sums": sums,
    "merge": merges,
    "models": models,
    "networks": networks,
    "demo": demo,
}


def prepare(args, place):
    """Simulate the twin and merge the screens where none are given; sets `folder` and `atlas`."""
    if args.folder is None:
        args.folder, size = place / "twin", "quick" if args.quick else "full"
        seconds, peak = apart(_simulate, args.folder, size)
        line("twin", f"simulate, {size}", "", seconds, peak)
    if args.atlas is None and {"models", "networks"} & {*args.only} and _screens(args.folder):
        apart(_merge, args.folder, None, place / "atlas")
        args.atlas = place / "atlas" / "responses.h5ad"


def _simulate(folder, size):
    from kit.twin import simulate

    start = time.perf_counter()
    simulate(folder, size=size)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path)
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--pathways", metavar="FILE", nargs="+")
    parser.add_argument("--only", metavar="PART", nargs="+", default=[*PARTS], choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{'part':9}{'what':27}{'size':>26}{'seconds':>10}{'peak MB':>9}  remark")
        prepare(args, Path(scratch))
        for name in args.only:
            try:
                PARTS[name](Path(scratch), args)
            except (InputError, BrokenProcessPool) as error:
                line(name, "failed", remark=str(error))


if __name__ == "__main__":
    main()
