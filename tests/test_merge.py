"""The merge: right genes, right responses, right cells, and nothing lost when it is killed."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.sparse import csc_matrix, csr_matrix
from small_competition import GENES, write_small
from small_merged import same
from small_screen import draw_counts, labels, write_screen

import kit.screens.merging
import kit.screens.writer
from kit import CONTROL, load_competition
from kit.expression import pseudobulk
from kit.io.files import InputError
from kit.screens import merge
from kit.screens.atlas import read_responses
from kit.screens.gene_names import GeneNames
from kit.screens.layouts import LAYOUTS, Layout
from kit.screens.responses import control_shares

PLAIN = Layout(perturbation="gene")
ATLASES = {
    "replogle": "TWINB_essential_raw_singlecell_01",
    "vcc": "TWINC_adata_Training",
}


def quietly(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_competition(folder)


@pytest.fixture(scope="module")
def twin_competition(twin):
    return quietly(twin)


@pytest.fixture(scope="module")
def merged(twin, twin_competition, tmp_path_factory):
    """The twin's two atlases and its own cells, merged."""
    files = [twin / f"{name}.h5ad" for name in ATLASES.values()]
    return merge(files, twin_competition, tmp_path_factory.mktemp("merged"))


@pytest.fixture
def competition(tmp_path):
    """Six training rows, eight genes, no cells."""
    return quietly(write_small(tmp_path / "competition"))


def run(files, competition, out, **settings):
    settings = {"names": GeneNames(), "min_cells": 2, **settings}
    return merge(files, competition, out, **settings)


def responses_of(merged, dataset):
    """Effects and standard errors of one dataset, perturbation x gene."""
    atlas = anndata.read_h5ad(merged.responses)
    own = atlas[(atlas.obs["dataset"] == dataset).to_numpy()]
    symbols = own.obs["sgrna_symbol"].astype(str).to_numpy()
    frames = (own.X, own.layers["se"])
    return tuple(pd.DataFrame(values, symbols, own.var_names) for values in frames)


def planted(twin, line):
    truth = np.load(twin / "truth_effects.npz")
    return pd.DataFrame(truth[line], truth["perturbation"], truth["gene"])


def cosine(effects, truth):
    """Cosine over all places with a planted effect above 0.3 that were measured."""
    strong = (truth.abs() > 0.3).to_numpy() & effects.notna().to_numpy()
    found, wanted = effects.to_numpy()[strong], truth.to_numpy()[strong]
    return found @ wanted / np.sqrt((found @ found) * (wanted @ wanted))


# the twin's two atlases


@pytest.mark.parametrize("line", ATLASES)
def test_planted_responses_are_recovered(line, merged, twin):
    effects, _ = responses_of(merged, ATLASES[line])
    truth = planted(twin, line).loc[effects.index]
    assert cosine(effects, truth) > 0.65
    others = truth.sample(frac=1, random_state=0)
    assert cosine(effects, others) < 0.3


@pytest.mark.parametrize("line", ATLASES)
def test_the_right_genes_are_measured_under_the_competitions_names(
    line, merged, twin, twin_competition
):
    names = pd.read_csv(twin / "hgnc_complete_set.txt", sep="\t", index_col="ensembl_gene_id")[
        "symbol"
    ]
    var = anndata.read_h5ad(twin / f"{ATLASES[line]}.h5ad", backed="r").var
    ensembl, old = (pd.Index(var.get(name, var.index)) for name in ("gene_id", "gene_name"))
    wanted = set(names.reindex(ensembl).dropna()) | (set(old) & set(twin_competition.genes))
    effects, se = responses_of(merged, ATLASES[line])
    assert list(effects.columns) == list(twin_competition.genes)
    for values in (effects, se):
        assert set(values.columns[values.notna().all()]) == wanted & set(twin_competition.genes)
        assert values.isna().all().sum() + values.notna().all().sum() == values.shape[1]
    assert not wanted >= set(twin_competition.genes)


def test_targets_are_spelled_as_the_competition_spells_them(merged, twin, twin_competition):
    targets = {*twin_competition.effects.index, *twin_competition.targets["perturbation"]}
    for line, dataset in ATLASES.items():
        atlas = anndata.read_h5ad(twin / f"{dataset}.h5ad", backed="r").obs
        effects, _ = responses_of(merged, dataset)
        labels_there = set(atlas["gene" if line == "replogle" else "target_gene"]) - {CONTROL}
        assert len(effects) == len(labels_there)
        assert set(effects.index) <= set(planted(twin, line).index)
        found = merged.coverage.loc[dataset, ["targets_train", "targets_val", "targets_test"]].sum()
        assert found == len(targets & set(effects.index))
        assert found > len(targets & labels_there)  # some have older symbols


def test_merged_cells_hold_the_sources_counts_file_by_file(merged, twin, twin_competition):
    cells = anndata.read_h5ad(merged.cells)
    assert list(dict.fromkeys(cells.obs["dataset"])) == ["competition", *ATLASES.values()]
    assert list(cells.var_names) == list(twin_competition.genes)
    source = anndata.read_h5ad(twin / "training_cells.h5ad")
    own = cells[(cells.obs["dataset"] == "competition").to_numpy()]
    assert (own.X != source[:, twin_competition.genes].X).nnz == 0
    assert np.array_equal(own.obs["RNAcount"], source.X.sum(axis=1).A1)  # over all genes
    assert np.array_equal(own.obs["featurecount"], source.obs["nFeature_RNA"])
    share = source.obs["percent.mt"].to_numpy() / 100
    assert np.allclose(own.obs["mitocount"], share * own.obs["RNAcount"])
    for name, column in (("sgrna_symbol", "sgrna_symbol"), ("batch", "channel")):
        assert own.obs[name].astype(str).tolist() == source.obs[column].astype(str).tolist()
    assert own.obs["competition"].all()
    assert not cells.obs["competition"][len(own) :].any()

    source = anndata.read_h5ad(twin / f"{ATLASES['replogle']}.h5ad")
    own = cells[(cells.obs["dataset"] == ATLASES["replogle"]).to_numpy()]
    assert np.array_equal(own.obs["RNAcount"], source.obs["UMI_count"])
    measured = cells.varm["measured"]
    assert measured.loc[:, "competition"].all()
    there = measured[ATLASES["replogle"]].to_numpy()
    assert own.X[:, ~there].nnz == 0
    names = set(source.var["gene_name"])
    same = [gene for gene in twin_competition.genes if gene in names]
    source.var_names = source.var["gene_name"].astype(str)
    assert np.array_equal(own[:, same].X.toarray(), source[:, same].X)


def test_mitochondrial_counts_come_from_shares_or_from_mt_genes(merged, twin):
    cells = anndata.read_h5ad(merged.cells).obs
    source = anndata.read_h5ad(twin / f"{ATLASES['vcc']}.h5ad")
    mitochondrial = np.array([name.startswith("MT-") for name in source.var_names])
    assert mitochondrial.any()
    counted = source.X[:, mitochondrial].sum(axis=1).A1
    assert np.array_equal(cells.loc[cells["dataset"] == ATLASES["vcc"], "mitocount"], counted)


def test_responses_carry_the_means_of_their_cells(merged):
    cells, responses = anndata.read_h5ad(merged.cells).obs, anndata.read_h5ad(merged.responses).obs
    keys = ["dataset", "sgrna_symbol"]
    numbers = ["RNAcount", "featurecount", "mitocount"]
    groups = cells.astype(dict.fromkeys(keys, str)).groupby(keys)
    expected = groups[numbers].mean().assign(n_cells=groups.size())
    found = responses.astype(dict.fromkeys(keys, str)).set_index(keys)
    expected = expected.loc[found.index]
    assert np.allclose(found[expected.columns], expected)
    assert (found["guides"] >= 1).all()


def test_what_was_merged_is_written_down(merged, twin):
    import hashlib

    provenance = anndata.read_h5ad(merged.responses).uns["provenance"]
    files = ["training_cells.h5ad", *(f"{name}.h5ad" for name in ATLASES.values())]
    assert list(provenance["file"]) == files
    assert list(provenance["hash"]) == [
        hashlib.sha256((twin / file).read_bytes()).hexdigest() for file in files
    ]
    assert '"min_cells": 10' in provenance["settings"]
    assert provenance["date"].startswith("20")
    saved = pd.read_csv(merged.responses.parent / "coverage.csv", index_col="dataset")
    pd.testing.assert_frame_equal(saved, merged.coverage, check_dtype=False)
    assert saved.loc["competition", "cells"] == 3420
    assert (saved["genes_covered"] < saved["genes_wanted"]).tolist() == [False, True, True]


def test_held_out_rows_of_the_own_screen_are_dropped_by_readers(merged, twin_competition):
    known = list(twin_competition.effects.index[:5])
    atlas = read_responses(merged.responses, twin_competition.subset(known))
    own = atlas.obs["dataset"] == "competition"
    assert atlas.obs["sgrna_symbol"][own].tolist() == sorted(known)
    assert (~own).sum() > 100


# statistics


def test_on_real_cells_without_batches_the_effects_are_the_folders(shared, tmp_path):
    competition = quietly(shared("real", "thp1"))
    whole = replace(LAYOUTS["competition"], batch=None)
    merged = run([], competition, tmp_path, layouts={competition.cells: whole})
    effects = responses_of(merged, "competition")[0].loc[competition.effects.index]
    assert np.abs(effects - competition.effects).max().max() < 1e-6
    independent = pseudobulk.effects(competition.read_cells(), competition.genes)
    assert np.abs(effects - independent.loc[effects.index]).max().max() < 1e-6


def log_cp10k(counts, total=None):
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=1) if total is None else total
    return np.log2(1 + counts / np.asarray(total)[:, None] * 10_000)


def batched(tmp_path, shift, cells=400, seed=0):
    """A screen of two batches, the second with some genes at half the rate; KRAS does nothing."""
    random = np.random.default_rng(seed)
    batch = np.array(["1"] * cells + ["2"] * cells)
    # Most of KRAS lies in the shifted batch, most of the control in the other.
    gene = np.where(random.random(2 * cells) < np.where(batch == "1", 0.2, 0.8), "KRAS", CONTROL)
    rate = np.full((2 * cells, len(GENES)), 200.0)
    rate[np.ix_(batch == "2", [0, 1])] *= shift
    counts = random.poisson(rate).astype(np.float32)
    obs = pd.DataFrame({"gene": gene, "batch": batch})
    return write_screen(tmp_path / "screen.h5ad", obs, counts, GENES), counts, obs


def test_a_batch_shift_is_no_effect_where_batches_are_used(tmp_path, competition):
    path, _, _ = batched(tmp_path, shift=0.5)
    found = {}
    for name, batch in (("used", "batch"), ("ignored", None)):
        merged = run([path], competition, tmp_path / name, layouts=replace(PLAIN, batch=batch))
        found[name] = responses_of(merged, "screen")[0].loc["KRAS"].abs().max()
    assert found["used"] < 0.02
    assert found["ignored"] > 0.3


def slow_response(logs, gene, batch, symbol, least):
    """Effect and error by the formula of `responses`, cell by cell."""
    mine = gene == symbol
    n = mine.sum()
    weight = np.zeros(len(gene))  # of each control cell in the mean that is subtracted
    control = gene == CONTROL
    within, freedom = 0, 0
    for name in np.unique(batch):
        there = control & (batch == name)
        if there.sum() > 1:
            within = within + (there.sum() - 1) * logs[there].var(axis=0, ddof=1)
            freedom += there.sum() - 1
    variance = np.tile(within / freedom, (len(gene), 1))
    for name in np.unique(batch[mine]):
        there, share = control & (batch == name), (mine & (batch == name)).sum() / n
        if there.sum() >= least:
            weight[there] += share / there.sum()
        else:
            weight[control] += share / control.sum()
    for name in np.unique(batch):
        there = control & (batch == name)
        if there.sum() >= least:
            variance[there] = logs[there].var(axis=0, ddof=1)
    effect = logs[mine].mean(axis=0) - weight @ logs
    error = logs[mine].var(axis=0, ddof=1) / n + (weight**2) @ variance
    return effect, np.sqrt(error)


@pytest.mark.parametrize("least", [5, 12, 1000])
def test_effects_and_errors_follow_the_stated_formula(least, tmp_path, competition):
    random = np.random.default_rng(1)
    gene = random.choice([CONTROL, "KRAS", "TFAM"], 120, p=[0.4, 0.3, 0.3])
    batch = random.choice(["a", "b", "c", "d"], 120, p=[0.5, 0.3, 0.15, 0.05])
    gene[batch == "d"] = "KRAS"  # a batch without control cells
    counts = draw_counts(120, len(GENES), seed=2)
    path = write_screen(tmp_path / "s.h5ad", {"gene": gene, "batch": batch}, counts, GENES)
    layout = replace(PLAIN, batch="batch")
    merged = run([path], competition, tmp_path / "out", layouts=layout, min_controls=least)
    effects, errors = responses_of(merged, "s")
    for symbol in ("KRAS", "TFAM"):
        effect, error = slow_response(log_cp10k(counts), gene, batch, symbol, least)
        assert np.allclose(effects.loc[symbol], effect, atol=1e-6)
        assert np.allclose(errors.loc[symbol], error, atol=1e-6)


def test_a_share_of_few_control_cells_goes_to_all():
    # 6 cells in batch 1, 3 in batch 2 and 1 in a batch without control; 8 and 2 control cells.
    shares = control_shares(np.array([[6, 3]]), np.array([10]), np.array([8, 2]), 5)
    assert np.allclose(shares, [[0.6 + 0.4 * 0.8, 0.4 * 0.2]])
    shares = control_shares(np.array([[6, 3]]), np.array([10]), np.array([8, 2]), 2)
    assert np.allclose(shares, [[0.6 + 0.1 * 0.8, 0.3 + 0.1 * 0.2]])


def test_errors_are_calibrated_where_nothing_happens(tmp_path, competition):
    random = np.random.default_rng(0)
    names = [f"P{number}" for number in range(60)]
    gene = np.array([CONTROL] * 1000 + names * 15)
    batch = random.choice(["a", "b"], len(gene))
    rate = np.where(batch == "a", 200, 300)[:, None] * np.linspace(0.2, 1, 8)
    counts = random.poisson(rate * random.gamma(20, 1 / 20, (len(gene), 8))).astype(np.float32)
    path = write_screen(tmp_path / "s.h5ad", {"gene": gene, "batch": batch}, counts, GENES)
    merged = run([path], competition, tmp_path / "out", layouts=replace(PLAIN, batch="batch"))
    effects, errors = responses_of(merged, "s")
    assert 0.85 < (effects / errors).to_numpy().std() < 1.15


def test_perturbations_with_too_few_cells_are_left_out_and_counted(tmp_path, competition):
    gene = labels(control=20, KRAS=4, TFAM=5, STAT1=9)
    path = write_screen(tmp_path / "s.h5ad", {"gene": gene}, draw_counts(38, 8), GENES)
    merged = run([path], competition, tmp_path / "out", layouts=PLAIN, min_cells=5)
    assert sorted(responses_of(merged, "s")[0].index) == ["STAT1", "TFAM"]
    row = merged.coverage.loc["s"]
    assert (row["perturbations"], row["too_few_cells"], row["cells_a_target"]) == (2, 1, 7)
    assert (row["targets_train"], row["targets_val"], row["targets_test"]) == (1, 1, 0)
    assert len(anndata.read_h5ad(merged.cells)) == 38  # of cells, none is too few


def test_no_perturbation_with_enough_cells_is_an_error(tmp_path, competition):
    gene = labels(control=20, KRAS=4)
    path = write_screen(tmp_path / "s.h5ad", {"gene": gene}, draw_counts(24, 8), GENES)
    with pytest.raises(InputError, match="no perturbation has 5 cells in any screen"):
        run([path], competition, tmp_path / "out", layouts=PLAIN, min_cells=5)
    with pytest.raises(InputError, match="min_cells is 1, want 2 or more"):
        run([path], competition, tmp_path / "out", layouts=PLAIN, min_cells=1)


def test_totals_over_genes_that_the_file_lacks_are_used(tmp_path, competition):
    counts = draw_counts(40, len(GENES))
    total = counts.sum(axis=1) * np.linspace(2, 5, 40)
    obs = pd.DataFrame({"gene": labels(control=20, KRAS=20), "UMI_count": total, "gem_group": 1})
    var = pd.DataFrame(
        {"gene_name": GENES}, index=[f"ENSG{number}" for number in range(len(GENES))]
    )
    merged = run(
        [write_screen(tmp_path / "s.h5ad", obs, counts, var)], competition, tmp_path / "out"
    )
    logs = log_cp10k(counts, total)
    expected = logs[20:].mean(axis=0) - logs[:20].mean(axis=0)
    assert np.allclose(responses_of(merged, "s")[0].loc["KRAS"], expected, atol=1e-6)
    assert np.allclose(anndata.read_h5ad(merged.cells).obs["RNAcount"], total)


def test_totals_below_the_counts_are_refused(tmp_path, competition):
    obs = pd.DataFrame({"gene": labels(control=4, KRAS=4), "UMI_count": 5.0})
    var = pd.DataFrame(
        {"gene_name": GENES}, index=[f"ENSG{number}" for number in range(len(GENES))]
    )
    path = write_screen(tmp_path / "s.h5ad", obs, draw_counts(8, 8), var)
    with pytest.raises(InputError, match="its total is 5; want the total over all genes"):
        run([path], competition, tmp_path / "out")


def test_columns_of_one_gene_are_summed_before_the_logarithm(tmp_path, competition):
    counts = draw_counts(40, len(GENES) + 1)
    names = [*GENES, "KRAS"]
    path = tmp_path / "s.h5ad"
    var = pd.DataFrame({"symbol": names}, index=[f"row{number}" for number in range(len(names))])
    write_screen(path, {"gene": labels(control=20, TFAM=20)}, counts, var)
    merged = run([path], competition, tmp_path / "out", layouts=replace(PLAIN, symbols="symbol"))
    together = counts[:, :-1].copy()
    together[:, GENES.index("KRAS")] += counts[:, -1]
    logs = log_cp10k(together)
    expected = logs[20:].mean(axis=0) - logs[:20].mean(axis=0)
    assert np.allclose(responses_of(merged, "s")[0].loc["TFAM"], expected, atol=1e-6)
    assert np.array_equal(anndata.read_h5ad(merged.cells).X.toarray(), together)
    assert any("genes that several names reach: KRAS" in line for line in merged.remarks)


def test_old_symbols_of_targets_and_genes_are_todays(tmp_path, competition):
    names = GeneNames(frozenset({"AARS1", "KRAS"}), previous={"AARS": frozenset({"AARS1"})})
    measured = ["AARS" if gene == "AARS1" else gene for gene in GENES]
    gene = labels(control=9, AARS=9, nonsense=9)
    path = write_screen(tmp_path / "s.h5ad", {"gene": gene}, draw_counts(27, 8), measured)
    merged = run([path], competition, tmp_path / "out", layouts=PLAIN, names=names)
    effects, _ = responses_of(merged, "s")
    assert sorted(effects.index) == ["AARS1", "nonsense"]
    assert effects["AARS1"].notna().all()
    assert any("1 targets are no known gene: nonsense" in line for line in merged.remarks)


def test_one_screens_ids_tell_what_anothers_names_mean(tmp_path, competition):
    var = pd.DataFrame({"id": [f"ENSG{number}" for number in range(len(GENES))]}, index=GENES)
    layout = replace(PLAIN, ensembl="id")
    gene = labels(control=9, KRAS=9)
    new = write_screen(tmp_path / "new.h5ad", {"gene": gene}, draw_counts(18, 8), var)
    gene = labels(control=9, AARS=9)
    var = var.rename({"AARS1": "AARS"})
    old = write_screen(tmp_path / "old.h5ad", {"gene": gene}, draw_counts(18, 8), var)
    merged = run([old, new], competition, tmp_path / "out", layouts=layout)
    effects, _ = responses_of(merged, "old")
    assert list(effects.index) == ["AARS1"]
    assert effects["AARS1"].notna().all()


def test_cell_lines_of_one_file_have_their_own_controls(tmp_path, competition):
    counts = draw_counts(80, 8)
    counts[40:, 3] *= 4  # another cell line
    obs = pd.DataFrame({"gene": (["NT"] * 20 + ["KRAS"] * 20) * 2, "percent.mito": 5.0})
    obs["cell_type"] = ["A549"] * 40 + ["HT29"] * 40
    merged = run(
        [write_screen(tmp_path / "IFNG.h5ad", obs, counts, GENES)], competition, tmp_path / "out"
    )
    logs = log_cp10k(counts)
    for line, start in (("A549", 0), ("HT29", 40)):
        expected = logs[start + 20 : start + 40].mean(axis=0) - logs[start : start + 20].mean(
            axis=0
        )
        found = responses_of(merged, f"IFNG:{line}")[0].loc["KRAS"]
        assert np.allclose(found, expected, atol=1e-6)
    assert list(merged.coverage.index) == ["IFNG:A549", "IFNG:HT29"]


@pytest.mark.parametrize(("scale", "unit"), [("log1p_cp10k", np.log(2)), ("log2_cp10k", 1.0)])
def test_a_log_normalised_screen_gives_the_same_responses_and_no_cells(
    scale, unit, tmp_path, competition
):
    counts, obs = draw_counts(40, 8), {"gene": labels(control=20, KRAS=20)}
    raw = write_screen(tmp_path / "raw.h5ad", obs, counts, GENES)
    logged = write_screen(tmp_path / "logged.h5ad", obs, log_cp10k(counts) * unit, GENES)
    layouts = {raw: PLAIN, logged: replace(PLAIN, scale=scale)}
    merged = run([raw, logged], competition, tmp_path / "out", layouts=layouts)
    for one, other in zip(responses_of(merged, "raw"), responses_of(merged, "logged"), strict=True):
        assert np.allclose(one, other, atol=1e-6)
    cells = anndata.read_h5ad(merged.cells)
    assert set(cells.obs["dataset"]) == {"raw"}
    assert list(cells.varm["measured"]) == ["raw"]
    assert "logged: no raw counts of cells: responses only" in merged.remarks


def write_bulk(path, means, cells):
    labels_of = [
        "non-targeting_non-targeting",
        "KRAS_P1P2",
        "KRAS_P1",
        "non-targeting_x",
        "TFAM_P1",
    ]
    obs = pd.DataFrame(
        {"num_cells_filtered": cells, "num_cells_unfiltered": 99, "mitopercent": 0.1},
        index=[f"{number}_{label}_ENSG{number}" for number, label in enumerate(labels_of)],
    )
    var = pd.DataFrame(
        {"gene_name": GENES}, index=[f"ENSG{number}" for number in range(len(GENES))]
    )
    anndata.AnnData(means, obs, var).write_h5ad(path)
    return path


def test_bulk_gives_effects_of_mean_counts_without_errors(tmp_path, competition):
    means = np.random.default_rng(0).gamma(2, 2, (5, len(GENES))).astype(np.float32)
    cells = [50.0, 30.0, 10.0, 150.0, np.nan]
    merged = run([write_bulk(tmp_path / "bulk.h5ad", means, cells)], competition, tmp_path / "out")
    effects, errors = responses_of(merged, "bulk")
    control = (50 * means[0] + 150 * means[3]) / 200
    kras = (30 * means[1] + 10 * means[2]) / 40
    expected = log_cp10k(kras[None])[0] - log_cp10k(control[None])[0]
    assert np.allclose(effects.loc["KRAS"], expected, atol=1e-5)
    assert errors.isna().all().all()
    atlas = anndata.read_h5ad(merged.responses)
    assert atlas.obs["n_cells"].tolist() == [40, 99]  # TFAM: as many as there were unfiltered
    assert np.isclose(atlas.obs["mitocount"].iloc[0], 0.1 * kras.sum())
    assert "of mean UMI; no standard error" in atlas.uns["provenance"]["effect"][0]
    assert merged.cells is None


def test_a_scale_is_checked_before_it_is_used_and_what_fits_gives_the_same(tmp_path, competition):
    counts, obs = draw_counts(40, 8), {"gene": labels(control=20, KRAS=20)}
    raw = write_screen(tmp_path / "raw.h5ad", obs, counts, GENES)
    median = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 120).astype(np.float32)
    logged = write_screen(tmp_path / "logged.h5ad", obs, csc_matrix(median), GENES)
    layouts = {raw: PLAIN, logged: replace(PLAIN, scale="log1p_cp10k")}
    with pytest.raises(
        InputError, match=r"logged\.h5ad, X is no log1p_cp10k: .*120 \(120 to 120\)"
    ):
        run([raw, logged], competition, tmp_path / "out", layouts=layouts)
    layouts[logged] = replace(PLAIN, scale="log1p")
    merged = run([raw, logged], competition, tmp_path / "out", layouts=layouts)
    one, other = responses_of(merged, "raw")[0], responses_of(merged, "logged")[0]
    assert np.allclose(one, other, atol=1e-5)
    assert any("logged: read as log1p, cells add up to 120" in line for line in merged.remarks)


def test_counts_stored_gene_by_cell_are_merged_with_a_line(tmp_path, competition):
    counts = draw_counts(40, 8)
    path = write_screen(tmp_path / "s.h5ad", {"gene": labels(control=20, KRAS=20)}, counts, GENES)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = counts.T
    merged = run([path], competition, tmp_path / "out", layouts=PLAIN)
    assert np.array_equal(anndata.read_h5ad(merged.cells).X.toarray(), counts)
    assert "s: X is stored gene x cell; it is read cell x gene" in merged.remarks


def test_a_gene_that_make_unique_numbered_is_summed_with_a_line(tmp_path, competition):
    counts = draw_counts(40, len(GENES) + 1)
    obs, names = {"gene": labels(control=20, TFAM=20)}, [*GENES, "KRAS-1"]
    merged = run(
        [write_screen(tmp_path / "s.h5ad", obs, counts, names)],
        competition,
        tmp_path / "out",
        layouts=PLAIN,
    )
    together = counts[:, :-1].copy()
    together[:, GENES.index("KRAS")] += counts[:, -1]
    assert np.array_equal(anndata.read_h5ad(merged.cells).X.toarray(), together)
    assert any(
        "genes that several names reach: KRAS (KRAS, KRAS-1)" in line for line in merged.remarks
    )


def test_targets_of_cells_that_are_left_out_are_not_called_unknown(tmp_path, competition):
    obs = {"gene": labels(control=9, KRAS=9) + ["A+B"] * 3 + ["NA"] * 2}
    path = write_screen(tmp_path / "s.h5ad", obs, draw_counts(23, 8), GENES)
    layout = replace(PLAIN, combination="+")
    merged = run([path], competition, tmp_path / "out", layouts=layout)
    assert [line for line in merged.remarks if "left out" in line] == [
        "s: 2 cells left out: no target (NA)",
        "s: 3 cells left out: several targets",
    ]
    assert not any("no known gene: A" in line for line in merged.remarks)


def test_z_normalised_bulk_is_refused(tmp_path, competition):
    means = np.random.default_rng(0).normal(size=(5, len(GENES))).astype(np.float32)
    path = write_bulk(tmp_path / "bulk.h5ad", means, [9.0] * 5)
    with pytest.raises(InputError, match="want mean UMI from 0; z-normalised bulk"):
        run([path], competition, tmp_path / "out")


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix, np.asarray])
def test_every_way_to_store_counts_gives_the_same(form, tmp_path, competition):
    counts = draw_counts(40, 8, rate=1)
    path = write_screen(
        tmp_path / "s.h5ad", {"gene": labels(control=20, KRAS=20)}, form(counts), GENES
    )
    merged = run([path], competition, tmp_path / "out", layouts=PLAIN)
    assert len(parts_of(tmp_path / "out")) == 2  # no copy by rows is left
    cells = anndata.read_h5ad(merged.cells)
    assert np.array_equal(cells.X.toarray(), counts)
    logs = log_cp10k(counts)
    expected = logs[20:].mean(axis=0) - logs[:20].mean(axis=0)
    assert np.allclose(responses_of(merged, "s")[0].loc["KRAS"], expected, atol=1e-6)


# what goes wrong


def test_logarithms_taken_for_counts_are_refused_with_the_fix(tmp_path, competition):
    counts = np.log1p(draw_counts(8, 8))
    path = write_screen(tmp_path / "s.h5ad", {"gene": labels(control=4, KRAS=4)}, counts, GENES)
    with pytest.raises(
        InputError, match=r"s\.h5ad, X: row 0, column 0 .* want raw counts"
    ) as error:
        run([path], competition, tmp_path / "out", layouts=PLAIN)
    assert "layer" in str(error.value)
    assert "scale" in str(error.value)
    assert not list((tmp_path / "out").rglob("*.h5ad"))


def test_names_that_match_nothing_are_refused(tmp_path, competition):
    names = [f"P{number}" for number in range(8)]
    path = write_screen(
        tmp_path / "s.h5ad", {"gene": labels(control=4, KRAS=4)}, draw_counts(8, 8), names
    )
    match = (
        r"measures none of the competition's genes: its names are P0, P1.*`symbols` or `ensembl`"
    )
    with pytest.raises(InputError, match=match):
        run([path], competition, tmp_path / "out", layouts=PLAIN)


def test_a_damaged_chunk_is_one_clear_line(tmp_path, competition):
    path = tmp_path / "s.h5ad"
    obs = pd.DataFrame({"gene": labels(control=200, KRAS=200)}, index=map(str, range(400)))
    counts = csr_matrix(draw_counts(400, 8))
    anndata.AnnData(counts, obs, pd.DataFrame(index=GENES)).write_h5ad(path, compression="gzip")
    with h5py.File(path, "r") as file:
        place = file["X/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = place.byte_offset + place.size // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"s\.h5ad") as error:
        run([path], competition, tmp_path / "out", layouts=PLAIN)
    assert "\n" not in str(error.value)


def test_a_merge_of_nothing_says_what_to_give(tmp_path, competition):
    with pytest.raises(InputError, match=r"no file is given and .* has no cells; give h5ad files"):
        run([], competition, tmp_path / "out")


def test_a_layout_for_another_file_is_refused(tmp_path, competition):
    path = write_screen(
        tmp_path / "s.h5ad", {"gene": labels(control=4, KRAS=4)}, draw_counts(8, 8), GENES
    )
    with pytest.raises(InputError, match=r"layouts name .*t\.h5ad, which is no file of the merge"):
        run([path], competition, tmp_path / "out", layouts={tmp_path / "t.h5ad": PLAIN})


def test_files_of_one_name_are_kept_apart_and_copies_taken_once(tmp_path, competition):
    paths = []
    for folder, seed in (("one", 0), ("two", 1), ("copy", 1)):
        (tmp_path / folder).mkdir()
        obs = {"gene": labels(control=4, KRAS=4)}
        paths.append(
            write_screen(tmp_path / folder / "s.h5ad", obs, draw_counts(8, 8, seed), GENES)
        )
    merged = run([*paths, paths[0]], competition, tmp_path / "out", layouts=PLAIN)
    assert list(merged.coverage.index) == ["one_s", "two_s"]
    assert [line for line in merged.remarks if "taken once" in line] == [
        f"{paths[2].resolve()} holds the same as {paths[1].resolve()}: taken once"
    ]


# nothing is lost


def make_world(folder):
    """A competition with cells of its own, and one screen."""
    obs = pd.DataFrame({"sgrna_symbol": labels(control=20, KRAS=20, TFAM=20), "sgrna_id": "g"})
    obs["channel"] = ["ch_1", "ch_2"] * 30
    write_small(folder / "competition")
    cells = csr_matrix(draw_counts(60, 8))
    write_screen(folder / "competition" / "training_cells.h5ad", obs, cells, GENES)
    gene = labels(control=20, STAT1=20)
    path = write_screen(folder / "s.h5ad", {"gene": gene}, draw_counts(40, 8, 1), GENES)
    return quietly(folder / "competition"), path


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory):
    """The same, and what its merge gives."""
    folder = tmp_path_factory.mktemp("world")
    world = make_world(folder)
    return world, merge_world(world, folder / "merged")


def merge_world(world, out, **settings):
    competition, path = world
    return run([path], competition, out, layouts=PLAIN, **settings)


def parts_of(out):
    """Time of change by name of each finished part."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}


def test_a_rerun_takes_up_all_parts_and_joins_nothing_again(world, tmp_path, monkeypatch):
    first = merge_world(world, tmp_path / "out")
    before, cells = parts_of(tmp_path / "out"), first.cells.stat().st_mtime_ns
    assert len(before) == 4
    monkeypatch.setattr(kit.screens.merging, "write_responses", None)
    monkeypatch.setattr(kit.screens.merging, "write_cells", None)
    again = merge_world(world, tmp_path / "out")
    assert parts_of(tmp_path / "out") == before
    assert again.cells.stat().st_mtime_ns == cells
    pd.testing.assert_frame_equal(first.coverage, again.coverage)


def test_changed_input_is_noticed_and_stale_parts_are_removed(world, tmp_path):
    merge_world(world, tmp_path / "out")
    before = parts_of(tmp_path / "out")
    (tmp_path / "out" / "parts" / "notes.txt").write_text("a user's own")
    _, path = world
    times = path.stat()
    counts = draw_counts(40, 8, 1)
    counts[-1, 0] += 1
    write_screen(path, {"gene": labels(control=20, STAT1=20)}, counts, GENES)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # neither time nor size shows it
    merged = merge_world(world, tmp_path / "out")
    after = parts_of(tmp_path / "out")
    after.pop("notes.txt")
    assert len(after) == 4
    kept = set(before.items()) & set(after.items())
    assert {name.split(".")[0] for name, _ in kept} == {"competition"}
    assert len(kept) == 2
    assert np.array_equal(anndata.read_h5ad(merged.cells).X.toarray()[60:], counts)


@pytest.mark.parametrize(
    ("settings", "redone"),
    [({"min_cells": 3}, "responses"), ({"min_controls": 3}, "responses"), ({}, "none")],
)
def test_changed_settings_are_noticed(settings, redone, world, tmp_path):
    merge_world(world, tmp_path / "out")
    before = parts_of(tmp_path / "out")
    merge_world(world, tmp_path / "out", **settings)
    new = set(parts_of(tmp_path / "out")) - set(before)
    assert {name.split(".")[1] for name in new} == ({redone} if redone != "none" else set())


def test_another_version_makes_all_parts_anew(world, tmp_path, monkeypatch):
    merge_world(world, tmp_path / "out")
    before = parts_of(tmp_path / "out")
    monkeypatch.setattr("kit.screens.sources.VERSION", 0)
    merge_world(world, tmp_path / "out")
    assert not set(before) & set(parts_of(tmp_path / "out"))


def test_cells_may_be_left_out_and_added_later(world, tmp_path):
    merged = merge_world(world, tmp_path / "out", cells=False)
    assert merged.cells is None
    assert not (tmp_path / "out" / "cells.h5ad").exists()
    before = parts_of(tmp_path / "out")
    merged = merge_world(world, tmp_path / "out")
    assert len(anndata.read_h5ad(merged.cells)) == 100
    assert set(before.items()) < set(parts_of(tmp_path / "out").items())


def die_at(place, name, call):
    """Make the process kill itself at the nth call of a function of a module or class."""
    function, calls = getattr(place, name), []

    def counting(*values, **more):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*values, **more)

    setattr(place, name, counting)


def killed(world, out, place, name, call):
    """Run a merge in a process of its own that is killed on its way; whether it was."""

    def work():
        die_at(place, name, call)
        merge_world(world, out)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL


KILLS = [(os, "replace", call) for call in (1, 2, 5, 6, 7)]
KILLS += [(h5py.Dataset, "resize", call) for call in (2, 7)]
KILLS += [(kit.screens.writer, "new_matrix", call) for call in (2, 5)]
KILLS += [(kit.screens.writer, "write_labels", 1), (kit.screens.merging, "_tidy", 1)]


@pytest.mark.parametrize(("place", "name", "call"), KILLS)
def test_a_killed_merge_leaves_nothing_half_written_and_is_taken_up(
    place, name, call, whole_world, tmp_path
):
    world, expected = whole_world
    assert killed(world, tmp_path, place, name, call)
    for path in tmp_path.glob("*.h5ad"):
        assert same(path, expected.cells.parent / path.name)
    finished = parts_of(tmp_path)
    finished = {name: time for name, time in finished.items() if not name.startswith(".")}
    merged = merge_world(world, tmp_path)
    assert same(merged.responses, expected.responses)
    assert same(merged.cells, expected.cells)
    assert set(finished.items()) <= set(parts_of(tmp_path).items())
    left = {path.name for path in tmp_path.iterdir()} | set(parts_of(tmp_path))
    whole = expected.cells.parent
    assert left == {path.name for path in whole.iterdir()} | set(parts_of(whole))


def test_a_full_disk_is_one_clear_line(whole_world, tmp_path):
    """No file may exceed 20 kB: writing fails in the middle, as on a full disk."""
    world, expected = whole_world

    def work(faults):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            merge_world(world, tmp_path)
        except InputError as error:
            faults.send(str(error))

    context = multiprocessing.get_context("fork")
    faults, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender,))
    process.start()
    process.join()
    assert process.exitcode == 0
    fault = faults.recv() if faults.poll(0) else "none"
    assert fault.startswith(f"cannot write {tmp_path}")
    assert ": File too large" in fault
    assert not list(tmp_path.rglob("*.h5ad*"))
    assert same(merge_world(world, tmp_path).cells, expected.cells)


def test_neither_budget_nor_executor_changes_the_outcome(whole_world, tmp_path):
    world, expected = whole_world
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        for name, settings in (("small", {"budget": 1000}), ("pool", {"executor": pool})):
            merged = merge_world(world, tmp_path / name, **settings)
            assert same(merged.responses, expected.responses)
            assert same(merged.cells, expected.cells)


# the command line


def command(*words):
    words = [sys.executable, "-m", "kit", "merge", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT)


def test_the_command_merges_and_prints_the_coverage(whole_world, tmp_path):
    (competition, path), expected = whole_world
    table = tmp_path / "hgnc_complete_set.txt"
    table.write_text("symbol\tprev_symbol\nKRAS\t\n")
    layout = tmp_path / "mine.json"
    layout.write_text('{"perturbation": "gene"}')
    words = ["--data", competition.source, "--hgnc", table, "--layout", f"{path}={layout}"]
    done = command(path, *words, "--out", tmp_path, "--min-cells", 2, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "targets_val" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "cells.h5ad")
    assert same(tmp_path / "cells.h5ad", expected.cells)
    assert same(tmp_path / "responses.h5ad", expected.responses)


def test_the_command_refuses_bad_input_in_one_clear_line(twin, tmp_path):
    done = command(twin / "training_cells.csv", "--data", twin, "--out", tmp_path)
    assert done.returncode == 1
    *_, error = done.stderr.splitlines()
    assert done.stderr.count("error: ") == 1
    assert error.startswith("error: ")
    assert "training_cells.csv does not exist" in error
