"""Values far outside their column: drawn in, so that a single one does not set the scale for all others."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

# Typical distances from the median, about two thirds of a standard deviation of a normal column, beyond which a value
# may be far, and the largest share of a column that is: a group of samples that lies elsewhere is no mistake.
FAR_SPREADS, FAR_SHARE = 10.0, 0.01
# Rows that medians are taken of; with more, evenly spaced ones.
MAX_MEDIAN_ROWS = 20_000


class FarValues:
    r"""Draws far values in, and leaves all others as they are.

    .. math:: z = x - q_{50}, \quad z \mapsto \operatorname{sign}(z)\, b\, (2 - b / |z|)
              \quad \text{where } |z| > b

    The bound b is ten times the median of the distances from the median that are not zero, or the distance beyond which
    one in a hundred is, if that is more. The order of values stays what it is, so that total correlation does too.
    """

    def __init__(self, name: Hashable, columns: np.ndarray) -> None:
        """Take medians of columns (n, d), in which NaN counts for nothing."""
        n = len(columns)
        some = columns[np.linspace(0, n - 1, MAX_MEDIAN_ROWS).astype(int)] if n > MAX_MEDIAN_ROWS else columns
        with np.errstate(over="ignore", invalid="ignore"):
            self.center_ = _quantiles(some, 0.5)
            gaps = np.abs(some - self.center_)
            usual = _quantiles(gaps, 1 - FAR_SHARE)
            gaps[gaps == 0] = np.nan
            spread = _quantiles(gaps, 0.5)
            # A column with one value: another, later, is measured by that.
            spread = np.where(spread > 0, spread, np.where(self.center_ == 0, 1.0, np.abs(self.center_)))
            self.bound_ = np.maximum(FAR_SPREADS * spread, usual)
            self.low_, self.high_ = self.center_ - self.bound_, self.center_ + self.bound_
            fits = np.isfinite(2 * self.bound_ + np.abs(self.center_))
        if not fits.all():
            raise ValueError(f"modality {name!r} has values too large to standardise. Rescale or clip them.")

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """Draw far values of columns (n, d) in; the array itself, if there are none."""
        far = (columns < self.low_) | (columns > self.high_)
        rows, places = np.nonzero(far)
        if not len(rows):
            return columns
        drawn, center, bound = columns.copy(), self.center_[places], self.bound_[places]
        with np.errstate(over="ignore"):  # the farthest are at infinity
            times = np.abs(drawn[rows, places] / bound - center / bound)
        drawn[rows, places] = center + np.where(drawn[rows, places] > center, bound, -bound) * (2 - 1 / times)
        return drawn


def _quantiles(columns: np.ndarray, share: float) -> np.ndarray:
    """Quantiles of columns in which NaN counts for nothing; of those without a value, zero."""
    quantiles = np.zeros(columns.shape[1])
    for j, column in enumerate(columns.T):
        known = column[~np.isnan(column)]
        if len(known):
            quantiles[j] = np.quantile(known, share, method="lower")
    return quantiles
