"""Episodes in which networks learn: some rows of a screen are predicted from others, at some genes.

Several networks learn side by side, each from rows of its own. What an episode is made of is drawn for
all at once, as places; the tensors are picked where the loss is computed, network by network or for many
in one computation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .context import MOST, Context, Priors
from .losses import (
    AT_ONCE,
    COMMON,
    LossWeights,
    centred_logits,
    loss,
    outputs,
    row_losses,
)
from .screen_data import Rows, ScreenData
from .stack import Stack, device

SUPPORT = 80  # context rows in training: as many as the competition has
HIDDEN = 0.3  # share of a step's rows that are treated as if no other screen held them


class Episode(NamedTuple):
    """Places among all rows of `Episodes`, and genes; with a leading axis of networks while it is drawn.

    rows: (batch,), to predict; context: (support,); genes: (genes,); sample: (batch,), which sample of
    cells; hide: (batch,), 1 for rows that are treated as if no other screen held them.
    """

    rows: Tensor
    context: Tensor
    genes: Tensor
    sample: Tensor
    hide: Tensor


class Episodes:
    """Episodes of one screen for several networks, and the rows left out of each, on which it is checked.

    pairs: for each network the ScreenData it sees and the one left out, or None. All networks draw
    equally many rows: as many as the one with the fewest can. batch, genes: at most so many a step.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[ScreenData, ScreenData | None]],
        priors: Priors,
        batch: int,
        genes: int,
    ):
        seen, left = zip(*pairs, strict=True)
        self.seen, self.left, self.name = seen, left, seen[0].name
        names = {name for one in [*seen, *left] if one is not None for name in one.perturbations}
        self.prior = priors.of(self.name, sorted(names))
        fewest = min(map(len, seen))
        self.batch = max(1, min(batch, fewest // 2))
        self.support = min(SUPPORT, fewest - self.batch)
        self.genes = min(genes, len(seen[0].genes))
        self._begins = np.cumsum([0, *map(len, seen)])[:-1]
        self._places = torch.cat([self.prior.places(one.perturbations) for one in seen])
        self._by_row = {
            name: torch.cat([getattr(one, name) for one in seen])
            for name in ("effects", "weights", "row_weights", "draws", "error")
            if getattr(seen[0], name) is not None
        }
        self.marginals = _stacked_marginals(seen)
        self._checked = _Checked(self) if left[0] is not None else None

    def __len__(self):
        """Rows left out, of all networks."""
        return sum(len(one) for one in self.left if one is not None)

    def draw(self, random: np.random.Generator) -> Episode:
        """Draw an episode for each network: an Episode with a leading axis of networks."""
        both = zip(self.seen, self._begins, strict=True)
        found = [self._drawn(one, begin, random) for one, begin in both]
        places = [np.stack(part) for part in zip(*found, strict=True)]
        return Episode(*(torch.as_tensor(part).to(device()) for part in places))

    def given(self, marginals: tuple, episode: Episode) -> tuple[Rows, Context]:
        """What a network is to predict in its episode, and what it is given."""
        own = self._rows(episode.rows, episode.genes, marginals)
        if "draws" in self._by_row:
            drawn = self._by_row["draws"][
                episode.rows[:, None], episode.sample[:, None], episode.genes
            ]
            own = own._replace(effects=drawn)
        elif "error" in self._by_row:
            error = self._by_row["error"][episode.rows[:, None], episode.genes]
            own = own._replace(effects=own.effects + error * noise(error.shape))
        seen = self._rows(episode.context, episode.genes, marginals)
        asked, columns = self._places[episode.rows], self._places[episode.context]
        places = asked, columns, episode.genes, seen
        return own, Context(self.prior, *places, self.name, episode.hide)

    def losses(self, stack: Stack, terms: LossWeights, random: np.random.Generator) -> Tensor:
        """Loss of each network in an episode of its own: (networks,)."""
        drawn, more = self.draw(random), ()
        if hasattr(stack.networks[0], "draw"):
            parts = zip(stack.networks, self.seen, drawn.genes.cpu().numpy(), strict=True)
            each = [network.draw(screen, genes, random) for network, screen, genes in parts]
            more = [torch.stack(part) for part in zip(*each, strict=True)]

        def of(network, marginals, episode, *more):
            truth, context = self.given(marginals, episode)
            found = loss(terms, truth, *outputs(network, context))
            extra = getattr(network, "extra_loss", None)
            return found if extra is None else found + extra(context, *more)

        return stack.map(of, self.marginals, drawn, *more)

    def check(self, stack: Stack, terms: LossWeights) -> Tensor:
        """Loss of each network on the rows left out of it: (networks,)."""
        parts = enumerate(zip(*self.logits(stack), strict=True))
        return torch.stack([loss(terms, self.left_out(place), *part) for place, part in parts])

    def row_losses(
        self, stack: Stack, terms: LossWeights, shares: Sequence[float]
    ) -> list[list[list[float]]]:
        """Loss of each row left out of each network, by row and share, if only a share counted."""
        with torch.no_grad():
            logits, found = self.logits(stack), []
            for place, left in enumerate(self.left):
                parts = self.left_out(place), *(part[place] for part in logits)
                by_share = [row_losses(terms, *parts, share) for share in shares]
                found.append(torch.stack(by_share, dim=1)[: len(left)].tolist())
        return found

    def left_out(self, network: int) -> Rows:
        """Rows left out of a network, below them rows of weight 0, up to as many as any network has.

        At as many genes as a step has: evenly spread ones.
        """
        return Rows(*(part[network] for part in self._checked.left))

    def logits(self, stack: Stack) -> tuple[Tensor, Tensor]:
        """Logit shift and log scale of `left_out` of each network: (networks, rows, genes) each."""
        one = self._checked
        at_once = max(1, AT_ONCE // (len(stack) * len(one.genes)))

        def of(network, marginals, asked, columns):
            seen = self._rows(columns, one.genes, marginals)
            parts = asked, self._places[columns], one.genes, seen
            context = Context(self.prior, *parts, self.name)
            return centred_logits(network, context, one.most, at_once)

        return stack.map(of, self.marginals, one.asked, one.columns)

    def _rows(self, places, genes, marginals):
        part = self._by_row
        both = places[:, None], genes
        weights = part["row_weights"][places]
        marginals = (one[:, genes] for one in marginals)
        return Rows(part["effects"][both], part["weights"][both], weights, *marginals)

    def _drawn(self, screen, begin, random):
        order = begin + random.permutation(len(screen))
        rows, context = order[: self.batch], order[self.batch : self.batch + self.support]
        genes = np.sort(random.permutation(len(screen.genes))[: self.genes])
        draws = 1 if screen.draws is None else screen.draws.shape[1]
        sample = random.integers(draws, size=self.batch)
        hide = (random.random(self.batch) < HIDDEN).astype(np.float32)
        return rows, context, genes, sample, hide


class _Checked:
    """Rows left out of each network, filled up to equally many, and the context to predict them from.

    left: Rows, (networks, ...) each, at `genes`; asked: (networks, most + common), places among the names
    of the prior, of rows left out and then of rows seen; columns: (networks, context), places among all
    rows.
    """

    def __init__(self, episodes):
        seen, left, prior = episodes.seen, episodes.left, episodes.prior
        self.most, fewest = max(map(len, left)), min(map(len, seen))
        asked, columns = [], []
        for one, rest, begin in zip(seen, left, episodes._begins, strict=True):
            filled = [*rest.perturbations, *(self.most - len(rest)) * rest.perturbations[:1]]
            some = [one.perturbations[place] for place in one.spread(min(COMMON, fewest))]
            asked.append(prior.places([*filled, *some]))
            columns.append(torch.as_tensor(begin + one.spread(min(MOST, fewest))).to(device()))
        self.asked, self.columns = torch.stack(asked), torch.stack(columns)
        count = episodes.marginals[0].shape[2]
        genes = np.unique(np.linspace(0, count - 1, episodes.genes).round().astype(int))
        self.genes = torch.as_tensor(genes).to(device())
        parts = [
            torch.stack([_filled(getattr(rest, name), self.most) for rest in left])
            for name in ("effects", "weights", "row_weights")
        ]
        effects, weights = (part[:, :, self.genes] for part in parts[:2])
        marginals = (part[:, :, self.genes] for part in episodes.marginals)
        self.left = Rows(effects, weights, parts[2], *marginals)


def noise(shape: Sequence[int]) -> Tensor:
    """Return normal random numbers, drawn on the CPU: the same on every device."""
    return torch.randn(shape).to(device())


def _filled(part, most):
    """Rows of a tensor, below them zeros."""
    return torch.cat([part, part.new_zeros(most - len(part), *part.shape[1:])])


def _stacked_marginals(screens):
    """Thresholds, odds and values of several screens: (networks, levels, genes) each."""
    names = ("thresholds", "odds", "values")
    return tuple(torch.stack([getattr(one, name) for one in screens]) for name in names)
