"""What the notebooks share about a run: its seed, budget, output folder and report.

A run writes `predictions/<slug>.oof.csv` and `.test.csv` of every model that it scored, `submission.csv`,
its figures and `report.json` into `outputs/<name>/`, on Kaggle into `/kaggle/working`. The report holds
every score with its floor, ceiling and interval, and what is needed to have them again: seed, settings,
versions, hash of the data.
"""

import json
import os
import platform
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..evaluation.comparison import failure
from ..evaluation.predictions import STRONGEST, OutOfFold, against_baselines, listed, summary
from ..evaluation.saved_runs import saved_files, slug
from ..io.files import InputError, content_hash, replacing
from ..io.locate import on_kaggle, output_folder
from ..submission import score_submission, submission_table, write_submission

GATES = (0.2, 0.3)  # the host's code and the host's page
BUDGETS = ("quick", "full")
PACKAGES = ["numpy", "pandas", "scipy", "matplotlib", "scikit-learn"]
PACKAGES += ["lightgbm", "torch", "anndata"]


class Run:
    """One run of a notebook on one competition folder.

    budget: `quick` or `full`; by default `$ESG_BUDGET`, else quick on simulated data and wherever there
    is neither Kaggle nor a GPU.
    """

    def __init__(
        self, name: str, competition: Competition, *, seed: int = 0, budget: str | None = None
    ):
        self.name = name
        self.competition = competition
        self.seed = seed
        self.budget = budget or os.environ.get("ESG_BUDGET") or _default_budget(competition)
        if self.budget not in BUDGETS:
            raise InputError(f"budget is `{self.budget}`, want one of {', '.join(BUDGETS)}")
        self.folder = output_folder(name)
        self.models, self.settings, self.figures, self.ceiling = {}, {}, [], None
        self.estimate = None  # of the submission: scores of choosing, as those of a model
        self.saved = {}  # by model: hashes of its files, and each training row's fold
        self.tests = {}  # by model: its predictions of the targets, perturbation x gene
        self.failed = {}  # by model: why it has no score
        self._start = time.perf_counter()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    def __repr__(self):
        return f"Run {self.name}: seed {self.seed}, budget {self.budget}, output in {self.folder}"

    def record(
        self, name: str, out_of_fold: OutOfFold | list[OutOfFold], test: pd.DataFrame | None = None
    ) -> str:
        """Keep a model's out-of-fold score for the report; return it as text for the notebook.

        out_of_fold: OutOfFold, or several of the same rows, one a repeat, as `compare` gives. test: the
        model's predictions of the targets, perturbation x gene; with it both predictions (of the first
        repeat) are written at once to `predictions/`, for a blend to read, and the report so far.
        """
        runs = listed(out_of_fold)
        if test is not None:
            self._save(name, runs[0], test)
        self.models[name] = {
            "rows": len(runs[0].truth),
            "seconds": round(sum(run.seconds for run in runs), 3),
            "gates": {str(gate): _numbers(runs, gate) for gate in GATES},
        }
        self.failed.pop(name, None)
        if test is not None:
            self.finish()
        return f"{name}: {_line(self.models[name]['gates'][str(GATES[0])])}"

    def record_ceiling(self, halves: OutOfFold | None) -> tuple[float, float, float] | None:
        """Keep the noise ceiling that `ceiling` gives and print it; return it and its interval."""
        if halves is None:
            print("no noise ceiling: it needs the competition's cells and the package anndata")
            return None
        self.ceiling = {str(gate): _numbers([halves], gate) for gate in GATES}
        for gate, numbers in self.ceiling.items():
            print(f"noise ceiling, gate {gate}: {_line(numbers)}")
        official = self.ceiling[str(GATES[0])]
        return official["score_per_60"], *official["interval_per_60"]

    def save_figure(self, figure: object, name: str, *, first: bool = False) -> None:
        """Write a figure as PNG, marked where the data is simulated; `first`: the one for the board."""
        if self.competition.simulated:
            # Above all else: below, it would meet legends, which move down with what is saved.
            figure.text(
                0.995, 1, "simulated data", ha="right", va="bottom", fontsize=8, color="0.4"
            )
        with replacing(self.folder / f"{name}.png") as path:
            figure.savefig(path, dpi=120, bbox_inches="tight")
        kept = {"file": f"{name}.png", "title": figure.get_suptitle()}
        self.figures = [kept, *self.figures] if first else [*self.figures, kept]

    def record_failure(self, name: str, reason: Exception | str) -> None:
        """Keep that a model failed, and why, for the report; print it."""
        self.failed[name] = failure(reason)
        print(f"{name}: failed: {self.failed[name]}")
        self.finish()

    def _save(self, name, out_of_fold, test):
        if any(slug(other) == slug(name) and other != name for other in self.saved):
            raise InputError(f"another model's files are named as those of `{name}`; rename it")
        files = {}
        for file, frame in zip(saved_files(name), (out_of_fold.prediction, test), strict=True):
            with replacing(self.folder / file) as path:
                frame.rename_axis("perturbation").to_csv(path)
            files[file] = content_hash([self.folder / file])
        self.tests[name] = test
        self.saved[name] = {"files": files, "fold": out_of_fold.fold.astype(int).to_dict()}

    def write_submission(self, prediction: pd.DataFrame, name: str = "submission.csv") -> Path:
        """Write a checked submission of predictions, perturbation x gene; return its path."""
        return write_submission(prediction, self.competition, self.folder / name)

    def submit(self, model: str, chosen: list[OutOfFold]) -> Path:
        """Write the saved predictions of `model` as the submission, and the report; return its path.

        chosen: out-of-fold predictions of the choice, as `choose` and `blend` give them. Printed are the
        path, the score of choosing, which the report keeps as that of the submission, a line where it is
        below that of the mean or of the recorded model `constant`, and the score where truth is released.
        """
        submission = self.write_submission(self.tests[model])
        self.estimate = _numbers(chosen, GATES[0])
        self.finish(submission, model)
        print(f"{submission}: {model}")
        print(f"out of fold, the choice included: {_line(self.estimate)}; mean baseline 0.000")
        self.tests.setdefault("mean", self.tests[model] * 0 + self.competition.effects.mean())
        floors = {"mean": (0.0, self.tests["mean"])}
        if "constant" in self.models:
            numbers = self.models["constant"]["gates"][str(GATES[0])]
            floors["constant"] = numbers["score_per_60"], self.tests["constant"]
        instead = 'run.write_submission(run.tests["{}"])'
        lines = against_baselines(self.tests[model], chosen, floors, instead)
        for line in [*lines, *self.released(submission)]:
            print(line)
        return submission

    def released(self, submission: Path | str) -> list[str]:
        """Return lines on a submission's score beside the mean's, at both gates; none without truth."""
        truth, targets = self.competition.solution, self.competition.targets["perturbation"]
        if truth is None:
            return []
        mean = pd.DataFrame([self.competition.effects.mean()] * len(targets), list(targets))
        floor, lines = submission_table(mean, self.competition), []
        for gate in GATES:
            lines.append(f"released truth: {score_submission(submission, truth, gate=gate)[0]}")
            lines.append(f"  mean baseline: {score_submission(floor, truth, gate=gate)[0]}")
        return lines

    def finish(self, submission: Path | str | None = None, model: str | None = None) -> dict:
        """Write `report.json`; `model` names the model that the submission was made with."""
        data = self.competition
        report = {
            "notebook": self.name,
            "seed": self.seed,
            "budget": self.budget,
            "settings": self.settings,
            "started": self._started,
            "seconds": round(time.perf_counter() - self._start, 2),
            "peak_memory_mb": _peak_memory_mb(),
            "data": {
                "folder": data.source.name,
                "hash": data.data_hash,
                "simulated": data.simulated,
                "training_perturbations": len(data.effects),
                "targets": len(data.targets),
                "genes": data.effects.shape[1],
            },
            "versions": _versions(),
            "floor_per_60": 0.0,
            "ceiling": self.ceiling,
            "models": self.models,
            "failed": self.failed,
            "predictions": self.saved,
            "figures": self.figures,
            "submission": {
                "file": submission and Path(submission).name,
                "model": model,
                "estimate": self.estimate,
            },
        }
        with replacing(self.folder / "report.json") as path:
            path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        return report


def _numbers(runs, gate):
    """Scores of the report: means over repeats; None where no row would be left."""
    scores, summed = [run.score(gate) for run in runs], summary(runs, gate=gate)
    means = {
        name: float(np.mean([getattr(score, name) for score in scores]))
        for name in ("score", "w", "wcos", "score_per_row", "score_per_60")
    }
    more = summed[["w_per_60", "minus_mean", *(f"without_{number}" for number in STRONGEST)]]
    return {
        "rows": scores[0].rows,
        **means,
        "interval_per_60": [float(summed["low"]), float(summed["high"])],
        **{name: None if np.isnan(value) else float(value) for name, value in more.items()},
    }


def _line(numbers):
    """The score for 60 perturbations, the rows that it rests on, and its interval, as text."""
    low, high = numbers["interval_per_60"]
    score = f"{numbers['score_per_60']:.3f} for 60 perturbations, from {numbers['rows']} rows"
    return f"{score}, 90 % interval {low:.3f} to {high:.3f}"


def _default_budget(competition):
    if competition.simulated:
        return "quick"
    if on_kaggle():
        return "full"
    with suppress(ImportError):  # no torch
        from ..networks import device

        if device().type == "cuda":
            return "full"
    return "quick"


def _peak_memory_mb():
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))


def _versions():
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
