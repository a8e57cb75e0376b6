"""Other people's screens: layouts, gene names, one streaming pass, the merge, and its results."""

from .atlas import Atlas, read_responses
from .cells import MergedCells
from .gene_names import load_gene_names
from .imputation import hidden_gene_errors
from .labels import read_screen
from .merging import merge

__all__ = [
    "Atlas",
    "MergedCells",
    "hidden_gene_errors",
    "load_gene_names",
    "merge",
    "read_responses",
    "read_screen",
]
