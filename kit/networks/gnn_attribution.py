"""What can be read off a fitted graph network: whose answers carry a prediction, and by which ways.

A share of signal says where a network looks, not what follows from it; `carried` says what does.
"""

import numpy as np
import pandas as pd
import torch

from ..io.device import device
from .context_features import LOOKED_AT
from .episodic_training import predict_logits
from .hub_graph import Walk


class Ways:
    """Methods of a fitted graph network that take its predictions apart."""

    def carried(self, perturbation):
        """Share of what is said of a knockdown that each training row's answer carries: a series.

        By gradient times answer, along the said shifts: how much these grow if the row's answer does.
        Negative where a row speaks against the others; what is missing to a sum of 1 comes from other
        screens and from the decoder. Largest first; zeros where nothing is said.
        """
        rows = self.rows_.to(device())
        genes, places = np.arange(len(rows.genes)), rows.spread(LOOKED_AT)
        volume = torch.ones(len(places), device=rows.effects.device, requires_grad=True)
        said = [net([perturbation], rows, genes, volume=volume)[0] for net in self.networks_]
        shift = torch.stack(said).mean(dim=0)
        with torch.no_grad():
            parts = [predict_logits(network, [perturbation], rows)[0] for network in self.networks_]
            along = torch.stack(parts).mean(dim=0)  # less what is said of all alike
        (found,) = torch.autograd.grad((along * shift).sum(), volume)
        found = (found / ((along**2).sum() or 1.0)).cpu().numpy()
        looked = pd.Index([rows.perturbations[place] for place in places], name="perturbation")
        carried = pd.Series(found, looked, name=perturbation, dtype=float)
        return carried.sort_values(ascending=False, kind="stable")

    def signal(self, perturbation):
        """Signal of one knockdown at each training row by type of edge: row x type frame, sums to 1.

        Mean over heads and members of the gated first round, before it is sharpened; `relayed` is what
        arrives in the second round, by whatever way.
        """
        rows, parts = self.rows_.to(device()), []
        with torch.no_grad():
            for network in self.networks_:
                known, looked = network.look([perturbation], rows, [0])
                found = network.walk(network.graph, known, [perturbation], looked)
                first, relayed = found.first.mean(dim=1)[0], found.relayed.mean(dim=1)
                parts.append(torch.cat([first, relayed]))
        found = torch.stack(parts).mean(dim=0).T.cpu().numpy()  # (rows, types + 1)
        found = pd.DataFrame(found, looked, [*self.networks_[0].walk.types, "relayed"])
        return found / (found.to_numpy().sum() or 1.0)

    def routes(self, perturbation):
        """What brings the first round's signal: frame (row, type, hub, amount); hub "": straight."""
        graph, signal, found = self.networks_[0].graph, self.signal(perturbation), []
        for row, amounts in signal.drop(columns="relayed").iterrows():
            for kind, amount in amounts[amounts > 0].items():
                ways = {"": amount}
                if kind in graph.types:
                    ways = graph.through(kind, perturbation, row)
                    ways = (amount / ways.sum() * ways).to_dict()
                found += [(row, kind, hub, way) for hub, way in ways.items()]
        return pd.DataFrame(found, columns=["row", "type", "hub", "amount"])

    def gates(self):
        """How far each type of edge is open, as learned and at the start: two round x type frames.

        Mean over heads and members; NaN in the second round for edges straight to a knockdown.
        """
        walks = [network.walk for network in self.networks_]
        types = self.networks_[0].graph.types
        start = Walk(self.networks_[0].graph, walks[0].types[len(types) :], self.shape.heads)
        with torch.no_grad():
            return [_opened(part, types) for part in (walks, [start])]


def _opened(walks, types):
    """Gates of both rounds, mean over heads and walks: round x type frame."""
    first = torch.stack([walk.gates()[0].mean(dim=0) for walk in walks]).mean(dim=0)
    then = torch.stack([walk.gates_then().mean(dim=0) for walk in walks]).mean(dim=0)
    rows = [pd.Series(first.cpu(), walks[0].types), pd.Series(then.cpu(), types)]
    return pd.DataFrame(rows, ["first", "second"])[walks[0].types]
