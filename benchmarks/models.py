"""Score and time models that learn from pathways, side by side, on splits of a folder's known rows.

    python -m benchmarks.models FOLDER --pathways FILE... [--splits FILE] [--first 5] [--only NAME...]
    python -m benchmarks.models --speed --pathways FILE...

Prints score for 60 rows at gate 0.2 (sd over splits), W for 60 rows, Wcos and the seconds of a fit with
its prediction. FILE of splits is JSON: for each folder's name a list of {"held_out": [...]}; without
it, five random folds. `--speed` times one fit at the competition's size, on simulated effects of genes
that the pathways hold: its scores would mean nothing.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

import kit
from kit.knowledge import Knowledge, load_pathways
from kit.metric import weights_from_t
from kit.models import (
    ComponentTrees,
    Constant,
    GeneTrees,
    PooledTrees,
    Ridge,
)

ROWS, GENES = 80, 5127


def models(pathways):
    """The models to compare, by name."""
    return {
        "constant": Constant(),
        "ridge": Ridge(Knowledge(pathways)),
        "ridge, rarity 0.5": Ridge(Knowledge(pathways), rarity=0.5),
        "ridge, rank 10": Ridge(Knowledge(pathways), rank=10),
        "ridge of effects": Ridge(Knowledge(pathways), response="effects"),
        "ridge of effects, rank 10": Ridge(Knowledge(pathways), response="effects", rank=10),
        "gene trees": GeneTrees(Knowledge(pathways)),
        "gene trees, squared": GeneTrees(Knowledge(pathways), objective="regression"),
        "component trees": ComponentTrees(Knowledge(pathways)),
        "pooled trees": PooledTrees(Knowledge(pathways)),
    }


def held_out_rows(known, folder, splits, first):
    """Lists of held-out perturbations: of the file's first splits, or five random folds."""
    if splits is None:
        return kit.folds(known.effects.index)[:first]
    return [split["held_out"] for split in json.loads(splits.read_text())[folder.name]][:first]


def simulated(pathways, rows=ROWS, genes=GENES, seed=0):
    """A competition of the real one's size with random effects of genes that the pathways hold."""
    random = np.random.default_rng(seed)
    names = random.choice(pathways.sets["gene"].unique(), rows, replace=False)
    effects = random.normal(0, 0.06, (rows, genes))
    effects = pd.DataFrame(effects, names, [f"G{i}" for i in range(genes)])
    effects.index.name = "perturbation"
    return kit.Competition(
        effects=effects,
        weights=weights_from_t(effects / 0.03),
        control=effects.mean() + 2.0,
        targets=pd.DataFrame({"perturbation": [], "split": []}),
        baseline_wmae=effects.abs().mean(axis=1),
        solution=None,
        cells=None,
        source=Path("simulated"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path)
    parser.add_argument("--pathways", metavar="FILE", nargs="+", default=[])
    parser.add_argument("--splits", metavar="FILE", type=Path)
    parser.add_argument("--first", type=int, default=5)
    parser.add_argument("--only", metavar="NAME", nargs="+")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if (args.folder is None) != args.speed:
        parser.error("give a FOLDER or --speed")
    pathways = load_pathways(*args.pathways)
    chosen = {k: v for k, v in models(pathways).items() if not args.only or k in args.only}
    if args.speed:
        train = simulated(pathways)
        for name, model in chosen.items():
            start = time.perf_counter()
            model.fit(train)
            fitted = time.perf_counter()
            model.predict(train.effects.index)
            seconds = fitted - start, time.perf_counter() - fitted
            print(
                f"{name:28}fit {seconds[0]:7.2f} s  predict {ROWS} {seconds[1]:6.2f} s", flush=True
            )
        return
    competition = kit.load_competition(args.folder)
    known = competition if competition.solution is None else competition.with_released()
    splits = held_out_rows(known, args.folder, args.splits, args.first)
    print(f"{args.folder.name}: {len(known.effects)} known rows, {len(splits)} splits")
    for name, model in chosen.items():
        runs = [kit.out_of_fold(model, known, [split]) for split in splits]
        scores = [run.score() for run in runs]
        per_60 = np.array([score.score_per_60 for score in scores])
        w = np.mean([60 * score.w / score.rows for score in scores])
        wcos = np.mean([score.wcos for score in scores])
        seconds = np.mean([run.seconds for run in runs])
        print(
            f"  {name:28}{per_60.mean():7.2f} ({per_60.std(ddof=1):.2f})  W {w:7.2f}  "
            f"Wcos {wcos:.3f}  {seconds:6.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
