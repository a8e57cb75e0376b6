"""The same perturbation in other screens, and where there is none, its pathway neighbours there.

Two experts, both `PairwiseRegression`: one for perturbations with a response in the atlas, which compares
their responses with those of the training rows; one for the others, which describes every perturbation
by its pathway neighbours' responses alone, so that training rows and new perturbations are described in
the same way. A gene that a screen did not measure counts as the screen's mean effect, 0 once centred.
"""

from collections.abc import Sequence
from typing import Self

import pandas as pd

from ..competition import Competition
from ..decision import Distribution, join, mix
from ..knowledge import Knowledge
from .baselines import decide_known
from .pairwise_regression import PairwiseRegression


class Transfer:
    """Transfer from other screens.

    share: of the predictive distribution that stays with whole training rows as scenarios. Learns
    `experts_`, by whether they are for perturbations with a response in another screen: one for each kind
    that occurs among the competition's rows and targets. Where a kind has none, the other serves it. A
    perturbation of which nothing is known gets the constant's prediction.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, share: float = 0.5, seed: int = 0):
        self.knowledge = knowledge or Knowledge()
        self.share = share
        self.seed = seed

    def fit(self, train: Competition) -> Self:
        named = [*train.effects.index, *train.targets["perturbation"]]
        kinds = set(self.knowledge.has_response(named))
        self.experts_ = {}
        for flag in (flag for flag in (True, False) if flag in kinds):
            expert = PairwiseRegression(
                self.knowledge, exclude_own_response=not flag, seed=self.seed
            )
            self.experts_[flag] = expert.fit(train)
        self.constant_ = next(iter(self.experts_.values())).neighbours_.constant_
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return score-optimal effects: perturbation x gene."""
        distribution = self.predict_distribution(perturbations)
        return decide_known(distribution, self.knowledge.knows(perturbations), self.constant_)

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the distribution over the training rows' effects."""
        return mix(*self.distributions(perturbations), self.share)

    def distributions(self, perturbations: Sequence[str]) -> list[Distribution]:
        """Return two Distributions: whole training rows as scenarios, and gene by gene."""
        names = pd.Index(list(perturbations), name="perturbation")
        with_response = self.knowledge.has_response(names).to_numpy()
        groups = [(flag, names[with_response == flag]) for flag in (True, False)]
        parts = [self.expert(flag).distributions(group) for flag, group in groups if len(group)]
        return [join(list(both)).reindex(names) for both in zip(*parts, strict=True)]

    def expert(self, with_response: bool) -> PairwiseRegression:
        """Return the expert for perturbations with, or without, a response in another screen."""
        return self.experts_.get(with_response) or self.experts_[not with_response]
