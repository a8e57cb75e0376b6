"""Guessing unmeasured genes: the rule by hand, and errors on measured genes that were hidden."""

import anndata
import numpy as np
import pandas as pd
import pytest
from small_merged import small_competition, write_cells

from kit import InputError, load_competition
from kit.knowledge import load_pathways
from kit.screens.cells import MergedCells
from kit.screens.gene_names import load_gene_names
from kit.screens.imputation import (
    SHRINKAGE,
    TERMS,
    PathwayGuess,
    aligned_weights,
    hidden_gene_errors,
)


def random_values(cells, genes, seed=0):
    """Control means and values with a planted share of the cell's own level."""
    random = np.random.default_rng(seed)
    control = random.uniform(1, 3, genes).astype(np.float32)
    values = control + random.normal(0, 0.3, (cells, 1)) + random.normal(0, 0.4, (cells, genes))
    return control, values.astype(np.float32), random


def test_a_guess_is_the_sum_of_its_terms():
    control = np.array([1.0, 2.0, 3.0, 4.0])
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[3, :3] = [0.5, 0, 1.5]
    guess = PathwayGuess(weights, control, np.array([True, True, True, False]))
    guess.coefficients_ = pd.Series([0.1, 0.2, 0.3, 0.4, 6.0], TERMS)
    values = np.array([[1.3, 2.0, 3.6, np.nan]], dtype=np.float32)
    cell = (0.3 + 0.0 + 0.6) / 3
    level = (4 - 2) / np.std([1, 2, 3])
    near = (0.5 * (0.3 - cell) + 1.5 * (0.6 - cell)) / (0.5 + 1.5 + SHRINKAGE)
    wanted = 4 + 0.1 + 0.2 * level + 0.3 * cell + 0.4 * level * cell + 6 * near
    assert guess.predict(values) == pytest.approx(wanted, rel=1e-5)


def test_a_guess_is_never_below_zero():
    control, values, _ = random_values(5, 4)
    guess = PathwayGuess(np.zeros((4, 4)), control, np.array([True, True, True, False]))
    guess.coefficients_ = pd.Series([-9.0, 0, 0, 0, 0], TERMS)
    assert (guess.predict(values) == 0).all()


def test_learning_equals_least_squares_with_each_gene_hidden_in_turn():
    control, values, random = random_values(40, 9)
    measured = np.arange(9) < 7
    weights = random.random((9, 9)).astype(np.float32)
    guess = PathwayGuess(weights, control, measured).fit([values[:15], values[15:]])
    rows, answers = [], []
    own = control[:7]
    for cell in values[:, :7] - own:
        for gene in range(7):
            others = np.delete(np.arange(7), gene)
            level = (own[gene] - own.mean()) / own.std()
            w = weights[gene, others]
            near = w @ (cell[others] - cell.mean()) / (w.sum() + SHRINKAGE)
            mean = cell[others].mean()
            rows.append([1, level, mean, mean * level, near])
            answers.append(cell[gene])
    rows = np.array(rows, dtype=float)
    ridge = 1e-4 * np.trace(rows.T @ rows) / 5
    wanted = np.linalg.solve(rows.T @ rows + ridge * np.eye(5), rows.T @ answers)
    np.testing.assert_allclose(guess.coefficients_, wanted, rtol=2e-3, atol=1e-4)


def test_hidden_values_do_not_reach_the_guess():
    control, values, random = random_values(200, 12)
    measured = np.arange(12) < 8
    weights = random.random((12, 12)).astype(np.float32)
    other = values.copy()
    other[:, ~measured] = np.nan
    one, two = (
        PathwayGuess(weights, control, measured).fit([v]).predict(v) for v in (values, other)
    )
    np.testing.assert_array_equal(one, two)


def test_planted_neighbours_are_found():
    # Gene 9 is the mean of genes 0 to 2, which vary together.
    control, values, random = random_values(500, 12)
    values[:, [0, 1, 2, 9]] += random.normal(0, 1, (500, 1))
    weights = np.zeros((12, 12), dtype=np.float32)
    group = np.ix_([0, 1, 2, 9], [0, 1, 2, 9])
    weights[group] = 1
    measured = np.arange(12) != 9
    near = PathwayGuess(weights, control, measured).fit([values]).predict(values)[:, 0]
    alone = PathwayGuess(0 * weights, control, measured).fit([values]).predict(values)[:, 0]
    error, error_alone, spread = (
        ((values[:, 9] - guess) ** 2).mean() for guess in (near, alone, control[9])
    )
    assert error < 0.6 * error_alone < 0.6 * spread


def test_errors_of_hidden_genes_are_those_of_the_rules_on_the_other_half_of_the_cells():
    control, values, random = random_values(400, 12)
    values[:, [0, 1, 2, 9]] += random.normal(0, 1, (400, 1))
    genes = pd.Index([f"g{i}" for i in range(12)])
    weights = pd.DataFrame(0.0, genes, genes)
    weights.iloc[[0, 1, 2, 9], [0, 1, 2, 9]] = 1.0
    measured = pd.Series(True, genes)
    measured["g11"] = False
    values[:, 11] = np.nan
    given = {"genes": genes, "control": pd.Series(control, genes)}
    found = [hidden_gene_errors(values, measured, weights, **given, seed=s) for s in range(20)]
    assert set(pd.concat(found).index) <= set(genes[:11])
    assert np.isfinite(pd.concat(found)).all(axis=None)
    # Where one gene of the four is hidden, the other three predict it.
    one = [e for e in found if set(e.index) & set(genes[[0, 1, 2, 9]]) == {"g9"}]
    assert one
    for errors in one:
        near, alone, mean = errors.loc["g9", ["pathway", "pathway, no neighbours", "control_mean"]]
        assert near < 0.8 * alone < 0.85 * mean


def hidden_errors(tmp_path, cells, competition, neighbours, share, seed=0):
    """Mean square error on hidden genes of both rules; `cells`: AnnData of counts, obs as merged.

    `share` of the genes measured are hidden in the file: their counts are gone and their mask is off.
    """
    random = np.random.default_rng(seed)
    hidden = random.random(cells.n_vars) < share
    counts = cells.X.toarray() if hasattr(cells.X, "toarray") else cells.X
    masked = np.where(hidden, 0, counts)
    measured = pd.DataFrame({"screen": ~hidden}, cells.var_names)
    path = write_cells(tmp_path / f"hidden{seed}.h5ad", masked, cells.obs, measured)
    truth = np.log2(1 + 1e4 * counts / cells.obs["RNAcount"].to_numpy()[:, None])[:, hidden]
    genes = cells.var_names[hidden]
    errors = {}
    for rule in ("control_mean", "pathway"):
        merged = MergedCells(path, competition, imputation=rule, neighbours=neighbours)
        places = merged.genes.get_indexer(genes)
        guesses = [batch.values for batch in merged.batches(512, shuffle=False)]
        errors[rule] = ((np.concatenate(guesses)[:, places] - truth) ** 2).mean()
    return errors["pathway"] / errors["control_mean"]


def merged_like(cells, genes, target, total):
    """Cells of one screen: genes under the names `genes`, None for those without one."""
    kept = pd.notna(genes)
    return anndata.AnnData(
        cells.X[:, kept],
        pd.DataFrame(
            {
                "sgrna_symbol": cells.obs[target].astype(str).to_numpy(),
                "dataset": "screen",
                "batch": "one",
                "RNAcount": np.asarray(total, dtype=float),
            },
            [str(i) for i in range(cells.n_obs)],
        ),
        pd.DataFrame(index=list(genes[kept])),
    )


@pytest.fixture(scope="module")
def twin_screens(twin):
    """The twin, its weights between genes, and its two atlases as merged cells."""
    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    names = load_gene_names(twin / "hgnc_complete_set.txt")
    replogle = anndata.read_h5ad(next(twin.glob("*_essential_raw_singlecell_01.h5ad")))
    vcc = anndata.read_h5ad(next(twin.glob("*_adata_Training.h5ad")))
    symbols = (replogle.var["gene_name"], vcc.var_names)
    ensembl = (replogle.var_names, vcc.var["gene_id"])
    found = [
        names.resolve(*pair, wanted=competition.genes)["gene"].to_numpy()
        for pair in zip(symbols, ensembl, strict=True)
    ]
    screens = {
        "replogle": merged_like(replogle, found[0], "gene", replogle.obs["UMI_count"]),
        "vcc": merged_like(vcc, found[1], "target_gene", np.asarray(vcc.X.sum(axis=1)).ravel()),
    }
    sets = load_pathways(twin / "pathways.gmt", names=names)
    return competition, sets.kernel(competition.genes, competition.genes), screens


@pytest.mark.parametrize(("name", "most"), [("replogle", 0.9), ("vcc", 0.98)])
def test_pathway_beats_the_control_mean_on_hidden_genes_of_another_cell_line(
    twin_screens, tmp_path, name, most
):
    competition, neighbours, screens = twin_screens
    ratios = [
        hidden_errors(tmp_path, screens[name], competition, neighbours, 0.3, seed)
        for seed in range(3)
    ]
    assert max(ratios) < 1
    assert np.mean(ratios) < most


def test_the_neighbours_have_a_part_in_that(twin_screens, tmp_path):
    competition, neighbours, screens = twin_screens
    order = np.random.default_rng(0).permutation(len(neighbours))
    shuffled = pd.DataFrame(
        neighbours.to_numpy()[np.ix_(order, order)], neighbours.index, neighbours.columns
    )
    real, other = (
        hidden_errors(tmp_path, screens["replogle"], competition, weights, 0.3)
        for weights in (neighbours, shuffled)
    )
    assert real < other - 0.02


def test_pathway_beats_the_control_mean_on_hidden_genes_of_real_cells(shared, tmp_path):
    competition = load_competition(shared("real", "thp1"))
    cells = competition.read_cells()[::4]
    screen = merged_like(cells, cells.var_names.to_numpy(), "sgrna_symbol", cells.obs["nCount_RNA"])
    sets = load_pathways(shared("real", "pathways", "ReactomePathways.gmt"))
    neighbours = sets.kernel(competition.genes, competition.genes)
    for seed in range(2):
        assert hidden_errors(tmp_path, screen, competition, neighbours, 0.4, seed) < 0.99


def test_neighbours_must_be_weights_between_known_genes():
    genes = pd.Index(["A", "B"])
    frame = pd.DataFrame([[0, 1.0], [1, 0]], ["B", "X"], ["X", "B"])
    assert aligned_weights(frame, genes).tolist() == [[0, 0], [0, 1]]
    with pytest.raises(InputError, match="negative or not finite; want 0 or more"):
        aligned_weights(-frame, genes)
    with pytest.raises(InputError, match="repeated columns: B"):
        aligned_weights(frame.set_axis(["B", "B"], axis=1), genes)
    with pytest.raises(InputError, match="no gene of the rows is known"):
        aligned_weights(frame.set_axis(["X", "Y"]), genes)
    competition = small_competition(pd.Series(1.0, genes))
    with pytest.raises(InputError, match="1 genes are measured; the rule pathway wants two"):
        PathwayGuess(aligned_weights(frame, genes), competition.control, np.array([True, False]))
