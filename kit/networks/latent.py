"""What a fitted autoencoder has learned, as frames: shifts, gates, decoded effects, states of cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ..io.device import device
from .cells import Cells
from .vae import VAE

AT_ONCE = 512  # cells encoded at once


def latent_shifts(model: VAE, perturbations: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the shift of each latent axis and the probability that its gate is open.

    Two frames, perturbation x axis, of the first ensemble member: axes differ between members.
    """
    network, names = model.networks_[0], list(perturbations)
    index = pd.Index(names, name="perturbation")
    with torch.no_grad():
        found = network.shift(names), network.open(names)
    return tuple(pd.DataFrame(part.cpu().numpy(), index) for part in found)


def decoded_effects(model: VAE, perturbations: Sequence[str]) -> pd.DataFrame:
    """Return the decoded change of log2(1 + CP10k), mean over ensemble members: perturbation x gene.

    The effect on cells, before it is compared with other perturbations and becomes a logit shift.
    """
    names, rows = list(perturbations), model.rows_
    with torch.no_grad():
        parts = [one.moved(one.shift(names)) @ one.outer.T for one in model.networks_]
        spread = model.networks_[0].cell_spread(rows)
        values = torch.stack(parts).mean(dim=0).cpu() * spread
    frame = pd.DataFrame(values.numpy(), pd.Index(names, name="perturbation"), rows.genes)
    return frame[model.train_.genes]


def cell_states(model: VAE, cells: Cells, places: Sequence[int]) -> pd.DataFrame:
    """Return the state of each cell, encoded as a control cell, whatever its perturbation: cell x axis.

    cells: in the competition's genes; places: which of them. Index: the cells' perturbations.
    """
    network, parts = model.networks_[0], []
    for first in range(0, len(places), AT_ONCE):
        values = cells.standard(places[first : first + AT_ONCE], device())
        measured = cells.measured.to(values.device)
        with torch.no_grad():
            rest = values * measured / measured.sum().clamp(min=1).sqrt()
            parts.append(network.encode(rest)[0].cpu().numpy())
    return pd.DataFrame(np.concatenate(parts), pd.Index(cells.names(places), name="perturbation"))
