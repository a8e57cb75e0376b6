"""A kit for predicting the effects of perturbations that were not measured, gene by gene.

Data: `load_competition` reads a folder into a `Competition`; `CONTROL` is the label of its control cells;
`InputError` is raised for input that cannot be used, with one line of reason.
Metric: `score` returns the `Score` of labelled frames, `score_arrays` that of arrays in tuning loops;
`wmae` is the weighted error of each row.
Validation: `folds`, `repeated_folds`, `grouped_folds` and `hold_out` split perturbations; `out_of_fold`
fits and predicts one model as `OutOfFold`; `interval` is its confidence interval; `compare` and
`compare_grouped` score several models on the same folds; `by_nearness` scores rows by their nearest
training row.
Results: `Run` keeps a notebook's outputs; `write_submission`, `check_submission` and `score_submission`
write, check and score a submission.

Models are in `kit.models` and `kit.networks`, prior knowledge in `kit.knowledge`. These and heavy
packages are imported only where they are used.
"""

from importlib import import_module
from types import ModuleType

from .competition import CONTROL, Competition, load_competition
from .evaluation.comparison import by_nearness, compare, compare_grouped, out_of_fold
from .evaluation.predictions import OutOfFold, interval
from .evaluation.splits import folds, grouped_folds, hold_out, repeated_folds
from .io.files import InputError
from .metric import Score, score, score_arrays, wmae
from .report.run import Run
from .submission import check_submission, score_submission, write_submission

__version__ = "1.2.0"

__all__ = [
    "CONTROL",
    "Competition",
    "InputError",
    "OutOfFold",
    "Run",
    "Score",
    "by_nearness",
    "check_submission",
    "compare",
    "compare_grouped",
    "folds",
    "grouped_folds",
    "hold_out",
    "interval",
    "load_competition",
    "out_of_fold",
    "repeated_folds",
    "score",
    "score_arrays",
    "score_submission",
    "wmae",
    "write_submission",
]


def __getattr__(name: str) -> ModuleType:
    """Import a package of the kit when it is first named, as in `kit.knowledge.gather`."""
    if name in {"expression", "forecast", "knowledge", "models", "networks", "plots", "screens"}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__} has no attribute {name}")
