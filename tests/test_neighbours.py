"""Scenarios by likeness: planted neighbours, shuffled ones, and how the mixture is learned."""

import numpy as np
import pytest
from small_planted import gains, noisy, planted
from threadpoolctl import threadpool_limits

from kit import out_of_fold
from kit.knowledge import Knowledge
from kit.models.baselines import Constant
from kit.models.neighbours import SETTINGS, Neighbours


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are small here: on a busy machine threads would wait for each other."""
    with threadpool_limits(1):
        yield


class Even(Neighbours):
    """All settings of similarity with equal shares, none learned: what learning is compared with."""

    def fit(self, train):
        super().fit(train)
        self.mixture_[:] = 1 / len(self.mixture_)
        return self


@pytest.mark.parametrize("family", [Neighbours, Even])
def test_a_shared_effect_of_pathway_members_is_found(tmp_path, family):
    competition, pathways = planted(tmp_path)
    neighbours, constant = gains(family(Knowledge(pathways)), competition)
    assert neighbours > constant + 10


def test_responses_elsewhere_are_found(tmp_path):
    competition, _ = planted(tmp_path)
    neighbours, constant = gains(
        Neighbours(Knowledge(None, noisy(competition.effects, 0.2))), competition
    )
    assert neighbours > constant + 10


def test_neighbours_responses_are_found_without_the_own_one(tmp_path):
    competition, pathways = planted(tmp_path)
    atlas = noisy(competition.effects, 0.2)
    model = Neighbours(Knowledge(pathways, atlas), exclude_own_response=True)
    neighbours, constant = gains(model, competition)
    assert neighbours > constant + 10
    assert "neighbour_response" in set(
        model.fit(competition).mixture_.index.get_level_values("kernel")
    )


def test_shuffled_knowledge_gains_nothing(tmp_path):
    differences = []
    for seed in range(4):
        competition, pathways = planted(tmp_path, seed=seed, shuffle=True)
        effects = competition.effects
        mixed = effects.sample(frac=1, random_state=seed).set_axis(effects.index)
        model = Neighbours(Knowledge(pathways, noisy(mixed, 0.1)))
        neighbours, constant = gains(model, competition)
        differences.append(neighbours - constant)
    assert np.mean(differences) < 2


def test_with_fifteen_rows_learning_is_not_worse_than_the_bag(tmp_path):
    differences = []
    for seed in range(6):
        competition, pathways = planted(tmp_path, rows=19, modules=4, noise=0.15, seed=seed)
        names = list(competition.effects.index[-4:])
        learned, bag = (
            out_of_fold(family(Knowledge(pathways)), competition, [names]).score()
            for family in (Neighbours, Even)
        )
        differences.append(learned.score_per_60 - bag.score_per_60)
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert np.mean(differences) > -2 * error - 1


def test_the_mixture_is_learned_in_part(tmp_path):
    competition, pathways = planted(tmp_path)
    learned = Neighbours(Knowledge(pathways)).fit(competition).mixture_
    assert len(learned) % len(SETTINGS) == 0
    assert learned.sum() == pytest.approx(1)
    rows = len(competition.effects)
    assert learned.min() > 80 / (rows + 80) / len(learned)  # its share of the even mixture
    # Members of a module are alike to 1, others to 0: the lowest floors are the truest.
    for power in (1, 2, 3):
        by_floor = learned.xs(power, level="power").groupby("floor").sum()
        assert by_floor.idxmax() == by_floor.index.min()


def energy_score(shares, chances, apart):
    """Mean over rows of E|truth - scenario| - E|scenario - scenario| / 2, entry by entry."""
    mixed, total = np.tensordot(shares, chances, axes=1), 0.0
    rows = range(len(apart))
    for row in rows:
        total += sum(mixed[row, s] * apart[row, s] for s in rows)
        total -= sum(mixed[row, s] * mixed[row, t] * apart[s, t] for s in rows for t in rows) / 2
    return total / len(apart)


def test_no_other_mixture_foresees_left_out_rows_better(tmp_path):
    competition, pathways = planted(tmp_path, rows=12, genes=10, modules=3, noise=0.2)
    model = Neighbours(Knowledge(pathways, noisy(competition.effects, 0.3))).fit(competition)
    rows = competition.effects.index
    chances = np.array(list(model.settings(rows, rows).values()))
    # Undo the shrinkage to the even mixture.
    part = len(rows) / (len(rows) + 80)
    learned = (model.mixture_.to_numpy() - (1 - part) / len(chances)) / part
    effects, weights = competition.effects.to_numpy(), competition.weights.to_numpy()
    error = model.constant_.error_.to_numpy()
    apart = np.zeros((12, 12))
    for one in range(12):
        scale = error[one] + 0.5 * np.median(error)
        for other in range(12):
            distance = (weights[one] * np.abs(effects[one] - effects[other])).mean() / scale
            apart[one, other] += distance / 2
            apart[other, one] += distance / 2
    found = energy_score(learned, chances, apart)
    random = np.random.default_rng(0)
    others = [np.full(len(chances), 1 / len(chances)), *np.eye(len(chances))[::7]]
    others += [0.9 * learned + 0.1 * one for one in random.dirichlet(np.ones(len(chances)), 10)]
    for other in others:
        assert found <= energy_score(other, chances, apart) + 2e-3


def test_chances_are_chances_and_a_row_is_no_scenario_of_its_own(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=8, modules=3)
    model = Neighbours(Knowledge(pathways)).fit(competition)
    rows = model.rows(["P4", "X1", "NOWHERE"])
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert rows.at["P4", "P4"] == 0
    assert rows.loc["P4", ["P1", "P7", "P10", "P13", "P16"]].sum() > 0.8
    np.testing.assert_allclose(rows.loc["NOWHERE"], 1 / 18)
    belief = model.predict_distribution(["P4", "X1"])
    np.testing.assert_allclose(belief.rows, rows.loc[["P4", "X1"]])
    np.testing.assert_array_equal(belief.values, competition.effects)


def test_without_knowledge_all_rows_are_alike(tmp_path):
    competition, _ = planted(tmp_path, rows=12, genes=8, modules=3)
    model = Neighbours().fit(competition)
    assert model.mixture_.empty
    assert (model.rows(["P0", "X1"]) == 1 / 12).to_numpy().all()
    constant = Constant().fit(competition)
    np.testing.assert_array_equal(model.predict(["X1"]), [constant.effect_])


def test_rows_that_the_constant_hits_exactly_do_no_harm(tmp_path):
    competition, pathways = planted(tmp_path, rows=12, genes=8, modules=3)
    competition.effects.iloc[:8] = 0.0
    model = Neighbours(Knowledge(pathways)).fit(competition)
    assert np.isfinite(model.mixture_).all()
    assert model.mixture_.sum() == pytest.approx(1)
