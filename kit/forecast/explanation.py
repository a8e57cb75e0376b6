"""Why a knockdown is predicted as it is: who spoke, by how much, and what it rests on.

A belief is made of the effects that training knockdowns had, so it can be taken apart without a rest.
The chance of each knockdown is a sum over what made it like the one in question, pathways or screens.
What a gene is expected to do beyond the mean training effect is a sum over training knockdowns. Where
genes are told apart, the log odds that a gene answers strongly are a sum over kinds of evidence. Only
what the last step makes of the belief, the value submitted, is no sum: `decision.decide` weighs all genes
at once.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, quote_some
from ..knowledge import Knowledge
from ..models.baselines import OnTargetGene
from ..models.blend import Blend
from .attribution import chances_by_kind, odds_by_kind, pulls, shares


@dataclass(frozen=True, eq=False)
class Explanation:
    """What the prediction of one knockdown is made of.

    known: how many sets and interactions of each source, and which screens, hold it. train: the rows
    that the fit saw. recipe: of the Blend. effects: gene x (`predicted`, as submitted, `expected` by the
    belief, `mean` training effect), log2.
    chances: training knockdown x kind of evidence, sums to its chance where whole rows are scenarios.
    pulls: training knockdown x gene, log2, sums to expected - mean. odds: gene x (`usual`, kinds of
    evidence), natural log odds that the gene answers as strongly as the outermost fifth of its training
    effects, on the expected side. shared: pathways by training knockdown, the rarest first. constant:
    whether nothing is known and the constant is predicted. truth: measured effects, or None.
    """

    perturbation: str
    known: list
    train: Competition
    recipe: tuple
    effects: pd.DataFrame
    chances: pd.DataFrame
    pulls: pd.DataFrame
    odds: pd.DataFrame
    shared: dict
    constant: bool
    truth: pd.Series | None

    def speakers(self):
        """Training knockdowns, the largest share first: a frame.

        chance: as a scenario; times: an even chance; share: of what is expected beyond the mean, see
        `evidence.shares`.
        """
        share = shares(self.pulls)
        chance = self.chances.sum(axis=1)[share.index]
        return pd.DataFrame({"chance": chance, "times": chance * len(chance), "share": share})

    def kinds(self):
        """Share of all chance that each kind of evidence gave to training knockdowns: sums to 1."""
        return self.chances.sum().sort_values(ascending=False, kind="stable").rename("share")

    def genes(self):
        """Genes, the farthest from the mean training effect first, and the main reasons: a frame.

        Beside `effects`: the training knockdown that pulls most in the expected direction and its pull,
        log2; the kind of evidence that raises the odds of a strong answer most, and its factor.
        """
        frame = self.effects.copy()
        departure = frame["expected"] - frame["mean"]
        side = np.where(departure < 0, -1.0, 1.0)
        towards = self.pulls * side
        frame["knockdown"], frame["pull"] = towards.idxmax(), towards.max() * side
        added = self.odds.drop(columns="usual")
        frame["evidence"], frame["factor"] = added.idxmax(axis=1), np.exp(added.max(axis=1))
        order = departure.abs().sort_values(ascending=False, kind="stable").index
        return frame.loc[order]

    def gene(self, gene):
        """Training knockdowns, the largest pull on one gene first: their effect on it and pull, log2."""
        if gene not in self.effects.index:
            near = _spelt_alike(gene, self.effects.index)
            raise InputError(
                f"`{gene}` is not among the {len(self.effects)} genes that are predicted; "
                + (f"is it {' or '.join(near)}?" if near else "give one of them")
            )
        frame = pd.DataFrame({"effect": self.train.effects[gene], "pull": self.pulls[gene]})
        return frame.sort_values("pull", key=np.abs, ascending=False, kind="stable")


def explain(competition, perturbation, knowledge=None, *, seed=0):
    """Explain the prediction of one knockdown by the default blend: an Explanation.

    The fit sees what `predictor.forecast` lets it see: of a measured knockdown nothing. Raises InputError
    for a name that is in no table, pathway or screen.
    """
    knowledge = knowledge or Knowledge()
    known = _known(competition, knowledge, perturbation)
    train, truth, beside = _as_forecast(competition, perturbation)
    model = OnTargetGene(Blend(knowledge, parts=0, seed=seed)).fit(train)
    blend = model.base
    predicted = model.predict([perturbation, *beside]).loc[perturbation]
    constant = not knowledge.knows([perturbation]).iloc[0]
    belief = blend.predict_distribution([perturbation])
    expected = belief.mean().loc[perturbation]
    with_response = bool(knowledge.has_response([perturbation]).iloc[0])
    expert = blend.base_models_.transfer.expert(with_response)
    shared = {}
    if knowledge.pathways is not None:
        shared = {
            name: knowledge.pathways.shared(perturbation, name) for name in train.effects.index
        }
    return Explanation(
        perturbation,
        known,
        train,
        blend.recipe_,
        pd.DataFrame({"predicted": predicted, "expected": expected, "mean": belief.baseline}),
        chances_by_kind(expert.neighbours_, perturbation),
        pulls(belief),
        odds_by_kind(expert, perturbation, (expected >= belief.baseline).to_numpy()),
        shared,
        constant,
        truth,
    )


def _spelt_alike(name, names):
    """Up to three of `names` that are spelt like `name`, capitals aside."""
    capitals = {str(one).upper(): str(one) for one in sorted({*map(str, names)})}
    return [capitals[one] for one in get_close_matches(name.upper(), capitals, 3)]


def without_row(competition, perturbation):
    """The competition without one training row, if it is one."""
    rows = competition.effects.index
    return competition.subset(rows[rows != perturbation])


def _as_forecast(competition, perturbation):
    """Rows that a perturbation is predicted from, its measured effects or None, and targets beside it.

    `decide` weighs all targets of a fit at once: the value submitted is that beside these.
    """
    targets, released = competition.targets["perturbation"], []
    if competition.solution is not None:
        released = list(targets.loc[competition.solution.index])
    known = competition.with_released() if released else competition
    measured = perturbation in known.effects.index
    truth = known.effects.loc[perturbation] if measured else None
    alike = [name for name in targets if (name in released) == (perturbation in released)]
    beside = [name for name in alike if name != perturbation]
    # Of released truth nothing is seen by what predicts a released target.
    train = competition if perturbation in released else without_row(known, perturbation)
    return train, truth, beside


def _known(competition, knowledge, perturbation):
    """Sources that hold a perturbation, with counts, a list; InputError where it is in nothing."""
    lines = []
    if knowledge.pathways is not None:
        counts = knowledge.pathways.coverage([perturbation]).iloc[0].drop("known")
        lines = [f"{source} {int(count)}" for source, count in counts.items() if count]
    if knowledge.has_response([perturbation]).iloc[0]:
        obs = knowledge.atlas.obs
        symbols = knowledge.symbols(obs["sgrna_symbol"].astype(str))
        same = np.array(symbols) == knowledge.symbols([perturbation])[0]
        lines.append(f"screens {quote_some(obs['dataset'][same].unique())}")
    named = [*competition.targets["perturbation"], *competition.effects.index, *competition.genes]
    if not lines and perturbation not in named:
        near = _spelt_alike(perturbation, named)
        raise InputError(
            f"`{perturbation}` is in no pathway, no screen and no table of {competition.source.name}; "
            + (f"is it {' or '.join(near)}?" if near else "give the symbol of a gene")
        )
    return lines
