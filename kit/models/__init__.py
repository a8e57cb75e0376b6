"""Models, one file a family, all behind one door.

`fit(train: Competition) -> self` and `predict(perturbations) -> DataFrame` (perturbation x gene, in the
competition's gene order). Constructors only store their arguments; what is learned ends in `_`.
"""

from .blend import Blend
from .boosting import ComponentTrees, GeneTrees
from .constant import Constant, Mean, OwnGene, Zero
from .linear import Ridge
from .neighbours import Neighbours
from .pairs import Pairs
from .points import Points
from .pooled import PooledTrees
from .transfer import Transfer

__all__ = [
    "Blend",
    "ComponentTrees",
    "Constant",
    "GeneTrees",
    "Mean",
    "Neighbours",
    "OwnGene",
    "Pairs",
    "Points",
    "PooledTrees",
    "Ridge",
    "Transfer",
    "Zero",
]
