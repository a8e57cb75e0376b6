"""Networks: three, what trains them, and a door for your own. torch stands behind this wall.

`VAE`, `Transformer` and `GNN` are models; `Trained` makes a model of any torch module, which is called
with a `Context` (context perturbations, similarity, responses in other screens) and returns a logit shift
and a log scale, perturbation x gene::

    class KernelMean(torch.nn.Module):
        "Predict the mean effect of similar perturbations; learn which kernel counts, and how much."

        def __init__(self, setup):
            super().__init__()
            self.mix = torch.nn.Parameter(torch.zeros(len(setup.kernels)))
            self.slope = torch.nn.Parameter(torch.zeros(2))

        def forward(self, context):
            similarity = context.kernels @ self.mix.softmax(dim=0)  # (perturbations, context)
            weights = similarity * context.other
            mean = weights @ context.effects / (weights @ context.measured + 0.01)
            return self.slope[0] * mean, self.slope[1] * mean.abs()


    model = Trained(KernelMean, knowledge, policy="competition")
    table, runs = compare({"kernel mean": model}, competition, folds(names))
"""

from .cells import competition_cells
from .context import Context
from .gnn import GNN
from .losses import LossWeights
from .sparse_shift import Size
from .stack import device
from .trained import Setup, Trained
from .training import FoldCache, Settings
from .transformer import Transformer
from .vae import VAE
from .variant_comparison import VariantComparison, compare_variants

__all__ = [
    "GNN",  # graph network: signals along pathways and interactions
    "VAE",  # autoencoder of cells: sparse shifts of a latent state
    "Context",  # what a module is called with
    "FoldCache",  # keeps what is the same in several fits
    "LossWeights",  # weights of the loss's terms
    "Settings",  # steps, rate and patience of training
    "Setup",  # what a module is made for
    "Size",  # of the VAE
    "Trained",  # a model of any torch module
    "Transformer",  # attention to context perturbations and between genes
    "VariantComparison",  # what `compare_variants` returns
    "compare_variants",  # variants beside simple models, and the verdict
    "competition_cells",  # the competition's cells as a network sees them
    "device",  # the GPU if it works, else the CPU
]
