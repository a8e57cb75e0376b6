"""Each cell line in turn predicted from the others: what transfer between screens is worth.

An atlas holds the same perturbations in other cell lines. `each_line` makes every one of them the
competition to solve while the rest remain as atlas; folds, models and scores are then the usual ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from ..competition import CONTROL, Competition
from ..expression.t_statistics import LFC, t_of_effects
from ..io.files import InputError, quote_some, repeated
from ..metric import weights_from_t, wmae

if TYPE_CHECKING:  # the room of screens imports h5py, and `import kit` is light
    from ..screens import Atlas

COMPETITION = "competition"  # the name that `merge` gives the competition's own screen


def with_competition(atlas: Atlas, competition: Competition) -> Atlas:
    """Return the atlas with the competition's training effects as one of its lines, `competition`.

    They replace the rows that the file has of the competition's own cells. Standard errors
    of the new rows are unknown (NaN).
    """
    others = atlas.other_screens()
    effects = competition.effects.reindex(columns=atlas.effects.columns)
    labels = pd.Index([f"{name}|{COMPETITION}" for name in effects.index])
    obs = pd.DataFrame({"sgrna_symbol": effects.index, "dataset": COMPETITION}, index=labels)
    obs = pd.concat([obs.astype(str), others.obs.astype({"sgrna_symbol": str, "dataset": str})])
    obs["competition"] = (obs["dataset"] == COMPETITION).to_numpy()
    effects = pd.concat([effects.set_axis(labels), others.effects])
    se = None if others.se is None else others.se.reindex(effects.index)
    return replace(atlas, effects=effects, obs=obs, se=se)


def line_out(
    atlas: Atlas,
    dataset: str,
    competition: Competition,
    *,
    control: pd.Series | None = None,
    lfc: float = LFC,
) -> tuple[Competition, Atlas]:
    """Take one line out of an atlas: (a Competition of its perturbations, the Atlas of the other lines).

    Genes are those that the line has measured in all its perturbations; the rest keeps only these.
    control: mean expression by gene, by default the competition's. Weights come from t: the effect,
    less `lfc`, over its standard error, or where the atlas has none, over the gene's spread among
    perturbations. There are no targets. The line `competition` is the competition itself, weights as
    shipped. No row of the rest is marked as the competition's.
    """
    of_line = (atlas.obs["dataset"] == dataset).to_numpy()
    if not of_line.any():
        known = quote_some(atlas.obs["dataset"].unique())
        raise InputError(f"the atlas has no dataset `{dataset}`; it has {known}")
    rest = atlas.take(~of_line)
    rest = replace(rest, obs=rest.obs.assign(competition=False))
    if (atlas.own & of_line).any():
        return competition, rest
    line = atlas.take(of_line & (atlas.obs["sgrna_symbol"] != CONTROL).to_numpy())
    symbols = pd.Index(line.obs["sgrna_symbol"].astype(str), name="perturbation")
    if again := repeated(symbols):
        raise InputError(
            f"{dataset} has perturbations twice: {quote_some(again)}; want one row each"
        )
    effects = line.effects.set_axis(symbols).astype(float).dropna(axis=1)
    if len(effects) < 2 or effects.empty:
        raise InputError(
            f"{dataset} has {len(effects)} perturbations and {effects.shape[1]} genes measured in all "
            "of them; want two and one at least"
        )
    genes = effects.columns
    se = None if line.se is None else line.se.set_axis(symbols)[genes].astype(float)
    weights = weights_from_t(t_of_effects(effects, se, lfc))
    line = replace(
        competition,
        effects=effects,
        weights=weights,
        control=(competition.control if control is None else control)[genes],
        targets=competition.targets.iloc[:0],
        baseline_wmae=wmae(effects, effects.mean(), weights).rename("baseline_wmae"),
        solution=None,
        cells=None,
        submission_ids=competition.targets.index[:0],
        submission_genes=genes,
        files=(atlas.source,),
    )
    rest = replace(
        rest, effects=rest.effects[genes], se=None if rest.se is None else rest.se[genes]
    )
    return line, rest


def each_line(
    atlas: Atlas, competition: Competition, *, at_least: int = 20, lfc: float = LFC
) -> Iterator[tuple[str, Competition, Atlas]]:
    """Yield (dataset, Competition, Atlas of the others) for every line, the competition's first.

    Lines of fewer than `at_least` perturbations are only ever among the others.
    """
    atlas = with_competition(atlas, competition)
    for dataset, rows in atlas.obs["dataset"].value_counts(sort=False).items():
        if rows >= at_least:
            yield dataset, *line_out(atlas, dataset, competition, lfc=lfc)
