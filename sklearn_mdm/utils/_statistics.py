"""Statistics of samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

# Sizes, as powers of two, up to which sums of squares are numbers.
MAX_EXPONENT = 400


def log_mean_exp(values: np.ndarray) -> float:
    """Logarithm of the mean of exp(values)."""
    top = values.max()
    return float(top + np.log(np.exp(values - top).mean()))


def standard_error(values: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Of the mean of values, whose groups are independent units; NaN for a single value."""
    if groups is not None:
        units = np.unique(groups, return_inverse=True)[1]
        sums = np.bincount(units, weights=values - values.mean())
        return math.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)) / len(values)
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def power_of_two_unit(largest: np.ndarray) -> np.ndarray:
    """Units in which values of such a largest size have squares that are numbers: 1 where they have them as they are.

    They are powers of two, so that dividing by them is exact.
    """
    exponents = np.frexp(largest)[1]
    return np.where(np.abs(exponents) > MAX_EXPONENT, np.ldexp(1.0, exponents - 1), 1.0)


def check_finite(values: ArrayLike, what: str) -> None:
    """Raise a FloatingPointError if some of the values, which the text says what they are, are no numbers."""
    odd = int((~np.isfinite(values)).sum())
    if odd:
        raise FloatingPointError(f"{odd} {what} are not finite. Look for extreme values in X, or try a smaller lr.")
