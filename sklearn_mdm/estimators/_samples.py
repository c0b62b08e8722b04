"""Samples as fit passes them on: X with targets, weights and groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from ..inputs._observed import Observed

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Samples:
    """Some rows of X, and what belongs to them.

    Parameters
    ----------
    X : Observed
        All samples that were passed; parts of them share it.
    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Targets of the rows.
    weight : array of shape (n_rows,) or None
        Their weights.
    groups : array of shape (n_rows,) or None
        Their groups.
    rows : array of int of shape (n_rows,)
        Their positions in X.
    """

    X: Observed
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None
    rows: np.ndarray

    def take(self, part: np.ndarray) -> Samples:
        """Return some of the rows."""
        return Samples(
            self.X,
            self.y[part],
            None if self.weight is None else self.weight[part],
            None if self.groups is None else self.groups[part],
            self.rows[part],
        )

    @property
    def complete(self) -> np.ndarray:
        """Rows with every modality observed: bool (n_rows,)."""
        return self.X.complete[self.rows]


def read_weight(sample_weight: Any, n: int) -> np.ndarray | None:
    """Validate one weight per sample: none negative, and not all of them zero."""
    if sample_weight is None:
        return None
    weight = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64)
    if (weight < 0).any():
        raise ValueError(f"sample_weight has {int((weight < 0).sum())} negative values; weights must be >= 0.")
    if not weight.any():
        raise ValueError("every sample_weight is zero: there is nothing to fit.")
    return weight
