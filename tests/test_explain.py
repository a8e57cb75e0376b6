"""Explanations: a planted reason is named, parts sum to the whole, the row itself is left out."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from small_competition import write_small, write_solution
from small_planted import noisy, planted
from threadpoolctl import threadpool_limits

from kit import InputError, load_competition
from kit.decision import Distribution
from kit.forecast import explain, forecast
from kit.forecast.attribution import (
    KINDS,
    NEIGHBOURS,
    SCREENS,
    STRONG,
    UNIFORM,
    contribution_shares,
    contributions,
    kernel_terms,
)
from kit.forecast.explanation import refit_without
from kit.forecast.explanation_text import as_record, as_text, gene_as_text
from kit.knowledge import Knowledge, load_pathways
from kit.models import Blend, Neighbours
from kit.models.pooled_regression import LEVELS
from kit.screens.gene_names import GeneNames


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are small here: on a busy machine threads would wait for each other."""
    with threadpool_limits(1):
        yield


def two_sources(folder, **settings):
    """A planted competition; its pathways, and a file of sets that mean nothing."""
    competition, _ = planted(folder, **settings)
    names, random = list(competition.effects.index), np.random.default_rng(9)
    sets = [random.choice(names, 8, replace=False) for _ in range(6)]
    lines = [f"noise {place}\t\t" + "\t".join(members) for place, members in enumerate(sets)]
    (folder / "noise.gmt").write_text("\n".join(lines) + "\n")
    files = (folder / "planted.gmt", folder / "noise.gmt")
    return competition, load_pathways(*files, names=GeneNames())


def members(competition, name, modules=6):
    """The other perturbations of a planted module."""
    rows = competition.effects.index
    return {row for row in rows if int(row[1:]) % modules == int(name[1:]) % modules} - {name}


def test_the_perturbations_and_the_pathway_that_were_planted_are_named(tmp_path):
    competition, pathways = two_sources(tmp_path)
    found = explain(competition, "P44", Knowledge(pathways))
    friends = members(competition, "P44")
    shares = found.training_shares()
    assert set(shares.index[: len(friends)]) == friends
    assert shares["share"].sum() == pytest.approx(1)
    assert shares["share"].iloc[: len(friends)].sum() > 0.6  # of 47 rows seven friends
    assert "planted: module 2" in found.shared[shares.index[0]].index
    evidence = found.probability.loc[sorted(friends)].sum().drop(UNIFORM)
    assert evidence.idxmax() == "planted"
    assert evidence["planted"] > 3 * evidence["noise"]
    moved = found.main_reasons().iloc[0]
    assert moved["perturbation"] in friends
    largest = found.contributions.sum().abs().max()
    assert abs(moved["expected"] - moved["mean"]) == pytest.approx(largest, rel=1e-5)
    text = as_text(found)
    assert "planted: module 2" in text
    assert "not used in this fit" in text


@pytest.mark.parametrize("screens", [False, True])
def test_parts_sum_to_chances_to_expected_effects_and_to_log_odds(tmp_path, screens):
    competition, pathways = two_sources(tmp_path, rows=30, genes=20)
    atlas = noisy(competition.effects, 0.3) if screens else None
    found = explain(competition, "P7", Knowledge(pathways, atlas))
    blend = Blend(Knowledge(pathways, atlas), parts=0).fit(found.train)
    distribution = blend.predict_distribution(["P7"])
    np.testing.assert_allclose(found.effects["expected"], distribution.mean().loc["P7"])
    summed = found.effects["mean"] + found.contributions.sum()
    np.testing.assert_allclose(summed, found.effects["expected"], atol=1e-5)
    expert = blend.expert("P7")
    assert expert.exclude_own_response != screens
    chance = expert.neighbours_.rows(["P7"]).loc["P7"]
    np.testing.assert_allclose(found.probability.sum(axis=1), chance, rtol=1e-5)
    features, model = expert.evidence(["P7"])[0], expert.regressions_[0]
    for place, up in ((len(LEVELS) - STRONG, True), (STRONG - 1, False)):
        linear = features[0] @ model.coefficients_[place] + model.intercepts_[place]
        taken = (found.effects["expected"] >= found.effects["mean"]) == up
        odds = linear[taken] if up else -linear[taken]
        np.testing.assert_allclose(found.odds.sum(axis=1)[taken], odds, rtol=1e-4, atol=1e-4)
    assert found.odds.drop(columns="usual").abs().to_numpy().max() > 0.1


def test_terms_add_up_to_every_kernel(tmp_path):
    competition, pathways = two_sources(tmp_path, rows=18, genes=10)
    rows = competition.effects.index
    for alone in (False, True):
        model = Neighbours(
            Knowledge(pathways, noisy(competition.effects, 0.3)), exclude_own_response=alone
        )
        model.fit(competition.subset(rows[:-1]))
        kernels = model.knowledge.kernels(list(rows), exclude_own_response=alone)
        terms = kernel_terms(model, rows[-1])
        assert set(terms) == set(kernels)
        for name, kernel in kernels.items():
            np.testing.assert_allclose(
                sum(terms[name].values()), kernel.loc[rows[-1], rows[:-1]], atol=1e-6
            )
        kinds = {kind for term in terms.values() for kind in term}
        assert kinds == {"planted", "noise", NEIGHBOURS if alone else SCREENS}


def test_a_screen_is_the_evidence_where_pathways_are_wrong(tmp_path):
    competition, wrong = planted(tmp_path, shuffle=True)
    found = explain(competition, "P44", Knowledge(wrong, noisy(competition.effects, 0.05)))
    evidence = found.probability.drop(columns=UNIFORM)
    assert evidence.loc[sorted(members(competition, "P44"))].sum().idxmax() == SCREENS
    strong = found.main_reasons().head(10)
    assert (
        strong["evidence"].isin([SCREENS, KINDS["response_components and all_sets"]]).mean() > 0.8
    )


def test_contributions_and_shares_are_as_counted_by_hand():
    values = pd.DataFrame([[1.0, 0], [0, -2], [0, 0]], list("abc"), ["g", "h"])
    rows = pd.DataFrame([[0.5, 0.25, 0.25]], ["X"], list("abc"))
    distribution = Distribution(values, values * 0 + 1, rows, values["g"], values.mean())
    found = contributions(distribution)
    # (1/2 - 1/3) 1 and (1/4 - 1/3) (-2)
    expected = [[1 / 6, 0], [0, 1 / 6], [0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert contribution_shares(found).to_dict() == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


def test_the_effects_of_the_perturbation_itself_change_nothing(tmp_path):
    competition, pathways = two_sources(tmp_path, rows=18, genes=10)
    other = competition.effects.copy()
    other.loc["P5"] = 3.0
    one, two = (
        explain(replace(competition, effects=effects), "P5", Knowledge(pathways))
        for effects in (competition.effects, other)
    )
    pd.testing.assert_frame_equal(one.effects, two.effects)
    pd.testing.assert_frame_equal(one.contributions, two.contributions)
    assert "P5" not in one.contributions.index
    assert (two.truth == 3).all()


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("target", ["STAT1", "LRPPRC"])  # released, and not
def test_what_is_explained_is_the_row_that_is_submitted(tmp_path, target):
    folder = write_small(tmp_path / "small")
    sets = "one\t\tSTAT1\tC4orf36.1\tLRPPRC\tKRAS\nother\t\tTFAM\tAARS1\tMED12\tLRPPRC\n"
    (folder / "sets.gmt").write_text(sets)
    table = write_solution(folder)
    table[[name for name in table if f"w_{name}" in table]] *= 40  # what sees it says so
    table.to_csv(folder / "solution_val.csv")
    competition, pathways = load_competition(folder), load_pathways(folder / "sets.gmt")
    found = explain(competition, target, Knowledge(pathways))
    submitted = forecast(competition, Knowledge(pathways)).prediction.loc[target]
    np.testing.assert_allclose(found.effects["predicted"], submitted, atol=1e-6)
    assert (found.truth is not None) == (target == "STAT1")


def test_without_knowledge_the_constant_is_predicted_and_named(tmp_path):
    competition, pathways = two_sources(tmp_path, rows=18, genes=10)
    found = explain(competition, "G3", Knowledge(pathways))  # a gene of the table, in no pathway
    assert found.constant
    assert "the prediction is the constant" in as_text(found)
    np.testing.assert_allclose(found.probability.sum(axis=1), 1 / 18)
    assert as_record(found)["constant"] is True
    without_knowledge = explain(competition, "P5")
    assert without_knowledge.constant
    assert list(without_knowledge.probability) == [UNIFORM]
    with pytest.raises(InputError, match=r"`P99` is in no pathway.*is it P9"):
        explain(competition, "P99", Knowledge(pathways))
    with pytest.raises(InputError, match=r"is it P9"):
        explain(competition, "p9", Knowledge(pathways))
    with pytest.raises(InputError, match="`G99` is not among the 10 genes"):
        found.of_gene("G99")


def test_without_its_source_or_its_friends_a_prediction_moves_and_without_noise_hardly(tmp_path):
    competition, pathways = two_sources(tmp_path, modules=16)  # three members each: two friends
    found = explain(competition, "P40", Knowledge(pathways))
    friends = members(competition, "P40", modules=16)
    table = refit_without(found, Knowledge(pathways), rows=3)
    assert set(found.training_shares().index[:2]) == friends
    change = table["change"]
    assert change["without planted"] > 0.8
    assert change["without noise"] < change["without planted"] / 2
    (third,) = {*found.training_shares().index[:3]} - friends
    for name in friends:
        least = change[f"without perturbation {name}"]
        assert 5 * change[f"without perturbation {third}"] < least < change["without planted"]
    first, second = found.training_shares().index[:2]
    assert table.at[f"without perturbation {first}", "perturbation"] == second
    knowledge = Knowledge(pathways, noisy(competition.effects, 0.1))
    both = refit_without(explain(competition, "P40", knowledge), knowledge, rows=0)
    assert list(both.index[-2:]) == ["without all pathways", "without other screens"]


def test_the_text_on_one_gene_adds_up(tmp_path):
    competition, pathways = two_sources(tmp_path, rows=30, genes=20)
    found = explain(competition, "P7", Knowledge(pathways))
    gene = found.main_reasons().index[0]
    lines = gene_as_text(found, gene).splitlines()
    pulled = sum(float(line.split()[2 if "others" in line else 1]) for line in lines[1:-1])
    row = found.effects.loc[gene]
    assert row["mean"] + pulled == pytest.approx(row["expected"], abs=0.01)
    usual, *factors = re.findall(r"(?:usual|x) (\d+\.\d+)", lines[-1])
    product = np.prod([float(usual), *map(float, factors)])
    assert product == pytest.approx(float(lines[-1].split()[-1]), rel=0.1)
    itself = gene_as_text(replace(found, perturbation=gene), gene)
    assert ["on-target" in text for text in ("\n".join(lines), itself)] == [False, True]


def command(*words):
    words = [sys.executable, "-m", "kit", "explain", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT)


def test_a_shell_gets_text_json_and_one_line_for_a_name_that_is_in_nothing(twin):
    target = pd.read_csv(twin / "pert_ids_all.csv")["pert"].iloc[-1]
    done = command(target, "--data", twin)
    assert done.returncode == 0, done.stderr
    assert "training perturbations:" in done.stdout
    done = command("NOSUCHGENE", "--data", twin)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: `NOSUCHGENE` is in no pathway")
    assert "Traceback" not in done.stderr
    gene = pd.read_csv(twin / "sample_submission.csv", nrows=1).columns[5]
    done = command(target, "--gene", gene, "--data", twin, "--json")
    assert done.returncode == 0, done.stderr
    assert "--target" not in done.stderr
    (record,) = json.loads(done.stdout)
    assert record["perturbation"] == target
    assert [one["gene"] for one in record["genes"]] == [gene]
    old = command(gene, "--target", target, "--data", twin, "--json")
    assert old.returncode == 0, old.stderr
    assert old.stdout == done.stdout
    assert sum("--target" in line for line in old.stderr.splitlines()) == 1


def test_shares_are_explained_before_one_exceeds_100_percent(tmp_path):
    competition, pathways = two_sources(tmp_path, rows=18, genes=10)
    found = explain(competition, "P5", Knowledge(pathways))
    refits = pd.DataFrame({"change": [1.4], "perturbation": ["P1"]}, ["without planted"])
    for part in as_text(found, refits).split("\n\n")[1:]:
        head, *lines = part.splitlines()
        if "%" in part:
            above = lines[: next(i for i, line in enumerate(lines) if re.search(r"\d\.\d%", line))]
            assert "100 %" in "".join([head, *above])
    assert "chance  ratio   share" in as_text(found)
    for column in ("predicted", "expected", "contribution", "factor"):
        assert f"{column}:" in as_text(found)
