"""Models, one file a family, all behind one door.

`fit(train: Competition) -> self` and `predict(perturbations) -> DataFrame` (perturbation x gene, in the
competition's gene order). Constructors only store their arguments; what is learned ends in `_`.
"""

from .constant import Constant, Mean, OwnGene, Zero

__all__ = ["Constant", "Mean", "OwnGene", "Zero"]
