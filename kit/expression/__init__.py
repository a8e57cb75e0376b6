"""From cells to effects: pseudobulk, limma's moderated t, resampled cells, similarity of effects."""

from .pseudobulk import mean_expression

__all__ = ["mean_expression"]
