"""One screen's rows as a network sees them: effects with a mask, weights, and bins of each gene.

Screens differ in cells, depth and strength, so a network predicts in each gene's own terms: where among
that gene's effects in the same screen does this one lie? `thresholds` part a gene's effects at quantiles;
`odds` are the log odds to exceed each in any row of the screen: the prediction for a perturbation of
which nothing is known. Genes are in order of name, whatever the order of a file. What was not measured
has weight 0 everywhere: in losses, in quantiles, in means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from ..competition import CONTROL, Competition
from ..expression import t_of_effects
from ..knowledge import Knowledge
from ..metric import weights_from_t
from ..models.baselines import Constant

LEVELS = np.array([0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
PRIOR = 2.0  # rows' worth of prior that the share beyond a threshold is the level's
LEAST = 4  # measured effects of a gene below which it has no quantiles of its own: weight 0
LEAST_ROWS = 20  # perturbations of a screen below which nothing is learned from it
MARGINALS = ("thresholds", "odds", "values")


@dataclass(frozen=True, eq=False)
class ScreenData:
    """Rows of one screen, genes sorted by name; arrays are torch tensors, float32.

    perturbations: names, one a row; effects: (rows, genes), log2, 0 where not measured; weights: the
    metric's, (rows, genes), mean 1 over a row's measured genes and 0 elsewhere; row_weights: (rows,),
    mean 1; draws: (draws, rows, genes), effects of the same rows in resampled cells, or None; error:
    standard errors to draw effects by where there are no cells, or None. Learned from the rows:
    thresholds and odds, (levels, genes); values, (levels + 1, genes), mean effect of each bin.
    """

    name: str
    perturbations: list
    genes: pd.Index
    effects: torch.Tensor
    weights: torch.Tensor
    row_weights: torch.Tensor
    draws: torch.Tensor | None = None
    error: torch.Tensor | None = None
    thresholds: torch.Tensor = None
    odds: torch.Tensor = None
    values: torch.Tensor = None

    def __post_init__(self):
        if self.thresholds is None:
            parts = _marginals(self.effects.numpy(), (self.weights > 0).numpy())
            for name, part in zip(MARGINALS, parts, strict=True):
                object.__setattr__(self, name, torch.as_tensor(part, dtype=torch.float32))

    def __len__(self):
        return len(self.perturbations)

    @property
    def measured(self):
        return self.weights > 0

    def spread(self, most: int) -> np.ndarray:
        """Return places of at most so many rows, evenly spread, ascending."""
        count = min(len(self), most)
        return np.unique(np.linspace(0, max(len(self) - 1, 0), count).round().astype(int))

    def subset(self, places: Sequence[int], *, marginals: bool = False) -> "ScreenData":
        """Return only these rows; with `marginals` thresholds, odds and values stay those of all rows."""
        kept = {name: getattr(self, name)[places] for name in ("effects", "weights", "row_weights")}
        if self.draws is not None:
            kept["draws"] = self.draws[:, places]
        if self.error is not None:
            kept["error"] = self.error[places]
        kept |= {name: getattr(self, name) if marginals else None for name in MARGINALS}
        return replace(self, perturbations=[self.perturbations[place] for place in places], **kept)

    def columns(self, genes: np.ndarray) -> "ScreenData":
        """Return only the marginals and names at these places of genes: what a loss over them needs."""
        names = ("effects", "weights", *MARGINALS)
        kept = {name: getattr(self, name)[:, genes] for name in names}
        return replace(self, genes=self.genes[genes], draws=None, error=None, **kept)

    def like(self, other: "ScreenData") -> "ScreenData":
        """Return these rows with the marginals of another: to check a network that was trained on it."""
        return replace(self, **{name: getattr(other, name) for name in MARGINALS})

    def to(self, device: torch.device | str) -> "ScreenData":
        """Return the same rows on a device."""
        parts = {name: part for name, part in vars(self).items() if torch.is_tensor(part)}
        return replace(self, **{name: part.to(device) for name, part in parts.items()})

    def resample(self, places: Sequence[int], random: np.random.Generator) -> torch.Tensor:
        """Return effects of some rows as another sample of cells would show them: (rows, genes)."""
        if self.draws is not None and len(self.draws):
            which = random.integers(len(self.draws), size=len(places))
            return self.draws[which, places]
        if self.error is not None:
            noise = random.standard_normal((len(places), self.error.shape[1]), dtype=np.float32)
            noise = torch.from_numpy(noise).to(self.error.device)
            return self.effects[places] + self.error[places] * noise
        return self.effects[places]

    def beyond(self, effects: torch.Tensor) -> torch.Tensor:
        """Return 1 where effects (rows, genes) exceed a threshold, else 0: (rows, genes, levels)."""
        return (effects[:, :, None] > self.thresholds.T[None]).float()


def competition_data(train: Competition, draws: np.ndarray | None = None) -> ScreenData:
    """Return the rows of a Competition; draws: as `bootstrap_effects` returns them, or None."""
    genes = train.genes.sort_values()
    order = train.genes.get_indexer(genes)
    row_weights = Constant().fit(train).row_weights_.to_numpy()
    # The on-target gene's weight in WMAE is 0, but in the cosine it counts: networks learn it too.
    return ScreenData(
        name="competition",
        perturbations=list(train.effects.index),
        genes=genes,
        effects=_tensor(train.effects[genes]),
        weights=_tensor(train.weights[genes].clip(lower=1e-6)),
        row_weights=_tensor(row_weights),
        draws=None if draws is None else torch.as_tensor(draws[:, :, order], dtype=torch.float32),
    )


def atlas_data(knowledge: Knowledge, genes: Sequence[str]) -> list[ScreenData]:
    """Return the rows of each screen of the atlas, none of the competition's own.

    genes: the competition's. Weights are those of the metric for the effects' t statistics. Screens of
    fewer than 20 perturbations are left out.
    """
    genes = pd.Index(genes).sort_values()
    atlas = knowledge.atlas.other_screens()
    symbols = atlas.obs["sgrna_symbol"].astype(str)
    perturbed = (symbols != CONTROL).to_numpy()
    found = []
    for dataset in atlas.obs["dataset"][perturbed].unique():
        mask = perturbed & (atlas.obs["dataset"] == dataset).to_numpy()
        if mask.sum() < LEAST_ROWS:
            continue
        names = pd.Index(knowledge.symbols(symbols[mask]))
        effects = atlas.effects.loc[mask].reindex(columns=genes).astype(float).set_axis(names)
        se = None if atlas.se is None else atlas.se.loc[mask].reindex(columns=genes)
        se = None if se is None or se.isna().all(axis=None) else se.set_axis(names)
        measured = effects.notna()
        measured &= measured.sum() >= LEAST
        weights = weights_from_t(t_of_effects(effects, se).fillna(0.0)).where(measured, 0.0)
        weights = weights.div(weights.sum(axis=1) / np.maximum(measured.sum(axis=1), 1), axis=0)
        weights = weights.clip(lower=1e-6).where(measured, 0.0)
        size = (weights * effects.abs()).sum(axis=1) / np.maximum(measured.sum(axis=1), 1)
        row_weights = 1 / (size + 0.1 * size.median() + 1e-9)
        found.append(
            ScreenData(
                name=str(dataset),
                perturbations=list(names),
                genes=genes,
                effects=_tensor(effects.where(measured, 0.0)),
                weights=_tensor(weights),
                row_weights=_tensor(row_weights / row_weights.mean()),
                error=_tensor(se.fillna(0.0)) if se is not None else None,
            )
        )
    return found


def _marginals(effects, measured):
    """Thresholds, log odds beyond them, and mean effect between them, of each gene's measured effects."""
    values = np.where(measured, effects, np.inf)
    ordered = np.sort(values, axis=0)
    count = measured.sum(axis=0)
    place = np.ceil(LEVELS[:, None] * count[None]).astype(int) - 1  # (levels, genes)
    place = np.clip(place, 0, np.maximum(count - 1, 0))
    thresholds = np.take_along_axis(ordered, place, axis=0)
    thresholds[:, count < LEAST] = 0.0
    beyond = (values[None] > thresholds[:, None]) & measured[None]  # (levels, rows, genes)
    share = (beyond.sum(axis=1) + PRIOR * (1 - LEVELS[:, None])) / (count + PRIOR)
    bins = beyond.sum(axis=0)
    means = np.zeros((len(LEVELS) + 1, effects.shape[1]))
    edges = np.vstack([thresholds[:1], thresholds])
    for one in range(len(means)):
        inside = (bins == one) & measured
        total = np.where(inside, effects, 0.0).sum(axis=0)
        means[one] = np.where(
            inside.any(axis=0), total / np.maximum(inside.sum(axis=0), 1), edges[one]
        )
    return thresholds, np.log(share / (1 - share)), means


def _tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)
