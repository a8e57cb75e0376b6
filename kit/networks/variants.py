"""One network under each policy, with resampled cells and with another loss: what is compared."""

import copy

from .losses import LossWeights

METRIC = LossWeights(chance=0, wmae=1, cosine=0.2)  # the competition's own terms alone
RESAMPLED = 8  # samples of cells


def variants(model, *, cells, screens):
    """Models by name: `model`, a `Trained`, with one thing changed at a time.

    cells: whether the competition has cells to resample; screens: whether there is an atlas. Policies
    come first; then, of the policy that uses most, rows of resampled cells and the competition's loss.
    All share what they have learned from screens where they learn it alike.
    """

    def changed(**options):
        one = copy.deepcopy(model)  # shares `once`
        vars(one).update(options)
        return one

    policies = ("screens", "competition", "pretrain") if screens else ("competition",)
    found = {policy: changed(policy=policy) for policy in policies}
    last = policies[-1]
    if cells:
        found[f"{last}, resampled"] = changed(policy=last, draws=RESAMPLED)
    found[f"{last}, metric loss"] = changed(policy=last, pieces=METRIC)
    return found
