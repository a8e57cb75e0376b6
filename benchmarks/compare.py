"""Compare models on competition folders by the official score, and print the table of the README.

    python -m benchmarks.compare FOLDER... [--splits FILE] [--pathways FILE...] [--atlas FILE]
                                 [--only NAME...] [--first N] [--released] [--halve-atlas]
                                 [--gate G] [--out results.csv]

The known rows of a folder are its training rows and those of its `solution*.csv`. FILE of --splits is
JSON: for each folder's name a list of {"held_out": [perturbation, ...]}; without it, three times five
random folds; with --released, one split whose held-out rows are those of the solution. Prints the score
for 60 rows: mean over splits, and its 90 % interval over perturbations. --out gets the paired difference
from the constant too, with its interval. --halve-atlas leaves a random half of each split's held-out
perturbations out of the atlas. The atlas must not hold the folder's own rows. Rows are written to --out
as they come, and what stands there already is not computed again. Networks are named with what they learn
from, such as `vae, pretrain`; `benchmarks.verdict` compares all of them.
"""

import argparse
import copy
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import kit
from benchmarks.network_cost import NAMES, network
from kit import models
from kit.evaluation.predictions import TERMS
from kit.io.files import replacing
from kit.knowledge import Knowledge, gather
from kit.metric import GATE, combine

POLICIES = ("competition", "screens", "pretrain")  # what networks learn from; see kit.networks
NETWORKS = tuple(f"{name}, {policy}" for name in NAMES for policy in POLICIES)
SHOWN = ("mean", "constant", "ridge", "LightGBM", "neighbours", "transfer", "default forecast")
REFERENCE = "constant"


class DistributionMean:
    """A model that submits the mean of another model's predictive distribution."""

    def __init__(self, model):
        self.model = model

    def fit(self, train):
        self.model.fit(train)
        return self

    def predict(self, perturbations):
        return self.model.predict_distribution(perturbations).mean()


def simple_models(knowledge, seed=0):
    """Models by name, those for which there is knowledge; all but the mean set the on-target gene.

    `neighbours` and the models before it learn from pathways alone, as in the notebooks. `mean of
    neighbours` submits the mean of the distribution of which `neighbours` submits score-optimal values.
    """
    found = {"mean": models.Mean(), "constant": models.Constant()}
    if knowledge.pathways is not None:
        alone = Knowledge(knowledge.pathways)
        found |= {
            "ridge": models.Ridge(alone),
            "ridge, rank 10": models.Ridge(alone, rank=10),
            "LightGBM": models.ComponentTrees(alone, jobs=1, seed=seed),
            "gene trees": models.GeneTrees(alone, jobs=1, seed=seed),
            "pooled trees": models.PooledTrees(alone, jobs=1, seed=seed),
            "neighbours": models.Neighbours(alone),
            "mean of neighbours": DistributionMean(models.Neighbours(alone)),
            "pairwise regression": models.PairwiseRegression(alone, seed=seed),
        }
    if knowledge.atlas is not None:
        found["neighbours, atlas"] = models.Neighbours(knowledge)
        found["mean of neighbours, atlas"] = DistributionMean(models.Neighbours(knowledge))
        found["transfer"] = models.Transfer(knowledge, seed=seed)
    found["default forecast"] = models.Blend(knowledge, seed=seed)
    return {
        name: model if name == "mean" else models.OnTargetGene(model)
        for name, model in found.items()
    }


def networks(knowledge, **options):
    """Networks by name, each under all policies for which there is knowledge; options: of each.

    The policies of one network share what it has learned from other screens.
    """
    found, policies = {}, POLICIES if knowledge.atlas is not None else POLICIES[:1]
    for name in NAMES:
        model = network(name)(knowledge, **options)
        for policy in policies:
            found[f"{name}, {policy}"] = one = models.OnTargetGene(copy.deepcopy(model))
            one.base.policy = policy
    return found


def without_half(knowledge, held_out, seed):
    """The knowledge without the atlas's responses of a random half of the held-out perturbations."""
    atlas, order = knowledge.atlas, np.random.default_rng(seed).permutation(len(held_out))
    lost = [held_out[place] for place in order[: len(held_out) // 2]]
    kept = ~atlas.obs["sgrna_symbol"].isin(lost).to_numpy()
    atlas = replace(atlas, effects=atlas.effects[kept], obs=atlas.obs[kept], se=None)
    return Knowledge(knowledge.pathways, atlas)


def bootstrap(scores, draws=2000, seed=0):
    """Score for 60 rows of each draw of perturbations, mean over splits that hold out different rows.

    A draw takes every perturbation equally often in all splits. One seed gives the same draws of the same
    splits, so that differences are paired. `kit.interval` wants the same rows in all scores.
    """
    names = sorted({name for score in scores for name in score.table.index})
    chance = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), chance, size=draws)
    counts = pd.DataFrame(counts, columns=names)
    drawn = []
    for score in scores:
        times = counts[score.table.index].to_numpy()
        total = combine(*(times * score.table[name].to_numpy() for name in TERMS))[0]
        # A draw in which a small split has no row leaves that split out.
        rows = times.sum(axis=1)
        drawn.append(np.where(rows > 0, 60 * total / np.maximum(rows, 1), np.nan))
    return np.nanmean(drawn, axis=0)


def held_out_rows(competition, known, name, args):
    """Lists of held-out lists: the released rows, the file's splits, or three times five random folds."""
    if args.released:
        return [[list(known.effects.index.difference(competition.effects.index, sort=False))]]
    if args.splits is None:
        return kit.repeated_folds(known.effects.index)[: args.first]
    splits = json.loads(args.splits.read_text())[name]
    return [[split["held_out"]] for split in splits][: args.first]


def out_of_fold(name, known, knowledge, splits, args):
    """An OutOfFold a split of a simple model or network; None where it has no knowledge."""
    runs = []
    for seed, split in enumerate(splits):
        names = [perturbation for part in split for perturbation in part]
        left = without_half(knowledge, names, seed) if args.halve_atlas else knowledge
        found = networks(left) if name in NETWORKS else simple_models(left)
        if name not in found:
            return None
        runs.append(kit.out_of_fold(found[name], known, split))
    return runs


def row(runs, reference, gate):
    """Mean score for 60 rows and its interval, and the paired difference from the reference's runs."""
    scores = [run.score(gate) for run in runs]
    than = [run.score(gate) for run in reference]
    drawn, drawn_than = bootstrap(scores), bootstrap(than)
    each = np.array([score.score_per_60 for score in scores])
    difference = each - [score.score_per_60 for score in than]
    (low, high), ends = (
        np.quantile(values, [0.05, 0.95]) for values in (drawn, drawn - drawn_than)
    )
    return {
        "score": each.mean(),
        "low": low,
        "high": high,
        "sd": each.std(ddof=1) if len(each) > 1 else np.nan,
        "difference": difference.mean(),
        "difference_low": ends[0],
        "difference_high": ends[1],
        "w_per_60": np.mean([60 * score.w / score.rows for score in scores]),
        "wcos": np.mean([score.wcos for score in scores]),
        "rows": scores[0].rows,
        "splits": len(scores),
        "seconds": np.mean([run.seconds for run in runs]),
    }


def markdown(table):
    """Lines of a Markdown table, a row a model and a column a folder, score and interval in a cell."""
    folders = list(dict.fromkeys(table["folder"]))
    names = list(dict.fromkeys(table["model"]))
    cells = {
        (one.model, one.folder): f"{one.score:.1f} ({one.low:.1f} to {one.high:.1f})"
        for one in table.itertuples()
    }
    yield f"| model | {' | '.join(folders)} |"
    yield f"|---|{'---|' * len(folders)}"
    for name in names:
        yield f"| {name} | {' | '.join(cells.get((name, one), '') for one in folders)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--splits", metavar="FILE", type=Path)
    parser.add_argument("--pathways", metavar="FILE", nargs="+", default=[])
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--only", metavar="NAME", nargs="+", default=SHOWN)
    parser.add_argument("--first", metavar="N", type=int, help="splits (default: all)")
    parser.add_argument("--released", action="store_true")
    parser.add_argument("--halve-atlas", action="store_true")
    parser.add_argument("--gate", type=float, default=GATE, help="0.2 as the host's code")
    parser.add_argument("--out", metavar="FILE", type=Path)
    args = parser.parse_args()
    kept = args.out is not None and args.out.exists()
    done = pd.read_csv(args.out).to_dict("records") if kept else []
    for folder in args.folders:
        competition = kit.load_competition(folder)
        knowledge = gather(competition, pathways=args.pathways, atlas=args.atlas)
        print(f"{competition}", *knowledge.remarks, sep="\n", file=sys.stderr)
        known = competition if competition.solution is None else competition.with_released()
        splits = held_out_rows(competition, known, folder.name, args)
        reference = out_of_fold(REFERENCE, known, knowledge, splits, args)
        for name in args.only:
            if any((one["folder"], one["model"]) == (folder.name, name) for one in done):
                continue
            if (runs := out_of_fold(name, known, knowledge, splits, args)) is None:
                print(f"{name}: left out, its knowledge is not there", file=sys.stderr)
                continue
            done.append({"folder": folder.name, "model": name} | row(runs, reference, args.gate))
            found = ", ".join(
                f"{what} {value:.3g}" if isinstance(value, float) else f"{what} {value}"
                for what, value in done[-1].items()
            )
            print(found, file=sys.stderr, flush=True)
            if args.out is not None:
                with replacing(args.out) as place:
                    pd.DataFrame(done).to_csv(place, index=False)
    print(*markdown(pd.DataFrame(done)), sep="\n")


if __name__ == "__main__":
    main()
