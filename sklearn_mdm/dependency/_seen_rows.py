"""Which samples a fit was trained on, so that they are not taken for new ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._copies import hash_rows


class SeenRows:
    """Remembers samples (n_samples, d_j) by hashes of their columns, and which of them a critic was trained on.

    With ``copies`` samples of equal values are one and the same; otherwise such data repeat by nature.
    """

    def __init__(self, arrays: Sequence[np.ndarray], trained: np.ndarray, *, copies: bool) -> None:
        self.hashes = hash_rows(arrays)
        self.trained = trained
        self.tells = copies or len(np.unique(self.hashes)) == len(self.hashes)

    def among(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Tell which of these samples were trained on: bool (n_samples,)."""
        hashes = hash_rows(arrays)
        if np.array_equal(hashes, self.hashes):
            seen = np.zeros(len(hashes), dtype=bool)
            seen[self.trained] = True
            return seen
        if not self.tells:
            return np.zeros(len(hashes), dtype=bool)  # where rows repeat, equal ones need not be the same
        return np.isin(hashes, self.hashes[self.trained])
