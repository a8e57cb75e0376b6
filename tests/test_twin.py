"""The twin: the competition's schema, the screens' layouts, and the truth that is planted in it."""

import json
import shutil
import time
import warnings
from itertools import combinations

import anndata
import numpy as np
import pandas as pd
import pytest

from benchmarks.twin import marginals
from kit import load_competition
from kit.expression import pseudobulk
from kit.expression.pseudobulk import log_normalise
from kit.io.files import InputError
from kit.screens.gene_names import load_gene_names
from kit.twin import SIZES, cells_by_target, simulate
from kit.twin.tables import write_knowledge
from kit.twin.world import plant

CONTROL = "non-targeting"
TABLES = [
    "training_data_means.csv",
    "training_data_ground_truth_table.csv",
    "pert_ids_val.csv",
    "pert_ids_all.csv",
    "sample_submission.csv",
    "solution_val.csv",
    "solution_test.csv",
]


@pytest.fixture(scope="module")
def null_twin(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("null") / "twin", size="quick", seed=0, null=True)


@pytest.fixture(scope="module")
def competition(twin):
    with warnings.catch_warnings(action="ignore"):
        return load_competition(twin)


@pytest.fixture(scope="module")
def cells(twin):
    return anndata.read_h5ad(twin / "training_cells.h5ad")


@pytest.fixture(scope="module")
def replogle(twin):
    return anndata.read_h5ad(next(twin.glob("*_raw_singlecell_01.h5ad")))


@pytest.fixture(scope="module")
def vcc(twin):
    return anndata.read_h5ad(next(twin.glob("*_adata_Training.h5ad")))


@pytest.fixture(scope="module")
def truth(twin):
    return pd.read_csv(twin / "truth.csv", index_col="perturbation", dtype={"pathway": str})


@pytest.fixture(scope="module")
def planted(twin):
    with np.load(twin / "truth_effects.npz") as arrays:
        return {
            name: pd.DataFrame(arrays[name], arrays["perturbation"], arrays["gene"])
            for name in ("competition", "replogle", "vcc")
        }


def read_sets(folder):
    rows = (line.split("\t") for line in (folder / "pathways.gmt").read_text().splitlines())
    return {identifier: genes for _, identifier, *genes in rows}


def read_edges(folder):
    return pd.read_csv(folder / "interactions.tsv.gz", sep=" ", header=None, names=["a", "b"])


def cosines(a, b):
    a, b = (np.asarray(table) for table in (a, b))
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9) for rows in (a, b))
    return a @ b.T


# Files


def test_tables_have_the_competitions_schema(twin):
    size = SIZES["quick"]
    means = pd.read_csv(twin / "training_data_means.csv")
    genes = list(means.columns[1:])
    assert means.columns[0] == "pert_symbol"
    assert means.shape == (size.train + 1, size.outputs + 1)
    assert means["pert_symbol"].iloc[-1] == CONTROL
    table = pd.read_csv(twin / "training_data_ground_truth_table.csv")
    scored = [*genes, *(f"w_{gene}" for gene in genes), "baseline_wmae"]
    assert list(table.columns) == ["pert_id", *scored]
    assert list(table["pert_id"]) == list(means["pert_symbol"][:-1])
    ids = pd.read_csv(twin / "pert_ids_all.csv")
    assert list(ids.columns) == ["pert", "class", "pert_id"]
    assert list(ids["class"]) == ["val"] * size.val + ["test"] * size.test
    assert list(ids["pert_id"]) == [f"pert_{i + 1}" for i in range(size.val + size.test)]
    val = pd.read_csv(twin / "pert_ids_val.csv")
    pd.testing.assert_frame_equal(val, ids[ids["class"] == "val"])
    assert not set(ids["pert"]) & set(table["pert_id"])
    for split, rows in ids.groupby("class")["pert_id"]:
        solution = pd.read_csv(twin / f"solution_{split}.csv")
        assert list(solution.columns) == ["pert_id", *scored]
        assert list(solution["pert_id"]) == list(rows)


def test_the_sample_submission_is_the_mean_effect_and_then_zero(twin, competition):
    sample = pd.read_csv(twin / "sample_submission.csv", index_col="pert_id")
    assert list(sample.columns) == list(competition.effects.columns)
    val = competition.targets["split"] == "val"
    mean = competition.effects.mean().to_numpy()
    np.testing.assert_allclose(sample[val], np.tile(mean, (val.sum(), 1)), atol=1e-6)
    assert (sample[~val] == 0).all(axis=None)


def test_cells_are_laid_out_as_the_competitions(cells, competition):
    assert cells.shape[1] == SIZES["quick"].genes
    assert list(cells.obs) == [
        "nCount_RNA",
        "nFeature_RNA",
        "percent.mt",
        "sgrna_id",
        "sgrna_symbol",
        "channel",
    ]
    assert list(cells.var) == ["features"]
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float64
    assert (cells.X.data == np.rint(cells.X.data)).all()
    assert cells.X.data.min() >= 1
    np.testing.assert_array_equal(cells.obs["nCount_RNA"], np.asarray(cells.X.sum(axis=1)).ravel())
    np.testing.assert_array_equal(cells.obs["nFeature_RNA"], np.diff(cells.X.indptr))
    assert 2 < cells.obs["percent.mt"].median() < 12
    assert set(cells.obs["channel"]) == {"ch_1", "ch_2", "ch_3", "ch_4"}
    guide, symbol = (cells.obs[name].astype(str) for name in ("sgrna_id", "sgrna_symbol"))
    assert (guide.str.rsplit("_", n=1).str[0] == symbol).all()
    counts = symbol.value_counts()
    assert counts.pop(CONTROL) == SIZES["quick"].controls
    assert set(counts.index) == set(competition.effects.index)
    least, _, median, _, most = SIZES["quick"].cells
    assert (counts.min(), counts.median(), counts.max()) == (least, median, most)


def test_the_table_is_what_pseudobulk_makes_of_the_cells(cells, competition):
    made = pseudobulk.effects(cells, competition.effects.columns).loc[competition.effects.index]
    np.testing.assert_allclose(made, competition.effects, atol=1e-6)


def test_the_twin_loads_as_simulated_with_its_solution(twin):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        competition = load_competition(twin)
    assert ["SIMULATED" in str(warning.message) for warning in caught] == [True]
    assert set(competition.solution.index) == set(competition.targets.index)


def test_gene_names_hold_the_traps_of_the_real_ones(competition, cells):
    genes = competition.effects.columns
    assert sum(gene.startswith("MT-") for gene in genes) == 13
    again = [gene for gene in genes if gene.startswith("TWIN") and gene.endswith(".1")]
    assert len(again) == 1
    assert again[0][:-2] in genes
    assert any(gene.startswith("TC") and gene.endswith(".1") for gene in cells.var_names)
    assert list(genes) != sorted(genes)


def test_the_full_size_has_the_published_counts():
    size = SIZES["full"]
    drawn = cells_by_target(size, size.train, np.random.default_rng(0))
    assert size.controls + drawn.sum() == 17_882
    assert (size.genes, size.outputs) == (19_226, 5_127)
    assert (drawn.min(), drawn.max()) == (31, 447)
    assert abs(np.median(drawn) - 216) < 1


# Seeds and folders


def test_the_null_twin_is_the_same_competition_bit_for_bit(twin, null_twin, cells):
    for name in TABLES:
        assert (twin / name).read_bytes() == (null_twin / name).read_bytes(), name
    other = anndata.read_h5ad(null_twin / "training_cells.h5ad")
    assert (other.X != cells.X).nnz == 0
    assert other.obs.equals(cells.obs)


def test_a_seed_fixes_what_is_planted(tmp_path):
    def knowledge(name, seed):
        streams = [np.random.default_rng([seed, i]) for i in range(2)]
        place = tmp_path / name
        place.mkdir()
        world = plant(SIZES["quick"], streams[0])
        write_knowledge(place, world, SIZES["quick"], streams[1], None)
        files = {path.name: path.read_bytes() for path in place.iterdir()}
        return files | {"effects": world.lines["competition"].response.tobytes()}

    first, again, other = knowledge("a", 0), knowledge("b", 0), knowledge("c", 1)
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_the_same_twin_is_left_alone_and_returned_at_once(twin):
    before = {path: path.stat().st_mtime_ns for path in twin.iterdir()}
    start = time.perf_counter()
    assert simulate(twin, size="quick", seed=0) == twin
    assert time.perf_counter() - start < 1
    assert {path: path.stat().st_mtime_ns for path in twin.iterdir()} == before


def test_other_peoples_folders_are_never_touched(twin, tmp_path):
    with pytest.raises(InputError, match=r"seed 0, want seed 1; delete it"):
        simulate(twin, size="quick", seed=1)
    with pytest.raises(InputError, match=r"null False, want null True"):
        simulate(twin, null=True)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other things than a twin"):
        simulate(tmp_path)
    shutil.copy(twin / "twin.json", tmp_path)
    changed = json.loads((twin / "twin.json").read_text()) | {"version": 0}
    (tmp_path / "twin.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="version 0"):
        simulate(tmp_path)
    (tmp_path / "twin.json").write_text("[]")
    with pytest.raises(InputError, match="holds other things than a twin"):
        simulate(tmp_path)
    with pytest.raises(InputError, match="holds other things than a twin"):
        simulate(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match=r"size: huge .* there are quick, full"):
        simulate(tmp_path / "new", size="huge")


def test_a_twin_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("kit.twin.draw_competition", fail)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "twin")
    assert list(tmp_path.iterdir()) == []


# Planted truth


def test_members_of_a_pathway_have_similar_effects_and_some_opposite_ones(truth, planted):
    members = truth[truth["expressed"] & (truth["module"] >= 0)]
    effects = planted["competition"].loc[members.index]
    similarity = cosines(effects, effects)
    same = np.equal.outer(members["module"].to_numpy(), members["module"].to_numpy())
    agree = np.equal.outer(members["opposite"].to_numpy(), members["opposite"].to_numpy())
    pairs = np.triu(np.ones(same.shape, dtype=bool), 1)
    assert 0.6 < np.median(similarity[pairs & same & agree]) < 0.9
    assert np.median(similarity[pairs & same & ~agree]) < -0.3
    assert abs(similarity[pairs & ~same].mean()) < 0.2
    assert 0.05 < members["opposite"].mean() < 0.25


def mean_similarity_in_sets(planted, sets):
    effects = planted["competition"]
    effects = effects - effects.mean()
    similarity = pd.DataFrame(cosines(effects, effects), effects.index, effects.index)
    values = []
    for genes in sets:
        hit = [gene for gene in genes if gene in similarity.index]
        values += [abs(similarity.at[a, b]) for a, b in combinations(hit, 2)]
    return np.mean(values)


def test_half_of_the_sets_mean_nothing_and_the_null_twins_all(twin, null_twin, truth, planted):
    sets, shuffled = read_sets(twin), read_sets(null_twin)
    real = set(truth["pathway"].dropna())
    regulons = SIZES["quick"].regulators
    assert len(sets) == 2 * (len(real) + regulons)
    real_sets = mean_similarity_in_sets(planted, [sets[key] for key in real])
    noise = mean_similarity_in_sets(planted, [sets[key] for key in sets if key not in real])
    null = mean_similarity_in_sets(planted, shuffled.values())
    assert real_sets > 0.5
    assert noise < 0.3
    assert null < 0.3


def test_edges_join_complexes_and_there_are_hubs(twin, null_twin, truth):
    def share_within(folder):
        edges = read_edges(folder)
        modules = edges.apply(lambda side: side.map(truth["module"])).dropna()
        modules = modules[(modules >= 0).all(axis=1)]
        return (modules["a"] == modules["b"]).mean()

    assert share_within(twin) > 0.6
    assert share_within(null_twin) < 0.3
    degree = read_edges(twin).stack().value_counts()
    assert degree.max() > 10 * degree.median()
    assert set(degree.index) != set(truth.index)


def test_a_third_of_the_targets_has_no_informative_neighbour(truth, planted):
    held_out = truth[truth["split"].isin(["val", "test"])]
    assert 0.25 < 1 - held_out["informative"].mean() < 0.45
    expressed = truth.index[(truth["split"] == "train") & truth["expressed"]]
    effects = planted["competition"] - planted["competition"].loc[expressed].mean()
    nearest = np.abs(cosines(effects.loc[held_out.index], effects.loc[expressed])).max(axis=1)
    alive = held_out["expressed"].to_numpy()
    informed = held_out["informative"].to_numpy()
    assert np.median(nearest[informed & alive]) > np.median(nearest[~informed & alive]) + 0.15
    # Nor does any set or complex that means something name them.
    assert (truth["pathway"].notna() == (truth["module"] >= 0)).all()


def test_some_targets_have_no_column_or_are_not_expressed(truth, planted, competition, cells):
    targets = truth[truth["split"] != "other"]
    for _, rows in targets.groupby("split"):
        assert (~rows["output"]).any()
        assert (~rows["expressed"]).any()
    columns = set(competition.effects.columns)
    assert [name in columns for name in targets.index] == list(targets["output"])
    silent = targets.index[~targets["expressed"]]
    assert (planted["competition"].loc[silent] == 0).all(axis=None)
    assert (planted["replogle"].loc[silent] != 0).any(axis=None)
    control = cells[cells.obs["sgrna_symbol"] == CONTROL]
    level = pd.Series(np.asarray(control.X.mean(axis=0)).ravel(), cells.var_names)
    assert level[silent].max() < 0.05
    assert level[targets.index[targets["expressed"]]].median() > 1


def test_the_own_gene_falls_as_a_mixture(truth, cells):
    normal = log_normalise(cells.X).tocsc()
    symbols = cells.obs["sgrna_symbol"].astype(str).to_numpy()
    left = {}
    for name in truth.index[(truth["split"] == "train") & truth["expressed"]]:
        own = 2 ** normal[:, [cells.var_names.get_loc(name)]].toarray().ravel() - 1
        by_guide = pd.Series(own[symbols == name]).groupby(
            cells.obs["sgrna_id"].astype(str).to_numpy()[symbols == name]
        )
        level = own[symbols == CONTROL].mean()
        if level > 1:
            left[name] = by_guide.mean() / level
    share = pd.Series({name: rows.min() for name, rows in left.items()})
    assert len(share) >= 15
    assert 0.15 < share.median() < 0.6
    assert share.std() > 0.05
    # A dead guide leaves the gene as it was: one beside a working one is far above it.
    dead = truth["dead_guides"].reindex(list(left)) > 0
    gap = pd.Series({name: rows.max() - rows.min() for name, rows in left.items()})
    assert dead.any()
    assert gap[dead].min() > gap[~dead].median()


def test_few_perturbations_dominate_and_the_mitochondrial_axis_falls(truth, planted):
    strength = np.sqrt((planted["competition"] ** 2).mean(axis=1))[truth["expressed"].to_numpy()]
    assert strength.max() > 4 * strength.median()
    mito = planted["competition"].columns.str.startswith("MT-")
    axis = truth.index[(truth["module"] == 0) & truth["expressed"]]
    fall = planted["competition"].loc[axis, mito].mean(axis=1)
    assert (fall < 0).all()
    assert fall.min() < -0.8
    outside = planted["competition"].loc[truth["module"] != 0, mito].mean(axis=1)
    assert abs(outside.mean()) < 0.1


def test_cells_differ_by_depth_channel_and_escape(truth, cells):
    depth = np.log(cells.obs["nCount_RNA"])
    assert 0.25 < depth.std() < 0.6
    assert truth["escapers"].between(0, 1).all()
    assert truth["escapers"].std() > 0.05
    control = cells[(cells.obs["sgrna_symbol"] == CONTROL).to_numpy()].copy()
    means = pseudobulk.mean_expression(control, list(cells.var_names), by="channel")
    half = np.arange(control.n_obs) % 2
    control.obs["half"] = half.astype(str)
    noise = pseudobulk.mean_expression(control, list(cells.var_names), by="half").diff().iloc[-1]
    assert (means.loc["ch_1"] - means.loc["ch_4"]).std() > 1.5 * noise.std()


# Atlases and names


def test_the_replogle_like_atlas_has_its_layout(replogle, cells):
    assert isinstance(replogle.X, np.ndarray)
    assert replogle.X.dtype == np.float32
    assert replogle.var_names.str.fullmatch(r"ENSG\d{11}").all()
    assert "gene_name" in replogle.var
    assert {"gene", "gem_group", "sgID_AB", "UMI_count", "mitopercent"} <= set(replogle.obs)
    assert replogle.obs["mitopercent"].between(0, 1).all()
    # The total is over all genes of the source, of which the file holds a part.
    written = replogle.X.sum(axis=1)
    assert (replogle.obs["UMI_count"] >= written).all()
    assert (replogle.obs["UMI_count"] > written).mean() > 0.9
    assert set(cells.var_names) - set(replogle.var["gene_name"])
    assert set(replogle.var["gene_name"]) - set(cells.var_names)
    control = replogle.obs["gene"] == CONTROL
    assert replogle.obs["gem_group"][control].value_counts().min() > 20
    assert set(replogle.obs["gem_group"]) == set(replogle.obs["gem_group"][control])


def test_the_vcc_like_atlas_has_its_layout(vcc):
    assert vcc.X.format == "csr"
    assert (vcc.X.data == np.rint(vcc.X.data)).all()
    assert vcc.var["gene_id"].str.fullmatch(r"ENSG\d{11}").all()
    assert list(vcc.obs) == ["target_gene", "guide_id", "batch"]
    control = vcc.obs["target_gene"] == CONTROL
    assert vcc.obs["batch"][control].value_counts().min() > 20
    assert set(vcc.obs["batch"]) == set(vcc.obs["batch"][control])


def test_older_symbols_of_the_atlases_lead_to_todays_genes(twin, vcc, replogle, cells, truth):
    names = load_gene_names(twin / "hgnc_complete_set.txt")
    found = names.resolve(vcc.var_names, wanted=cells.var_names)
    rules = found["rule"].value_counts()
    assert min(rules["symbol"], rules["previous"], rules["alias"], rules["ambiguous"]) >= 1
    byid = names.resolve(vcc.var_names, vcc.var["gene_id"], wanted=cells.var_names)
    ambiguous = (found["rule"] == "ambiguous").to_numpy()
    assert byid["gene"][ambiguous].notna().all()
    both = (found["gene"].notna() & byid["gene"].notna()).to_numpy()
    assert (found["gene"][both] == byid["gene"][both]).all()
    for atlas, column in ((vcc, "target_gene"), (replogle, "gene")):
        targets = [name for name in atlas.obs[column].unique() if name != CONTROL]
        assert set(targets) - set(truth.index)
        today = names.resolve(targets, wanted=truth.index)
        assert today["gene"].notna().all()
        assert not today["gene"].duplicated().any()


def test_atlases_cover_half_of_the_held_out_targets(twin, vcc, replogle, truth):
    names = load_gene_names(twin / "hgnc_complete_set.txt")
    covered = [
        set(names.resolve(labels.unique(), wanted=truth.index)["gene"].dropna())
        for labels in (vcc.obs["target_gene"], replogle.obs["gene"])
    ]
    split = truth["split"]
    for name in ("val", "test"):
        rows = split.index[split == name]
        assert 0.4 <= rows.isin(covered[0] | covered[1]).mean() <= 0.6
    train, other = (split.index[split == name] for name in ("train", "other"))
    for targets in covered:
        assert train.isin(targets).mean() > 0.6
        assert other.isin(targets).sum() > 40


def test_atlas_cells_of_a_knockdown_carry_its_label_and_lose_its_gene(replogle, twin, null_twin):
    def falls(atlas):
        ids = atlas.var_names
        symbol = atlas.obs["gene"].astype(str).to_numpy()
        values = log_normalise(atlas.X, atlas.obs["UMI_count"]).tocsc()
        changes = []
        for name in set(symbol) & set(atlas.var["gene_name"]):
            own = values[:, [ids.get_loc(ids[atlas.var["gene_name"] == name][0])]].toarray().ravel()
            changes.append(own[symbol == name].mean() - own[symbol == CONTROL].mean())
        return np.array(changes)

    assert np.median(falls(replogle)) < -0.3
    null = anndata.read_h5ad(next(null_twin.glob("*_raw_singlecell_01.h5ad")))
    assert abs(np.median(falls(null))) < 0.1
    assert np.array_equal(null.X, replogle.X)


@pytest.mark.parametrize("line", ["replogle", "vcc"])
def test_other_lines_share_part_of_the_answer(planted, truth, line):
    here, there = planted["competition"], planted[line]
    alive = truth["expressed"].to_numpy() & (there != 0).any(axis=1).to_numpy()
    here, there = (table[alive] - table[alive].mean() for table in (here, there))
    similarity = cosines(here, there)
    same, others = np.diag(similarity), similarity[~np.eye(len(similarity), dtype=bool)]
    assert 0.2 < same.mean() < 0.45
    assert abs(others.mean()) < 0.03
    assert 0 < (same < 0).mean() < 0.2


def test_marginals_are_those_that_are_published(competition):
    table = marginals(competition)
    effects = competition.effects.to_numpy()
    assert table["effect sd"] == pytest.approx(effects.std())
    assert table["share |effect| > .1, %"] == pytest.approx(100 * np.mean(abs(effects) > 0.1))
    assert table["mean WMAE"] < table["zero WMAE"]
    assert (
        table["mean WMAE, lower quartile"] < table["mean WMAE, median"] < table["mean WMAE"] * 1.5
    )
    # Weights have the published shape: most are a floor, few are large.
    assert table["weight median"] < 0.3
    assert 10 < table["weights above 1, %"] < 35
    assert table["self effect"] < -0.3
    assert 1 < table["components"] <= len(competition.effects)
