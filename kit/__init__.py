"""A kit for predicting how a cell line's genes answer to knockdowns never seen.

`load_competition` reads the data, `score` is the competition's metric, `write_submission` and
`check_submission` guard the way out, `Run` keeps a notebook's outputs; models are in `kit.models`,
folds and comparisons in `kit.evaluation`. Heavy packages are imported only where they are used.
"""

from .competition import CONTROL, Competition, load_competition
from .evaluation.comparison import by_nearness, compare, compare_grouped, out_of_fold
from .evaluation.predictions import OutOfFold, interval
from .evaluation.splits import folds, grouped_folds, hold_out, repeated_folds
from .io.files import InputError
from .metric import Score, score, score_arrays, wmae
from .report.run import Run
from .submission import check_submission, score_submission, write_submission

__version__ = "1.0.0"

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
