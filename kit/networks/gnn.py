"""A graph network: a knocked-down gene sends a signal along pathways and interactions to others' answers.

A knockdown is an intervention on its node: it sends 1 and hears nothing, so no signal comes back through
it. Messages pass from genes to hubs (a set, an interaction partner, a column of a table) and from hubs to
genes, along edges of several types, each with a learned gate in each of two rounds, as in relational
networks (Schlichtkrull et al. 2018); between the rounds the signal is sharpened. Where it arrives at
knockdowns that were seen, their answers count as much as the signal is strong; nodes that other screens
know pass on their responses there. A low-rank decoder makes all genes' odds of this: the strongest
directions of the answers, weighed by the signals. No node has numbers of its own to learn: of 80 rows
these would learn noise, and a new knockdown would have none.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..knowledge import Knowledge
from .context import ALONE, LARGEST, OWN, views_of
from .context_features import (
    CHANNELS,
    answers,
    averaged,
    look,
    of_knockdowns,
    ramps,
    regressed,
    root,
    spread_of_genes,
    standardised,
)
from .gnn_attribution import Ways
from .hub_graph import HubGraph, Walk
from .trained import Trained
from .training import Settings

GAIN = 5.0  # of findings: their weights start at 0 and have few steps to grow
CAUTION = 0.3  # of what the decoder says of single genes
SHRINKAGE = 0.05  # signal at which the responses that nodes pass on count half


@dataclass(frozen=True)
class Shape:
    """Size of the network.

    heads: signals that are sent, each with its own gates and sharpness; rank: directions of answers that
    are kept; width: of the decoder; hidden: share of knockdowns treated in training as if no other screen
    held them.
    """

    heads: int = 12
    rank: int = 32
    width: int = 24
    hidden: float = 0.3


SHAPE = Shape()
OPTIONS = {
    "batch": 12,
    "pretraining": Settings(steps=400, rate=3e-3),
    "tuning": Settings(steps=120, rate=3e-3, every=10),
}


class GNN(Ways, Trained):
    """The graph network behind the models' door; shape: its size, the rest as in `Trained`.

    What carries a prediction can be read off it when it is fitted, see `Ways`.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, shape=SHAPE, **options):
        super().__init__(knowledge, **OPTIONS | options)
        self.shape = shape

    def _network(self, genes):
        knowledge, train = self.knowledge, self.train_
        screens = [] if knowledge.responses_ is None else list(knowledge.responses_.index)
        nodes = sorted({*genes, *train.targets["perturbation"], *screens})
        key = ("graph", knowledge.fingerprint, tuple(nodes))
        graph = self.once.get(key, lambda: HubGraph(knowledge, nodes))
        control = train.control.reindex(genes).to_numpy()
        return Network(graph, views_of(self, genes), control, self.shape)

    def _key(self, stage, *parts):
        return super()._key(stage, self.shape, *parts)


class Network(torch.nn.Module):
    """Shift and width of each gene's odds: (names, seen Rows, places of genes) -> twice (names, genes).

    graph: HubGraph; views: what other screens know; control: (genes,), mean log2 expression of
    control cells.
    """

    def __init__(self, graph, views, control, shape):
        super().__init__()
        self.graph, self.views, self.shape = graph, views, shape
        self._elsewhere = {}  # nodes with a response outside a screen, and it, by screen
        control = torch.as_tensor(standardised(control), dtype=torch.float32)
        self.register_buffer("control", control, persistent=False)
        screens = [name for name in views.kernels if name in OWN + ALONE and " and " not in name]
        self.straight = [views.kernels.index(name) for name in screens]
        self.walk = Walk(graph, screens, shape.heads)
        self.register_buffer("channels", ramps(), persistent=False)
        # How much a direction of the answers counts: a sigmoid of the logarithm of its size.
        self.kept = torch.nn.Parameter(torch.tensor([2.0, 0.5]))
        features = (shape.heads + 1) * CHANNELS + 7
        row = 3 + 2 * shape.heads
        self.common = torch.nn.Parameter(torch.zeros(2, features))
        self.scaled = torch.nn.LayerNorm(features)
        self.enter = torch.nn.Linear(2 * features + 2 + row, shape.width)
        self.leave = torch.nn.Linear(shape.width, 2 * features)
        torch.nn.init.zeros_(self.leave.weight)
        torch.nn.init.zeros_(self.leave.bias)

    def forward(self, names, seen, genes, *, volume=None):
        """volume: (looked,), how loud each row's answer is, by default 1; to take a prediction apart."""
        known, looked = self.look(names, seen, genes)
        genes = torch.as_tensor(genes, device=seen.effects.device)
        values, measured = answers(seen, genes, self.channels)
        if volume is not None:
            values = values * volume[:, None, None]
        arrived = self.walk(self.graph, known, names, looked)
        weights = arrived.weights
        found = averaged(weights @ self._strongest(values), values, measured, weights)
        features = [found.flatten(2), regressed(known, values, measured)]
        passed = self._passed(arrived.flow, seen.name, looked, genes)
        response = known.response
        single = [response, root(response), known.near, passed, torch.tanh(2 * passed)]
        single += [known.knocked_down, known.related]
        features = torch.cat([*features, torch.stack(single, dim=2)], dim=2)
        row = of_knockdowns(known, weights, values, measured)
        # The decoder says how far each finding is right for a gene; of nothing found nothing follows.
        of_shift, of_width = self._decoder(seen, genes, features, row).unbind(2)
        said = (of_shift * features).sum(dim=2), (of_width * features.abs()).sum(dim=2)
        # What holds for every knockdown the genes' odds hold: `Trained` takes it off what is said.
        return tuple(part - part.mean(dim=0) for part in said) if self.training else said

    def look(self, names, seen, genes):
        """What is known of the names beside the rows that are looked at, and these rows' names."""
        known, looked = look(self, names, seen, genes)
        return replace(known, kernels=known.kernels[:, :, self.straight]), looked

    def _strongest(self, values):
        """Projection on the answers' strongest directions, the weaker the less: (looked, looked)."""
        flat = values.detach().flatten(1)
        size, axes = torch.linalg.eigh(flat @ flat.T)
        size, axes = size[-self.shape.rank :].clamp(min=0), axes[:, -self.shape.rank :]
        share = torch.log(size / (size.mean() + 1e-6) + 1e-6)
        return (axes * torch.sigmoid(self.kept[0] + self.kept[1] * share)) @ axes.T

    def _passed(self, flow, screen, looked, genes):
        """Mean response elsewhere of the nodes that the signal reaches, shrunk: (names, genes)."""
        if screen not in self._elsewhere:
            knowledge = self.views.view(screen, looked).knowledge
            self._elsewhere[screen] = self._responses(knowledge.responses_)
        nodes, responses = (part.to(flow.device) for part in self._elsewhere[screen])
        flow = flow[:, nodes]
        return flow @ responses[:, genes] / (flow.sum(dim=1, keepdim=True) + SHRINKAGE)

    def _responses(self, found):
        """Nodes that have a response elsewhere, and it, in standard deviations: (nodes, genes)."""
        if found is None:
            return torch.zeros(0, dtype=torch.long), torch.zeros(0, len(self.views.genes))
        found = found / (np.sqrt((found**2).mean()) + 1e-9)
        found = found.reindex(columns=self.views.genes).fillna(0.0).clip(-LARGEST, LARGEST)
        nodes = torch.from_numpy(self.graph.places(found.index))
        return nodes, torch.as_tensor(found.to_numpy(), dtype=torch.float32)

    def _decoder(self, seen, genes, features, row):
        """How far each finding counts for a gene's shift and width: (names, genes, 2, features)."""
        spread = spread_of_genes(seen, genes)
        count, scaled = features.shape[:2], self.scaled(features)
        fixed = torch.stack([self.control[genes], spread], dim=1).expand(*count, -1)
        parts = [scaled, scaled.abs(), fixed, row[:, None].expand(*count, -1)]
        out = self.leave(F.gelu(self.enter(torch.cat(parts, dim=2))))
        return GAIN * (self.common + CAUTION * out.unflatten(2, (2, -1)))
