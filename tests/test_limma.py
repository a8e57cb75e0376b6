"""Moderated t against limma's own numbers, a slow loop, and what must not change it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats
from scipy.interpolate import CubicSpline

from kit.expression import limma
from kit.expression.limma import least_squares, moderated_t, variance_prior
from kit.io.files import InputError

GOLDEN = Path(__file__).parent / "golden" / "limma"  # printed by R limma 3.54.1


@pytest.fixture(params=["two_group", "batch"])
def golden(request):
    """Expression, design, weights and limma's answers."""
    folder = GOLDEN / request.param
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", index_col=0)
        for name in ("expression", "design", "expected")
    }
    tables["weights"] = tables["design"].pop("weight")
    lines = (folder / "prior.txt").read_text().splitlines()
    tables["prior"] = {line.split()[0]: float(line.split()[1]) for line in lines[1:]}
    return tables


@pytest.fixture
def screen():
    """Expression (40 genes x 24 samples), a design with two knockdowns and a batch, weights."""
    rng = np.random.default_rng(7)
    samples = [f"s{i}" for i in range(24)]
    columns = {
        "control": np.ones(24),
        "A": np.repeat([0, 1, 0, 0], 6),
        "B": np.repeat([0, 0, 1, 0], 6),
        "batch": np.tile([0, 1], 12),
    }
    design = pd.DataFrame(columns, index=samples, dtype=float)
    spread = np.sqrt(0.1 * 5 / rng.chisquare(5, size=(40, 1)))
    noise = rng.normal(size=(40, 24)) * spread
    effects = rng.normal(scale=0.5, size=(40, 4))
    effects[:, 0] += 3
    genes = [f"g{i}" for i in range(40)]
    expression = pd.DataFrame(effects @ design.to_numpy().T + noise, index=genes, columns=samples)
    weights = pd.Series(rng.integers(5, 200, 24).astype(float), index=samples)
    return expression, design, weights


def test_eBayes_equals_limma(golden):
    result = moderated_t(golden["expression"], golden["design"], "perturbed")
    expected = golden["expected"]
    np.testing.assert_allclose(result["effect"], expected["coef"], rtol=1e-8)
    np.testing.assert_allclose(result["t"], expected["t"], rtol=1e-8)
    assert result.index.tolist() == expected.index.tolist()


def test_the_residual_variance_and_its_prior_equal_limma(golden):
    samples, width = golden["design"].shape
    fit = least_squares(golden["expression"].to_numpy(), golden["design"], np.ones(samples))
    np.testing.assert_allclose(np.sqrt(fit["s2"]), golden["expected"]["sigma"], rtol=1e-8)
    df_prior, s2_prior = variance_prior(fit["s2"], samples - width)
    prior = golden["prior"]
    assert samples - width == prior["df_residual"]
    np.testing.assert_allclose([df_prior, s2_prior], [prior["df_prior"], prior["s2_prior"]], 1e-8)


def test_treat_equals_limma_and_is_exactly_zero_within_the_least_effect(golden):
    result = moderated_t(golden["expression"], golden["design"], "perturbed", lfc=0.1)
    np.testing.assert_allclose(result["t"], golden["expected"]["t_treat_lfc0.1"], rtol=1e-8)
    within = result["effect"].abs() <= 0.1
    assert 10 < within.sum() < len(result)
    assert (result.loc[within, "t"] == 0).all()
    assert (result.loc[~within, "t"] != 0).all()


def test_sample_weights_equal_limma(golden):
    result = moderated_t(
        golden["expression"], golden["design"], "perturbed", weights=golden["weights"]
    )
    np.testing.assert_allclose(result["t"], golden["expected"]["t_weighted"], rtol=1e-8)


def test_the_trend_equals_limma(golden):
    result = moderated_t(golden["expression"], golden["design"], "perturbed", trend=True)
    np.testing.assert_allclose(result["t"], golden["expected"]["t_trend"], rtol=1e-6)


def test_a_slow_loop_over_genes_agrees(screen):
    expression, design, weights = screen
    result = moderated_t(expression, design, "A", weights=weights, lfc=0.05)
    x, w, df = design.to_numpy(), np.diag(weights), 20
    inverse = np.linalg.inv(x.T @ w @ x)
    effect, s2 = [], []
    for gene in expression.index:
        y = expression.loc[gene].to_numpy()
        beta = inverse @ x.T @ w @ y
        effect.append(beta[1])
        s2.append((y - x @ beta) @ w @ (y - x @ beta) / df)
    # The prior by moments of log F, its equation solved by bisection.
    z = np.log(s2) - special.digamma(df / 2) + np.log(df / 2)
    excess = np.var(z, ddof=1) - special.polygamma(1, df / 2)
    half = optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-3, 1e6, xtol=1e-13)
    prior = np.exp(z.mean() + special.digamma(half) - np.log(half))
    posterior = (df * np.array(s2) + 2 * half * prior) / (df + 2 * half)
    error = np.sqrt(posterior * inverse[1, 1])
    t = [np.sign(b) * max(abs(b) - 0.05, 0) / e for b, e in zip(effect, error, strict=True)]
    p = stats.t.sf((np.abs(effect) - 0.05) / error, df + 2 * half)
    p += stats.t.sf((np.abs(effect) + 0.05) / error, df + 2 * half)
    for name, slow in {"effect": effect, "t": t, "p_value": p, "s2_posterior": posterior}.items():
        np.testing.assert_allclose(result[name], slow, rtol=1e-8)
    np.testing.assert_allclose(result["df"], df + 2 * half, rtol=1e-8)


@pytest.mark.parametrize(("genes", "width"), [(2, 1), (5, 2), (12, 3), (40, 4)])
def test_the_trend_is_a_natural_spline_with_more_freedom_for_more_genes(screen, genes, width):
    expression, design, _ = screen
    expression = expression.iloc[:genes]
    result = moderated_t(expression, design, "A", trend=True)
    s2 = least_squares(expression.to_numpy(), design, np.ones(24))["s2"]
    mean = expression.to_numpy().mean(axis=1)
    basis = np.ones((genes, 1))
    if width == 2:
        basis = np.column_stack([basis, mean])
    elif width > 2:
        knots = np.quantile(mean, np.linspace(0, 1, width))
        basis = CubicSpline(knots, np.eye(width), bc_type="natural")(mean)
    z = np.log(s2) - special.digamma(10) + np.log(10)
    trend = basis @ np.linalg.pinv(basis) @ z
    excess = np.sum((z - trend) ** 2) / (genes - width) - special.polygamma(1, 10)
    if excess > 0:
        half = optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-3, 1e6, xtol=1e-13)
        prior = np.exp(trend + special.digamma(half) - np.log(half))
        posterior = (20 * s2 + 2 * half * prior) / (20 + 2 * half)
    else:
        posterior = np.exp(trend) if width > 1 else np.full(genes, s2.mean())
    np.testing.assert_allclose(result["s2_posterior"], posterior, rtol=1e-8)


def test_a_trend_over_genes_of_equal_mean_is_no_trend(screen):
    expression, design, _ = screen
    pattern = np.outer(np.arange(1, 41), np.tile([-1.0, -1.0, 1.0, 1.0], 6))
    level = pd.DataFrame(pattern, index=expression.index, columns=expression.columns)
    assert (level.mean(axis=1) == 0).all()
    pd.testing.assert_frame_equal(
        moderated_t(level, design, "A", trend=True), moderated_t(level, design, "A")
    )


def test_a_list_of_coefficients_equals_the_single_calls(screen):
    expression, design, weights = screen
    together = moderated_t(expression, design, ["B", "A"], weights=weights, lfc=0.02)
    assert together.index.names == ["coefficient", "gene"]
    assert together.index.get_level_values(0).unique().tolist() == ["B", "A"]
    for name in ("A", "B"):
        alone = moderated_t(expression, design, name, weights=weights, lfc=0.02)
        pd.testing.assert_frame_equal(together.loc[name], alone)


@pytest.mark.parametrize("trend", [False, True])
def test_the_order_of_genes_samples_and_columns_does_not_matter(screen, trend):
    expression, design, weights = screen
    rng = np.random.default_rng(1)
    genes, samples = rng.permutation(expression.index), rng.permutation(expression.columns)
    result = moderated_t(expression, design, "A", weights=weights, trend=trend)
    shuffled = moderated_t(
        expression.loc[genes, samples],
        design.sample(frac=1, random_state=2)[["batch", "B", "A", "control"]],
        "A",
        weights=weights.sample(frac=1, random_state=3),
        trend=trend,
    )
    pd.testing.assert_frame_equal(shuffled.loc[result.index], result, rtol=1e-9)


def test_weights_that_are_all_the_same_change_no_t(screen):
    expression, design, _ = screen
    plain = moderated_t(expression, design, "A")
    weighted = moderated_t(expression, design, "A", weights=np.full(24, 17.0))
    columns = ["effect", "t", "p_value", "df"]
    pd.testing.assert_frame_equal(weighted[columns], plain[columns], rtol=1e-9)


def test_an_array_of_weights_goes_by_the_order_of_the_expression(screen):
    expression, design, weights = screen
    by_name = moderated_t(expression, design, "A", weights=weights)
    by_place = moderated_t(expression, design.iloc[::-1], "A", weights=weights.to_numpy())
    pd.testing.assert_frame_equal(by_place, by_name)


def test_a_single_gene_has_no_prior_and_gets_the_ordinary_t(screen):
    expression, _, _ = screen
    design = pd.DataFrame({"mean": 1.0, "A": np.repeat([0.0, 1.0], 12)}, index=expression.columns)
    result = moderated_t(expression.iloc[[0]], design, "A").iloc[0]
    ordinary = stats.ttest_ind(expression.iloc[0, 12:], expression.iloc[0, :12])
    np.testing.assert_allclose(
        [result["t"], result["p_value"], result["df"]],
        [ordinary.statistic, ordinary.pvalue, ordinary.df],
        rtol=1e-9,
    )


def test_genes_that_vary_alike_share_one_variance(screen):
    expression, design, _ = screen
    alike = pd.DataFrame([expression.iloc[0] + i for i in range(30)], index=range(30))
    result = moderated_t(alike, design, "A")
    s2 = least_squares(alike.to_numpy(), design, np.ones(24))["s2"]
    np.testing.assert_allclose(result["s2_posterior"], s2.mean(), rtol=1e-9)
    assert (result["df"] == 30 * 20).all()  # never more than all genes hold together


def test_a_gene_without_variance_borrows_the_prior_and_stays_finite(screen):
    expression, design, _ = screen
    expression.iloc[3] = 0.0
    result = moderated_t(expression, design, "A")
    assert np.isfinite(result.to_numpy()).all()
    assert result.loc["g3", ["effect", "t", "p_value"]].tolist() == [0, 0, 1]
    assert result.loc["g3", "s2_posterior"] > 0


@pytest.mark.parametrize("genes", [1, 2, 40])
@pytest.mark.parametrize("trend", [False, True])
def test_no_gene_varying_at_all_gives_t_zero(screen, genes, trend):
    expression, design, _ = screen
    result = moderated_t(expression.iloc[:genes] * 0, design, "A", trend=trend)
    assert np.isfinite(result.to_numpy()).all()
    assert (result["t"] == 0).all()
    assert (result["p_value"] == 1).all()


@pytest.mark.parametrize("value", [1e-9, 1e-7, 1e-3, 0.3, 1.0, 40.0, 1e6, 1e9])
def test_the_inverse_of_trigamma_undoes_it(value):
    y = limma._trigamma_inverse(value)
    assert special.polygamma(1, y) == pytest.approx(value, rel=2e-4 if value > 1e7 else 1e-6)


def test_p_values_are_uniform_where_nothing_happens():
    rng = np.random.default_rng(0)
    spread = np.sqrt(4 / rng.chisquare(4, size=(4000, 1)))
    expression = pd.DataFrame(rng.normal(size=(4000, 8)) * spread)
    design = pd.DataFrame({"mean": 1.0, "A": np.repeat([0.0, 1.0], 4)})
    p = moderated_t(expression, design, "A")["p_value"]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    treated = moderated_t(expression, design, "A", lfc=0.2)["p_value"]
    assert (treated > p).all()


def test_the_inputs_stay_as_they_were(screen):
    expression, design, weights = screen
    before = expression.copy(), design.copy(), weights.copy()
    moderated_t(expression, design, ["A", "B"], weights=weights, lfc=0.1, trend=True)
    pd.testing.assert_frame_equal(expression, before[0])
    pd.testing.assert_frame_equal(design, before[1])
    pd.testing.assert_series_equal(weights, before[2])


def with_value(frame, value):
    changed = frame.astype(object) if isinstance(value, str) else frame.copy()
    changed.iloc[2, 1] = value
    return changed


BAD = {
    "design does not match the samples .*unknown: s3": lambda e, d, w: (
        e.drop(columns="s3"),
        d,
        "A",
    ),
    "design does not match the samples .*missing: s3": lambda e, d, w: (e, d.drop(index="s3"), "A"),
    "design does not match the samples .*wanted twice: s0": lambda e, d, w: (
        e[["s0", *e.columns]],
        d,
        "A",
    ),
    "expression has repeated genes: g0": lambda e, d, w: (e.rename({"g1": "g0"}), d, "A"),
    "expression is nan at g2, s1": lambda e, d, w: (with_value(e, np.nan), d, "A"),
    "design is inf at s2, A": lambda e, d, w: (e, with_value(d, np.inf), "A"),
    "expression holds values that are not": lambda e, d, w: (with_value(e, "high"), d, "A"),
    "expression is of type ndarray": lambda e, d, w: (e.to_numpy(), d, "A"),
    r"expression is empty, shape \(0, 24\)": lambda e, d, w: (e.iloc[:0], d, "A"),
    "coefficient is not a column of the design: C": lambda e, d, w: (e, d, "C"),
    "coefficient is not a column of the design: C, D": lambda e, d, w: (e, d, ["A", "C", "D"]),
    "no coefficient is named": lambda e, d, w: (e, d, []),
    "coefficient has repeated names: A": lambda e, d, w: (e, d, ["A", "A"]),
    "not of full rank, other": lambda e, d, w: (e, d.assign(other=d["A"] + d["B"]), "A"),
    "not of full rank, B": lambda e, d, w: (e, d.assign(B=0.0), "A"),
    "4 samples for 4 coefficients leave no residual": lambda e, d, w: (
        e[["s0", "s7", "s12", "s13"]],
        d.loc[["s0", "s7", "s12", "s13"]],
        "A",
    ),
    "weight of sample s5 is not positive": lambda e, d, w: (
        e,
        d,
        "A",
        {"weights": w.where(w.index != "s5", 0.0)},
    ),
    "weights is nan at": lambda e, d, w: (e, d, "A", {"weights": np.full(24, np.nan)}),
    "weights does not match the samples .*missing: s0": lambda e, d, w: (
        e,
        d,
        "A",
        {"weights": w.drop("s0")},
    ),
    "23 weights for 24 samples": lambda e, d, w: (e, d, "A", {"weights": np.ones(23)}),
    "lfc is -0.1": lambda e, d, w: (e, d, "A", {"lfc": -0.1}),
    "lfc is nan": lambda e, d, w: (e, d, "A", {"lfc": np.nan}),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_told_in_one_line(screen, message):
    expression, design, coefficient, *options = BAD[message](*screen)
    with pytest.raises(InputError, match=message) as caught:
        moderated_t(expression, design, coefficient, **(options[0] if options else {}))
    assert "\n" not in str(caught.value)
