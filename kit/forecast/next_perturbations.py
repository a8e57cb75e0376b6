"""Which perturbations to measure next: those that reduce the uncertainty about the targets most.

Similar perturbations have similar effects, so a measured one reduces the variance of those similar to
it, and adds little to what training rows or an earlier proposal already explain. As in a Gaussian
process, that reduction does not depend on what will be measured, only on similarity by pathways. Each
next perturbation is greedily the one that reduces the targets' summed variance most (Krause, Singh and
Guestrin, JMLR 2008).
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, quote_some
from ..knowledge import Pathways
from .explanation import suggestion
from .predict import released_targets

# Variance that no other perturbation shares, beside 1; from .01 to .1 few choices change.
NOISE = 0.1
EXPRESSED = 0.02  # log2(1 + CP10k): about 3 counts in 100 cells of 20,000 UMI
INFORMED = 3  # targets named beside a proposal
LEAST = 0.001  # reduction of variance for which a target is named
SUGGESTED = 5  # unknown symbols for which others are suggested
MOST = 5000  # candidates that are compared with one another


def propose(
    competition: Competition,
    pathways: Pathways,
    number: int,
    candidates: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return perturbations to measure next, the most informative first.

    candidates: perturbations; by default the genes of the competition that pathways know, the expressed
    ones where the control means differ; where it has none, all genes of the pathways. What is measured or
    a target is no candidate. Where the truth of every target is released, proposals are made as before
    that. `gain`: share of the targets' variance, before anything was measured, that it explains; `left`:
    what is left then; `informs`: the targets it explains most of. Warns of candidates that are left out,
    one line a reason, and where there are fewer than `number`. Raises InputError where there are none.
    """
    released = set(released_targets(competition))
    rows, targets = list(competition.effects.index), list(competition.targets["perturbation"])
    remarks = []
    if released >= set(targets):
        text = f"the truth of all {len(targets)} targets is released in solution*.csv"
        remarks.append(f"{text}: proposals are made as if it were not")
    else:
        rows += [name for name in targets if name in released and name not in set(rows)]
        targets = [name for name in targets if name not in {*released, *rows}]
    if candidates is None:
        candidates, text = default_candidates(competition, pathways, [*rows, *targets])
        remarks += text
    pool, left_out = chosen_candidates(candidates, pathways, rows, targets, competition.genes)
    remarks += left_out
    if not (pool and targets) or number < 1:
        text = (
            f"{number} proposals of {len(pool)} candidates for {len(targets)} targets; name genes "
        )
        text += "that pathways know (--among FILE)"
        raise InputError("; ".join([text, *remarks]))
    if number > len(pool):
        remarks.append(f"{len(pool)} proposals, not {number}: there are no other candidates")
    for text in remarks:
        warnings.warn(text, stacklevel=2)
    pool = most_informative(pathways, rows, targets, pool)
    prior = pathway_similarity(pathways, [*rows, *targets, *pool])
    total = max(np.diag(prior.loc[targets, targets]).sum(), 1e-12)
    left = conditional_covariance(prior, rows).loc[[*targets, *pool], [*targets, *pool]]
    del prior
    share = np.diag(left.loc[targets, targets]).sum() / total
    found = {}
    for name, reduction in greedy(left, targets, pool, min(number, len(pool))):
        gain = reduction.sum() / total
        share -= gain
        informs = reduction.nlargest(INFORMED).loc[lambda part: part > LEAST].index
        found[name] = gain, share, ", ".join(informs)
    table = pd.DataFrame.from_dict(found, "index", columns=["gain", "left", "informs"])
    return table.rename_axis("perturbation")


def default_candidates(
    competition: Competition, pathways: Pathways, taken: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return candidates where none are named, without `taken`, and lines where expression is unknown."""
    control, known = competition.control, _genes(pathways)
    beyond = known - set(pathways.names.current(taken))

    def free(genes):
        return list(genes[pathways.names.current(genes).isin(beyond).to_numpy()])

    if control.nunique() > 1 and (found := free(control.index[control > EXPRESSED])):
        return found, []
    if found := free(control.index):
        line = f"all {len(found)} genes of the competition that pathways know are candidates"
        return found, [f"{line}: the control means do not show which are expressed"]
    line = "all genes of the pathways are candidates: they know none of the competition's genes"
    return sorted(beyond), [line]


def chosen_candidates(
    candidates: Sequence[str],
    pathways: Pathways,
    rows: Sequence[str],
    targets: Sequence[str],
    genes: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Return the candidates that can be proposed, each once, and a line a reason on those left out.

    rows: measured perturbations. Several names of one gene, by `pathways.names`, count as one. A symbol
    is unknown that neither pathways, nor their names, nor the competition (rows, targets, `genes`) have.
    """
    current, known = pathways.names.current, _genes(pathways)
    measured, asked = set(current(rows)), set(current(targets))
    named = known | pathways.names.symbols | measured | asked | set(current(genes))
    pool, left_out = {}, {}
    for name, gene in zip(candidates, current(candidates), strict=True):
        reasons = {
            "measured already": gene in measured,
            "targets themselves": gene in asked,
            "named twice": gene in pool,
            "unknown symbols": gene not in named,
            "known to no pathway": gene not in known,
        }
        if reason := next((text for text, holds in reasons.items() if holds), None):
            left_out.setdefault(reason, {})[name] = name
        else:
            pool[gene] = name
    for name in list(unknown := left_out.get("unknown symbols", {}))[:SUGGESTED]:
        if text := suggestion(name, named, ""):
            unknown[name] = f"{name} ({text})"
    lines = [f"left out, {reason}: {quote_some(x.values(), 50)}" for reason, x in left_out.items()]
    return list(pool.values()), lines


def most_informative(
    pathways: Pathways, rows: Sequence[str], targets: Sequence[str], pool: Sequence[str]
) -> list[str]:
    """Return at most `MOST` candidates: those that have most in common with the targets, given `rows`."""
    if len(pool) <= MOST:
        return list(pool)
    inner = pathway_similarity(pathways, rows).to_numpy() + NOISE * np.eye(len(rows))
    by_rows = np.linalg.solve(inner, pathway_similarity(pathways, rows, targets).to_numpy())
    common = pathway_similarity(pathways, pool, [*targets, *rows]).to_numpy()
    rest = common[:, : len(targets)] - common[:, len(targets) :] @ by_rows
    best = np.argsort(-(rest**2).sum(axis=1), kind="stable")[:MOST]
    return [pool[place] for place in sorted(best)]


def _genes(pathways):
    """Current symbols of the genes that pathways know."""
    sets, edges = pathways.sets["gene"], pathways.edges
    genes = pd.concat([sets, edges["one"], edges["other"]]).unique()
    genes = np.concatenate([genes, *(table.index for table in pathways.tables.values())])
    return set(genes[pathways.knows(genes).to_numpy()])


def read_words(path: Path | str) -> list[str]:
    """Return the symbols of a text file, separated by white space or commas."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; give a text file of symbols") from None
    return text.replace(",", " ").split()


def pathway_similarity(
    pathways: Pathways, names: Sequence[str], others: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the mean of all sources' kernels, name x other (by default name), 0 for what is unknown."""
    parts, others = pathways.whole_parts, names if others is None else others
    total = sum(pathways.kernel(names, others, [part]).to_numpy() for part in parts)
    return pd.DataFrame(total / np.float32(max(len(parts), 1)), names, others)


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
