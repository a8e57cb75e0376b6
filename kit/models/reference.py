"""What every other model is compared with: floor, best constant, and simple uses of knowledge."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd

from ..competition import CONTROL, Competition
from ..io.files import InputError
from ..knowledge import Knowledge
from .baselines import Constant, Mean, OnTargetGene
from .neighbours import Neighbours
from .transfer import Transfer


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


class ScreenResponse:
    """The response of the perturbation in other screens, learned from these alone.

    A prediction is the mean effect over all perturbations of other screens plus `scale_` times what
    `Knowledge.response` adds to it. scaled: the scale, 0 to 1, is the slope with which the responses of
    each screen follow those of the others; 1 where no two screens share a perturbation.
    """

    policy = "screens"  # as of networks: no row of the competition is used

    def __init__(self, knowledge: Knowledge | None = None, *, scaled: bool = False):
        self.knowledge = knowledge or Knowledge()
        self.scaled = scaled

    def fit(self, train: Competition) -> Self:
        """Learn mean and scale from the other screens; `train` gives the genes."""
        if self.knowledge.responses_ is None:
            raise InputError("the response in other screens needs an atlas; give Knowledge one")
        others = self.knowledge.atlas.other_screens()
        perturbed = (others.obs["sgrna_symbol"] != CONTROL).to_numpy()
        self.mean_ = others.effects[perturbed].mean().reindex(train.genes).fillna(0.0)
        self.scale_ = self._slope(others) if self.scaled else 1.0
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return effects, perturbation x gene, log2; the screens' mean where no response is known."""
        response = self.knowledge.response(list(perturbations)).reindex(columns=self.mean_.index)
        prediction = self.mean_ + self.scale_ * response.fillna(0.0)
        return prediction.rename_axis("perturbation")

    def _slope(self, others):
        products = squares = 0.0
        for screen in others.obs["dataset"].unique():
            alone = others.take((others.obs["dataset"] == screen).to_numpy())
            one = Knowledge(self.knowledge.pathways, alone).responses_
            rest = self.knowledge.without_screen(screen).responses_
            if one is None or rest is None:
                continue
            shared = one.index.intersection(rest.index)
            y, x = (frame.loc[shared, one.columns].to_numpy() for frame in (one, rest))
            known = np.isfinite(x) & np.isfinite(y)
            products += (x[known] * y[known]).sum()
            squares += (x[known] ** 2).sum()
        return float(np.clip(products / squares, 0.0, 1.0)) if squares > 0 else 1.0
