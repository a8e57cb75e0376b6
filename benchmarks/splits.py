"""Score models on fixed splits of the known rows of competition folders, and on their released rows.

    python -m benchmarks.splits FOLDER... [--splits FILE]

FILE is JSON: for each folder's name a list of {"train": [...], "held_out": [...]}. Prints the score for
60 rows by gate: mean over the splits (sd over splits), then trained on the training rows and scored on
the released ones with its interval over perturbations.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import kit
from kit.models import Constant, Mean, OwnGene, Zero

GATES = (0.2, 0.3)
MODELS = {
    "zero": Zero(),
    "mean": Mean(),
    "constant": Constant(),
    "constant + own gene": OwnGene(Constant()),
    "constant + own fraction": OwnGene(Constant(), shape="fraction"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--splits", metavar="FILE", type=Path)
    args = parser.parse_args()
    splits = json.loads(args.splits.read_text()) if args.splits else {}
    for folder in args.folders:
        competition = kit.load_competition(folder)
        known = competition if competition.solution is None else competition.known()
        released = known.effects.index.difference(competition.effects.index, sort=False)
        print(
            f"{folder.name}: {competition.effects.shape[0]} training, {len(released)} released rows"
        )
        for name, model in MODELS.items():
            text = f"  {name:24}"
            held_out = [part["held_out"] for part in splits.get(folder.name, [])]
            runs = [kit.out_of_fold(model, known, [part]) for part in held_out]
            for gate in GATES if runs else ():
                scores = [run.score(gate).score_per_60 for run in runs]
                text += f"  gate {gate}: {np.mean(scores):7.2f} ({np.std(scores, ddof=1):.2f})"
            if len(released):
                run = kit.out_of_fold(model, known, [released])
                for gate in GATES:
                    score = run.score(gate)
                    low, high = kit.interval(score)
                    text += f"  released {gate}: {score.score_per_60:7.2f} [{low:.2f}, {high:.2f}]"
            print(text)


if __name__ == "__main__":
    main()
