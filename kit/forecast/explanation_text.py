"""An Explanation as text for a terminal and as JSON."""

from collections.abc import Sequence
from textwrap import shorten

import numpy as np
import pandas as pd

from ..io.files import printable
from .explanation import Explanation

SHOWN = 10  # training perturbations, and genes
TRAINING = (
    "training perturbations by their share of the departure (expected less mean training effects)",
    "  chance: probability as a scenario; ratio: of it to an equal one; shares add up to 100 %: below 0",
    "  where a perturbation points the other way, and others then have more than 100 %",
)
GENES = (
    "genes whose expected effect is farthest from the mean training effect, log2",
    "  predicted: as submitted; expected: by all chances; contribution: the largest to that difference,",
    "  and its perturbation; factor: by which the evidence raises the odds of a strong effect most",
)
REFITS = (
    "refits: how far the expected effects move, as a share of the departure",
    "  0 %: nothing changes; 100 %: as far as from the mean training effects; more: farther than that",
)
PATHWAYS = 70  # letters of the pathways that two perturbations share


def as_text(explanation: Explanation, refits: pd.DataFrame | None = None) -> str:
    """Return lines for a terminal: training perturbations, evidence, and the genes that change most."""
    known = ", ".join(explanation.known)
    lines = [f"{explanation.perturbation}: {f'known by {known}' if known else 'nothing is known'}"]
    share, points = explanation.recipe
    lines.append(
        f"the default blend on {len(explanation.train.effects)} training perturbations: scenarios "
        f"{share * (1 - points):.2f}, gene by gene {(1 - share) * (1 - points):.2f}"
    )
    if explanation.constant:
        lines.append("so the prediction is the constant, as for all without knowledge")
        return "\n".join(lines)
    if explanation.truth is not None:
        lines.append(f"measured, but not used in this fit; {_agreement(explanation)}")
    lines += ["", *TRAINING, f"  {'':12} chance  ratio   share  shared pathways"]
    for row, (chance, ratio, part) in explanation.training_shares().head(SHOWN).iterrows():
        shared = ", ".join(explanation.shared[row].index)
        shared = printable(shorten(shared, PATHWAYS, placeholder=" ..."))
        lines.append(f"  {row:12} {chance:6.1%} {ratio:5.1f}x {part:7.1%}  {shared}".rstrip())
    lines += ["", "evidence of similarity: share of all chances, adds up to 100 %"]
    lines += [f"  {part:6.1%} {kind}" for kind, part in explanation.evidence_shares().items()]
    lines += ["", *GENES]
    numbers = dict.fromkeys(("predicted", "expected", "mean"), "{:.3f}".format)
    numbers |= {"contribution": "{:+.3f}".format, "factor": "x {:.2f}".format}
    table = explanation.main_reasons().head(SHOWN).rename_axis(None)
    lines.append(table.to_string(formatters=numbers))
    if refits is not None:
        lines += ["", *REFITS]
        for label, (change, first) in refits.iterrows():
            then = "nothing is known" if first == "none" else f"{first} has the largest share"
            lines.append(f"  {change:6.1%} {label}; then {then}")
    return "\n".join(lines)


def gene_as_text(explanation: Explanation, gene: str) -> str:
    """Return lines for a terminal on one gene: contributions to it, and its odds by evidence."""
    table, row = explanation.of_gene(gene)["contribution"], explanation.effects.loc[gene]
    effects = explanation.train.effects[gene]
    lines = [
        f"{gene} after perturbation of {explanation.perturbation}, log2: predicted "
        f"{row['predicted']:.3f}, expected {row['expected']:.3f} = mean {row['mean']:.3f} and:"
    ]
    for name, added in table.head(SHOWN).items():
        lines.append(f"  {name:12} {added:+.3f} (effect {effects[name]:+.3f})")
    if len(rest := table.iloc[SHOWN:]):
        lines.append(f"  {len(rest)} others   {rest.sum():+.3f}")
    if gene == explanation.perturbation:
        lines.append("predicted is the on-target effect, from the control expression of the gene")
    side = "above its upper" if row["expected"] >= row["mean"] else "below its lower"
    odds = explanation.odds.loc[gene]
    factors = " ".join(f"x {np.exp(added):.2f} ({kind})" for kind, added in odds.iloc[1:].items())
    lines.append(
        f"odds of an effect {side} fifth, gene by gene: usual {np.exp(odds.iloc[0]):.2f} {factors} "
        f"= {np.exp(odds.sum()):.2f}"
    )
    return "\n".join(lines)


def as_record(
    explanation: Explanation, refits: pd.DataFrame | None = None, genes: Sequence[str] = ()
) -> dict:
    """Return what JSON can hold: of the genes asked for, or of those that change most."""
    shares = explanation.training_shares().head(SHOWN).rename_axis("perturbation").reset_index()
    shares["shared"] = [list(explanation.shared[name].index) for name in shares["perturbation"]]
    reasons = explanation.main_reasons()
    reasons = reasons.loc[list(genes)] if genes else reasons.head(SHOWN)
    added = [explanation.of_gene(gene)["contribution"].head(SHOWN) for gene in reasons.index]
    reasons = reasons.assign(
        log_odds=explanation.odds.loc[reasons.index].to_dict("records"),
        contributions=[each.to_dict() for each in added],
    )
    record = {
        "perturbation": explanation.perturbation,
        "known": explanation.known,
        "constant": bool(explanation.constant),
        "training_rows": len(explanation.train.effects),
        "training_perturbations": shares.to_dict("records"),
        "evidence": explanation.evidence_shares().to_dict(),
        "genes": reasons.rename_axis("gene").reset_index().to_dict("records"),
    }
    return record | ({} if refits is None else {"without": refits.to_dict("index")})


def _agreement(explanation):
    departure = explanation.effects["expected"] - explanation.effects["mean"]
    measured = explanation.truth - explanation.effects["mean"]
    length = np.linalg.norm(departure) * np.linalg.norm(measured)
    cosine = departure @ measured / max(length, 1e-12)
    return f"cosine of expected and measured effects, both less the mean: {cosine:.2f}"
