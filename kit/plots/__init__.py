"""Every figure of the notebooks: frames in, a matplotlib Figure out, its title computed from the data.

Frames are perturbation x gene as in `Competition`. Each function draws one figure 8 inches wide and
neither reads nor writes a file: `Run.save_figure` keeps and marks it. Colours are those of Okabe and
Ito, distinct for colour-blind readers. The one package that needs matplotlib; `import kit` leaves it out.
"""

import matplotlib.pyplot as plt

from .cells import cells_per_perturbation, depth
from .effects import effect_distribution, own_gene, similarity_map
from .scores import constants, forest, gains
from .weights import gate_and_weight, weight_agreement, weight_distribution

__all__ = [
    "cells_per_perturbation",
    "constants",
    "depth",
    "effect_distribution",
    "forest",
    "gains",
    "gate_and_weight",
    "own_gene",
    "plt",
    "similarity_map",
    "weight_agreement",
    "weight_distribution",
]
