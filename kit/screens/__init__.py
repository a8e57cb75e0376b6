"""Screens of other laboratories: their layouts and gene names, the merge, and readers of its results."""

from .atlas import Atlas, find_responses, read_responses
from .cells import Batch, MergedCells
from .gene_names import GeneNames, load_gene_names
from .imputation import hidden_gene_errors
from .labels import Screen, read_screen
from .layouts import LAYOUTS, Layout, load_layout
from .merging import Merged, merge

__all__ = [
    "LAYOUTS",  # the layouts of known screens, by name
    "Atlas",  # effects of perturbations in other screens; guards the competition's own rows
    "Batch",  # some cells: values, what was measured, labels
    "GeneNames",  # current symbols by symbol, Ensembl id, previous symbol and alias
    "Layout",  # which columns of a screen's file hold what
    "Merged",  # what a merge wrote: paths, coverage by dataset, remarks
    "MergedCells",  # cells of merged screens in shuffled batches, unmeasured genes imputed
    "Screen",  # a file's labels of cells and names of genes, without its counts
    "find_responses",  # the path of an atlas, or None
    "hidden_gene_errors",  # errors of both imputation rules on genes that are hidden
    "load_gene_names",  # read HGNC's table of gene names, fetched once where it is missing
    "load_layout",  # a layout by name or from a JSON file
    "merge",  # merge screens into responses.h5ad, cells.h5ad and coverage.csv
    "read_responses",  # read an atlas, aligned to the competition's genes
    "read_screen",  # read a file's labels of cells and names of genes
]
