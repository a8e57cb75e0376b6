"""Score models on fixed splits of the known rows of competition folders, and on their released rows.

    python -m benchmarks.splits FOLDER... [--splits FILE] [--pathways FILE...] [--atlas FILE [--halve]]
                                [--only NAME...]

FILE of --splits is JSON: for each folder's name a list of {"train": [...], "held_out": [...]}. Prints
the score for 60 rows: mean over the splits (sd over splits) at both gates, repeated five-fold on the
training rows with its interval, and trained on the training rows and scored on the released ones with
its interval. With --halve a random half of each split's held-out perturbations is taken out of the
atlas. The atlas must not hold the truth of the folder's own rows.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

import kit
from kit.evaluation.predictions import summary
from kit.knowledge import Knowledge, load_pathways
from kit.models import (
    Blend,
    ComponentTrees,
    Constant,
    GeneTrees,
    Mean,
    Neighbours,
    OnTargetGene,
    PairwiseRegression,
    PooledTrees,
    Ridge,
    Transfer,
    Zero,
)
from kit.screens.atlas import read_responses

GATES = (0.2, 0.3)


def models(pathways, atlas):
    """Models by name; those that need knowledge where it is given."""
    found = {
        "zero": Zero(),
        "mean": Mean(),
        "constant": Constant(),
        "constant + own gene": OnTargetGene(Constant()),
    }
    if pathways is not None:
        knowledge = Knowledge(pathways)
        found |= {
            "ridge": Ridge(Knowledge(pathways)),
            "ridge, rank 10": Ridge(Knowledge(pathways), rank=10),
            "trees by gene": GeneTrees(Knowledge(pathways)),
            "trees by component": ComponentTrees(Knowledge(pathways)),
            "pooled trees": PooledTrees(Knowledge(pathways)),
            "neighbours": Neighbours(knowledge),
            "pairs": PairwiseRegression(knowledge),
        }
    if atlas is not None:
        found["transfer"] = Transfer(Knowledge(pathways, atlas))
    return found | {"predict": OnTargetGene(Blend(Knowledge(pathways, atlas)))}


def without_half(atlas, held_out, seed):
    """The atlas without the responses of a random half of the held-out perturbations."""
    order = np.random.default_rng(seed).permutation(len(held_out))
    lost = [held_out[place] for place in order[: len(held_out) // 2]]
    kept = ~atlas.obs["sgrna_symbol"].isin(lost).to_numpy()
    return replace(atlas, effects=atlas.effects[kept], obs=atlas.obs[kept], se=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--splits", metavar="FILE", type=Path)
    parser.add_argument("--pathways", metavar="FILE", nargs="+")
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--halve", action="store_true")
    parser.add_argument("--only", metavar="NAME", nargs="+")
    args = parser.parse_args()
    splits = json.loads(args.splits.read_text()) if args.splits else {}
    pathways = load_pathways(*args.pathways) if args.pathways else None
    for folder in args.folders:
        competition = kit.load_competition(folder)
        atlas = read_responses(args.atlas, competition) if args.atlas else None
        known = competition if competition.solution is None else competition.with_released()
        released = known.effects.index.difference(competition.effects.index, sort=False)
        size = competition.effects.shape[0]
        print(f"{folder.name}: {size} training, {len(released)} released rows", flush=True)
        for name in args.only or models(pathways, atlas):
            text = f"  {name:20}"
            runs = []
            for seed, part in enumerate(splits.get(folder.name, [])):
                held_out = part["held_out"]
                left = without_half(atlas, held_out, seed) if args.halve else atlas
                runs.append(kit.out_of_fold(models(pathways, left)[name], known, [held_out]))
            for gate in GATES if runs else ():
                scores = [run.score(gate).score_per_60 for run in runs]
                text += f" splits, {gate}: {np.mean(scores):6.2f} ({np.std(scores, ddof=1):.2f})"
            if args.halve:
                print(text, flush=True)
                continue
            model = models(pathways, atlas)[name]
            parts = kit.folds(competition.effects.index, 5, seed=0)
            found = summary(kit.out_of_fold(model, competition, parts))
            text += f"  folds: {found['score']:6.2f} [{found['low']:.2f}, {found['high']:.2f}]"
            if len(released):
                found = summary(kit.out_of_fold(model, known, [list(released)]))
                text += (
                    f"  released: {found['score']:6.2f} [{found['low']:.2f}, {found['high']:.2f}]"
                )
            print(text, flush=True)


if __name__ == "__main__":
    main()
