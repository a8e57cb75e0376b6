"""A transformer that has no embedding to learn of a knockdown: it attends to knockdowns that were seen.

Two attentions follow each other (`attention`). Between *knockdowns*: the one asked for is the query,
those of the same screen are the keys, by likeness that is known beforehand (`views`), and the values are
their effects, gene by gene: an attentive neural process (Kim et al. 2019), learned in episodes of a few
rows beside 80 others. Between *genes*: each gene is a token of what the heads found for it, its identity,
its expression in control cells, whether it is the gene knocked down and how near that is by pathways.
Tokens exchange through a few latents (Set Transformer, Lee et al. 2019; Perceiver, Jaegle et al. 2021),
so that memory grows with the number of genes, not with its square. Odds are read from each gene's token.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from .attention import Block, Heads, averaged, cross, first_mix, regressed, root, shares
from .deep import Deep
from .rows import LEVELS
from .training import Settings, device
from .views import Views

LOOKED_AT = 256  # rows of a screen, evenly spread, that a prediction attends to at most
IDENTITY = 8  # numbers by which a gene is told from others
CHANNELS = 3  # numbers that stand for an effect: overall, far up, far down
CROSS = 2  # heads by likeness of rows' effects to the response elsewhere, alike and opposed


@dataclass(frozen=True)
class Shape:
    """Size of the network.

    heads: attentions over knockdowns whose weights are a power of likeness; solved: those that weigh as
    kernel ridge regression does; width: of gene tokens; latents: through which they exchange; blocks: of
    attention between genes; hidden: share of knockdowns treated in training as if no other screen held
    them, so that those without a response elsewhere are practised too.
    """

    heads: int = 12
    solved: int = 4
    width: int = 32
    latents: int = 16
    blocks: int = 1
    hidden: float = 0.3


SHAPE = Shape()
PRETRAINING = Settings(steps=400, rate=2e-3)
TUNING = Settings(steps=120, rate=1e-3, every=10)


class Transformer(Deep):
    """The transformer behind the models' door; shape: its size, the rest as in `Deep`."""

    def __init__(
        self,
        pathways=None,
        atlas=None,
        *,
        shape=SHAPE,
        batch=8,
        tuning=TUNING,
        pretraining=PRETRAINING,
        **options,
    ):
        options |= {"batch": batch, "tuning": tuning, "pretraining": pretraining}
        super().__init__(pathways, atlas, **options)
        self.shape = shape

    def attention(self, perturbations):
        """Share of attention that each training row gets, mean over heads: perturbation x row frame."""
        names, rows = list(perturbations), self.rows_.to(device())
        with torch.no_grad():
            parts = [network.look(names, rows, [0])[1] for network in self.networks_]
        found = torch.stack([shares(part).mean(dim=1) for part in parts]).mean(dim=0)
        looked = [self.rows_.perturbations[place] for place in rows.spread(LOOKED_AT)]
        return pd.DataFrame(found.cpu().numpy(), pd.Index(names, name="perturbation"), looked)

    def mixtures(self):
        """What heads take for likeness, as learned and at the start: two head x kernel frames."""
        kernels = self.networks_[0].views.kernels
        learned = torch.stack([network.heads.mixture() for network in self.networks_]).mean(dim=0)
        start, names = first_mix(kernels, self.shape).softmax(dim=1), self._sources()
        names = [name for name in names if name.startswith(("head", "solved"))]
        values = [part.detach().cpu().numpy() for part in (learned, start)]
        return [pd.DataFrame(part, names, kernels) for part in values]

    def contributions(self, perturbations):
        """Share of each head and other source in what tells these knockdowns apart, a series."""
        names, rows = list(perturbations), self.rows_.to(device())
        genes, total = np.arange(len(rows.genes)), 0.0
        with torch.no_grad():
            for network in self.networks_:
                found, of_shift, _ = network.findings(names, rows, genes)
                parts = (of_shift * found).unflatten(2, (-1, CHANNELS)).sum(dim=3)
                parts = parts - parts.mean(dim=0)  # what is said of all alike is taken off
                total = total + parts.abs().mean(dim=(0, 1)).cpu().numpy()
        return pd.Series(total / max(total.sum(), 1e-12), self._sources())

    def _sources(self):
        """Names of what a network finds, in the order of its features."""
        names = [f"head {place + 1}" for place in range(self.shape.heads)]
        names += ["alike effect", "opposed effect"]
        names += [f"solved {place + 1}" for place in range(self.shape.solved)]
        return [*names, "response elsewhere", "own slope"]

    def _network(self, genes):
        known = self.likeness_.pathways, self.likeness_.atlas
        key = ("views", *map(id, known), tuple(genes))
        views = self.once.get(key, lambda: Views(self.likeness_, genes))
        views.expect([*self.train_.effects.index, *self.train_.targets["perturbation"]])
        return Network(views, self.train_.control.reindex(genes).to_numpy(), self.shape)

    def _key(self, *parts):
        responses = self.likeness_.responses_
        told = None if responses is None else (responses.shape, float(responses.sum().sum()))
        return super()._key(self.shape, str(self.likeness_.pathways), told, *parts)


class Network(torch.nn.Module):
    """Shift and width of each gene's odds: (names, seen Rows, places of genes) -> twice (names, genes).

    views: what is known of knockdowns; control: (genes,), mean log2 expression of control cells.
    """

    def __init__(self, views, control, shape):
        super().__init__()
        self.views, self.shape = views, shape
        control = np.nan_to_num((control - np.nanmean(control)) / (np.nanstd(control) + 1e-9))
        fixed = np.column_stack([control, _identity(views.genes)]).astype(np.float32)
        self.register_buffer("genes", torch.from_numpy(fixed), persistent=False)
        levels = torch.as_tensor(LEVELS, dtype=torch.float32)
        ramps = [torch.ones_like(levels), (levels > 0.75).float(), (levels < 0.25).float()]
        ramps = torch.stack(ramps, dim=1)
        self.channels = torch.nn.Parameter(2 * ramps / ramps.sum(dim=0))  # (levels, channels)
        self.heads = Heads(views.kernels, shape)
        soft = shape.heads + CROSS
        features = (soft + shape.solved) * CHANNELS + 3 + CHANNELS
        row = 3 + 2 * soft + shape.solved
        self.common = torch.nn.Parameter(torch.zeros(2, features))
        self.scaled = torch.nn.LayerNorm(features)
        token = 2 * features + fixed.shape[1] + 3 + row
        self.enter = torch.nn.Linear(token, shape.width)
        self.blocks = torch.nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.leave = torch.nn.Sequential(
            torch.nn.LayerNorm(shape.width), _zero(torch.nn.Linear(shape.width, 2 * features))
        )

    def forward(self, names, seen, genes):
        found, of_shift, of_width = self.findings(names, seen, genes)
        said = (of_shift * found).sum(dim=2), (of_width * found.abs()).sum(dim=2)
        # What holds for every knockdown the genes' odds hold: `Deep` takes it off what is said.
        return tuple(part - part.mean(dim=0) for part in said) if self.training else said

    def findings(self, names, seen, genes):
        """What is found and how far each gene's token believes it: three of (names, genes, features)."""
        known, weights, solved, places = self.look(names, seen, genes)
        genes = torch.as_tensor(genes, device=seen.effects.device)
        measured = (seen.weights[places][:, genes] > 0).float()  # (looked, genes)
        values = self._values(seen, places, genes, measured)  # (looked, genes, channels)
        weights = torch.cat([weights, cross(known, values[..., 0])], dim=1)
        found = [averaged(weights, values, measured)]
        found.append(torch.einsum("qhs,sgc->qghc", solved, values))
        features = [torch.cat(found, dim=2).flatten(2)]  # (names, genes, all heads x channels)
        response = known.response
        features.append(torch.stack([response, root(response), known.near], dim=2))
        features.append(regressed(known, values, measured))
        features = torch.cat(features, dim=2)
        row = self._row(known, weights, solved, values[..., 0], measured)
        tokens = self._tokens(known, seen, genes, features, row)
        for block in self.blocks:
            tokens = block(tokens)
        out = self.leave(tokens)
        # A token says how far each finding is right for its gene; of nothing found nothing follows.
        return features, *(self.common + out.unflatten(2, (2, -1))).unbind(2)

    def look(self, names, seen, genes):
        """Who is looked at: Known, weights (names, heads, looked), solved weights, places of looked."""
        place = seen.effects.device
        places = seen.spread(LOOKED_AT)
        looked = [seen.perturbations[one] for one in places]
        hide = torch.rand(len(names)) < self.shape.hidden if self.training else None
        view = self.views.view(seen.name, [*names, *looked])
        known = view.known(names, looked, genes, hide=hide, device=place)
        return known, *self.heads(known), torch.as_tensor(places, device=place)

    def _values(self, seen, places, genes, measured):
        """Effects in each gene's own terms less their mean over rows: (looked, genes, channels)."""
        effects, thresholds = seen.effects[places][:, genes], seen.thresholds[:, genes]
        values = (effects[:, :, None] > thresholds.T[None]).float() @ self.channels
        measured = measured[..., None]
        mean = (values * measured).sum(dim=0) / (measured.sum(dim=0) + 1e-6)
        return (values - mean) * measured

    def _row(self, known, weights, solved, values, measured):
        """What holds for all genes of a knockdown: (names, numbers)."""
        strength = (values**2).sum(dim=1) / (measured.sum(dim=1) + 1e-6)
        mean = strength.sum() / max(len(strength), 1)
        strength = strength / (mean + 1e-6) - 1  # of looked rows, against their mean
        share = shares(weights)
        rows = -torch.log((share**2).sum(dim=2) + 1e-9)  # log of how many rows count
        size = known.response.abs().mean(dim=1, keepdim=True)
        hidden = known.hidden[:, None]
        found = [hidden, size, size * hidden, share @ strength, solved @ strength, rows]
        return torch.cat(found, dim=1)

    def _tokens(self, known, seen, genes, features, row):
        """One token a gene: (names, genes, width)."""
        spread = torch.log(seen.thresholds[-2, genes] - seen.thresholds[1, genes] + 1e-3)
        spread = (spread - spread.mean()) / (spread.std(correction=0) + 1e-3)
        fixed = torch.cat([self.genes[genes], spread[:, None]], dim=1)
        count = features.shape[:2]
        scaled = self.scaled(features)
        parts = [scaled, scaled.abs(), fixed.expand(*count, -1), row[:, None].expand(*count, -1)]
        parts += [known.knocked_down[..., None], known.related[..., None]]
        return F.gelu(self.enter(torch.cat(parts, dim=2)))


def _zero(layer):
    """A layer that starts silent: an untrained network says what the gene's own odds say."""
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    return layer


def _identity(genes):
    """Numbers of about unit size made from each gene's name, whatever the order: (genes, IDENTITY)."""
    raw = b"".join(hashlib.sha256(str(name).encode()).digest()[:IDENTITY] for name in genes)
    return (np.frombuffer(raw, np.uint8).reshape(len(genes), IDENTITY) - 127.5) / 73.9
