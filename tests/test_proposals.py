"""Proposals: by hand, on a planted world, and none twice; what nobody knows explains nothing."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_competition import write_small
from small_planted import planted

from kit import InputError, load_competition
from kit.__main__ import main
from kit.forecast import next_perturbations
from kit.forecast.next_perturbations import (
    NOISE,
    conditional_covariance,
    greedy,
    most_informative,
    propose,
    read_words,
)
from kit.knowledge import Knowledge, load_pathways
from kit.metric import score, wmae
from kit.models import Neighbours
from kit.screens.gene_names import GeneNames


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
    with pytest.warns(UserWarning, match="measured already"):
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


def test_what_is_left_out_is_named_by_its_reason_and_changes_nothing(tmp_path):
    _, asked, pathways, _, pool = world(tmp_path)
    one = propose(asked, pathways, 3, candidates=pool)
    row, target = asked.effects.index[0], asked.targets["perturbation"].iloc[0]
    names = [f"{pool[0]}0", "G7", row, *pool, *pool[:2], target]
    with pytest.warns(UserWarning, match="left out") as warned:
        two = propose(asked, pathways, 3, candidates=names)
    pd.testing.assert_frame_equal(one, two)
    lines = [str(warning.message) for warning in warned]
    assert len(lines) == 5
    for reason, name in {
        "unknown": f"{pool[0]}0 (is it {pool[0]}",
        "no pathway": "G7",
        "measured": row,
        "twice": f"{pool[0]}, {pool[1]}",
        "targets": target,
    }.items():
        (line,) = [line for line in lines if reason in line]
        assert line.split(": ", 1)[1].startswith(name)


def test_a_previous_symbol_of_a_measured_gene_is_measured(tmp_path):
    _, asked, pathways, _, pool = world(tmp_path)
    row = asked.effects.index[0]
    names = GeneNames(symbols={row, *pool}, previous={"OLD": {row}})
    with pytest.warns(UserWarning, match="measured already: OLD"):
        table = propose(asked, replace(pathways, names=names), 1, candidates=["OLD", *pool])
    assert "OLD" not in table.index


def test_fewer_candidates_than_asked_for_are_all_proposed(tmp_path):
    _, asked, pathways, _, pool = world(tmp_path)
    with pytest.warns(UserWarning, match="18 proposals, not 99"):
        assert set(propose(asked, pathways, 99, candidates=pool).index) == set(pool)


def test_with_all_truth_released_proposals_are_those_from_before(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    pathways = load_pathways(folder=twin, download=False)
    with pytest.warns(UserWarning, match="is released"):
        found = propose(competition, pathways, 3)
    before = propose(replace(competition, solution=None), pathways, 3)
    pd.testing.assert_frame_equal(found, before)
    assert not found.index.isin(competition.splits.index).any()


def test_candidates_without_known_expression_are_those_that_pathways_know(tmp_path):
    _, asked, pathways, _, pool = world(tmp_path)  # its control means are all 2
    with pytest.warns(UserWarning, match="all genes of the pathways are candidates"):
        found = propose(asked, pathways, 3)
    assert set(found.index) <= {*pool, "X1", "X2", "X3"}
    genes = [*pool, *asked.genes[len(pool) :]]
    parts = {name: getattr(asked, name).set_axis(genes, axis=1) for name in ("effects", "weights")}
    control = asked.control.set_axis(genes)
    with pytest.warns(UserWarning, match=f"all {len(pool)} genes of the competition"):
        found = propose(replace(asked, **parts, control=control), pathways, 3)
    assert set(found.index) <= set(pool)
    control[pool[:2]] = 0.0
    found = propose(replace(asked, **parts, control=control), pathways, len(pool) - 2)
    assert set(found.index) == set(pool[2:])


def test_of_many_candidates_the_ones_nearest_to_the_targets_are_compared(tmp_path, monkeypatch):
    _, asked, pathways, _, pool = world(tmp_path)
    whole = propose(asked, pathways, 1, candidates=pool)
    monkeypatch.setattr(next_perturbations, "MOST", 6)
    assert len(most_informative(pathways, asked.effects.index, ["P3"], pool)) == 6
    pd.testing.assert_frame_equal(propose(asked, pathways, 1, candidates=pool), whole)


def test_what_cannot_be_proposed_is_an_error(tmp_path):
    _, asked, pathways, _, pool = world(tmp_path)
    with pytest.raises(InputError, match=r"of 0 candidates.*unknown symbols: STRANGER"):
        propose(asked, pathways, 5, candidates=["STRANGER"])
    with pytest.raises(InputError, match="for 0 targets"):
        propose(replace(asked, targets=asked.targets[:0]), pathways, 1, candidates=pool)
    with pytest.raises(InputError, match="cannot be read"):
        read_words(tmp_path)
    (tmp_path / "words.txt").write_text("KRAS, TFAM\nKRAS\n")
    assert read_words(tmp_path / "words.txt") == ["KRAS", "TFAM", "KRAS"]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_proposals_need_no_atlas(tmp_path, capsys, monkeypatch):
    folder = write_small(tmp_path / "small")
    (folder / "sets.gmt").write_text("one\t\tSTAT1\tJAK2\tMT-ND1\ntwo\t\tLRPPRC\tTFAM\tSLIRP\n")
    monkeypatch.setenv("ESG_ATLAS", str(tmp_path / "none.h5ad"))
    assert main(["next", "1", "--data", str(folder), "--pathways", str(folder / "sets.gmt")]) == 0
    said = capsys.readouterr().err
    assert "sets.gmt: 2 sets of 6 genes; GMT; knows 3 of 8 genes" in said
    assert "atlas: " not in said


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
    out, err = capsys.readouterr()
    first, second = out.splitlines()[-2:]
    assert first.startswith("JAK2")  # LRPPRC is explained by the training row TFAM
    assert second.startswith("SLIRP")
    known = re.search(r"training rows remove ([\d.]+)%", err)[
        1
    ]  # with the first line, all there is
    shares = [float(share) for share in [known, *re.findall(r"([\d.]+)%", first)]]
    assert sum(shares) == pytest.approx(100, abs=0.02)
    with pytest.warns(UserWarning, match="2 proposals, not 3") as warned:
        assert main(["next", "3", *words, "--among", str(tmp_path / "among.txt")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert any("targets themselves: STAT1" in str(warning.message) for warning in warned)
    (tmp_path / "among.txt").write_text("STAT1")
    assert main(["next", "3", *words, "--among", str(tmp_path / "among.txt")]) == 1
