"""Honest scores: splits, out-of-fold predictions, intervals, comparisons, noise ceiling, blending."""

from .comparison import by_nearness, choose, compare, compare_grouped, out_of_fold, with_hold_out
from .noise_ceiling import ceiling
from .predictions import OutOfFold, interval, summary
from .splits import folds, grouped_folds, groups, hold_out, repeated_folds

__all__ = [
    "OutOfFold",
    "by_nearness",
    "ceiling",
    "choose",
    "compare",
    "compare_grouped",
    "folds",
    "grouped_folds",
    "groups",
    "hold_out",
    "interval",
    "out_of_fold",
    "repeated_folds",
    "summary",
    "with_hold_out",
]
