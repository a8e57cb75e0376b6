"""Do proposed knockdowns teach more than random ones? A rehearsal on rows whose truth is known.

    python -m benchmarks.proposals FOLDER... --pathways FILE... [--start N] [--added N] [--splits N]

In each random split a third of a folder's known rows are targets, `start` rows are measured, the rest
could be. `Neighbours` is fitted to the measured rows alone, to these and `added` proposed ones, to these
and as many random ones (mean of DRAWS), and to all. Prints the score of the targets for 60 rows, always
against the mean of the measured rows, and the gain of proposed over random ones with its 90 % interval,
a bootstrap over splits (which share rows).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import kit
from kit.forecast.next_perturbations import propose
from kit.knowledge import Knowledge, load_pathways
from kit.metric import score, wmae
from kit.models import Neighbours

DRAWS = 5


def rehearse(competition, knowledge, start, added, seed):
    """Scores for 60 rows by what was added: none, random, proposed, all; a series."""
    names = np.random.default_rng(seed).permutation(competition.effects.index)
    targets, rest = list(names[: len(names) // 3]), names[len(names) // 3 :]
    measured, pool = list(rest[:start]), list(rest[start:])
    truth = competition.subset(targets)
    baseline = wmae(truth.effects, competition.effects.loc[measured].mean(), truth.weights)

    def gain(more):
        model = Neighbours(knowledge).fit(competition.subset([*measured, *more]))
        prediction = model.predict(targets)
        return score(truth.effects, prediction, truth.weights, baseline).score_per_60

    ids = pd.DataFrame({"perturbation": targets}, [f"pert_{i}" for i in range(len(targets))])
    asked = replace(competition.subset(measured), targets=ids)
    proposed = list(propose(asked, knowledge.pathways, added, candidates=pool).index)
    draws = [np.random.default_rng([seed, draw]) for draw in range(DRAWS)]
    random = [gain(list(draw.choice(pool, added, replace=False))) for draw in draws]
    found = {"none": gain([]), "random": np.mean(random), "proposed": gain(proposed)}
    return pd.Series(found | {"all": gain(pool)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--pathways", metavar="FILE", nargs="+", required=True)
    parser.add_argument("--start", metavar="N", type=int, default=30)
    parser.add_argument("--added", metavar="N", type=int, default=20)
    parser.add_argument("--splits", metavar="N", type=int, default=10)
    args = parser.parse_args()
    knowledge = Knowledge(load_pathways(*args.pathways))
    for folder in args.folders:
        competition = kit.load_competition(folder)
        known = competition if competition.solution is None else competition.with_released()
        options = (known, knowledge, args.start, args.added)
        table = pd.DataFrame([rehearse(*options, seed) for seed in range(args.splits)])
        gain = (table["proposed"] - table["random"]).to_numpy()
        drawn = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1)
        low, high = np.quantile(drawn, [0.05, 0.95])
        means = ", ".join(f"{name} {value:.2f}" for name, value in table.mean().items())
        print(
            f"{folder.name}: {means}; proposed over random {gain.mean():.2f} "
            f"[{low:.2f}, {high:.2f}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
