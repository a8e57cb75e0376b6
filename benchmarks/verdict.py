"""The verdict on the networks at full budget: each beside the simple models, and blends with and without.

    python -m benchmarks.verdict FOLDER... --out DIR [--pathways FILE...] [--atlas FILE]
                                 [--only NAME...] [--table] [--quick]
    python -m benchmarks.verdict --out DIR [--only NAME...] [--table]

FOLDER is a competition folder, the files are its knowledge. Every model predicts the training rows out of
fold, in the five folds of the notebooks, and where truth is released (`solution*.csv`) those rows by a
fit on all training rows. NAME is a simple model, or a network alone (`vae`) or with what it learns from
(`vae, pretrain`). Each result is kept in DIR as soon as it is there, and so are the states of training:
what was killed goes on when started again, and what is there is not computed again. Several may work on
one DIR, each on its own FOLDER or NAME. Without FOLDER all of DIR are meant, with their files. Last comes
a Markdown table of what is there; with --table only that. --quick trains two steps: it tests this file.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

import kit
from benchmarks.compare import NETWORKS, SHOWN, networks, simple_models
from benchmarks.network_cost import NAMES
from kit.competition import Competition
from kit.evaluation import blend, summary
from kit.evaluation.comparison import failure
from kit.evaluation.predictions import OutOfFold, estimate
from kit.evaluation.saved_runs import mean_run, slug
from kit.io.files import InputError, check_known, read_json, replacing
from kit.knowledge import Knowledge, gather

SIMPLE = SHOWN[1:]  # the mean scores 0
DEFAULT = "default forecast"
OUT_OF_FOLD, RELEASED = PARTS = ("out of fold", "released")
SEED = 0
NOTE = "folder.json"  # in a folder's place in DIR: what its results were made from
SCORE = ("score", "low", "high")
GAIN = ("difference", "difference_low", "difference_high")
HEAD = """\
| data | model | out of fold (90 %) | gain (90 %) | released (90 %) | gain (90 %) | minutes |
|---|---|---|---|---|---|---|"""
# Notebook 08 takes any blend, `predict --minutes` the default unless a blend is better.
BLENDS = {"blend": None, "predict --minutes": DEFAULT}


@dataclass(frozen=True, eq=False)
class Entry:
    """A competition folder in DIR. place: where its results are; quick: networks train for two steps."""

    place: Path
    competition: Competition
    knowledge: Knowledge
    quick: bool

    @cached_property
    def models(self) -> dict[str, object]:
        """The unfitted models for which there is knowledge, by name, simple ones first."""
        options = {"seed": SEED, "checkpoints": self.place / "checkpoints"}
        if self.quick:
            from kit.networks import Settings

            few = Settings(steps=2, every=1)
            options |= {"pretraining": few, "tuning": few, "members": 2}
        simple = simple_models(self.knowledge, SEED)
        simple = {name: simple[name] for name in SIMPLE if name in simple}
        return simple | networks(self.knowledge, **options)

    @cached_property
    def splits(self) -> dict[str, tuple[Competition, list[list[str]]]]:
        """For each part the competition that holds its rows, and lists of rows predicted by one fit."""
        rows = self.competition.effects.index
        found = {OUT_OF_FOLD: (self.competition, kit.folds(rows, seed=[SEED, 0]))}
        if self.competition.solution is not None:
            known = self.competition.with_released()
            released = list(known.effects.index.difference(rows, sort=False))
            found |= {RELEASED: (known, [released])} if released else {}
        return found

    def file(self, name: str, part: str, kind: str = "npz") -> Path:
        """Return where a model's predictions of a part are kept; kind `failed`: why there are none."""
        return self.place / f"{slug(name)}.{slug(part)}.{kind}"

    def missing(self) -> list[tuple[str, str]]:
        """Return the pairs of model and part that are not there."""
        pairs = [(name, part) for name in self.models for part in self.splits]
        return [pair for pair in pairs if not self.file(*pair).exists()]

    def work(self, only: list[str]) -> None:
        """Compute and keep what is missing of the models in `only`; note what fails and go on."""
        for name, part in self.missing():
            if not {name, name.split(", ")[0]} & set(only):
                continue
            label, (competition, held_out) = f"{self.place.name}: {name}", self.splits[part]
            noted = self.file(name, part, "failed")
            try:
                run = kit.out_of_fold(self.models[name], competition, held_out)
                text = "{:.1f} ({:.1f} to {:.1f})".format(*estimate(run.score()))
            except Exception as error:
                with replacing(noted) as path:
                    path.write_text(failure(error))
                print(f"{label}, {part}: failed: {failure(error)}", file=sys.stderr, flush=True)
                continue
            with replacing(self.file(name, part)) as path:
                values = run.prediction.loc[_fold(held_out).index].to_numpy()
                np.savez_compressed(path, prediction=values, seconds=run.seconds)
            noted.unlink(missing_ok=True)
            print(f"{label}, {part}: {text}, {run.seconds:.0f} s", file=sys.stderr, flush=True)
        if not self.missing():
            shutil.rmtree(self.place / "checkpoints", ignore_errors=True)

    def runs(self, part: str) -> dict[str, OutOfFold]:
        """Return all predictions of a part that are there, by model."""
        if part not in self.splits:
            return {}
        competition, held_out = self.splits[part]
        fold, found = _fold(held_out), {}
        for name in self.models:
            if not (path := self.file(name, part)).exists():
                continue
            with np.load(path) as kept:
                prediction = pd.DataFrame(kept["prediction"], fold.index, competition.genes)
                seconds = float(kept["seconds"])
            run = OutOfFold.from_predictions(competition, prediction, fold, seconds=seconds)
            if part == RELEASED:
                run = replace(run, baseline_wmae=competition.baseline_wmae[fold.index])
            found[name] = run
        return found


def _fold(held_out):
    """Number of each held-out row's fold, in the order in which predictions are kept."""
    return pd.Series({row: number for number, names in enumerate(held_out) for row in names})


def opened(place: Path, note: dict) -> Entry:
    """Return the Entry of a place in DIR, and keep there its `note`: data, pathways, atlas, quick.

    Raises InputError where the results that are there were made from others.
    """
    competition = kit.load_competition(note["data"])
    files = {name: note[name] for name in ("pathways", "atlas")}
    knowledge = gather(competition, **files, merge_into=place / "atlas")
    print(competition, *knowledge.remarks, sep="\n", file=sys.stderr, flush=True)
    note = note | {"hash": [competition.data_hash, *knowledge.fingerprint]}
    path = place / NOTE
    earlier = read_json(path) if path.exists() else note
    if [earlier["hash"], earlier["quick"]] != [note["hash"], note["quick"]]:
        raise InputError(
            f"{place} holds results of other content of {earlier['data']}, {earlier['pathways']} and "
            f"{earlier['atlas']}, or with --quick {earlier['quick']}; choose another --out"
        )
    with replacing(path) as new:
        new.write_text(json.dumps(note, indent=1) + "\n")
    return Entry(place, competition, knowledge, note["quick"])


def places(args: argparse.Namespace) -> dict[Path, dict]:
    """Return the place in DIR and the note of each folder that was given; without any, of all in DIR."""
    if not args.folders:
        found = {path.parent: read_json(path) for path in sorted(args.out.glob(f"*/{NOTE}"))}
        if not found:
            raise InputError(f"{args.out} holds no results; give the competition's FOLDER")
        return found
    files = {"pathways": [str(Path(path).resolve()) for path in args.pathways]}
    files |= {"atlas": args.atlas and str(Path(args.atlas).resolve()), "quick": args.quick}
    folders = [folder.resolve() for folder in args.folders]
    return {args.out / folder.name: {"data": str(folder)} | files for folder in folders}


def scored(entry: Entry) -> tuple[dict[str, dict[str, pd.Series]], list[str]]:
    """Return `summary` by model and part of what is there, and lines on it.

    The gain of a model is over the simple model with the best score out of fold, that of a blend with
    networks over the same blend without. There are blends as soon as all simple models are there.
    """
    runs = {part: entry.runs(part) for part in PARTS}
    simple = {name: run for name, run in runs[OUT_OF_FOLD].items() if name in SIMPLE}
    scores = {name: run.score().score for name, run in simple.items()}
    rival = max(scores, key=scores.get, default=None)
    than = f"over {rival}, the best simple model" if rival else "not there yet: no simple model is"
    lines = [f"{entry.place.name}: gains are {than} out of fold"]
    found = {
        name: {
            part: summary(run[name], than=None if name == rival else run.get(rival))
            for part, run in runs.items()
            if name in run
        }
        for name in entry.models
    }
    if set(simple) == set(SIMPLE) & set(entry.models):
        for name, each, than, line in blends(entry, runs):
            found[name] = {part: summary(run, than=than.get(part)) for part, run in each.items()}
            lines.append(f"{entry.place.name}: {name}: {line}")
    return found, lines


def blends(entry: Entry, runs: dict[str, dict[str, OutOfFold]]) -> Iterator[tuple]:
    """Yield (name, OutOfFold by part, the same without networks, line) of each blend.

    runs: OutOfFold by part and model. Base models, their number and shares are chosen inside folds for
    the out-of-fold part, and by all training rows for the released ones.
    """
    known, released = runs[OUT_OF_FOLD], runs[RELEASED]
    mean = mean_run(entry.competition, known[DEFAULT].fold)
    known = {"mean": mean.out_of_fold} | known
    names = [*entry.competition.effects.index, *entry.competition.targets["perturbation"]]
    covered = entry.knowledge.has_response(list(dict.fromkeys(names)))
    simple = {name: run for name, run in known.items() if name not in NETWORKS}
    for label, default in BLENDS.items():
        without = {}
        for base, kind in ((simple, "simple models"), (known, "with networks")):
            if kind == "with networks" and len(known) == len(simple):
                continue
            found = blend(base, groups=covered, default=default)
            parts = {OUT_OF_FOLD: found.nested["best"]}
            used = [name for name in found.best.base_models if name != "mean"]
            if set(used) <= set(released) and DEFAULT in released:
                tests = {name: run.prediction for name, run in released.items()}
                tests["mean"] = released[DEFAULT].mean
                prediction = found.best.predict(tests, covered)
                parts[RELEASED] = replace(released[DEFAULT], prediction=prediction, seconds=0.0)
            line = f"of {len(base)} base models; {found.best}"
            yield f"{label}, {kind}", parts, without, line
            without = parts


def markdown(entry: Entry) -> tuple[list[str], list[str]]:
    """Return the rows of one folder in a Markdown table under HEAD, and lines on them."""
    found, lines = scored(entry)
    missing, rows = dict.fromkeys(entry.missing(), "missing"), []
    if missing:
        lacking = {name: [part for one, part in missing if one == name] for name, _ in missing}
        names = [f"{name} ({', '.join(parts)})" for name, parts in lacking.items()]
        lines.append(f"{entry.place.name}: missing: {'; '.join(names)}")
    for name, part in missing:
        if (noted := entry.file(name, part, "failed")).exists():
            missing[name, part] = "failed"
            lines.append(f"{entry.place.name}: {name}, {part}: failed: {noted.read_text()}")
    for name, parts in found.items():
        cells = [entry.place.name, name]
        for part in PARTS:
            one = parts.get(part, {})
            cells.append(_cell(one, SCORE) or missing.get((name, part), ""))
            cells.append(_cell(one, GAIN))
        seconds = sum(one["seconds"] for one in parts.values())
        rows.append(f"| {' | '.join(cells)} | {f'{seconds / 60:.1f}' if seconds else ''} |")
    return rows, lines


def _cell(summed, columns):
    """A value and its interval as text, nothing where there is none."""
    if columns[0] not in summed:
        return ""
    return "{:.1f} ({:.1f} to {:.1f})".format(*(summed[column] for column in columns))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument("--pathways", metavar="FILE", nargs="+", default=[])
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--only", metavar="NAME", nargs="+", default=[*SIMPLE, *NETWORKS])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    rows, lines = [], []
    try:
        known = dict.fromkeys([*SIMPLE, *NETWORKS, *NAMES])
        check_known(args.only, known, "--only wants names of models, got others")
        for place, note in places(args).items():
            entry = opened(place, note)
            if not args.table:
                entry.work(args.only)
            for found, more in zip((rows, lines), markdown(entry), strict=True):
                found += more
    except InputError as error:
        sys.exit(f"error: {error}")
    print(HEAD, *rows, "", *[f"- {line}" for line in lines], sep="\n")


if __name__ == "__main__":
    main()
