"""Honest scores: splits, out-of-fold predictions, intervals, comparisons, noise ceiling, blending."""

from .comparison import by_nearness, compare, compare_grouped, out_of_fold
from .noise_ceiling import ceiling
from .predictions import OutOfFold, interval, summary
from .splits import folds, grouped_folds, hold_out, repeated_folds

__all__ = [
    "OutOfFold",
    "by_nearness",
    "ceiling",
    "compare",
    "compare_grouped",
    "folds",
    "grouped_folds",
    "hold_out",
    "interval",
    "out_of_fold",
    "repeated_folds",
    "summary",
]
