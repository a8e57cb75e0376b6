"""The competition's metric: score = W x max(0, Wcos).

For row l (a perturbation) with n genes, truth y, prediction p and weights w that sum to n:

    WMAE_l = mean_i w_i |y_i - p_i|
    W      = sum_l min(5, log2(max(WMAE_base, eps) / max(WMAE_l, eps)))
    g_i    = s(clip(max(|y_i|, |p_i|) / gate, 0, 1)),  s(t) = t^2 (3 - 2t)
    Wcos   = sum g^2 y p / (sqrt(sum g^2 y^2) sqrt(sum g^2 p^2))   over all rows and genes at once

The competition's page gives the gate as 0.3, its code as 0.2: the default here. W is a sum, so
scores of different row counts compare only per row or scaled to 60 rows. Folds, intervals and
floors are in `evaluation`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .io.files import InputError, check_labels, check_type, finite_values

GATE = 0.2
EPS = 1e-12
CAP = 5.0  # the most that one row adds to W
BLOCK = 1 << 15  # numbers worked on at once, so that intermediate arrays stay in the cache


@dataclass(frozen=True, eq=False)
class Score:
    """A score with its parts: score = w x max(0, wcos).

    `table` has a row for each perturbation: `wmae`, `baseline_wmae`, `w` (its term of W) and the three
    gated sums `truth_prediction`, `truth_truth`, `prediction_prediction` of which Wcos is made.
    `variance` says how many times that of independent rows the score's variance is.
    """

    score: float
    w: float
    wcos: float
    gate: float
    table: pd.DataFrame
    variance: float = 1.0

    @property
    def rows(self) -> int:
        """Number of rows scored."""
        return len(self.table)

    @property
    def score_per_row(self) -> float:
        """The score divided by its rows: W is a sum."""
        return self.score / self.rows

    @property
    def score_per_60(self) -> float:
        """The score that 60 such rows would have, as many as the leaderboard has."""
        return 60 * self.score_per_row

    def __str__(self):
        return (
            f"score {self.score:.5f} (W {self.w:.5f} x Wcos {self.wcos:.5f}) on {self.rows} rows, "
            f"{self.score_per_60:.3f} for 60 rows, gate {self.gate}"
        )


def score(
    truth: pd.DataFrame,
    prediction: pd.DataFrame,
    weights: pd.DataFrame,
    baseline_wmae: pd.Series,
    *,
    gate: float = GATE,
) -> Score:
    """Score predictions as the competition does: W x max(0, Wcos).

    truth, prediction, weights: perturbation x gene frames, log2; baseline_wmae: series by
    perturbation. Labels are matched, order does not matter. Raises InputError naming the labels
    that do not match, and for values that are not finite.
    """
    y, p, w = _aligned(truth, prediction, weights)
    base = _series(baseline_wmae, truth.index)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = _row_parts(y, p, w, _checked_gate(gate))
    columns = {"wmae": parts[0], "baseline_wmae": base, "w": _gain(base, parts[0])}
    sums = ("truth_prediction", "truth_truth", "prediction_prediction")
    table = pd.DataFrame(columns | dict(zip(sums, parts[1:], strict=True)), index=truth.index)
    if not np.isfinite(parts).all():
        far = table.index[~np.isfinite(parts).all(axis=0)][0]
        raise InputError(f"numbers of {far} are too far from zero to score; want log2 units")
    total, w_total, wcos = combine(table["w"].to_numpy(), *parts[1:])
    return Score(float(total), float(w_total), float(wcos), gate, table)


def score_arrays(
    truth: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray,
    baseline_wmae: np.ndarray,
    *,
    gate: float = GATE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return score, W and Wcos of one or many predictions without labels: arrays of shape (...).

    truth, weights: (rows, genes); predictions: (..., rows, genes); baseline_wmae: (rows,). Nothing is
    checked: this is for tuning loops.
    """
    predictions = np.asarray(predictions)
    lead = predictions.shape[:-2]
    result = np.empty((3, *lead))
    for place in np.ndindex(lead):
        terms = row_terms(truth, predictions[place], weights, baseline_wmae, gate)
        result[(slice(None), *place)] = combine(*terms)
    return tuple(result)


def row_terms(
    truth: np.ndarray,
    prediction: np.ndarray,
    weights: np.ndarray,
    baseline_wmae: np.ndarray,
    gate: float = GATE,
) -> np.ndarray:
    """Return each row's term of W and its three gated sums, (4, rows): `combine` scores any rows of them.

    truth, prediction, weights: (rows, genes); baseline_wmae: (rows,). Nothing is checked.
    """
    parts = _row_parts(truth, prediction, weights, gate)
    parts[0] = _gain(baseline_wmae, parts[0])
    return parts


def combine(w: np.ndarray, *sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return score, W and Wcos from the parts of rows, summed over the last axis: (..., rows) to (...).

    w: each row's term of W; sums: `truth_prediction`, `truth_truth`, `prediction_prediction` of `Score`.
    """
    total, dot, truth, prediction = (np.sum(part, axis=-1) for part in (w, *sums))
    norm = np.sqrt(truth) * np.sqrt(prediction)
    wcos = np.where(norm < EPS, 0.0, dot / np.maximum(norm, EPS))
    return total * np.maximum(0.0, wcos) + 0.0, total, wcos  # 0.0 turns -0.0 into 0.0


def wmae(
    truth: pd.DataFrame, prediction: pd.DataFrame | pd.Series, weights: pd.DataFrame
) -> pd.Series:
    """Return the weighted mean absolute error of each row, log2: a series by perturbation.

    truth, weights: perturbation x gene frames; prediction: such a frame, or one series by gene that
    stands for every row.
    """
    check_type(truth, pd.DataFrame, "truth", "a frame, perturbation x gene")
    if isinstance(prediction, pd.Series):
        rows = np.broadcast_to(prediction.to_numpy(), (len(truth), len(prediction)))
        prediction = pd.DataFrame(rows, index=truth.index, columns=prediction.index)
    y, p, w = _aligned(truth, prediction, weights)
    return pd.Series(_row_parts(y, p, w, GATE)[0], index=truth.index, name="wmae")


def weights_from_t(t: pd.DataFrame) -> pd.DataFrame:
    """Return the competition's weights from moderated t statistics, perturbation x gene.

    c = min(|t| + 0.1, 10), and 0 for the on-target gene; w = n c^2 / sum c^2, so that a
    row sums to its number of genes n.
    """
    c = np.minimum(np.abs(t.to_numpy(dtype=float)) + 0.1, 10.0)
    own = t.columns.get_indexer(t.index)
    c[own >= 0, own[own >= 0]] = 0.0
    squares = c**2
    values = t.shape[1] * squares / squares.sum(axis=1, keepdims=True)
    return pd.DataFrame(values, index=t.index, columns=t.columns)


def _gain(baseline_wmae, wmae):
    return np.minimum(CAP, np.log2(np.maximum(baseline_wmae, EPS) / np.maximum(wmae, EPS)))


def _row_parts(truth, prediction, weights, gate):
    """WMAE, g^2 y p, g^2 y^2 and g^2 p^2 of each row: (4, rows)."""
    rows, genes = truth.shape
    parts = np.empty((4, rows))
    step = max(1, BLOCK // max(genes, 1))
    for start in range(0, rows, step):
        block = slice(start, start + step)
        y, p = truth[block], prediction[block]
        parts[0, block] = (weights[block] * np.abs(y - p)).sum(axis=1) / genes
        t = np.maximum(np.abs(y), np.abs(p))
        t *= 1.0 / gate
        np.minimum(t, 1.0, out=t)
        g = 3.0 - 2.0 * t
        t *= t
        g *= t
        gy, gp = g * y, g * p
        parts[1, block] = (gy * gp).sum(axis=1)
        parts[2, block] = (gy * gy).sum(axis=1)
        parts[3, block] = (gp * gp).sum(axis=1)
    return parts


def _checked_gate(gate):
    if not 0 < gate < np.inf:
        raise InputError(
            f"gate is {gate}, want a number above 0 (the competition's code has {GATE})"
        )
    return gate


def _aligned(truth, prediction, weights):
    """The three frames as float arrays in the labels' order of `truth`."""
    arrays = []
    for name, frame in {"truth": truth, "prediction": prediction, "weights": weights}.items():
        check_type(frame, pd.DataFrame, name, "a frame, perturbation x gene")
        for axis, kind in ((0, "perturbations"), (1, "genes")):
            _same_labels(name, kind, frame.axes[axis], truth.axes[axis])
        if not frame.index.equals(truth.index) or not frame.columns.equals(truth.columns):
            frame = frame.reindex(index=truth.index, columns=truth.columns)
        arrays.append(np.ascontiguousarray(finite_values(frame, name)))
    if not arrays[0].size:
        raise InputError(f"truth has shape {truth.shape}; want at least one row and one gene")
    return arrays


def _series(values, index):
    check_type(values, pd.Series, "baseline_wmae", "a series by perturbation")
    _same_labels("baseline_wmae", "perturbations", values.index, index)
    return finite_values(values.reindex(index), "baseline_wmae")


def _same_labels(name, kind, got, want):
    if not (got.equals(want) and got.is_unique):
        check_labels(got, want, f"{name}: {kind} do not match")
