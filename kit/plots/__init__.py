"""Every figure of the notebooks: frames in, a matplotlib Figure out, its title computed from the data.

Frames are perturbation x gene as in `Competition`. Each function draws one figure 8 inches wide and
neither reads nor writes a file: `Run.save_figure` keeps and marks it. The one package that needs
matplotlib; `import kit` leaves it out. `data`: cells, effects, weights; `screens`: merged screens;
`knowledge`: pathways and what models make of them; `scores`: models side by side; `networks`, `latent`:
what networks learned; `uncertainty`: predictive distributions and expected scores.
"""

from .data import (
    cell_embedding,
    cells_per_perturbation,
    depth,
    effect_distribution,
    gate_and_weight,
    on_target_effects,
    similarity_map,
    weight_agreement,
    weight_distribution,
)
from .knowledge import (
    complexes,
    contributions,
    importances,
    neighbourhood,
    pathway_coverage,
    shrinkage,
    training_probabilities,
)
from .latent import one_shift, shift_agreement, shift_map
from .networks import attention, carriers, episode, gates, mixtures, routes, training_curves
from .scores import (
    blend_path,
    cell_line_gains,
    comparison,
    constants,
    gains,
    model_similarity,
    nearness,
)
from .screens import agreement, batches, hidden_genes, targets_covered, without_batches
from .uncertainty import distributions, exchange, expected_scores, trade

__all__ = [
    "agreement",
    "attention",
    "batches",
    "blend_path",
    "carriers",
    "cell_embedding",
    "cell_line_gains",
    "cells_per_perturbation",
    "comparison",
    "complexes",
    "constants",
    "contributions",
    "depth",
    "distributions",
    "effect_distribution",
    "episode",
    "exchange",
    "expected_scores",
    "gains",
    "gate_and_weight",
    "gates",
    "hidden_genes",
    "importances",
    "mixtures",
    "model_similarity",
    "nearness",
    "neighbourhood",
    "on_target_effects",
    "one_shift",
    "pathway_coverage",
    "routes",
    "shift_agreement",
    "shift_map",
    "shrinkage",
    "similarity_map",
    "targets_covered",
    "trade",
    "training_curves",
    "training_probabilities",
    "weight_agreement",
    "weight_distribution",
    "without_batches",
]
