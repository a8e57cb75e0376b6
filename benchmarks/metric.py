"""Time the metric beside a plain implementation that walks through the frames column by column.

    python -m benchmarks.metric [--rows 120] [--genes 5127] [--repeats 5]

`plain_score` is written from the formulas alone, with checks as a host makes them on a submitted
frame. It shares no line with `kit.metric`, so the tests use it as the independent reference.
"""

import argparse
import math
import time

import numpy as np
import pandas as pd


def plain_score(solution, submission, genes, *, gate=0.2):
    """Validate and score a submission against a solution, column by column; returns score, W, Wcos.

    Both frames have a column `pert_id` and one a gene; the solution also `w_<gene>` and
    `baseline_wmae`.
    """
    solution = solution.sort_values("pert_id").reset_index(drop=True)
    submission = submission.sort_values("pert_id").reset_index(drop=True)
    if solution["pert_id"].tolist() != submission["pert_id"].tolist():
        raise ValueError("ids differ")
    rows = len(solution)
    error = np.zeros(rows)
    dot = truth_square = prediction_square = 0.0
    for gene in genes:
        if gene not in submission.columns:
            raise ValueError(f"missing column {gene}")
        if not pd.api.types.is_numeric_dtype(submission[gene]):
            raise ValueError(f"column {gene} is not numeric")
        if not np.isfinite(submission[gene]).all():
            raise ValueError(f"column {gene} is not finite")
        y, p = solution[gene].to_numpy(), submission[gene].to_numpy()
        error += solution[f"w_{gene}"].to_numpy() * np.abs(y - p)
        t = np.clip(np.maximum(np.abs(y), np.abs(p)) / gate, 0, 1)
        squared_gate = (t * t * (3 - 2 * t)) ** 2
        dot += (squared_gate * y * p).sum()
        truth_square += (squared_gate * y * y).sum()
        prediction_square += (squared_gate * p * p).sum()
    w = 0.0
    for row in range(rows):
        base = max(solution["baseline_wmae"][row], 1e-12)
        w += min(5.0, math.log2(base / max(error[row] / len(genes), 1e-12)))
    norm = math.sqrt(truth_square) * math.sqrt(prediction_square)
    wcos = dot / norm if norm >= 1e-12 else 0.0
    return w * max(0.0, wcos), w, wcos


def simulated_frames(rows, genes, seed=0):
    """A solution and a submission in the host's format, with numbers of the competition's size."""
    random = np.random.default_rng(seed)
    names = [f"G{i}" for i in range(genes)]
    ids = pd.Index([f"pert_{i + 1}" for i in range(rows)], name="pert_id")
    effects = pd.DataFrame(random.normal(0, 0.06, (rows, genes)), ids, names)
    weights = random.exponential(1, (rows, genes)) ** 3
    weights *= genes / weights.sum(axis=1, keepdims=True)
    weights = pd.DataFrame(weights, ids, [f"w_{name}" for name in names])
    baseline = pd.Series(random.uniform(0.08, 0.2, rows), ids, name="baseline_wmae")
    prediction = 0.5 * effects + random.normal(0, 0.03, (rows, genes))
    shuffled = prediction.sample(frac=1, random_state=seed)
    return pd.concat([effects, weights, baseline], axis=1), shuffled, names


def fastest(task, repeats):
    """Seconds of the fastest of several calls, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = task()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main():
    from kit.metric import score, score_arrays

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--genes", type=int, default=5127)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    solution, submission, genes = simulated_frames(args.rows, args.genes)
    truth, weights = solution[genes], solution[[f"w_{gene}" for gene in genes]]
    weights = weights.set_axis(genes, axis=1)
    base = solution["baseline_wmae"]

    kit_seconds, ours = fastest(lambda: score(truth, submission, weights, base), args.repeats)
    flat = (solution.reset_index(), submission.reset_index())
    plain_seconds, plain = fastest(lambda: plain_score(*flat, genes), args.repeats)
    factors = np.linspace(0, 2, 20)[:, None, None]
    candidates = submission.loc[truth.index].to_numpy() * factors
    arrays = (truth.to_numpy(), candidates, weights.to_numpy(), base.to_numpy())
    array_seconds, _ = fastest(lambda: score_arrays(*arrays), args.repeats)

    print(f"{args.rows} x {args.genes}, fastest of {args.repeats} calls")
    print(f"scores {ours.score:.10f} and {plain[0]:.10f}")
    for name, seconds in {
        "column by column": plain_seconds,
        "kit.metric.score": kit_seconds,
        "kit.metric.score_arrays, each of 20": array_seconds / len(factors),
    }.items():
        ratio = plain_seconds / seconds
        print(f"{name:36}{1e3 * seconds:9.1f} ms {ratio:8.1f} times as fast")


if __name__ == "__main__":
    main()
