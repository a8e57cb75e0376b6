"""Which knockdowns would teach most about the targets: the experiment to ask for next.

Knockdowns that are alike answer alike, so a measured one makes its relatives less uncertain, and what
the training rows or an earlier proposal have told already teaches nothing again. As in a Gaussian
process, how much it teaches does not depend on what will be measured, only on who is alike by the
pathways: greedily, each next knockdown is the one that takes most from the targets' summed variance
(Krause, Singh and Guestrin 2008).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import InputError
from ..models.neighbours import EXPRESSED

NOISE = 0.1  # variance of what is a knockdown's own, beside 1; from .01 to .1 few choices change
TAUGHT = 3  # targets named beside a proposal
LEAST = 0.001  # variance taken away that is worth a name


def propose(competition, pathways, number=20, *, candidates=None):
    """Choose knockdowns to measure next, the most instructive first: a frame by perturbation.

    candidates: perturbations, by default the expressed genes of the competition that pathways know and
    that are neither measured nor targets. `gain`: share of the targets' variance, before anything was
    measured, that it takes away; `left`: what is left then; `teaches`: the targets it tells most of.
    """
    known = competition if competition.solution is None else competition.with_released()
    rows = list(known.effects.index)
    targets = [name for name in competition.targets["perturbation"] if name not in set(rows)]
    if candidates is None:
        expressed = competition.control[competition.control > EXPRESSED].index
        candidates = pathways.knows(expressed).loc[lambda known: known].index
    taken = {*rows, *targets}
    pool = list(dict.fromkeys(name for name in candidates if name not in taken))
    if not targets:
        raise InputError(
            f"every target is measured, some by solution*.csv in {competition.source.name}; there is "
            "nothing left to learn about unless you take these files out"
        )
    if not 0 < number <= len(pool):
        raise InputError(
            f"{number} proposals of {len(pool)} candidates; want 1 to their number, or name others that "
            "pathways know, with --among FILE from a shell"
        )
    prior = kernel(pathways, [*rows, *targets, *pool])
    total = max(np.diag(prior.loc[targets, targets]).sum(), 1e-12)
    left = remaining(prior, rows).loc[[*targets, *pool], [*targets, *pool]]
    del prior
    share = np.diag(left.loc[targets, targets]).sum() / total
    found = {}
    for name, taken_away in greedy(left, targets, pool, number):
        gain = taken_away.sum() / total
        share -= gain
        told = taken_away.nlargest(TAUGHT).loc[lambda part: part > LEAST].index
        found[name] = gain, share, ", ".join(told)
    table = pd.DataFrame.from_dict(found, "index", columns=["gain", "left", "teaches"])
    return table.rename_axis("perturbation")


def read_words(path):
    """Symbols of a text file, by white space or commas, each once."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; give a text file of symbols") from None
    return list(dict.fromkeys(text.replace(",", " ").split()))


def kernel(pathways, names):
    """Likeness by pathways: the mean of all sources' kernels, 0 where one knows nothing: a frame."""
    parts = [name for name in pathways.parts if not name.endswith(", small")]
    total = sum(pathways.kernel(names, names, parts=[part]).to_numpy() for part in parts)
    return pd.DataFrame(total / len(parts), names, names)


def remaining(covariance, measured):
    """Covariance that is left once some perturbations are measured: a frame like the one given."""
    inner = covariance.loc[measured, measured].to_numpy() + NOISE * np.eye(len(measured))
    across = covariance[measured].to_numpy()
    return covariance - across @ np.linalg.solve(inner, across.T)


def greedy(covariance, targets, candidates, number):
    """Yield the best candidate, and the variance that it takes from each target (a series), in turn.

    covariance: of targets and candidates, as what is measured has left it.
    """
    names, left = covariance.index, covariance.to_numpy(dtype=float)
    told, open_ones = names.get_indexer(targets), names.get_indexer(candidates)
    for _ in range(number):
        noisy = left[open_ones, open_ones] + NOISE
        gains = left[np.ix_(told, open_ones)] ** 2 / noisy
        best = int(gains.sum(axis=0).argmax())
        place = open_ones[best]
        yield names[place], pd.Series(gains[:, best], targets)
        left = left - np.outer(left[:, place], left[place]) / noisy[best]
        open_ones = np.delete(open_ones, best)
