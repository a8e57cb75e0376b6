"""Scores on rows that no fit and no choice has seen, side by side, and what noise lets anyone reach.

Rows are held out by `folds`, `repeated_folds`, `grouped_folds` (similar perturbations together) or
`hold_out` (once); `out_of_fold` predicts them: an `OutOfFold`, which `interval`, `summary` and
`versus` put into numbers and words. `compare` and `compare_grouped` score models side by side,
`with_hold_out` adds the single split, `by_nearness` and `by_group` score parts of the rows; `choose`
picks a model and `blend` mixes them, both with an estimate of the choice itself. `expected_score`
and `expected_spread` say what new rows may score, `ceiling` is the noise ceiling. `each_line` predicts
each screen of an atlas in turn, `with_competition` puts the competition's rows into it. `find_outputs`
and `read_saved_runs` bring back what notebooks saved as `SavedRun`.
"""

from .blending import blend
from .comparison import (
    by_group,
    by_nearness,
    choose,
    compare,
    compare_grouped,
    nearest_similarity,
    out_of_fold,
    with_hold_out,
)
from .expected import ceiling, expected_score, expected_spread
from .predictions import OutOfFold, interval, summary, versus
from .saved_runs import SavedRun, find_outputs, read_saved_runs
from .splits import (
    each_line,
    folds,
    grouped_folds,
    groups,
    hold_out,
    repeated_folds,
    with_competition,
)

__all__ = [
    "OutOfFold",
    "SavedRun",
    "blend",
    "by_group",
    "by_nearness",
    "ceiling",
    "choose",
    "compare",
    "compare_grouped",
    "each_line",
    "expected_score",
    "expected_spread",
    "find_outputs",
    "folds",
    "grouped_folds",
    "groups",
    "hold_out",
    "interval",
    "nearest_similarity",
    "out_of_fold",
    "read_saved_runs",
    "repeated_folds",
    "summary",
    "versus",
    "with_competition",
    "with_hold_out",
]
