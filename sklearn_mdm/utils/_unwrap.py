"""What is inside a search or a pipeline: the estimator that reads modalities, and X as it reaches it."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def fitted_estimator(estimator: BaseEstimator) -> BaseEstimator:
    """Return the refitted estimator of a search, however nested, or the estimator itself."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    if hasattr(estimator, "cv_results_"):
        raise ValueError(f"this {type(estimator).__name__} holds no fitted estimator. Fit it with refit=True.")
    return estimator


def final_estimator(estimator: BaseEstimator, X: Any = None) -> tuple[BaseEstimator, Any]:
    """Return the last step of what may be a search or a pipeline, and X after the steps before it."""
    estimator = fitted_estimator(estimator)
    check_is_fitted(estimator)
    while isinstance(estimator, Pipeline):
        if X is not None and len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = fitted_estimator(estimator[-1])
    return estimator, X


def first_step(estimator: BaseEstimator) -> BaseEstimator:
    """Return what reads X as it was passed: the first step of what may be a search or a pipeline."""
    estimator = fitted_estimator(estimator)
    while isinstance(estimator, Pipeline):
        estimator = fitted_estimator(estimator[0])
    return estimator
