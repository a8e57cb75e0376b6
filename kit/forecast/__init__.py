"""The default forecast, its intervals, why a prediction is as it is, and what to measure next.

`forecast` predicts all targets of a competition, `target_intervals` and `Intervals` give an interval
for each effect, `calibration` tests such intervals on left-out rows, `explain` takes one prediction
apart and `propose` ranks the perturbations to measure next. `baselines` are the models that a
submission should beat, `baseline_forecast` predicts all targets by one of them.
"""

from .explanation import Explanation, explain
from .intervals import Intervals, calibration, target_intervals
from .next_perturbations import propose
from .predict import (
    Forecast,
    baseline_forecast,
    baselines,
    cheap_models,
    forecast,
    predict_targets,
)

__all__ = [
    "Explanation",
    "Forecast",
    "Intervals",
    "baseline_forecast",
    "baselines",
    "calibration",
    "cheap_models",
    "explain",
    "forecast",
    "predict_targets",
    "propose",
    "target_intervals",
]
