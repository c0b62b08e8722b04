"""Which samples a fit was trained on, so that they are not taken for new ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils._hashes import row_hashes

# Rows that are kept to compare others with: fewer wide ones, so that they stay small.
MAX_REFERENCE, FEWEST_REFERENCE, REFERENCE_NUMBERS = 1000, 64, 2**18


class SeenRows:
    """Remembers samples (n_samples, d_j) by hashes of their columns, and which of them a critic was trained on.

    With ``copies`` samples of equal values are one and the same; otherwise such data repeat by nature.
    """

    def __init__(self, arrays: Sequence[np.ndarray], trained: np.ndarray, *, copies: bool) -> None:
        self.hashes = row_hashes(arrays)
        self.trained = trained
        self.tells = copies or len(np.unique(self.hashes)) == len(self.hashes)

    def among(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Tell which of these samples were trained on: bool (n_samples,)."""
        hashes = row_hashes(arrays)
        order, known = hashes.argsort(kind="stable"), self.hashes.argsort(kind="stable")
        seen = np.zeros(len(hashes), dtype=bool)
        if np.array_equal(hashes[order], self.hashes[known]):  # the samples of the fit, in some order
            seen[order] = np.isin(known, self.trained)
        elif self.tells:  # where rows repeat, equal ones need not be the same
            seen = np.isin(hashes, self.hashes[self.trained])
        return seen


def some_rows(arrays: Sequence[np.ndarray], rows: np.ndarray, seed: int) -> list[np.ndarray]:
    """Keep some of the rows to compare others with, in random order."""
    kept = min(MAX_REFERENCE, max(FEWEST_REFERENCE, REFERENCE_NUMBERS // sum(a.shape[1] for a in arrays)))
    chosen = np.random.default_rng(seed).permutation(rows)[:kept]
    return [a[chosen] for a in arrays]
