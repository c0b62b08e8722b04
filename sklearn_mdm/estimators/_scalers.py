"""Scalers that skewed and heavy-tailed columns do not upset: robust, and by ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
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
            z = values - self.center_.astype(values.dtype)
            z /= self.scale_.astype(values.dtype)
            far = np.abs(z) > FAR
            if far.any():  # the square of such a value could leave the range of numbers
                z = np.where(far & np.isfinite(z), np.copysign(FAR, z), z)
            root = z / SOFT_LIMIT
            root *= root
            root += 1
            z /= np.sqrt(root, out=root)
            return z


class NormalScores:
    """Replaces each value by the normal quantile of its rank among the training values, linearly between them.

    Attributes
    ----------
    knots_, scores_, slopes_ : arrays of shape (n_features, n_knots)
        Values, ascending, their scores, and the slopes from there to the next; columns with fewer knots end in inf.
    ends_ : array of shape (2, n_features)
        First and last knot.
    single_ : array of bool of shape (n_features,)
        Columns with one knot, whose score stands for whatever comes, also for NaN.
    """

    def __init__(self, values: np.ndarray, weight: np.ndarray | None) -> None:
        weight = np.ones(len(values)) if weight is None else weight
        found = [_knots(column, weight) for column in values.T]
        shape = len(found), max((len(known) for known, _ in found), default=1)
        self.knots_, self.scores_, self.slopes_ = np.full(shape, np.inf), np.zeros(shape), np.zeros(shape)
        for j, (known, scores) in enumerate(found):
            self.knots_[j, : len(known)], self.scores_[j, : len(known)] = known, scores
            with np.errstate(over="ignore"):
                slopes = np.diff(scores) / np.diff(known)
            self.slopes_[j, : len(slopes)] = np.where(np.isfinite(slopes), slopes, 0)
        self.ends_ = np.array([(known[0], known[-1]) for known, _ in found]).reshape(-1, 2).T
        self.single_ = np.array([len(known) == 1 for known, _ in found], dtype=bool)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return scaled rows (n, n_features)."""
        columns = np.ascontiguousarray(np.clip(values, *self.ends_).T, dtype=np.float64)
        # torch searches all columns in one call; NaN is found at the end, and stays what it is.
        at = torch.searchsorted(torch.from_numpy(self.knots_), torch.from_numpy(columns), right=True).numpy()
        at -= 1
        np.minimum(at, self.knots_.shape[1] - 1, out=at)
        at += np.arange(len(at))[:, None] * self.knots_.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            columns -= self.knots_.ravel().take(at)
            columns *= self.slopes_.ravel().take(at)
            columns += self.scores_.ravel().take(at)
        columns[self.single_] = self.scores_[self.single_, :1]
        return columns.T.astype(values.dtype)


def _knots(column: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of a column (n,) in which NaN counts for nothing, not all of many, and their normal scores."""
    seen = ~np.isnan(column)
    known, place = np.unique(column[seen], return_inverse=True)
    if not len(known):
        return np.zeros(1), np.zeros(1)
    mass = np.bincount(place, weights=weight[seen], minlength=len(known))
    middle = (np.cumsum(mass) - mass / 2) / max(mass.sum(), np.finfo(float).tiny)
    if len(known) > MAX_KNOTS:
        # Half of them evenly by rank, half by score, for the tails.
        shares = [np.linspace(0, 1, MAX_KNOTS // 2), ndtr(np.linspace(-MAX_SCORE, MAX_SCORE, MAX_KNOTS // 2))]
        some = np.unique(np.minimum(np.searchsorted(middle, np.concatenate(shares)), len(known) - 1))
        known, middle = known[some], middle[some]
    return known.astype(np.float64), np.clip(ndtri(middle), -MAX_SCORE, MAX_SCORE)


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
