"""How long a model takes at a competition's size, and with half of its genes, perturbations, screens.

    python -m benchmarks.growth NAME... --folder FOLDER [--atlas FILE] [--pathways FILE...]

Names are those of `benchmarks.compare`. Prints seconds of fit and of prediction.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import kit
from benchmarks.compare import simple_models
from kit.evaluation.splits import COMPETITION
from kit.knowledge import Knowledge, gather


def growth(name, args):
    """Seconds of fit and of prediction of all targets: the `whole`, and what is halved by its name.

    Also `size`, in words; None where the model needs knowledge that is not there. A warm-up on twelve
    rows goes first; all is timed in turn, so that ratios are of the same machine and moment.
    """
    competition = kit.load_competition(args.folder)
    knowledge = gather(competition, pathways=args.pathways or (), atlas=args.atlas)
    if name not in simple_models(knowledge):
        return None
    pathways, atlas = knowledge.pathways, knowledge.atlas
    rows, genes = competition.effects.shape
    parts = {
        "whole": (competition, atlas),
        "genes": (_of_genes(competition, genes // 2), atlas),
        "perturbations": (competition.subset(competition.effects.index[: rows // 2]), atlas),
    }
    if name in ("transfer", "default forecast") and len(screens := _screens(atlas)) > 1:
        parts["screens"] = (competition, _of_screens(atlas, screens[: len(screens) // 2]))
    small = _of_genes(competition.subset(competition.effects.index[:12]), genes // 2)
    _timed(simple_models(knowledge)[name], small)
    found = {
        what: _timed(simple_models(Knowledge(pathways, held))[name], train)
        for what, (train, held) in parts.items()
    }
    targets = len(competition.targets)
    return found | {"size": f"{rows} x {genes}, for {targets}"}


def _timed(model, train):
    """Seconds of fit and of prediction, fastest of three where they are short."""
    taken = []
    while len(taken) < 3 and sum(map(sum, taken)) < 2:
        start = time.perf_counter()
        model.fit(train)
        fitted = time.perf_counter()
        model.predict(list(train.targets["perturbation"]))
        taken.append((fitted - start, time.perf_counter() - fitted))
    return min(taken, key=sum)


def _of_genes(competition, count):
    """The competition with only its first genes; weights sum to their number again."""
    genes = competition.genes[:count]
    weights = competition.weights[genes]
    return replace(
        competition,
        effects=competition.effects[genes],
        weights=weights.mul(count / weights.sum(axis=1), axis=0),
        control=competition.control[genes],
    )


def _screens(atlas):
    """Names of the screens other than the competition's own."""
    if atlas is None:
        return []
    names = atlas.obs["dataset"].astype(str)
    return [name for name in names.unique() if name != COMPETITION]


def _of_screens(atlas, names):
    kept = atlas.obs["dataset"].isin(names).to_numpy()
    se = None if atlas.se is None else atlas.se[kept]
    return replace(atlas, effects=atlas.effects[kept], obs=atlas.obs[kept], se=se)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="+")
    parser.add_argument("--folder", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--pathways", metavar="FILE", nargs="+")
    args = parser.parse_args()
    for name in args.names:
        for what, seconds in (growth(name, args) or {}).items():
            print(f"{name:20}{what:12}{seconds}", flush=True)


if __name__ == "__main__":
    main()
