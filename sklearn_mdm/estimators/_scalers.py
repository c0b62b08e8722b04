"""Scalers that skewed and heavy-tailed columns do not upset: robust, and by ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, ndtri

# Values of a column between which normal scores are interpolated.
MAX_KNOTS = 256
# Normal scores end here, on either side.
MAX_SCORE = 3.5
# Robustly scaled values approach this, on either side.
SOFT_LIMIT = 3.0
# Robustly scaled values beyond this are one, as their squares would leave the range of numbers.
FAR = 1e6


class RobustScaler:
    r"""Puts the median at zero and one between the quartiles, and draws values far outside in.

    .. math:: u = z / \sqrt{1 + (z / 3)^2}, \quad z = (x - q_{50}) / (q_{75} - q_{25})

    A column of which half the values are equal is divided by half its range instead. (The preprocessing of RealMLP:
    Holzmüller, Grinsztajn, Steinwart, "Better by Default", NeurIPS 2024, Section 3.)
    """

    def __init__(self, values: np.ndarray, weight: np.ndarray | None) -> None:
        low, self.center_, high = weighted_quantiles(values, weight, (0.25, 0.5, 0.75))
        with np.errstate(over="ignore", invalid="ignore"):
            half_range = (np.fmax.reduce(values, axis=0) - np.fmin.reduce(values, axis=0)) / 2
            scale = np.where(high > low, high - low, half_range)
        self.scale_ = np.where(scale > 0, scale, 1.0)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return scaled rows (n, n_features)."""
        with np.errstate(over="ignore", invalid="ignore"):
            z = (values - self.center_.astype(values.dtype)) / self.scale_.astype(values.dtype)
            # Not the square of a value that would leave the range of numbers.
            far = np.abs(z) > FAR
            z = np.where(far & np.isfinite(z), np.copysign(FAR, z), z)
            return z / np.sqrt(1 + (z / SOFT_LIMIT) ** 2)


class NormalScores:
    """Replaces each value by the normal quantile of its rank among the training values, linearly between them."""

    def __init__(self, values: np.ndarray, weight: np.ndarray | None) -> None:
        self.knots_: list[tuple[np.ndarray, np.ndarray]] = []
        weight = np.ones(len(values)) if weight is None else weight
        for column in values.T:
            seen = ~np.isnan(column)
            known, place = np.unique(column[seen], return_inverse=True)
            mass = np.bincount(place, weights=weight[seen], minlength=len(known))
            middle = (np.cumsum(mass) - mass / 2) / max(mass.sum(), np.finfo(float).tiny)
            if len(known) > MAX_KNOTS:
                # Half of them evenly by rank, half by score, for the tails.
                shares = [np.linspace(0, 1, MAX_KNOTS // 2), ndtr(np.linspace(-MAX_SCORE, MAX_SCORE, MAX_KNOTS // 2))]
                some = np.unique(np.minimum(np.searchsorted(middle, np.concatenate(shares)), len(known) - 1))
                known, middle = known[some], middle[some]
            scores = np.clip(ndtri(middle), -MAX_SCORE, MAX_SCORE)
            self.knots_.append((known.astype(np.float64), scores) if len(known) else (np.zeros(1), np.zeros(1)))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return scaled rows (n, n_features)."""
        scaled = np.empty(values.shape, dtype=values.dtype)
        for j, (known, scores) in enumerate(self.knots_):
            scaled[:, j] = np.interp(values[:, j], known, scores)
        return scaled


def weighted_quantiles(values: np.ndarray, weight: np.ndarray | None, shares: Sequence[float]) -> np.ndarray:
    """Quantiles (n_shares, n_features) of columns (n, n_features), in which NaN counts for nothing.

    A weight of two is the same as having a row twice. Columns without a value have zeros.
    """
    quantiles = np.zeros((len(shares), values.shape[1]))
    for j, column in enumerate(values.T):
        order = np.argsort(column, kind="stable")[: len(column) - int(np.isnan(column).sum())]
        if len(order):
            mass = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
            # Not beyond the mass, and not past a step that rounding moved.
            places = np.searchsorted(mass, np.asarray(shares) * mass[-1] * (1 - 1e-12))
            quantiles[:, j] = column[order[np.minimum(places, len(order) - 1)]]
    return quantiles
