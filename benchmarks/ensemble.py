"""How honest the blend is: its estimate against truth that was held back, on many simulated competitions.

    python -m benchmarks.ensemble [--seeds 40] [--first 0] [--only NAME...]
    python -m benchmarks.ensemble FOLDER --atlas FILE [--pathways FILE...] [--only NAME...]
    python -m benchmarks.ensemble FOLDER --outputs DIR [--apart NAME...]

The first makes a quick twin of each seed, fits the cheap models, blends them by left-out training rows
and prints the estimate, the 90 % interval of what as many new rows may score, and what the blend scores
on the twin's held-back rows; last, how often the interval holds that score. The second does so for one
folder with released truth, beside each base model, on public and private rows. The base models of the
third are what notebooks saved. With --apart it also prints what the blend gains by those, on left-out
rows, paired, with its 90 % interval; what it gains by the networks is a matter of `benchmarks.verdict`.
"""

import argparse
import math
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import kit
import kit.twin
from kit.evaluation.blending import blend
from kit.evaluation.expected import expected_spread
from kit.evaluation.predictions import interval
from kit.evaluation.saved_runs import find_outputs, mean_run, read_saved_runs
from kit.forecast.predict import cheap_models, fit_within
from kit.knowledge import gather
from kit.submission import score_submission, submission_table

BLEND = "08_ensemble"  # whose predictions are no member of a blend


def fitted(competition, knowledge, only=None, *, seed=0):
    """Base models and their OutOfFold by name, without released truth, and which rows the atlas holds."""
    blind = replace(competition, solution=None)
    models = cheap_models(knowledge, seed=seed)
    chosen = {name: model for name, model in models.items() if not only or name in only}
    held_out = kit.folds(blind.effects.index, 5, seed=[seed, 0])
    base_models, _ = fit_within(math.inf, chosen, blind, held_out)
    base_models["mean"] = mean_run(blind, next(iter(base_models.values())).out_of_fold.fold)
    runs = {name: one.out_of_fold for name, one in base_models.items()}
    names = [*blind.effects.index, *blind.targets["perturbation"]]
    return base_models, runs, knowledge.has_response(names)


def held_back(prediction, competition, split=None):
    """Score for 60 rows of a prediction of the targets on released rows, all or of one split, or NaN."""
    solution = competition.solution
    if split is not None:
        solution = solution[competition.targets["split"].loc[solution.index] == split]
    if solution.empty:
        return float("nan")
    table = submission_table(prediction, competition)
    return score_submission(table, solution)[0].score_per_60


def calibration(args):
    inside = 0
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            place = kit.twin.simulate(Path(folder) / "twin", seed=seed)
            competition = kit.load_competition(place)
            knowledge = gather(competition, merge_into=Path(folder) / "atlas")
            base_models, runs, covered = fitted(competition, knowledge, args.only)
            found = blend(runs, groups=covered)
            nested = found.nested["best"]
            draws = expected_spread(nested, rows=len(competition.targets))["score"]
            low, high = draws.quantile([0.05, 0.95])
            tests = {name: one.test for name, one in base_models.items()}
            score = held_back(found.best.predict(tests, covered), competition)
        inside += low <= score <= high
        print(
            f"seed {seed:3}: estimate {nested.score().score_per_60:6.2f} [{low:6.2f}, {high:6.2f}], "
            f"held back {score:6.2f} {' ' if low <= score <= high else '*'} {found.best}",
            flush=True,
        )
    print(f"the 90 % interval holds the held-back score in {inside} of {args.seeds} seeds")


def one_folder(args):
    competition = kit.load_competition(args.folder)
    files = {"pathways": args.pathways or (), "atlas": args.atlas}
    knowledge = gather(competition, **files)
    if args.outputs:
        saved = [one for one in find_outputs(args.outputs) if one.name != BLEND]
        base_models, _ = read_saved_runs(competition, saved)
        runs = {name: one.out_of_fold for name, one in base_models.items()}
        names = [*runs["mean"].truth.index, *base_models["mean"].test.index]
        covered = knowledge.has_response(names)
    else:
        base_models, runs, covered = fitted(competition, knowledge, args.only)
    found = blend(runs, groups=covered)
    tests = {name: one.test for name, one in base_models.items()}
    rows = {name: (runs[name], one.test) for name, one in base_models.items()}
    rows["robust"] = found.nested["robust"], found.robust.predict(tests, covered)
    rows["best"] = found.nested["best"], found.best.predict(tests, covered)
    print(f"best: {found.best}\nrobust: {found.robust}")
    for name, (run, prediction) in rows.items():
        score, (low, high) = run.score(), interval(run.score())
        text = f"{name:14} left out {score.score_per_60:6.2f} [{low:.2f}, {high:.2f}]"
        if competition.solution is not None:
            parts = (None, "val", "test")
            scores = [held_back(prediction, competition, part) for part in parts]
            text += "  held back {:6.2f}, public {:6.2f}, private {:6.2f}".format(*scores)
        print(f"{text}  {run.seconds:.0f} s", flush=True)
    apart = [name for name in runs if name.startswith(tuple(args.apart))]
    if unknown := [name for name in args.apart if not any(one.startswith(name) for one in apart)]:
        raise SystemExit(f"no base models {', '.join(unknown)}; there are: {', '.join(runs)}")
    if apart:
        others = {name: run for name, run in runs.items() if name not in apart}
        without = blend(others, groups=covered).nested["best"].score()
        gain = found.nested["best"].score()
        low, high = interval(gain, than=without)
        difference = gain.score_per_60 - without.score_per_60
        print(f"{', '.join(apart)} add {difference:.2f} [{low:.2f}, {high:.2f}] for 60 rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path)
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--pathways", metavar="FILE", nargs="+")
    parser.add_argument("--only", metavar="NAME", nargs="+")
    parser.add_argument("--outputs", metavar="DIR", type=Path)
    parser.add_argument("--apart", metavar="NAME", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # that twins are simulated
    if args.folder is None:
        calibration(args)
    else:
        one_folder(args)


if __name__ == "__main__":
    main()
