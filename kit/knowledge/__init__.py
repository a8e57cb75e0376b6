"""Prior knowledge of genes: sets, interactions, tables, responses in other screens.

`gather` finds and reads everything and returns one `Knowledge`, the first argument of models.
`load_pathways` reads gene sets and interactions into `Pathways`; `load_knowledge` reads one gene x number
table, such as embeddings. `smallest_sets`: the smallest gene set that a perturbation shares with others.
"""

from .loading import gather, load_pathways
from .pathways import Pathways, smallest_sets
from .similarity import Knowledge
from .tables import load_knowledge

__all__ = ["Knowledge", "Pathways", "gather", "load_knowledge", "load_pathways", "smallest_sets"]
