"""Moderated t by gene: linear models whose gene variances are shrunk towards a common prior.

These are limma's `lmFit` with sample weights, `eBayes` (Smyth 2004, doi:10.2202/1544-6115.1027)
with or without a trend, and `treat`, the test against a least effect (McCarthy & Smyth 2009,
doi:10.1093/bioinformatics/btp053). Written from the published method and tested against the numbers
of limma 3.54.1. Not included: missing values, weights by observation, robust priors, correlated samples.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.files import (
    InputError,
    check_known,
    check_labels,
    check_unique,
    finite_values,
    quote_some,
)
from ..metric import weights_from_t
from .similarity import rank_correlation

LFC = 0.03  # least effect that counts, log2, as in the host's weights
RANK_TOLERANCE = 1e-7  # as R's lm: what of a column is left beside the columns before it


def moderated_t(
    expression: pd.DataFrame,
    design: pd.DataFrame,
    coefficient: str | Sequence[str],
    *,
    weights: pd.Series | np.ndarray | None = None,
    lfc: float = 0.0,
    trend: bool = False,
) -> pd.DataFrame:
    """Fit all genes at once and test coefficients with limma's moderated t.

    `expression`: gene x sample frame (log2); `design`: sample x coefficient frame; `coefficient`:
    the name of a column of it, or a list of names, all from the one joint fit. `weights`: positive,
    one a sample (a cell count, say): a Series by sample, or an array in the order of `expression`.
    Samples are matched by name. `lfc` > 0 tests whether the effect exceeds it in size (`treat`): t
    is exactly 0 within it. `trend=True` lets the prior variance follow the gene's mean expression.

    Returns a frame `effect, t, p_value, df, s2_posterior` (two-sided p) indexed by gene, or by
    (coefficient, gene) in the order asked for a list. A gene without variance borrows the prior's;
    where all genes lack variance, the prior is 1e-5, as in limma. Raises InputError.
    """
    from scipy.special import stdtr

    values, samples = _numbers(expression, "expression"), expression.columns
    _numbers(design, "design")
    check_labels(design.index, samples, "design does not match the samples of the expression")
    names = list(coefficient) if pd.api.types.is_list_like(coefficient) else [coefficient]
    if not names:
        raise InputError("no coefficient is named; want columns of the design")
    check_unique(design.columns, "design has repeated coefficients")
    check_unique(names, "coefficient has repeated names")
    check_known(names, design.columns, "coefficient is not a column of the design")
    asked = design.columns.get_indexer(names)
    check_unique(expression.index, "expression has repeated genes")
    if not 0 <= lfc < np.inf:
        raise InputError(f"lfc is {lfc}, want 0 or more: the least effect that counts, in log2")

    fit = least_squares(values, design.loc[samples], _sample_weights(weights, samples))
    df_residual = len(samples) - len(design.columns)
    covariate = values.mean(axis=1) if trend else None
    df_prior, s2_prior = variance_prior(fit["s2"], df_residual, covariate)
    share = df_residual / (df_residual + df_prior)  # of the gene's own variance
    s2_posterior = share * fit["s2"] + (1 - share) * s2_prior
    # A single gene has no prior; if it has no variance either, t stays finite.
    s2_posterior = np.maximum(s2_posterior, np.finfo(float).tiny)
    df = min(df_residual + df_prior, df_residual * len(values))

    effect = fit["coefficients"][asked]  # (coefficient, gene)
    error = fit["unscaled_error"][asked][:, None] * np.sqrt(s2_posterior)
    above = (np.abs(effect) - lfc) / error
    table = {
        "effect": effect,
        "t": np.sign(effect) * np.maximum(above, 0.0),
        "p_value": stdtr(df, -above) + stdtr(df, -above - 2 * lfc / error),
        "df": np.full(effect.shape, df),
        "s2_posterior": np.broadcast_to(s2_posterior, effect.shape),
    }
    index = expression.index.rename("gene")
    if pd.api.types.is_list_like(coefficient):
        index = pd.MultiIndex.from_product([names, index], names=["coefficient", "gene"])
    return pd.DataFrame({name: column.ravel() for name, column in table.items()}, index=index)


def least_squares(expression: np.ndarray, design: pd.DataFrame, weights: np.ndarray) -> dict:
    """Fit weighted least squares to all genes by one QR decomposition.

    `expression`: gene x sample array; `design`: sample x coefficient frame; `weights`: by sample.
    Returns `coefficients` (coefficient x gene), `unscaled_error` (by coefficient: the standard
    error for a residual variance of 1) and `s2` (residual variance by gene). Raises InputError
    where no residual degrees of freedom are left or columns depend on those before them.
    """
    from scipy.linalg import solve_triangular

    samples, width = design.shape
    if samples <= width:
        raise InputError(
            f"{samples} samples for {width} coefficients leave no residual degrees of freedom; "
            f"want at least {width + 1} samples"
        )
    root = np.sqrt(weights)[:, None]
    scaled = design.to_numpy(dtype=float) * root
    q, r = np.linalg.qr(scaled)
    left = np.abs(np.diag(r))
    dependent = np.flatnonzero(left <= RANK_TOLERANCE * np.linalg.norm(scaled, axis=0))
    if len(dependent):
        raise InputError(
            f"design is not of full rank, {quote_some(design.columns[dependent])} can be written "
            "by the columns before; drop it or add samples in which they differ"
        )
    residual = expression.T * root  # (sample, gene)
    projected = q.T @ residual
    residual -= q @ projected
    return {
        "coefficients": solve_triangular(r, projected),
        "unscaled_error": np.linalg.norm(solve_triangular(r, np.eye(width)), axis=1),
        "s2": np.einsum("sg,sg->g", residual, residual) / (samples - width),
    }


def variance_prior(s2: np.ndarray, df_residual: int, covariate: np.ndarray | None = None):
    """Estimate the prior degrees of freedom and the prior variance from the genes' variances.

    `s2`: residual variances by gene, a scaled F distribution by the model; fitted by the moments of
    log s2 (Smyth 2004, section 6.2). With `covariate` (mean expression by gene) the mean of log s2
    follows a natural cubic spline. Returns `df_prior` (infinite where the variances differ no more
    than chance allows) and `s2_prior` (a number, or an array by gene).
    """
    from scipy.special import digamma, polygamma

    genes = len(s2)
    if genes == 1:
        return 0.0, float(s2[0])
    # Zero variances have no logarithm: limma lifts them to a little of the median.
    lifted = np.maximum(s2, 1e-5 * (np.median(s2) or 1.0))
    half = df_residual / 2
    log_s2 = np.log(lifted) - digamma(half) + np.log(half)
    # One parameter more at 3, 6 and 30 genes, as limma does.
    most = 1 + (genes >= 3) + (genes >= 6) + (genes >= 30)
    width = 1 if covariate is None else min(most, len(np.unique(covariate)))
    basis = _natural_spline(covariate, width) if width > 1 else np.ones((genes, 1))
    solution, _, rank, _ = np.linalg.lstsq(basis, log_s2)
    location = basis @ solution
    excess = np.sum((log_s2 - location) ** 2) / (genes - rank) - polygamma(1, half)
    if excess > 0:
        df_prior = 2 * _trigamma_inverse(excess)
        s2_prior = np.exp(location + digamma(df_prior / 2) - np.log(df_prior / 2))
    else:  # without a trend the pooled variance is the maximum of likelihood
        df_prior = np.inf
        s2_prior = np.exp(location) if width > 1 else np.full(genes, lifted.mean())
    return df_prior, s2_prior if width > 1 else float(s2_prior[0])


def _trigamma_inverse(value):
    """Solve trigamma(y) = value, y > 0 (Smyth 2004, appendix)."""
    from scipy.optimize import brentq
    from scipy.special import polygamma

    def excess(log_y):
        return np.log(polygamma(1, np.exp(log_y)) / value)

    return np.exp(brentq(excess, -40, 40, xtol=1e-13))


def _natural_spline(x, width):
    """Basis (gene x `width`) of natural cubic splines, knots at equal quantiles of `x`.

    It spans what R's `ns(x, df=width, intercept=TRUE)` spans.
    """
    from scipy.interpolate import CubicSpline

    knots = np.unique(np.quantile(x, np.linspace(0, 1, width)))
    return CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(x)


def _numbers(frame, name):
    """Values of a frame as finite floats, or an InputError naming the first that is not."""
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{name} is of type {type(frame).__name__}, want a pandas DataFrame")
    if frame.empty:
        raise InputError(f"{name} is empty, shape {frame.shape}; want rows and columns of numbers")
    return finite_values(frame, name)


def _sample_weights(weights, samples):
    """Weights in the order of `samples`; 1 for all where none are given."""
    if weights is None:
        return np.ones(len(samples))
    if not isinstance(weights, pd.Series):
        if len(weights) != len(samples):
            raise InputError(
                f"{len(weights)} weights for {len(samples)} samples; want one a sample"
            )
        weights = pd.Series(weights, samples)
    check_labels(weights.index, samples, "weights does not match the samples of the expression")
    values = finite_values(weights.loc[samples], "weights")
    if not (values > 0).all():
        first = samples[np.argmin(values > 0)]
        raise InputError(
            f"weight of sample {first} is not positive; want cells or precision, above 0"
        )
    return values


def t_of_effects(effects: pd.DataFrame, se: pd.DataFrame | None, lfc: float = LFC) -> pd.DataFrame:
    """Return t of effects beyond `lfc`, 0 where the standard error is unknown; rows x genes.

    se: standard errors; where None, the spread of each gene: 1.4826 x the median |effect - median| over
    perturbations, which equals the standard deviation for a normal distribution, and at least a tenth of
    the root mean square of all effects, as most genes of a sparse table have a median distance of 0. NaN,
    not measured, is left out.
    """
    beyond = np.sign(effects) * np.maximum(effects.abs() - lfc, 0.0)
    if se is None or se.isna().all(axis=None):
        spread = 1.4826 * (effects - effects.median()).abs().median()
        measured = max(int(effects.notna().to_numpy().sum()), 1)
        overall = np.sqrt(np.nansum(effects.to_numpy() ** 2) / measured)
        return beyond / np.maximum(spread, max(0.1 * overall, 1e-12))
    return (beyond / se.where(se > 0)).fillna(0.0)


def t_of_samples(
    expression: pd.DataFrame, table: pd.DataFrame, *, lfc: float = 0.0
) -> pd.DataFrame:
    """Return t of every perturbation against the control by one joint moderated fit: perturbation x gene.

    `expression` and `table` as `pseudobulk.samples` returns them. The model of a sample's expression: its
    perturbation and, where there are several, its channel; weighted by its cells; variances
    moderated over genes (`eBayes`, with `lfc` > 0 `treat`). A perturbation
    without a sample in `table` is left out.
    """
    check_known(("sgrna_symbol", "cells"), table, "table is none of `samples`, it lacks columns")
    perturbation = table["sgrna_symbol"]
    if CONTROL not in set(perturbation):
        raise InputError(f"no sample is `{CONTROL}`; want control samples to test against")
    names = [name for name in dict.fromkeys(perturbation) if name != CONTROL]
    if not names:
        raise InputError(f"all samples are `{CONTROL}`; want samples of a perturbation to test")
    columns = {"(control)": np.ones(len(table))}
    columns |= {name: (perturbation == name).astype(float) for name in names}
    if "channel" in table:
        for channel in sorted(set(table["channel"]))[1:]:
            columns[f"(channel {channel})"] = (table["channel"] == channel).astype(float)
    design = pd.DataFrame(columns, index=table.index)
    result = moderated_t(expression, design, names, weights=table["cells"], lfc=lfc)
    t = result["t"].to_numpy().reshape(len(names), -1)
    index = pd.Index(names, name="perturbation")
    return pd.DataFrame(t, index=index, columns=pd.Index(expression.index, name="gene"))


def likeliest_lfc(
    expression: pd.DataFrame,
    table: pd.DataFrame,
    shipped: pd.DataFrame,
    candidates: Iterable[float] = (0.0, LFC),
) -> float:
    """Return the `lfc` whose weights, made from samples, have the ranks most similar to the shipped ones.

    `expression`, `table`: as `pseudobulk.samples` returns them; `shipped`: weights, perturbation x gene.
    The host does not say how t was made: eBayes (0) or treat.
    """

    def agreement(lfc):
        made = weights_from_t(t_of_samples(expression, table, lfc=lfc))
        return rank_correlation(made, shipped.loc[made.index, made.columns])

    return max(candidates, key=agreement)
