"""An Explanation as text for a terminal and as JSON."""

from textwrap import shorten

import numpy as np

from ..io.files import printable

SHOWN = 10  # training knockdowns, and genes
REASON = 70  # letters of the pathways that two knockdowns share


def as_text(explanation, ablation=None):
    """Lines for a terminal: who spoke, what made them alike, the genes that move most and why."""
    name, rows = explanation.perturbation, len(explanation.train.effects)
    known = (
        f"known by {', '.join(explanation.known)}"
        if explanation.known
        else "nothing is known of it"
    )
    lines = [f"{name}: {known}"]
    share, points = explanation.recipe
    lines.append(
        f"the default blend on {rows} training knockdowns: whole rows {share * (1 - points):.2f}, genes "
        f"told apart {(1 - share) * (1 - points):.2f}"
    )
    if explanation.constant:
        return "\n".join(
            [*lines, "so the prediction is the constant, the same for all such knockdowns"]
        )
    if explanation.truth is not None:
        lines.append(f"measured, but not seen by this fit; {_agreement(explanation)}")
    lines += ["", "who spoke: chance, times an even one, share of what is expected beyond the mean"]
    for row, (chance, times, part) in explanation.speakers().head(SHOWN).iterrows():
        why = ", ".join(explanation.shared[row].index) if row in explanation.shared else ""
        why = printable(shorten(why, REASON, placeholder=" ..."))
        lines.append(f"  {row:12} {chance:6.1%} {times:6.1f}x {part:7.1%}  {why}".rstrip())
    lines += ["", "what made them alike: share of the chance"]
    lines += [f"  {part:6.1%} {kind}" for kind, part in explanation.kinds().items()]
    lines += ["", "genes farthest from the mean training effect, log2, and the main reason"]
    lines.append(_gene_table(explanation.genes().head(SHOWN)))
    if ablation is not None:
        lines += ["", "refitted: how far what is expected moves, of its distance from the mean"]
        for label, (change, speaker) in ablation.iterrows():
            then = "nothing is known" if speaker == "none" else f"{speaker} speaks loudest"
            lines.append(f"  {change:6.1%} {label}; then {then}")
    return "\n".join(lines)


def gene_as_text(explanation, gene):
    """Lines for a terminal on one gene: which training knockdowns pull it, and the odds by evidence."""
    table, row = explanation.gene(gene), explanation.effects.loc[gene]
    lines = [
        f"{gene} under the knockdown of {explanation.perturbation}, log2: predicted "
        f"{row['predicted']:.3f}, expected {row['expected']:.3f} = mean {row['mean']:.3f} and:"
    ]
    for name, (effect, pull) in table.head(SHOWN).iterrows():
        lines.append(f"  {name:12} {pull:+.3f} (effect {effect:+.3f})")
    rest = table["pull"].iloc[SHOWN:]
    if len(rest):
        lines.append(f"  {len(rest)} others   {rest.sum():+.3f}")
    side = "above its upper" if row["expected"] >= row["mean"] else "below its lower"
    odds = explanation.odds.loc[gene]
    factors = " ".join(f"x {np.exp(added):.2f} ({kind})" for kind, added in odds.iloc[1:].items())
    lines.append(
        f"odds of an effect {side} fifth, genes told apart: usual {np.exp(odds.iloc[0]):.2f} {factors} "
        f"= {np.exp(odds.sum()):.2f}"
    )
    return "\n".join(lines)


def as_record(explanation, ablation=None, genes=()):
    """What JSON can hold: names, numbers, lists of records; the genes asked for, or those that move."""
    table = explanation.genes()
    table = table.loc[list(genes)] if genes else table.head(SHOWN)
    speakers = explanation.speakers().head(SHOWN)
    shared = {name: list(sizes.index) for name, sizes in explanation.shared.items()}
    record = {
        "perturbation": explanation.perturbation,
        "known": explanation.known,
        "constant": explanation.constant,
        "training_rows": len(explanation.train.effects),
        "speakers": [
            {"perturbation": name, **row, "shared": shared.get(name, [])}
            for name, row in speakers.to_dict("index").items()
        ],
        "evidence": explanation.kinds().to_dict(),
        "genes": [
            {
                "gene": name,
                **row,
                "log_odds": explanation.odds.loc[name].to_dict(),
                "pulls": explanation.gene(name)["pull"].head(SHOWN).to_dict(),
            }
            for name, row in table.to_dict("index").items()
        ],
    }
    if ablation is not None:
        record["without"] = ablation.to_dict("index")
    return record


def _agreement(explanation):
    departure = explanation.effects["expected"] - explanation.effects["mean"]
    measured = explanation.truth - explanation.effects["mean"]
    length = np.sqrt((departure**2).sum() * (measured**2).sum())
    cosine = float(departure @ measured / max(length, 1e-12))
    return f"cosine of what is expected with the truth, both less the mean: {cosine:.2f}"


def _gene_table(table):
    numbers = dict.fromkeys(("predicted", "expected", "mean"), "{:.3f}".format)
    numbers |= {"pull": "{:+.3f}".format, "factor": "x {:.2f}".format}
    return table.rename_axis(None).to_string(formatters=numbers)
