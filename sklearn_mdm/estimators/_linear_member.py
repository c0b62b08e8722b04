"""A linear model beside the members of a committee: ridge or logistic regression, its penalty chosen out of fold."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning

from ..utils._folds import Split
from ._held_out import (
    chunk_of,
    distinct_splits,
    internal_splits,
    merged_folds,
    out_of_fold,
    pointwise_loss,
    spread_of,
)
from ._views import View

# Penalties that are tried: factors of half the squared norm of the coefficients of standardised features, which is
# added to the mean over samples of half the squared error, or of the log loss.
RIDGE_PENALTIES = np.logspace(3, -6, 28)
LOGISTIC_PENALTIES = np.logspace(1, -6, 15)
# Penalties of a classifier are tried in steps of so many of them, from strong to weak while the loss falls.
PATH_STEPS = (2, 1)
# Folds of the members are merged to so many for comparing the penalties of a classifier, which has no closed form, and
# for ridge regression from so many columns on, whose decompositions take seconds.
MAX_MERGED_FOLDS, WIDE = 4, 1000
# Largest gradient of the mean loss at which fitting ends. With a larger one for comparing penalties, weak ones seem
# better than they are: too few steps are a penalty, too.
TOLERANCE, MAX_ITERATIONS = 1e-4, 100
# Logit of a class that no row has.
ABSENT = -1e3

# Classes that there are, their coefficients (n_columns, n_present) and intercepts.
Solution = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(eq=False)
class LinearMember:
    """Ridge or multinomial logistic regression with a penalty that is chosen by held-out loss.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "log_loss"}
        By which penalties are compared. The last makes a classifier; the others ridge regression, which minimises the
        squared error whatever its penalty is chosen by.
    n_classes : int, default=0
        Number of classes, of a classifier.

    Attributes
    ----------
    coef, intercept : arrays of shape (n_columns, n_outputs) and (n_outputs,)
        Fitted to all rows.
    penalty : array of shape (n_outputs,) or (1,)
        Chosen penalty of each target, or of the classifier, by unit of sample weight.
    oof : array of shape (n_samples, n_outputs)
        Predictions by models that were not fitted to the row; log-probabilities of a classifier. NaN in rows that no
        split holds out. Where several do, the mean (of a classifier that of probabilities).
    """

    loss: str
    n_classes: int = 0
    coef: np.ndarray = field(init=False)
    intercept: np.ndarray = field(init=False)
    penalty: np.ndarray = field(init=False)
    oof: np.ndarray = field(init=False)

    def fit(
        self,
        views: Sequence[View],
        y: np.ndarray,
        weight: np.ndarray | None = None,
        splits: Sequence[Split] = (),
        units: np.ndarray | None = None,
    ) -> LinearMember:
        """Fit to all rows, with the penalty that was best in rows held out.

        Parameters
        ----------
        views : sequence of View
            Scaled features of each modality, less their means, so that zero, where nothing was observed, contributes
            nothing.
        y : array of shape (n_samples, n_outputs), or (n_samples,) of int
            Standardised targets, or indices of the classes.
        weight : array of shape (n_samples,), default=None
            Weights of the samples.
        splits : sequence of (trained on, held out)
            Rows; without any, folds are made here.
        units : array of shape (n_samples,), default=None
            Rows of one unit, a group or copies of a sample, are in one of those folds.
        """
        design = _side_by_side(views)
        weight = np.ones(len(design)) if weight is None else np.asarray(weight, dtype=float)
        weight = weight / weight.max()
        splits = distinct_splits(splits) or internal_splits(y if self.loss == "log_loss" else None, weight, units)
        spread = spread_of(design, weight)
        design = design / spread
        # As many columns as rows say all that more columns do, to a model whose penalty is the norm.
        basis = None if design.shape[1] <= len(design) else _row_space(design)
        columns = design if basis is None else design @ basis
        fit = self._fit_classifier if self.loss == "log_loss" else self._fit_ridge
        coef, self.intercept = fit(columns, y, weight, splits)
        self.coef = (coef if basis is None else basis @ coef) / spread[:, None]
        return self

    def outputs(self, views: Sequence[View]) -> np.ndarray:
        """Predictions (n_samples, n_outputs), log-probabilities of a classifier."""
        design = _side_by_side(views)
        with np.errstate(over="ignore", invalid="ignore"):  # of values out of all proportion
            linear = design @ self.coef.astype(design.dtype, copy=False) + self.intercept.astype(
                design.dtype, copy=False
            )
            return log_softmax(linear, axis=1) if self.loss == "log_loss" else linear

    # -- ridge regression --------------------------------------------------------------------------------------------

    def _fit_ridge(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, splits: list[Split]
    ) -> tuple[np.ndarray, np.ndarray]:
        X, total = X.astype(float, copy=False), weight.sum()
        splits = merged_folds(splits, len(splits) if X.shape[1] < WIDE else MAX_MERGED_FOLDS)
        ridges = [_Ridge(X[train], y[train], weight[train]) for train, _ in splits]
        rotated = [ridge.rotate(X[held_out]) for ridge, (_, held_out) in zip(ridges, splits, strict=True)]
        losses = np.zeros((len(RIDGE_PENALTIES), y.shape[1]))
        for ridge, columns, (_, held_out) in zip(ridges, rotated, splits, strict=True):
            for at, penalty in enumerate(RIDGE_PENALTIES):
                error = columns @ ridge.rotated_coef(penalty * total) + ridge.mean - y[held_out]
                losses[at] += weight[held_out] @ pointwise_loss(error, self.loss)
        # The first of equals is the strongest.
        self.penalty = RIDGE_PENALTIES[losses.argmin(axis=0)] if losses.any() else np.ones(y.shape[1])
        chosen = self.penalty * total
        predictions = [columns @ r.rotated_coef(chosen) + r.mean for r, columns in zip(ridges, rotated, strict=True)]
        self.oof = out_of_fold(splits, predictions, y.shape)
        ridge = _Ridge(X, y, weight)
        coef = ridge.vectors @ ridge.rotated_coef(chosen)
        return coef, ridge.mean - ridge.center @ coef

    # -- logistic regression -----------------------------------------------------------------------------------------

    def _fit_classifier(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, splits: list[Split]
    ) -> tuple[np.ndarray, np.ndarray]:
        total = weight.sum()
        merged = merged_folds(splits, MAX_MERGED_FOLDS)
        best, starts = self._choose_penalty(X, y, weight, merged)
        self.penalty = LOGISTIC_PENALTIES[[best]]
        chosen, predictions = LOGISTIC_PENALTIES[best] * total, []
        # The folds of the members one by one, each from the solution of the merged fold that it is a part of, which has
        # not seen it either.
        for k, (train, held_out) in enumerate(splits):
            model = _Logistic(X[train], y[train], weight[train], self.n_classes)
            model.fit(chosen, starts[chunk_of(k, len(splits), len(merged))])
            predictions.append(model.log_p(X[held_out]))
        self.oof = out_of_fold(splits, predictions, (len(y), self.n_classes), logarithms=True)
        model = _Logistic(X, y, weight, self.n_classes)
        model.fit(chosen, starts[0] if starts else None)
        return model.all_classes()

    def _choose_penalty(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, splits: list[Split]
    ) -> tuple[int, list[Solution]]:
        """Which penalty has the smallest loss in rows held out, and what it led to in each split."""
        last, total = len(LOGISTIC_PENALTIES) - 1, weight.sum()
        if not splits:
            return len(LOGISTIC_PENALTIES) // 2, []
        models = [_Logistic(X[train], y[train], weight[train], self.n_classes) for train, _ in splits]
        losses: dict[int, float] = {}
        solutions: dict[int, list[Solution]] = {}

        def loss_at(at: int, starts: list[Solution]) -> float:
            if at not in losses:
                losses[at] = 0.0
                for model, start, (_, held_out) in zip(models, starts, splits, strict=True):
                    model.fit(LOGISTIC_PENALTIES[at] * total, start)
                    losses[at] -= weight[held_out] @ model.log_p(X[held_out])[np.arange(len(held_out)), y[held_out]]
                solutions[at] = [model.solution for model in models]
            return losses[at]

        best = 0
        loss_at(best, [model.solution for model in models])
        for step in (way * size for size in PATH_STEPS for way in (1, -1)):
            while 0 <= best + step <= last and loss_at(best + step, solutions[best]) < losses[best]:
                best += step
        return best, solutions[best]


class _Ridge:
    """Ridge regression for any penalty: the covariance of the columns is decomposed once."""

    def __init__(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        share = weight / max(weight.sum(), np.finfo(float).tiny)
        self.center, self.mean = share @ X, share @ y
        root = np.sqrt(weight)[:, None]
        X = (X - self.center) * root
        self.values, self.vectors = np.linalg.eigh(X.T @ X)
        self.values = np.maximum(self.values, 0)
        self.moments = self.vectors.T @ (X.T @ ((y - self.mean) * root))

    def rotate(self, X: np.ndarray) -> np.ndarray:
        return (X - self.center) @ self.vectors

    def rotated_coef(self, penalty: float | np.ndarray) -> np.ndarray:
        return self.moments / (self.values[:, None] + penalty)


class _Logistic:
    """Multinomial logistic regression that can go on from an earlier solution; classes may be absent from y."""

    def __init__(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, n_classes: int) -> None:
        used = weight > 0
        self.X, self.y, self.weight = (X, y, weight) if used.all() else (X[used], y[used], weight[used])
        self.n_classes, self.present = n_classes, np.unique(self.y)
        self.coef = np.zeros((X.shape[1], len(self.present)))
        self.intercept = np.zeros(len(self.present))

    @property
    def solution(self) -> Solution:
        return self.present, self.coef, self.intercept

    def fit(self, penalty: float, start: Solution | None) -> None:
        if len(self.present) < 2:
            return
        if start is not None and np.array_equal(start[0], self.present):
            _, self.coef, self.intercept = start
        from sklearn.linear_model import LogisticRegression  # here, or it would slow down `import sklearn_mdm`

        model = LogisticRegression(C=1 / penalty, tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)
        # Of two classes scikit-learn has the difference.
        two = len(self.present) == 2
        model.coef_ = (self.coef[:, 1:] - self.coef[:, :1] if two else self.coef).T
        model.intercept_ = self.intercept[1:] - self.intercept[:1] if two else self.intercept
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Classes that most samples have to themselves are told apart all the same.
            warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
            model.fit(self.X, self.y, sample_weight=self.weight)
        coef, intercept = model.coef_.T, model.intercept_
        self.coef = np.hstack([-coef / 2, coef / 2]) if two else coef
        self.intercept = np.hstack([-intercept / 2, intercept / 2]) if two else intercept

    def log_p(self, X: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, n_classes); a class that was absent has the share of one row among those seen."""
        n_absent = self.n_classes - len(self.present)
        share = 1 / (len(self.y) + self.n_classes)
        log_p = np.full((len(X), self.n_classes), np.log(share))
        if len(self.present):
            linear = X @ self.coef.astype(X.dtype, copy=False) + self.intercept.astype(X.dtype, copy=False)
            log_p[:, self.present] = log_softmax(linear, axis=1) + np.log1p(-n_absent * share)
        return log_p

    def all_classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (n_columns, n_classes) and intercepts (n_classes,), as good as never for a class not seen."""
        coef = np.zeros((self.coef.shape[0], self.n_classes))
        intercept = np.full(self.n_classes, ABSENT if len(self.present) else 0.0)
        coef[:, self.present], intercept[self.present] = self.coef, self.intercept
        return coef, intercept


def _side_by_side(views: Sequence[View]) -> np.ndarray:
    return np.concatenate([view.columns for view in views], axis=1)


def _row_space(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis (n_columns, rank) of what the rows span."""
    wide = design.astype(float, copy=False)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    kept = values > values[-1] * len(values) * np.finfo(float).eps
    kept[-1] = True  # a column of zeros, where all are
    lengths = np.sqrt(np.maximum(values[kept], np.finfo(float).tiny))
    return (wide.T @ (vectors[:, kept] / lengths)).astype(design.dtype, copy=False)
