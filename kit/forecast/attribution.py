"""A predictive distribution as exact sums over training perturbations, pathways and other screens."""

import numpy as np
import pandas as pd

from ..decision import Distribution
from ..knowledge.kernels import voters
from ..models.neighbours import Neighbours
from ..models.pairwise_regression import PairwiseRegression
from ..models.pooled_regression import LEVELS

UNIFORM = "uniform floor"  # what every training row gets without any similarity
SCREENS, NEIGHBOURS = "other screens", "pathway neighbours in other screens"
TOGETHER, BOTH = "all pathways", "pathways and screens"
# Kind of evidence by kernel; a single source of pathways is a kind of its own.
KINDS = dict.fromkeys(("response_cosine", "response_components", "smoothed_response"), SCREENS)
KINDS |= dict.fromkeys(("neighbour_response", "neighbour_to_response"), NEIGHBOURS)
KINDS |= {f"{name} and all_sets": BOTH for name in KINDS}
KINDS |= dict.fromkeys(("all_sets", "small_sets"), TOGETHER)
STRONG = 2  # tenths of a gene's training effects on one side that count as a strong effect


def contributions(distribution: Distribution) -> pd.DataFrame:
    """Return what each training row adds to the expected effects of one perturbation: row x gene, log2.

    A column sums to expected - mean, the mean being that of all training rows with equal probability.
    """
    chance = distribution.chances()[:, 0].T  # (training rows, genes)
    return distribution.values * (chance - 1 / len(chance))


def contribution_shares(added: pd.DataFrame) -> pd.Series:
    """Return each training row's share of the expected departure from the mean, by squares over genes.

    added: `contributions`. Shares sum to 1, the largest first; below 0 for a row in the opposite
    direction.
    """
    departure = added.sum()
    share = added @ departure / max((departure**2).sum(), 1e-12)
    return share.rename("share").sort_values(ascending=False, kind="stable")


def probability_by_kind(neighbours: Neighbours, perturbation: str) -> pd.DataFrame:
    """Return the probability that each kind of evidence gives each training row: row x kind.

    A row sums to its whole probability; what the floor gives every row is `UNIFORM`. A mean of kernels,
    to any power, is divided as its terms stand in the mean.
    """
    rows = neighbours.train_.effects.index
    settings = neighbours.settings([perturbation], rows)
    if not settings:
        return pd.DataFrame({UNIFORM: 1 / len(rows)}, rows)
    terms = kernel_terms(neighbours, perturbation)
    total = {UNIFORM: np.zeros(len(rows))}
    for (name, power, floor), share in neighbours.mixture_.items():
        chance = share * settings[name, power, floor][0]
        similarity = sum(terms[name].values())
        raised = similarity**power
        by_similarity = chance * raised / (raised + floor)
        total[UNIFORM] += chance - by_similarity
        for kind, term in terms[name].items():
            part = by_similarity * term / np.maximum(similarity, 1e-300)
            total[kind] = total.get(kind, 0.0) + part
    return pd.DataFrame(total, rows)


def kernel_terms(neighbours: Neighbours, perturbation: str) -> dict[str, dict[str, np.ndarray]]:
    """Return terms that add up to each kernel's similarity, by kernel and kind of evidence: (rows,)."""
    knowledge, rows = neighbours.knowledge_, neighbours.train_.effects.index
    names = pd.Index(dict.fromkeys([*rows, perturbation]))
    kernels = knowledge.kernels(list(names), exclude_own_response=neighbours.exclude_own_response)
    entries = names.get_loc(perturbation), names.get_indexer(rows)
    whole = {name: kernel.to_numpy(float) for name, kernel in kernels.items()}
    terms = {name: {KINDS.get(name, name): kernel[entries]} for name, kernel in whole.items()}
    if knowledge.pathways is None:
        return terms
    parts = {n: part.to_numpy(float) for n, part in knowledge.pathways.kernels(names).items()}
    small = {name for name in parts if name.endswith(", small")}
    sets = {name.removesuffix(", small") for name in small}
    for kernel, left_out in (("all_sets", small), ("small_sets", sets)):
        if kernel in terms:
            chosen = [name for name in parts if name not in left_out]
            count = voters([parts[name] for name in chosen])[entries]
            terms[kernel] = {n.removesuffix(", small"): parts[n][entries] / count for n in chosen}
    for kernel in ("smoothed_response", "response_components", "neighbour_response"):
        if f"{kernel} and all_sets" in terms:
            count = voters([whole[kernel], whole["all_sets"]])[entries]
            both = terms[kernel] | terms["all_sets"]
            terms[f"{kernel} and all_sets"] = {kind: term / count for kind, term in both.items()}
    return terms


def log_odds_by_kind(model: PairwiseRegression, perturbation: str, up: np.ndarray) -> pd.DataFrame:
    """Return natural log odds of a strong effect: gene x (`usual`, kinds of evidence).

    up: (genes,), whether strong means above the fourth fifth of a gene's training effects or below the
    first. A row sums to the log odds of the pooled regression (`regressions_`) at that threshold.
    """
    features, kernels = model.evidence([perturbation])
    regression = model.regressions_[0]
    place = np.where(up, len(LEVELS) - STRONG, STRONG - 1)
    side = np.where(up, 1.0, -1.0)[:, None]
    added = side * features[0] * regression.coefficients_[place]  # (genes, features)
    response = NEIGHBOURS if model.exclude_own_response else SCREENS
    kinds = [response if name == "elsewhere" else KINDS.get(name, name) for name in kernels]
    by_kind = pd.DataFrame(added.T, kinds, model.train_.genes).groupby(level=0, sort=False).sum()
    found = by_kind.T
    found.insert(0, "usual", side[:, 0] * regression.intercepts_[place, np.arange(len(place))])
    return found
