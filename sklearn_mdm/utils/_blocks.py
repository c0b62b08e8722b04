"""Functions of rows, applied to some rows at a time: what they make on the way then stays small."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# Rows that are read at a time: activations of a critic then stay in the cache of a processor.
ROWS_AT_ONCE = 1024


def in_blocks(function: Callable[[list[np.ndarray]], np.ndarray], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return a value (n,) of each row of arrays (n, k_j), none of which depends on other rows."""
    n = len(arrays[0])
    starts = range(0, max(n, 1), ROWS_AT_ONCE)
    return np.concatenate([function([array[start : start + ROWS_AT_ONCE] for array in arrays]) for start in starts])
