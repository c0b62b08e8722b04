"""Kernel ridge regression beside the members of a committee, with a kernel that is a mean over the modalities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ..utils._folds import Split
from ._distances import distances, squared_norms
from ._held_out import distinct_splits, internal_splits, merged_folds, out_of_fold, pointwise_loss, spread_of
from ._linear_member import MAX_MERGED_FOLDS
from ._views import View

# exp(-DECAY * d) of the root mean squared difference d of standardised features. So slow a decay is as good as one
# that is chosen: the kernel is then about a constant less the distance, whose scale the penalty takes up.
DECAY = 0.2
# Penalties that are tried, strongest first, by unit of sample weight.
PENALTIES = np.r_[np.logspace(-1, -5, 9), 1e-6, 1e-7]
# Logarithms between which the factor of a classifier's outputs is sought.
LOG_FACTORS = (-3.0, 5.0)
# Kernels that are computed at a time: a processor's cache holds them.
KERNELS_AT_ONCE = 2**16
# Share of a class that no row of positive weight has.
MIN_SHARE = 1e-12


@dataclass(eq=False)
class KernelMember:
    r"""Kernel ridge regression, of a classifier on indicators of the classes; the penalty is chosen by held-out loss.

    .. math:: k(x, x') = \frac1M \sum_m s_m s'_m \exp(-\tfrac15 \lVert x_m - x'_m \rVert / \sqrt{d_m})

    with s = 1 where modality m was observed, else 0: predictions are a sum over modalities, to which a missing one
    contributes nothing. Class probabilities are the softmax of :math:`\log \pi + a (f(x) - \pi)`, with the shares pi of
    the classes and the a of least held-out log loss.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "log_loss"}
        By which penalties are compared. The last makes a classifier.
    n_classes : int, default=0
        Number of classes, of a classifier.

    Attributes
    ----------
    coef, mean : arrays of shape (n_used, n_outputs) and (n_outputs,)
        Fitted to all rows of positive weight, and the mean of their targets.
    penalty, factor : float
        What was chosen.
    oof : array of shape (n_samples, n_outputs)
        Predictions by models that were not fitted to the row; log-probabilities of a classifier. NaN in rows that no
        split holds out.
    """

    loss: str
    n_classes: int = 0
    coef: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    penalty: float = field(init=False)
    factor: float = field(init=False, default=1.0)
    oof: np.ndarray = field(init=False)
    spreads: list[np.ndarray] = field(init=False)
    views: list[View] = field(init=False)
    squares: list[np.ndarray] = field(init=False)

    def fit(
        self,
        views: Sequence[View],
        y: np.ndarray,
        weight: np.ndarray | None = None,
        splits: Sequence[Split] = (),
        units: np.ndarray | None = None,
    ) -> KernelMember:
        """Fit to all rows, with the penalty that was best in rows held out.

        Parameters
        ----------
        views : sequence of View
            Scaled features of each modality.
        y : array of shape (n_samples, n_outputs), or (n_samples,) of int
            Standardised targets, or indices of the classes.
        weight : array of shape (n_samples,), default=None
            Weights of the samples.
        splits : sequence of (trained on, held out)
            Rows; without any, folds are made here.
        units : array of shape (n_samples,), default=None
            Rows of one unit, a group or copies of a sample, are in one of those folds.
        """
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
        classes = y if self.loss == "log_loss" else None
        splits = distinct_splits(splits) or internal_splits(classes, weight, units)
        used = np.flatnonzero(weight)
        self.spreads = [spread_of(view.columns, weight) for view in views]
        scaled = [View(view.columns / spread, view.seen) for view, spread in zip(views, self.spreads, strict=True)]
        self.squares = [squared_norms(view.columns) for view in scaled]
        kernel = _kernel(scaled, scaled, self.squares)
        targets = y if classes is None else np.eye(self.n_classes)[classes]
        self.mean = weight @ targets / weight.sum()
        ridge = weight.sum() / np.where(weight > 0, weight, 1)
        problem = _Problem(kernel, targets, weight, ridge)

        few = [(train[weight[train] > 0], held_out) for train, held_out in merged_folds(splits, MAX_MERGED_FOLDS)]
        losses = [self._held_out_loss(problem.held_out(few, penalty), y, weight)[0] for penalty in PENALTIES]
        # The first of equals is the strongest; without folds, one in the middle.
        self.penalty = float(PENALTIES[np.argmin(losses) if few else len(PENALTIES) // 2])
        splits = [(train[weight[train] > 0], held_out) for train, held_out in splits]
        self.oof = problem.held_out(splits, self.penalty)
        if classes is not None:
            self.factor = self._held_out_loss(self.oof, y, weight)[1]
            self.oof = self._log_p(self.oof, self.factor)
        self.coef, _ = problem.solve(used, self.penalty)
        self.views = [view.take(used) for view in scaled]
        self.squares = [squares[used] for squares in self.squares]
        return self

    def outputs(self, views: Sequence[View]) -> np.ndarray:
        """Predictions (n_samples, n_outputs), log-probabilities of a classifier."""
        scaled = [View(view.columns / spread, view.seen) for view, spread in zip(views, self.spreads, strict=True)]
        n, size = len(views[0].columns), max(1, KERNELS_AT_ONCE // len(self.coef))
        values = np.empty((n, self.coef.shape[1]))
        for start in range(0, n, size):
            rows = slice(start, start + size)
            np.matmul(
                _kernel([view.take(rows) for view in scaled], self.views, self.squares), self.coef, out=values[rows]
            )
        values += self.mean
        if self.loss == "log_loss":
            values = self._log_p(values, self.factor)
        return values.astype(views[0].columns.dtype, copy=False)

    def _log_p(self, values: np.ndarray, factor: float) -> np.ndarray:
        """Log-probabilities; at a factor of zero those of the shares of the classes."""
        return log_softmax(np.log(np.maximum(self.mean, MIN_SHARE)) + factor * (values - self.mean), axis=1)

    def _held_out_loss(self, values: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
        """Sum of the losses of rows held out, and the factor of the values with which it is least."""
        known = np.isfinite(values).all(axis=1) & (weight > 0)
        values, y, weight = values[known], y[known], weight[known]
        if not len(y):
            return 0.0, 1.0
        if self.loss != "log_loss":
            return float((weight @ pointwise_loss(values - y, self.loss)).sum()), 1.0
        rows = np.arange(len(y))
        found = minimize_scalar(
            lambda log_factor: -weight @ self._log_p(values, np.exp(log_factor))[rows, y],
            bounds=LOG_FACTORS,
            method="bounded",
        )
        return float(found.fun), float(np.exp(found.x))


@dataclass(frozen=True, eq=False)
class _Problem:
    """Kernel (n, n) of all rows, their targets (n, n_outputs) and weights, and what multiplies a penalty in each."""

    kernel: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    ridge: np.ndarray

    def solve(self, rows: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and intercept of what is fitted to some rows."""
        weight, targets = self.weight[rows], self.targets[rows]
        if not len(rows):
            return targets, np.zeros(targets.shape[1])
        mean = weight @ targets / weight.sum()
        while True:
            matrix = self.kernel[np.ix_(rows, rows)]
            matrix[np.diag_indices_from(matrix)] += penalty * self.ridge[rows]
            try:
                # In the order of LAPACK, which would make a copy otherwise.
                factor = cho_factor(matrix.T, overwrite_a=True, check_finite=False)
            except LinAlgError:  # kernels of rows that are copies of each other but for rounding
                penalty *= 10
                continue
            return cho_solve(factor, targets - mean, check_finite=False), mean

    def held_out(self, splits: Sequence[Split], penalty: float) -> np.ndarray:
        """Predictions (n, n_outputs) of the rows that splits hold out; NaN in those that none does."""
        predictions = []
        for train, held_out in splits:
            coef, mean = self.solve(train, penalty)
            predictions.append(self.kernel[np.ix_(held_out, train)] @ coef + mean)
        return out_of_fold(splits, predictions, self.targets.shape)


def _kernel(views: Sequence[View], others: Sequence[View], squares: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the modalities of exponential kernels, (n, n_others), zero where one of the two was not observed.

    ``squares`` are squared norms (n_others,) of the others.
    """
    total = np.zeros((len(views[0].columns), len(others[0].columns)))
    for view, other, b_square in zip(views, others, squares, strict=True):
        kernel = distances(view.columns, other.columns, b_square)
        kernel *= -DECAY / np.sqrt(view.columns.shape[1])
        np.exp(kernel, out=kernel)
        for seen, axis in ((view.seen, 1), (other.seen, 0)):
            if seen is not None:
                kernel *= np.expand_dims(seen, axis)
        total += kernel
    total /= len(views)
    return total
