"""Train any torch module as a model: on other screens, on the competition, or on both in turn.

Several ensemble members each leave out one part of the training rows: on it the member is stopped early,
and over all parts the network's `shrinkage_` is set, 0 if it does worse than the best constant. All
members, and those of several folds, are trained side by side. What a module is given: `context`; what it
returns, and its loss: `losses`; what it learns from: `episodes`; the loop over steps: `training`.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch

from ..competition import Competition
from ..decision import Distribution, decide
from ..evaluation.splits import folds
from ..expression.pseudobulk import bootstrap_effects
from ..io import locate
from ..io.files import InputError
from ..knowledge import Knowledge
from ..models.baselines import Constant
from ..models.pooled_regression import tilted
from .context import HELD, Context, Priors
from .episodes import Episodes
from .losses import LossWeights, bin_chances, predict_logits
from .screen_data import ScreenData, atlas_data, competition_data, to_frame
from .stack import Stack, description, device
from .training import FoldCache, Settings, seeded, train

POLICIES = ("screens", "competition", "pretrain")
AT_ONCE = 18  # networks side by side, those of five folds and of all rows: 5 GB with 5,000 genes
SHRINKAGES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEFT_OUT, MOST = 0.15, 64  # share of a screen's rows, and rows, on which pretraining is stopped
LOSS = LossWeights()
PRETRAINING = Settings(steps=400)
TUNING = Settings(steps=120, rate=1e-3, every=10)


@dataclass(frozen=True, eq=False)
class Setup:
    """What a module is made for, given to `make_module`.

    genes: names, sorted; kernels: names of the kernels in a Context; control: (genes,), mean log2
    expression of control cells. Of use to some: train, the Competition of the fit; knowledge.
    """

    genes: pd.Index
    kernels: list[str]
    control: np.ndarray
    train: Competition
    knowledge: Knowledge


@dataclass(eq=False, repr=False)
class Trained:
    """A model that trains a torch module.

    make_module: Setup -> torch.nn.Module, which is called with a Context and returns logit shift and log
    scale, two tensors (perturbations, genes); under torch.vmap, several modules at once. It may have
    `extra_loss(context, *drawn)`, a scalar that is added to each step's loss, and `draw(screen, genes,
    random)`, which returns the tensors `drawn`, of the same shapes in every step. A module class whose
    constructor takes a Setup is a make_module.

    policy: `competition` learns from the competition's training rows alone; `screens` learns from other
    screens alone, and uses the competition's rows only for the odds of each gene and the shrinkage;
    `pretrain` learns from other screens, then from the competition. loss: LossWeights. draws: samples of
    resampled cells that replace the rows in tuning, 0 for none. members: ensemble members, each of which
    leaves out one part of the rows; a single one leaves out nothing and gets a shrinkage of 0. batch:
    rows a step. genes: at most so many, drawn anew, a step. pretraining, tuning: Settings. checkpoints:
    folder to resume from after a kill, or None. cache: FoldCache shared by models that pretrain on the
    same data.

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
    pretraining: Settings = PRETRAINING
    tuning: Settings = TUNING
    checkpoints: Path | str | None = None
    cache: FoldCache = field(default_factory=FoldCache)
    seed: int = 0

    def __post_init__(self):
        self.knowledge = self.knowledge or Knowledge()

    def fit(self, train: Competition) -> Self:
        """Train the ensemble members and set the shrinkage."""
        _fit([self], [train])
        return self

    def fit_each(self, trains: Sequence[Competition]) -> list[Self]:
        """Return a fitted copy of the model for each Competition, such as the folds of one.

        All are trained side by side: on a GPU this takes little longer than a single fit.
        """
        models = [deepcopy(self) for _ in trains]
        _fit(models, trains)
        return models

    def _begin(self, train):
        """Set what a fit starts from."""
        if self.policy not in POLICIES:
            raise InputError(f"policy is `{self.policy}`, want one of {', '.join(POLICIES)}")
        self.knowledge_ = self.knowledge.concerning(train)
        self.train_, self.constant_ = train, Constant().fit(train)
        self.remarks_, self.networks_, self.history_ = [], [], []
        self.rows_ = competition_data(train, self._resampled(train))
        key = ("priors", self.knowledge_.fingerprint, tuple(self.rows_.genes))
        self.priors_ = self.cache.get(key, lambda: Priors(self.knowledge_, self.rows_.genes))
        self.priors_.expect([*train.effects.index, *train.targets["perturbation"]])

    def _ensemble(self):
        """Make the ensemble members, pretrained as the policy wants it: an iterator."""
        start = None
        if self.policy != "competition":
            start = self.cache.get(self._key("screens"), self._pretrain)
            if start is None:
                self.remarks_.append("no screen to learn from: the network starts untrained")
            else:
                self.history_.append(start[1])
                self.remarks_ += start[2]
        for member, (seen, left) in enumerate(self._parts()):
            network = self._new(self.seed + member)
            if start is not None:
                network.load_state_dict(start[0])
            self.networks_.append(network)
            yield _Member(self, member, network, seen, left)

    def _end(self, losses):
        """Set the shrinkage by the loss of rows left out: (rows, shrinkages)."""
        # Less the loss of the genes' own odds: 0 at a shrinkage of 0, whatever the loss is made of.
        gains = pd.DataFrame(losses, columns=SHRINKAGES, dtype=float)
        gains = gains.sub(gains[0.0], axis=0)
        self.shrinkage_curve_ = gains.mean() if len(gains) else pd.Series(0.0, SHRINKAGES)
        # A gain that only few rows show may be chance: it must exceed its standard error.
        self.shrinkage_ = float((self.shrinkage_curve_ + gains.sem().fillna(0.0)).idxmin())
        histories = self.history_ or [pd.DataFrame()]
        self.history_ = pd.concat(histories, ignore_index=True)

    def predict(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the score-optimal effects, perturbation x gene; at a shrinkage of 0 the constant's."""
        prediction = self.constant_.predict(perturbations)
        known = self.knowledge_.knows(prediction.index).to_numpy()
        if self.shrinkage_ and known.any():
            distribution = self.predict_distribution(prediction.index[known])
            prediction.loc[known] = decide(distribution).to_numpy()
        return prediction

    def predict_distribution(self, perturbations: Sequence[str]) -> Distribution:
        """Return the predictive distribution over the training rows' effects, by gene."""
        train, rows = self.train_, self.rows_
        order = rows.genes.get_indexer(train.genes)

        def chances_of(network):
            logits = self._logits(network, perturbations, rows)
            return bin_chances(rows.rows, *(self.shrinkage_ * part for part in logits))

        chances = self._averaged(chances_of).cpu().numpy()[:, order]  # (perturbations, genes, bins)
        # In the rows' own precision: a threshold is the effect of a row, which must not exceed itself.
        bins = rows.rows.beyond().sum(dim=2).int().cpu().numpy()[:, order]
        even = np.full((1, 1, len(bins)), 1 / len(bins), dtype=np.float32)
        chance = tilted(even, chances, bins)
        weights = train.weights.to_numpy()
        mass = chance * np.maximum(weights, 1e-9).T[:, None, :].astype(np.float32)
        mass /= mass.sum(axis=2).mean(axis=0)[None, :, None]
        names = pd.Index(list(perturbations), name="perturbation")
        return Distribution(
            values=train.effects,
            weights=train.weights,
            rows=pd.DataFrame(1 / len(bins), names, train.effects.index),
            error=self.constant_.error_,
            baseline=train.effects.mean(),
            chance=chance,
            mass=mass,
            scenarios=0.0,
        )

    def logit_shift(self, perturbations: Sequence[str]) -> pd.DataFrame:
        """Return the shift of the log odds that an effect is higher: perturbation x gene.

        Mean over the ensemble members, after shrinkage.
        """
        shift = self._averaged(lambda one: self._logits(one, perturbations, self.rows_)[0])
        shift = to_frame(self.shrinkage_ * shift, perturbations, self.rows_.genes)
        return shift[self.train_.genes]

    def _averaged(self, part) -> torch.Tensor:
        """What `part(network)` returns, mean over the ensemble members."""
        with torch.no_grad():
            return torch.stack([part(network) for network in self.networks_]).mean(dim=0)

    def _logits(self, network, perturbations, seen):
        """Logit shift and log scale before shrinkage: (perturbations, genes) each."""
        with torch.no_grad():
            return predict_logits(network, self.priors_, list(perturbations), seen)

    def _context(self, perturbations, genes=None) -> Context:
        """Context of perturbations among the training rows of a fitted model."""
        return Context.of(self.priors_, perturbations, self.rows_, genes)

    def _seen(self):
        """Names of the training rows that `_context` holds."""
        context = self._context([], [0])
        return [context.prior.names[place] for place in context.columns.tolist()]

    def _new(self, seed):
        genes, train = self.rows_.genes, self.train_
        control = train.control.reindex(genes).to_numpy()
        with seeded(seed, 0):
            network = self.make_module(
                Setup(genes, self.priors_.kernels, control, train, self.knowledge_)
            )
        return network.to(device()).eval()  # `train` trains in turns

    def _parts(self):
        """Rows seen and left out by each member: pairs of ScreenData, (all, None) if none is left out."""
        places = np.arange(len(self.rows_))
        count = max(1, min(self.members, len(places) // 2))
        parts = folds(places, count, seed=self.seed) if count > 1 else [[]]
        return [self.rows_.split(part) for part in parts]

    def _pretrain(self):
        """State, history and remarks of a network that learned from the atlas; None without screens."""
        known = self.knowledge_.atlas is not None
        screens = atlas_data(self.knowledge_, self.rows_.genes) if known else []
        if not screens:
            return None
        random, pairs, remarks = np.random.default_rng(self.seed), [], []
        for rows in screens:
            if len(rows) > HELD:
                line = f"learns from {HELD:,} of {len(rows):,} perturbations of {rows.name}"
                remarks.append(line)
                rows = rows.subset(np.sort(random.permutation(len(rows))[:HELD]))
            count = min(MOST, int(LEFT_OUT * len(rows)))
            pairs.append(rows.split(random.permutation(len(rows))[:count]))
        network = self._new(self.seed)
        groups = [self._episodes([pair]) for pair in pairs]
        (history,) = self._learn([network], groups, "screens")
        history = history.assign(stage="screens", member=0)
        state = {name: value.cpu() for name, value in network.state_dict().items()}
        return state, history, remarks

    def _episodes(self, pairs):
        return Episodes(pairs, self.priors_, self.batch, self.genes)

    def _learn(self, networks, screens, stage):
        """Train networks side by side on the Episodes of some screens; the history of each."""
        settings = self.pretraining if stage == "screens" else self.tuning
        settings = replace(settings, seed=settings.seed + self.seed)
        sizes = np.array([sum(map(len, one.seen)) for one in screens])

        def losses(stack, step, random):
            episodes = screens[random.choice(len(screens), p=sizes / sizes.sum())]
            return episodes.losses(stack, self.loss, random)

        def check(stack):
            found = torch.stack([one.check(stack, self.loss) for one in screens])
            left = torch.tensor([float(len(one)) for one in screens], device=found.device)
            return (found * left[:, None]).sum(dim=0) / left.sum()

        return train(
            networks,
            losses,
            settings,
            check=None if screens[0].left[0] is None else check,
            checkpoint=self._checkpoint(settings, screens, stage),
            label=f"{type(networks[0]).__name__}, {stage}",
        )

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

    def _key(self, stage, *parts):
        """A name for what a model of this kind, seed and knowledge makes in a stage from these parts."""
        targets, genes = sorted(self.train_.targets["perturbation"]), list(self.rows_.genes)
        module = getattr(self.make_module, "__qualname__", ""), description(self._new(0))
        data = self.knowledge_.fingerprint, targets, genes, stage
        options = self.seed, self.pretraining, self.loss, self.genes, self.batch
        return hashlib.sha256(repr((*module, *data, *options, *parts)).encode()).hexdigest()[:16]

    def _checkpoint(self, settings, screens, stage):
        """File of a training run, named by all that it depends on."""
        if self.checkpoints is None:
            return None
        folder = Path(self.checkpoints)
        folder.mkdir(parents=True, exist_ok=True)
        seen = [one for episodes in screens for one in episodes.seen]
        rows = [one.perturbations for one in seen]
        rows += [hashlib.sha256(one.effects.cpu().numpy()).hexdigest() for one in seen]
        start = () if stage == "screens" else (self.policy, self.draws)
        place = folder / f"{self._key(stage, settings, *rows, *start)}.pt"
        # On Kaggle a session begins with an empty folder; what an earlier one left may be attached.
        kernels = [run for kind in locate.places(locate.RUNS).values() for run in kind]
        attached = [one for run in kernels for one in run.glob(f"*/{place.name}")]
        if attached and not place.exists():
            shutil.copy(min(attached), place)
        return place


class _Member(NamedTuple):
    """An ensemble member of a model: its number, network, rows that it sees, rows left out or None."""

    model: Trained
    number: int
    network: torch.nn.Module
    seen: ScreenData
    left: ScreenData | None


def _fit(models, trains):
    """Fit models that differ in their training rows alone, members of all side by side."""
    for model, train_rows in zip(models, trains, strict=True):
        model._begin(train_rows)
    losses = {id(model): [] for model in models}
    for members in _of_one_kind([one for model in models for one in model._ensemble()]):
        first, *_ = members
        episodes = first.model._episodes([(one.seen, one.left) for one in members])
        networks = [one.network for one in members]
        if first.model.policy != "screens":
            histories = first.model._learn(networks, [episodes], "competition")
            for one, history in zip(members, histories, strict=True):
                history = history.assign(stage="competition", member=one.number)
                one.model.history_.append(history)
        if first.left is not None:
            found = episodes.row_losses(Stack(networks), first.model.loss, SHRINKAGES)
            for one, rows in zip(members, found, strict=True):
                losses[id(one.model)] += rows
    for model in models:
        model._end(losses[id(model)])


def _of_one_kind(members):
    """Lists of members that can be trained side by side: the same shapes, rows left out or none."""
    groups = {}
    for one in members:
        shapes = [tuple(part.shape) for part in [*one.network.parameters(), *one.network.buffers()]]
        groups.setdefault((tuple(shapes), one.left is None), []).append(one)
    for group in groups.values():
        yield from (group[first : first + AT_ONCE] for first in range(0, len(group), AT_ONCE))
