"""A graph network: a perturbation sends a signal along pathways and interactions to other ones.

A perturbation is an intervention on its node: it sends 1 and receives nothing, so no signal returns
through it. Messages pass from genes to hubs (a set, an interaction partner, a column of a table) and from
hubs to genes, along edges of several types, each with a learned gate in each of two rounds, as in
relational networks (Schlichtkrull et al. 2018); between the rounds the signal is sharpened. Context
perturbations count as much as the signal that reaches them; nodes that other screens cover pass on their
responses there. A low-rank decoder makes all genes' shifts of this: the strongest directions of the
context's effects, weighed by the signals. No node has parameters of its own: from 80 rows these would
learn noise, and a new perturbation would have none.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ..knowledge import Knowledge
from .context import Context, channels, standard_response
from .context_network import (
    ContextNetwork,
    Decoder,
    averaged,
    of_perturbations,
    regressed,
    signed_root,
    standardised,
)
from .hub_graph import HubGraph, Walk
from .screen_data import to_frame, to_tensor
from .trained import Setup, Trained
from .training import Settings

GAIN = 5.0  # of findings: their weights start at 0 and have few steps to grow
SHARE = 0.3  # of what the decoder adds for single genes
SHRINKAGE = 0.05  # signal at which the responses that nodes pass on count half


@dataclass(frozen=True)
class Shape:
    """Size of the graph network.

    heads: signals that are sent, each with its own gates and sharpness; rank: directions of the context's
    effects that are kept; width: of the decoder.
    """

    heads: int = 12
    rank: int = 32
    width: int = 24


OPTIONS = {
    "batch": 12,
    "pretraining": Settings(steps=400, rate=3e-3),
    "tuning": Settings(steps=120, rate=3e-3, every=10),
}


class GNN(Trained):
    """The graph network as a model; shape: its size, the other options are those of `Trained`.

    `carried`, `signal`, `routes` and `gates` explain the predictions of a fitted one.
    """

    def __init__(self, knowledge: Knowledge | None = None, *, shape: Shape = Shape(), **options):
        super().__init__(self._make, knowledge, **OPTIONS | options)
        self.shape = shape

    def _make(self, setup: Setup):
        knowledge, targets = setup.knowledge, setup.train.targets["perturbation"]
        screens = [] if knowledge.responses_ is None else list(knowledge.responses_.index)
        nodes = sorted({*setup.genes, *targets, *screens})
        key = ("graph", knowledge.fingerprint, tuple(nodes))
        graph = self.cache.get(key, lambda: HubGraph(knowledge, nodes))
        return GraphNetwork(graph, setup, self.shape)

    def carried(self, perturbation: str) -> pd.Series:
        """Return the share of a perturbation's logit shift that each training row carries, largest first.

        Gradient times effect, along the shift: how much it grows if the row's effects do. Negative where
        a row opposes the others; what is missing to a sum of 1 comes from other screens and the decoder.
        Zeros where the shift is 0.
        """
        context = self._context([perturbation])
        volume = torch.ones(len(context.columns), device=context.device, requires_grad=True)
        shifts = [network(context, volume)[0] for network in self.networks_]
        # Less what all have in common.
        along = self._averaged(lambda one: self._logits(one, [perturbation], self.rows_)[0])
        (found,) = torch.autograd.grad((along * sum(shifts)).sum() / len(shifts), volume)
        carried = to_frame(found / ((along**2).sum() or 1.0), self._seen(), [perturbation])
        return carried[perturbation].astype(float).sort_values(ascending=False, kind="stable")

    def signal(self, perturbation: str) -> pd.DataFrame:
        """Return the share of a perturbation's signal by training row and type of edge, sums to 1.

        Mean over heads and ensemble members of the gated first round, before it is sharpened; `relayed`
        is what arrives in the second round, by any type.
        """
        context = self._context([perturbation], [0])

        def arrived(network):
            found = network.walk(network.graph, context)
            return torch.cat([found.first.mean(dim=1)[0], found.relayed.mean(dim=1)])

        found = self._averaged(arrived)  # (types + 1, rows)
        columns = [*self.networks_[0].walk.types, "relayed"]
        return to_frame(found.T / (found.sum() or 1.0), self._seen(), columns)

    def routes(self, perturbation: str) -> pd.DataFrame:
        """Return what brings the first round's signal: frame (row, type, hub, amount).

        hub is "" for edges straight from a perturbation to another.
        """
        graph, signal, found = self.networks_[0].graph, self.signal(perturbation), []
        for row, amounts in signal.drop(columns="relayed").iterrows():
            for kind, amount in amounts[amounts > 0].items():
                hubs = {"": amount}
                if kind in graph.types:
                    hubs = graph.through(kind, perturbation, row)
                    hubs = (amount / hubs.sum() * hubs).to_dict()
                found += [(row, kind, hub, part) for hub, part in hubs.items()]
        return pd.DataFrame(found, columns=["row", "type", "hub", "amount"])

    def gates(self) -> list[pd.DataFrame]:
        """Return how far each type of edge is open, as learned and at the start: two round x type frames.

        Mean over heads and ensemble members; NaN in the second round for edges between perturbations.
        """
        walks, network = [network.walk for network in self.networks_], self.networks_[0]
        start = Walk(network.graph, network.kernels, self.shape.heads)
        with torch.no_grad():
            return [_opened(part) for part in (walks, [start])]


def _opened(walks):
    """Gates of both rounds, mean over heads and walks: round x type frame."""
    rounds, types = zip(*(walk.gates() for walk in walks), strict=True), walks[0].types
    shares = [torch.stack(part).mean(dim=(0, 1)).cpu() for part in rounds]
    rows = [pd.Series(part, types[: len(part)]) for part in shares]  # the graph's types come first
    return pd.DataFrame(rows, ["first", "second"])[types]


class GraphNetwork(ContextNetwork):
    """The module: a Context -> logit shift and log scale, (perturbations, genes) each."""

    def __init__(self, graph: HubGraph, setup: Setup, shape: Shape):
        super().__init__()
        self.graph, self.shape = graph, shape
        self.kernels, self.genes = setup.kernels, setup.genes
        control = to_tensor(standardised(setup.control))
        self.register_buffer("control", control, persistent=False)
        self.walk = Walk(graph, setup.kernels, shape.heads)
        self.register_buffer("channels", channels(), persistent=False)
        # How much a direction of the effects counts: a sigmoid of the logarithm of its size.
        self.kept = torch.nn.Parameter(torch.tensor([2.0, 0.5]))
        findings, others = (shape.heads + 1) * self.channels.shape[1] + 7, 5 + 2 * shape.heads
        self.decoder = Decoder(findings, others, shape.width, torch.nn.Identity, GAIN, SHARE)

    def findings(self, context: Context, volume: Tensor | None = None) -> tuple[Tensor, ...]:
        """Findings and how much each counts for shift and scale: three (perturbations, genes, findings).

        volume: (context,), factor of each row's effects, to take a prediction apart.
        """
        values = context.values(self.channels)
        if volume is not None:
            values = values * volume[:, None, None]
        walked = self.walk(self.graph, context)
        weights, measured = walked.weights, context.measured
        found = averaged(weights @ self._strongest(values), values, measured, weights)
        response, passed = context.response, self._passed(walked.flow, context)
        elsewhere = [response, signed_root(response), context.neighbour_response]
        elsewhere += [passed, torch.tanh(2 * passed)]
        elsewhere += [context.on_target, context.pathway_similarity]
        found = [found.flatten(2), regressed(context, values), torch.stack(elsewhere, dim=2)]
        found = torch.cat(found, dim=2)
        fixed = torch.stack([self.control[context.genes], context.spread], dim=1)
        return found, *self.decoder(found, fixed, of_perturbations(context, weights, values))

    def _strongest(self, values):
        """Projection on the effects' strongest directions, the weaker the less: (context, context)."""
        flat = values.detach().flatten(1)
        size, axes = torch.linalg.eigh(flat @ flat.T)
        size, axes = size[-self.shape.rank :].clamp(min=0), axes[:, -self.shape.rank :]
        share = torch.log(size / (size.mean() + 1e-6) + 1e-6)
        return (axes * torch.sigmoid(self.kept[0] + self.kept[1] * share)) @ axes.T

    def _passed(self, flow, context):
        """Mean response in other screens of the nodes that the signal reaches: (perturbations, genes)."""
        knowledge = context.prior.knowledge
        if knowledge.responses_ is None:
            return torch.zeros_like(context.response)
        key = "elsewhere", id(self.graph)
        nodes, responses = context.prior.keep(key, lambda: self._elsewhere(knowledge))
        flow = flow[:, nodes]
        passed = flow @ responses[:, context.genes]
        return passed / (flow.sum(dim=1, keepdim=True) + SHRINKAGE)

    def _elsewhere(self, knowledge):
        """Nodes with a response in some screens, and these: (nodes,), (nodes, genes)."""
        found = knowledge.responses_
        nodes = self.graph.places(found.index)
        responses = standard_response(found[nodes >= 0], knowledge, self.genes)
        return torch.as_tensor(nodes[nodes >= 0], device=responses.device), responses
