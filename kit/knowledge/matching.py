"""What a file of prior knowledge knows of a competition, and whether it may hold what is predicted."""

import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..competition import Competition
from ..io.files import InputError, quote_some
from ..screens.gene_names import GeneNames

FEW = 0.01  # a smaller share of the competition's or of the file's genes is there by chance
MOSTLY = 0.3  # of a table's columns: with weights beside them, genes are less than half
COPIED = 0.95  # correlation between a copy of an effect, rounded or in other units, and the effect
COLUMNS = 10  # fewer numbers by gene are no embedding: gene lengths would have a vote on every pair
NAME_IT = "name it to use it all the same"

HGNC = "map them with HGNC's table, columns `symbol` and"
IDS = {
    r"(\d+\.)?ENS[A-Z]*P\d+.*": "map them with STRING's file protein.info, which names symbols",
    r"ENS[A-Z]*G\d+.*": f"{HGNC} `ensembl_gene_id`",
    r"\d+": f"{HGNC} `entrez_id`",
    r"[OPQ]\d[A-Z\d]{3}\d|[A-NR-Z]\d([A-Z][A-Z\d]{2}\d){1,2}": f"{HGNC} `uniprot_ids`",
}


def known_part(
    frame: pd.DataFrame,
    row: Mapping,
    sides: Sequence[np.ndarray],
    competition: Competition | None,
    names: GeneNames,
    *,
    must: bool,
) -> str:
    """Return how much of the competition a file knows, as text; InputError where that is nothing.

    frame: its content under current symbols; row: its `kind` and `file`; sides: the values of the first
    two columns of sets and edges, as they stand in the file. must: whether the user named it; otherwise
    next to nothing is nothing, and it may not hold effects.
    """
    if competition is None:
        return ""
    path, genes = row["file"], pd.Index(genes_of(frame, row["kind"]))
    kinds = {
        kind: pd.Index(names.current(own)) for kind, own in labels_by_kind(competition).items()
    }
    every = pd.Index(np.concatenate([*kinds.values()])).unique()
    known, least = every.isin(genes).sum(), FEW * min(len(every), len(genes))
    if known == 0 or (not must and known < least):
        raise InputError(
            f"{path} knows {known} of the {len(every):,} genes and perturbations of the competition; "
            f"got {quote_some(genes, 3)}, want symbols such as {quote_some(every, 3)}{_advice(genes)}"
        )
    if row["kind"] == "table":
        fault = _effects_in(frame, competition, names)
        if not must and not fault and frame.shape[1] < COLUMNS:
            raise InputError(f"{path} has only {frame.shape[1]} numbers by gene: {NAME_IT}")
    else:
        fault = _effects_by_row(sides, competition, names)
    if fault and not must:
        raise InputError(f"{path} {fault}: {NAME_IT}")
    if fault:
        warnings.warn(f"{path} {fault}: scores on those rows mean nothing", stacklevel=6)
    return known_of_each({kind: own.isin(genes) for kind, own in kinds.items()})


def genes_of(frame: pd.DataFrame, kind: str) -> Sequence[str]:
    """Return the genes of sets, edges or a table."""
    columns = {"sets": ["gene"], "edges": ["one", "other"]}.get(kind)
    return frame.index if columns is None else pd.unique(frame[columns].to_numpy().ravel())


def labels_by_kind(competition: Competition) -> dict[str, Sequence[str]]:
    """Return genes, training perturbations and targets under the names that lines give them."""
    targets = competition.targets["perturbation"]
    training = competition.effects.index
    return {"genes": competition.genes, "training perturbations": training, "targets": targets}


def known_of_each(counts: Mapping[str, np.ndarray]) -> str:
    """Return how many of each kind are known: `knows 480 of 532 genes, 44 of 60 targets`."""
    return "knows " + ", ".join(f"{own.sum()} of {len(own)} {kind}" for kind, own in counts.items())


def _advice(genes):
    """What makes symbols of ids such as these genes, to end a message."""
    genes = pd.Index(genes).astype(str)
    fits = (text for form, text in IDS.items() if genes.str.fullmatch(form).mean() > 0.5)
    return "".join(f"; {text}" for text in list(fits)[:1])


def _effects_in(table, competition, names):
    """Why a gene x number table may hold what is to be predicted, or None."""
    genes, ids = competition.genes, competition.submission_ids
    labels = [*genes, *competition.splits.index, *ids]
    labels = {*labels, *names.current(labels)}
    parts = [{column, *re.split(r"[_\W]+", column)} for column in table.columns.astype(str)]
    if np.mean([bool(labels & own) for own in parts]) > MOSTLY:
        return "has the competition's genes or perturbations as columns, as a prediction has"
    lengths = {"genes": len(genes), "targets": len(ids)}
    for what, length in lengths.items() if isinstance(table.columns, pd.RangeIndex) else ():
        if table.shape[1] == length:
            return f"has as many columns without names as there are {what}, as a prediction has"
    known = [competition.effects]
    if competition.solution is not None:
        known.append(competition.solution[genes])
    effects = pd.concat(known).to_numpy()
    control = competition.control[genes].to_numpy()
    by_gene = table.reindex(names.current(genes)).to_numpy().T
    shared = ~np.isnan(by_gene).any(axis=0)
    pairs = [(by_gene, shared)] if shared.mean() > 0.5 else []
    if table.shape[1] == len(genes):
        pairs.append((table.to_numpy(), np.full(len(genes), True)))
    for values, used in pairs:
        one, other = (_beside(rows[:, used], control[used]) for rows in (values, effects))
        if (np.abs(one @ other.T) > COPIED).any():
            return "holds effects of the competition"
    return None


def _beside(rows, control):
    """Unit vectors of what a straight line in the control's expression leaves of rows, or zeros.

    So effects and mean expression agree, in any unit.
    """
    line = np.column_stack([np.ones_like(control), control])
    left = rows - rows @ np.linalg.pinv(line).T @ line.T
    length = np.linalg.norm(left, axis=1, keepdims=True)
    return left / np.where(length > 1e-9, length, np.inf)


def _effects_by_row(sides, competition, names):
    """Why edges or sets may be effects in rows (perturbation, gene, value), or None."""
    perturbed = [*competition.splits.index, *competition.submission_ids]
    perturbed = {*perturbed, *names.current(perturbed)}
    genes = {*competition.genes, *names.current(competition.genes)}

    def share(side, labels):
        return np.mean([name in labels for name in side])

    for one, other in (sides, sides[::-1]):
        joined = share(one, perturbed) > 0.5 and share(other, genes) > 0.5
        if joined and share(other, perturbed) < 0.5 and len(one) > 2:
            return "joins the competition's perturbations to its genes, as a list of effects does"
    return None
