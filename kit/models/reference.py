"""What every other model is compared with: floor, best constant, and two simple uses of knowledge."""

from ..knowledge import Knowledge
from .baselines import Constant, Mean, OnTargetGene
from .neighbours import Neighbours
from .transfer import Transfer


def reference_models(knowledge: Knowledge | None = None, *, seed: int = 0) -> dict[str, object]:
    """Return unfitted models by name, simplest first: `mean`, `constant`, and what knowledge allows.

    With knowledge also `neighbours` (`neighbours, atlas` where other screens are part of it) and
    `transfer`. All but the mean set the on-target effect.
    """
    models = {"constant": Constant()}
    if knowledge:
        near = "neighbours" if knowledge.responses_ is None else "neighbours, atlas"
        models |= {near: Neighbours(knowledge), "transfer": Transfer(knowledge, seed=seed)}
    return {"mean": Mean()} | {name: OnTargetGene(model) for name, model in models.items()}
