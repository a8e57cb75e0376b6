"""Models, one file a family, all behind one door.

`fit(train: Competition) -> self` and `predict(perturbations) -> DataFrame` (perturbation x gene, in the
competition's gene order). Constructors only store their arguments; what is learned ends in `_`.
"""

from .baselines import Constant, Mean, OnTargetGene, Zero, weighted_median
from .blend import Blend
from .neighbours import Neighbours
from .pairwise_regression import PairwiseRegression
from .pooled_trees import PooledTrees
from .propagation import Propagation
from .reference import ScreenResponse, reference_models
from .residual_distribution import ResidualDistribution
from .ridge import Ridge
from .transfer import Transfer
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
