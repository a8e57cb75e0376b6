"""A blend of base models: shares learned elsewhere, applied to any predictions of theirs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..io.files import InputError, check_known
from ..metric import GATE


@dataclass(frozen=True)
class Selection:
    """A blend: shares of base models, the same for all rows or one set for each group of rows.

    names: base models; by_group: their shares, a tuple for each of `groups`. Effects are multiplied by
    `scale`, their part beyond the gate by `tail` besides.
    """

    names: tuple[str, ...]
    by_group: tuple[tuple[float, ...], ...]
    groups: tuple = ("all",)
    scale: float = 1.0
    tail: float = 1.0
    gate: float = GATE

    @property
    def shares(self) -> pd.DataFrame:
        """Shares, group x base model."""
        return pd.DataFrame(self.by_group, self.groups, self.names)

    @property
    def base_models(self) -> list[str]:
        """Names of the base models with a share, largest first."""
        share = self.shares.mean().sort_values(ascending=False, kind="stable")
        return list(share.index[share > 0])

    def predict(
        self, predictions: dict[str, pd.DataFrame], groups: pd.Series | None = None
    ) -> pd.DataFrame:
        """Return blended effects, perturbation x gene, log2.

        predictions: such a frame by base model; groups: group by perturbation, where shares differ by it.
        """
        used, kinds = self.base_models, None
        check_known(used, predictions, "the blend lacks predictions of base models")
        first = predictions[used[0]]
        if len(self.groups) > 1:
            if groups is None:
                raise InputError("shares differ by group; give `groups`, a series by perturbation")
            groups = groups.loc[first.index]
            check_known(groups.unique(), self.groups, "groups hold kinds without shares")
            kinds = pd.Index(self.groups).get_indexer(groups)
        frames = {name: predictions[name].loc[first.index, first.columns] for name in used}
        values = self.effects(
            {name: frame.to_numpy(float) for name, frame in frames.items()}, kinds
        )
        return pd.DataFrame(values, first.index, first.columns)

    def effects(self, values: dict[str, np.ndarray], kinds: np.ndarray | None) -> np.ndarray:
        """Return blended effects, (rows, genes).

        values: such an array by base model; kinds: number of each row's group, where shares differ by it.
        """
        mixed = 0.0
        for name, share in zip(self.names, np.transpose(self.by_group), strict=True):
            if share.any():
                mixed = mixed + (share[kinds, None] if len(share) > 1 else share) * values[name]
        return stretched(mixed, self.scale, self.tail, self.gate)

    def __str__(self):
        parts = [f"{name} {self.shares[name].mean():.2f}" for name in self.base_models]
        stretch = f"; scale {self.scale:g}, tail {self.tail:g}"
        return "; ".join(parts) + (stretch if (self.scale, self.tail) != (1, 1) else "")


def stretched(values: np.ndarray, scale: float, tail: float, gate: float = GATE) -> np.ndarray:
    """Return effects times `scale`, and their part beyond the gate times `tail`."""
    values = scale * values
    beyond = np.sign(values) * np.maximum(np.abs(values) - gate, 0.0)
    return values + (tail - 1) * beyond
