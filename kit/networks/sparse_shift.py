"""The module of the autoencoder: encoder, sparse shifts of the latent state, decoder.

A perturbation shifts the state along some axes; a gate opens or shuts each. Where a shift leads is the
decoder's mean over sampled states, less that without it. What it is for, and its likelihood: `vae`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .cells import Cells
from .context import Context
from .screen_data import Rows, ScreenData

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
