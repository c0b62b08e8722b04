"""Values far outside their column: drawn in, so that a single one does not set the scale for all others."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

# Typical distances from the median, about two thirds of a standard deviation of a normal column, beyond which a value
# is far; the farthest are put at twice as many. Of a normal column one in 10^11 is far.
FAR_SPREADS = 10.0
# Rows that medians are taken of; with more, evenly spaced ones.
MAX_MEDIAN_ROWS = 20_000


class FarValues:
    r"""Draws far values in, and leaves all others as they are.

    .. math:: z = (x - q_{50}) / s, \quad z \mapsto \operatorname{sign}(z)\, 10\, (2 - 10 / |z|)
              \quad \text{where } |z| > 10

    and s is the median of the distances from the median that are not zero. The order of values stays what it is, so
    that total correlation does too.
    """

    def __init__(self, name: Hashable, columns: np.ndarray) -> None:
        """Take medians of columns (n, d), in which NaN counts for nothing."""
        n = len(columns)
        some = columns[np.linspace(0, n - 1, MAX_MEDIAN_ROWS).astype(int)] if n > MAX_MEDIAN_ROWS else columns
        with np.errstate(over="ignore", invalid="ignore"):
            self.center_ = _medians(some)
            gaps = np.abs(some - self.center_)
            gaps[gaps == 0] = np.nan
            spread = _medians(gaps)
            # A column with one value: another, later, is measured by that.
            self.spread_ = np.where(spread > 0, spread, np.where(self.center_ == 0, 1.0, np.abs(self.center_)))
            self.low_, self.high_ = self.center_ - FAR_SPREADS * self.spread_, self.center_ + FAR_SPREADS * self.spread_
            fits = np.isfinite(2 * FAR_SPREADS * self.spread_ + np.abs(self.center_))
        if not fits.all():
            raise ValueError(f"modality {name!r} has values too large to standardise. Rescale or clip them.")

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """Draw far values of columns (n, d) in; the array itself, if there are none."""
        far = (columns < self.low_) | (columns > self.high_)
        rows, places = np.nonzero(far)
        if not len(rows):
            return columns
        drawn, center, spread = columns.copy(), self.center_[places], self.spread_[places]
        with np.errstate(over="ignore"):  # the farthest are at infinity
            z = drawn[rows, places] / spread - center / spread
        drawn[rows, places] = center + spread * np.sign(z) * FAR_SPREADS * (2 - FAR_SPREADS / np.abs(z))
        return drawn


def _medians(columns: np.ndarray) -> np.ndarray:
    """Medians of columns in which NaN counts for nothing; of those without a value, zero."""
    medians = np.zeros(columns.shape[1])
    for j, column in enumerate(columns.T):
        known = column[~np.isnan(column)]
        if len(known):
            medians[j] = np.median(known)
    return medians
