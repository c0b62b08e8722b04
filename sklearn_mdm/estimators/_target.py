"""y as it is read: validated, and told which samples have no label."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import is_regressor
from sklearn.metrics import get_scorer, r2_score
from sklearn.utils.validation import _check_y, _num_samples
from skorch.callbacks import EpochScoring

from ..inputs._containers import as_samples
from ..inputs._labels import check_beside, row_labels
from ..inputs._numbers import check_no_odd_numbers
from ..inputs._schema import are_positions
from ..utils._arguments import check_rows, named
from ..utils._statistics import power_of_two_unit
from ._samples import moderate_weight, read_weight, weight_unit


def check_target(
    estimator: Any, y: Any, n_samples: int, rows: np.ndarray | None, *, fewest: int = 1, numeric: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Validate y beside an X that was already read; numeric ones may have several columns.

    Returns the labels of the given rows that have some, ``fewest`` at least, NaN for those of several outputs that are
    missing; and which of the given rows these are, bool (n_rows,).
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    y, labelled = _read_labels(y, numeric=numeric)
    if sparse.issparse(y):
        raise TypeError(f"y is sparse ({type(y).__name__}), but dense data is required. Pass y.toarray().")
    if labelled.ndim and not labelled.all():
        check_rows("y", len(labelled), n_samples)
        n_labelled = int(labelled.sum() if rows is None else labelled[rows].sum())
        if n_labelled < fewest:
            raise ValueError(
                f"y has labels in {n_labelled} of {len(labelled) if rows is None else len(rows)} samples, while a "
                f"minimum of {fewest} is required (NaN, None, pandas.NA and masked entries are none). Pass samples "
                "without labels beside some that have one; DependencyEstimator learns from X alone."
            )
    if numeric:
        check_no_odd_numbers("y", y)
    else:
        y = _with_classes(y)
    partly = numeric and isinstance(y, np.ndarray) and y.dtype.kind == "f" and bool(np.isnan(y).any())
    values = np.where(np.isnan(y), 0, y) if partly else y
    checked = _check_y(values, estimator=estimator, multi_output=numeric, y_numeric=numeric)
    y = y if partly else checked
    check_rows("y", len(labelled), n_samples)
    if rows is not None:
        y, labelled = y[np.isin(np.flatnonzero(labelled), rows)], labelled[rows]
    return y, labelled


def scored_target(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None
) -> tuple[Any, np.ndarray | None, np.ndarray]:
    """Read y and weights for a score, if they belong to X and are what the estimator can predict.

    Returns those of the samples that have labels, and which these are, bool (n_samples,).
    """
    check_beside(row_labels(X), y=y, sample_weight=sample_weight)
    numeric = is_regressor(estimator)
    with named("y"):
        if y is None:
            raise ValueError("y is None: there is nothing to compare predictions with.")
        check_outputs(estimator, target_columns(y))
        _num_samples(y)
        y, labelled = _read_labels(y, numeric=numeric)
        if numeric:
            check_no_odd_numbers("y", y)
    with named("sample_weight"):
        weight = read_weight(sample_weight, len(labelled), of="y")
        weight = moderate_weight(weight, weight_unit(weight))
    if not labelled.all():
        if not labelled.any():
            raise ValueError(f"none of the {len(labelled)} entries of y is a label: there is nothing to score.")
        y, weight = y if numeric else _with_classes(y), None if weight is None else weight[labelled]
    return y, weight, labelled


def complete_target(estimator: Any, X: Any, y: Any) -> Any:
    """Y as scorers of scikit-learn read it, if it belongs to X and no label is missing."""
    check_beside(row_labels(X), y=y)
    check_outputs(estimator, target_columns(y))
    y, missing = _with_missing(y)
    if missing.any():
        by_row = missing.reshape(len(missing), -1).any(axis=1)
        raise ValueError(
            f"y has {int(missing.sum())} missing labels (NaN, None, pandas.NA or masked; first: sample "
            f"{int(np.argmax(by_row))}). Leave those samples out: keep = ~pandas.isna(y), then X of those rows and "
            "y[keep]."
        )
    if hasattr(estimator, "__sklearn_tags__") and is_regressor(estimator):
        check_no_odd_numbers("y", y)
    return y


def r2_of_labelled(y: np.ndarray, prediction: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
    """Mean over outputs of R2, each on the samples that have a label of it, if these are two or more."""
    scores = []
    for target, values in zip(y.T, prediction.T, strict=True):
        rows = np.flatnonzero(~np.isnan(target))
        if len(rows) > 1:
            weight = None if sample_weight is None else sample_weight[rows]
            target, values = target[rows], values[rows]
            unit = power_of_two_unit(np.abs(target).max())  # or squares of tiny ones are 0, and their R2 is 1
            with np.errstate(over="ignore"):  # of predictions that have nothing to do with y: R2 is -inf
                target, values = target / unit, values / unit
                far = np.isinf(values).any()
                scores.append(-math.inf if far else r2_score(target, values, sample_weight=weight))
    return float(np.mean(scores)) if scores else math.nan


def check_outputs(estimator: Any, columns: list | None) -> None:
    """Reject names of outputs that are not those of fit, in their order."""
    expected = getattr(estimator, "_target_columns", None)
    if None not in (columns, expected) and columns != expected:
        raise ValueError(
            f"the outputs of y are {columns}, but {type(estimator).__name__} was fitted with {expected}. "
            "Select them in that order."
        )


def check_scoring_callbacks(callbacks: list | None) -> None:
    """Reject scores of labels by name in callbacks of a classifier: what they would be given are logits."""
    for callback in callbacks or []:
        callback = callback[1] if isinstance(callback, tuple) else callback
        scoring = getattr(callback, "scoring", None) if isinstance(callback, EpochScoring) else None
        if isinstance(scoring, str) and get_scorer(scoring)._response_method == "predict":
            raise ValueError(
                f"EpochScoring({scoring!r}) reads class labels, but net_ predicts logits. Pass a function instead: "
                "EpochScoring(lambda net, X, y: (net.predict(X).argmax(1) == y).mean(), lower_is_better=False)."
            )


def _with_missing(y: Any) -> tuple[Any, np.ndarray]:
    """Y as an array or table, and which labels of it are missing."""
    y = as_samples(pd.Series(y) if isinstance(y, pd.api.extensions.ExtensionArray) else y)
    return y, np.asarray(pd.isna(y))


def _read_labels(y: Any, *, numeric: bool) -> tuple[Any, np.ndarray]:
    """Y of the samples that have a label, and which these are, bool (n_samples,); NaN for missing ones of several."""
    y, missing = _with_missing(y)
    if not missing.any():
        return y, np.ones(missing.shape[:1], dtype=bool)
    labelled = np.asarray(~missing.reshape(len(missing), -1).all(axis=1))
    if numeric:
        check_no_odd_numbers("y", y)
        values = np.array(y, dtype=object)
        values[missing] = np.nan
        return values.astype(np.float64)[labelled], labelled
    y = y[labelled]
    if getattr(y, "dtype", None) == object:  # what held None beside numbers
        y = pd.Series(np.ravel(y)).infer_objects().to_numpy()
    return y, labelled


def _with_classes(y: Any) -> Any:
    """Y as NumPy has it, if its labels are of one kind that has an order."""
    extended = isinstance(getattr(y, "dtype", None), pd.api.extensions.ExtensionDtype)
    labels = y.tolist() if extended else np.ravel(np.asarray(y))
    kinds = {type(label) for label in labels} if extended or labels.dtype.kind in "Oc" else {str}
    strings = all(issubclass(kind, str) for kind in kinds)
    if not strings and not (extended and all(issubclass(kind, numbers.Real) for kind in kinds)):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        odd = ": Complex data not supported" if any(issubclass(kind, complex) for kind in kinds) else ""
        raise ValueError(
            f"Unknown label type{odd}: y holds labels of type {found}. Pass strings, an array of integers or one of "
            "booleans; pandas.Series(y).astype(str) makes strings of any."
        )
    return np.asarray(labels) if extended else y  # labels that no array of NumPy has as they are


def target_columns(y: Any) -> list | None:
    """Names of the outputs of a table y; None where it has none."""
    y = as_samples(y)
    names = list(y.columns) if isinstance(y, pd.DataFrame) else None
    return None if names is None or are_positions(names) else names
