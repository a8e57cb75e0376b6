"""What the three networks have in common: how they learn, from what, and how far they are believed.

A network hears names of knockdowns and the rows already seen, and says a shift and a width of each gene's
odds (`losses`). It may learn on other screens, on the competition, or on both in turn. Several members
each leave out one part of the training rows: on it the member is stopped early, and over all parts the
network's `trust_` is set, 0 if it does worse than the best constant. What a network is: `gnn`,
`transformer`, `vae`.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..augmentation import bootstrap_effects
from ..competition import KAGGLE_INPUT
from ..decision import Distribution, decide
from ..files import InputError
from ..likeness import Likeness
from ..members import MOUNTS
from ..metric import wmae
from ..splits import folds
from .constant import Constant
from .losses import Pieces, bin_chances, loss
from .ordinal import tilted
from .rows import atlas_rows, competition_rows
from .training import Settings, device, seeded, train

POLICIES = ("screens", "competition", "pretrain")
TRUST = (0.0, 0.25, 0.5, 0.75, 1.0)
SUPPORT = (
    80  # rows that a network may look at beside those asked for: as many as the competition has
)
LEFT_OUT = 0.15  # of a screen's rows, on which pretraining is stopped
PIECES = Pieces()
PRETRAINING = Settings(steps=400)
TUNING = Settings(steps=120, rate=1e-3, every=10)
AT_ONCE = 32  # rows predicted or checked at once
COMMON = 64  # rows of which it is asked what a network says of every knockdown


class Once:
    """What is the same in all folds, such as a network pretrained on other screens: shared by copies."""

    def __init__(self):
        self.kept = {}

    def __deepcopy__(self, memo):
        return self

    def get(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


class Deep:
    """A network behind the models' door; subclasses say which, in `_network`.

    pathways, atlas: what is known from elsewhere, or None. policy: `screens` (learn from the atlas only;
    the competition's rows set each gene's odds and the trust), `competition` (from its rows only) or
    `pretrain` (first one, then the other). pieces: of the loss. draws: samples of resampled cells that
    tuning sees instead of the rows themselves, 0 for none. members: parts and networks. batch: rows a
    step. genes: at most so many, drawn anew, a step. pretraining, tuning: Settings. checkpoints: folder
    to resume from after a kill, or None. once: shared by models that pretrain alike.

    Learns `trust_`, `history_` (stage, member, step, rate, loss, check), `remarks_`, and `unknown_` at
    each prediction: names of which nothing is known, which get the constant's prediction.
    """

    def __init__(
        self,
        pathways=None,
        atlas=None,
        *,
        policy="pretrain",
        pieces=PIECES,
        draws=0,
        members=3,
        batch=16,
        genes=1024,
        pretraining=PRETRAINING,
        tuning=TUNING,
        checkpoints=None,
        likeness=None,
        once=None,
        seed=0,
    ):
        self.pathways = pathways
        self.atlas = atlas
        self.policy = policy
        self.pieces = pieces
        self.draws = draws
        self.members = members
        self.batch = batch
        self.genes = genes
        self.pretraining = pretraining
        self.tuning = tuning
        self.checkpoints = checkpoints
        self.likeness = likeness
        self.once = Once() if once is None else once
        self.seed = seed

    def fit(self, train):
        if self.policy not in POLICIES:
            raise InputError(f"policy is `{self.policy}`, want one of {', '.join(POLICIES)}")
        self.train_, self.constant_ = train, Constant().fit(train)
        self.likeness_ = self.likeness or Likeness(self.pathways, self.atlas)
        self.remarks_, histories = [], []
        self.rows_ = competition_rows(train, self._resampled(train))
        start = None
        if self.policy != "competition":
            start = self.once.get(self._key("screens", self.rows_.genes), self._pretrain)
            if start is None:
                self.remarks_.append("no screen to learn from: the network starts untrained")
            else:
                histories.append(start[1].assign(stage="screens", member=0))
        tuned = self.policy != "screens"
        parts = max(1, min(self.members, len(self.rows_) // 2))
        held_out = folds(range(len(self.rows_)), parts, seed=self.seed) if parts > 1 else [[]]
        self.networks_, losses = [], []
        for member, part in enumerate(held_out):
            seen = self.rows_.subset(np.setdiff1d(np.arange(len(self.rows_)), part))
            left = self.rows_.subset(part).like(seen) if len(part) else None
            network = self._new(self.seed + member)
            if start is not None:
                network.load_state_dict(start[0])
            if tuned:
                settings = replace(self.tuning, seed=self.tuning.seed + self.seed + member)
                history = self._learn(network, [(seen, left)], settings, f"member {member + 1}")
                histories.append(history.assign(stage="competition", member=member))
            self.networks_.append(network)
            if left is not None:
                losses += self._losses(network, seen, left)
        losses = pd.DataFrame(losses, columns=TRUST, dtype=float)
        # Beside what the genes' own odds lose: 0 without trust, whatever the loss is made of.
        gains = losses.sub(losses[0.0], axis=0)
        self.trust_curve_ = gains.mean() if len(gains) else pd.Series(0.0, TRUST)
        # Of a gain that few rows agree in, or none, a network is not believed to have learned it.
        self.trust_ = float((self.trust_curve_ + gains.sem().fillna(0.0)).idxmin())
        self.history_ = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene, as `decide` chooses them; without trust the constant's."""
        prediction = self.constant_.predict(perturbations)
        known = self.likeness_.knows(prediction.index).to_numpy()
        self.unknown_ = list(prediction.index[~known])
        if self.trust_ and known.any():
            belief = self.predict_distribution(prediction.index[known])
            prediction.loc[known] = decide(belief).to_numpy()
        return prediction

    def predict_distribution(self, perturbations):
        """Belief over the training rows' effects, genes told apart: a Distribution."""
        train, names = self.train_, pd.Index(list(perturbations), name="perturbation")
        order = self.rows_.genes.get_indexer(train.genes)
        chances = np.mean([self._chances(network, names) for network in self.networks_], axis=0)
        chances = chances[:, order]  # (perturbations, genes, bins)
        # In the rows' own precision: a threshold is the effect of a row, which must not exceed itself.
        bins = self.rows_.beyond(self.rows_.effects).sum(dim=2).int().numpy()[:, order]
        even = np.full((1, 1, len(bins)), 1 / len(bins), dtype=np.float32)
        chance = tilted(even, chances, bins)
        weights = train.weights.to_numpy()
        mass = chance * np.maximum(weights, 1e-9).T[:, None, :].astype(np.float32)
        mass /= mass.sum(axis=2).mean(axis=0)[None, :, None]
        return Distribution(
            values=train.effects,
            weights=train.weights,
            rows=pd.DataFrame(1 / len(bins), names, train.effects.index),
            error=wmae(train.effects, self.constant_.effect_, train.weights),
            baseline=train.effects.mean(),
            chance=chance,
            mass=mass,
            scenarios=0.0,
        )

    def said(self, perturbations):
        """Shift of the log odds that an effect lies higher, mean over members: perturbation x gene."""
        names = list(perturbations)
        with torch.no_grad():
            parts = [self._speak(one, names, self.rows_.to(device()))[0] for one in self.networks_]
        shift = self.trust_ * torch.stack(parts).mean(dim=0).cpu().numpy()
        frame = pd.DataFrame(shift, pd.Index(names, name="perturbation"), self.rows_.genes)
        return frame[self.train_.genes]

    def _network(self, genes):
        """A torch module: (names, seen Rows, places of genes) -> shift and width, (names, genes)."""
        raise NotImplementedError

    def _extra(self, network, seen, random):
        """What else a network learns in each step from the seen Rows, a scalar to add to the loss."""
        return 0.0

    def _new(self, seed):
        with seeded(seed, 0):
            return self._network(self.rows_.genes).to(device()).eval()  # `train` trains in turns

    def _pretrain(self):
        """State and history of a network that has learned from the atlas; None without screens."""
        names = None if self.pathways is None else self.pathways.names
        screens = (
            [] if self.atlas is None else atlas_rows(self.atlas, self.rows_.genes, names=names)
        )
        if not screens:
            return None
        random, pairs = np.random.default_rng(self.seed), []
        for rows in screens:
            order = random.permutation(len(rows))
            left = order[: min(2 * AT_ONCE, int(LEFT_OUT * len(rows)))]
            seen = rows.subset(np.setdiff1d(order, left))
            pairs.append((seen, rows.subset(left).like(seen)))
        network = self._new(self.seed)
        settings = replace(self.pretraining, seed=self.pretraining.seed + self.seed)
        history = self._learn(network, pairs, settings, "screens")
        return {name: value.cpu() for name, value in network.state_dict().items()}, history

    def _learn(self, network, pairs, settings, label):
        """Train on the first Rows of each pair, stop on the second (None: do not); the history."""
        place = next(network.parameters()).device
        pairs = [(seen.to(place), left and left.to(place)) for seen, left in pairs]
        sizes = np.array([len(seen) for seen, _ in pairs])

        def step_loss(step, random):
            seen = pairs[random.choice(len(pairs), p=sizes / sizes.sum())][0]
            return self._step(network, seen, random) + self._extra(network, seen, random)

        def check():
            parts = [self._check(network, seen, left) * len(left) for seen, left in pairs]
            return sum(parts) / sum(len(left) for _, left in pairs)

        stopped = all(left is not None for _, left in pairs)
        return train(
            network,
            step_loss,
            settings,
            check=check if stopped else None,
            checkpoint=self._checkpoint(settings, pairs),
            label=f"{type(self).__name__}, {label}",
        )

    def _step(self, network, rows, random):
        """Loss of one batch of rows, seen beside others of the same screen."""
        order = random.permutation(len(rows))
        count = max(1, min(self.batch, len(rows) // 2))
        batch, support = order[:count], order[count : count + SUPPORT]
        genes = np.sort(random.permutation(len(rows.genes))[: self.genes])
        effects, weights = rows.drawn(batch, random)[:, genes], rows.weights[batch][:, genes]
        names = [rows.perturbations[one] for one in batch]
        said = network(names, rows.subset(support, marginals=True), genes)
        pulls = rows.row_weights[batch]
        return loss(self.pieces, rows.columns(genes), *said, effects, weights, pulls)

    def _check(self, network, seen, left):
        """Loss of left-out rows in the terms of those seen."""
        place = next(network.parameters()).device
        seen, left = seen.to(place), left.to(place)
        with torch.no_grad():
            said = self._speak(network, left.perturbations, seen)
            whole = left.effects, left.weights, left.row_weights
            return float(loss(self.pieces, left, *said, *whole))

    def _losses(self, network, seen, left):
        """Loss of each left-out row at each trust: a list of lists."""
        place = next(network.parameters()).device
        seen, left = seen.to(place), left.to(place)
        with torch.no_grad():
            said = self._speak(network, left.perturbations, seen)
        found = []
        for row in range(len(left)):
            one = slice(row, row + 1)
            parts = left.effects[one], left.weights[one], left.row_weights[one]
            told = [part[one] for part in said]
            found.append(
                [
                    float(loss(self.pieces, left, *(trust * part for part in told), *parts))
                    for trust in TRUST
                ]
            )
        return found

    def _speak(self, network, names, seen):
        """What a network says of any number of names: shift and width, (names, genes).

        Less what it says of the rows seen, on average: the genes' odds hold that. A tilt common to all
        knockdowns would please the loss, whose weights lean to large effects, and spoil the decision.
        """
        some = [seen.perturbations[place] for place in seen.spread(COMMON)]
        said, common = (self._say(network, one, seen) for one in (names, some))
        return [part - other.mean(dim=0) for part, other in zip(said, common, strict=True)]

    def _say(self, network, names, seen):
        """The same as it is said."""
        genes = np.arange(len(seen.genes))
        parts = [
            network(names[first : first + AT_ONCE], seen, genes)
            for first in range(0, len(names), AT_ONCE)
        ]
        return [torch.cat(part) for part in zip(*parts, strict=True)]

    def _chances(self, network, names):
        """Chance of each bin: (perturbations, genes, bins), by the odds of all training rows."""
        rows = self.rows_.to(device())
        with torch.no_grad():
            shift, width = self._speak(network, list(names), rows)
            return bin_chances(rows, self.trust_ * shift, self.trust_ * width).cpu().numpy()

    def _resampled(self, train):
        if not self.draws:
            return None
        if train.cells is None:
            self.remarks_.append("no cells to resample: rows are seen as they are")
            return None
        return bootstrap_effects(train, self.draws, seed=self.seed)

    def _key(self, *parts):
        """A name for what was made from these parts by a model of this kind and seed."""
        told = [
            type(self).__name__,
            self.seed,
            self.pretraining,
            self.pieces,
            self.genes,
            self.batch,
        ]
        told += [list(part) if isinstance(part, pd.Index) else part for part in parts]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def _checkpoint(self, settings, pairs):
        """File of a training run, named by all that it depends on."""
        if self.checkpoints is None:
            return None
        folder = Path(self.checkpoints)
        folder.mkdir(parents=True, exist_ok=True)
        content = [hashlib.sha256(seen.effects.cpu().numpy()).hexdigest() for seen, _ in pairs]
        names = [seen.perturbations for seen, _ in pairs]
        key = self._key(settings, self.policy, self.draws, content, names)
        place = folder / f"{type(self).__name__.lower()}-{key}.pt"
        # On Kaggle a session begins with an empty folder; what an earlier one left may be attached.
        attached = [one for mount in MOUNTS for one in KAGGLE_INPUT.glob(f"{mount}/*/{place.name}")]
        if attached and not place.exists():
            shutil.copy(min(attached), place)
        return place
