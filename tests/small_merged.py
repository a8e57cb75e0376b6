"""Merged cells and atlas responses in the kit's format, written by hand with anndata."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from kit.competition import Competition


def small_competition(control, perturbations=("KRAS",)):
    """A competition of these control means (a series by gene) and training perturbations."""
    effects = pd.DataFrame(0.0, list(perturbations), control.index)
    targets = pd.DataFrame(columns=["perturbation", "split"])
    return Competition(
        effects, effects + 1, control, targets, effects.mean(axis=1), None, None, Path()
    )


def write_cells(path, counts, obs, measured, *, kind=np.float32, **options):
    """Write `cells.h5ad`: counts cell x gene, obs, measured gene x dataset (its index: the genes)."""
    obs = obs.set_axis([f"cell{i}" for i in range(len(obs))])
    for name in ("sgrna_symbol", "dataset", "batch"):
        if name in obs:
            obs[name] = obs[name].astype("category")
    data = anndata.AnnData(csr_matrix(counts, dtype=kind), obs, pd.DataFrame(index=measured.index))
    data.varm["measured"] = measured
    data.write_h5ad(path, **options)
    return path


def random_cells(cells, genes, seed=0):
    """Counts, obs and measured of two datasets, sorted by dataset; the second lacks the last gene."""
    random = np.random.default_rng(seed)
    counts = random.poisson(random.gamma(0.5, 2, genes), (cells, genes))
    second = np.arange(cells) >= cells // 2
    counts[second, -1] = 0
    names = pd.Index([f"G{i}" for i in range(genes)])
    measured = pd.DataFrame(
        {"one": np.ones(genes, bool), "two": np.arange(genes) < genes - 1}, names
    )
    obs = pd.DataFrame(
        {
            "sgrna_symbol": np.resize(["non-targeting", "KRAS", "TFAM", "KRAS"], cells),
            "dataset": np.where(second, "two", "one"),
            "batch": np.resize(["b1", "b2", "b3"], cells),
            "RNAcount": counts.sum(axis=1) + random.integers(0, 500, cells).astype(float),
        }
    )
    return counts, obs, measured


def write_responses(path, effects, obs, *, se=None, **options):
    """Write `responses.h5ad`: effects a frame row x gene, obs by the same rows."""
    data = anndata.AnnData(
        effects.to_numpy(dtype=np.float32),
        obs.set_axis(effects.index),
        pd.DataFrame(index=effects.columns),
    )
    if se is not None:
        data.layers["se"] = se.to_numpy(dtype=np.float32)
    data.write_h5ad(path, **options)
    return path


def same(one, other):
    """Whether two merged files hold the same data."""
    one, other = anndata.read_h5ad(one), anndata.read_h5ad(other)
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    if "se" in one.layers:
        return all(
            np.array_equal(a, b, equal_nan=True)
            for a, b in ((one.X, other.X), (one.layers["se"], other.layers["se"]))
        )
    pd.testing.assert_frame_equal(one.varm["measured"], other.varm["measured"])
    return (one.X != other.X).nnz == 0
