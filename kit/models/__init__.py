"""Model families, all with one contract; any of them can stand where another stands.

`fit(train: Competition) -> Self` does all the fitting, `predict(perturbations) -> DataFrame` (log2,
perturbation x gene, in the competition's gene order) changes nothing. Constructors only store their
arguments; those that use knowledge take a `kit.knowledge.Knowledge` first. What is learned ends in `_`.
Some also offer `predict_distribution(perturbations) -> Distribution` (`kit.decision`).

- `Mean`, `Zero`: the floors; the mean training effect is the competition's baseline and scores 0.
- `Constant`: the one row that scores best on the training rows; the fallback of all other models.
- `OnTargetGene`: any model with the effect on the perturbed gene itself set.
- `Ridge`: linear in pathway membership; `Propagation`: in the visits of a walk on the graph.
- `GeneTrees`, `ComponentTrees`: LightGBM on pathway membership, a gene or a principal component each.
- `PooledTrees`: one LightGBM for all pairs, on the effects of similar perturbations.
- `Neighbours`: training rows as scenarios, weighted by similarity.
- `PairwiseRegression`: probabilities gene by gene, by one regression over all pairs.
- `Transfer`: pairwise regressions for perturbations with, and without, a response in other screens.
- `ScreenResponse`: the responses of the same perturbations in other screens.
- `ResidualDistribution`: a model of point predictions with a predictive distribution.
- `Blend`: the default forecast, a mixture of the above by inner validation.
- `reference_models`: the models that every notebook compares with, by name.
- `weighted_median`: the median of each column under weights.
"""

from .baselines import Constant, Mean, OnTargetGene, Zero, weighted_median
from .blend import Blend
from .neighbours import Neighbours
from .pairwise_regression import PairwiseRegression
from .pooled_regression import ResidualDistribution
from .pooled_trees import PooledTrees
from .ridge import Propagation, Ridge
from .transfer import ScreenResponse, Transfer, reference_models
from .trees import ComponentTrees, GeneTrees

__all__ = [
    "Blend",
    "ComponentTrees",
    "Constant",
    "GeneTrees",
    "Mean",
    "Neighbours",
    "OnTargetGene",
    "PairwiseRegression",
    "PooledTrees",
    "Propagation",
    "ResidualDistribution",
    "Ridge",
    "ScreenResponse",
    "Transfer",
    "Zero",
    "reference_models",
    "weighted_median",
]
