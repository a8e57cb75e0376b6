"""All t statistics: of pseudobulk samples, and of effects whose cells are not available."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.files import InputError, check_known
from ..metric import weights_from_t
from .limma import moderated_t
from .similarity import rank_correlation

LFC = 0.03  # least effect that counts, log2, as in the host's weights


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
