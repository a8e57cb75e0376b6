"""What a network is given: context perturbations with their effects, and prior knowledge, as tensors.

A network that trains on a screen must not see through prior knowledge what that screen measured: there,
knowledge is the pathways and the other screens. In the competition it is the pathways and all screens. A
perturbation without a response in another screen is *hidden*: its similarity to others and its expected
response are those of its pathway neighbours.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from ..competition import CONTROL
from ..knowledge import Knowledge
from .screen_data import LEVELS, ScreenData

MOST = 256  # context perturbations of a screen
OWN = (  # need the own response
    "response_cosine",
    "response_components",
    "smoothed_response",
    "smoothed_response and all_sets",
    "response_components and all_sets",
)
NEIGHBOURS = ("neighbour_response", "neighbour_to_response", "neighbour_response and all_sets")
HELD = 3000  # perturbations of a screen up to which all kernels are kept: 36 MB a kernel
LARGEST = 5.0  # response in standard deviations; a few are far larger


class Context:
    """What a network is given to predict some perturbations of one screen.

    `perturbations` are the names to predict, `context` those of the context perturbations: up to 256 rows
    of the screen, whose effects are known. `genes` are places (genes,) among the genes that the network
    was made for. `screen` is the whole ScreenData, `knowledge` the prior knowledge that holds nothing of
    it. Everything else is a float32 tensor on the screen's device, computed when first used.
    """

    def __init__(
        self,
        contexts: "Contexts",
        perturbations: Sequence[str],
        screen: ScreenData,
        genes: np.ndarray,
        hide: float = 0.0,
    ):
        self.perturbations, self.screen = list(perturbations), screen
        self.device = screen.effects.device
        self.genes = torch.as_tensor(genes, device=self.device)
        self._places = screen.spread(MOST)
        self.context = [screen.perturbations[place] for place in self._places]
        self._contexts, self._hide = contexts, hide

    @cached_property
    def effects(self) -> torch.Tensor:
        """Effect ranks in each gene's own distribution, centred, 0 if not measured: (context, genes)."""
        return self.values(channels(self.device)[:, :1])[..., 0]

    @cached_property
    def measured(self) -> torch.Tensor:
        """1 where the effect was measured, else 0: (context, genes)."""
        return (self.screen.weights[self._places][:, self.genes] > 0).float()

    @cached_property
    def kernels(self) -> torch.Tensor:
        """Similarity by each kernel of prior knowledge: (perturbations, context, kernels)."""
        return self._to(self.prior.kernels[self._rows][:, self._columns])

    @cached_property
    def context_kernels(self) -> torch.Tensor:
        """Similarity among the context perturbations: (context, context, kernels)."""
        return self._to(self.prior.kernels[self._columns][:, self._columns])

    @cached_property
    def other(self) -> torch.Tensor:
        """1 where the two are different genes, else 0: (perturbations, context).

        A perturbation must not be predicted from its own row: multiply weights by this.
        """
        return self._to(self.prior.other[self._rows][:, self._columns])

    @cached_property
    def hidden(self) -> torch.Tensor:
        """1 for perturbations without a response in another screen: (perturbations,).

        In training also for a random share, so that the network learns to predict these.
        """
        hidden = ~self.prior.covered[self._rows]
        if self._hide:
            hidden = hidden | (torch.rand(len(hidden)) < self._hide)
        return self._to(hidden)

    @cached_property
    def response(self) -> torch.Tensor:
        """Response expected from other screens, in standard deviations: (perturbations, genes)."""
        own = self._of_genes(self.prior.response, self._rows)
        return torch.where(self.hidden[:, None] > 0, self.neighbour_response, own)

    @cached_property
    def neighbour_response(self) -> torch.Tensor:
        """Response of the pathway neighbours in other screens: (perturbations, genes)."""
        return self._of_genes(self.prior.neighbour_response, self._rows)

    @cached_property
    def context_response(self) -> torch.Tensor:
        """`response` of the context perturbations: (context, genes)."""
        return self._of_genes(self.prior.response, self._columns)

    @cached_property
    def on_target(self) -> torch.Tensor:
        """1 where the gene is the perturbed one: (perturbations, genes)."""
        return self._of_genes(self.prior.on_target, self._rows)

    @cached_property
    def pathway_similarity(self) -> torch.Tensor:
        """Pathway kernel between perturbation and gene: (perturbations, genes)."""
        return self._of_genes(self.prior.pathway_similarity, self._rows)

    @cached_property
    def spread(self) -> torch.Tensor:
        """Log spread of each gene's effects in the screen, standardised over genes: (genes,)."""
        thresholds = self.screen.thresholds
        spread = torch.log(thresholds[-2, self.genes] - thresholds[1, self.genes] + 1e-3)
        return (spread - spread.mean()) / (spread.std(correction=0) + 1e-3)

    def values(self, channels: torch.Tensor) -> torch.Tensor:
        """Effects by the thresholds that they exceed, less the gene's mean: (context, genes, channels).

        channels: (levels, channels), the weight of each threshold. 0 where not measured.
        """
        effects = self.screen.effects[self._places][:, self.genes]
        thresholds = self.screen.thresholds[:, self.genes]
        values = (effects[:, :, None] > thresholds.T[None]).float() @ channels
        counted = self.measured[..., None]
        mean = (values * counted).sum(dim=0) / (counted.sum(dim=0) + 1e-6)
        return (values - mean) * counted

    @property
    def knowledge(self) -> Knowledge:
        return self.prior.knowledge

    @cached_property
    def prior(self) -> "Prior":
        names = [*self.perturbations, *self.context]
        return self._contexts.prior(self.screen.name, names)

    @cached_property
    def _rows(self):
        return self.prior.places(self.perturbations)

    @cached_property
    def _columns(self):
        return self.prior.places(self.context)

    def _of_genes(self, table, places):
        return self._to(table[places][:, self.genes.cpu()])

    def _to(self, tensor):
        return tensor.to(self.device, torch.float32)


class Contexts:
    """Makes a Context for any screen; the prior knowledge of each is made when first used, and kept.

    knowledge: all prior knowledge; genes: of the screens, in their order. `kernels` are the names of the
    kernels, the same for all screens: one that a screen lacks is 0 there.
    """

    def __init__(self, knowledge: Knowledge, genes: pd.Index):
        self.knowledge, self.genes = knowledge, genes
        self._expected, self._sources, self._kept = [], {}, {}
        probe = list(genes[:1])
        found = knowledge.kernels(probe) | knowledge.kernels(probe, exclude_own_response=True)
        self.kernels = [name for name in found if name not in OWN + NEIGHBOURS]
        self.kernels += [name for name in OWN + NEIGHBOURS if name in found]
        self.kernels = self.kernels or ["all_sets"]  # nothing is known: all zero
        self.symbols = np.array(knowledge.symbols(list(genes)), dtype=object)

    def __deepcopy__(self, memo):
        return self

    def __call__(
        self,
        perturbations: Sequence[str],
        screen: ScreenData,
        genes: np.ndarray | None = None,
        *,
        hide: float = 0.0,
    ) -> Context:
        """The Context of some perturbations in a screen, at places of genes, by default all.

        hide: share of the perturbations that is treated as if no other screen held them.
        """
        genes = np.arange(len(self.genes)) if genes is None else genes
        return Context(self, perturbations, screen, genes, hide)

    def expect(self, perturbations: Sequence[str]):
        """Make one Prior for these perturbations of the competition, which will be predicted often."""
        if new := set(perturbations) - set(self._expected):
            self._expected += sorted(new)
            self._sources.pop("competition", None)
            self._kept.pop("competition", None)

    def prior(self, screen: str, perturbations: Sequence[str]) -> "Prior":
        """The Prior of a screen that holds at least these perturbations."""
        if screen not in self._sources:
            self._sources[screen] = self._without(screen), self._all_of(screen)
        knowledge, all_of = self._sources[screen]
        if screen not in self._kept and len(all_of) <= HELD:
            self._kept[screen] = Prior(self, knowledge, all_of)
        held = self._kept.get(screen)
        if held is not None and held.index.issuperset(perturbations):
            return held
        return Prior(self, knowledge, list(dict.fromkeys(perturbations)))

    def _without(self, screen):
        """Knowledge without one screen."""
        return self.knowledge if screen == "competition" else self.knowledge.without_screen(screen)

    def _all_of(self, screen):
        """All perturbations of a screen; of the competition those that are expected."""
        if screen == "competition":
            return self._expected
        obs = self.knowledge.atlas.obs
        symbols = obs["sgrna_symbol"][(obs["dataset"] == screen).to_numpy()].astype(str)
        names = self.knowledge.symbols([name for name in symbols if name != CONTROL])
        return list(dict.fromkeys(names))


class Prior:
    """What some knowledge holds of some perturbations, as tensors on the CPU."""

    def __init__(self, contexts: Contexts, knowledge: Knowledge, perturbations: list[str]):
        self.knowledge, self.genes = knowledge, contexts.genes
        self._place = {name: place for place, name in enumerate(perturbations)}
        self.index = set(perturbations)
        names, count = perturbations, len(perturbations)
        symbols = np.array(knowledge.symbols(names), dtype=object)
        self.kernels = torch.zeros(count, count, len(contexts.kernels))
        found = knowledge.kernels(names, exclude_own_response=True) | knowledge.kernels(names)
        for place, name in enumerate(contexts.kernels):
            if name in found:
                self.kernels[:, :, place] = _tensor(found[name])
        self.covered = torch.tensor(knowledge.has_response(names).to_numpy(dtype=bool))
        self.other = torch.from_numpy(np.not_equal.outer(symbols, symbols).astype(bool))
        on_target = np.equal.outer(symbols, contexts.symbols).astype(bool)
        self.on_target = torch.from_numpy(on_target)
        self.pathway_similarity = torch.zeros(count, len(self.genes))
        if knowledge.pathways is not None:
            self.pathway_similarity = _tensor(knowledge.pathway_kernel(names, list(self.genes)))
        self.response, self.neighbour_response = (
            self._response(names, exclude_own_response) for exclude_own_response in (False, True)
        )

    def places(self, perturbations: Sequence[str]) -> torch.Tensor:
        """Row of each perturbation: (perturbations,), long."""
        return torch.tensor([self._place[name] for name in perturbations], dtype=torch.long)

    def _response(self, names, exclude_own_response):
        """Response expected from other screens, in standard deviations: (perturbations, genes)."""
        if self.knowledge.responses_ is None:
            return torch.zeros(len(names), len(self.genes))
        found = self.knowledge.response(names, exclude_own_response=exclude_own_response)
        return standard_response(found, self.knowledge, self.genes)


def standard_response(found: pd.DataFrame, knowledge: Knowledge, genes: pd.Index) -> torch.Tensor:
    """Return responses in standard deviations of the gene, 0 where unknown: (rows, genes)."""
    spread = np.sqrt((knowledge.responses_**2).mean()) + 1e-9
    found = (found / spread).reindex(columns=genes).fillna(0.0)
    return _tensor(found.clip(-LARGEST, LARGEST))


def channels(device: torch.device | str = "cpu") -> torch.Tensor:
    """Weight of each threshold in an effect's channels (overall, far up, far down): (levels, 3)."""
    levels = torch.as_tensor(LEVELS, dtype=torch.float32)
    found = [torch.ones_like(levels), (levels > 0.75).float(), (levels < 0.25).float()]
    found = torch.stack(found, dim=1)
    return (2 * found / found.sum(dim=0)).to(device)


def _tensor(frame):
    return torch.as_tensor(frame.to_numpy(), dtype=torch.float32)
