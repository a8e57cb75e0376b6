"""The default forecast, its intervals, why a prediction is as it is, and what to measure next.

`forecast` predicts all targets of a competition, `target_intervals` and `Intervals` give an interval
for each effect, `calibration` tests such intervals on left-out rows, `explain` takes one prediction
apart and `propose` ranks the perturbations to measure next.
"""

from .explanation import Explanation, explain
from .intervals import Calibration, Intervals, calibration, target_intervals
from .next_perturbations import propose
from .predict import Forecast, forecast, predict_targets
from .time_budget import cheap_models

__all__ = [
    "Calibration",
    "Explanation",
    "Forecast",
    "Intervals",
    "calibration",
    "cheap_models",
    "explain",
    "forecast",
    "predict_targets",
    "propose",
    "target_intervals",
]
