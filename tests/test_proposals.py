"""Proposals: by hand, on a planted world, and none twice; what nobody knows explains nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_competition import write_small
from small_planted import planted

from kit import InputError, load_competition
from kit.__main__ import main
from kit.forecast.next_perturbations import (
    NOISE,
    conditional_covariance,
    greedy,
    propose,
    read_words,
)
from kit.knowledge import Knowledge
from kit.metric import score, wmae
from kit.models import Neighbours


def frame(values, names):
    return pd.DataFrame(np.array(values, dtype=float), list(names), list(names))


def test_the_first_proposal_takes_what_is_counted_by_hand():
    # Targets s and t; a is similar to s (.5), b to both (.4), c to none.
    half = [[1, 0, 0.5, 0.4, 0], [0, 1, 0, 0.4, 0], [0.5, 0, 1, 0, 0], [0.4, 0.4, 0, 1, 0]]
    covariance = frame([*half, [0, 0, 0, 0, 1]], "stabc")
    (first, one), (second, two), (third, three) = greedy(covariance, list("st"), list("abc"), 3)
    assert (first, second, third) == ("b", "a", "c")
    assert one.to_dict() == pytest.approx(dict.fromkeys("st", 0.16 / (1 + NOISE)))
    assert two["s"] == pytest.approx(0.25 / (1 + NOISE))  # a and b share nothing
    assert three.sum() == 0


def test_variance_that_is_left_equals_an_explicit_update_one_by_one():
    random = np.random.default_rng(0)
    half = random.normal(size=(7, 9))
    covariance = frame(half @ half.T, "abcdefg")
    by_hand = covariance.to_numpy()
    for place in (1, 4):
        column = by_hand[:, [place]]
        by_hand = by_hand - column @ column.T / (by_hand[place, place] + NOISE)
    np.testing.assert_allclose(conditional_covariance(covariance, ["b", "e"]), by_hand)
    taken = [part.sum() for _, part in greedy(covariance, ["a"], ["b", "e"], 2)]
    assert covariance.at["a", "a"] - sum(taken) == pytest.approx(by_hand[0, 0])


def world(folder, **settings):
    """A planted competition: of six modules three are measured, targets are of the last three."""
    competition, pathways = planted(folder, rows=60, **settings)
    rows = competition.effects.index
    module = pd.Series([int(name[1:]) % 6 for name in rows], rows)
    measured = list(rows[module < 3])
    targets = list(rows[module >= 3][:12])
    pool = [name for name in rows if name not in {*measured, *targets}]
    ids = pd.DataFrame({"perturbation": targets, "split": "val"}, [f"p{i}" for i in range(12)])
    return competition, replace(competition.subset(measured), targets=ids), pathways, module, pool


def test_one_of_each_module_that_is_not_measured_is_proposed_first(tmp_path):
    _, asked, pathways, module, pool = world(tmp_path)
    table = propose(asked, pathways, 6, candidates=[*asked.effects.index, *pool])
    assert sorted(module[table.index[:3]]) == [3, 4, 5]
    assert set(table.index) <= set(pool)
    assert not table.index.has_duplicates
    assert (table["gain"].diff().dropna() <= 1e-6).all()
    assert table["left"].iloc[0] == pytest.approx(1 - table["gain"].iloc[0], abs=1e-3)
    assert (module[table["informs"].iloc[0].split(", ")] == module[table.index[0]]).all()


def test_proposed_perturbations_help_more_than_random_ones(tmp_path):
    whole, asked, pathways, _, pool = world(tmp_path)
    targets = list(asked.targets["perturbation"])
    truth = whole.subset(targets)
    baseline = wmae(truth.effects, asked.effects.mean(), truth.weights)

    def gain(added):
        train = whole.subset([*asked.effects.index, *added])
        prediction = Neighbours(Knowledge(pathways)).fit(train).predict(targets)
        return score(truth.effects, prediction, truth.weights, baseline).w

    proposed = gain(propose(asked, pathways, 3, candidates=pool).index)
    random = np.random.default_rng(0)
    drawn = [gain(random.choice(pool, 3, replace=False)) for _ in range(8)]
    assert proposed > np.mean(drawn) + 2
    assert proposed >= max(drawn) - 0.5


def test_order_and_unknown_candidates_change_nothing(tmp_path):
    _, asked, pathways, _, pool = world(tmp_path)
    one = propose(asked, pathways, 3, candidates=pool)
    two = propose(asked, pathways, 3, candidates=["STRANGER", *pool, *pool])
    pd.testing.assert_frame_equal(one, two)
    unknown = propose(asked, pathways, 2, candidates=["STRANGER", *pool[:1]])
    assert unknown.at["STRANGER", "gain"] == 0


def test_what_cannot_be_proposed_is_an_error(tmp_path, twin):
    _, asked, pathways, _, pool = world(tmp_path)
    with pytest.raises(InputError, match="99 proposals of 18 candidates"):
        propose(asked, pathways, 99, candidates=pool)
    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    with pytest.raises(InputError, match="every target is measured"):
        propose(competition, pathways, 1)
    with pytest.raises(InputError, match="cannot be read"):
        read_words(tmp_path)
    (tmp_path / "words.txt").write_text("KRAS, TFAM\nKRAS\n")
    assert read_words(tmp_path / "words.txt") == ["KRAS", "TFAM"]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_shell_gets_a_table_or_one_line(tmp_path, capsys):
    folder = write_small(tmp_path / "small")
    (folder / "sets.gmt").write_text("one\t\tSTAT1\tJAK2\tMT-ND1\ntwo\t\tLRPPRC\tTFAM\tSLIRP\n")
    words = ["--data", str(folder), "--pathways", str(folder / "sets.gmt")]
    assert main(["next", "1", *words]) == 0
    assert (
        "MT-ND1" in capsys.readouterr().out
    )  # the only output that is neither measured nor target
    (tmp_path / "among.txt").write_text("JAK2 SLIRP STAT1 KRAS")
    assert main(["next", "2", *words, "--among", str(tmp_path / "among.txt")]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.startswith("JAK2")  # LRPPRC is explained by the training row TFAM
    assert second.startswith("SLIRP")
    assert main(["next", "3", *words, "--among", str(tmp_path / "among.txt")]) == 1
    assert "3 proposals of 2 candidates" in capsys.readouterr().err
