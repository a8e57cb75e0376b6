"""Draw the figures of `docs/` from a competition folder.

    python -m benchmarks.figures FOLDER [--pathways FILE...] [--atlas FILE] [--results FILE]
                                 [--only NAME...] [--out docs]

`screens`: the same perturbation in two screens against different ones; wants an atlas. `distribution`:
predictive distributions of single effects, and the value that each rule takes. `models`: scores and
paired differences that `benchmarks.compare` wrote for this folder; wants them as --results. By default
all for which there are files. The same files give the same figures; those of simulated data say so.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.compare import REFERENCE
from kit import Run, folds, load_competition, plots
from kit.decision import decide
from kit.evaluation import with_competition
from kit.expression.similarity import between_screens
from kit.knowledge import gather
from kit.models import Neighbours

FIGURES = ("screens", "distribution", "models")
GAPS = (0.9, 0.95, 0.99)  # quantiles of the gap between submitted value and mean: the pairs drawn


def screens(competition, atlas):
    """The same perturbation in two screens, beside different ones."""
    tables = with_competition(atlas, competition).effects_by_screen()
    return plots.agreement(*between_screens(tables))


def distribution(competition, knowledge, seed=0):
    """Predictive distributions of held-out pairs whose score-optimal value lies far from the mean."""
    held_out = folds(competition.effects.index, seed=seed)[0]
    train = competition.subset(competition.effects.index.difference(held_out, sort=False))
    found = Neighbours(knowledge).fit(train).predict_distribution(held_out)
    values = {"mean": found.mean(), "median": found.quantile(0.5), "score-optimal": decide(found)}
    gap = (values["score-optimal"] - values["mean"]).abs().stack().sort_values(kind="stable")
    chosen = {}
    for level in GAPS:
        for name, gene in gap.index[int(level * len(gap)) :]:
            if name not in chosen:
                chosen[name] = (name, gene)
                break
    return plots.distributions(found, values, list(chosen.values()), competition.effects)


def models(folder, results):
    """Scores and paired differences of a folder's models on its splits."""
    table = pd.read_csv(results, index_col="model")
    table = table[table["folder"] == folder.name]
    return plots.comparison(table.drop(index="mean"), REFERENCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--pathways", metavar="FILE", nargs="+", default=[])
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--results", metavar="FILE", type=Path)
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=FIGURES)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("docs"))
    args = parser.parse_args()
    competition = load_competition(args.folder)
    knowledge = gather(competition, pathways=args.pathways, atlas=args.atlas)
    draw = {"distribution": lambda: distribution(competition, knowledge)}
    if knowledge.atlas is not None:
        draw["screens"] = lambda: screens(competition, knowledge.atlas)
    if args.results is not None:
        draw["models"] = lambda: models(args.folder, args.results)
    if lacking := set(args.only or ()) - set(draw):
        parser.error(f"no files for {', '.join(sorted(lacking))}; give --atlas or --results")
    run = Run("figures", competition)
    run.folder = args.out
    args.out.mkdir(exist_ok=True)
    for name in args.only or draw:
        run.save_figure(draw[name](), name)
    for kept in run.figures:
        path = args.out / kept["file"]
        print(f"{path}, {path.stat().st_size / 1000:.0f} kB: {' '.join(kept['title'].split())}")


if __name__ == "__main__":
    main()
