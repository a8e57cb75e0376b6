"""What is known of knockdowns before they are measured: joined responses, kernels, old and new names."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_planted import atlas_of, planted
from threadpoolctl import threadpool_limits

from kit.knowledge import Knowledge, Pathways, load_pathways
from kit.knowledge.similarity import joined_responses, masked_cosine
from kit.models import Neighbours
from kit.models.transfer import Transfer
from kit.screens.gene_names import GeneNames

NAMES = GeneNames(symbols={"AARS1", "KARS1"}, previous={"AARS": {"AARS1"}, "KARS": {"KARS1"}})
SETS = "synthetases\t\tAARS1\tKARS1\tDARS1\tVARS1\nchannels\t\tKCN1\tKCN2\tKCN3\tKCN4\n"
GENES = [f"G{i}" for i in range(12)]


@pytest.fixture
def pathways(tmp_path):
    (tmp_path / "sets.gmt").write_text(SETS)
    return load_pathways(tmp_path / "sets.gmt", names=NAMES)


@pytest.fixture
def atlas():
    """Responses of six of the eight knockdowns under the names of another day, synthetases alike."""
    random = np.random.default_rng(0)
    symbols = ["AARS", "KARS1", "DARS1", "KCN1", "KCN2", "KCN3"]
    shared = random.normal(size=(2, 12))[[0, 0, 0, 1, 1, 1]]
    effects = pd.DataFrame(shared + random.normal(0, 0.3, (6, 12)), symbols, GENES)
    return atlas_of(effects)


ALL = ["AARS1", "KARS", "DARS1", "VARS1", "KCN1", "KCN2", "KCN3", "KCN4", "STRANGER"]


def test_each_dataset_is_centred_by_its_own_mean():
    effects = [[1.0, np.nan], [3.0, 4.0], [10.0, 0.0], [20.0, 1.0]]
    found = joined_responses(atlas_of(effects, "ABCD", datasets=["x", "x", "y", "y"]))
    wanted = [[-1, np.nan], [1, 0], [-5, -0.5], [5, 0.5]]
    np.testing.assert_array_equal(found.loc[list("ABCD")], wanted)


def test_a_knockdown_of_two_datasets_gets_the_mean_by_precision():
    effects = [[1.0, 2.0], [-1.0, -2.0], [7.0, np.nan], [1.0, 3.0]]
    options = {"symbols": ["A", "B", "A", "C"], "datasets": ["x", "x", "y", "y"]}
    # Centred: A is 1, 2 in x and 3, not measured in y.
    equal = joined_responses(atlas_of(effects, **options)).loc["A"]
    np.testing.assert_allclose(equal, [2, 2])
    counted = joined_responses(atlas_of(effects, n_cells=[30, 9, 10, 9], **options)).loc["A"]
    np.testing.assert_allclose(counted, [(30 * 1 + 10 * 3) / 40, 2])
    some = joined_responses(atlas_of(effects, n_cells=[30, 9, np.nan, 9], **options)).loc["A"]
    np.testing.assert_allclose(some, [2, 2])
    se = np.array([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [0.2, 0.2]])
    least = (0.1 * np.median(se)) ** 2
    one, other = 1 / (0.01 + least), 1 / (0.09 + least)
    told = joined_responses(atlas_of(effects, se=se, n_cells=[1, 1, 1, 1], **options)).loc["A"]
    np.testing.assert_allclose(told, [(one + 3 * other) / (one + other), 2])


def test_a_response_without_a_standard_error_counts_by_the_typical_one():
    effects = [[1.0], [-1.0], [7.0], [1.0]]
    se = np.array([[0.2], [0.2], [np.nan], [np.nan]])
    options = {"symbols": ["A", "B", "A", "C"], "datasets": ["x", "x", "y", "y"]}
    found = joined_responses(atlas_of(effects, se=se, **options))
    np.testing.assert_allclose(found.loc[["A", "B", "C"], 0], [2, -1, -3])
    nowhere = joined_responses(atlas_of(effects, se=se * np.nan, **options))
    np.testing.assert_allclose(nowhere, found)


def test_what_is_not_measured_is_never_a_zero():
    effects = np.array([[2.0, np.nan], [4.0, np.nan], [6.0, 1.0]])
    found = joined_responses(atlas_of(effects, "ABB"))
    np.testing.assert_array_equal(found, [[-2, np.nan], [1, 0]])


def test_control_rows_are_left_out():
    effects = np.array([[2.0, 5.0], [4.0, 7.0], [100.0, -100.0]])
    found = joined_responses(atlas_of(effects, ["A", "B", "non-targeting"]))
    assert list(found.index) == ["A", "B"]
    np.testing.assert_array_equal(found, [[-1, -1], [1, 1]])


def test_rows_of_the_competitions_own_cells_change_nothing(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=12, modules=3, noise=0.2)
    effects = competition.effects
    held_out = ["P0", "P1"]
    train = competition.subset(effects.index.difference(held_out, sort=False))
    elsewhere = effects + np.random.default_rng(1).normal(0, 0.3, effects.shape)
    planted_rows = pd.concat([elsewhere, effects.loc[["P0", "P5"]]])
    kinds = [False] * 18 + [True] * 2
    datasets = ["one"] * 18 + ["home"] * 2
    for n_cells, se in ((np.nan, None), (50, None), (50, 0.1)):
        options = {"n_cells": n_cells, "datasets": "one"}
        one = atlas_of(elsewhere, se=se, own=[False] * 18, **options)
        other = atlas_of(planted_rows, se=se, own=kinds, **options | {"datasets": datasets})
        first, second = Knowledge(pathways, one), Knowledge(pathways, other)
        pd.testing.assert_frame_equal(first.responses_, second.responses_)
        for alone in (False, True):
            kernels = second.kernels(effects.index, exclude_own_response=alone)
            for name, kernel in first.kernels(effects.index, exclude_own_response=alone).items():
                pd.testing.assert_frame_equal(kernel, kernels[name])
            pd.testing.assert_frame_equal(
                *(part.response(held_out, exclude_own_response=alone) for part in (first, second))
            )
    # An atlas of own cells alone is as good as none.
    mirror = atlas_of(effects.loc[["P0"]], own=[True])
    assert Knowledge(pathways, mirror).responses_ is None
    with threadpool_limits(1):  # small matrices: threads would wait for each other
        predictions = [
            Transfer(Knowledge(pathways, part)).fit(train).predict(held_out)
            for part in (one, other, mirror, None)
        ]
    pd.testing.assert_frame_equal(*predictions[:2])
    pd.testing.assert_frame_equal(*predictions[2:])


def test_the_masked_cosine_equals_a_slow_loop():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(5, 9)), random.normal(size=(4, 9))
    a[random.random(a.shape) < 0.3], b[random.random(b.shape) < 0.3] = np.nan, np.nan
    a[0], b[1, :] = np.nan, 0.0
    found = masked_cosine(a, b)
    for i in range(5):
        for j in range(4):
            both = ~np.isnan(a[i]) & ~np.isnan(b[j])
            one, other = a[i][both], b[j][both]
            length = np.linalg.norm(one) * np.linalg.norm(other)
            assert found[i, j] == pytest.approx(one @ other / length if length else 0.0)


def test_kernels_are_symmetric_lie_between_zero_and_one_and_keep_labels(pathways, atlas):
    for alone in (False, True):
        for one in (Knowledge(pathways, atlas), Knowledge(pathways), Knowledge(None, atlas)):
            for name, kernel in one.kernels(ALL, exclude_own_response=alone).items():
                values = kernel.to_numpy()
                assert list(kernel.index) == list(kernel.columns) == ALL, name
                assert (values >= 0).all()
                assert (values <= 1 + 1e-6).all()
                if name != "neighbour_to_response":  # the row's neighbours with the column's own
                    np.testing.assert_allclose(values, values.T, atol=1e-6)


@pytest.mark.parametrize("alone", [False, True])
def test_a_pathway_neighbour_is_more_alike_than_a_stranger(pathways, atlas, alone):
    kernels = Knowledge(pathways, atlas).kernels(ALL, exclude_own_response=alone)
    wanted = (
        {"neighbour_response", "neighbour_to_response", "neighbour_response and all_sets"}
        if alone
        else {"response_cosine", "response_components", "smoothed_response"}
    )
    assert wanted <= set(kernels)
    for name, kernel in kernels.items():
        assert kernel.at["AARS1", "KARS"] > kernel.at["AARS1", "KCN2"] + 0.2, name
        assert not kernel["STRANGER"].any(), name
    # Those that no screen holds are known by their neighbours, or not by the atlas at all.
    for name in (
        ("neighbour_response", "neighbour_to_response")
        if alone
        else ("response_cosine", "response_components")
    ):
        near = kernels[name].at["VARS1", "KARS"]
        assert near > 0.2 if alone else near == 0


def test_old_symbols_meet_new_ones(pathways, atlas):
    likeness = Knowledge(pathways, atlas)
    assert likeness.has_response(["AARS", "AARS1", "KARS", "VARS1"]).tolist() == [True] * 3 + [
        False
    ]
    new = likeness.response(["AARS1", "KARS1"])
    assert list(new.index) == ["AARS1", "KARS1"]
    np.testing.assert_array_equal(new, likeness.response(["AARS", "KARS"]))
    np.testing.assert_array_equal(new, likeness.responses_.loc[["AARS1", "KARS1"]])
    for alone in (False, True):
        old = likeness.kernels(["AARS", "KARS", "KCN1"], exclude_own_response=alone)
        for name, kernel in likeness.kernels(
            ["AARS1", "KARS1", "KCN1"], exclude_own_response=alone
        ).items():
            np.testing.assert_array_equal(kernel, old[name])
    # Without pathways there is no naming: exact symbols only.
    assert Knowledge(None, atlas).has_response(["AARS", "AARS1"]).tolist() == [True, False]


def test_a_perturbation_is_known_by_pathways_or_atlas(pathways, atlas):
    atlas = replace(atlas, obs=atlas.obs.replace("KCN3", "LONELY"))
    names = ["AARS1", "VARS1", "LONELY", "STRANGER"]
    likeness = Knowledge(pathways, atlas)
    assert likeness.has_response(names).to_dict() == dict(
        zip(names, [True, False, True, False], strict=True)
    )
    assert likeness.knows(names).tolist() == [True, True, True, False]
    assert Knowledge(pathways).knows(names).tolist() == [True, True, False, False]
    assert Knowledge(None, atlas).knows(names).tolist() == [False, False, True, False]
    assert bool(likeness)


def test_the_expected_response_by_hand(pathways, atlas):
    likeness = Knowledge(pathways, atlas)
    own = likeness.responses_
    found = likeness.response(ALL)
    np.testing.assert_allclose(found.loc["KCN2"], own.loc["KCN2"])
    assert not found.loc["STRANGER"].any()
    # All three synthetases are alike to VARS1 by 1, in either of the two kinds of parts.
    mean = own.loc[["AARS1", "KARS1", "DARS1"]].sum() / (3 + 0.05)
    np.testing.assert_allclose(found.loc["VARS1"], 2 * mean, rtol=1e-5)
    alone = likeness.response(ALL, exclude_own_response=True)
    others = own.loc[["KARS1", "DARS1"]].sum() / (2 + 0.05)
    np.testing.assert_allclose(alone.loc["AARS1"], 2 * others, rtol=1e-5)
    np.testing.assert_allclose(alone.loc["VARS1"], found.loc["VARS1"])
    assert Knowledge(pathways).response(ALL) is None


def changed(atlas, symbol):
    """The atlas with another response of one knockdown; the dataset's mean stays as it was."""
    effects = atlas.effects.copy()
    row = (atlas.obs["sgrna_symbol"] == symbol).to_numpy()
    step = 50 * np.random.default_rng(9).normal(size=effects.shape[1])
    effects.loc[row] += step
    effects.loc[(atlas.obs["sgrna_symbol"] == "BALANCE").to_numpy()] -= step
    return replace(atlas, effects=effects)


def test_alone_a_perturbations_own_response_is_not_its_own_evidence(pathways, atlas):
    """Only where it is the other: a neighbour's neighbour, and the other side of `near same`."""
    effects = pd.concat([atlas.effects, atlas.effects.iloc[[0]] * 0])
    atlas = atlas_of(effects.to_numpy(), [*atlas.obs["sgrna_symbol"], "BALANCE"])
    first, second = Knowledge(pathways, atlas), Knowledge(pathways, changed(atlas, "AARS"))
    one, other = (part.response(ALL, exclude_own_response=True) for part in (first, second))
    np.testing.assert_allclose(one.loc["AARS1"], other.loc["AARS1"], atol=1e-9)
    assert np.abs(one.loc["KARS"] - other.loc["KARS"]).max() > 1
    one, other = (part.kernels(ALL, exclude_own_response=True) for part in (first, second))
    # Channels are no neighbours of AARS1: its response is in neither of the two.
    channels = ["AARS1", "KCN1", "KCN2", "KCN3", "KCN4"]
    for name in ("all_sets", "small_sets", "neighbour_response", "neighbour_response and all_sets"):
        np.testing.assert_allclose(
            one[name].loc["AARS1", channels], other[name].loc["AARS1", channels], atol=1e-6
        )
    own = [part.kernels(ALL)["response_cosine"].loc["AARS1", "KARS"] for part in (first, second)]
    assert abs(own[0] - own[1]) > 0.1


def test_a_mean_is_over_the_parts_that_know_both(tmp_path):
    """A and B share a set; the edges know A, B and E, and that E is far from A; C is in the set alone."""
    (tmp_path / "sets.gmt").write_text("one\t\tA\tB\tC\ntwo\t\tD\tX\tY\nall\t\tA\tB\tC\tD\n")
    (tmp_path / "edges.txt").write_text("A B\nE F\n")
    pathways = load_pathways(*sorted(tmp_path.iterdir()), names=GeneNames())
    kernels = Knowledge(pathways).kernels(["A", "B", "C", "E", "STRANGER"])
    sets, edges, mean = (kernels[name] for name in ("sets", "edges", "all_sets"))
    assert mean.at["A", "B"] == pytest.approx((sets.at["A", "B"] + edges.at["A", "B"]) / 2)
    assert mean.at["A", "C"] == pytest.approx(sets.at["A", "C"])
    assert mean.at["A", "E"] == edges.at["A", "E"] == 0
    np.testing.assert_allclose(np.diag(mean), [1, 1, 1, 1, 0], rtol=1e-6)
    assert not mean["STRANGER"].any()


def test_a_source_has_no_vote_on_pairs_that_it_does_not_know(pathways, atlas):
    more = pd.DataFrame({"source": "more", "pathway": "m", "gene": ["KCN1", "KCN4", "X"]})
    more = pd.concat([more, more.assign(pathway="n", gene=["KCN1", "Y", "Z"])])
    more = replace(pathways, sets=pd.concat([pathways.sets, more]))
    for alone in (False, True):
        first, second = (
            Knowledge(one, atlas).kernels(ALL, exclude_own_response=alone)
            for one in (pathways, more)
        )
        for name in ("all_sets", "small_sets"):
            changed = first[name] != second[name]
            changed = set(changed.index[changed.any()])
            assert changed <= {"KCN1", "KCN4"}, name
    assert second["all_sets"].at["KCN1", "KCN4"] < 1 == first["all_sets"].at["KCN1", "KCN4"]


def test_beside_a_response_alone_silent_pathways_do_not_count(pathways, atlas):
    atlas = replace(atlas, obs=atlas.obs.replace({"KCN3": "LONELY", "KCN2": "OTHER"}))
    kernels = Knowledge(pathways, atlas).kernels(["LONELY", "OTHER", "KCN1", "KCN4"])
    found, mixed = (kernels[f"response_components{end}"] for end in ("", " and all_sets"))
    assert mixed.at["LONELY", "OTHER"] == pytest.approx(found.at["LONELY", "OTHER"])
    assert mixed.at["KCN1", "KCN4"] == pytest.approx(kernels["all_sets"].at["KCN1", "KCN4"])


@pytest.mark.parametrize(
    ("known", "stays"),
    [
        ("P1 P2", True),  # two training rows
        ("P1 X1", True),  # a training row and a target
        ("X1 S1", True),  # a target and a perturbation of another screen
        ("P1 G1", False),
        ("X1 G1", False),
        ("S1 S2", False),
    ],
)
def test_what_concerns_a_competition_knows_a_pair_of_its_perturbations(tmp_path, known, stays):
    competition, pathways = planted(tmp_path, rows=12, genes=8, modules=3)
    genes = [*known.split(), *(f"FOREIGN{place}" for place in range(6))]
    sets = [("new", f"set {place % 2}", gene) for place, gene in enumerate(genes)]
    sets = pd.DataFrame(sets, columns=["source", "pathway", "gene"])
    atlas = atlas_of(np.eye(3, 8), ["P1", "S1", "S2"])
    both = replace(pathways, sets=pd.concat([sets, pathways.sets]))
    found = Knowledge(both, atlas).concerning(competition)
    assert ("new" in found.pathways.parts) == stays
    assert "planted" in found.pathways.parts
    assert found.concerning(competition) is found


def test_a_screen_concerns_a_competition_by_a_response_or_through_pathways(tmp_path):
    competition, pathways = planted(tmp_path, rows=12, genes=8, modules=3)
    symbols = ["P1", "A", "X1", "B", "S1", "S2"]
    datasets = ["row", "row", "target", "target", "strange", "strange"]
    atlas = atlas_of(np.eye(6, 8), symbols, datasets=datasets)
    found = Knowledge(pathways, atlas).concerning(competition)
    assert list(found.responses_.index) == ["P1", "A", "X1", "B"]
    sets = pd.DataFrame({"source": "link", "pathway": "l", "gene": ["S1", "P2", "Z"]})
    linked = replace(pathways, sets=pd.concat([pathways.sets, sets]))
    assert len(Knowledge(linked, atlas).concerning(competition).responses_) == 6
    assert (
        Knowledge(None, atlas.take(atlas.obs["dataset"] == "strange")).concerning(competition).atlas
        is None
    )


def test_a_row_without_any_number_is_no_response(pathways):
    effects = pd.DataFrame(np.eye(3, 12), ["AARS", "KARS1", "DARS1"], GENES)
    effects.loc["DARS1"] = np.nan
    assert Knowledge(pathways, atlas_of(effects)).has_response(ALL[:3]).tolist() == [
        True,
        True,
        False,
    ]


def test_without_knowledge_there_are_no_kernels():
    nothing = Knowledge()
    assert not nothing
    assert nothing.kernels(["A", "B"]) == {}
    assert nothing.response(["A"]) is None
    assert nothing.knows(["A"]).tolist() == [False]


def test_an_atlas_of_own_and_control_rows_alone_is_no_knowledge(pathways):
    empty = atlas_of(np.ones((2, 3)), ["A", "non-targeting"], own=[True, False])
    assert not Knowledge(None, empty)
    assert set(Knowledge(pathways, empty).kernels(ALL)) == set(Knowledge(pathways).kernels(ALL))


def test_pathways_without_sources_say_nothing_beside_an_atlas(tmp_path):
    competition, _ = planted(tmp_path)
    rows = competition.effects.index
    screen = atlas_of(competition.effects.set_axis(list(rows)))
    alone = Neighbours(Knowledge(None, screen)).fit(competition)
    for hidden in (False, True):
        kernels = Knowledge(Pathways(), screen).kernels(rows, exclude_own_response=hidden)
        assert list(kernels) == list(
            Knowledge(None, screen).kernels(rows, exclude_own_response=hidden)
        )
    beside = Neighbours(Knowledge(Pathways(), screen)).fit(competition)
    pd.testing.assert_series_equal(beside.mixture_, alone.mixture_)


def test_interactions_alone_give_one_kernel(tmp_path):
    (tmp_path / "edges.txt").write_text("A B\nB C\nD E\n")
    pathways = load_pathways(tmp_path / "edges.txt", names=GeneNames())
    assert set(Knowledge(pathways).kernels(["A", "B"])) == {"all_sets"}


def test_order_of_perturbations_and_genes_means_nothing(pathways, atlas):
    turned = replace(atlas, effects=atlas.effects.iloc[:, ::-1])
    for alone in (False, True):
        first = Knowledge(pathways, atlas).kernels(ALL, exclude_own_response=alone)
        second = Knowledge(pathways, turned).kernels(ALL[::-1], exclude_own_response=alone)
        for name, kernel in first.items():
            np.testing.assert_allclose(kernel, second[name].loc[ALL, ALL], atol=1e-6)


def test_foreign_knowledge_is_shared_by_copies(pathways, atlas):
    likeness = Knowledge(pathways, atlas)
    for known in (likeness, pathways, atlas):
        assert copy.deepcopy(known) is known
    assert likeness.kernels(ALL) is likeness.kernels(list(ALL))


def test_knowledge_is_told_apart_by_content_and_not_by_place(pathways, atlas):
    told = Knowledge(pathways, atlas).fingerprint
    again = replace(atlas, effects=atlas.effects.copy(), source=Path("elsewhere.h5ad"))
    assert Knowledge(replace(pathways), again).fingerprint == told
    other = replace(atlas, effects=atlas.effects.fillna(0.0) + 1)
    renamed = replace(pathways, sets=pathways.sets.assign(gene=pathways.sets["gene"][::-1].values))
    for known in ((pathways, other), (renamed, atlas), (pathways, None), (None, atlas)):
        assert Knowledge(*known).fingerprint != told
    assert Knowledge().fingerprint == (None, None)
