"""Resampled cells: unbiased, as noisy as pseudobulk is, within guides, and of the right rows."""

import numpy as np
import pandas as pd
import pytest

from kit import InputError
from kit.competition import Competition
from kit.expression.pseudobulk import bootstrap_effects, log_normalise

GENES = ["A", "B", "C"]
NAMES = ["P0", "P1"]


@pytest.fixture
def cells():
    import anndata

    random = np.random.default_rng(0)
    group = np.repeat([*NAMES, "non-targeting"], [40, 60, 200])
    counts = random.poisson(np.where(group == "P0", 4, 9)[:, None], (300, 4)).astype(np.float32)
    obs = pd.DataFrame({"sgrna_symbol": group}, index=[f"cell{i}" for i in range(300)])
    obs["sgrna_id"] = [f"{name}_{i % 2}" for i, name in enumerate(group)]
    obs["channel"] = [f"c{i % 3}" for i in range(300)]
    return anndata.AnnData(counts, obs, pd.DataFrame(index=["X", "C", "A", "B"]))


@pytest.fixture
def competition(cells, tmp_path):
    values = pd.DataFrame(log_normalise(cells.X), cells.obs["sgrna_symbol"], cells.var_names)
    means = values.groupby(level=0).mean()[GENES]
    effects = means.loc[NAMES] - means.loc["non-targeting"]
    return Competition(
        effects=effects.rename_axis("perturbation"),
        weights=effects * 0 + 1,
        control=means.loc["non-targeting"],
        targets=pd.DataFrame({"perturbation": ["T"], "split": ["val"]}, index=["pert_1"]),
        baseline_wmae=effects.abs().mean(axis=1),
        solution=None,
        cells=None,
        source=tmp_path,
    )


def test_draws_scatter_about_the_effects_by_their_standard_error(cells, competition):
    cells.obs = cells.obs[["sgrna_symbol"]]  # so that all cells of a perturbation are one stratum
    draws = bootstrap_effects(competition, 600, cells=cells)
    assert draws.shape == (600, 2, 3)
    assert draws.dtype == np.float32
    values = pd.DataFrame(log_normalise(cells.X), cells.obs["sgrna_symbol"], cells.var_names)[GENES]
    parts = [
        values.loc[name].var(ddof=0) / len(values.loc[name]) for name in [*NAMES, "non-targeting"]
    ]
    for row, name in enumerate(NAMES):
        error = np.sqrt(parts[row] + parts[2]).to_numpy()
        np.testing.assert_allclose(draws[:, row].std(axis=0), error, rtol=0.1)
        gap = draws[:, row].mean(axis=0) - competition.effects.loc[name]
        assert (np.abs(gap) < 5 * error / np.sqrt(600)).all()


def test_the_controls_sample_is_shared_by_all_rows(cells, competition):
    draws = bootstrap_effects(competition, 600, cells=cells)
    together = np.corrcoef(draws[:, 0, 0], draws[:, 1, 0])[0, 1]
    assert together > 0.1


def test_cells_are_drawn_within_guide_and_batch(cells, competition):
    cells.obs["sgrna_id"] = [f"own{i}" for i in range(300)]  # each its own guide: nothing to draw
    draws = bootstrap_effects(competition, 3, cells=cells)
    expected = np.broadcast_to(competition.effects, draws.shape)
    np.testing.assert_allclose(draws, expected, atol=1e-5)


def test_rows_and_genes_follow_the_competition(cells, competition):
    turned = competition.subset(NAMES[::-1])
    one, other = (bootstrap_effects(each, 4, cells=cells) for each in (competition, turned))
    assert other.shape == one.shape
    assert np.abs(other[:, ::-1].mean(axis=0) - one.mean(axis=0)).max() < 0.5
    few = competition.subset(["P1"])
    assert bootstrap_effects(few, 2, cells=cells).shape == (2, 1, 3)


def test_the_same_seed_gives_the_same_draws(cells, competition):
    one, again, other = (bootstrap_effects(competition, 2, seed=s, cells=cells) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_cannot_be_drawn_is_refused_in_one_line(cells, competition):
    with pytest.raises(InputError, match="draws is 0, want at least 1"):
        bootstrap_effects(competition, 0, cells=cells)
    with pytest.raises(InputError, match="lack cells: P0"):
        bootstrap_effects(competition, 1, cells=cells[cells.obs["sgrna_symbol"] != "P0"])
    with pytest.raises(InputError, match="cells lack genes: B"):
        bootstrap_effects(competition, 1, cells=cells[:, ["A", "C", "X"]])
