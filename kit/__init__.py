"""A kit for predicting how a cell line's genes answer to knockdowns never seen.

`load_competition` reads the data, `score` is the competition's metric, `write_submission` and
`check_submission` guard the way out, `Run` keeps a notebook's outputs; models are in `kit.models`,
folds and intervals in `kit.validation`. Heavy packages are imported only where they are used.
"""

from .competition import CONTROL, Competition, load_competition
from .files import InputError
from .metric import Score, score, score_arrays, wmae
from .run import Run
from .submission import check_submission, score_submission, write_submission
from .validation import OutOfFold, folds, interval, out_of_fold

__all__ = [
    "CONTROL",
    "Competition",
    "InputError",
    "OutOfFold",
    "Run",
    "Score",
    "check_submission",
    "folds",
    "interval",
    "load_competition",
    "out_of_fold",
    "score",
    "score_arrays",
    "score_submission",
    "wmae",
    "write_submission",
]
