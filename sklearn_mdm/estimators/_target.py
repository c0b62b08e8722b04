"""y as it is read: validated, and refused where labels are missing."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import is_regressor
from sklearn.metrics import get_scorer
from sklearn.utils.validation import _check_y, _num_samples, check_consistent_length
from skorch.callbacks import EpochScoring

from ..inputs._containers import as_samples
from ..inputs._labels import check_beside, row_labels
from ..inputs._numbers import check_no_odd_numbers
from ..inputs._schema import are_positions
from ._samples import read_weight


def check_target(
    estimator: Any, y: Any, n_samples: int, rows: np.ndarray | None, *, numeric: bool = False
) -> np.ndarray:
    """Validate y beside an X that was already read, and keep the given rows; numeric ones may have several columns."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    y = _labelled(y)
    if sparse.issparse(y):
        raise TypeError(f"y is sparse ({type(y).__name__}), but dense data is required. Pass y.toarray().")
    if numeric:
        check_no_odd_numbers("y", y)
    else:
        y = _with_classes(y)
    y = _check_y(y, estimator=estimator, multi_output=numeric, y_numeric=numeric)
    check_consistent_length(np.empty(n_samples), y)
    return y if rows is None else y[rows]


def scored_target(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, np.ndarray | None]:
    """Y and weights as scikit-learn's scores read them, if they belong to X and are what the estimator can predict."""
    check_beside(row_labels(X), y=y, sample_weight=sample_weight)
    check_outputs(estimator, target_columns(y))
    y = _labelled(y)
    if hasattr(estimator, "__sklearn_tags__") and is_regressor(estimator):
        check_no_odd_numbers("y", y)
    return y, None if sample_weight is None else read_weight(sample_weight, _num_samples(y))


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


def _labelled(y: Any) -> Any:
    """Y as an array or table, in which no label is missing."""
    y = as_samples(pd.Series(y) if isinstance(y, pd.api.extensions.ExtensionArray) else y)
    missing = np.asarray(pd.isna(y))
    if missing.any():
        by_row = missing.reshape(len(missing), -1).any(axis=1)
        raise ValueError(
            f"y has {int(missing.sum())} missing labels (NaN, None, pandas.NA or masked; first: sample "
            f"{int(np.argmax(by_row))}). Leave those samples out: keep = ~pandas.isna(y), then X of those rows and "
            "y[keep]."
        )
    return y


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
