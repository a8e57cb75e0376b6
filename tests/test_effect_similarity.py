"""Similarity of effects: cosines by a plain loop, clustered order, agreement of two screens."""

import numpy as np
import pandas as pd
import pytest

from kit.expression import similarity


def effects_of(rows, genes="ABCDE"):
    """A frame with a row a perturbation: {name: effects of the genes}."""
    return pd.DataFrame(rows, index=list(genes)[: len(next(iter(rows.values())))]).T


def table_of(random, names, genes="ABCDEFGH"):
    return pd.DataFrame(random.normal(size=(len(names), len(genes))), list(names), list(genes))


def test_identical_rows_stand_side_by_side_in_the_cluster_order():
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(9, 30)), index=list("abcdefghi"))
    rows.loc["h"] = rows.loc["b"]
    rows.loc["d"] = 2 * rows.loc["f"] - rows.mean()
    order = list(similarity.cluster_order(similarity.centred_cosine(rows)))
    assert sorted(order) == sorted(rows.index)
    assert abs(order.index("h") - order.index("b")) == 1


def test_two_perturbations_are_ordered_too():
    assert set(
        similarity.cluster_order(similarity.centred_cosine(effects_of({"p": [1, 2], "q": [2, 1]})))
    ) == {
        "p",
        "q",
    }


def test_centred_cosine_equals_a_plain_loop_and_ignores_what_all_rows_share():
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.normal(size=(5, 12)), index=list("abcde"))
    cosine = similarity.centred_cosine(rows)
    mean = rows.mean()
    for one in rows.index:
        for other in rows.index:
            x, y = rows.loc[one] - mean, rows.loc[other] - mean
            assert cosine.at[one, other] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)))
    shifted = similarity.centred_cosine(rows + random.normal(size=12))
    np.testing.assert_allclose(shifted, cosine, atol=1e-12)


def test_a_row_equal_to_the_mean_resembles_nothing():
    cosine = similarity.centred_cosine(effects_of({"p": [1, 0], "q": [0, 1], "r": [0.5, 0.5]}))
    assert (cosine.loc["r"] == 0).all()
    assert cosine.at["p", "q"] == pytest.approx(-1)


def test_pairs_are_listed_once_with_the_most_similar_first():
    names = list("abc")
    cosines = pd.DataFrame(
        [[1, 0.2, 0.9], [0.2, 1, -0.4], [0.9, -0.4, 1]], index=names, columns=names
    )
    pairs = similarity.most_similar(cosines)
    assert list(pairs.index) == [("a", "c"), ("a", "b"), ("b", "c")]
    assert list(pairs) == [0.9, 0.2, -0.4]


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    random = np.random.default_rng(2)
    one = pd.DataFrame(random.integers(0, 5, size=(4, 9)))  # with ties
    other = one + random.integers(0, 5, size=(4, 9))
    wanted = spearmanr(one.to_numpy().ravel(), other.to_numpy().ravel()).statistic
    assert similarity.rank_correlation(one, other) == pytest.approx(wanted)


def test_agreement_equals_a_plain_loop_over_genes_that_both_screens_measured():
    random = np.random.default_rng(0)
    one, other = table_of(random, "pqr"), table_of(random, "sqpt", "HGFEDCBX")
    other["C"] = np.nan
    other.loc["s", "D"] = np.nan
    same, floor = similarity.between_screens({"one": one, "other": other})
    genes = list("BEFGH")
    x, y = (table[genes] - table[genes].mean() for table in (one, other))
    cosine = {
        (a, b): x.loc[a] @ y.loc[b] / np.sqrt((x.loc[a] ** 2).sum() * (y.loc[b] ** 2).sum())
        for a in one.index
        for b in other.index
    }
    assert list(same.index) == [("one", "other", "p"), ("one", "other", "q")]
    for name in "pq":
        row = same.loc[("one", "other", name)]
        assert row["cosine"] == pytest.approx(cosine[name, name])
        others = [cosine[name, b] for b in other.index if b != name]
        assert row["rank"] == pytest.approx(np.mean(np.array(others) < cosine[name, name]))
    different = [value for (a, b), value in cosine.items() if a != b]
    wanted = np.quantile(different, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(floor.loc[("one", "other")], wanted)


def test_what_all_knockdowns_of_a_screen_share_is_no_agreement():
    random = np.random.default_rng(1)
    one, other = table_of(random, "pqrs"), table_of(random, "pqrs")
    shifted = similarity.between_screens({"a": one + random.normal(size=8), "b": other})
    for before, after in zip(
        similarity.between_screens({"a": one, "b": other}), shifted, strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-12)


def test_a_copy_of_a_screen_agrees_wholly():
    one = table_of(np.random.default_rng(2), "pqrs")
    same, _ = similarity.between_screens({"a": one, "b": one.iloc[::-1, ::-1]})
    np.testing.assert_allclose(same, 1)
    assert len(same) == 4


def test_screens_without_a_common_gene_or_knockdown_are_left_out():
    random = np.random.default_rng(3)
    tables = {
        "a": table_of(random, "pq"),
        "b": table_of(random, "pq", "XYZ"),
        "c": table_of(random, "rs"),
        "d": table_of(random, "qr"),
    }
    same, floor = similarity.between_screens(tables)
    assert list(floor.index) == [("a", "d"), ("c", "d")]
    assert list(same.index) == [("a", "d", "q"), ("c", "d", "r")]
    assert similarity.between_screens({"a": tables["a"]})[0].empty
