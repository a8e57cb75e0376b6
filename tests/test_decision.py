"""The decision: a slow search over all choices, medians, uncertain directions, and beliefs by hand."""

from dataclasses import replace
from itertools import product
from math import log2, sqrt

import numpy as np
import pandas as pd
import pytest

from kit import InputError, decision
from kit.decision import (
    CANDIDATES,
    FLOOR,
    Distribution,
    decide,
    join,
    mix,
)


def belief_of(values, rows=None, weights=None, names=None, **options):
    """A Distribution over scenarios; rows: chances by perturbation, by default one that is even."""
    values = np.asarray(values, dtype=float)
    atoms, genes = values.shape
    index = pd.Index([f"atom {i}" for i in range(atoms)], name="perturbation")
    columns = pd.Index([f"G{i}" for i in range(genes)])
    weights = np.ones(values.shape) if weights is None else np.asarray(weights, dtype=float)
    rows = np.full((1, atoms), 1 / atoms) if rows is None else np.asarray(rows, dtype=float)
    names = [f"new {i}" for i in range(len(rows))] if names is None else names
    error = (weights * np.abs(values - np.median(values, axis=0))).mean(axis=1)
    return Distribution(
        values=pd.DataFrame(values, index, columns),
        weights=pd.DataFrame(weights, index, columns),
        rows=pd.DataFrame(rows, pd.Index(names, name="perturbation"), index),
        error=pd.Series(error, index),
        baseline=pd.Series(values.mean(axis=0), columns),
        **options,
    )


def random_belief(seed, atoms=3, genes=2, perturbations=1, **options):
    random = np.random.default_rng(seed)
    values = random.normal(random.normal(0, 0.3, genes), 0.3, (atoms, genes))
    weights = random.exponential(size=(atoms, genes)) * (0.1 + np.abs(values))
    weights *= genes / weights.sum(axis=1, keepdims=True)
    rows = random.dirichlet(np.ones(atoms), perturbations)
    return belief_of(values, rows, weights, **options)


def told_apart(belief, seed):
    """The belief with chances of its own for each gene."""
    random = np.random.default_rng(seed)
    shape = len(belief.genes), len(belief.perturbations), len(belief.values)
    chance = random.dirichlet(np.ones(shape[2]), shape[:2]).astype(np.float32)
    mass = chance * belief.weights.to_numpy(dtype=np.float32).T[:, None, :]
    mass /= mass.sum(axis=2, keepdims=True).mean(axis=0)
    return replace(belief, chance=chance, mass=mass)


def gated(truth, value, gate):
    t = min(max(abs(truth), abs(value)) / gate, 1.0)
    return (t * t * (3 - 2 * t)) ** 2


def expected_score(belief, choice, gate=0.2):
    """Expected W x Wcos of one choice (perturbations x genes), entry by entry."""
    values, weights = belief.values.to_numpy(), belief.weights.to_numpy()
    rows, chance, mass = belief.rows.to_numpy(), belief.chances(), belief.masses()
    atoms, genes = values.shape
    base, floor = belief.baseline.to_numpy(), FLOOR * np.median(belief.error)
    w = dot = truth = predicted = 0.0
    for p in range(len(rows)):
        together = missed = base_missed = 0.0
        for a in range(atoms):
            error = sum(weights[a, g] * abs(values[a, g] - choice[p][g]) for g in range(genes))
            base_error = sum(weights[a, g] * abs(values[a, g] - base[g]) for g in range(genes))
            gain = log2((base_error / genes + floor) / (error / genes + floor))
            together += rows[p, a] * gain
            for g in range(genes):
                missed += mass[g, p, a] * abs(values[a, g] - choice[p][g])
                base_missed += mass[g, p, a] * abs(values[a, g] - base[g])
                likely = chance[g, p, a] * gated(values[a, g], choice[p][g], gate)
                dot += likely * values[a, g] * choice[p][g]
                truth += likely * values[a, g] ** 2
                predicted += likely * choice[p][g] ** 2
        apart = log2(max(base_missed, 1e-12) / max(missed, 1e-12))
        w += belief.scenarios * together + (1 - belief.scenarios) * apart
    return w * dot / max(sqrt(predicted * truth), 1e-12) if dot > 0 else -np.inf


def tried(values):
    """A grid of values for one gene: its atoms, 0, and a line between the ends of both."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    return sorted({0.0, *values, *np.linspace(low, high, 15)})


def permuted(belief, places, atoms, genes):
    """The same belief with perturbations, scenarios and genes in another order."""
    return replace(
        belief,
        values=belief.values.iloc[atoms, genes],
        weights=belief.weights.iloc[atoms, genes],
        rows=belief.rows.iloc[places, atoms],
        error=belief.error.iloc[atoms],
        baseline=belief.baseline.iloc[genes],
        chance=belief.chances()[np.ix_(genes, places, atoms)],
        mass=belief.masses()[np.ix_(genes, places, atoms)],
    )


@pytest.mark.parametrize(("scenarios", "apart"), [(1.0, False), (0.5, False), (0.0, True)])
def test_tiny_beliefs_come_near_the_best_of_all_choices(scenarios, apart):
    """Two genes and three scenarios are the hardest case: few entries, many local optima."""
    found, best = [], []
    for seed in range(8):
        belief = random_belief(seed, scenarios=scenarios)
        belief = told_apart(belief, seed) if apart else belief
        choices = product(*(tried(values) for values in belief.values.to_numpy().T))
        best.append(max(expected_score(belief, [choice]) for choice in choices))
        found.append(expected_score(belief, decide(belief).to_numpy()))
    assert np.mean(found) > 0.8 * np.mean(best)
    assert (
        np.array(found) <= np.array(best) * 1.1 + 0.01
    ).all()  # the loop counts as `decide` does


def test_no_single_entry_can_be_changed_for_much_better():
    belief = random_belief(3, atoms=12, genes=10, perturbations=4)
    chosen = decide(belief).to_numpy()
    found = expected_score(belief, chosen)
    random = np.random.default_rng(0)
    for _ in range(150):
        other = chosen.copy()
        row, gene = random.integers(4), random.integers(10)
        other[row, gene] = random.choice(tried(belief.values.to_numpy()[:, gene]))
        assert expected_score(belief, other) < 1.02 * found


@pytest.mark.parametrize("scenarios", [1.0, 0.5])
def test_the_choice_is_better_than_plain_ones(scenarios):
    for seed in range(4):
        belief = random_belief(seed, atoms=15, genes=20, perturbations=4, scenarios=scenarios)
        found = expected_score(belief, decide(belief).to_numpy())
        baseline = np.tile(belief.baseline, (4, 1))
        plain = belief.mean(), belief.quantile(0.3), belief.quantile(0.7)
        for choice in (*(frame.to_numpy() for frame in plain), baseline, baseline * 0):
            assert found > expected_score(belief, choice)


def ring(values, weights):
    """Scenarios in which every gene takes each value once, and all miss by the same amount."""
    turns = (np.arange(len(values))[:, None] + np.arange(len(values))) % len(values)
    return np.asarray(values)[turns], np.asarray(weights)[turns]


def test_where_direction_tells_nothing_it_is_the_weighted_median():
    random = np.random.default_rng(0)
    size = CANDIDATES // 2  # every value is then a candidate
    values, weights = random.normal(0.004, 0.01, size), random.exponential(size=size)
    truth, mass = ring(values, weights)
    # One gene far above the gate holds all of Wcos, and weighs nothing.
    truth, mass = np.column_stack([np.full(size, 3.0), truth]), np.column_stack([0 * values, mass])
    chosen = decide(belief_of(truth, weights=mass)).to_numpy()[0]
    loss = [(weights * np.abs(values - value)).sum() for value in values]
    assert chosen[0] == 3
    np.testing.assert_allclose(chosen[1:], values[np.argmin(loss)], rtol=1e-6)


def uncertain(share, gate):
    """The choice where one gene is all but certain and ten others are up with this chance, else down."""
    up = np.arange(20) < 20 * share
    others = np.column_stack([np.roll(np.where(up, 0.3, -0.3), 2 * gene) for gene in range(10)])
    certain = np.where(np.arange(20) % 2, 0.9, 1.1)
    belief = belief_of(np.column_stack([certain, others]), scenarios=0.0)
    return decide(replace(belief, baseline=belief.baseline * 0), gate=gate).to_numpy()[0]


def test_genes_of_uncertain_direction_are_set_to_zero():
    certain, *others = uncertain(share=0.5, gate=0.2)
    assert certain > 0.89
    assert np.abs(others).max() < 0.1


def test_the_gate_decides_which_genes_count_for_direction():
    # Eleven of twenty are up: the median is .3, and costs direction where it is above the gate.
    wide, narrow = (uncertain(share=0.55, gate=gate)[1:] for gate in (20.0, 0.2))
    np.testing.assert_allclose(wide, 0.3, rtol=1e-6)
    assert (narrow < 0.27).all()


def test_a_certain_scenario_is_returned_as_it_is():
    random = np.random.default_rng(1)
    atoms = CANDIDATES // 2
    values = random.normal(0, 0.3, (atoms, 6))
    rows = np.eye(atoms)[[4, 0, 9]]
    chosen = decide(belief_of(values, rows))
    np.testing.assert_allclose(chosen, values[[4, 0, 9]], rtol=1e-6)
    assert list(chosen.index) == ["new 0", "new 1", "new 2"]
    # Of more scenarios than candidates it is met to within a step between these.
    values = random.normal(0, 0.3, (50, 6))
    chosen = decide(belief_of(values, np.eye(50)[[7]])).to_numpy()[0]
    step = (values.max(axis=0) - values.min(axis=0)) / (CANDIDATES // 2 - 1)
    assert (np.abs(chosen - values[7]) <= step).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_one_scenario_alone_is_certain():
    values = [[0.5, -0.2, 0.0]]
    np.testing.assert_allclose(decide(belief_of(values)), values, rtol=1e-6)


@pytest.mark.parametrize("apart", [False, True])
def test_order_of_perturbations_genes_and_scenarios_means_nothing(apart):
    belief = random_belief(5, atoms=14, genes=11, perturbations=5, scenarios=0.5)
    belief = told_apart(belief, 5) if apart else belief
    random = np.random.default_rng(2)
    other = permuted(belief, *(random.permutation(size) for size in (5, 14, 11)))
    first, second = decide(belief), decide(other)
    pd.testing.assert_frame_equal(first, second.loc[first.index, first.columns], rtol=1e-6)
    pd.testing.assert_frame_equal(first, decide(belief))


def test_genes_are_decided_the_same_in_blocks_of_one(monkeypatch):
    belief = told_apart(random_belief(3, atoms=6, genes=30, perturbations=4), 3)
    together = decide(belief)
    monkeypatch.setattr(decision, "AT_ONCE", 1)
    pd.testing.assert_frame_equal(decide(belief), together)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_nothing_ever_happens_nothing_is_predicted():
    assert not decide(belief_of(np.zeros((4, 3)), np.full((2, 4), 0.25))).to_numpy().any()


def test_mean_and_quantiles_by_hand():
    belief = belief_of([[1, 0], [3, -2], [-1, 4]], [[0.5, 0.3, 0.2], [0, 0, 1]])
    np.testing.assert_allclose(belief.mean(), [[1.2, 0.2], [-1, 4]], rtol=1e-6)
    np.testing.assert_array_equal(belief.quantile(0.4), [[1, 0], [-1, 4]])
    np.testing.assert_array_equal(belief.quantile(0.1), [[-1, -2], [-1, 4]])
    np.testing.assert_array_equal(belief.quantile(0.85), [[3, 4], [-1, 4]])
    assert list(belief.mean().columns) == ["G0", "G1"]
    chance = np.zeros((2, 2, 3), dtype=np.float32)
    chance[0, :, 1] = chance[1, :, 0] = 1
    apart = replace(belief, chance=chance)
    np.testing.assert_array_equal(apart.mean(), [[3, 0], [3, 0]])
    np.testing.assert_array_equal(apart.quantile(0.5), [[3, 0], [3, 0]])


def test_a_belief_keeps_its_rows_when_they_are_reordered():
    belief = told_apart(random_belief(0, atoms=5, genes=3, perturbations=4), 1)
    some = belief.reindex(["new 2", "new 0"])
    assert list(some.perturbations) == ["new 2", "new 0"]
    pd.testing.assert_frame_equal(some.mean(), belief.mean().loc[["new 2", "new 0"]])
    np.testing.assert_array_equal(some.masses(), belief.masses()[:, [2, 0]])


def test_beliefs_are_mixed_by_chance():
    one = random_belief(0, atoms=4, genes=3, perturbations=2)
    other = replace(
        told_apart(one, 1), rows=one.rows.iloc[:, ::-1].set_axis(one.rows.columns, axis=1)
    )
    other = replace(other, scenarios=0.0)
    mixed = mix(one, other, 0.3)
    np.testing.assert_allclose(mixed.rows, 0.3 * one.rows + 0.7 * other.rows, rtol=1e-6)
    np.testing.assert_allclose(mixed.mean(), 0.3 * one.mean() + 0.7 * other.mean(), atol=1e-6)
    np.testing.assert_allclose(mixed.chances().sum(axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(mixed.masses(), 0.3 * one.masses() + 0.7 * other.masses(), rtol=1e-5)
    assert mixed.scenarios == pytest.approx(0.3)
    np.testing.assert_allclose(mix(one, other, 1.0).chances(), one.chances())
    with pytest.raises(InputError, match="training rows or perturbations"):
        mix(one, random_belief(1, atoms=4, genes=3, perturbations=2), 0.5)
    with pytest.raises(InputError, match="training rows or perturbations"):
        mix(one, one.reindex(["new 1"]), 0.5)


def test_beliefs_about_different_perturbations_are_joined():
    belief = told_apart(random_belief(0, atoms=4, genes=3, perturbations=3), 1)
    parts = [belief.reindex(["new 1"]), belief.reindex(["new 2", "new 0"])]
    joined = join(parts)
    assert list(joined.perturbations) == ["new 1", "new 2", "new 0"]
    back = joined.reindex(belief.perturbations)
    pd.testing.assert_frame_equal(back.rows, belief.rows)
    np.testing.assert_array_equal(back.chances(), belief.chances())
    pd.testing.assert_frame_equal(decide(back), decide(belief))


def test_the_expected_mass_of_a_plain_belief_is_chance_times_weight():
    belief = random_belief(0, atoms=4, genes=3, perturbations=2)
    for gene in range(3):
        wanted = belief.rows.to_numpy() * belief.weights.to_numpy()[:, gene]
        np.testing.assert_allclose(belief.masses()[gene], wanted, rtol=1e-5)
        np.testing.assert_allclose(belief.chances()[gene], belief.rows, rtol=1e-6)
