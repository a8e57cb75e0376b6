"""What a network is given: context perturbations with their effects, and prior knowledge, as tensors.

A network that trains on a screen must not see through prior knowledge what that screen measured: there,
knowledge is the pathways and the other screens. In the competition it is the pathways and all screens. A
perturbation without a response in another screen is *hidden*: its similarity to others and its expected
response are those of its pathway neighbours.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..competition import CONTROL
from ..knowledge import Knowledge
from .screen_data import LEVELS, Rows, ScreenData, to_tensor
from .stack import device

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
    """What a network is given to predict some perturbations of one screen, from other rows of it.

    `rows` and `columns` are the places of the perturbations to predict and of the context perturbations,
    up to 256 rows of the screen whose effects are known, among the names of `prior`: all that other
    screens and pathways hold of them. `genes` are places (genes,) among the genes that the network was
    made for. `seen` are the context's Rows. `name` is the screen's. Everything else is a float32 tensor
    on `device`, computed when first used. There are places and no names, since several networks, each
    with other rows, are trained in one computation.
    """

    def __init__(
        self,
        prior: "Prior",
        rows: Tensor,
        columns: Tensor,
        genes: Tensor,
        seen: Rows,
        name: str,
        hide: Tensor | None = None,
    ):
        self.prior, self.rows, self.columns, self.genes = prior, rows, columns, genes
        self.seen, self.name, self.device, self._hide = seen, name, device(), hide

    @classmethod
    def of(
        cls,
        priors: "Priors",
        perturbations: Sequence[str],
        screen: ScreenData,
        genes: Sequence[int] | None = None,
    ) -> Self:
        """Context of perturbations by name; genes: places, by default all."""
        seen = screen.subset(screen.spread(MOST), marginals=True)
        prior = priors.of(screen.name, [*perturbations, *seen.perturbations])
        genes = torch.as_tensor(np.arange(len(priors.genes)) if genes is None else genes)
        genes = genes.to(device())
        places = (prior.places(names) for names in (perturbations, seen.perturbations))
        return cls(prior, *places, genes, seen.rows.at(genes), screen.name)

    def asking(self, rows: Tensor) -> Self:
        """Return the same context with other perturbations to predict."""
        return type(self)(self.prior, rows, self.columns, self.genes, self.seen, self.name)

    @cached_property
    def effects(self) -> Tensor:
        """Effect ranks in each gene's own distribution, centred, 0 if not measured: (context, genes)."""
        return self.values(channels()[:, :1])[..., 0]

    @cached_property
    def measured(self) -> Tensor:
        """1 where the effect was measured, else 0: (context, genes)."""
        return self.seen.measured.float()

    @cached_property
    def kernels(self) -> Tensor:
        """Similarity by each kernel of prior knowledge: (perturbations, context, kernels)."""
        return self.prior.kernels[self.rows[:, None], self.columns]

    @cached_property
    def context_kernels(self) -> Tensor:
        """Similarity among the context perturbations: (context, context, kernels)."""
        return self.prior.kernels[self.columns[:, None], self.columns]

    @cached_property
    def other(self) -> Tensor:
        """1 where the two are different genes, else 0: (perturbations, context).

        A perturbation must not be predicted from its own row: multiply weights by this.
        """
        return self.prior.other[self.rows[:, None], self.columns]

    @cached_property
    def hidden(self) -> Tensor:
        """1 for perturbations without a response in another screen: (perturbations,).

        In training also for a random share, so that the network learns to predict these.
        """
        hidden = self.prior.uncovered[self.rows]
        return hidden if self._hide is None else torch.maximum(hidden, self._hide)

    @cached_property
    def response(self) -> Tensor:
        """Response expected from other screens, in standard deviations: (perturbations, genes)."""
        own = self.prior.response[self.rows[:, None], self.genes]
        return torch.where(self.hidden[:, None] > 0, self.neighbour_response, own)

    @cached_property
    def neighbour_response(self) -> Tensor:
        """Response of the pathway neighbours in other screens: (perturbations, genes)."""
        return self.prior.neighbour_response[self.rows[:, None], self.genes]

    @cached_property
    def context_response(self) -> Tensor:
        """`response` of the context perturbations: (context, genes)."""
        return self.prior.response[self.columns[:, None], self.genes]

    @cached_property
    def on_target(self) -> Tensor:
        """1 where the gene is the perturbed one: (perturbations, genes)."""
        return self.prior.on_target[self.rows[:, None], self.genes]

    @cached_property
    def pathway_similarity(self) -> Tensor:
        """Pathway kernel between perturbation and gene: (perturbations, genes)."""
        return self.prior.pathway_similarity[self.rows[:, None], self.genes]

    @cached_property
    def spread(self) -> Tensor:
        """Log spread of each gene's effects in the screen, standardised over genes: (genes,)."""
        thresholds = self.seen.thresholds
        spread = torch.log(thresholds[-2] - thresholds[1] + 1e-3)
        return (spread - spread.mean()) / (spread.std(correction=0) + 1e-3)

    def values(self, channels: Tensor) -> Tensor:
        """Effects by the thresholds that they exceed, less the gene's mean: (context, genes, channels).

        channels: (levels, channels), the weight of each threshold. 0 where not measured.
        """
        values, counted = self.seen.beyond() @ channels, self.measured[..., None]
        mean = (values * counted).sum(dim=0) / (counted.sum(dim=0) + 1e-6)
        return (values - mean) * counted


class Priors:
    """The Prior of any screen, made when first used, and kept.

    knowledge: all prior knowledge; genes: of the screens, in their order. `kernels` are the names of the
    kernels, the same for all screens: one that a screen lacks is 0 there; `expected` those of
    perturbations of the competition.
    """

    def __init__(self, knowledge: Knowledge, genes: pd.Index):
        self.knowledge, self.genes = knowledge, genes
        self.expected, self._kept = [], {}
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
        if not set(perturbations) <= set(self.expected):
            self.expected = sorted({*self.expected, *perturbations})
            self._kept.pop("competition", None)

    def of(self, screen: str, perturbations: Sequence[str]) -> "Prior":
        """Return the Prior of a screen that holds at least these perturbations."""
        if screen not in self._kept:
            self._kept[screen] = self._of_screen(screen)
        knowledge, whole = self._kept[screen]
        if whole is not None and whole.holds(perturbations):
            return whole
        return Prior(self, knowledge, perturbations)

    def _of_screen(self, screen):
        """Knowledge without a screen, and the Prior of all its perturbations, None if they are many."""
        knowledge, names = self.knowledge, self.expected
        if screen != "competition":
            obs = knowledge.atlas.obs
            symbols = obs["sgrna_symbol"][(obs["dataset"] == screen).to_numpy()].astype(str)
            names = knowledge.symbols([name for name in symbols if name != CONTROL])
            knowledge = knowledge.without_screen(screen)
        return knowledge, Prior(self, knowledge, names) if len(names) <= HELD else None


class Prior:
    """What some knowledge holds of some perturbations, `names`, as float32 tensors."""

    def __init__(self, priors: Priors, knowledge: Knowledge, perturbations: Iterable[str]):
        names, genes = list(dict.fromkeys(perturbations)), priors.genes
        self.knowledge, self.names, self._kept = knowledge, names, {}
        self._place = {name: row for row, name in enumerate(names)}
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

    def places(self, perturbations: Sequence[str]) -> Tensor:
        """Row of each perturbation: (perturbations,), long."""
        places = [self._place[name] for name in perturbations]
        return torch.tensor(places, dtype=torch.long, device=device())

    def holds(self, perturbations: Iterable[str]) -> bool:
        """Whether all of these are among the names."""
        return self._place.keys() >= set(perturbations)

    def keep(self, key: Hashable, make: Callable):
        """Return what `make()` returned when the key was first given: a network's own tables by name."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _response(self, names, genes, **options):
        if self.knowledge.responses_ is None:
            return to_tensor(np.zeros((len(names), len(genes))))
        return standard_response(self.knowledge.response(names, **options), self.knowledge, genes)


def standard_response(found: pd.DataFrame, knowledge: Knowledge, genes: pd.Index) -> Tensor:
    """Return responses in standard deviations of the gene, 0 where unknown: (rows, genes)."""
    spread = np.sqrt((knowledge.responses_**2).mean()) + 1e-9
    found = (found / spread).reindex(columns=genes).fillna(0.0)
    return to_tensor(found.clip(-LARGEST, LARGEST))


def channels() -> Tensor:
    """Weight of each threshold in an effect's channels (overall, far up, far down): (levels, 3)."""
    levels = to_tensor(LEVELS)
    found = [torch.ones_like(levels), (levels > 0.75).float(), (levels < 0.25).float()]
    found = torch.stack(found, dim=1)
    return 2 * found / found.sum(dim=0)
