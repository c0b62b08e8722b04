"""Which samples a fit was trained on, so that they are not taken for new ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


class SeenRows:
    """Remembers samples (n_samples, d_j) by hashes of their columns, and which of them a critic was trained on."""

    def __init__(self, arrays: Sequence[np.ndarray], trained: np.ndarray) -> None:
        self.hashes = _hashes(arrays)
        self.trained = trained

    def among(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Tell which of these samples were trained on: bool (n_samples,)."""
        hashes = _hashes(arrays)
        if np.array_equal(hashes, self.hashes):
            seen = np.zeros(len(hashes), dtype=bool)
            seen[self.trained] = True
            return seen
        if len(np.unique(self.hashes)) < len(self.hashes):
            return np.zeros(len(hashes), dtype=bool)  # where rows repeat, equal ones need not be the same
        return np.isin(hashes, self.hashes[self.trained])


def _hashes(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return pd.util.hash_pandas_object(pd.DataFrame(np.concatenate(arrays, axis=1)), index=False).to_numpy()
