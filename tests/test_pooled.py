"""Pooled trees: features that do not give the answer away, and the kernel's median."""

from dataclasses import replace

import numpy as np
import pandas as pd
from small_planted import planted

from kit.knowledge import Knowledge, load_pathways
from kit.models import PooledTrees
from kit.models.baselines import weighted_median
from kit.screens.gene_names import GeneNames


def test_pooled_features_do_not_tell_the_rows_own_value(tmp_path):
    competition, pathways = planted(tmp_path, rows=24, genes=20)
    model = PooledTrees(Knowledge(pathways), jobs=1).fit(competition)
    kernel = model._kernel(competition.effects.index)
    np.fill_diagonal(kernel, 0.0)
    other = competition.effects.copy()
    other.loc["P5"] += 1.0
    features = []
    for effects in (competition.effects, other):
        model.train_ = replace(competition, effects=effects)
        zero = np.zeros(effects.shape)
        features.append(model._pairs(kernel, zero, zero)[2][5])
    by_pair = slice(0, 6)
    np.testing.assert_allclose(features[0][:, by_pair], features[1][:, by_pair], atol=1e-6)


def test_the_median_of_pairs_is_weighted_by_the_kernel(tmp_path):
    competition, pathways = planted(tmp_path, rows=9, genes=6, modules=3)
    model = PooledTrees(Knowledge(pathways), jobs=1).fit(competition)
    kernel, zero = np.random.default_rng(0).uniform(size=(3, 9)), np.zeros((3, 6))
    got = model._pairs(kernel, zero, zero)[0]
    for row in range(3):
        weighted = pd.DataFrame(model.weights_ * kernel[row][:, None])
        effects = pd.DataFrame(competition.effects.to_numpy())
        np.testing.assert_allclose(got[row], weighted_median(effects, weighted))


def test_knowledge_of_no_training_row_leaves_the_constant(tmp_path):
    competition, _ = planted(tmp_path, rows=20, genes=10)
    (tmp_path / "other.gmt").write_text("here\t\tX1\tX2\tX3\nthere\t\tX4\tX5\tX6\n")
    pathways = load_pathways(tmp_path / "other.gmt", names=GeneNames())
    model = PooledTrees(Knowledge(pathways), jobs=1).fit(competition)
    prediction = model.predict(["P1", "X1"])
    np.testing.assert_array_equal(prediction, [model.constant_.effect_] * 2)
    assert np.isfinite(model.residuals_).to_numpy().all()
