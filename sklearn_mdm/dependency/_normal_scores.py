"""Normal scores: columns replaced by the normal quantiles of their ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

# Order statistics that are kept of each column.
MAX_QUANTILES = 10_000


class NormalScores:
    """Replaces each column by the normal quantiles of its ranks among the rows passed to ``fit``.

    Dependency between modalities does not change, and after it neither does its estimate under increasing maps of any
    column. Equal values get their mean rank.
    """

    def fit(self, arrays: Sequence[np.ndarray]) -> NormalScores:
        """Remember the order statistics of the columns of each array (n, d_j)."""
        n = len(arrays[0])
        kept = np.arange(n) if n <= MAX_QUANTILES else np.linspace(0, n - 1, MAX_QUANTILES).round().astype(int)
        self.quantiles_ = [np.sort(array, axis=0)[kept] for array in arrays]
        return self

    def transform(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the normal scores of arrays with the same columns."""
        return [
            np.column_stack([_scores(column, known) for column, known in zip(array.T, quantiles.T, strict=True)])
            for array, quantiles in zip(arrays, self.quantiles_, strict=True)
        ]


def _scores(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    rank = (np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right")) / 2
    # Half a rank to either side, so that no value lies at infinity.
    return ndtri((rank + 0.5) / (len(known) + 1))
