"""The graph that messages pass on, genes joined by hubs of several types, and a walk on it with gates.

A hub is a set of genes, an interaction partner, or a column of a table. The edges of a type between nodes
and hubs have unit length by node, B: a message to all hubs and back, B B^T x, brings to each node the
cosine of its hubs with those of the sender. Nothing is ever (genes x genes) large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array, vstack

from ..knowledge import Knowledge, Pathways
from ..knowledge.kernels import Vectors
from .context import NEIGHBOURS, OWN, Context, Prior
from .screen_data import to_tensor
from .stack import device

POWERS = (2.0, 1.0, 3.0)  # of signals at the start, head by head in turn
FLOORS = (0.01, 0.03, 0.003)  # of weights at the start: what a row has that no signal reaches
FIRST = 3.0  # logit by which a head prefers one type of edge at the start, further heads none
SPEED = 10.0  # of gates beside other weights: they have as few steps and farther to go
NONE = "no source"  # the type of a graph of which nothing is known


class HubGraph:
    """Edges between genes and hubs, by type. knowledge: whose pathways make them.

    nodes: names of the genes that pass messages on; those without an edge are left out. Any other gene
    can send and receive messages too. `types`: each source of sets twice (of 3 to 500 genes, and `small`,
    of 3 to 60), each source of interactions, each table. `symbols` are the nodes' current symbols.
    """

    def __init__(self, knowledge: Knowledge, nodes: Sequence[str]):
        self.knowledge = knowledge
        nothing = Vectors(pd.Index([]), np.zeros((0, 1)), pd.Index([NONE]))
        self._parts = (knowledge.pathways or Pathways()).hubs or {NONE: nothing}
        self.types = list(self._parts)
        self._rows = {kind: _with_zeros(part.rows) for kind, part in self._parts.items()}
        symbols = pd.Index(self._current(nodes)).unique().sort_values()
        joined = np.array([np.diff(self.edges(kind, symbols).indptr) for kind in self.types])
        self.symbols = symbols[joined.any(axis=0)]

    def __deepcopy__(self, memo):
        return self  # prior knowledge, never changed

    def edges(self, kind: str, names: Sequence[str]) -> csr_array:
        """Return edges from genes to the hubs of a type: sparse (names, hubs), rows of unit length.

        Genes that the type does not know have none.
        """
        return self._rows[kind][self._places(kind, names)]

    def places(self, names: Sequence[str]) -> np.ndarray:
        """Return the node of each name, -1 where it is none: (names,), int."""
        return self.symbols.get_indexer(self._current(names))

    def messages(self, prior: Prior) -> "Messages":
        """Return what the names of a Prior send to each other and to the nodes; made once for it."""
        return prior.keep(("messages", id(self)), lambda: self._messages(prior.names))

    def _messages(self, names):
        between, onwards = [], []
        for kind in self.types:
            sent = self.edges(kind, names)
            between.append((sent @ sent.T).toarray())
            onwards.append((sent @ self.edges(kind, self.symbols).T).toarray())
        node = torch.as_tensor(self.places(names), device=device())
        return Messages(to_tensor(np.stack(between)), to_tensor(np.stack(onwards)), node)

    def through(self, kind: str, one: str, other: str) -> pd.Series:
        """Return what each hub carries from one gene to another: series by hub, largest first."""
        here, there = self.edges(kind, [one, other]).toarray()
        carried = pd.Series(here * there, self._parts[kind].columns)
        return carried[carried > 0].sort_values(ascending=False, kind="stable")

    def _places(self, kind, names):
        """Row of each name in a type's edges; -1, the last, is that of unknown genes: all zero."""
        return self._parts[kind].genes.get_indexer(self._current(names))

    def _current(self, names):
        return self.knowledge.symbols([str(name) for name in names])


class Messages(NamedTuple):
    """What each of some names sends by the hubs of each type.

    between: to each other, (types, names, names); onwards: to each node, (types, names, nodes); node: the
    node of each name, -1 where it is none, (names,).
    """

    between: torch.Tensor
    onwards: torch.Tensor
    node: torch.Tensor


@dataclass(frozen=True, eq=False)
class WalkOutput:
    """What signals from some perturbations reach, float32.

    first: (perturbations, heads, types, context), the gated first round; weights: (perturbations, heads,
    context), of both rounds, sharpened, and the floor; relayed: the second round's part of them; flow:
    (perturbations, nodes), how the sharpened first round spreads, shares that sum to 1 at most, mean over
    heads.
    """

    first: torch.Tensor
    weights: torch.Tensor
    relayed: torch.Tensor
    flow: torch.Tensor


class Walk(torch.nn.Module):
    """Signals from perturbations to context perturbations, in two rounds over typed edges.

    types: those of the graph, then the kernels by which responses in other screens are similar: edges
    straight from a perturbation to another. kernels: the names of all kernels.
    """

    def __init__(self, graph: HubGraph, kernels: list[str], heads: int):
        super().__init__()
        screens = [name for name in kernels if name in OWN + NEIGHBOURS and " and " not in name]
        self.straight = [kernels.index(name) for name in screens]
        self.types = [*graph.types, *screens]
        own = torch.tensor([name in OWN for name in self.types])
        self.register_buffer("own", own, persistent=False)
        self.first = torch.nn.Parameter(FIRST / SPEED * torch.eye(heads, len(self.types)))
        self.second = torch.nn.Parameter(torch.zeros(heads, len(graph.types)))
        power, floor = (torch.tensor(part).repeat(heads)[:heads] for part in (POWERS, FLOORS))
        self.power = torch.nn.Parameter(power.log()[:, None])
        self.floor = torch.nn.Parameter(floor.log()[:, None])
        self.relay = torch.nn.Parameter(torch.full((heads, 1), -2.0))

    def gates(self, hidden: torch.Tensor | bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the share of each type in the first round, and of the graph's types in the second.

        (heads, types) each, the first by perturbation where `hidden` is (perturbations, 1, 1), bool.
        """
        first = (SPEED * self.first).masked_fill(self.own & hidden, -1e4)
        return first.softmax(dim=-1), (SPEED * self.second).softmax(dim=-1)

    def forward(self, graph: HubGraph, context: Context) -> WalkOutput:
        """Send a signal from each perturbation of a Context to its context perturbations."""
        sent, power = graph.messages(context.prior), self.power.exp()
        gates, second_gates = self.gates(context.hidden[:, None, None] > 0)
        straight = context.kernels[:, :, self.straight].permute(2, 0, 1)
        between = sent.between[:, context.rows[:, None], context.columns]
        arrived = torch.cat([between, straight])  # (types, perturbations, context)
        first = torch.einsum("qht,tqs->qhts", gates, arrived)
        one = sharpened(first.sum(dim=2), power)
        spread = sent.onwards[:, context.rows]  # (types, perturbations, nodes)
        spread = torch.einsum("qht,tqn->qhn", gates[:, :, : len(graph.types)], spread)
        nodes = torch.arange(spread.shape[2], device=spread.device)
        # A perturbed gene receives nothing.
        receiving = (nodes != sent.node[context.rows][:, None]).float()
        flow = sharpened(spread, power) * receiving[:, None]
        flow = flow / (flow.sum(dim=2, keepdim=True) + 1e-6)
        onwards = torch.einsum("ht,tsn->hsn", second_gates, sent.onwards[:, context.columns])
        relayed = torch.einsum("hsn,qhn->qhs", onwards, flow)
        relayed = self.relay.exp() * sharpened(relayed, power)
        other = context.other[:, None]
        weights = (one + relayed + self.floor.exp()) * other
        return WalkOutput(first * other[:, :, None], weights, relayed * other, flow.mean(dim=1))


def sharpened(signal, power):
    """Signal to a power, (names, heads, anything); small and negative ones count nearly nothing."""
    return (signal.clamp(min=0) + 1e-6) ** power


def _with_zeros(rows):
    """Rows as a sorted CSR array, below them one of zeros."""
    found = vstack([csr_array(rows), csr_array((1, rows.shape[1]))], format="csr")
    found.sort_indices()
    return found
