"""The same knockdown in other screens, and where there is none, its pathway neighbours there.

Two experts, both `Pairs`: one for knockdowns with a response in the atlas, which compares their own
responses with those of the training rows; one for the others, which lets every knockdown be known by
its pathway neighbours' responses alone, so that training rows and new ones are described alike. A gene
that a screen did not measure tells nothing: it counts as the screen's mean answer, 0 once centred.
"""

import pandas as pd

from ..decision import decide, join, mix
from ..likeness import Likeness
from .pairs import Pairs


class Transfer:
    """Transfer from other screens. atlas: `kit.atlas.Atlas`; pathways: `kit.pathways.Pathways` or None.

    share: of the belief that stays with whole training rows as scenarios. Learns `covered_`: of the
    perturbations predicted last, whether the atlas holds them, a bool series; `unknown_`: those of which
    nothing is known, which get the constant's prediction.
    """

    def __init__(self, atlas, pathways=None, *, share=0.5, likeness=None, seed=0):
        self.atlas = atlas
        self.pathways = pathways
        self.share = share
        self.likeness = likeness
        self.seed = seed

    def fit(self, train):
        self.likeness_ = self.likeness or Likeness(self.pathways, self.atlas)
        self.train_, self.experts_ = train, {}
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene."""
        prediction = decide(self.predict_distribution(perturbations))
        unknown = ~self.likeness_.knows(prediction.index).to_numpy()
        self.unknown_ = list(prediction.index[unknown])
        constant = next(iter(self.experts_.values())).neighbours_.constant_
        prediction.loc[unknown] = constant.effect_.to_numpy()
        return prediction

    def predict_distribution(self, perturbations):
        """Belief over the training rows' effects: a Distribution."""
        return mix(*self.beliefs(perturbations), self.share)

    def beliefs(self, perturbations):
        """Two Distributions: whole training rows as scenarios, and genes told apart."""
        names = pd.Index(list(perturbations), name="perturbation")
        self.covered_ = self.likeness_.covered(names)
        groups = [(flag, names[self.covered_.to_numpy() == flag]) for flag in (True, False)]
        parts = [self.expert(flag).beliefs(group) for flag, group in groups if len(group)]
        return [join(list(beliefs)).reindex(names) for beliefs in zip(*parts, strict=True)]

    def expert(self, covered):
        """The expert for covered or other perturbations, fitted when it is first asked."""
        if covered not in self.experts_:
            pairs = Pairs(likeness=self.likeness_, alone=not covered, seed=self.seed)
            self.experts_[covered] = pairs.fit(self.train_)
        return self.experts_[covered]
