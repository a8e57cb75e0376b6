"""Intervals: by hand, calibrated where distributions are too narrow, blind to the rows they are for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_competition import write_small, write_solution
from small_planted import planted
from threadpoolctl import threadpool_limits

from kit import InputError, folds, load_competition
from kit.__main__ import main
from kit.decision import Distribution
from kit.forecast import Intervals, calibration, target_intervals
from kit.forecast.intervals import (
    central_interval,
    is_on_target,
    mean_deviation,
    on_target_interval,
    write_intervals,
)
from kit.knowledge import Knowledge, load_pathways
from kit.models import Blend, Neighbours, ResidualDistribution, Ridge


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices are small here: on a busy machine threads would wait for each other."""
    with threadpool_limits(1):
        yield


class Even:
    """Every training row is as probable, `sure` times as near to their median."""

    def __init__(self, sure=1.0):
        self.sure = sure

    def fit(self, train):
        self.train = train
        return self

    def predict_distribution(self, perturbations):
        effects = self.train.effects
        values = effects.median() + (effects - effects.median()) / self.sure
        rows = pd.DataFrame(1 / len(effects), list(perturbations), effects.index)
        error = effects.abs().mean(axis=1)
        return Distribution(values, self.train.weights, rows, error, effects.mean())


def independent(folder, rows, genes=50, seed=0):
    """A competition in which every effect is drawn alone, each gene of another size."""
    competition, _ = planted(folder, rows=rows, genes=genes, modules=2, seed=seed)
    random = np.random.default_rng(seed)
    size = np.geomspace(0.05, 1, genes)
    return replace(
        competition, effects=competition.effects * 0 + size * random.normal(size=(rows, genes))
    )


def by_level(table):
    """Means over perturbations of what `calibration` gives, by level."""
    return table.groupby(level="level").mean()


def test_intervals_are_interpolated_quantiles_of_the_distribution():
    values = pd.DataFrame({"g": [3.0, -1.0, 0.0, 1.0]}, list("abcd"))
    rows = pd.DataFrame([[0.05, 0.05, 0.5, 0.4]], ["X"], list("abcd"))
    distribution = Distribution(values, values * 0 + 1, rows, values["g"], values.mean())
    # Sorted: -1, 0, 1, 3, whose middles stand at shares .025, .3, .75, .975.
    for level, ends in {0.5: (-1 + 0.225 / 0.275, 1), 0.95: (-1, 3), 0.99: (-1, 3)}.items():
        low, high = central_interval(distribution, level)
        assert (low.at["X", "g"], high.at["X", "g"]) == pytest.approx(ends)
    with pytest.raises(InputError, match="level is 90; want a share between 0 and 1"):
        central_interval(distribution, 90)


@pytest.mark.parametrize("sure", [0.5, 1.0, 3.0])
def test_a_distribution_that_is_too_narrow_or_too_wide_is_calibrated(tmp_path, sure):
    competition = independent(tmp_path, rows=60)
    held_out = folds(competition.effects.index, 4)
    plain, mended = (
        by_level(calibration(Even(sure), competition, held_out, parts=parts)) for parts in (0, 5)
    )
    apart = (mended["observed"] - mended.index).abs()
    assert apart.max() < 0.03
    if sure != 1:
        assert apart.max() < (plain["observed"] - plain.index).abs().max() / 3
    if sure < 1:  # narrowed
        assert (mended["width"] < plain["width"]).all()


def test_few_rows_are_widened_beyond_anything_seen(tmp_path):
    competition = independent(tmp_path, rows=15, genes=300)
    held_out = folds(competition.effects.index, 15)
    plain, mended = (
        by_level(calibration(Even(), competition, held_out, levels=(0.95,), parts=parts))
        for parts in (0, 5)
    )
    assert plain["observed"].iloc[0] == pytest.approx(1 - 2 / 15, abs=0.02)  # between 14 others
    assert mended["observed"].iloc[0] == pytest.approx(0.95, abs=0.02)


def test_the_observed_coverage_of_a_fit_holds_for_new_rows(tmp_path):
    competition = independent(tmp_path, rows=90)
    rows = competition.effects.index
    fitted = Intervals(Even(2.0)).fit(competition.subset(rows[:45]))
    ends, truth = fitted.predict(rows[45:]), competition.effects.loc[rows[45:]]
    for level in fitted.levels:
        inside = (ends[level]["low"] <= truth) & (truth <= ends[level]["high"])
        assert fitted.observed_[level] == pytest.approx(level, abs=0.03)
        assert inside.to_numpy().mean() == pytest.approx(fitted.observed_[level], abs=0.04)


def test_a_better_distribution_has_narrower_intervals_of_the_same_level(tmp_path):
    competition, pathways = planted(tmp_path, rows=60, genes=40, noise=0.1)
    held_out = folds(competition.effects.index, 3)
    known, blind = (
        by_level(calibration(model, competition, held_out, levels=(0.8,))).loc[0.8]
        for model in (Neighbours(Knowledge(pathways)), Neighbours())
    )
    assert known["width"] < 0.6 * blind["width"]
    for one in (known, blind):
        assert one["observed"] == pytest.approx(0.8, abs=0.06)


def test_every_model_with_a_distribution_has_intervals(tmp_path):
    competition, pathways = planted(tmp_path, rows=18, genes=10, modules=3)
    for model in (
        Blend(Knowledge(pathways), parts=0),
        ResidualDistribution(Ridge(Knowledge(pathways))),
    ):
        ends = Intervals(model, levels=(0.5, 0.9)).fit(competition).predict(["P1", "X1"])
        for end, one, other in (("low", 0.9, 0.5), ("high", 0.5, 0.9)):
            assert (ends[one][end] <= ends[other][end]).all(axis=None)
        assert (ends[0.5]["low"] <= ends[0.5]["high"]).all(axis=None)
        assert list(ends[0.9]["low"].columns) == list(competition.genes)


def test_effects_of_held_out_rows_change_no_interval(tmp_path):
    competition = independent(tmp_path, rows=20, genes=10)
    names = list(competition.effects.index)[:4]
    other = competition.effects.copy()
    other.loc[names] *= 100
    widths = [
        calibration(Even(), replace(competition, effects=effects), [names])["width"]
        for effects in (competition.effects, other)
    ]
    pd.testing.assert_series_equal(*widths)


def test_an_on_target_gene_falls_as_far_as_those_of_training_rows(tmp_path):
    competition = independent(tmp_path, rows=40, genes=45)
    effects = competition.effects.rename(columns=lambda gene: gene.replace("G", "P"))
    control = pd.Series(np.linspace(0.5, 4, 45), effects.columns)
    fell = np.linspace(-0.9, -0.3, 40)
    for share, name in zip(fell, effects.index, strict=True):
        effects.loc[name, name] = share * control[name]
    weights = effects * 0 + 1
    competition = replace(competition, effects=effects, weights=weights, control=control)
    ends = Intervals(Even(), levels=(0.8,)).fit(competition).predict(["P42", "X"])
    expected = np.quantile(fell, [0.1, 0.9], method="weibull") * control["P42"]
    for end, wanted in zip(("low", "high"), expected, strict=True):
        assert ends.at["P42", (0.8, end, "P42")] == pytest.approx(wanted)
    assert ends.at["X", (0.8, "high", "P42")] > 0
    inside = calibration(Even(), competition, folds(effects.index, 5), levels=(0.8,))["on_target"]
    assert inside.mean() == pytest.approx(0.8, abs=0.1)
    assert inside.notna().sum() == 40
    np.testing.assert_allclose(on_target_interval([-0.5, -0.2], 0.9), [-1, 0])


def test_calibration_counts_as_by_hand(tmp_path):
    competition = independent(tmp_path, rows=12, genes=5)
    effects = competition.effects.rename(columns={"G0": "P0"})
    weights = pd.DataFrame(np.arange(60.0).reshape(12, 5), effects.index, effects.columns)
    competition = replace(competition, effects=effects, weights=weights)
    held_out = [["P0", "P3"], ["P7"]]
    table = calibration(Even(), competition, held_out, levels=(0.5, 0.9), parts=0)
    assert list(table.index) == [
        (level, name) for level in (0.5, 0.9) for name in ("P0", "P3", "P7")
    ]
    for level, name in table.index:
        (names,) = [names for names in held_out if name in names]
        train = competition.subset(effects.index.difference(names))
        ends = Intervals(Even(), levels=(level,), parts=0).fit(train).predict([name])[level]
        low, high, truth = ends["low"].loc[name], ends["high"].loc[name], effects.loc[name]
        inside, row = truth.between(low, high), table.loc[level, name]
        assert row["observed"] == pytest.approx(inside.sum() / 5)
        weight = weights.loc[name]
        assert row["by_weight"] == pytest.approx(weight[inside].sum() / weight.sum())
        assert row["width"] == pytest.approx(sum(high - low) / 5)
        assert row["on_target"] == inside["P0"] if name == "P0" else np.isnan(row["on_target"])
    assert is_on_target(effects.iloc[:2]).tolist() == [[True, *[False] * 4], [False] * 5]


def test_mean_deviation_is_the_mean_distance_from_the_median_and_never_zero():
    effects = pd.DataFrame({"g": [0.0, 1, 5], "h": [2.0, 2, 2]})
    assert mean_deviation(effects).tolist() == pytest.approx([5 / 3, 5 / 3 / 2 / 100])


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("name", ["sure.csv", "way out/sure.csv.gz"])
def test_intervals_are_written_beside_predictions_by_name(tmp_path, name):
    competition = load_competition(write_small(tmp_path / "small"))
    targets = competition.targets["perturbation"]
    ends = Intervals(Even(), levels=(0.9,)).fit(competition).predict(targets[::-1])[0.9]
    prediction = Even().fit(competition).predict_distribution(targets).mean().iloc[:, ::-1]
    path = write_intervals(ends, prediction, competition, tmp_path / name)
    table = pd.read_csv(path)
    assert list(table) == ["pert_id", "perturbation", "gene", "prediction", "low", "high"]
    assert len(table) == targets.size * competition.genes.size
    row = table.set_index(["perturbation", "gene"]).loc[("STAT1", "KRAS")]
    assert row["pert_id"] == "pert_1"
    assert row["prediction"] == pytest.approx(prediction.at["STAT1", "KRAS"], rel=1e-4)
    assert row["low"] == pytest.approx(ends.at["STAT1", ("low", "KRAS")], rel=1e-4)
    assert (table["low"] <= table["high"]).all()


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_the_intervals_of_a_released_target_never_saw_its_truth(tmp_path):
    found = {}
    for size in (1.0, 40.0):
        folder = write_small(tmp_path / f"small {size}")
        (folder / "sets.gmt").write_text("all\t\tSTAT1\tC4orf36.1\tLRPPRC\tKRAS\tTFAM\tAARS1\n")
        table = write_solution(folder)
        table[[name for name in table if f"w_{name}" in table]] *= size
        table.to_csv(folder / "solution_val.csv")
        competition, pathways = load_competition(folder), load_pathways(folder / "sets.gmt")
        found[size], remark = target_intervals(competition, Knowledge(pathways), level=0.8)
        assert remark.startswith("intervals for 0.8 of effects, by the default blend: they held ")
    assert list(found[1.0].index) == list(competition.targets["perturbation"])
    released, others = ["STAT1", "C4orf36.1"], ["LRPPRC", "SSBP1"]
    pd.testing.assert_frame_equal(found[1.0].loc[released], found[40.0].loc[released])
    assert not np.allclose(found[1.0].loc[others], found[40.0].loc[others])


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_predict_writes_intervals_beside_the_submission(tmp_path, capsys):
    folder = write_small(tmp_path / "small")
    (folder / "sets.gmt").write_text("all\t\tSTAT1\tC4orf36.1\tLRPPRC\tKRAS\tTFAM\tAARS1\n")
    words = ["predict", "--data", str(folder), "--pathways", str(folder / "sets.gmt")]
    words += ["--out", str(tmp_path / "submission.csv")]
    sure = tmp_path / "sure.csv"
    assert main([*words, "--uncertainty", str(sure), "--level", "0.8"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [str(sure), str(tmp_path / "submission.csv")]
    assert "intervals for 0.8 of effects" in said[-3]
    table = pd.read_csv(sure).pivot(index="pert_id", columns="gene", values="prediction")
    submission = pd.read_csv(tmp_path / "submission.csv", index_col=0)
    pd.testing.assert_frame_equal(
        table.loc[submission.index, submission.columns], submission, check_names=False, rtol=1e-3
    )
    sure.unlink()
    with pytest.raises(SystemExit) as usage:
        main([*words, "--uncertainty", str(sure), "--level", "80"])
    assert usage.value.code == 2
    assert "--level: 80.0 is out of range" in capsys.readouterr().err
    assert not sure.exists()
