"""Hashes by which rows are recognised later."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Numbers that are hashed at a time.
NUMBERS_AT_ONCE = 2**20
SMALLEST, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max


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
            bits = _bits(array[start : start + size])
            total[start : start + size] += (bits * factors).reshape(len(bits), -1).sum(axis=1)
    return total


def _bits(values: np.ndarray) -> np.ndarray:
    """Numbers as float32, so that data are recognised in either floating type, and without a negative zero."""
    with np.errstate(over="ignore", under="ignore"):
        single = np.nan_to_num(values.astype(np.float32)) + np.float32(0)
    bits = single.view(np.uint32)
    size = np.abs(single)
    far = ((size >= LARGEST) | (size < SMALLEST)) & (values != 0) & ~np.isnan(values)
    if far.any():  # what float32 has no numbers for, by its digits and its exponent
        digits, exponents = np.frexp(values[far].astype(np.float64))
        bits[far] = digits.astype(np.float32).view(np.uint32) ^ (exponents.astype(np.uint32) * np.uint32(2654435761))
    return bits
