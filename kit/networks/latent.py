"""What an autoencoder has learned, as frames by name: shifts, gates, decoded effects, states of cells."""

import numpy as np
import pandas as pd
import torch

from ..io.device import device
from .vae import spread_of

AT_ONCE = 512  # cells encoded at once


def latent_shifts(model, perturbations):
    """Shift of each latent axis and the chance that its gate is open: two frames perturbation x axis.

    Of the first network of a fitted VAE: axes mean something else in each.
    """
    network, names = model.networks_[0], list(perturbations)
    index = pd.Index(names, name="perturbation")
    with torch.no_grad():
        found = network.shift(names), network.open(names)
    return tuple(pd.DataFrame(part.cpu().numpy(), index) for part in found)


def decoded_effects(model, perturbations):
    """Mean change of log2(1 + CP10k) that the decoder tells, mean over networks: perturbation x gene.

    What is said of cells, before it is set beside other knockdowns and weighed as odds.
    """
    names, rows = list(perturbations), model.rows_
    with torch.no_grad():
        parts = [one.moved(one.shift(names)) @ one.outer.T for one in model.networks_]
        spread = model.networks_[0].spreads.get(rows.name, spread_of(rows))
        values = torch.stack(parts).mean(dim=0).cpu() * spread
    frame = pd.DataFrame(values.numpy(), pd.Index(names, name="perturbation"), rows.genes)
    return frame[model.train_.genes]


def cell_states(model, cells, places):
    """State of each cell as if it were a control cell, so blind to its knockdown: cell x axis frame.

    cells: Cells in the competition's genes; places among them. Index: the cells' perturbations.
    """
    network, parts = model.networks_[0], []
    for first in range(0, len(places), AT_ONCE):
        values = cells.standard(places[first : first + AT_ONCE], device())
        measured = cells.measured.to(values.device)
        with torch.no_grad():
            rest = values * measured / measured.sum().clamp(min=1).sqrt()
            parts.append(network.encode(rest)[0].cpu().numpy())
    return pd.DataFrame(np.concatenate(parts), pd.Index(cells.names(places), name="perturbation"))
