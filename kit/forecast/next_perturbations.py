"""Which perturbations to measure next: those that reduce the uncertainty about the targets most.

Similar perturbations have similar effects, so a measured one reduces the variance of those similar to
it, and adds little to what training rows or an earlier proposal already explain. As in a Gaussian
process, that reduction does not depend on what will be measured, only on similarity by pathways. Each
next perturbation is greedily the one that reduces the targets' summed variance most (Krause, Singh and
Guestrin, JMLR 2008).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError
from ..knowledge import Pathways

# Variance that no other perturbation shares, beside 1; from .01 to .1 few choices change.
NOISE = 0.1
EXPRESSED = 0.02  # log2(1 + CP10k): about 3 counts in 100 cells of 20,000 UMI
INFORMED = 3  # targets named beside a proposal
LEAST = 0.001  # reduction of variance for which a target is named


def propose(
    competition: Competition,
    pathways: Pathways,
    number: int,
    candidates: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return perturbations to measure next, the most informative first.

    candidates: perturbations, by default the expressed genes of the competition that pathways know and
    that are neither measured nor targets. `gain`: share of the targets' variance, before anything was
    measured, that it explains; `left`: what is left then; `informs`: the targets it explains most of.
    """
    known = competition if competition.solution is None else competition.with_released()
    rows = list(known.effects.index)
    targets = [name for name in competition.targets["perturbation"] if name not in set(rows)]
    if candidates is None:
        expressed = competition.control[competition.control > EXPRESSED].index
        candidates = expressed[pathways.knows(expressed).to_numpy()]
    taken = {*rows, *targets}
    pool = list(dict.fromkeys(name for name in candidates if name not in taken))
    if not targets:
        text = f"every target is measured, some by solution*.csv in {competition.source.name}"
        raise InputError(f"{text}; take these files out to get proposals")
    if not 0 < number <= len(pool):
        text = f"{number} proposals of {len(pool)} candidates; want 1 to their number, or"
        raise InputError(f"{text} name others that pathways know, with --among FILE from a shell")
    prior = pathway_similarity(pathways, [*rows, *targets, *pool])
    total = max(np.diag(prior.loc[targets, targets]).sum(), 1e-12)
    left = conditional_covariance(prior, rows).loc[[*targets, *pool], [*targets, *pool]]
    del prior
    share = np.diag(left.loc[targets, targets]).sum() / total
    found = {}
    for name, reduction in greedy(left, targets, pool, number):
        gain = reduction.sum() / total
        share -= gain
        informs = reduction.nlargest(INFORMED).loc[lambda part: part > LEAST].index
        found[name] = gain, share, ", ".join(informs)
    table = pd.DataFrame.from_dict(found, "index", columns=["gain", "left", "informs"])
    return table.rename_axis("perturbation")


def read_words(path: Path | str) -> list[str]:
    """Return the symbols of a text file, separated by white space or commas, each once."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; give a text file of symbols") from None
    return list(dict.fromkeys(text.replace(",", " ").split()))


def pathway_similarity(pathways: Pathways, names: Sequence[str]) -> pd.DataFrame:
    """Return the mean of all sources' kernels, name x name, 0 where one knows nothing."""
    parts = pathways.whole_parts
    total = sum(pathways.kernel(names, names, [part]).to_numpy() for part in parts)
    return pd.DataFrame(total / np.float32(max(len(parts), 1)), names, names)


def conditional_covariance(covariance: pd.DataFrame, measured: Sequence[str]) -> pd.DataFrame:
    """Return the covariance that is left once some perturbations are measured, of the same shape."""
    inner = covariance.loc[measured, measured].to_numpy() + NOISE * np.eye(len(measured))
    across = covariance[measured].to_numpy()
    return covariance - across @ np.linalg.solve(inner, across.T)


def greedy(
    covariance: pd.DataFrame, targets: Sequence[str], candidates: Sequence[str], number: int
) -> Iterator[tuple[str, pd.Series]]:
    """Yield the best candidate in turn, and its reduction of each target's variance.

    covariance: of targets and candidates, given what is measured.
    """
    names, left = covariance.index, covariance.to_numpy(dtype=float)
    wanted, remaining = names.get_indexer(targets), names.get_indexer(candidates)
    for _ in range(number):
        noisy = left[remaining, remaining] + NOISE
        gains = left[np.ix_(wanted, remaining)] ** 2 / noisy
        best = int(gains.sum(axis=0).argmax())
        place = remaining[best]
        yield names[place], pd.Series(gains[:, best], targets)
        left = left - np.outer(left[:, place], left[place]) / noisy[best]
        remaining = np.delete(remaining, best)
