"""How right the printed estimate is: the score on rows held back, less what `predict` expected of them.

    python -m benchmarks.estimate [--seeds 40] [--first 0]
    python -m benchmarks.estimate FOLDER --splits FILE [--pathways FILE...] [--atlas FILE]

The first predicts the targets of the quick twin of each seed, whose truth is known; the second the
held-out rows of each split of one folder, as `benchmarks.compare` reads them. Prints a line for each: the
score and the estimate with its 90 % interval; last the mean of score less estimate, and less out-of-fold
score, with standard errors, and how often the interval holds the score.
"""

import argparse
import json
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd

import kit
import kit.twin
from kit.evaluation import expected_spread
from kit.forecast import forecast
from kit.knowledge import gather


def twins(args):
    """Yield the seed, the competition without truth, knowledge, and the true rows of its targets."""
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            competition = kit.load_competition(kit.twin.simulate(Path(folder) / "twin", seed=seed))
            knowledge = gather(competition)
            yield seed, replace(competition, solution=None), knowledge, competition.with_released()


def splits(args):
    """Yield the same of each split of a folder: the held-out rows are its targets."""
    competition = kit.load_competition(args.folder)
    knowledge = gather(competition, pathways=args.pathways, atlas=args.atlas)
    known = competition.with_released()
    for number, split in enumerate(json.loads(args.splits.read_text())[args.folder.name]):
        held = list(split["held_out"])
        train = known.subset(known.effects.index.difference(held, sort=False))
        targets = pd.DataFrame({"perturbation": held, "split": "val"}, index=held)
        yield number, replace(train, targets=targets, solution=None), knowledge, known


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, help="a competition folder (default: twins)"
    )
    parser.add_argument("--splits", type=Path)
    parser.add_argument("--pathways", nargs="+", default=[])
    parser.add_argument("--atlas")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for number, competition, knowledge, known in (splits if args.folder else twins)(args):
        found, held = forecast(competition, knowledge), list(competition.targets["perturbation"])
        truth = known.subset([*competition.effects.index, *held])
        fold = pd.Series(0, held)
        score = kit.OutOfFold.from_predictions(truth, found.prediction.loc[held], fold).score()
        draws = expected_spread(found.inner, rows=len(held), curve=found.curve)["score"]
        low, high = draws.quantile([0.05, 0.95])
        out_of_fold = found.inner.score().score_per_60
        rows.append((score.score_per_60, draws.mean(), out_of_fold, low, high))
        print(number, "score {0:.2f}, estimate {1:.2f} ({3:.2f} to {4:.2f})".format(*rows[-1]))
    table = pd.DataFrame(rows, columns=["score", "estimate", "out of fold", "low", "high"])
    for name in ("estimate", "out of fold"):
        less = table["score"] - table[name]
        print(f"score less {name}: {less.mean():.2f}, standard error {less.sem():.2f}")
    inside = table["score"].between(table["low"], table["high"]).sum()
    print(f"in the 90 % interval: {inside} of {len(table)}")


if __name__ == "__main__":
    main()
