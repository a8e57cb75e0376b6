"""Cell lines in turn: what a line becomes, what the others keep, and a response planted in two lines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kit import (
    CONTROL,
    Competition,
    InputError,
    folds,
    out_of_fold,
    wmae,
)
from kit.evaluation.splits import each_line, line_out, with_competition
from kit.metric import weights_from_t
from kit.models import Mean
from kit.screens.atlas import Atlas, read_responses

GENES = [f"G{i}" for i in range(30)]


def competition_of(effects):
    ones = effects * 0 + 1
    targets = pd.DataFrame({"perturbation": ["T"], "split": ["val"]}, index=["pert_1"])
    control = pd.Series(2.0, effects.columns)
    base = wmae(effects, effects.mean(), ones)
    return Competition(effects, ones, control, targets, base, None, None, Path("/nowhere"))


def atlas_of(lines, se=None):
    """An Atlas of effects by line (perturbation x gene); `se` one number for all."""
    effects = pd.concat(
        [
            frame.set_axis([f"{name}|{line}" for name in frame.index])
            for line, frame in lines.items()
        ]
    )
    labels = [(name, line) for line, frame in lines.items() for name in frame.index]
    obs = pd.DataFrame(labels, effects.index, ["sgrna_symbol", "dataset"])
    obs = obs.astype("category").assign(n_cells=50, competition=obs["dataset"] == "competition")
    return Atlas(effects, obs, None if se is None else effects * 0 + se, Path("responses.h5ad"))


def responses(names, seed, genes=GENES):
    values = np.random.default_rng(seed).normal(0, 0.5, (len(names), len(genes)))
    return pd.DataFrame(values, list(names), genes)


@pytest.fixture
def small():
    """A competition of three knockdowns and an atlas of two lines; `one` lacks G0, `two` G1."""
    one, two = responses("abc", 1), responses("bcde", 2)
    one["G0"], two.loc["e", "G1"] = np.nan, np.nan
    return competition_of(responses("abx", 0)), atlas_of({"one": one, "two": two}, se=0.1)


def test_the_competition_becomes_one_of_the_lines(small):
    competition, atlas = small
    joined = with_competition(atlas, competition)
    own = joined.obs["competition"].to_numpy()
    assert list(joined.obs["sgrna_symbol"][own]) == list("abx")
    assert set(joined.obs["dataset"][own]) == {"competition"}
    np.testing.assert_array_equal(joined.effects[own], competition.effects)
    assert joined.se[own].isna().all(axis=None)
    pd.testing.assert_frame_equal(joined.effects[~own], atlas.effects)
    assert joined.obs["n_cells"][~own].eq(50).all()
    assert joined.effects.index.equals(joined.obs.index)
    again = with_competition(joined, competition)
    pd.testing.assert_frame_equal(again.effects, joined.effects)


def test_a_line_has_its_knockdowns_the_genes_it_measured_and_weights_of_its_t(small):
    competition, atlas = small
    line, rest = line_out(atlas, "two", competition, lfc=0.03)
    genes = [gene for gene in GENES if gene != "G1"]
    assert list(line.effects.index) == list("bcde")
    assert list(line.genes) == list(line.control.index) == list(line.submission_genes) == genes
    for name in line.effects.index:
        effect = line.effects.loc[name]
        t = np.sign(effect) * (effect.abs() - 0.03).clip(lower=0) / 0.1
        c = np.minimum(t.abs() + 0.1, 10) ** 2
        np.testing.assert_allclose(line.weights.loc[name], 29 * c / c.sum())
    base = wmae(line.effects, line.effects.mean(), line.weights)
    np.testing.assert_allclose(line.baseline_wmae, base)
    assert len(line.targets) == len(line.submission_ids) == 0
    assert line.cells is None
    assert line.solution is None
    assert set(rest.obs["dataset"]) == {"one"}
    assert list(rest.effects.columns) == list(rest.se.columns) == genes
    assert not rest.obs["competition"].any()


def test_the_competitions_own_line_is_the_competition_itself(small):
    competition, atlas = small
    line, rest = line_out(with_competition(atlas, competition), "competition", competition)
    assert line is competition
    assert set(rest.obs["dataset"]) == {"one", "two"}
    pd.testing.assert_frame_equal(rest.effects, atlas.effects)


def test_to_another_line_the_competition_is_foreign(small):
    """A reader drops rows marked as the competition's own: here they must be used."""
    competition, atlas = small
    _, rest = line_out(with_competition(atlas, competition), "one", competition)
    assert set(rest.obs["dataset"]) == {"competition", "two"}
    assert not rest.obs["competition"].any()


def test_without_errors_t_is_over_the_genes_spread():
    effects = responses("abcd", 3)
    effects["G0"] = [0.0, 0, 0, 0.3]  # a median distance of 0: the tenth of the overall size
    line, _ = line_out(atlas_of({"one": effects}), "one", competition_of(effects), lfc=0.0)
    size = np.sqrt((effects.to_numpy() ** 2).mean())
    spread = [
        max(1.4826 * np.median(np.abs(effects[g] - np.median(effects[g]))), size / 10)
        for g in GENES
    ]
    assert spread[0] == size / 10
    wanted = weights_from_t(effects / spread)
    np.testing.assert_allclose(line.weights, wanted)


def test_an_unknown_error_gives_the_least_weight():
    effects = responses("ab", 4)
    atlas = atlas_of({"one": effects}, se=0.1)
    atlas.se.iloc[0, 0], atlas.se.iloc[0, 1] = np.nan, 0.0
    line, _ = line_out(atlas, "one", competition_of(effects))
    first = line.weights.loc["a"]
    assert first["G0"] == first["G1"] == first.min()


def test_control_cells_are_no_perturbation_and_mean_expression_is_the_competitions():
    effects = responses(["a", "b", CONTROL], 5)
    data = competition_of(effects.iloc[:2])
    line, _ = line_out(atlas_of({"one": effects}), "one", data)
    assert list(line.effects.index) == ["a", "b"]
    assert (line.control == 2).all()


def test_lines_that_cannot_be_used_are_refused(small):
    competition, atlas = small
    with pytest.raises(InputError, match=r"no such dataset: three .* one, two"):
        line_out(atlas, "three", competition)
    twice = replace(atlas, obs=atlas.obs.assign(sgrna_symbol="a"))
    with pytest.raises(InputError, match="one has perturbations twice: a"):
        line_out(twice, "one", competition)
    empty = replace(atlas, effects=atlas.effects * np.nan)
    with pytest.raises(InputError, match="3 perturbations and 0 genes"):
        line_out(empty, "one", competition)


class Copy(Mean):
    """The training mean plus the same knockdown in the other lines."""

    def __init__(self, atlas):
        self.atlas = atlas

    def predict(self, perturbations):
        symbols = self.atlas.obs["sgrna_symbol"].astype(str).to_numpy()
        known = self.atlas.effects.groupby(symbols).mean()
        return super().predict(perturbations) + known.reindex(perturbations).fillna(0.0)


@pytest.mark.parametrize("same", [True, False])
def test_a_response_planted_in_every_line_is_found_in_each_and_a_null_is_not(same):
    names = [f"P{i}" for i in range(25)]
    lines = {
        name: responses(names, 0 if same else seed) + 0.1 * responses(names, 9 + seed)
        for seed, name in enumerate(["competition", "one", "two"])
    }
    competition = competition_of(lines["competition"])
    atlas = atlas_of({name: lines[name] for name in ("one", "two")}, se=0.1)
    atlas = replace(atlas, obs=atlas.obs.drop(columns="competition"))
    seen = {}
    for dataset, line, rest in each_line(atlas, competition):
        assert dataset not in set(rest.obs["dataset"])
        run = out_of_fold(Copy(rest), line, folds(line.effects.index))
        seen[dataset] = run.score().score_per_60
    assert list(seen) == ["competition", "one", "two"]
    assert all(score > 60 if same else score < 5 for score in seen.values()), seen
    assert [name for name, *_ in each_line(atlas, competition, at_least=26)] == []


def test_lines_of_a_merged_atlas_are_competitions(twin, tmp_path):
    from kit import load_competition
    from kit.screens import merge

    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    screens = sorted(twin.glob("TWIN*.h5ad"))
    merge(screens, competition, tmp_path, cells=False)
    atlas = read_responses(tmp_path / "responses.h5ad", competition)
    lines = {dataset: (line, rest) for dataset, line, rest in each_line(atlas, competition)}
    assert len(lines) == 3
    for line, rest in lines.values():
        assert rest.effects.columns.equals(line.genes)
        np.testing.assert_allclose(line.weights.sum(axis=1), len(line.genes), rtol=1e-3)
        assert line.simulated
        assert len(line.data_hash) == 64
        run = out_of_fold(Mean(), line, folds(line.effects.index))
        assert run.score().score == 0
