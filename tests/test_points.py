"""Beliefs for models of points: worth what the model's left-out predictions were worth."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_planted import gains, planted
from threadpoolctl import threadpool_limits

from kit.knowledge import Knowledge
from kit.models import Constant, Ridge
from kit.models.baselines import leave_one_out_constant
from kit.models.pooled_regression import ResidualDistribution


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are small here: on a busy machine threads would wait for each other."""
    with threadpool_limits(1):
        yield


class Guess(Constant):
    """The constant plus a step that is drawn at random, or the true step itself plus noise."""

    def __init__(self, truth=None, noise=0.1, seed=0):
        super().__init__()
        self.truth = truth
        self.noise = noise
        self.seed = seed

    def fit(self, train):
        super().fit(train)
        left_out = leave_one_out_constant(train)
        self.random_ = np.random.default_rng(self.seed)
        self.residuals_ = train.effects - left_out - self._step(train.effects.index)
        return self

    def predict(self, perturbations):
        prediction = super().predict(perturbations)
        self.unknown_ = [name for name in perturbations if name == "NOWHERE"]
        return prediction + self._step(prediction.index)

    def _step(self, perturbations):
        step = self.random_.normal(0, self.noise, (len(perturbations), len(self.effect_)))
        if self.truth is not None:
            step = (
                step
                + self.truth.reindex(perturbations).fillna(0).to_numpy()
                - self.effect_.to_numpy()
            )
        return pd.DataFrame(step, perturbations, self.effect_.index)


def test_a_model_that_foresees_nothing_leaves_each_genes_own_distribution(tmp_path):
    competition, _ = planted(tmp_path, rows=60, modules=20, noise=0.2)
    model = ResidualDistribution(Guess()).fit(competition)
    belief = model.predict_distribution(["X1", "X2", "X3"])
    np.testing.assert_allclose(belief.rows, 1 / 60)
    effects = competition.effects
    away = belief.mean() - effects.mean()
    assert np.sqrt((away**2).to_numpy().mean()) < 0.15 * effects.to_numpy().std()
    # Shares of atoms: the same cumulative chances as those of the training rows.
    for gene in range(0, 60, 7):
        order = np.argsort(effects.to_numpy()[:, gene])
        reached = belief.chances()[gene][:, order].cumsum(axis=1)
        assert np.abs(reached - np.arange(1, 61) / 60).max() < 0.2


def test_a_model_that_foresees_is_believed(tmp_path):
    competition, _ = planted(tmp_path, rows=60, modules=60)
    truth = competition.effects
    points, constant = gains(ResidualDistribution(Guess(truth, noise=0.1)), competition)
    assert points > constant + 20
    model = ResidualDistribution(Guess(truth, noise=0.1)).fit(competition.subset(truth.index[:50]))
    mean = model.predict_distribution(list(truth.index[50:])).mean()
    deviation = truth.iloc[50:] - truth.mean()
    assert (
        np.corrcoef((mean - truth.mean()).to_numpy().ravel(), deviation.to_numpy().ravel())[0, 1]
        > 0.7
    )


def test_the_belief_in_ridge_finds_a_shared_effect(tmp_path):
    competition, pathways = planted(tmp_path)
    points, constant = gains(ResidualDistribution(Ridge(Knowledge(pathways))), competition)
    assert points > constant + 10


def test_shuffled_knowledge_gains_nothing(tmp_path):
    differences = []
    for seed in range(4):
        competition, pathways = planted(tmp_path, seed=seed, shuffle=True)
        points, constant = gains(ResidualDistribution(Ridge(Knowledge(pathways))), competition)
        differences.append(points - constant)
    assert np.mean(differences) < 2


def test_a_model_that_knows_no_more_than_the_constant_steps_nowhere(tmp_path):
    competition, _ = planted(tmp_path, rows=15, genes=8, modules=3)
    model = ResidualDistribution(Guess(noise=0.0)).fit(competition)
    belief = model.predict_distribution(["X1", "X2"])
    assert np.isfinite(belief.chances()).all()
    np.testing.assert_allclose(belief.mean(), np.tile(competition.effects.mean(), (2, 1)), atol=0.1)


def test_scenarios_of_another_belief_can_stand_beneath(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=8, modules=3)
    model = ResidualDistribution(Ridge(Knowledge(pathways))).fit(competition)
    even = model.predict_distribution(["P1", "X1"])
    rows = even.rows * 0
    rows.iloc[:, 3] = 1.0
    tilted = model.predict_distribution(["P1", "X1"], replace(even, rows=rows))
    assert list(tilted.perturbations) == ["P1", "X1"]
    np.testing.assert_allclose(tilted.chances().sum(axis=2), 1, rtol=1e-4)
    assert (tilted.chances()[:, :, 3] > even.chances()[:, :, 3]).all()


@pytest.mark.parametrize(("rows", "genes"), [(6, 8), (15, 8), (15, 1)])
def test_small_competitions_work(tmp_path, rows, genes):
    competition, pathways = planted(tmp_path, rows=rows, genes=genes, modules=3)
    model = ResidualDistribution(Ridge(Knowledge(pathways))).fit(competition)
    assert np.isfinite(model.predict(["P1", "X1"])).to_numpy().all()
