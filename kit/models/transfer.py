"""The same perturbation in other screens, and where there is none, its pathway neighbours there.

`Transfer` has two experts, both `PairwiseRegression`: one for perturbations with a response in the atlas,
which compares their responses with those of the training rows; one for the others, which describes every
perturbation by its pathway neighbours' responses alone, so that training rows and new perturbations are
described in the same way. A gene that a screen did not measure counts as the screen's mean effect, 0
once centred. `ScreenResponse` takes the response of other screens as it is. `reference_models` are what
every other model is compared with: the floor, the best constant, and simple uses of pathways and screens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..decision import Distribution, join, mix
from ..io.files import InputError
from ..knowledge import Knowledge
from .baselines import Constant, DistributionModel, Mean, OnTargetGene, WithKnowledge
from .neighbours import Neighbours
from .pairwise_regression import PairwiseRegression


@dataclass(eq=False, kw_only=True)
class Transfer(DistributionModel):
    """Transfer from other screens.

    share: of the predictive distribution that stays with whole training rows as scenarios. Learns
    `experts_`, by whether they are for perturbations with a response in another screen: one for each kind
    that occurs among the competition's rows and targets. Where a kind has none, the other serves it. A
    perturbation of which nothing is known gets the constant's prediction.
    """

    share: float = 0.5
    seed: int = 0

    def fit(self, train: Competition, asked: Sequence[str] | None = None) -> Self:
        """Fit the experts for the perturbations `asked`, by default all training rows and targets."""
        self.knowledge_ = self.knowledge.concerning(train)
        named = [*train.effects.index, *train.targets["perturbation"]] if asked is None else asked
        self.experts_ = {}
        for flag in self.knowledge_.has_response(named).unique():
            options = {"exclude_own_response": not flag, "seed": self.seed}
            self.experts_[flag] = PairwiseRegression(self.knowledge_, **options).fit(train)
            self.constant_ = self.experts_[flag].constant_
        return self

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the distribution over the training rows' effects."""
        return mix(*self.distributions(perturbations), self.share)

    def distributions(self, perturbations: Sequence[str]) -> list[Distribution]:
        """Return two Distributions: whole training rows as scenarios, and gene by gene."""
        names = pd.Index(list(perturbations), name="perturbation")
        with_response = self.knowledge_.has_response(names).to_numpy()
        groups = [(flag, names[with_response == flag]) for flag in (True, False)]
        parts = [self.expert(flag).distributions(group) for flag, group in groups if len(group)]
        return [join(list(both)).reindex(names) for both in zip(*parts, strict=True)]

    def expert(self, with_response: bool) -> PairwiseRegression:
        """Return the expert for perturbations with, or without, a response in another screen."""
        return self.experts_.get(with_response) or self.experts_[not with_response]


@dataclass(eq=False, kw_only=True)
class ScreenResponse(WithKnowledge):
    """The response of the perturbation in other screens, learned from these alone.

    A prediction is the mean effect over all perturbations of other screens plus `scale_` times what
    `Knowledge.response` adds to it. scaled: the scale, 0 to 1, is the slope with which the responses of
    each screen follow those of the others; 1 where no two screens share a perturbation.
    """

    scaled: bool = False

    policy = "screens"  # as of networks: no row of the competition is used

    def fit(self, train: Competition) -> Self:
        """Learn mean and scale from the other screens; `train` gives the genes."""
        self.knowledge_ = self.knowledge.concerning(train)
        if self.knowledge_.responses_ is None:
            raise InputError("the response in other screens needs an atlas; give Knowledge one")
        others = self.knowledge_.atlas.other_screens()
        perturbed = (others.obs["sgrna_symbol"] != CONTROL).to_numpy()
        self.mean_ = others.effects[perturbed].mean().reindex(train.genes).fillna(0.0)
        self.scale_ = self._slope(others) if self.scaled else 1.0
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects, perturbation x gene, log2; the screens' mean where no response is known."""
        response = self.knowledge_.response(list(perturbations)).reindex(columns=self.mean_.index)
        prediction = self.mean_ + self.scale_ * response.fillna(0.0)
        return prediction.rename_axis("perturbation")

    def _slope(self, others):
        products = squares = 0.0
        for screen in others.obs["dataset"].unique():
            alone = others.take((others.obs["dataset"] == screen).to_numpy())
            one = Knowledge(self.knowledge_.pathways, alone).responses_
            rest = self.knowledge_.without_screen(screen).responses_
            if one is None or rest is None:
                continue
            shared = one.index.intersection(rest.index)
            y, x = (frame.loc[shared, one.columns].to_numpy() for frame in (one, rest))
            known = np.isfinite(x) & np.isfinite(y)
            products += (x[known] * y[known]).sum()
            squares += (x[known] ** 2).sum()
        return float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 1.0


def reference_models(knowledge: Knowledge | None = None, *, seed: int = 0) -> dict[str, object]:
    """Return unfitted models by name, simplest first: `mean`, `constant`, and what knowledge allows.

    With knowledge also `neighbours` (`neighbours, atlas` where other screens are part of it) and
    `transfer`, with other screens `screen response` and `screen response, scaled`. All but the mean and
    the last two set the on-target effect.
    """
    models = {"constant": Constant()}
    if knowledge:
        near = "neighbours" if knowledge.responses_ is None else "neighbours, atlas"
        models |= {near: Neighbours(knowledge), "transfer": Transfer(knowledge, seed=seed)}
    models = {"mean": Mean()} | {name: OnTargetGene(model) for name, model in models.items()}
    if knowledge and knowledge.responses_ is not None:
        models["screen response"] = ScreenResponse(knowledge)
        models["screen response, scaled"] = ScreenResponse(knowledge, scaled=True)
    return models
