"""Train any torch module as a model: on other screens, on the competition, or on both in turn.

Several ensemble members each leave out one part of the training rows: on it the member is stopped early,
and over all parts the network's `shrinkage_` is set, 0 if it does worse than the best constant. What a
module is given: `context`; what it returns, and its loss: `losses`; the loop over steps: `training`.
"""

import copy
import hashlib
import inspect
import shutil
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch

from ..competition import Competition
from ..decision import Distribution, decide
from ..evaluation.splits import folds
from ..expression.bootstrap import bootstrap_effects
from ..io import locate
from ..io.device import device
from ..io.files import InputError
from ..knowledge import Knowledge
from ..metric import wmae
from ..models.baselines import Constant
from ..models.pooled_regression import tilted
from .context import Context, Contexts
from .losses import Episodes, LossWeights, bin_chances, predict_logits
from .screen_data import atlas_data, competition_data
from .training import FoldCache, Settings, seeded, train

POLICIES = ("screens", "competition", "pretrain")
SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEFT_OUT, MOST = 0.15, 64  # share of a screen's rows, and rows, on which pretraining is stopped
METRIC = LossWeights(chance=0, wmae=1, cosine=0.2)  # the competition's own terms alone
RESAMPLED = 8  # samples of cells
LOSS = LossWeights()
PRETRAINING = Settings(steps=400)
TUNING = Settings(steps=120, rate=1e-3, every=10)


@dataclass(frozen=True, eq=False)
class Setup:
    """What a module is made for, given to `make_module`.

    genes: names, sorted; kernels: names of the kernels in a Context; control: (genes,), mean log2
    expression of control cells. Of use to some: train, the Competition of the fit; knowledge; cache, a
    FoldCache of what need not be made again for the next module.
    """

    genes: pd.Index
    kernels: list[str]
    control: np.ndarray
    train: Competition
    knowledge: Knowledge
    cache: FoldCache


@dataclass(eq=False, repr=False)
class Trained:
    """A model that trains a torch module.

    make_module: Setup -> torch.nn.Module, which is called with a Context and returns logit shift and log
    scale, two tensors (perturbations, genes). It may have `extra_loss(screen, random)`, a scalar that is
    added to each step's loss. A module class whose constructor takes a Setup is a make_module.

    policy: `competition` learns from the competition's training rows alone; `screens` learns from other
    screens alone, and uses the competition's rows only for the odds of each gene and the shrinkage;
    `pretrain` learns from other screens, then from the competition. loss: LossWeights. draws: samples of
    resampled cells that replace the rows in tuning, 0 for none. members: ensemble members, each of which
    leaves out one part of the rows; a single one leaves out nothing and gets a shrinkage of 0. batch:
    rows a step. genes: at most so many, drawn anew, a step. hidden: share of the rows that are treated in
    training as if no other screen held them. pretraining, tuning: Settings. checkpoints: folder to resume
    from after a kill, or None. cache: FoldCache shared by models that pretrain on the same data.

    Learns `shrinkage_`, `shrinkage_curve_`, `networks_`, `history_` (stage, member, step, rate, loss,
    check) and `remarks_`. Perturbations of which nothing is known get the constant's prediction.
    """

    make_module: Callable[[Setup], torch.nn.Module]
    knowledge: Knowledge | None = None
    _: KW_ONLY
    policy: str = "pretrain"
    loss: LossWeights = LOSS
    draws: int = 0
    members: int = 3
    batch: int = 16
    genes: int = 1024
    hidden: float = 0.3
    pretraining: Settings = PRETRAINING
    tuning: Settings = TUNING
    checkpoints: Path | str | None = None
    cache: FoldCache = field(default_factory=FoldCache)
    seed: int = 0

    def __post_init__(self):
        self.knowledge = self.knowledge or Knowledge()

    def fit(self, train: Competition) -> Self:
        """Train the ensemble members and set the shrinkage."""
        if self.policy not in POLICIES:
            raise InputError(f"policy is `{self.policy}`, want one of {', '.join(POLICIES)}")
        self.train_, self.constant_ = train, Constant().fit(train)
        self.remarks_, histories = [], []
        self.rows_ = competition_data(train, self._resampled(train))
        self.contexts_ = self._contexts()
        self.episodes_ = Episodes(self.contexts_, self.loss, self.batch, self.genes, self.hidden)
        start = None
        if self.policy != "competition":
            start = self.cache.get(self._key("screens"), self._pretrain)
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
                losses += self._row_losses(network, seen, left)
        # Less the loss of the genes' own odds: 0 at a shrinkage of 0, whatever the loss is made of.
        gains = pd.DataFrame(losses, columns=SHRINKAGES, dtype=float)
        gains = gains.sub(gains[0.0], axis=0)
        self.shrinkage_curve_ = gains.mean() if len(gains) else pd.Series(0.0, SHRINKAGES)
        # A gain that only few rows show may be chance: it must exceed its standard error.
        self.shrinkage_ = float((self.shrinkage_curve_ + gains.sem().fillna(0.0)).idxmin())
        self.history_ = pd.concat(histories, ignore_index=True) if histories else pd.DataFrame()
        return self

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the score-optimal effects, perturbation x gene; at a shrinkage of 0 the constant's."""
        prediction = self.constant_.predict(perturbations)
        known = self.knowledge.knows(prediction.index).to_numpy()
        if self.shrinkage_ and known.any():
            distribution = self.predict_distribution(prediction.index[known])
            prediction.loc[known] = decide(distribution).to_numpy()
        return prediction

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the predictive distribution over the training rows' effects, by gene."""
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

    def logit_shift(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the shift of the log odds that an effect is higher: perturbation x gene.

        Mean over the ensemble members, after shrinkage.
        """
        names = list(perturbations)
        parts = [self._logits(network, names)[0] for network in self.networks_]
        shift = self.shrinkage_ * torch.stack(parts).mean(dim=0).cpu().numpy()
        frame = pd.DataFrame(shift, pd.Index(names, name="perturbation"), self.rows_.genes)
        return frame[self.train_.genes]

    def _context(self, perturbations, genes=None) -> Context:
        """Context of perturbations among the training rows of a fitted model."""
        return self.contexts_(perturbations, self.rows_.to(device()), genes)

    def _contexts(self):
        """Contexts of all that is known, kept between fits, that expect this fit's rows and targets."""
        key = ("contexts", self.knowledge.fingerprint, tuple(self.rows_.genes))
        contexts = self.cache.get(key, lambda: Contexts(self.knowledge, self.rows_.genes))
        contexts.expect([*self.train_.effects.index, *self.train_.targets["perturbation"]])
        return contexts

    def _new(self, seed):
        genes, train = self.rows_.genes, self.train_
        parts = self.contexts_.kernels, train.control.reindex(genes).to_numpy(), train
        setup = Setup(genes, *parts, self.knowledge, self.cache)
        with seeded(seed, 0):
            return self.make_module(setup).to(device()).eval()  # `train` trains in turns

    def _parts(self):
        """Rows seen and left out by each member: pairs of ScreenData, (all, None) if none is left out."""
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
        for rows in atlas_data(self.knowledge, self.rows_.genes):
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
        """Train on the first ScreenData of each pair, stop on the second (None: do not); the history."""
        checkpoint = self._checkpoint(settings, pairs, stage)
        place = next(network.parameters()).device
        pairs = [(seen.to(place), left and left.to(place)) for seen, left in pairs]
        sizes = np.array([len(seen) for seen, _ in pairs])

        def drawn(step, random):
            seen = pairs[random.choice(len(pairs), p=sizes / sizes.sum())][0]
            return self._step(network, seen, random)

        def check():
            losses = [float(self.episodes_.check_loss(network, *pair)) for pair in pairs]
            counts = [len(left) for _, left in pairs]
            return sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(
                counts
            )

        stopped = all(left is not None for _, left in pairs)
        options = {"check": check if stopped else None, "checkpoint": checkpoint}
        return train(network, drawn, settings, label=f"{self._name}, {stage}", **options)

    def _step(self, network, seen, random):
        """Loss of one step on rows of one screen."""
        loss = self.episodes_.step_loss(network, seen, random)
        extra = getattr(network, "extra_loss", None)
        return loss if extra is None else loss + extra(seen, random)

    def _row_losses(self, network, seen, left):
        return self.episodes_.row_losses(network, seen, left, SHRINKAGES)

    def _logits(self, network, names):
        """Logit shift and log scale of perturbations by one network, before shrinkage."""
        with torch.no_grad():
            return predict_logits(network, self.contexts_, names, self.rows_.to(device()))

    def _chances(self, network, names):
        """Probability of each bin, by the odds of all training rows: (perturbations, genes, bins)."""
        parts = [self.shrinkage_ * part for part in self._logits(network, names)]
        return bin_chances(self.rows_.to(device()), *parts).cpu().numpy()

    def _resampled(self, train):
        """Effects in resampled cells, kept for all fits on the same rows; None without cells."""
        if not self.draws:
            return None
        if train.cells is None:
            self.remarks_.append("no cells to resample: rows are used as they are")
            return None
        key = ("draws", str(train.cells), self.draws, self.seed, *train.effects.index)
        make = partial(bootstrap_effects, train, self.draws, seed=self.seed)
        return self.cache.get((*key, *train.genes), make)

    @property
    def _name(self):
        if type(self) is not Trained:
            return type(self).__name__
        return getattr(self.make_module, "__qualname__", type(self.make_module).__name__)

    def _key(self, stage, *parts):
        """A name for what a model of this kind, seed and knowledge makes in a stage from these parts."""
        targets = sorted(self.train_.targets["perturbation"])
        parts = [self._name, self.seed, self.knowledge.fingerprint, targets, stage, *parts]
        parts += [list(self.rows_.genes), self.pretraining, self.loss, self.genes, self.batch]
        parts += [self.hidden, *_description(self._new(0))]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

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
        place = folder / f"{self._name.lower()}-{key}.pt"
        # On Kaggle a session begins with an empty folder; what an earlier one left may be attached.
        kernels = [run for kind in locate.places(locate.RUNS).values() for run in kind]
        attached = [one for run in kernels for one in run.glob(f"*/{place.name}")]
        if attached and not place.exists():
            shutil.copy(min(attached), place)
        return place


def variants(model: Trained, *, cells: bool, screens: bool) -> dict[str, Trained]:
    """Return models by name: `model` with one thing changed at a time.

    cells: whether the competition has cells to resample; screens: whether there is an atlas. Policies
    come first; then, of the policy that uses most, rows of resampled cells and the competition's loss.
    All share what they have learned from the same screens.
    """

    def changed(**options):
        one = copy.deepcopy(model)  # shares `cache`
        vars(one).update(options)
        return one

    policies = ("screens", "competition", "pretrain") if screens else ("competition",)
    found = {policy: changed(policy=policy) for policy in policies}
    last = policies[-1]
    if cells:
        found[f"{last}, resampled"] = changed(policy=last, draws=RESAMPLED)
    found[f"{last}, metric loss"] = changed(policy=last, loss=METRIC)
    return found


def _description(module):
    """What distinguishes an untrained module: its code, layers, sizes and plain attributes."""
    try:
        code = inspect.getsource(type(module))
    except (OSError, TypeError):  # typed in at a prompt
        code = type(module).forward.__code__.co_code
    shapes = [(name, tuple(value.shape)) for name, value in module.state_dict().items()]
    options = {name: value for name, value in vars(module).items() if _plain(value)}
    return code, repr(module), shapes, options


def _plain(value):
    size = is_dataclass(value) and not isinstance(value, Setup)
    return size or isinstance(value, (bool, int, float, str, tuple))
