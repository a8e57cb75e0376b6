"""Knockdowns as points: coordinates whose products are their likeness, for networks that want numbers."""

import numpy as np

BLOCK = 256  # knockdowns whose likeness to the anchors is asked at once


class Features:
    """Coordinates of knockdowns by what is known of them: name -> (width,), 0 where nothing is.

    Nystroem's map (Williams & Seeger 2001) of the mean of some of the likeness's kernels: products of
    coordinates are that mean, as far as the anchors, knockdowns by name, can tell.
    """

    def __init__(self, knowledge, anchors, kernels, width):
        self.knowledge, self.anchors, self.kernels = knowledge, list(anchors), kernels
        self.width, self._kept = width, {}
        values, vectors = np.linalg.eigh(self._kernel(self.anchors))
        strongest = np.argsort(-values, kind="stable")[:width]
        strongest = strongest[values[strongest] > 1e-3 * max(values.max(initial=0), 1e-9)]
        self._axes = vectors[:, strongest] / np.sqrt(values[strongest])  # (anchors, features)

    def __call__(self, names):
        """Coordinates of these knockdowns: (names, width), float32."""
        new = [name for name in dict.fromkeys(names) if name not in self._kept]
        for first in range(0, len(new), BLOCK):
            block = new[first : first + BLOCK]
            rows = np.zeros((len(block), self.width), dtype=np.float32)
            kernel = self._kernel(block + self.anchors)[: len(block), len(block) :]
            rows[:, : self._axes.shape[1]] = kernel @ self._axes
            self._kept |= dict(zip(block, rows, strict=True))
        rows = [self._kept[name] for name in names]
        return np.array(rows, dtype=np.float32).reshape(len(names), self.width)

    def _kernel(self, names):
        found = self.knowledge.kernels(names)
        parts = [found[name].to_numpy() for name in self.kernels if name in found]
        return np.mean(parts, axis=0) if parts else np.zeros((len(names), len(names)))
