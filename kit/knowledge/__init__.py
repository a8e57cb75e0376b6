"""What is known of genes from elsewhere: sets, interactions, tables, responses in other screens."""

from .gathering import gather
from .loading import load_pathways
from .pathways import Pathways, smallest_sets
from .similarity import Knowledge
from .tables import load_knowledge

__all__ = ["Knowledge", "Pathways", "gather", "load_knowledge", "load_pathways", "smallest_sets"]
