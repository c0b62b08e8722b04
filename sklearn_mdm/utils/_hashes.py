"""Hashes by which rows are recognised later."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Numbers that are hashed at a time.
NUMBERS_AT_ONCE = 2**20


def row_hashes(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Hash each row by all of its values, of which NaN, such as padding behind a sequence, adds nothing: (n_rows,)."""
    total = np.zeros(0, dtype=np.uint64)
    for j, array in enumerate(arrays):
        if not j:
            total = np.zeros(len(array), dtype=np.uint64)
        # Sums of integers, which wrap around: sums of floating-point numbers would depend on the other rows. The
        # factors of the first steps are the same however many steps there are.
        factors = np.random.default_rng(j).integers(2**64, size=array.shape[1:], dtype=np.uint64)
        size = max(1, NUMBERS_AT_ONCE // max(1, factors.size))
        for start in range(0, len(array), size):
            # As float32, so that data are recognised in either floating type; and without a negative zero.
            with np.errstate(over="ignore"):
                values = np.nan_to_num(array[start : start + size].astype(np.float32)) + np.float32(0)
            total[start : start + size] += (values.view(np.uint32) * factors).reshape(len(values), -1).sum(axis=1)
    return total
