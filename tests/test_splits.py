"""Folds: at random, repeated, with similar perturbations together, and the single hold-out."""

import numpy as np
import pandas as pd
import pytest

from kit import (
    InputError,
    folds,
    grouped_folds,
    hold_out,
    repeated_folds,
)
from kit.evaluation.splits import groups

NAMES = [f"P{i}" for i in range(23)]


def similarity_of(blocks, inside=0.9, outside=0.1, seed=0):
    """A symmetric frame in which the names of a block are alike; rows are shuffled."""
    names = [name for block in blocks for name in block]
    block_of = {name: number for number, block in enumerate(blocks) for name in block}
    order = np.random.default_rng(seed).permutation(names)
    values = [
        [1.0 if a == b else inside if block_of[a] == block_of[b] else outside for b in order]
        for a in order
    ]
    return pd.DataFrame(values, order, order)


def test_folds_part_all_rows_and_depend_on_the_seed():
    parts = folds(NAMES, 5, seed=1)
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    assert {len(part) for part in parts} == {4, 5}
    assert parts == folds(NAMES, 5, seed=1)
    assert parts != folds(NAMES, 5, seed=2)


@pytest.mark.parametrize("parts", [1, 24])
def test_impossible_folds_are_refused(parts):
    with pytest.raises(InputError, match=f"{parts} folds of 23 perturbations; want 2 to 23"):
        folds(range(23), parts)


def test_repeats_differ_and_the_first_is_that_of_folds():
    repeats = repeated_folds(NAMES, 5, 4, seed=3)
    assert repeats[0] == folds(NAMES, 5, seed=3)
    assert len({str(split) for split in repeats}) == 4
    for split in repeats:
        assert sorted(name for part in split for name in part) == sorted(NAMES)
    assert repeats == repeated_folds(NAMES, 5, 4, seed=3)
    assert repeats[1] not in repeated_folds(NAMES, 5, 4, seed=4)


def test_the_hold_out_is_one_split_of_thirty():
    names = [f"P{i}" for i in range(80)]
    (held_out,) = hold_out(names, seed=2)
    assert len(set(held_out)) == 30
    assert set(held_out) < set(names)
    assert hold_out(names, seed=2) == [held_out] != hold_out(names, seed=3)
    with pytest.raises(InputError, match="30 of 15 perturbations cannot be held out; want 1 to 14"):
        hold_out(names[:15])
    with pytest.raises(InputError, match="23 of 23"):
        hold_out(NAMES, 23)


@pytest.mark.parametrize("seed", range(5))
def test_no_planted_group_is_parted_and_folds_are_nearly_equal(seed):
    blocks = [NAMES[:4], NAMES[4:8], NAMES[8:11], NAMES[11:13], *([name] for name in NAMES[13:])]
    similarity = similarity_of(blocks, seed=seed)
    parts = grouped_folds(similarity, 5, seed=seed)
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    assert {len(part) for part in parts} == {4, 5}
    for block in blocks:
        assert sum(bool(set(part) & set(block)) for part in parts) == 1
    assert parts == grouped_folds(similarity, 5, seed=seed)
    assert {frozenset(group) for group in groups(similarity)} == set(map(frozenset, blocks))


def test_groups_are_those_of_average_linkage_by_hand():
    """a-b are .8 alike; c is .6 to a and .3 to b, in mean .45."""
    similarity = pd.DataFrame(
        [[1, 0.8, 0.6], [0.8, 1, 0.3], [0.6, 0.3, 1]], list("abc"), list("abc")
    )
    assert groups(similarity, at_least=0.8) == [["a", "b"], ["c"]]
    assert groups(similarity, at_least=0.46) == [["a", "b"], ["c"]]
    assert groups(similarity, at_least=0.45) == [["a", "b", "c"]]
    assert groups(similarity, at_least=0.81) == [["a"], ["b"], ["c"]]


def test_groups_do_not_depend_on_the_order_of_rows_or_columns():
    random = np.random.default_rng(1)
    vectors = random.normal(size=(12, 3))
    cosine = vectors @ vectors.T / np.outer(*[np.linalg.norm(vectors, axis=1)] * 2)
    similarity = pd.DataFrame(cosine, NAMES[:12], NAMES[:12])
    order = random.permutation(NAMES[:12])
    turned = similarity.loc[order, order[::-1]]
    assert {frozenset(g) for g in groups(turned)} == {frozenset(g) for g in groups(similarity)}


def test_a_giant_group_is_cut_where_it_is_least_alike():
    """Ten of twelve are alike, in two halves of five that are more so; a fold takes six."""
    halves = [NAMES[:5], NAMES[5:10]]
    similarity = similarity_of([*halves, NAMES[10:11], NAMES[11:12]])
    similarity.loc[halves[0], halves[1]] = similarity.loc[halves[1], halves[0]] = 0.6
    with pytest.warns(
        UserWarning, match=r"10 perturbations .* mean similarity 0.6\) are more than the 6"
    ):
        first, second = grouped_folds(similarity, 2)
    assert len(first) == len(second) == 6
    for half in halves:
        assert set(half) < set(first) or set(half) < set(second)


def test_pairs_without_a_value_are_not_alike():
    similarity = similarity_of([NAMES[:3], NAMES[3:6]])
    similarity.loc["P0"] = similarity["P0"] = np.nan
    assert {frozenset(g) for g in groups(similarity)} == {
        frozenset(["P0"]),
        frozenset(["P1", "P2"]),
        frozenset(NAMES[3:6]),
    }


def test_a_similarity_that_cannot_be_used_is_refused():
    similarity = similarity_of([NAMES[:3], NAMES[3:6]])
    with pytest.raises(InputError, match=r"columns do not match rows: .*missing: P5"):
        grouped_folds(similarity.drop(columns="P5"), 2)
    with pytest.raises(InputError, match=r"2 groups of similar .* do not fill 3 folds"):
        grouped_folds(similarity_of([NAMES[:2], NAMES[2:4]]), 3)
    similarity.loc["P1", "P4"] = 0.5
    with pytest.raises(InputError, match="not symmetric"):
        grouped_folds(similarity, 2)
    with pytest.raises(InputError, match="7 folds of 6"):
        grouped_folds(similarity, 7)
