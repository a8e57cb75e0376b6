"""Means, effects, samples and t from cells, against a slow loop and real data made elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_array, csr_matrix

from kit.expression import likeliest_lfc, pseudobulk, t_of_samples
from kit.expression.limma import moderated_t
from kit.expression.pseudobulk import (
    effects,
    log_normalise,
    mean_expression,
    samples,
)
from kit.io.files import InputError
from kit.metric import weights_from_t

anndata = pytest.importorskip("anndata")

GENES = ["g7", "g0", "g3", "A", "B"]  # what is asked for: a part, in an order of its own


@pytest.fixture
def cells():
    """240 cells x 14 genes: two knockdowns and a control, two guides each, three channels."""
    rng = np.random.default_rng(3)
    names = [f"g{i}" for i in range(12)] + ["A", "B"]
    symbol = rng.choice(["A", "B", "non-targeting"], 240)
    rate = np.tile(rng.gamma(2, 2, len(names)), (240, 1)) * rng.gamma(5, 0.2, (240, 1))
    rate[symbol == "A", names.index("A")] *= 0.1
    rate[symbol == "A", names.index("g3")] *= 4
    obs = pd.DataFrame(
        {
            "sgrna_id": [f"{s}_{n}" for s, n in zip(symbol, rng.integers(1, 3, 240), strict=True)],
            "sgrna_symbol": pd.Categorical(symbol),
            "channel": rng.choice(["ch_1", "ch_2", "ch_3"], 240),
        },
        index=[f"cell{i}" for i in range(240)],
    )
    counts = csr_matrix(rng.poisson(rate).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=names))


def slow_mean(cells, chosen, gene):
    """Plain mean over the chosen cells of log2(1 + 10,000 x count / cell total), one by one."""
    counts, column = cells.X.toarray().astype(float), cells.var_names.get_loc(gene)
    values = [np.log2(1 + 10_000 * row[column] / row.sum()) for row in counts[chosen]]
    return sum(values) / len(values)


def test_counts_become_logarithms_of_counts_per_ten_thousand():
    counts = csr_matrix(np.array([[1, 3, 0], [0, 0, 0], [0, 0, 8]]))
    expected = [
        [np.log2(2501), np.log2(7501), 0],
        [0, 0, 0],
        [0, 0, np.log2(10001)],
    ]
    with np.errstate(all="raise"):  # the empty cell is no division by zero
        np.testing.assert_allclose(log_normalise(counts).toarray(), expected, rtol=1e-12)
    twice = log_normalise(counts, total=[8, 5, 16]).toarray()
    np.testing.assert_allclose(twice[0], [np.log2(1251), np.log2(3751), 0], rtol=1e-12)


@pytest.mark.parametrize("layout", [csr_matrix, csr_array, csc_matrix, np.asarray])
def test_every_layout_of_counts_gives_the_same_and_stays_as_it_was(layout):
    dense = np.random.default_rng(0).poisson(1.0, (20, 9)).astype(float)
    counts = layout(dense)
    values = log_normalise(counts)
    assert values.format == "csr"
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values.toarray(), log_normalise(csr_matrix(dense)).toarray())
    after = counts if layout is np.asarray else counts.toarray()
    np.testing.assert_array_equal(after, dense)


def test_a_count_stored_in_two_parts_is_summed_before_the_logarithm():
    parts = csr_matrix((np.array([1, 2, 1]), np.array([0, 0, 1]), np.array([0, 3])), shape=(1, 2))
    expected = [[np.log2(7501), np.log2(2501)]]
    np.testing.assert_allclose(log_normalise(parts).toarray(), expected, rtol=1e-12)
    assert parts.indices.tolist() == [0, 0, 1]
    assert parts.data.tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("counts", "total", "message"),
    [
        ([[1.0, 0.5]], None, "counts hold 0.5; want raw counts"),
        ([[1.0, -2.0]], None, "counts hold -2; want raw counts"),
        ([[1.0, np.nan]], None, "counts hold nan; want raw counts"),
        ([[1.0, np.inf]], None, "counts hold inf; want raw counts"),
        ([[1.0, 2.0]], [2.0], "total of cell 0 is 2, its counts sum to 3"),
        ([[1.0, 2.0]], [np.nan], "total of cell 0 is nan"),
        ([[1.0, 2.0]], [3.0, 4.0], "2 totals for 1 cells"),
    ],
)
def test_what_is_no_count_is_refused(counts, total, message):
    with pytest.raises(InputError, match=message):
        log_normalise(np.array(counts), total)


def test_the_mean_is_that_of_a_slow_loop_over_cells(cells):
    means = mean_expression(cells, GENES)
    assert means.index.tolist() == ["A", "B", "non-targeting"]
    assert means.columns.tolist() == GENES
    for symbol in means.index:
        chosen = np.flatnonzero(cells.obs["sgrna_symbol"] == symbol)
        for gene in GENES:
            assert means.at[symbol, gene] == pytest.approx(slow_mean(cells, chosen, gene), 1e-12)


def test_cells_are_normalised_over_all_genes_before_the_subset(cells):
    part = mean_expression(cells, ["g1", "A"])
    pd.testing.assert_frame_equal(part, mean_expression(cells, cells.var_names)[["g1", "A"]])
    wrong = mean_expression(cells[:, ["g1", "A"]], ["g1", "A"])
    assert (wrong - part).abs().to_numpy().min() > 0.1


def test_the_mean_can_go_by_another_column(cells):
    means = mean_expression(cells, ["g2"], by="channel")
    chosen = np.flatnonzero(cells.obs["channel"] == "ch_2")
    assert means.index.tolist() == ["ch_1", "ch_2", "ch_3"]
    assert means.at["ch_2", "g2"] == pytest.approx(slow_mean(cells, chosen, "g2"), rel=1e-12)


def test_effects_are_differences_to_the_control(cells):
    means = mean_expression(cells, GENES)
    result = effects(cells, GENES)
    assert result.index.tolist() == ["A", "B"]
    expected = means.loc["B"] - means.loc["non-targeting"]
    np.testing.assert_allclose(result.loc["B"], expected, rtol=1e-12)
    assert result.at["A", "A"] < -1
    assert result.at["A", "g3"] > 1


def test_the_order_of_cells_and_the_size_of_blocks_do_not_matter(cells, monkeypatch):
    expected = mean_expression(cells, GENES)
    sample_means, table = samples(cells, GENES)
    monkeypatch.setattr(pseudobulk, "ROWS_AT_ONCE", 7)
    shuffled = cells[np.random.default_rng(5).permutation(cells.n_obs)]
    pd.testing.assert_frame_equal(mean_expression(shuffled, GENES), expected, rtol=1e-12)
    again, same_table = samples(shuffled, GENES)
    pd.testing.assert_frame_equal(again, sample_means, rtol=1e-12)
    pd.testing.assert_frame_equal(same_table, table)


@pytest.mark.parametrize("layout", [csr_matrix, csc_matrix, csr_matrix.toarray])
def test_cells_in_a_file_give_what_cells_in_memory_give(cells, tmp_path, layout):
    expected = effects(cells, GENES)
    cells.X = layout(cells.X)
    pd.testing.assert_frame_equal(effects(cells, GENES), expected, rtol=1e-12)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    pd.testing.assert_frame_equal(effects(backed, GENES), expected, rtol=1e-12)
    backed.file.close()


def test_a_sample_is_the_mean_of_its_cells_and_small_ones_are_left_out(cells):
    obs = cells.obs.astype(str)
    counted = obs.value_counts(["sgrna_symbol", "sgrna_id", "channel"])
    least = int(counted.median())
    expression, table = samples(cells, GENES, min_cells=least)
    assert 0 < len(table) == (counted >= least).sum() < len(counted)
    assert expression.columns.tolist() == table.index.tolist()
    assert expression.index.tolist() == GENES
    for name, row in table.iterrows():
        same = [obs[column] == row[column] for column in ("sgrna_symbol", "sgrna_id", "channel")]
        chosen = np.flatnonzero(np.logical_and.reduce(same))
        assert row["cells"] == len(chosen) >= least
        assert name == "|".join(row[["sgrna_symbol", "sgrna_id", "channel"]])
        for gene in GENES:
            expected = slow_mean(cells, chosen, gene)
            assert expression.at[gene, name] == pytest.approx(expected, rel=1e-12)


def slow_t(expression, table, perturbation, s2_posterior):
    """t of target minus control, gene by gene, in the model without intercept, ~ 0 + target + channel."""
    targets = sorted(set(table["sgrna_symbol"]))
    channels = sorted(set(table["channel"]))[1:]
    columns = [table["sgrna_symbol"] == name for name in targets]
    columns += [table["channel"] == name for name in channels]
    x = np.column_stack(columns).astype(float)
    contrast = np.zeros(x.shape[1])
    contrast[targets.index(perturbation)] = 1
    contrast[targets.index("non-targeting")] = -1
    weights = np.diag(table["cells"])
    inverse = np.linalg.inv(x.T @ weights @ x)
    beta = inverse @ x.T @ weights @ expression.to_numpy().T
    return contrast @ beta / np.sqrt(s2_posterior * (contrast @ inverse @ contrast))


@pytest.mark.parametrize("channels", [3, 1])
def test_t_is_the_contrast_to_the_control_in_one_joint_weighted_fit(cells, channels):
    cells = cells[cells.obs["channel"].isin([f"ch_{i + 1}" for i in range(channels)])]
    expression, table = samples(cells, list(cells.var_names), min_cells=2)
    result = t_of_samples(expression, table)
    assert result.index.tolist() == ["A", "B"]
    assert result.columns.tolist() == list(cells.var_names)
    design = pd.DataFrame(
        {
            "mean": 1.0,
            "A": table["sgrna_symbol"] == "A",
            "B": table["sgrna_symbol"] == "B",
            **{f"ch_{i}": table["channel"] == f"ch_{i}" for i in range(2, channels + 1)},
        }
    ).astype(float)
    fit = moderated_t(expression, design, "A", weights=table["cells"])
    for name in ("A", "B"):
        expected = slow_t(expression, table, name, fit["s2_posterior"].to_numpy())
        np.testing.assert_allclose(result.loc[name], expected, rtol=1e-9)
    assert result.loc["A"].abs().nlargest(2).index.isin(["A", "g3"]).all()


def test_samples_without_a_channel_need_no_channel(cells):
    expression, table = samples(cells, GENES, by=("sgrna_symbol", "sgrna_id"))
    assert "channel" not in table
    one = table.assign(channel="ch_1")
    pd.testing.assert_frame_equal(t_of_samples(expression, table), t_of_samples(expression, one))


def test_treat_is_zero_where_the_effect_is_small(cells):
    expression, table = samples(cells, list(cells.var_names))
    plain, treated = t_of_samples(expression, table), t_of_samples(expression, table, lfc=0.5)
    assert 0 < (treated == 0).to_numpy().sum() < treated.size
    assert (treated.abs() < plain.abs()).to_numpy().all()


def test_the_order_of_samples_does_not_matter_for_t(cells):
    expression, table = samples(cells, GENES)
    shuffled = table.sample(frac=1, random_state=0)
    result = t_of_samples(expression, shuffled).loc[["A", "B"]]
    pd.testing.assert_frame_equal(result, t_of_samples(expression, table), rtol=1e-9)


def test_a_perturbation_with_too_few_cells_is_left_out(cells):
    few = np.flatnonzero(cells.obs["sgrna_symbol"] == "B")[4:]
    expression, table = samples(cells[np.setdiff1d(np.arange(cells.n_obs), few)], GENES)
    assert set(table["sgrna_symbol"]) == {"A", "non-targeting"}
    assert t_of_samples(expression, table).index.tolist() == ["A"]


def test_bad_cells_are_told_in_one_line(cells):
    with pytest.raises(InputError, match=r"cells lack genes: g99 \(1 of 2\)"):
        mean_expression(cells, ["g1", "g99"])
    with pytest.raises(InputError, match="genes asked for are repeated: g1"):
        mean_expression(cells, ["g1", "g1"])
    with pytest.raises(InputError, match="several columns for g1"):
        mean_expression(cells[:, ["g1", "g1", "A"]], ["A", "g1"])
    with pytest.raises(InputError, match=r"lack obs columns: guide .* there are sgrna_id"):
        mean_expression(cells, GENES, by="guide")
    with pytest.raises(InputError, match="no cell is `non-targeting`"):
        effects(cells[cells.obs["sgrna_symbol"] != "non-targeting"], GENES)
    with pytest.raises(InputError, match="there are no cells"):
        effects(cells[:0], GENES)
    with pytest.raises(InputError, match="no sample has 500 cells, the largest"):
        samples(cells, GENES, min_cells=500)
    cells.obs.loc["cell4", "channel"] = np.nan
    with pytest.raises(InputError, match="1 cells have no value in sgrna_symbol"):
        samples(cells, GENES)


def test_samples_that_allow_no_test_are_told_in_one_line(cells):
    expression, table = samples(cells, GENES)
    control = table["sgrna_symbol"] == "non-targeting"
    with pytest.raises(InputError, match="no sample is `non-targeting`"):
        t_of_samples(expression.loc[:, ~control], table[~control])
    with pytest.raises(InputError, match="all samples are `non-targeting`"):
        t_of_samples(expression.loc[:, control], table[control])
    with pytest.raises(InputError, match="it lacks columns: cells"):
        t_of_samples(expression, table.drop(columns="cells"))
    with pytest.raises(InputError, match="design does not match the samples"):
        t_of_samples(expression, table.iloc[1:])
    confounded = table.assign(channel=np.where(table["sgrna_symbol"] == "B", "ch_2", "ch_1"))
    with pytest.raises(InputError, match=r"not of full rank, \(channel ch_2\) can be written"):
        t_of_samples(expression, confounded)


def test_real_cells_give_the_means_effects_and_weights_made_elsewhere(shared):
    folder = shared("real", "thp1")
    cells = anndata.read_h5ad(folder / "training_cells.h5ad")
    means = pd.read_csv(folder / "training_data_means.csv", index_col=0)
    truth = pd.read_csv(folder / "training_data_ground_truth_table.csv", index_col=0)
    genes = list(means.columns)
    ours = mean_expression(cells, genes).loc[means.index]
    np.testing.assert_allclose(ours, means, rtol=0, atol=1e-9)
    ours = effects(cells, genes).loc[truth.index]
    np.testing.assert_allclose(ours, truth[genes], rtol=0, atol=1e-9)
    # R limma 3.54.1: ~0 + target + channel, weights = cells, contrast to the control, eBayes.
    weights = weights_from_t(t_of_samples(*samples(cells, genes))).loc[truth.index, genes]
    np.testing.assert_allclose(weights, truth[[f"w_{gene}" for gene in genes]], rtol=1e-6)


@pytest.mark.parametrize("made_with", [0.0, 0.5])
def test_the_threshold_behind_shipped_weights_is_recognised(cells, made_with):
    expression, table = samples(cells, GENES)
    shipped = weights_from_t(t_of_samples(expression, table, lfc=made_with))
    turned = shipped.iloc[::-1, ::-1]
    found = likeliest_lfc(expression, table, turned, candidates=(0.0, 0.5))
    assert found == made_with
