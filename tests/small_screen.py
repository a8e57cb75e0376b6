"""A small screen written as h5ad, for the tests of screens and of the merge."""

import numpy as np
import pandas as pd
from small_competition import GENES


def write_screen(path, obs, counts, var, **more):
    """Write an h5ad; `obs`: dict of columns or a frame; `var`: a list of names or a frame."""
    import anndata

    obs = pd.DataFrame(obs)
    obs.index = obs.index.astype(str)
    var = var if isinstance(var, pd.DataFrame) else pd.DataFrame(index=list(var))
    anndata.AnnData(counts, obs, var, **more).write_h5ad(path)
    return path


def draw_counts(cells, genes, seed=0, rate=20):
    return np.random.default_rng(seed).poisson(rate, (cells, genes)).astype(np.float32)


def labels(**numbers):
    """Labels repeated: labels(A=2, B=1) is A, A, B; `control` stands for non-targeting."""
    return [
        "non-targeting" if name == "control" else name
        for name, number in numbers.items()
        for _ in range(number)
    ]


def make_screen(folder, form=np.asarray):
    """Write a screen of the small competition's genes, with its HGNC table; returns its path."""
    obs = {"gene": labels(control=20, STAT1=20, KRAS=12), "gem_group": ["1", "2"] * 26}
    obs |= {"UMI_count": np.full(52, 400.0), "mitopercent": np.full(52, 0.05)}
    var = pd.DataFrame({"gene_name": GENES}, [f"ENSG0000000000{i}" for i in range(8)])
    (folder / "hgnc.txt").write_text("symbol\tprev_symbol\nKRAS\t\n")
    return write_screen(folder / "good.h5ad", obs, form(draw_counts(52, 8, 1)), var)
