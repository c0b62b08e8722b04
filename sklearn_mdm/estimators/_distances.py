"""Distances between the rows of a modality, which the models beside the networks compare rows by."""

from __future__ import annotations

import numpy as np

# Squared distances below this share of the squared norms are rounding errors.
ROUNDING = 1e-13


def distances(columns: np.ndarray, others: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, n_others) of rows from others, of which ``squares`` (n_others,) are the squared norms."""
    a, b = columns.astype(float, copy=False), others.astype(float, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # of values far from all others: a distance that is infinite
        a_square = squared_norms(a)[:, None]
        found = (-2 * a) @ b.T
        found += a_square
        found += squares
    if not found.min(initial=np.inf) >= ROUNDING * max(a_square.max(initial=0), squares.max(initial=0)):
        found[found < ROUNDING * np.maximum(a_square, squares)] = 0  # copies, which have no distance
    return np.sqrt(found, out=found)


def squared_norms(columns: np.ndarray) -> np.ndarray:
    """Squared norms (n,) of rows."""
    return (columns.astype(float, copy=False) ** 2).sum(axis=1)
