"""The graph that messages pass on: cosines by hubs, names, and what a perturbed gene receives."""

import numpy as np
import pandas as pd
import pytest
import torch

from kit.knowledge import Knowledge, load_pathways
from kit.networks.context import Context, Prior, Priors
from kit.networks.hub_graph import NONE, HubGraph, Walk
from kit.networks.screen_data import Rows
from kit.screens.gene_names import GeneNames


@pytest.fixture
def pathways(tmp_path):
    sets = tmp_path / "sets.gmt"
    sets.write_text("one\t\tA\tB\tC\nother\t\tB\tC\tD\nfar\t\tX\tY\tZ\n")
    edges = tmp_path / "bonds.tsv"
    edges.write_text("A B\nB D\nX A\n")
    return load_pathways(sets, edges, names=GeneNames())


NODES = ["D", "A", "X", "LONE", "B", "Y", "C"]


def prior_of(pathways, names):
    """What pathways alone hold of some perturbations."""
    knowledge = Knowledge(pathways)
    return Prior(Priors(knowledge, pd.Index(["G"])), knowledge, names)


def a_context(prior, asked, columns):
    """A Context of perturbations by their places in a Prior, with no effects."""
    places = (torch.tensor(part) for part in (asked, columns, [0]))
    seen = Rows(*torch.zeros(6, 1, 1))
    return Context(prior, *places, seen, "competition")


def passed(graph, kind, sender, receivers):
    """What some genes receive when another sends 1."""
    return (graph.edges(kind, receivers) @ graph.edges(kind, [sender]).T).toarray()[:, 0]


def test_a_message_by_hubs_is_the_pathways_own_kernel(pathways):
    graph = HubGraph(Knowledge(pathways), ["A", "B", "C", "D", "X"])
    for kind in ("sets", "sets, small"):
        kernel = pathways.kernels(["B", "A", "D", "X"])[kind]
        received = passed(graph, kind, "B", ["A", "D", "X"])
        np.testing.assert_allclose(received, kernel.loc["B", ["A", "D", "X"]], atol=1e-6)


def test_partners_are_those_of_the_normalised_graph_by_hand(pathways):
    # Degrees with oneself: A 3, B 3, D 2, X 2.
    a = np.array([1 / 3, 1 / 3, 0, 1 / 2]) ** 0.5  # to A, B, D, X
    b = np.array([1 / 3, 1 / 3, 1 / 2, 0]) ** 0.5
    wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    graph = HubGraph(Knowledge(pathways), ["A"])
    assert passed(graph, "bonds", "A", ["B"])[0] == pytest.approx(wanted, abs=1e-6)


def test_a_gene_that_a_type_does_not_know_neither_sends_nor_receives(pathways):
    graph = HubGraph(Knowledge(pathways), ["A", "NOBODY"])
    assert not passed(graph, "sets", "NOBODY", ["A"]).any()
    assert not passed(graph, "sets", "A", ["NOBODY"]).any()
    assert graph.places(["NOWHERE"])[0] == -1


def test_messages_are_the_products_of_sparse_edges(pathways):
    names = ["B", "X", "NOBODY", "A"]
    graph, prior = HubGraph(Knowledge(pathways), NODES), prior_of(pathways, names)
    sent = graph.messages(prior)
    for place, kind in enumerate(graph.types):
        edges, nodes = graph.edges(kind, names), graph.edges(kind, graph.symbols)
        np.testing.assert_allclose(sent.between[place], (edges @ edges.T).toarray(), atol=1e-6)
        np.testing.assert_allclose(sent.onwards[place], (edges @ nodes.T).toarray(), atol=1e-6)
    assert sent.node.tolist() == list(graph.places(names))
    assert graph.messages(prior) is sent


def test_nodes_without_an_edge_are_left_out(pathways):
    graph = HubGraph(Knowledge(pathways), NODES)
    assert list(graph.symbols) == ["A", "B", "C", "D", "X", "Y"]


def test_the_walk_is_that_of_a_slow_loop_over_all_nodes(pathways):
    names = ["B", "X", "NOBODY", "A", "D"]
    graph, prior = HubGraph(Knowledge(pathways), NODES), prior_of(pathways, names)
    torch.manual_seed(0)
    walk = Walk(graph, ["all_sets"], 4)
    for part in walk.parameters():
        part.data += 0.3 * torch.randn(part.shape)
    asked, columns = [0, 2, 1], [1, 3, 4, 0]
    with torch.no_grad():
        found = walk(graph, a_context(prior, asked, columns))
        wanted = slow_weights(walk, graph, [names[place] for place in asked], names, columns)
    assert found.weights.max() > 0.1
    np.testing.assert_allclose(found.weights, wanted, atol=1e-4)


def slow_weights(walk, graph, asked, names, columns):
    """Weights of context perturbations, one perturbation and head after the other, by sparse products."""
    gates, second = (part.numpy() for part in walk.gates())
    power, floor, relay = (
        part.exp().numpy()[:, 0] for part in (walk.power, walk.floor, walk.relay)
    )
    seen = [names[place] for place in columns]

    def along(shares, sent, receivers):
        """What receivers get of signals that some senders send: (receivers,)."""
        return sum(
            share
            * (
                graph.edges(kind, receivers)
                @ (graph.edges(kind, list(sent)).T @ list(sent.values()))
            )
            for share, kind in zip(shares, graph.types, strict=True)
        )

    def sharper(signal, head):
        return (np.maximum(signal, 0) + 1e-6) ** power[head]

    weights = np.zeros((len(asked), len(power), len(seen)))
    for row, name in enumerate(asked):
        for head in range(len(power)):
            one = sharper(along(gates[head], {name: 1.0}, seen), head)
            flow = sharper(along(gates[head], {name: 1.0}, NODES), head)
            flow[[node == name for node in NODES]] = 0  # it receives nothing
            flow = dict(zip(NODES, flow / (flow.sum() + 1e-6), strict=True))
            relayed = relay[head] * sharper(along(second[head], flow, seen), head)
            weights[row, head] = (one + relayed + floor[head]) * [other != name for other in seen]
    return weights


def test_hubs_carry_their_part_of_a_message(pathways):
    graph = HubGraph(Knowledge(pathways), ["A"])
    carried = graph.through("sets", "B", "C")
    assert set(carried.index) == {"one", "other"}
    assert carried.sum() == pytest.approx(passed(graph, "sets", "B", ["C"])[0], abs=1e-6)
    assert graph.through("sets", "A", "X").empty


def test_without_pathways_the_graph_is_silent():
    graph = HubGraph(Knowledge(), ["A", "B"])
    assert graph.types == [NONE]
    assert not passed(graph, NONE, "A", ["A", "B"]).any()
    sent = graph.messages(prior_of(None, ["A", "B"]))
    assert sent.between.shape == (1, 2, 2)
    assert sent.onwards.shape == (1, 2, 0)
    assert not sent.between.any()


def test_old_names_meet_new_ones(tmp_path):
    (tmp_path / "sets.gmt").write_text("one\t\tAARS1\tKARS1\tB\nother\t\tX\tY\tZ\n")
    names = GeneNames(symbols={"AARS1", "KARS1"}, previous={"AARS": {"AARS1"}})
    pathways = load_pathways(tmp_path / "sets.gmt", names=names)
    graph = HubGraph(Knowledge(pathways), ["AARS", "AARS1", "B"])
    assert list(graph.symbols) == ["AARS1", "B"]
    assert graph.places(["AARS"])[0] == 0
    assert passed(graph, "sets", "AARS", ["KARS1"])[0] > 0
    prior = prior_of(pathways, ["AARS", "B"])
    assert graph.messages(prior).node.tolist() == [0, 1]
