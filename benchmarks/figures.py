"""Draw the three figures of the README from a competition folder, by default a quick twin.

    python -m benchmarks.figures [FOLDER] [--out docs]

`screens.png`: the same knockdown in two screens against different ones. `belief.png`: what is believed of
single effects, and the value that each rule takes from it. `models.png`: models out of fold with paired
intervals. Figures of simulated data say so. The same folder gives the same figures.
"""

import argparse
import tempfile
from pathlib import Path

from kit import (
    Run,
    compare,
    folds,
    load_competition,
    plots,
    repeated_folds,
)
from kit.decision import decide
from kit.evaluation.cell_lines import with_competition
from kit.expression.similarity import between_screens
from kit.knowledge import Knowledge, gather
from kit.models import (
    Constant,
    Mean,
    Neighbours,
    OnTargetGene,
    PairwiseRegression,
    Transfer,
)
from kit.twin import simulate

GAPS = (0.9, 0.95, 0.99)  # quantiles of the gap between decided value and mean: the pairs drawn


def screens(competition, atlas):
    """The same knockdown in two screens, beside different ones."""
    everything = with_competition(atlas, competition)
    symbols = everything.obs["sgrna_symbol"].astype(str)
    tables = {
        name: everything.effects.loc[rows].set_axis(symbols[rows])
        for name, rows in everything.obs.groupby("dataset", sort=False).groups.items()
    }
    return plots.agreement(*between_screens(tables))


def belief(competition, knowledge, seed=0):
    """Beliefs about held-out pairs for which the decided value lies far from the mean."""
    held_out = folds(competition.effects.index, seed=seed)[0]
    seen = competition.subset(competition.effects.index.difference(held_out, sort=False))
    found = Neighbours(knowledge).fit(seen).predict_distribution(held_out)
    values = {"mean": found.mean(), "median": found.quantile(0.5), "decided": decide(found)}
    gap = (values["decided"] - values["mean"]).abs().stack().sort_values(kind="stable")
    chosen = {}
    for level in GAPS:
        for name, gene in gap.index[int(level * len(gap)) :]:
            if name not in chosen:
                chosen[name] = (name, gene)
                break
    return plots.beliefs(found, values, list(chosen.values()), competition.effects)


def models(competition, pathways, atlas, knowledge, seed=0):
    """Models out of fold, three times five folds, paired against the constant."""
    alone = Knowledge(pathways)
    compared = {
        "mean": Mean(),
        "constant": OnTargetGene(Constant()),
        "neighbours": OnTargetGene(Neighbours(alone)),
        "pairs": OnTargetGene(PairwiseRegression(alone, seed=seed)),
        "neighbours, atlas": OnTargetGene(Neighbours(knowledge)),
        "transfer": OnTargetGene(Transfer(knowledge, seed=seed)),
    }
    held_out = repeated_folds(competition.effects.index, 5, 3, seed=seed)
    table, _ = compare(compared, competition, held_out)
    return plots.comparison(table.drop(index="mean"), "constant")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("docs"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or simulate(Path(scratch) / "twin")
        competition = load_competition(folder)
        knowledge = gather(competition, merge_into=Path(scratch) / "atlas")
        pathways, atlas = knowledge.pathways, knowledge.atlas
        if pathways is None or atlas is None:
            parser.error(f"{folder} brings no pathways or no screens; give one that does")
        run = Run("figures", competition)
        run.folder = args.out
        args.out.mkdir(exist_ok=True)
        run.save_figure(screens(competition, atlas), "screens")
        run.save_figure(belief(competition, knowledge), "belief")
        run.save_figure(models(competition, pathways, atlas, knowledge), "models")
    for kept in run.figures:
        path = args.out / kept["file"]
        print(f"{path}, {path.stat().st_size / 1000:.0f} kB: {' '.join(kept['title'].split())}")


if __name__ == "__main__":
    main()
