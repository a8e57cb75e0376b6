"""What training a network costs on this machine: time, operations, memory; and by estimate on a T4.

    python -m benchmarks.network_cost FOLDER [--atlas FILE] [--pathways FILE...] [--only NAME...]

Trains the members of five folds and of a fit on all rows side by side, a few steps on the competition,
and one network on other screens. A network-step is a step of one network. Prints seconds, operations
(forward, backward and optimiser; views not counted) and bytes moved a network-step, peak memory, and an
estimate for a T4: the larger of multiplications at a fifth of its 8.1 TFLOP/s and bytes at half of its
300 GB/s, and 25 microseconds, measured on an H100, for each operation that is started. Scores are a
matter of `benchmarks.verdict`.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path

import kit
from kit.evaluation import folds
from kit.knowledge import gather

NAMES = ("vae", "transformer", "gnn")
T4_FLOPS, T4_BYTES, LAUNCH = 8.1e12 / 5, 300e9 / 2, 25e-6  # a second, a second, seconds a kernel
STEPS = 8  # of which the last is counted, and those between the second and it are timed
VIEWS = {"view", "_unsafe_view", "as_strided", "expand", "transpose", "permute", "select", "slice"}
VIEWS |= {"squeeze", "unsqueeze", "detach", "t", "alias", "unbind", "split", "diagonal"}
VIEWS |= {"split_with_sizes", "_reshape_alias", "unfold", "reshape", "movedim"}


def network(name):
    """The model class of a name."""
    from kit.networks import GNN, VAE, Transformer

    return {"vae": VAE, "transformer": Transformer, "gnn": GNN}[name]


def counters():
    """A dispatch mode that counts operations and bytes, and one that counts multiplications."""
    from torch import is_tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    class Moved(TorchDispatchMode):
        """Bytes read and written by all operations but views, and their number."""

        bytes = operations = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if function.overloadpacket.__name__ not in VIEWS:
                tensors = [leaf for leaf in tree_leaves((args, found)) if is_tensor(leaf)]
                self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in tensors)
                self.operations += 1
            return found

    return Moved(), FlopCounterMode(display=False)


def cost(name, args, lines):
    """Measure one network in a process of its own, whose peak memory is then the network's."""
    import torch

    from kit.networks import Settings, device, stack, training

    competition = kit.load_competition(args.folder)
    knowledge = gather(competition, pathways=args.pathways, atlas=args.atlas)
    names = list(competition.effects.index)
    trains = [competition]
    for held_out in folds(names, seed=[0, 0]):
        trains.append(competition.subset([one for one in names if one not in held_out]))
    step, stamps, counted = training._Loop.one_step, [], {}

    def timed(loop):
        if device().type == "cuda":
            torch.cuda.synchronize()
        stamps.append(time.perf_counter())
        if loop.step < STEPS - 1:
            return step(loop)
        stack.ON_CPU = None  # all at once, as on a GPU
        moved, flops = counters()
        with flops, moved:
            step(loop)
        counted.update(networks=len(loop.stack), bytes=moved.bytes, operations=moved.operations)
        counted["flops"] = flops.get_total_flops()

    training._Loop.one_step = timed
    policies = ("competition",) if knowledge.atlas is None else ("screens", "competition")
    for policy in policies:
        settings = Settings(steps=STEPS, every=STEPS)
        options = {"policy": policy, "pretraining": settings, "tuning": settings}
        stamps.clear()
        network(name)(knowledge, **options).fit_each(
            trains if policy == "competition" else trains[:1]
        )
        each = {key: counted[key] / counted["networks"] for key in ("bytes", "operations", "flops")}
        t4 = max(each["flops"] / T4_FLOPS, each["bytes"] / T4_BYTES) + LAUNCH * each["operations"]
        found = {"name": name, "policy": policy, "networks": counted["networks"], "t4": t4}
        seconds = (stamps[-1] - stamps[1]) / (len(stamps) - 2) / counted["networks"]
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        if device().type == "cuda":
            found["gpu"] = torch.cuda.max_memory_allocated() / 2**30
        lines.put(found | each | {"seconds": seconds})


def as_text(found):
    """What `cost` measured, as a line."""
    return (
        f"{found['name']:12}{found['policy']:12}{found['networks']:3} networks: "
        f"{1000 * found['seconds']:7.2f} ms a network-step, {found['operations']:.0f} operations, "
        f"{found['flops'] / 1e9:.2f} GFLOP, {found['bytes'] / 1e9:.2f} GB moved; "
        f"peak {found['peak']:.1f} GB"
        + (f", {found['gpu']:.2f} GB of the GPU" if "gpu" in found else "")
        + f"; T4: {1000 * found['t4']:.1f} ms"
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
