"""What a cell that was not observed is expected to be, given the cells of its row that were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Residuals at which solving for a row ends, relative to those at its start, and the most steps.
SOLVED, MAX_STEPS = 1e-6, 200
# Covariances are divided by so many rows more than have both columns, which keeps those of a few rows small.
PRIOR_ROWS = 10


@dataclass(frozen=True, eq=False)
class ConditionalMeans:
    r"""Means of a normal distribution, in each row given what was observed of the row.

    With the precision :math:`\Lambda`, those of the missing cells :math:`m` beside the observed ones :math:`o` are
    :math:`\mu_m - \Lambda_{mm}^{-1} \Lambda_{mo} (x_o - \mu_o)`: what ridge regressions on whatever was observed say.

    Parameters
    ----------
    center : array of shape (n_features,)
        Means.
    precision : array of shape (n_features, n_features)
        Inverse of the covariance.
    """

    center: np.ndarray
    precision: np.ndarray

    def __call__(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Fill the missing cells of rows (n, n_features)."""
        with np.errstate(over="ignore", invalid="ignore"):
            solution = self._solve(np.where(missing, 0.0, values - self.center), missing)
            solution[~np.isfinite(solution)] = 0.0  # rows out of all proportion say nothing
        return np.where(missing, (self.center + solution).astype(values.dtype), values)

    def _solve(self, known: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Expected deviations from the means in missing cells, zero in others.

        Conjugate gradients of all rows at a time, each until it is solved: the equations of every row are others.
        """
        solution, diagonal = np.zeros(known.shape), np.diag(self.precision)
        residual = -(known @ self.precision) * missing
        direction = residual / diagonal
        size = (residual * direction).sum(axis=1)
        rows, enough = np.flatnonzero(size > 0), SOLVED**2 * size
        residual, direction, size = residual[rows], direction[rows], size[rows]
        for _ in range(MAX_STEPS):
            if not len(rows):
                break
            change = (direction @ self.precision) * missing[rows]
            length = (size / (direction * change).sum(axis=1))[:, None]
            solution[rows] += length * direction
            residual -= length * change
            scaled = residual / diagonal
            new = (residual * scaled).sum(axis=1)
            left = new > enough[rows]
            direction = (scaled + (new / size)[:, None] * direction)[left]
            rows, residual, size = rows[left], residual[left], new[left]
        return solution


def fit_conditional_means(values: np.ndarray, weight: np.ndarray | None) -> ConditionalMeans | None:
    """Learn them from rows (n, n_features), NaN where nothing was observed; None if squares leave the range of numbers.

    A covariance is that of the rows that have both columns. The fewer these are beside the number of columns, the more
    is added to the variances: the ratio of the two, which is what noise spreads the eigenvalues of a correlation by.
    """
    seen = ~np.isnan(values)
    share = seen * (np.ones(len(values)) if weight is None else weight / weight.mean())[:, None]
    n_seen = np.maximum(share.sum(axis=0), np.finfo(float).tiny)
    with np.errstate(over="ignore", invalid="ignore"):
        center = (np.where(seen, values, 0.0) * share).sum(axis=0) / n_seen
        deviations = np.where(seen, values - center, 0.0)
        scale = np.sqrt((deviations**2 * share).sum(axis=0) / n_seen)
    # Of constant columns, and of those that have no value.
    scale[scale == 0] = 1
    inverse = 1 / scale
    if not (np.isfinite(inverse) & (inverse > 0)).all():
        return None
    deviations *= inverse
    pairs = share.T @ seen
    correlation = (deviations * share).T @ deviations / (pairs + PRIOR_ROWS)
    np.fill_diagonal(correlation, 1.0)
    noise = len(center) / max(pairs.mean(), 1.0)
    eigenvalues, vectors = np.linalg.eigh(correlation)
    # Correlations of different rows do not always make a covariance: eigenvalues can be negative.
    precision = (vectors / (np.maximum(eigenvalues, 0) + noise)) @ vectors.T
    with np.errstate(over="ignore", under="ignore"):
        precision *= inverse
        precision *= inverse[:, None]
    usable = np.isfinite(precision).all() and (np.diag(precision) > 0).all()
    return ConditionalMeans(center, precision) if usable else None
