"""From cells to effects: pseudobulk, limma's moderated t, resampled cells, similarity of effects."""
