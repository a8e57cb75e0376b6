"""What a training step of each network costs on this machine, and by estimate on a T4.

    python -m benchmarks.network_cost FOLDER [--atlas FILE] [--pathways FILE...] [--only NAME...]

Trains a few steps and prints seconds a step and peak memory on this machine, operations and bytes moved
in a step as torch counts them, and from these an estimate for a T4: the larger of operations at a fifth
of its 8.1 TFLOP/s and bytes at half of its 300 GB/s, and 10 microseconds for each kernel that is
started. Scores of networks are a matter of `benchmarks.compare`.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path

import kit
from kit.knowledge import gather

NAMES = ("vae", "transformer", "gnn")
T4_FLOPS, T4_BYTES, LAUNCH = 8.1e12 / 5, 300e9 / 2, 10e-6  # a second, a second, seconds a kernel
STEPS = 4  # timed; the first one is left out


def network(name):
    """The model class of a name."""
    from kit.networks import GNN, VAE, Transformer

    return {"vae": VAE, "transformer": Transformer, "gnn": GNN}[name]


def cost(name, args, lines):
    """Measure one network in a process of its own, whose peak memory is then the network's."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    from kit.networks import Settings

    class Moved(TorchDispatchMode):
        """Bytes read and written by all operations, and their number."""

        bytes = kernels = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            tensors = [leaf for leaf in tree_leaves((args, found)) if torch.is_tensor(leaf)]
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in tensors)
            self.kernels += 1
            return found

    competition = kit.load_competition(args.folder)
    knowledge = gather(competition, pathways=args.pathways, atlas=args.atlas)
    policies = ("competition",) if knowledge.atlas is None else ("screens", "competition")
    for policy in policies:
        settings = Settings(steps=STEPS, every=STEPS)
        options = {"members": 1, "policy": policy, "pretraining": settings, "tuning": settings}
        model = network(name)(knowledge, **options)
        stamps, counted = [], {}
        step = type(model)._step

        def timed(*parts, stamps=stamps, counted=counted, step=step):
            stamps.append(time.perf_counter())
            if len(stamps) < STEPS:
                return step(*parts)
            with FlopCounterMode(display=False) as flops, Moved() as moved:
                value = step(*parts)
            # Backward does about twice the work of forward.
            counted |= {"flops": 3 * flops.get_total_flops(), "bytes": 3 * moved.bytes}
            counted["kernels"] = 3 * moved.kernels
            return value

        type(model)._step = timed
        start = time.perf_counter()
        model.fit(competition)
        fit = time.perf_counter() - start
        type(model)._step = step
        seconds = (stamps[-1] - stamps[1]) / (len(stamps) - 2)
        t4 = max(counted["flops"] / T4_FLOPS, counted["bytes"] / T4_BYTES)
        t4 += LAUNCH * counted["kernels"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found = {"name": name, "policy": policy, "seconds": seconds, "fit": fit, "peak": peak}
        lines.put(found | counted | {"t4": t4})


def as_text(found):
    """What `cost` measured, as a line."""
    return (
        f"{found['name']:12}{found['policy']:12} {found['seconds']:7.3f} s a step, {found['fit']:5.0f} s "
        f"with {STEPS} steps, peak {found['peak']:.1f} GB; a step: {found['flops'] / 1e9:.1f} GFLOP, "
        f"{found['bytes'] / 1e9:.2f} GB moved, {found['kernels']} kernels; "
        f"T4: {1000 * found['t4']:.0f} ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--pathways", metavar="FILE", nargs="+", default=[])
    parser.add_argument("--only", metavar="NAME", nargs="+", default=NAMES, choices=NAMES)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for name in args.only:
        lines = context.Queue()
        process = context.Process(target=cost, args=(name, args, lines))
        process.start()
        process.join()
        while not lines.empty():
            print(as_text(lines.get()), flush=True)


if __name__ == "__main__":
    main()
