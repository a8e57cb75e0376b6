"""Make the full twin and set its marginals beside the published ones.

    python -m benchmarks.twin [--seed N] [--keep FOLDER]

Prints the table, seconds and peak memory; exit code 1 if a marginal leaves its bounds.
"""

import argparse
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from kit import load_competition, metric
from kit.twin import simulate

# Published value, and the factor within which the twin has to meet it (None: of that order).
PUBLISHED = {
    "effect sd": (0.0569, 1.25),
    "share |effect| > .1, %": (5.4, 1.25),
    "share |effect| > .25, %": (0.46, 1.25),
    "zero WMAE": (0.1413, 1.5),
    "mean WMAE": (0.1268, 1.25),
    "mean WMAE, lower quartile": (0.081, 1.5),
    "mean WMAE, median": (0.105, 1.5),
    "mean WMAE, upper quartile": (0.141, 1.5),
    "mean WMAE, maximum": (0.633, None),
    "weight median": (0.035, 1.5),
    "weights above 1, %": (18.8, 1.5),
    "weight maximum": (415.0, None),
    "self effect": (-0.57, None),
    "components": (44, None),
    "least effect": (-3.78, None),
    "largest effect": (1.69, None),
}
SECONDS, GIGABYTES = 300, 8


def marginals(competition):
    """What is published of the competition's training rows, computed from a Competition: a series.

    Effects and WMAE in log2, shares in per cent, `components` as the number of principal components
    that hold 90 % of the variance.
    """
    effects, baseline = competition.effects, competition.baseline_wmae
    size, weights = effects.abs().to_numpy(), competition.weights.to_numpy()
    zero = metric.wmae(effects, pd.Series(0.0, index=effects.columns), competition.weights)
    variance = np.linalg.svd((effects - effects.mean()).to_numpy(), compute_uv=False) ** 2
    on_target = [effects.at[name, name] for name in effects.index.intersection(effects.columns)]
    return pd.Series(
        {
            "effect sd": effects.to_numpy().std(),
            "share |effect| > .1, %": 100 * (size > 0.1).mean(),
            "share |effect| > .25, %": 100 * (size > 0.25).mean(),
            "zero WMAE": zero.mean(),
            "mean WMAE": baseline.mean(),
            "mean WMAE, lower quartile": baseline.quantile(0.25),
            "mean WMAE, median": baseline.median(),
            "mean WMAE, upper quartile": baseline.quantile(0.75),
            "mean WMAE, maximum": baseline.max(),
            "weight median": np.median(weights),
            "weights above 1, %": 100 * (weights > 1).mean(),
            "weight maximum": weights.max(),
            "self effect": np.mean(on_target),
            "components": 1 + np.argmax(np.cumsum(variance) > 0.9 * variance.sum()),
            "least effect": effects.to_numpy().min(),
            "largest effect": effects.to_numpy().max(),
        },
        name="twin",
    )


def main():
    words = argparse.ArgumentParser(description="make the full twin and check its marginals")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--keep", type=Path, help="write the twin here instead of a scratch folder")
    args = words.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        folder = simulate(args.keep or Path(scratch) / "twin", size="full", seed=args.seed)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        with warnings.catch_warnings(action="ignore"):  # the data is simulated, as we know
            twin = marginals(load_competition(folder))
    table = pd.DataFrame(PUBLISHED, index=["published", "within factor"]).T
    table.insert(0, "twin", twin)
    ratio = table["twin"] / table["published"]
    # A quarter below counts as a quarter above: .75 to 1.25, and 1/1.5 to 1.5.
    lowest = (2 - table["within factor"]).where(table["within factor"] < 1.5, 1 / 1.5)
    out = (ratio < lowest) | (ratio > table["within factor"])
    table["verdict"] = out.map({True: "OUT", False: "ok"}).where(table["within factor"].notna(), "")
    print(table.to_string(float_format="{:.4g}".format, na_rep=""))
    print(f"{seconds:.0f} s (at most {SECONDS}), {peak:.1f} GB (at most {GIGABYTES})")
    sys.exit(bool(out.any() or seconds > SECONDS or peak > GIGABYTES))


if __name__ == "__main__":
    main()
