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

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ..knowledge import Knowledge
from ..knowledge.kernels import mean_of_known
from .cells import Cells, gather_cells
from .screen_data import to_frame
from .sparse_shift import Size, SparseShift
from .trained import Setup, Trained
from .training import Settings

SIZE = Size()
OPTIONS = {
    "pretraining": Settings(steps=400, rate=5e-3),
    "tuning": Settings(steps=240, rate=3e-3),
}
ANCHORS = 512  # perturbations, similarity to which makes the features
AT_ONCE = 512  # cells encoded at once
BLOCK = 256  # perturbations whose similarity to the anchors is computed at once
FOREIGN = ("all_sets", "small_sets")  # kernels that hold no response of another screen
KERNELS = (*FOREIGN, "response_cosine", "response_components", "smoothed_response")


class VAE(Trained):
    """The autoencoder as a model; size: a Size, the other options are those of `Trained`.

    Learns from the cells of the competition's training rows and, of other screens, from those of the
    `cells.h5ad` beside the atlas. Of a screen without cells each row stands for a cell. `latent_shifts`,
    `decoded_effects` and `cell_states` return what a fitted one has learned.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, size: Size = SIZE, **options):
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
