"""A variational autoencoder of cells in which a perturbation is a sparse shift of the latent state.

A cell is what the decoder makes of its state z, a few numbers, added to the control cells of its batch. A
perturbation moves z along some axes and leaves the others: the sparse mechanism shift of SAMS-VAE
(Bereket & Karaletsos 2023). Which axes, and how far, is a function of prior knowledge, so that a
perturbation that no screen holds has a shift too; one in training also has a shift of its own, which it
keeps in other screens.

Likelihood: normal, on log2(1 + CP10k) less the control of the cell's batch, in standard deviations of
control cells. The effects to predict are means on this scale, to which a likelihood of counts would have
to come back. Depth is a covariate by being divided out, batch and screen by being subtracted. An effect
is the decoder's mean over sampled states with the shift, less that without, never the log of a mean; it
enters the loss that all networks share.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..knowledge import Knowledge
from ..knowledge.kernels import mean_of_known
from .cells import Cells, gather_cells
from .context import Context
from .screen_data import Rows, ScreenData, to_frame
from .trained import Setup, Trained
from .training import Settings

OPTIONS = {
    "pretraining": Settings(steps=400, rate=5e-3),
    "tuning": Settings(steps=240, rate=3e-3),
}
ANCHORS = 512  # perturbations, similarity to which makes the features
AT_ONCE = 512  # cells encoded at once
BLOCK = 256  # perturbations whose similarity to the anchors is computed at once
FOREIGN = ("all_sets", "small_sets")  # kernels that hold no response of another screen
KERNELS = (*FOREIGN, "response_cosine", "response_components", "smoothed_response")
STRETCH = -0.1, 1.1  # of a hard-concrete gate, and its temperature (Louizos 2018)
TEMPERATURE = 2 / 3
HASTE = 8.0  # by which gates learn faster than shifts: they have far to go from open to shut
LARGEST = 6.0  # shift of the log odds


@dataclass(frozen=True)
class Size:
    """Size of the autoencoder, and weights of its own loss terms.

    latent: axes of the state; hidden: width of encoder and decoder; features: coordinates of a
    perturbation; samples: states over which the decoder's mean is taken; cells: a step; evidence: weight
    of the cells' lower bound, 0 learns from effects alone, without an encoder; sparsity: of the share of
    open gates; forget: chance that a step leaves out a perturbation's own shift.
    """

    latent: int = 32
    hidden: int = 64
    features: int = 128
    samples: int = 16
    cells: int = 96
    evidence: float = 0.3
    sparsity: float = 0.3
    forget: float = 0.5


class VAE(Trained):
    """The autoencoder as a model; size: a Size, the other options are those of `Trained`.

    Learns from the cells of the competition's training rows and, of other screens, from those of the
    `cells.h5ad` beside the atlas. Of a screen without cells each row stands for a cell. `latent_shifts`,
    `decoded_effects` and `cell_states` return what a fitted one has learned.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, size: Size = Size(), **options):
        super().__init__(self._make, knowledge, **OPTIONS | options)
        self.size = size

    def _begin(self, train):
        super()._begin(train)
        self.cells_, remarks = {}, []
        if self.size.evidence:
            parts = train, self.knowledge_, self.policy
            self.cells_, remarks = gather_cells(*parts, cache=self.cache, seed=self.seed)
        self.remarks_ += remarks

    def latent_shifts(self, perturbations: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the shift of each latent axis and the probability that its gate is open.

        Two frames, perturbation x axis, of the first ensemble member: axes differ between members.
        """
        network = self.networks_[0]
        with torch.no_grad():
            known, own = network.known(perturbations)
            found = network.shift(known, own), network.open(known)
        return tuple(to_frame(part, perturbations) for part in found)

    def decoded_effects(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the decoded change of log2(1 + CP10k), mean over ensemble members: perturbation x gene.

        The effect on cells, before it is compared with other perturbations and becomes a logit shift.
        """
        values = self._averaged(
            lambda one: one.moved(one.shift(*one.known(perturbations))) @ one.outer.T
        )
        values = values * self.networks_[0].cell_spread(self.rows_.rows, self.rows_.name)
        return to_frame(values, perturbations, self.rows_.genes)[self.train_.genes]

    def cell_states(self, cells: Cells, places: Sequence[int]) -> pd.DataFrame:
        """Return the state of each cell, all encoded as control cells: cell x axis.

        cells: in the competition's genes; places: which of them. Index: the cells' perturbations.
        """
        parts, size = [], cells.measured.sum().clamp(min=1).sqrt()
        for first in range(0, len(places), AT_ONCE):
            values = cells.standard(places[first : first + AT_ONCE]) * cells.measured
            with torch.no_grad():
                parts.append(self.networks_[0].encode(values / size)[0])
        return to_frame(torch.cat(parts), cells.names(places))

    @property
    def _foreign(self):
        return self.policy != "competition" and self.knowledge_.atlas is not None

    def _make(self, setup: Setup):
        symbols, train = self.knowledge_.symbols, setup.train
        held = sorted(set(symbols(self.priors_.expected)))  # the same in all folds
        if self._foreign:  # the perturbations of screens
            responses = self.knowledge_.responses_
            held = [] if responses is None else sorted(responses.index)
        sample = np.random.default_rng(self.seed).permutation(held)
        anchors = dict.fromkeys([*symbols(train.targets["perturbation"]), *sample])
        # A screen's own responses must not be among what it is predicted from.
        kernels = FOREIGN if self._foreign else KERNELS
        parts = list(anchors)[:ANCHORS], kernels, self.size.features
        key = ("features", self.knowledge_.fingerprint, repr(parts))
        features = self.cache.get(key, lambda: Features(self.knowledge_, *parts))
        return SparseShift(features, symbols, held, len(setup.genes), self.size, self.cells_)

    def _key(self, stage, *parts):
        cells = set(self.cells_)
        if stage == "screens":  # which does not depend on the competition's cells
            cells -= {"competition"}
        return super()._key(stage, self._foreign, sorted(cells), *parts)


class Features:
    """Coordinates of perturbations whose products are their similarity: name -> (width,).

    Nystroem's map (Williams & Seeger 2001) of the mean of some kernels, as far as the anchors, names of
    perturbations, span it. 0 where nothing is known.
    """

    def __init__(
        self, knowledge: Knowledge, anchors: Sequence[str], kernels: Sequence[str], width: int
    ):
        self.knowledge, self.anchors, self.kernels = knowledge, list(anchors), kernels
        self.width, self._kept = width, {}
        values, vectors = np.linalg.eigh(self._kernel(self.anchors))
        strongest = np.argsort(-values, kind="stable")[:width]
        strongest = strongest[values[strongest] > 1e-3 * max(values.max(initial=0), 1e-9)]
        self._axes = vectors[:, strongest] / np.sqrt(values[strongest])  # (anchors, features)

    def __call__(self, perturbations: Sequence[str]) -> np.ndarray:
        """Coordinates of perturbations: (perturbations, width), float32."""
        new = [name for name in dict.fromkeys(perturbations) if name not in self._kept]
        for first in range(0, len(new), BLOCK):
            block = new[first : first + BLOCK]
            rows = np.zeros((len(block), self.width), dtype=np.float32)
            kernel = self._kernel(block + self.anchors)[: len(block), len(block) :]
            rows[:, : self._axes.shape[1]] = kernel @ self._axes
            self._kept |= dict(zip(block, rows, strict=True))
        rows = [self._kept[name] for name in perturbations]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.width)

    def _kernel(self, names):
        found = self.knowledge.kernels(names)
        parts = [found[name].to_numpy() for name in self.kernels if name in found]
        return mean_of_known(parts) if parts else np.zeros((len(names), len(names)))


class SparseShift(torch.nn.Module):
    """The module: encoder, shifts and decoder.

    features: as Features returns them; symbols: names -> current symbols; held: symbols of perturbations
    that have a shift of their own; genes: their number; cells: Cells by screen.
    """

    def __init__(
        self,
        features: Callable,
        symbols: Callable,
        held: Sequence[str],
        genes: int,
        size: Size,
        cells: dict[str, Cells],
    ):
        super().__init__()
        self.features, self.symbols, self.size, self.cells = features, symbols, size, cells
        self.places = {name: place for place, name in enumerate(held)}
        latent, hidden = size.latent, size.hidden
        self.known_shift = torch.nn.Linear(features.width, latent, bias=False)
        self.gate = torch.nn.Linear(features.width, latent)
        for start in (self.known_shift.weight, self.gate.weight, self.gate.bias):
            torch.nn.init.zeros_(start)
        self.own = torch.nn.Parameter(torch.zeros(len(held) + 1, latent))  # the last: of none
        self.inner = torch.nn.Linear(latent, hidden)
        scale = 1 / math.sqrt(latent + hidden)
        self.outer = torch.nn.Parameter(scale * torch.randn(genes, latent + hidden))
        self.inlet = torch.nn.Parameter(torch.randn(genes, 2 * hidden))
        self.encoder = torch.nn.Linear(2 * hidden, 2 * latent)
        self.log_noise = torch.nn.Parameter(torch.zeros(genes))
        self.log_slope = torch.nn.Parameter(torch.zeros(()))
        half = torch.randn(size.samples // 2, latent)
        self.register_buffer("states", torch.cat([half, -half]))  # antithetic: their mean is 0
        for place, one in enumerate(cells.values()):
            self.register_buffer(f"cell_spread_{place}", one.spread.cpu(), persistent=False)

    def forward(self, context: Context) -> tuple[Tensor, Tensor]:
        """Logit shift and log scale: (perturbations, genes) each.

        The decoded effect less the mean of the context perturbations, as the odds are those of the
        screen, in units of the spread of effects, times a slope.
        """
        known, own = context.prior.keep(
            ("known", id(self.features)), lambda: self.known(context.prior.names)
        )
        moved = self.moved(self.shift(known[context.rows], own[context.rows]))
        if len(context.columns):
            moved = moved - self.moved(self.shift(known[context.columns])).mean(dim=0)
        spread = spread_of(context.seen)
        ratio = self.cell_spread(context.seen, context.name, context.genes) / spread
        slope = torch.exp(self.log_slope) * ratio / ratio.median()
        change = LARGEST * torch.tanh(slope * (moved @ self.outer[context.genes].T) / LARGEST)
        # The scale stays 0: as the strength of a perturbation it gains in log loss and costs in score.
        return change, torch.zeros_like(change)

    def cell_spread(self, seen: Rows, name: str, genes: Tensor | slice = slice(None)) -> Tensor:
        """Standard deviation of a screen's control cells, else of effects, log2: (genes,)."""
        if name not in self.cells:
            return spread_of(seen)
        return getattr(self, f"cell_spread_{list(self.cells).index(name)}")[genes]

    def known(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features of perturbations, (names, width), and the place of their own shift, -1 for none."""
        own = [self.places.get(name, -1) for name in self.symbols(list(names))]
        own = torch.tensor(own, dtype=torch.long, device=self.own.device)
        return torch.as_tensor(self.features(list(names)), device=self.own.device), own

    def shift(self, known: Tensor, own: Tensor | None = None) -> Tensor:
        """Shift of the state by each perturbation: (names, latent).

        known: features, (names, width); own: place of the shift of its own, (names,), -1 for none.
        """
        shift = self.known_shift(known)
        if own is not None:
            kept = own >= 0
            if self.training:  # or it would explain all, and prior knowledge nothing
                kept = kept & (torch.rand(own.shape).to(known) >= self.size.forget)
            shift = shift + self.own[own] * kept[:, None]
        return self.gates(known) * shift

    def gates(self, known: Tensor) -> Tensor:
        """How far each axis is open, 0 to 1 and often exactly these: (names, latent).

        Random numbers are drawn on the CPU here, so that they are the same on every device.
        """
        odds, (low, high) = HASTE * self.gate(known), STRETCH
        if self.training:
            odds = (odds + torch.logit(torch.rand(odds.shape).to(odds), eps=1e-6)) / TEMPERATURE
        return (torch.sigmoid(odds) * (high - low) + low).clamp(0, 1)

    def open(self, known: Tensor) -> Tensor:
        """Probability of each gate not to be shut, by features of perturbations: (names, latent)."""
        odds, (low, high) = HASTE * self.gate(known), STRETCH
        return torch.sigmoid(odds - TEMPERATURE * math.log(-low / high))

    def hidden(self, state: Tensor) -> Tensor:
        """Decoder before its last, linear layer: (..., latent) -> (..., latent + hidden)."""
        return torch.cat([state, torch.tanh(self.inner(state))], dim=-1)

    def moved(self, shift: Tensor) -> Tensor:
        """Mean change of `hidden` by a shift, over sampled states: (names, latent + hidden)."""
        return (self.hidden(self.states + shift[:, None]) - self.hidden(self.states)).mean(dim=1)

    def encode(self, rest: Tensor, genes: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the state, (cells, latent), from what no shift explains.

        rest: (cells, genes), that of each measured gene over the root of their number; genes: which.
        """
        inner = torch.nn.functional.gelu(rest @ self.inlet[genes])
        mean, log_sd = self.encoder(inner).chunk(2, dim=1)
        return mean, log_sd.clamp(-5, 1)

    def draw(
        self, screen: ScreenData, genes: np.ndarray, random: np.random.Generator
    ) -> tuple[Tensor, ...]:
        """Draw some cells of a screen, or rows where it has no cells.

        Their values at some genes and whether these were measured, (cells, genes) each; how many genes
        were measured in all, (cells,); what `known` returns of their perturbations, and the features of
        as many others of the screen, (cells, width).
        """
        count = self.size.cells if self.size.evidence else 1
        some = random.choice(screen.perturbations, count)
        cells = self.cells.get(screen.name)
        if cells is None:
            places = random.integers(len(screen), size=count)
            drawn = screen.subset(places, marginals=True).rows
            values, measured = drawn.effects / spread_of(drawn), drawn.measured
            values, names = values[:, genes], [screen.perturbations[place] for place in places]
            total, measured = measured.sum(dim=1), measured[:, genes]
        else:
            places = random.choice(cells.of(screen.perturbations), count)
            values, names = cells.standard(places, genes), cells.names(places)
            measured = cells.measured[genes].expand_as(values)
            total = cells.measured.sum().expand(count)
        known = *self.known(names), self.known(some)[0]
        return values * measured, measured.float(), total.float(), *known

    def extra_loss(self, context: Context, *drawn: Tensor) -> Tensor:
        """Share of open gates and, negative, the evidence of cells as `draw` returns: a scalar."""
        *cells, known = drawn
        found = self.size.sparsity * self.open(known).mean()
        if not self.size.evidence:
            return found
        return found - self.size.evidence * self.evidence(context.genes, *cells)

    def evidence(
        self,
        genes: Tensor,
        values: Tensor,
        measured: Tensor,
        total: Tensor,
        known: Tensor,
        own: Tensor,
    ) -> Tensor:
        """Evidence lower bound (Kingma & Welling 2014) a measured gene, mean over cells: a scalar.

        genes: places of some; values: (cells, genes), deviations from the control in its standard
        deviations; measured: the same shape, 0 or 1; total: (cells,), genes measured in all; known, own:
        of the cells' perturbations, as `known` returns.
        """
        outer, log_noise = self.outer[genes], self.log_noise[genes]
        shift, count = self.shift(known, own), measured.sum(dim=1).clamp(min=1)
        rest = (values - self.moved(shift) @ outer.T) * measured
        mean, log_sd = self.encode(rest / count.sqrt()[:, None], genes)
        state = mean + torch.exp(log_sd) * torch.randn(mean.shape).to(mean)
        # Without a shift cells are centred where the control is, at 0.
        found = (self.hidden(state + shift) - self.hidden(self.states).mean(dim=0)) @ outer.T
        error = (values - found) * torch.exp(-log_noise)
        fit = ((0.5 * error**2 + log_noise) * measured).sum(dim=1) / count
        divergence = 0.5 * (mean**2 + torch.exp(2 * log_sd) - 1 - 2 * log_sd).sum(dim=1)
        return -(fit + divergence / total.clamp(min=1)).mean()


def spread_of(screen: Rows) -> Tensor:
    """Spread of each gene's effects in a screen, log2: (genes,)."""
    spread = (screen.values[-1] - screen.values[0]) / 4
    return spread.clamp(min=1e-6) + 0.1 * spread.median()
