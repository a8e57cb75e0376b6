"""A variational autoencoder of cells in which a knockdown is a sparse shift of the latent state.

A cell is what its state z, a few numbers, makes of the control cells of its batch. A knockdown moves z
along some axes and leaves the others alone: the sparse mechanism shift of SAMS-VAE (Bereket & Karaletsos
2023). Which axes, and how far, is told from what is known of the knockdown, so that one that no screen
has seen has a shift too; one that was seen also has a shift of its own, which it keeps in other screens.

Likelihood: normal, on log2(1 + CP10k) less the control of the cell's batch, in standard deviations of
control cells. The effects asked for are means on this scale, to which a likelihood of counts would have
to come back. Depth is a covariate by being divided out, batch and dataset by being taken off. An effect
is the decoder's mean over sampled states with the shift, less that without, never the log of a mean; it
enters the loss that all networks share.

Not here: which cells (`cells`), by what a knockdown is known (`features`), which rows, when to stop
(`deep`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..knowledge import Knowledge
from .cells import gather_cells
from .features import Features
from .trained import Trained
from .training import Settings

OPTIONS = {
    "pretraining": Settings(steps=400, rate=5e-3),
    "tuning": Settings(steps=240, rate=3e-3),
}
ANCHORS = 512  # knockdowns whose likeness makes the features
FOREIGN = ("all_sets", "small_sets")  # kernels that hold no response of another screen
KERNELS = (*FOREIGN, "response_cosine", "response_components", "smoothed_response")
STRETCH = -0.1, 1.1  # of a hard-concrete gate, and its temperature (Louizos 2018)
TEMPERATURE = 2 / 3
HASTE = 8.0  # by which gates learn faster than shifts: they have far to go from open to shut
LARGEST = 6.0  # shift of the log odds


@dataclass(frozen=True)
class Size:
    """What is drawn how large, and what counts how much.

    latent: axes of the state; hidden: width of encoder and decoder; features: coordinates by which a
    knockdown is known; samples: states over which the decoder's mean is taken; cells: a step; evidence:
    weight of the cells' lower bound, 0 learns from effects alone, without an encoder; sparsity: of the
    share of open gates; forget: chance that a step does not see the shift of a knockdown's own.
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
    """Encoder, shifts and decoder. Genes are those of the Rows, sorted by name.

    features: as Features gives them; current: names -> their current symbols; held: symbols of knockdowns
    that have a shift of their own; genes: their number; spreads: by screen the standard deviation of
    control cells, (genes,), log2.
    """

    def __init__(self, features, current, held, genes, size, spreads):
        super().__init__()
        self.features, self.current, self.size, self.spreads = features, current, size, spreads
        self.places = {name: place for place, name in enumerate(held)}
        latent, hidden = size.latent, size.hidden
        self.told = torch.nn.Linear(features.width, latent, bias=False)
        self.gate = torch.nn.Linear(features.width, latent)
        for start in (self.told.weight, self.gate.weight, self.gate.bias):
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

    def forward(self, names, seen, genes):
        """Shift and width of the odds of these places of genes: (names, genes) each.

        What a knockdown does is set beside the mean of those seen, as the odds are: in units of the
        spread of effects, times a slope.
        """
        away = self.moved(self.shift(names))  # (names, latent + hidden)
        if len(seen):
            away = away - self.moved(self.shift(seen.perturbations, own=False)).mean(dim=0)
        spread = spread_of(seen)
        ratio = self.spreads.get(seen.name, spread).to(spread.device) / spread
        slope = torch.exp(self.log_slope) * ratio[genes] / ratio.median()
        change = LARGEST * torch.tanh(slope * (away @ self.outer[genes].T) / LARGEST)
        # Width stays 0: how strong a knockdown is, told by it, gains in log loss and costs in score.
        return change, torch.zeros_like(change)

    def shift(self, names, own=True):
        """Shift of the state by each knockdown: (names, latent). own: what it was seen to do too."""
        known, device = self.known(names), self.own.device
        shift = self.told(known)
        if own:
            places = [self.places.get(name, -1) for name in self.current(names)]
            kept = torch.tensor([place >= 0 for place in places], device=device)
            if self.training:  # or it would explain all, and nothing were told
                kept = kept & (torch.rand(len(places), device=device) >= self.size.forget)
            shift = shift + self.own[places] * kept[:, None]
        return self.gates(known) * shift

    def known(self, names):
        """Features of these knockdowns on the network's device: (names, width)."""
        return torch.as_tensor(self.features(list(names)), device=self.own.device)

    def gates(self, known):
        """How far each axis is open, 0 to 1 and often exactly these: (names, latent)."""
        odds, (low, high) = HASTE * self.gate(known), STRETCH
        if self.training:
            odds = (odds + torch.logit(torch.rand_like(odds), eps=1e-6)) / TEMPERATURE
        return (torch.sigmoid(odds) * (high - low) + low).clamp(0, 1)

    def open(self, names):
        """Chance of each gate not to be shut: (names, latent)."""
        odds, (low, high) = HASTE * self.gate(self.known(names)), STRETCH
        return torch.sigmoid(odds - TEMPERATURE * math.log(-low / high))

    def hidden(self, state):
        """What the decoder makes of states before its last, linear layer: (..., latent + hidden)."""
        return torch.cat([state, torch.tanh(self.inner(state))], dim=-1)

    def moved(self, shift):
        """Mean change of `hidden` by a shift, over sampled states: (names, latent + hidden)."""
        return (self.hidden(self.states + shift[:, None]) - self.hidden(self.states)).mean(dim=1)

    def encode(self, rest):
        """Mean and log standard deviation of the state, (cells, latent), from what no shift explains."""
        heard = torch.nn.functional.gelu(rest @ self.inlet)
        mean, log_sd = self.encoder(heard).chunk(2, dim=1)
        return mean, log_sd.clamp(-5, 1)

    def evidence(self, values, measured, names):
        """Evidence lower bound (Kingma & Welling 2014) a measured gene, mean over cells: a scalar.

        values: (cells, genes), deviations from the control in its standard deviations; measured: the
        same shape, 0 or 1; names: the cells' knockdowns.
        """
        shift, count = self.shift(names), measured.sum(dim=1).clamp(min=1)
        rest = (values - self.moved(shift) @ self.outer.T) * measured
        mean, log_sd = self.encode(rest / count.sqrt()[:, None])
        state = mean + torch.exp(log_sd) * torch.randn_like(mean)
        # Without a shift cells are centred where the control is, at 0.
        found = (self.hidden(state + shift) - self.hidden(self.states).mean(dim=0)) @ self.outer.T
        error = (values - found) * torch.exp(-self.log_noise)
        fit = ((0.5 * error**2 + self.log_noise) * measured).sum(dim=1)
        divergence = 0.5 * (mean**2 + torch.exp(2 * log_sd) - 1 - 2 * log_sd).sum(dim=1)
        return -((fit + divergence) / count).mean()


def spread_of(rows):
    """Spread of each gene's effects in a screen, log2: (genes,)."""
    spread = (rows.values[-1] - rows.values[0]) / 4
    return spread.clamp(min=1e-6) + 0.1 * spread.median()


class VAE(Trained):
    """The autoencoder behind the models' door. size: a Size; the other options are Trained's.

    Learns from the cells of the competition's training rows and, of the screens, from those of the
    `cells.h5ad` beside the atlas. A screen without them shows its rows as if each were a cell.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, size=Size(), **options):
        super().__init__(knowledge, **OPTIONS | options)
        self.size = size

    def fit(self, train):
        self.cells_, told = {}, []
        if self.size.evidence:
            atlas = self.knowledge.atlas if self._foreign else None
            options = {
                "own": self.policy != "screens",
                "names": self.knowledge.names,
                "seed": self.seed,
            }
            self.cells_, told = gather_cells(train, atlas, once=self.once, **options)
        super().fit(train)
        self.remarks_ += told
        return self

    @property
    def _foreign(self):
        return self.policy != "competition" and self.knowledge.atlas is not None

    def _network(self, genes):
        spreads = {name: cells.spread for name, cells in self.cells_.items()}
        held = self._held()
        return SparseShift(self._features(), self._current, held, len(genes), self.size, spreads)

    def _features(self):
        """Coordinates by targets and a sample of the knockdowns learned from, made once."""
        sample = np.random.default_rng(self.seed).permutation(self._held())
        targets = self._current(self.train_.targets["perturbation"])
        anchors = list(dict.fromkeys([*targets, *sample]))[:ANCHORS]
        # A screen's own responses must not tell what is to be learned from them.
        kernels = FOREIGN if self._foreign else KERNELS
        parts = anchors, kernels, self.size.features
        key = ("features", self.knowledge.fingerprint, repr(parts))
        return self.once.get(key, lambda: Features(self.knowledge, *parts))

    def _held(self):
        """Symbols of the knockdowns learned from first: the same in all folds if these are screens'."""
        if self._foreign:
            responses = self.knowledge.responses_
            return [] if responses is None else sorted(responses.index)
        return sorted(set(self._current(self.train_.effects.index)))

    def _current(self, names):
        return self.knowledge.symbols(names)

    def _extra(self, network, seen, random):
        open_gates = self.size.sparsity * network.open(seen.perturbations).mean()
        if not self.size.evidence:
            return open_gates
        cells = self.cells_.get(seen.name)
        if cells is None:
            places = random.permutation(len(seen))[: self.size.cells]
            values, measured = (
                seen.resample(places, random) / spread_of(seen),
                seen.measured[places],
            )
            names = [seen.perturbations[place] for place in places]
        else:
            places = random.choice(cells.of(seen.perturbations), self.size.cells)
            values, names = cells.standard(places, network.own.device), cells.names(places)
            measured = cells.measured.to(values.device).expand_as(values)
        evidence = network.evidence(values * measured, measured.float(), names)
        return open_gates - self.size.evidence * evidence

    def _key(self, stage, *parts):
        cells = set(self.cells_)
        if stage == "screens":  # to which the competition's cells teach nothing
            cells -= {"competition"}
        return super()._key(stage, self.size, self._foreign, sorted(cells), *parts)
