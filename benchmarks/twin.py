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

import pandas as pd

from kit import load_competition
from kit.twin import marginals, simulate

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
