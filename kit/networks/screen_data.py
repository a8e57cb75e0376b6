"""One screen's rows as a network sees them: effects with a mask, weights, and bins of each gene.

Screens differ in cells, depth and strength, so a network predicts in each gene's own terms: where among
that gene's effects in the same screen does this one lie? `thresholds` part a gene's effects at quantiles;
`odds` are the log odds to exceed each in any row of the screen: the prediction for a perturbation of
which nothing is known. Genes are in order of name, whatever the order of a file. What was not measured
has weight 0 everywhere: in losses, in quantiles, in means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..competition import CONTROL, Competition
from ..expression import t_of_effects
from ..knowledge import Knowledge
from ..metric import weights_from_t
from ..models.baselines import Constant
from .stack import device

LEVELS = np.array([0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
PRIOR = 2.0  # rows' worth of prior that the share beyond a threshold is the level's
LEAST = 4  # measured effects of a gene below which it has no quantiles of its own: weight 0
LEAST_ROWS = 20  # perturbations of a screen below which nothing is learned from it
BY_ROW = ("effects", "weights", "row_weights", "draws", "error")
MARGINALS = ("thresholds", "odds", "values")


class Rows(NamedTuple):
    """Some rows of a screen at some genes, float32 tensors: what losses are computed from.

    effects, weights: (rows, genes); row_weights: (rows,); thresholds, odds: (levels, genes); values:
    (levels + 1, genes). As in ScreenData.
    """

    effects: Tensor
    weights: Tensor
    row_weights: Tensor
    thresholds: Tensor
    odds: Tensor
    values: Tensor

    @property
    def measured(self) -> Tensor:
        """Whether each effect was measured: (rows, genes), bool."""
        return self.weights > 0

    def beyond(self) -> Tensor:
        """Return 1 where effects exceed a threshold, else 0: (rows, genes, levels)."""
        return (self.effects[:, :, None] > self.thresholds.T[None]).float()

    def at(self, genes: Tensor) -> "Rows":
        """Return only these places of genes."""
        by_gene = (part[:, genes] for part in (self.effects, self.weights, *self[3:]))
        effects, weights, *marginals = by_gene
        return Rows(effects, weights, self.row_weights, *marginals)


@dataclass(eq=False)
class ScreenData:
    """Rows of one screen, genes sorted by name; arrays are float32 tensors.

    perturbations: names, one a row; effects: (rows, genes), log2, 0 where not measured; weights: the
    metric's, (rows, genes), mean 1 over a row's measured genes and 0 elsewhere; row_weights: (rows,),
    mean 1; draws: (rows, draws, genes), effects of the same rows in resampled cells, or None; error:
    standard errors to draw effects by where there are no cells, or None. Learned from the rows:
    thresholds and odds, (levels, genes); values, (levels + 1, genes), mean effect of each bin.
    """

    name: str
    perturbations: list[str]
    genes: pd.Index
    effects: Tensor
    weights: Tensor
    row_weights: Tensor
    draws: Tensor | None = None
    error: Tensor | None = None
    thresholds: Tensor = None
    odds: Tensor = None
    values: Tensor = None

    def __post_init__(self):
        if self.thresholds is None:
            found = _marginals(self.effects.cpu().numpy(), self.measured.cpu().numpy())
            self.thresholds, self.odds, self.values = map(to_tensor, found)

    def __len__(self):
        return len(self.perturbations)

    @property
    def measured(self) -> Tensor:
        """Whether each effect was measured: (rows, genes), bool."""
        return self.weights > 0

    @property
    def rows(self) -> Rows:
        """What losses are computed from."""
        return Rows(*(getattr(self, name) for name in Rows._fields))

    def spread(self, most: int) -> np.ndarray:
        """Return places of at most so many rows, evenly spread, ascending."""
        count = min(len(self), most)
        return np.unique(np.linspace(0, max(len(self) - 1, 0), count).round().astype(int))

    def subset(self, places: Sequence[int], *, marginals: bool = False) -> "ScreenData":
        """Return only these rows; with `marginals` thresholds, odds and values stay those of all rows."""
        kept = {name: getattr(self, name) if marginals else None for name in MARGINALS}
        for name in BY_ROW:
            part = getattr(self, name)
            kept[name] = None if part is None else part[places]
        return replace(self, perturbations=[self.perturbations[place] for place in places], **kept)

    def split(self, left: Sequence[int]) -> tuple["ScreenData", "ScreenData | None"]:
        """Return the rows to learn from, and those left out with the marginals of the others.

        left: their places; None for no rows.
        """
        seen = self.subset(np.setdiff1d(np.arange(len(self)), left))
        marginals = {name: getattr(seen, name) for name in MARGINALS}
        rest = replace(self.subset(left, marginals=True), **marginals)
        return seen, rest if len(rest) else None


def competition_data(train: Competition, draws: np.ndarray | None = None) -> ScreenData:
    """Return the rows of a Competition; draws: as `bootstrap_effects` returns them, or None."""
    genes = train.genes.sort_values()
    if draws is not None:
        draws = to_tensor(draws[:, :, train.genes.get_indexer(genes)]).transpose(0, 1)
    # The on-target gene's weight in WMAE is 0, but in the cosine it counts: networks learn it too.
    return ScreenData(
        name="competition",
        perturbations=list(train.effects.index),
        genes=genes,
        effects=to_tensor(train.effects[genes]),
        weights=to_tensor(train.weights[genes].clip(lower=1e-6)),
        row_weights=to_tensor(Constant().fit(train).row_weights_),
        draws=draws,
    )


def atlas_data(knowledge: Knowledge, genes: Sequence[str]) -> list[ScreenData]:
    """Return the rows of each screen of the atlas, none of the competition's own.

    genes: the competition's. Weights are those of the metric for the effects' t statistics. Screens of
    fewer than 20 perturbations are left out.
    """
    atlas, found = knowledge.atlas.other_screens(), []
    atlas = atlas.take((atlas.obs["sgrna_symbol"] != CONTROL).to_numpy())
    genes = pd.Index(genes).sort_values()
    for dataset in atlas.obs["dataset"].unique():
        screen = atlas.take((atlas.obs["dataset"] == dataset).to_numpy())
        if len(screen.effects) < LEAST_ROWS:
            continue
        # By name, as the weight of the on-target gene goes by it.
        names = pd.Index(knowledge.symbols(screen.obs["sgrna_symbol"].astype(str)))
        effects = screen.effects.reindex(columns=genes).astype(float).set_axis(names)
        se = None if screen.se is None else screen.se.reindex(columns=genes).set_axis(names)
        measured = effects.notna()
        measured &= measured.sum() >= LEAST
        count = np.maximum(measured.sum(axis=1), 1)
        weights = weights_from_t(t_of_effects(effects, se).fillna(0.0)).where(measured, 0.0)
        weights = weights.div(weights.sum(axis=1) / count, axis=0)
        weights = weights.clip(lower=1e-6).where(measured, 0.0)
        size = (weights * effects.abs()).sum(axis=1) / count
        row_weights = 1 / (size + 0.1 * size.median() + 1e-9)
        unknown = se is None or se.isna().all(axis=None)
        rows = ScreenData(
            name=str(dataset),
            perturbations=list(names),
            genes=genes,
            effects=to_tensor(effects.where(measured, 0.0)),
            weights=to_tensor(weights),
            row_weights=to_tensor(row_weights / row_weights.mean()),
            error=None if unknown else to_tensor(se.fillna(0.0)),
        )
        found.append(rows)
    return found


def _marginals(effects, measured):
    """Thresholds, log odds beyond them, and mean effect between them, of each gene's measured effects."""
    values, genes = np.where(measured, effects, np.inf), np.arange(effects.shape[1])
    count = measured.sum(axis=0)
    place = np.ceil(LEVELS[:, None] * count).astype(int) - 1  # (levels, genes)
    thresholds = np.take_along_axis(np.sort(values, axis=0), np.maximum(place, 0), axis=0)
    thresholds[:, count < LEAST] = 0.0
    place = sum((values > threshold).astype(int) for threshold in thresholds)
    place, shape = (place * len(genes) + genes)[measured], (len(LEVELS) + 1, len(genes))
    held = np.bincount(place, minlength=np.prod(shape)).reshape(shape)
    total = np.zeros(shape, dtype=np.float32)
    np.add.at(total.reshape(-1), place, effects[measured])
    beyond = held[::-1].cumsum(axis=0)[-2::-1]  # values above each threshold
    share = (beyond + PRIOR * (1 - LEVELS[:, None])) / (count + PRIOR)
    edges = np.vstack([thresholds[:1], thresholds])  # for bins that hold nothing
    means = np.divide(total, held, out=edges.astype(float), where=held > 0)
    return thresholds, np.log(share / (1 - share)), means


def to_tensor(values: np.ndarray | pd.DataFrame) -> Tensor:
    """Return numbers as a float32 tensor on the device that networks use."""
    return torch.tensor(np.asarray(values), dtype=torch.float32, device=device())


def to_frame(
    values: Tensor, perturbations: Sequence[str], columns: Sequence | None = None
) -> pd.DataFrame:
    """Return a tensor, (perturbations, columns), as a frame in main memory with labels."""
    index = pd.Index(list(perturbations), name="perturbation")
    return pd.DataFrame(values.cpu().numpy(), index, columns)
