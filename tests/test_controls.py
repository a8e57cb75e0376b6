"""Features of targets from control cells: a slow loop over genes, planted programmes, unknown targets."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from kit import CONTROL, Competition, InputError, load_competition
from kit.expression import controls, pseudobulk


def competition_of(folder, counts, symbols, outputs, genes):
    """A competition whose cells are these; its tables hold only what the features read."""
    cells = anndata.AnnData(
        counts.astype(float),
        pd.DataFrame({"sgrna_symbol": symbols}, [f"c{i}" for i in range(len(symbols))]),
        pd.DataFrame(index=genes),
    )
    path = folder / "cells.h5ad"
    cells.write_h5ad(path)
    effects = pd.DataFrame(0.0, ["K"], outputs)
    return Competition(
        effects=effects,
        weights=effects + 1,
        control=pd.Series(0.5, outputs),
        targets=pd.DataFrame({"perturbation": [], "split": []}),
        baseline_wmae=pd.Series(1.0, ["K"]),
        solution=None,
        cells=path,
        source=folder,
    )


@pytest.fixture
def small(tmp_path):
    """60 control cells and 20 others of 30 genes, 12 of them output genes; gene 29 is never seen."""
    random = np.random.default_rng(0)
    rate = random.gamma(1, 20, 30)
    rate[29] = 0
    counts = random.poisson(rate * random.uniform(0.5, 2, (80, 1)))
    genes = [f"G{i}" for i in range(30)]
    symbols = [CONTROL] * 60 + ["K"] * 20
    return competition_of(tmp_path, counts, symbols, genes[:24:2], genes), counts


def test_mean_and_detection_are_those_of_the_control_cells_alone(small):
    competition, counts = small
    features = controls.target_features(competition, ["G3", "G29"], components=2)
    values = np.log2(1 + 1e4 * counts[:60] / counts[:60].sum(axis=1, keepdims=True))
    assert features.loc["G3", "control mean"] == pytest.approx(values[:, 3].mean())
    assert features.loc["G3", "detection"] == pytest.approx((counts[:60, 3] > 0).mean())
    assert features.loc["G29"].to_list()[:2] == [0, 0]


def test_components_equal_those_of_the_whole_table_of_correlations(small):
    competition, _ = small
    cells = competition.subset([]).read_cells()
    values = pseudobulk.log_normalise(cells.X).toarray()
    correlation = np.zeros((30, 12))
    for gene in range(29):
        for place, output in enumerate(range(0, 24, 2)):
            correlation[gene, place] = np.corrcoef(values[:, gene], values[:, output])[0, 1]
    left, size, _ = np.linalg.svd(correlation - correlation.mean(axis=0), full_matrices=False)
    wanted = left * size / np.sqrt(12)
    names = [f"G{i}" for i in range(30)]
    features = controls.target_features(competition, names, components=5).iloc[:, 2:].to_numpy()
    for place in range(5):
        same = np.sign(features[:, place] @ wanted[:, place])
        np.testing.assert_allclose(features[:, place], same * wanted[:, place], atol=1e-8)
        assert (features[:, place] ** 3).sum() > 0


def test_features_do_not_depend_on_the_other_targets_or_the_seed(small):
    competition, _ = small
    few = controls.target_features(competition, ["G7", "G2"], components=3)
    many = controls.target_features(competition, ["G2", "G5", "G7"], components=3, seed=1)
    np.testing.assert_allclose(few, many.loc[["G7", "G2"]], atol=1e-9)
    again = controls.target_features(competition, ["G7", "G2"], components=3)
    pd.testing.assert_frame_equal(few, again, check_exact=True)
    assert list(few.columns) == [
        "control mean",
        "detection",
        "covariance 1",
        "covariance 2",
        "covariance 3",
    ]


def test_a_target_that_is_no_gene_is_missing_and_named(small):
    competition, _ = small
    features = controls.target_features(competition, ["G1", "BRD4", "G4", "MED12"], components=2)
    assert list(features.index[features.isna().any(axis=1)]) == ["BRD4", "MED12"]
    assert features.loc["BRD4"].isna().all()
    assert features.loc[["G1", "G4"]].notna().all(axis=None)


def test_genes_of_a_planted_programme_are_alike_also_without_an_output_column(tmp_path):
    random = np.random.default_rng(1)
    programme = random.normal(0, 0.8, (300, 1)) * (np.arange(60) % 3 == 0)
    counts = random.poisson(30 * np.exp(programme + random.normal(0, 0.2, (300, 60))))
    genes = [f"G{i}" for i in range(60)]
    competition = competition_of(tmp_path, counts, [CONTROL] * 300, genes[:40], genes)
    features = controls.target_features(competition, genes[40:], components=3)["covariance 1"]
    member = features.index.isin(genes[::3])
    assert features[member].min() > features[~member].max()
    # Each gene shuffled over cells has no programme.
    null = np.apply_along_axis(random.permutation, 0, counts)
    other = competition_of(tmp_path, null, [CONTROL] * 300, genes[:40], genes)
    spread = controls.target_features(other, genes[40:], components=3)["covariance 1"].abs().max()
    assert spread < 0.3 * features[member].min()


def test_too_many_components_are_refused(small):
    competition, _ = small
    with pytest.raises(InputError, match="components is 20, want 1 to 10: there are 60 control"):
        controls.target_features(competition, ["G1"])


def test_without_cells_there_are_no_features(small):
    competition, _ = small
    with pytest.raises(InputError, match="do without cells"):
        controls.target_features(replace(competition, cells=None), ["G1"])


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes_are_refused(tmp_path):
    counts = np.ones((9, 4))
    competition = competition_of(tmp_path, counts, [CONTROL] * 9, ["A"], ["A", "B", "B", "C"])
    with pytest.raises(InputError, match="repeated genes: B; each may stand once"):
        controls.target_features(competition, ["A"])


@pytest.mark.filterwarnings("ignore:.*SIMULATED")
def test_every_target_of_the_twin_has_features_and_its_shipped_level(twin):
    competition = load_competition(twin)
    targets = [*competition.effects.index, *competition.targets["perturbation"]]
    features = controls.target_features(competition, targets)
    assert features.shape == (len(targets), 22)
    assert features.notna().all(axis=None)
    shipped = competition.control.reindex(targets)
    assert shipped.isna().any()
    gap = (features["control mean"] - shipped).dropna()
    np.testing.assert_allclose(gap, 0, atol=1e-6)
