"""The pathway map: gene sets, interactions and tables of knowledge, joined under current gene names.

`load_pathways` finds and reads GMT sets (Reactome, GO) and edge lists; the `Pathways` it returns turns
them into features, kernels and a graph, and takes further knowledge that `load_knowledge` reads.
`formats` reads files, `places` finds or fetches them, `parts` holds the kernels' mathematics. Labels of
results are the caller's: an old symbol meets the new one of a file, and nothing need be renamed before.
"""

from .knowledge import load_knowledge
from .load import load_pathways
from .map import Pathways

__all__ = ["Pathways", "load_knowledge", "load_pathways"]
