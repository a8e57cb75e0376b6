"""The ceiling: halves by cell and by guide, what is planted in them, and the numbers that are stated."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from kit import (
    CONTROL,
    Competition,
    InputError,
    folds,
    load_competition,
    out_of_fold,
)
from kit.evaluation import expected
from kit.evaluation.expected import _halves, ceiling
from kit.evaluation.predictions import summary
from kit.expression import pseudobulk, t_of_samples
from kit.metric import weights_from_t
from kit.models import Constant

GENES = [f"G{i}" for i in range(40)]


@pytest.fixture(scope="module")
def competition(twin):
    with pytest.warns(UserWarning, match="SIMULATED"):
        return load_competition(twin)


def planted(path, *, shared=0.0, by_guide=0.0, seed=0, perturbations=10, guides=2, cells=24):
    """A competition with cells: log effects of each knockdown, and of each guide, of these sizes."""
    random = np.random.default_rng(seed)
    rate = random.gamma(2, 20, len(GENES))
    obs, counts = [], []
    for number in range(perturbations + 2):
        control = number >= perturbations  # twice as many guides as a knockdown has
        name = CONTROL if control else f"P{number}"
        effect = random.normal(0, shared, len(GENES)) * (not control)
        for guide in range(guides):
            own = random.normal(0, by_guide, len(GENES)) * (not control)
            counts.append(random.poisson(rate * np.exp(effect + own), (cells, len(GENES))))
            label = f"{name}_{guide + guides * (number - perturbations)}" if control else guide
            obs += [(name, str(label), f"ch_{cell % 2}") for cell in range(cells)]
    obs = pd.DataFrame(obs, columns=["sgrna_symbol", "sgrna_id", "channel"])
    obs.index = obs.index.astype(str)
    data = anndata.AnnData(np.concatenate(counts).astype(float), obs, pd.DataFrame(index=GENES))
    return as_competition(data, path)


def as_competition(data, path):
    data.write_h5ad(path)
    effects = pseudobulk.effects(data, GENES)
    samples = pseudobulk.samples(data, GENES)
    weights = weights_from_t(t_of_samples(*samples)).loc[effects.index]
    targets = pd.DataFrame(columns=["perturbation", "split"])
    base = effects.mean(axis=1)
    return Competition(effects, weights, effects.mean(), targets, base, None, path, Path())


def test_the_ceiling_is_above_every_constant_and_none_without_cells(competition, monkeypatch):
    best = ceiling(competition).score()
    held_out = folds(competition.effects.index)
    assert best.score_per_60 > out_of_fold(Constant(), competition, held_out).score().score_per_60
    assert best.score_per_60 == ceiling(competition).score().score_per_60
    assert ceiling(replace(competition, cells=None)) is None
    monkeypatch.setattr(expected, "find_spec", lambda name: None)
    assert ceiling(competition) is None  # no anndata


@pytest.mark.parametrize("by", ["cell", "guide"])
def test_halves_share_no_cell_and_split_the_control_too(competition, by):
    obs = competition.read_cells().obs
    column = {"cell": None, "guide": "sgrna_id"}[by]
    one, other = _halves(obs, column, seed=3)
    assert not (one & other).any()
    assert (one | other).all()
    symbols = obs["sgrna_symbol"].astype(str)
    guides = obs["sgrna_id"].astype(str)
    for symbol in symbols.unique():
        rows = (symbols == symbol).to_numpy()
        if by == "cell":
            assert abs(one[rows].sum() - other[rows].sum()) <= 1
        else:
            halves = set(guides[one & rows]), set(guides[other & rows])
            assert not halves[0] & halves[1]
            assert abs(len(halves[0]) - len(halves[1])) <= 1
    again, _ = _halves(obs, column, seed=3)
    assert (again == one).all()
    assert (_halves(obs, column, seed=4)[0] != one).any()


@pytest.mark.parametrize("by", ["cell", "guide"])
def test_the_halves_are_scored_as_by_hand(tmp_path, by):
    data = planted(tmp_path / "cells.h5ad", shared=0.4)
    halves = ceiling(data, by=by, seed=1)
    cells = data.read_cells()
    one, other = _halves(cells.obs, {"cell": None, "guide": "sgrna_id"}[by], 1)
    for half, frame in ((one, halves.prediction), (other, halves.truth)):
        again = pseudobulk.effects(cells[half], GENES)
        np.testing.assert_allclose(frame, again.loc[frame.index], rtol=1e-12)
    for name in halves.truth.index:
        mean = halves.truth.drop(index=name).mean()
        error = halves.weights.loc[name] * (halves.truth.loc[name] - mean).abs()
        assert halves.baseline_wmae[name] == pytest.approx(error.mean())
        np.testing.assert_allclose(halves.mean.loc[name], mean, atol=1e-12)
    t = t_of_samples(*pseudobulk.samples(cells[other], GENES, min_cells=2))
    np.testing.assert_allclose(halves.weights, weights_from_t(t).loc[halves.weights.index])
    assert list(halves.truth.index) == [f"P{i}" for i in range(10)]
    for half in (one, other):
        counts = cells.obs["sgrna_symbol"][half].value_counts()
        assert (counts[halves.truth.index] == 24).all()
        assert counts[CONTROL] == 48


def test_effects_that_guides_share_agree_and_those_of_single_guides_only_by_cell(tmp_path):
    shared = planted(tmp_path / "shared.h5ad", shared=0.4)
    alone = planted(tmp_path / "alone.h5ad", by_guide=0.4)
    score = {
        (name, by): ceiling(data, by=by).score().score_per_60
        for name, data in {"shared": shared, "alone": alone}.items()
        for by in ("cell", "guide")
    }
    assert score["shared", "cell"] > 60
    assert score["shared", "guide"] > 60
    assert score["alone", "cell"] > 60
    assert score["alone", "guide"] < 5


def test_cells_without_effects_have_no_ceiling_to_speak_of(tmp_path):
    assert ceiling(planted(tmp_path / "cells.h5ad")).score().score_per_60 < 5


def test_a_knockdown_of_one_guide_is_left_out(tmp_path):
    cells = planted(tmp_path / "all.h5ad", shared=0.4).read_cells()
    single = (cells.obs["sgrna_symbol"] == "P3") & (cells.obs["sgrna_id"] == "1")
    data = as_competition(cells[~single.to_numpy()].copy(), tmp_path / "cells.h5ad")
    halves = ceiling(data, by="guide")
    assert set(data.effects.index) - set(halves.truth.index) == {"P3"}
    assert set(data.effects.index) == set(ceiling(data, by="cell").truth.index)


def test_cells_without_a_guide_are_in_neither_half(tmp_path):
    data = planted(tmp_path / "all.h5ad", shared=0.4).read_cells()
    data.obs["sgrna_id"] = data.obs["sgrna_id"].astype(object)
    data.obs.iloc[:5, data.obs.columns.get_loc("sgrna_id")] = np.nan
    one, other = _halves(data.obs, "sgrna_id", 0)
    assert not (one | other)[:5].any()
    assert (one | other)[5:].all()


def test_several_halvings_are_summed_up(tmp_path):
    data = planted(tmp_path / "cells.h5ad", shared=0.4)
    halvings = [ceiling(data, seed=seed) for seed in range(3)]
    result = summary(halvings)
    assert result["score"] == pytest.approx(
        np.mean([halves.score().score_per_60 for halves in halvings])
    )
    assert 0 < result["sd"] < result["score"] / 2


def test_what_cannot_be_halved_is_refused(tmp_path):
    data = planted(tmp_path / "all.h5ad", shared=0.4)
    with pytest.raises(InputError, match="cannot be halved by `batch`; want cell or guide"):
        ceiling(data, by="batch")
    cells = data.read_cells()
    cells.obs["sgrna_id"] = cells.obs["sgrna_symbol"].astype(str)
    with pytest.raises(InputError, match=r"non-targeting cells .* of one sgrna_id; want two"):
        ceiling(as_competition(cells, tmp_path / "single.h5ad"), by="guide")
    del cells.obs["sgrna_id"]
    cells.write_h5ad(tmp_path / "none.h5ad")
    with pytest.raises(InputError, match="no obs column `sgrna_id`; halve them by cell"):
        ceiling(replace(data, cells=tmp_path / "none.h5ad"), by="guide")


def test_the_ceiling_of_real_cells_is_lower_by_guide(shared):
    """Of THP-1 cells: 16.5 by cell, 3.0 by guide; the shipped weights, of both halves, give 23."""
    real = load_competition(shared("real", "thp1"))
    by_cell, by_guide = (ceiling(real, by=by) for by in ("cell", "guide"))
    assert by_cell.score().score_per_60 == pytest.approx(16.5, abs=0.1)
    assert by_guide.score().score_per_60 == pytest.approx(3.0, abs=0.1)
    names = by_cell.truth.index
    own = (by_cell.truth - by_cell.mean).abs().mul(real.weights.loc[names]).mean(axis=1)
    shipped = replace(by_cell, weights=real.weights.loc[names], baseline_wmae=own)
    assert shipped.score().score_per_60 == pytest.approx(23.2, abs=0.1)
