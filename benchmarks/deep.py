"""What the networks cost and what their policies, resampled cells and losses are worth.

    python -m benchmarks.deep FOLDER [--atlas FILE] [--pathways FILE...] [--only NAME...] [--full]
    python -m benchmarks.deep FOLDER --cost [--atlas FILE] [--pathways FILE...] [--only NAME...]

The first scores each network out of fold (five folds of the training rows, the same for all) under every
policy, with and without resampled cells, and three losses; beside the constant, with 90 % intervals.
--full trains as long as on a GPU. The second trains a few steps and prints seconds a step and peak
memory on this machine, operations and bytes moved in a step as torch counts them, and from these an
estimate for a T4: the larger of operations at a fifth of its 8.1 TFLOP/s and bytes at half of its 300
GB/s, and 10 microseconds for each kernel that is started.
"""

import argparse
import multiprocessing
import resource
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import kit
from kit.evaluation.comparison import compare
from kit.evaluation.predictions import interval
from kit.knowledge import Knowledge, load_pathways
from kit.models import Constant, OnTargetGene
from kit.screens.atlas import read_responses

NAMES = ("vae", "transformer", "gnn")
T4_FLOPS, T4_BYTES, LAUNCH = 8.1e12 / 5, 300e9 / 2, 10e-6  # a second, a second, seconds a kernel
STEPS = 4  # timed; the first one is left out


def network(name):
    """The model class of a name."""
    from kit.networks.gnn import GNN
    from kit.networks.transformer import Transformer
    from kit.networks.vae import VAE

    return {"vae": VAE, "transformer": Transformer, "gnn": GNN}[name]


def knowledge(args, competition):
    """Pathways of the files given or of the folder, and the atlas, None where there is none."""
    folder = {} if args.pathways else {"folder": competition.source}
    pathways = load_pathways(*(args.pathways or ()), **folder)
    return pathways, read_responses(args.atlas, competition) if args.atlas else None


def ablation(args, competition, pathways, atlas):
    """Print the score of every combination, out of fold."""
    from kit.networks.losses import LossWeights

    pieces = {
        "chance": LossWeights(),
        "wmae + cosine": LossWeights(0, 1, 0.2),
        "all": LossWeights(1, 1, 0.2),
    }
    knowledge = Knowledge(pathways, atlas)
    parts = kit.folds(competition.effects.index, 5, seed=[0, 0])
    policies = ("competition",) if atlas is None else ("screens", "competition", "pretrain")
    draws = (0,) if competition.cells is None else (0, 8)
    print(f"{'':34}   score [90 % interval]   over constant [paired]   seconds")
    for name in args.only:
        for policy, drawn, loss in product(policies, draws, pieces):
            if policy == "screens" and drawn:
                continue  # nothing is tuned on the competition's cells
            options = {"policy": policy, "draws": drawn, "pieces": pieces[loss]}
            model = network(name)(knowledge, **options)
            if not args.full:
                model.pretraining = replace(
                    model.pretraining, steps=min(150, model.pretraining.steps)
                )
                model.tuning = replace(model.tuning, steps=min(60, model.tuning.steps))
            models = {"constant": OnTargetGene(Constant()), name: OnTargetGene(model)}
            table, runs = compare(models, competition, parts)
            row, (low, high) = table.loc[name], interval(runs[name][0].score())
            text = f"{name:12}{policy:12}{'resampled' if drawn else '':10}{loss:14}"
            text += f"{row['score']:7.2f} [{low:.2f}, {high:.2f}]   {row['difference']:6.2f}"
            text += f" [{row['difference_low']:.2f}, {row['difference_high']:.2f}]"
            print(f"{text}   {row['seconds']:.0f}", flush=True)


def cost(name, args, lines):
    """Measure one network in a process of its own, whose peak memory is then the network's."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    from kit.networks.training import Settings

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
    pathways, atlas = knowledge(args, competition)
    for policy in ("competition",) if atlas is None else ("screens", "competition"):
        settings = Settings(steps=STEPS, every=STEPS)
        options = {"members": 1, "policy": policy, "pretraining": settings, "tuning": settings}
        model = network(name)(pathways, atlas, **options)
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
        told = {"name": name, "policy": policy, "seconds": seconds, "fit": fit, "peak": peak}
        lines.put(told | counted | {"t4": t4})


def said(told):
    """What `cost` measured, in words."""
    return (
        f"{told['name']:12}{told['policy']:12} {told['seconds']:7.3f} s a step, {told['fit']:5.0f} s "
        f"with {STEPS} steps, peak {told['peak']:.1f} GB; a step: {told['flops'] / 1e9:.1f} GFLOP, "
        f"{told['bytes'] / 1e9:.2f} GB moved, {told['kernels']} kernels; T4: {1000 * told['t4']:.0f} ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--pathways", metavar="FILE", nargs="+")
    parser.add_argument("--only", metavar="NAME", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    if not args.cost:
        competition = kit.load_competition(args.folder)
        ablation(args, competition, *knowledge(args, competition))
        return
    context = multiprocessing.get_context("spawn")
    for name in args.only:
        lines = context.Queue()
        process = context.Process(target=cost, args=(name, args, lines))
        process.start()
        process.join()
        while not lines.empty():
            print(said(lines.get()), flush=True)


if __name__ == "__main__":
    main()
