"""Every figure of the notebooks: frames in, a matplotlib Figure out, its title computed from the data.

Frames are perturbation x gene as in `Competition`. Each function draws one figure 8 inches wide and
neither reads nor writes a file: `Run.save_figure` keeps and marks it. Colours are those of Okabe and
Ito, distinct for colour-blind readers. The one package that needs matplotlib; `import kit` leaves it out.
"""

import matplotlib.pyplot as plt

from .agreement import agreement
from .attention import attention, episode, mixtures
from .cells import cell_embedding, cells_per_perturbation, depth
from .effects import effect_distribution, own_gene, similarity_map
from .ensemble import blend_path, members_alike, spread
from .graph import carriers, gates, routes
from .latent import latent_map, one_shift, shift_map
from .models import contributions, importances, shrinkage, wins
from .pathways import neighbourhood, pathway_coverage
from .scores import constants, forest, gains
from .screens import (
    batches,
    depth_by_screen,
    hidden_genes,
    targets_covered,
    without_batches,
)
from .transfer import (
    beliefs,
    complexes,
    lines,
    speakers,
    trade,
)
from .uncertainty import calibration
from .validation import comparison, cosine_share_bars, nearness
from .weights import gate_and_weight, weight_agreement, weight_distribution

__all__ = [
    "agreement",
    "attention",
    "batches",
    "beliefs",
    "blend_path",
    "calibration",
    "carriers",
    "cell_embedding",
    "cells_per_perturbation",
    "comparison",
    "complexes",
    "constants",
    "contributions",
    "cosine_share_bars",
    "depth",
    "depth_by_screen",
    "effect_distribution",
    "episode",
    "forest",
    "gains",
    "gate_and_weight",
    "gates",
    "hidden_genes",
    "importances",
    "latent_map",
    "lines",
    "members_alike",
    "mixtures",
    "nearness",
    "neighbourhood",
    "one_shift",
    "own_gene",
    "pathway_coverage",
    "plt",
    "routes",
    "shift_map",
    "shrinkage",
    "similarity_map",
    "speakers",
    "spread",
    "targets_covered",
    "trade",
    "weight_agreement",
    "weight_distribution",
    "wins",
    "without_batches",
]
