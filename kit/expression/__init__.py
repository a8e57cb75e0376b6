"""From cells to effects, their t statistics and their similarity.

`effects`: pseudobulk effects of cells; `mean_expression`: means by any group; `samples`: pseudobulk by
guide and channel; `log_normalise`: log2(1 + CP10k) of counts. `moderated_t`: limma's test;
`t_of_samples`, `t_of_effects`: t with and without cells; `likeliest_lfc`: the host's least effect.
`bootstrap_effects`: effects of resampled cells.
`centred_cosine`, `rank_correlation`, `between_screens`: similarity of effects.
"""

from .limma import likeliest_lfc, moderated_t, t_of_effects, t_of_samples
from .pseudobulk import bootstrap_effects, effects, log_normalise, mean_expression, samples
from .similarity import between_screens, centred_cosine, rank_correlation

__all__ = [
    "between_screens",
    "bootstrap_effects",
    "centred_cosine",
    "effects",
    "likeliest_lfc",
    "log_normalise",
    "mean_expression",
    "moderated_t",
    "rank_correlation",
    "samples",
    "t_of_effects",
    "t_of_samples",
]
