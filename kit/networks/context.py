"""What a network is given: context perturbations with their effects, and prior knowledge, as tensors.

A network that trains on a screen must not see through prior knowledge what that screen measured: there,
knowledge is the pathways and the other screens. In the competition it is the pathways and all screens. A
perturbation without a response in another screen is *hidden*: its similarity to others and its expected
response are those of its pathway neighbours.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from ..competition import CONTROL
from ..knowledge import Knowledge
from .screen_data import LEVELS, ScreenData, to_tensor
from .training import device

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
    was made for, by default all. `screen` is the whole ScreenData, `prior` the prior knowledge that holds
    nothing of it. Everything else is a float32 tensor on `device`, computed when first used.

    hide: share of the perturbations that is treated as if no other screen held them.
    """

    def __init__(
        self,
        priors: "Priors",
        perturbations: Sequence[str],
        screen: ScreenData,
        genes: Sequence[int] | None = None,
        hide: float = 0.0,
    ):
        genes = np.arange(len(priors.genes)) if genes is None else genes
        self.perturbations, self.screen = list(perturbations), screen
        self.device, self.genes = device(), torch.as_tensor(genes, device=device())
        self._seen = screen.subset(screen.spread(MOST), marginals=True).columns(genes)
        self.context = self._seen.perturbations
        self._priors, self._hide = priors, hide

    @cached_property
    def effects(self) -> torch.Tensor:
        """Effect ranks in each gene's own distribution, centred, 0 if not measured: (context, genes)."""
        return self.values(channels()[:, :1])[..., 0]

    @cached_property
    def measured(self) -> torch.Tensor:
        """1 where the effect was measured, else 0: (context, genes)."""
        return self._seen.measured.float()

    @cached_property
    def kernels(self) -> torch.Tensor:
        """Similarity by each kernel of prior knowledge: (perturbations, context, kernels)."""
        return self.prior.kernels[self._rows][:, self._columns]

    @cached_property
    def context_kernels(self) -> torch.Tensor:
        """Similarity among the context perturbations: (context, context, kernels)."""
        return self.prior.kernels[self._columns][:, self._columns]

    @cached_property
    def other(self) -> torch.Tensor:
        """1 where the two are different genes, else 0: (perturbations, context).

        A perturbation must not be predicted from its own row: multiply weights by this.
        """
        return self.prior.other[self._rows][:, self._columns]

    @cached_property
    def hidden(self) -> torch.Tensor:
        """1 for perturbations without a response in another screen: (perturbations,).

        In training also for a random share, so that the network learns to predict these.
        """
        hidden = self.prior.uncovered[self._rows]
        if self._hide:
            drawn = torch.rand(len(hidden)) < self._hide  # on the CPU: the same on every device
            hidden = torch.maximum(hidden, drawn.to(hidden))
        return hidden

    @cached_property
    def response(self) -> torch.Tensor:
        """Response expected from other screens, in standard deviations: (perturbations, genes)."""
        own = self.prior.response[self._rows][:, self.genes]
        return torch.where(self.hidden[:, None] > 0, self.neighbour_response, own)

    @cached_property
    def neighbour_response(self) -> torch.Tensor:
        """Response of the pathway neighbours in other screens: (perturbations, genes)."""
        return self.prior.neighbour_response[self._rows][:, self.genes]

    @cached_property
    def context_response(self) -> torch.Tensor:
        """`response` of the context perturbations: (context, genes)."""
        return self.prior.response[self._columns][:, self.genes]

    @cached_property
    def on_target(self) -> torch.Tensor:
        """1 where the gene is the perturbed one: (perturbations, genes)."""
        return self.prior.on_target[self._rows][:, self.genes]

    @cached_property
    def pathway_similarity(self) -> torch.Tensor:
        """Pathway kernel between perturbation and gene: (perturbations, genes)."""
        return self.prior.pathway_similarity[self._rows][:, self.genes]

    @cached_property
    def spread(self) -> torch.Tensor:
        """Log spread of each gene's effects in the screen, standardised over genes: (genes,)."""
        thresholds = self._seen.thresholds
        spread = torch.log(thresholds[-2] - thresholds[1] + 1e-3)
        return (spread - spread.mean()) / (spread.std(correction=0) + 1e-3)

    def values(self, channels: torch.Tensor) -> torch.Tensor:
        """Effects by the thresholds that they exceed, less the gene's mean: (context, genes, channels).

        channels: (levels, channels), the weight of each threshold. 0 where not measured.
        """
        values, counted = self._seen.beyond() @ channels, self.measured[..., None]
        mean = (values * counted).sum(dim=0) / (counted.sum(dim=0) + 1e-6)
        return (values - mean) * counted

    @cached_property
    def prior(self) -> "Prior":
        return self._priors.of(self.screen.name, [*self.perturbations, *self.context])

    @cached_property
    def _rows(self):
        return self.prior.places(self.perturbations)

    @cached_property
    def _columns(self):
        return self.prior.places(self.context)


class Priors:
    """The Prior of any screen, made when first used, and kept.

    knowledge: all prior knowledge; genes: of the screens, in their order. `kernels` are the names of the
    kernels, the same for all screens: one that a screen lacks is 0 there.
    """

    def __init__(self, knowledge: Knowledge, genes: pd.Index):
        self.knowledge, self.genes = knowledge, genes
        self._expected, self._kept = [], {}
        probe = list(genes[:1])
        found = knowledge.kernels(probe) | knowledge.kernels(probe, exclude_own_response=True)
        responses = [name for name in OWN + NEIGHBOURS if name in found]
        self.kernels = [name for name in found if name not in responses] + responses
        self.kernels = self.kernels or ["all_sets"]  # nothing is known: all zero
        self.symbols = np.array(knowledge.symbols(list(genes)), dtype=object)

    def __deepcopy__(self, memo):
        return self

    def expect(self, perturbations: Sequence[str]):
        """Make one Prior for these perturbations of the competition, which will be predicted often."""
        if not set(perturbations) <= set(self._expected):
            self._expected = sorted({*self._expected, *perturbations})
            self._kept.pop("competition", None)

    def of(self, screen: str, perturbations: Sequence[str]) -> "Prior":
        """Return the Prior of a screen that holds at least these perturbations."""
        if screen not in self._kept:
            self._kept[screen] = self._of_screen(screen)
        knowledge, whole = self._kept[screen]
        if whole is not None and whole.place.keys() >= set(perturbations):
            return whole
        return Prior(self, knowledge, perturbations)

    def _of_screen(self, screen):
        """Knowledge without a screen, and the Prior of all its perturbations, None if they are many."""
        knowledge, names = self.knowledge, self._expected
        if screen != "competition":
            obs = knowledge.atlas.obs
            symbols = obs["sgrna_symbol"][(obs["dataset"] == screen).to_numpy()].astype(str)
            names = knowledge.symbols([name for name in symbols if name != CONTROL])
            knowledge = knowledge.without_screen(screen)
        return knowledge, Prior(self, knowledge, names) if len(names) <= HELD else None


class Prior:
    """What some knowledge holds of some perturbations, as float32 tensors."""

    def __init__(self, priors: Priors, knowledge: Knowledge, perturbations: Iterable[str]):
        names, genes = list(dict.fromkeys(perturbations)), priors.genes
        self.knowledge, self.place = knowledge, {name: row for row, name in enumerate(names)}
        symbols = np.array(knowledge.symbols(names), dtype=object)
        found = knowledge.kernels(names, exclude_own_response=True) | knowledge.kernels(names)
        nothing = np.zeros((len(names), len(names)))
        kernels = [to_tensor(found.get(name, nothing)) for name in priors.kernels]
        self.kernels = torch.stack(kernels, dim=2)
        self.uncovered = to_tensor(~knowledge.has_response(names))
        self.other = to_tensor(np.not_equal.outer(symbols, symbols).astype(bool))
        self.on_target = to_tensor(np.equal.outer(symbols, priors.symbols).astype(bool))
        self.pathway_similarity = to_tensor(knowledge.pathway_kernel(names, list(genes)))
        self.response, self.neighbour_response = (
            self._response(names, genes, exclude_own_response=flag) for flag in (False, True)
        )

    def places(self, perturbations: Sequence[str]) -> torch.Tensor:
        """Row of each perturbation: (perturbations,), long."""
        places = [self.place[name] for name in perturbations]
        return torch.tensor(places, dtype=torch.long, device=device())

    def _response(self, names, genes, **options):
        if self.knowledge.responses_ is None:
            return to_tensor(np.zeros((len(names), len(genes))))
        return standard_response(self.knowledge.response(names, **options), self.knowledge, genes)


def standard_response(found: pd.DataFrame, knowledge: Knowledge, genes: pd.Index) -> torch.Tensor:
    """Return responses in standard deviations of the gene, 0 where unknown: (rows, genes)."""
    spread = np.sqrt((knowledge.responses_**2).mean()) + 1e-9
    found = (found / spread).reindex(columns=genes).fillna(0.0)
    return to_tensor(found.clip(-LARGEST, LARGEST))


def channels() -> torch.Tensor:
    """Weight of each threshold in an effect's channels (overall, far up, far down): (levels, 3)."""
    levels = to_tensor(LEVELS)
    found = [torch.ones_like(levels), (levels > 0.75).float(), (levels < 0.25).float()]
    found = torch.stack(found, dim=1)
    return 2 * found / found.sum(dim=0)
