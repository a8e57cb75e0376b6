"""What spoke for a belief, taken apart without a rest: training knockdowns, pathways, other screens."""

import numpy as np
import pandas as pd

from ..models.pairwise_regression import LEVELS

ALIKE_TO_NONE = "alike to none"  # the floor that every training knockdown keeps
SCREENS, NEAR = "other screens", "its neighbours in other screens"
TOGETHER, BOTH = "pathways together", "pathways and screens"
KINDS = {"wide": TOGETHER, "narrow": TOGETHER, "near": NEAR, "near same": NEAR}  # by kernel
KINDS |= {"same": SCREENS, "shape": SCREENS, "smooth": SCREENS}
KINDS |= dict.fromkeys(("smooth and wide", "shape and wide", "near and wide"), BOTH)
STRONG = 2  # tenths of a gene's training effects on one side that count as a strong answer


def pulls(belief):
    """What each scenario adds to the expected effects of one perturbation: row x gene, log2.

    A column sums to expected - mean, the mean being that of all scenarios alike.
    """
    chance = belief.chances()[:, 0].T  # (scenarios, genes)
    return belief.values * (chance - 1 / len(chance))


def shares(pulled):
    """Share of each scenario in what is expected beyond the mean, by squares over genes: sums to 1.

    Below 0 for one that pulls the other way.
    """
    departure = pulled.sum()
    share = pulled @ departure / max((departure**2).sum(), 1e-12)
    return share.rename("share").sort_values(ascending=False, kind="stable")


def chances_by_kind(neighbours, perturbation):
    """Chance of each training row from each kind of evidence: row x kind, sums to the row's chance.

    What the floor gives every row is `alike to none`. A mean of kernels, to any power, is parted as its
    terms stand in the mean.
    """
    rows = neighbours.train_.effects.index
    settings = neighbours.settings([perturbation], rows)
    if not settings:
        return pd.DataFrame({ALIKE_TO_NONE: 1 / len(rows)}, rows)
    terms = _terms(neighbours, perturbation)
    total = {ALIKE_TO_NONE: np.zeros(len(rows))}
    for (name, power, floor), share in neighbours.mixture_.items():
        chance = share * settings[name, power, floor][0]
        alike = sum(terms[name].values()) ** power
        heard = chance * alike / (alike + floor * (3 if power == 1 else 1))
        total[ALIKE_TO_NONE] += chance - heard
        whole = np.maximum(sum(terms[name].values()), 1e-300)
        for kind, term in terms[name].items():
            total[kind] = total.get(kind, 0.0) + heard * term / whole
    return pd.DataFrame(total, rows)


def _terms(neighbours, perturbation):
    """Terms that add up to each kernel's likeness of the rows: arrays by kernel and kind of evidence."""
    knowledge, rows = neighbours.knowledge, neighbours.train_.effects.index
    names = list(dict.fromkeys([*rows, perturbation]))
    kernels = knowledge.kernels(names, exclude_own_response=neighbours.exclude_own_response)
    found = {
        name: values.loc[perturbation, rows].to_numpy(float) for name, values in kernels.items()
    }
    terms = {name: {KINDS.get(name, name): values} for name, values in found.items()}
    if knowledge.pathways is None:
        return terms
    parts = knowledge.pathways.kernels(names)
    parts = {name: part.loc[perturbation, rows].to_numpy(float) for name, part in parts.items()}
    small = {name for name in parts if name.endswith(", small")}
    sets = {name.removesuffix(", small") for name in small}
    for kernel, left_out in (("wide", small), ("narrow", sets)):
        if kernel in terms:
            chosen = [name for name in parts if name not in left_out]
            terms[kernel] = {
                name.removesuffix(", small"): parts[name] / len(chosen) for name in chosen
            }
    for kernel in ("smooth", "shape", "near"):
        if f"{kernel} and wide" in terms:
            halves = {KINDS[kernel]: found[kernel] / 2}
            halves |= {kind: term / 2 for kind, term in terms["wide"].items()}
            terms[f"{kernel} and wide"] = halves
    return terms


def odds_by_kind(expert, perturbation, up):
    """Natural log odds that each gene answers strongly: gene x (`usual`, kinds of evidence).

    up: by gene, whether strongly means above the fourth fifth of its training effects or below the
    first. A row adds up to the log odds of the pooled regression (`models_`) at that threshold.
    """
    features, kernels = expert.evidence([perturbation])
    model = expert.models_[0]
    place = np.where(up, len(LEVELS) - STRONG, STRONG - 1)
    side = np.where(up, 1.0, -1.0)[:, None]
    added = side * features[0] * model.coefficients_[place]  # (genes, features)
    usual = side[:, 0] * model.intercepts_[place, np.arange(len(place))]
    response = NEAR if expert.exclude_own_response else SCREENS
    kinds = [response if name == "elsewhere" else KINDS.get(name, name) for name in kernels]
    by_kind = pd.DataFrame(added.T, kinds, expert.train_.genes).groupby(level=0, sort=False).sum()
    found = by_kind.T
    found.insert(0, "usual", usual)
    return found
