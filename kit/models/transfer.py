"""The same knockdown in other screens, and where there is none, its pathway neighbours there.

Two experts, both `PairwiseRegression`: one for knockdowns with a response in the atlas, which compares
their own responses with those of the training rows; one for the others, which lets every
knockdown be known by its pathway neighbours' responses alone, so that training rows and new ones are
described alike. A gene that a screen did not measure counts as the screen's mean
effect, 0 once centred.
"""

from collections.abc import Sequence
from typing import Self

import pandas as pd

from ..competition import Competition
from ..decision import Distribution, decide, join, mix
from ..knowledge import Knowledge
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
        self.experts_ = {
            flag: PairwiseRegression(
                self.knowledge, exclude_own_response=not flag, seed=self.seed
            ).fit(train)
            for flag in (True, False)
            if flag in kinds
        }
        self.constant_ = next(iter(self.experts_.values())).neighbours_.constant_
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Effects, perturbation x gene."""
        prediction = decide(self.predict_distribution(perturbations))
        unknown = ~self.knowledge.knows(prediction.index).to_numpy()
        prediction.loc[unknown] = self.constant_.effect_.to_numpy()
        return prediction

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Distribution over the training rows' effects."""
        return mix(*self.distributions(perturbations), self.share)

    def distributions(self, perturbations: Sequence[str]) -> list[Distribution]:
        """Two Distributions: whole training rows as scenarios, and gene by gene."""
        names = pd.Index(list(perturbations), name="perturbation")
        with_response = self.knowledge.has_response(names).to_numpy()
        groups = [(flag, names[with_response == flag]) for flag in (True, False)]
        parts = [self.expert(flag).distributions(group) for flag, group in groups if len(group)]
        return [join(list(both)).reindex(names) for both in zip(*parts, strict=True)]

    def expert(self, with_response: bool) -> PairwiseRegression:
        """The expert for perturbations with, or without, a response in another screen."""
        return self.experts_.get(with_response) or self.experts_[not with_response]
