"""What the three networks have in common: from what they learn, and how far they are believed.

A network hears names of knockdowns and the rows already seen, and says a shift and a width of each gene's
odds (`losses`). It may learn on other screens, on the competition, or on both in turn. Several members
each leave out one part of the training rows: on it the member is stopped early, and over all parts the
network's `shrinkage_` is set, 0 if it does worse than the best constant. How one is taught and asked:
`episodes`; what a network is: `gnn`, `transformer`, `vae`.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..decision import Distribution, decide
from ..evaluation.splits import folds
from ..expression.bootstrap import bootstrap_effects
from ..io import locate
from ..io.device import device
from ..io.files import InputError
from ..knowledge import Knowledge
from ..metric import wmae
from ..models.baselines import Constant
from ..models.ordinal import tilted
from .episodic_training import check_loss, predict_logits, row_losses, step_loss
from .losses import LossWeights, bin_chances
from .screen_data import atlas_rows, competition_rows
from .training import Settings, seeded, train

POLICIES = ("screens", "competition", "pretrain")
SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEFT_OUT, MOST = 0.15, 64  # share of a screen's rows, and rows, on which pretraining is stopped
LOSS_WEIGHTS = LossWeights()
PRETRAINING = Settings(steps=400)
TUNING = Settings(steps=120, rate=1e-3, every=10)


class FoldCache:
    """What is the same in all folds, such as a network pretrained on other screens: shared by copies."""

    def __init__(self):
        self.kept = {}

    def __deepcopy__(self, memo):
        return self

    def get(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


class Trained:
    """A network behind the models' door; subclasses say which, in `_network`.

    knowledge: what is known from elsewhere. policy: `screens` (learn from the atlas only;
    the competition's rows set each gene's odds and the trust), `competition` (from its rows only) or
    `pretrain` (first one, then the other). pieces: of the loss. draws: samples of resampled cells that
    tuning sees instead of the rows themselves, 0 for none. members: parts and networks; of one alone
    nothing is left out, and it is not believed. batch: rows a step. genes: at most so many, drawn anew, a
    step. pretraining, tuning: Settings. checkpoints: folder to resume from after a kill, or None. once:
    shared by models that pretrain alike.

    Learns `shrinkage_`, `history_` (stage, member, step, rate, loss, check), and `remarks_`. A
    perturbation of which nothing is known gets the constant's prediction.
    """

    def __init__(
        self,
        knowledge: Knowledge | None = None,
        *,
        policy="pretrain",
        pieces=LOSS_WEIGHTS,
        draws=0,
        members=3,
        batch=16,
        genes=1024,
        pretraining=PRETRAINING,
        tuning=TUNING,
        checkpoints=None,
        once=None,
        seed=0,
    ):
        self.knowledge = knowledge or Knowledge()
        self.policy = policy
        self.pieces = pieces
        self.draws = draws
        self.members = members
        self.batch = batch
        self.genes = genes
        self.pretraining = pretraining
        self.tuning = tuning
        self.checkpoints = checkpoints
        self.once = FoldCache() if once is None else once
        self.seed = seed

    def fit(self, train):
        if self.policy not in POLICIES:
            raise InputError(f"policy is `{self.policy}`, want one of {', '.join(POLICIES)}")
        self.train_, self.constant_ = train, Constant().fit(train)
        self.remarks_, histories = [], []
        self.rows_ = competition_rows(train, self._resampled(train))
        start = None
        if self.policy != "competition":
            start = self.once.get(self._key("screens"), self._pretrain)
            if start is None:
                self.remarks_.append("no screen to learn from: the network starts untrained")
            else:
                histories.append(start[1].assign(stage="screens", member=0))
        self.networks_, losses = [], []
        for member, (seen, left) in enumerate(self._parts()):
            network = self._new(self.seed + member)
            if start is not None:
                network.load_state_dict(start[0])
            if self.policy != "screens":
                settings = replace(self.tuning, seed=self.tuning.seed + self.seed + member)
                history = self._learn(network, [(seen, left)], settings, "competition")
                histories.append(history.assign(stage="competition", member=member))
            self.networks_.append(network)
            if left is not None:
                losses += row_losses(network, seen, left, self.pieces, SHRINKAGES)
        # Beside what the genes' own odds lose: 0 without trust, whatever the loss is made of.
        gains = pd.DataFrame(losses, columns=SHRINKAGES, dtype=float)
        gains = gains.sub(gains[0.0], axis=0)
        self.shrinkage_curve_ = gains.mean() if len(gains) else pd.Series(0.0, SHRINKAGES)
        # Of a gain that few rows agree in, or none, a network is not believed to have learned it.
        self.shrinkage_ = float((self.shrinkage_curve_ + gains.sem().fillna(0.0)).idxmin())
        self.history_ = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
        return self

    def predict(self, perturbations):
        """Effects, perturbation x gene, as `decide` chooses them; without trust the constant's."""
        prediction = self.constant_.predict(perturbations)
        known = self.knowledge.knows(prediction.index).to_numpy()
        if self.shrinkage_ and known.any():
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

    def logit_shift(self, perturbations):
        """Shift of the log odds that an effect lies higher, mean over members: perturbation x gene."""
        names, rows = list(perturbations), self.rows_.to(device())
        with torch.no_grad():
            parts = [predict_logits(network, names, rows)[0] for network in self.networks_]
        shift = self.shrinkage_ * torch.stack(parts).mean(dim=0).cpu().numpy()
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

    def _parts(self):
        """Rows seen and left out by each member: pairs of Rows, (all, None) where none is left out."""
        places = np.arange(len(self.rows_))
        count = max(1, min(self.members, len(places) // 2))
        for part in folds(places, count, seed=self.seed) if count > 1 else [[]]:
            seen = self.rows_.subset(np.setdiff1d(places, part))
            yield seen, self.rows_.subset(part).like(seen) if len(part) else None

    def _pretrain(self):
        """State and history of a network that has learned from the atlas; None without screens."""
        if self.knowledge.atlas is None:
            return None
        random, pairs = np.random.default_rng(self.seed), []
        for rows in atlas_rows(self.knowledge, self.rows_.genes):
            order = random.permutation(len(rows))
            left = order[: min(MOST, int(LEFT_OUT * len(rows)))]
            seen = rows.subset(np.setdiff1d(order, left))
            pairs.append((seen, rows.subset(left).like(seen)))
        if not pairs:
            return None
        network = self._new(self.seed)
        settings = replace(self.pretraining, seed=self.pretraining.seed + self.seed)
        history = self._learn(network, pairs, settings, "screens")
        return {name: value.cpu() for name, value in network.state_dict().items()}, history

    def _learn(self, network, pairs, settings, stage):
        """Train on the first Rows of each pair, stop on the second (None: do not); the history."""
        checkpoint = self._checkpoint(settings, pairs, stage)
        place = next(network.parameters()).device
        pairs = [(seen.to(place), left and left.to(place)) for seen, left in pairs]
        sizes = np.array([len(seen) for seen, _ in pairs])

        def drawn(step, random):
            seen = pairs[random.choice(len(pairs), p=sizes / sizes.sum())][0]
            return self._step(network, seen, random)

        def check():
            parts = [
                float(check_loss(network, *pair, self.pieces)) * len(pair[1]) for pair in pairs
            ]
            return sum(parts) / sum(len(left) for _, left in pairs)

        stopped = all(left is not None for _, left in pairs)
        options = {"check": check if stopped else None, "checkpoint": checkpoint}
        return train(network, drawn, settings, label=f"{type(self).__name__}, {stage}", **options)

    def _step(self, network, seen, random):
        """Loss of one step on rows of one screen."""
        options = {"pieces": self.pieces, "batch": self.batch, "genes": self.genes}
        return step_loss(network, seen, random, **options) + self._extra(network, seen, random)

    def _chances(self, network, names):
        """Chance of each bin: (perturbations, genes, bins), by the odds of all training rows."""
        rows = self.rows_.to(device())
        with torch.no_grad():
            shift, width = predict_logits(network, list(names), rows)
            return bin_chances(rows, self.shrinkage_ * shift, self.shrinkage_ * width).cpu().numpy()

    def _resampled(self, train):
        if not self.draws:
            return None
        if train.cells is None:
            self.remarks_.append("no cells to resample: rows are seen as they are")
            return None
        return bootstrap_effects(train, self.draws, seed=self.seed)

    def _key(self, stage, *parts):
        """A name for what a model of this kind, seed and knowledge makes in a stage from these parts."""
        targets = sorted(self.train_.targets["perturbation"])
        told = [type(self).__name__, self.seed, self.knowledge.fingerprint, targets]
        told += [list(self.rows_.genes), self.pretraining, self.pieces, self.genes, self.batch]
        return hashlib.sha256(repr([*told, stage, *parts]).encode()).hexdigest()[:16]

    def _checkpoint(self, settings, pairs, stage):
        """File of a training run, named by all that it depends on."""
        if self.checkpoints is None:
            return None
        folder = Path(self.checkpoints)
        folder.mkdir(parents=True, exist_ok=True)
        content = [hashlib.sha256(seen.effects.numpy()).hexdigest() for seen, _ in pairs]
        names = [seen.perturbations for seen, _ in pairs]
        start = () if stage == "screens" else (self.policy, self.draws)
        key = self._key(stage, settings, content, names, *start)
        place = folder / f"{type(self).__name__.lower()}-{key}.pt"
        # On Kaggle a session begins with an empty folder; what an earlier one left may be attached.
        kernels = [run for kind in locate.places(locate.RUNS).values() for run in kind]
        attached = [one for run in kernels for one in run.glob(f"*/{place.name}")]
        if attached and not place.exists():
            shutil.copy(min(attached), place)
        return place
