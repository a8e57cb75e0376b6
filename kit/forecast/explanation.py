"""Why a perturbation is predicted as it is: training perturbations, pathways and screens behind it.

A predictive distribution is made of the effects of training perturbations, so it can be taken apart
into exact sums. The probability of each training perturbation is a sum over kinds of evidence of its
similarity, pathways or screens. The expected effect of a gene beyond the mean training effect is a sum
over training perturbations. In the gene-by-gene part, the log odds of a strong effect are a sum over
kinds of evidence. Only the last step, the value submitted, is no sum: `decision.decide` weighs all
genes at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, quote_some
from ..io.progress import progress
from ..knowledge import Knowledge, Pathways
from ..models.baselines import OnTargetGene
from ..models.blend import Blend
from .attribution import (
    contribution_shares,
    contributions,
    log_odds_by_kind,
    probability_by_kind,
)
from .predict import released_targets


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the prediction of one perturbation is made of.

    known: how many sets and interactions of each source, and which screens, hold it. train: the rows of
    the fit. recipe: of the Blend. effects: gene x (`predicted`, as submitted, `expected` by the
    predictive distribution, `mean` training effect), log2. probability: training perturbation x kind of
    evidence, sums to its probability as a scenario. contributions: training perturbation x gene, log2,
    sums to expected - mean. odds: gene x (`usual`, kinds of evidence), natural log odds that the effect
    is as strong as the outermost fifth of the gene's training effects, on the expected side. shared:
    pathways by training perturbation, the smallest first. constant: whether nothing is known and the
    constant is predicted. truth: measured effects, or None.
    """

    perturbation: str
    known: list[str]
    train: Competition
    recipe: tuple[float, float]
    effects: pd.DataFrame
    probability: pd.DataFrame
    contributions: pd.DataFrame
    odds: pd.DataFrame
    shared: dict[str, pd.Series]
    constant: bool
    truth: pd.Series | None

    def training_shares(self) -> pd.DataFrame:
        """Return training perturbations, the largest share first.

        probability: as a scenario; ratio: to a uniform one; share: of the expected departure from the
        mean, see `contribution_shares`.
        """
        share = contribution_shares(self.contributions)
        chance = self.probability.sum(axis=1)[share.index]
        return pd.DataFrame({"probability": chance, "ratio": chance * len(chance), "share": share})

    def evidence_shares(self) -> pd.Series:
        """Return the share of all probability from each kind of evidence, the largest first."""
        return self.probability.sum().sort_values(ascending=False, kind="stable").rename("share")

    def main_reasons(self) -> pd.DataFrame:
        """Return genes, the farthest from the mean training effect first, and the main reasons.

        Beside `effects`: the training perturbation with the largest contribution in the expected
        direction and that contribution, log2; the kind of evidence that raises the odds of a strong
        effect most, and its factor.
        """
        frame = self.effects.copy()
        departure = frame["expected"] - frame["mean"]
        side = np.where(departure < 0, -1.0, 1.0)
        towards = self.contributions * side
        frame["perturbation"], frame["contribution"] = towards.idxmax(), towards.max() * side
        added = self.odds.drop(columns="usual")
        frame["evidence"], frame["factor"] = added.idxmax(axis=1), np.exp(added.max(axis=1))
        return frame.loc[departure.abs().sort_values(ascending=False, kind="stable").index]

    def of_gene(self, gene: str) -> pd.DataFrame:
        """Return each training perturbation's effect on a gene and contribution, log2, largest first."""
        if gene not in self.effects.index:
            raise InputError(
                f"`{gene}` is not among the {len(self.effects)} genes that are predicted; "
                + suggestion(gene, self.effects.index, "give one of them")
            )
        columns = {"effect": self.train.effects[gene], "contribution": self.contributions[gene]}
        order = {"key": np.abs, "ascending": False, "kind": "stable"}
        return pd.DataFrame(columns).sort_values("contribution", **order)


def explain(
    competition: Competition,
    perturbation: str,
    knowledge: Knowledge | None = None,
    *,
    seed: int = 0,
) -> Explanation:
    """Explain the prediction of one perturbation by the default blend.

    The fit uses the rows that `forecast` uses: of a measured perturbation nothing. Raises InputError
    for a name that is in no table, pathway or screen.
    """
    knowledge = knowledge or Knowledge()
    known = _known(competition, knowledge, perturbation)
    train, truth, beside = _as_forecast(competition, perturbation)
    model = OnTargetGene(Blend(knowledge, parts=0, seed=seed)).fit(train)
    blend = model.base
    with progress(f"prediction of {1 + len(beside)} targets"):
        predicted = model.predict([perturbation, *beside]).loc[perturbation]
    distribution = blend.predict_distribution([perturbation])
    expected, mean = distribution.mean().loc[perturbation], distribution.baseline
    expert, sets = blend.expert(perturbation), knowledge.pathways or Pathways()
    return Explanation(
        perturbation,
        known,
        train,
        blend.recipe_,
        effects=pd.DataFrame({"predicted": predicted, "expected": expected, "mean": mean}),
        probability=probability_by_kind(expert.neighbours_, perturbation),
        contributions=contributions(distribution),
        odds=log_odds_by_kind(expert, perturbation, (expected >= mean).to_numpy()),
        shared={name: sets.shared(perturbation, name) for name in train.effects.index},
        constant=not knowledge.knows([perturbation]).iloc[0],
        truth=truth,
    )


def refit_without(
    explanation: Explanation, knowledge: Knowledge, *, seed: int = 0, rows: int = 3
) -> pd.DataFrame:
    """Refit without each source, and without each of the main training perturbations: a row a refit.

    knowledge: of the Explanation. rows: how many training perturbations are left out in turn. `change`:
    how far expected effects move, mean absolute, as a share of their mean distance from the mean
    training effect; `perturbation`: the training perturbation with the largest share then, "none" where
    no knowledge is left.
    """
    train, name = explanation.train, explanation.perturbation
    pathways, atlas = knowledge.pathways, knowledge.atlas
    runs = {}
    for source in () if pathways is None else pathways.coverage([name]).columns.drop("known"):
        runs[f"without {source}"] = train, Knowledge(_without_source(pathways, source), atlas)
    if pathways is not None and atlas is not None:
        runs["without all pathways"] = train, Knowledge(None, atlas)
    if atlas is not None:
        runs["without other screens"] = train, Knowledge(pathways)
    main = explanation.training_shares().index[: min(rows, len(train.effects) - 2)]
    for row in main if not explanation.constant else ():
        left = train.subset(train.effects.index.drop(row))
        runs[f"without perturbation {row}"] = left, Knowledge(pathways, atlas)
    before, mean = explanation.effects["expected"], explanation.effects["mean"]
    departure = max((before - mean).abs().mean(), 1e-12)
    found = {}
    with progress("refits", len(runs)) as done:
        for label, (left, known) in runs.items():
            distribution = Blend(known, parts=0, seed=seed).fit(left).predict_distribution([name])
            change = (distribution.mean().loc[name] - before).abs().mean() / departure
            first = contribution_shares(contributions(distribution)).index[0]
            found[label] = change, first if known.knows([name]).iloc[0] else "none"
            done()
    return pd.DataFrame.from_dict(found, "index", columns=["change", "perturbation"])


def _without_source(pathways, source):
    """Pathways without one source, None where nothing is left."""
    left = replace(
        pathways,
        sets=pathways.sets[pathways.sets["source"] != source],
        edges=pathways.edges[pathways.edges["source"] != source],
        tables={name: table for name, table in pathways.tables.items() if name != source},
    )
    return left if left.parts else None


def _as_forecast(competition, perturbation):
    """Rows that a perturbation is predicted from, its measured effects or None, and targets beside it.

    `decide` weighs all targets of a fit at once: the value submitted is that beside these.
    """
    released = released_targets(competition)
    known = competition.with_released() if released else competition
    rows, among = known.effects.index, perturbation in released
    truth = known.effects.loc[perturbation] if perturbation in rows else None
    beside = [x for x in competition.targets["perturbation"] if (x in released) == among]
    # Released truth is no part of the fit that predicts a released target.
    train = competition if among else known.subset(rows[rows != perturbation])
    return train, truth, [name for name in beside if name != perturbation]


def _known(competition, knowledge, perturbation):
    """Sources that hold a perturbation, with counts, a list; InputError where it is in nothing."""
    lines = []
    if knowledge.pathways is not None:
        counts = knowledge.pathways.coverage([perturbation]).iloc[0].drop("known")
        lines = [f"{source} {int(count)}" for source, count in counts.items() if count]
    if knowledge.has_response([perturbation]).iloc[0]:
        obs = knowledge.atlas.obs
        symbols = np.array(knowledge.symbols(obs["sgrna_symbol"].astype(str)))
        same = symbols == knowledge.symbols([perturbation])[0]
        lines.append(f"screens {quote_some(obs['dataset'][same].unique())}")
    named = [*competition.targets["perturbation"], *competition.effects.index, *competition.genes]
    if not lines and perturbation not in named:
        raise InputError(
            f"`{perturbation}` is in no pathway, no screen and no table of {competition.source.name}; "
            + suggestion(perturbation, named, "give the symbol of a gene")
        )
    return lines


def suggestion(name: str, names: Iterable[str], otherwise: str) -> str:
    """Return a question that offers three names at most, spelt like `name`, or `otherwise`."""
    capitals = {str(one).upper(): str(one) for one in sorted({*map(str, names)})}
    near = [capitals[one] for one in get_close_matches(name.upper(), capitals, 3)]
    return f"is it {' or '.join(near)}?" if near else otherwise
