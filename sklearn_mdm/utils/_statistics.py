"""Statistics of samples."""

from __future__ import annotations

import math

import numpy as np


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
