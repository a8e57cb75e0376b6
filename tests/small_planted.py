"""A competition whose knockdowns share effects by pathway, beside the pathways that say so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kit import Competition, out_of_fold
from kit.knowledge import load_pathways
from kit.metric import weights_from_t
from kit.models import Constant
from kit.screens.atlas import Atlas
from kit.screens.gene_names import GeneNames


def planted(folder, rows=48, genes=60, modules=6, noise=0.05, seed=0, shuffle=False):
    """A competition whose modules of knockdowns share effects, and pathways that hold the modules."""
    random = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(rows)]
    module = np.arange(rows) % modules
    shared = random.normal(0, 0.3, (modules, genes))
    values = shared[module] + random.normal(0, noise, (rows, genes))
    effects = pd.DataFrame(values, names, [f"G{i}" for i in range(genes)])
    effects.index.name = "perturbation"
    order = random.permutation(rows) if shuffle else np.arange(rows)
    members = [[names[order[i]] for i in range(rows) if module[i] == one] for one in range(modules)]
    pathways = folder / "planted.gmt"
    lines = ["\t".join([f"module {one}", "", *held]) for one, held in enumerate(members)]
    pathways.write_text("\n".join([*lines, "unrelated\t\tX1\tX2\tX3"]) + "\n")
    competition = Competition(
        effects=effects,
        weights=weights_from_t(effects / noise),
        control=effects.iloc[0] * 0 + 2.0,
        targets=pd.DataFrame({"perturbation": ["X1"], "split": ["val"]}, index=["pert_1"]),
        baseline_wmae=effects.abs().mean(axis=1),
        solution=None,
        cells=None,
        source=folder,
    )
    return competition, load_pathways(pathways, names=GeneNames())


def gains(model, competition, held_out=10):
    """Scores for 60 rows of the model and of the constant on the last rows."""
    names = list(competition.effects.index[-held_out:])
    runs = [out_of_fold(one, competition, [names]) for one in (model, Constant())]
    return [run.score().score_per_60 for run in runs]


def atlas_of(effects, symbols=None, *, datasets="one", n_cells=np.nan, se=None, own=None):
    """An Atlas of these effects (row x gene frame or array), rows by symbol."""
    effects = pd.DataFrame(effects)
    symbols = effects.index if symbols is None else symbols
    obs = pd.DataFrame({"sgrna_symbol": list(symbols), "dataset": datasets, "n_cells": n_cells})
    if own is not None:
        obs["competition"] = own
    obs.index = [f"row {i}" for i in range(len(obs))]
    se = None if se is None else pd.DataFrame(se, obs.index, effects.columns)
    return Atlas(effects.set_axis(obs.index), obs, se, Path("responses.h5ad"))


def noisy(effects, noise, seed=0):
    """An atlas of these effects plus noise."""
    random = np.random.default_rng(seed)
    return atlas_of(effects + random.normal(0, noise, effects.shape))


def an_atlas(competition, seed=0, lost=()):
    """A screen with the same effects and other noise; genes that it has lost are NaN."""
    noise = np.random.default_rng(seed).normal(0, 0.05, competition.effects.shape)
    effects = competition.effects + noise
    effects[list(lost)] = np.nan
    return atlas_of(effects, datasets="other", n_cells=100)


def turned(competition):
    """The competition with its genes in the opposite order."""
    order = competition.effects.columns[::-1]
    names = ("effects", "weights", "control")
    return replace(competition, **{name: getattr(competition, name)[order] for name in names})


def killed(monkeypatch, network, steps, fit):
    """Interrupt a fit at a training step of a network's class, as Ctrl-C does.

    Of networks that are trained side by side a step counts once.
    """
    calls, forward = iter(range(steps)), network.forward

    def interrupted(self, *args):
        if self.training and next(calls, None) is None:
            raise KeyboardInterrupt
        return forward(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(network, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit()
