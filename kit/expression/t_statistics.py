"""t statistics of effects whose cells are not at hand, as other screens are."""

import numpy as np

LFC = 0.03  # effects up to this count as none in t, as in the host's weights


def t_statistics(effects, se, lfc=LFC):
    """t of effects beyond `lfc`, 0 where an error is unknown; `se` None: the genes' spread instead.

    That spread is 1.4826 x the median |effect - median| over knockdowns, which equals the standard
    deviation for a normal distribution, and at least a tenth of the root mean square of all effects:
    most genes of a sparse table have a median distance of 0. What was not measured (NaN) has no part.
    """
    beyond = np.sign(effects) * np.maximum(effects.abs() - lfc, 0.0)
    if se is None or se.isna().all(axis=None):
        spread = 1.4826 * (effects - effects.median()).abs().median()
        measured = max(int(effects.notna().to_numpy().sum()), 1)
        overall = np.sqrt(np.nansum(effects.to_numpy() ** 2) / measured)
        return beyond / np.maximum(spread, max(0.1 * overall, 1e-12))
    return (beyond / se.where(se > 0)).fillna(0.0)
