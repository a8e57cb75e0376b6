"""The verdict on the networks at full budget: each beside the simple models, and blends with and without.

    python -m benchmarks.verdict FOLDER... --out DIR [--pathways FILE...] [--atlas FILE]
                                 [--only NAME...] [--table] [--quick]
    python -m benchmarks.verdict --out DIR [--only NAME...] [--table]

FOLDER is a competition folder, the files are its knowledge. Every model predicts the training rows out of
fold, in the five folds of the notebooks, and where truth is released (`solution*.csv`) those rows by a
fit on all training rows. Blends follow when all their base models are there. NAME is a model, `blend`,
or a network alone (`vae`) or with what it learns from (`vae, pretrain`). Each result is kept in DIR as
soon as it is there, and so are the states of training: what was killed goes on when started again, and
what is there is not computed again. Several may work on one DIR, each on its own FOLDER or NAME. Without
FOLDER all of DIR are meant, with their files. Last comes a Markdown table of what is there; with --table
only that. --quick trains for two steps: it tests this file.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

import kit
from benchmarks.compare import NETWORKS, SHOWN, networks, simple_models
from kit.competition import Competition
from kit.evaluation import blend, summary
from kit.evaluation.comparison import failure
from kit.evaluation.predictions import OutOfFold, estimate
from kit.evaluation.saved_runs import mean_run, slug
from kit.io.files import InputError, check_known, content_hash, read_json, replacing
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
WITHOUT, WITH = "simple models", "with networks"
# As notebook 08 blends, and as `predict --minutes`, which leaves the default only for a better blend.
BLENDS = {f"blend, {kind}": None for kind in (WITHOUT, WITH)}
BLENDS |= {f"predict --minutes, {kind}": DEFAULT for kind in (WITHOUT, WITH)}


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
        """Return where predictions of a part are kept; kind `failed`: why there are none."""
        return self.place / f"{slug(name)}.{slug(part)}.{kind}"

    def missing(self) -> list[tuple[str, str]]:
        """Return the pairs of model or blend and part that are not there."""
        pairs = [(name, part) for name in [*self.models, *BLENDS] for part in self.splits]
        return [pair for pair in pairs if not self.kept(*pair)]

    def kept(self, name: str, part: str) -> Mapping:
        """Return what `keep` kept, read when asked for: nothing if it blends earlier predictions."""
        if not (path := self.file(name, part)).exists():
            return {}
        kept = np.load(path)
        return kept if name in self.models or kept["of"] == self.state(self.base(name)) else {}

    def keep(self, run: OutOfFold, name: str, part: str, **more) -> None:
        """Keep the predictions of a part, if they have a score; more: what else to keep."""
        text = "{:.1f} ({:.1f} to {:.1f})".format(*estimate(run.score()))
        values = run.prediction.loc[self.fold(part).index].to_numpy()
        with replacing(self.file(name, part)) as path:
            np.savez_compressed(path, prediction=values, seconds=run.seconds, **more)
        label = f"{self.place.name}: {name}, {part}"
        print(f"{label}: {text}, {run.seconds:.0f} s", file=sys.stderr, flush=True)

    def fold(self, part: str) -> pd.Series:
        """Return the number of each held-out row's fold, in the order of the predictions kept."""
        held_out = enumerate(self.splits[part][1])
        return pd.Series({row: number for number, names in held_out for row in names})

    def run(self, name: str, part: str) -> OutOfFold | None:
        """Return the predictions of a part, None where they are missing."""
        if part not in self.splits or not (kept := self.kept(name, part)):
            return None
        competition, fold = self.splits[part][0], self.fold(part)
        prediction = pd.DataFrame(kept["prediction"], fold.index, competition.genes)
        seconds, nested = float(kept["seconds"]), bool(kept.get("chosen", False))
        run = OutOfFold.from_predictions(competition, prediction, fold, seconds=seconds)
        if part == RELEASED:
            run = replace(run, baseline_wmae=competition.baseline_wmae[fold.index])
        return replace(run, chosen=nested)

    def base(self, blend: str) -> list[str]:
        """Return the base models of a blend, but the mean: empty until all are there or have failed."""
        names = [name for name in self.models if name in SIMPLE or blend.endswith(WITH)]
        there = [name for name in names if self.file(name, OUT_OF_FOLD).exists()]
        gone = [name for name in names if self.file(name, OUT_OF_FOLD, "failed").exists()]
        simple = {name for name in there if name in SIMPLE}
        settled = set(names) == {*there, *gone} and simple == {*SIMPLE} & {*names}
        return there if settled and (len(there) > len(simple) or not blend.endswith(WITH)) else []

    def state(self, names: list[str]) -> str:
        """Return a hash of the predictions that are kept of these models."""
        files = [self.file(name, part) for name in names for part in PARTS]
        return content_hash(path for path in files if path.exists())


def fit(entry: Entry, only: list[str]) -> None:
    """Compute and keep what is missing of the models in `only`; note what fails and go on."""
    for name, part in entry.missing():
        if name in BLENDS or name not in only:
            continue
        noted = entry.file(name, part, "failed")
        try:
            entry.keep(kit.out_of_fold(entry.models[name], *entry.splits[part]), name, part)
            noted.unlink(missing_ok=True)
        except Exception as error:
            with replacing(noted) as path:
                path.write_text(failure(error))
            label = f"{entry.place.name}: {name}, {part}"
            print(f"{label}: failed: {failure(error)}", file=sys.stderr, flush=True)
    if not any(name in entry.models for name, _ in entry.missing()):
        shutil.rmtree(entry.place / "checkpoints", ignore_errors=True)


def mix(entry: Entry, only: list[str]) -> None:
    """Compute and keep the missing blends in `only` whose base models are all there or have failed.

    Base models, their number and shares are chosen inside folds for the out-of-fold part, and by all
    training rows for the released ones.
    """
    for name in dict.fromkeys(name for name, _ in entry.missing() if name in BLENDS):
        if name not in only or not (base := entry.base(name)):
            continue
        start, of = time.perf_counter(), entry.state(base)
        runs = {one: entry.run(one, OUT_OF_FOLD) for one in base}
        mean = mean_run(entry.competition, entry.fold(OUT_OF_FOLD)).out_of_fold
        names = [*entry.competition.effects.index, *entry.competition.targets["perturbation"]]
        covered = entry.knowledge.has_response(list(dict.fromkeys(names)))
        found = blend({"mean": mean} | runs, groups=covered, default=BLENDS[name])
        more = {"of": of, "line": f"of the mean and {len(base)} models; {found.best}"}
        nested = replace(found.nested["best"], seconds=time.perf_counter() - start)
        entry.keep(nested, name, OUT_OF_FOLD, chosen=nested.chosen, **more)
        tests = {one: run for one in base if (run := entry.run(one, RELEASED))}
        if DEFAULT in tests and {*found.best.base_models} <= {"mean", *tests}:
            values = {one: run.prediction for one, run in tests.items()}
            values["mean"] = tests[DEFAULT].mean
            released = found.best.predict(values, covered)
            released = replace(tests[DEFAULT], prediction=released, seconds=0.0)
            entry.keep(released, name, RELEASED, **more)


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
    """Return `summary` by model or blend and part of what is there, and lines on it.

    The gain of a model is over the simple model with the best score out of fold, that of a blend with
    networks over the same blend without.
    """
    names = [*entry.models, *BLENDS]
    runs = {part: {name: entry.run(name, part) for name in names} for part in PARTS}
    known = {name: run.score().score for name, run in runs[OUT_OF_FOLD].items() if run}
    simple = [name for name in known if name in SIMPLE]
    rival = max(simple, key=known.get, default=None)
    than = dict.fromkeys(entry.models, rival) | {rival: None}
    than |= {name: name.replace(WITH, WITHOUT) for name in BLENDS if name.endswith(WITH)}
    found = {
        name: {
            part: summary(run[name], than=run.get(than.get(name)))
            for part, run in runs.items()
            if run[name]
        }
        for name in names
    }
    text = f"over {rival}, the best simple model" if rival else "not there yet: no simple model is"
    lines = [f"gains are {text} out of fold"]
    lines += [
        f"{name}: {entry.kept(name, OUT_OF_FOLD)['line']}" for name in BLENDS if name in known
    ]
    return found, lines


def markdown(entry: Entry) -> tuple[list[str], list[str]]:
    """Return the rows of one folder in a Markdown table under HEAD, and lines on them."""
    found, lines = scored(entry)
    missing, lacking, rows = dict.fromkeys(entry.missing(), "missing"), {}, []
    for name, part in missing:
        lacking.setdefault(name, []).append(part)
        if (noted := entry.file(name, part, "failed")).exists():
            missing[name, part] = "failed"
            lines.append(f"{name}, {part}: failed: {noted.read_text()}")
    if lacking:
        names = [
            name if len(parts) == len(entry.splits) else f"{name} ({', '.join(parts)})"
            for name, parts in lacking.items()
        ]
        lines.append(f"missing: {'; '.join(names)}")
    for name, parts in found.items():
        cells = [entry.place.name, name]
        for part in PARTS:
            one = parts.get(part, {})
            cells.append(_cell(one, SCORE) or missing.get((name, part), ""))
            cells.append(_cell(one, GAIN))
        seconds = sum(one["seconds"] for one in parts.values())
        rows.append(f"| {' | '.join(cells)} | {f'{seconds / 60:.1f}' if parts else ''} |")
    return rows, [f"- {entry.place.name}: {line}" for line in lines]


def _cell(summed, columns):
    """A value and its interval as text, nothing where there is none."""
    if columns[0] not in summed:
        return ""
    values = [round(summed[column], 1) + 0.0 for column in columns]  # no -0.0
    return "{:.1f} ({:.1f} to {:.1f})".format(*values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument("--pathways", metavar="FILE", nargs="+", default=[])
    parser.add_argument("--atlas", metavar="FILE")
    parser.add_argument("--only", metavar="NAME", nargs="+")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    rows, lines = [], []
    try:
        only = chosen(args.only)
        for place, note in places(args).items():
            entry = opened(place, note)
            if not args.table:
                fit(entry, only)
                mix(entry, only)
            for found, more in zip((rows, lines), markdown(entry), strict=True):
                found += more
    except InputError as error:
        sys.exit(f"error: {error}")
    print(HEAD, *rows, "", *lines, sep="\n")


def chosen(only: list[str] | None) -> list[str]:
    """Return the names of models and blends that are meant: themselves or their start, by default all."""
    names = {name: name.split(", ")[0] for name in (*SIMPLE, *NETWORKS, *BLENDS)}
    check_known(only or (), [*names, *names.values()], "--only wants names of models, got others")
    return [name for name, start in names.items() if not only or {name, start} & set(only)]


if __name__ == "__main__":
    main()
