"""Samples as fit passes them on: X with targets, weights and groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _check_sample_weight

from ..inputs._containers import as_samples
from ..inputs._numbers import check_no_odd_numbers
from ..inputs._observed import Observed


@dataclass(frozen=True, eq=False)
class Samples:
    """Some rows of X, and what belongs to them.

    Parameters
    ----------
    X : Observed
        All samples that were passed; parts of them share it.
    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Targets of the rows.
    weight : array of shape (n_rows,) or None
        Their weights.
    groups : array of shape (n_rows,) or None
        Their groups.
    rows : array of int of shape (n_rows,)
        Their positions in X.
    passed : array of int of shape (n_rows,)
        Their positions in what was passed: X lacks samples of zero weight.
    n_passed : int
        Number of samples that were passed.
    copies : array of shape (n_rows,) or None
        What each row is a copy of, if any is one of another.
    """

    X: Observed
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None
    rows: np.ndarray
    passed: np.ndarray
    n_passed: int
    copies: np.ndarray | None = None

    def take(self, part: np.ndarray) -> Samples:
        """Return some of the rows."""
        return Samples(
            self.X,
            self.y[part],
            None if self.weight is None else self.weight[part],
            None if self.groups is None else self.groups[part],
            self.rows[part],
            self.passed[part],
            self.n_passed,
            None if self.copies is None else self.copies[part],
        )

    @property
    def units(self) -> np.ndarray | None:
        """Rows that are never separated: groups, or else copies of one another."""
        return self.copies if self.groups is None else self.groups

    @property
    def complete(self) -> np.ndarray:
        """Rows with every modality observed: bool (n_rows,)."""
        return self.X.complete[self.rows]


def read_weight(sample_weight: Any, n: int) -> np.ndarray | None:
    """Validate one weight per sample: none negative, and not all of them zero."""
    if sample_weight is None:
        return None
    sample_weight = as_samples(sample_weight)
    check_no_odd_numbers("sample_weight", sample_weight)
    if np.ndim(sample_weight) != 1:
        raise ValueError(f"sample_weight has shape {np.shape(sample_weight)}; expected one weight per sample, ({n},).")
    weight = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64)
    if (weight < 0).any():
        raise ValueError(f"sample_weight has {int((weight < 0).sum())} negative values; weights must be >= 0.")
    if not weight.any():
        raise ValueError("every sample_weight is zero: there is nothing to fit.")
    return weight


# What searches do to fit parameters, and the way around it.
SEARCH_REMEDY = (
    "GridSearchCV and cross_validate cut every fit parameter that has as many rows as X. Pass X_val as a plain dict, "
    "which goes whole, and both X_val and y_val with another number of rows than X: leave a row out."
)


def check_not_cut_like(X: Any, X_val: Any) -> None:
    """Reject validation samples that were cut to the rows of X, which happens in a search without a word."""
    if X_val is None or X_val is X:
        return
    rows, rows_val = getattr(X, "_rows", None), getattr(X_val, "_rows", None)
    labels, labels_val = getattr(X, "index", None), getattr(X_val, "index", None)
    same_rows = rows is not None and rows_val is not None and np.array_equal(rows, rows_val)
    same_labels = (
        isinstance(labels, pd.Index)
        and isinstance(labels_val, pd.Index)
        and not isinstance(labels, pd.RangeIndex)
        and labels.equals(labels_val)
    )
    if same_rows or same_labels:
        raise ValueError(f"X_val holds the very rows that X does, {len(X_val)} of them. {SEARCH_REMEDY}")


def check_validation_size(n_samples: int, y_val: Any) -> None:
    """Reject targets of another number of rows than the validation samples."""
    if hasattr(y_val, "__len__") and len(y_val) != n_samples:
        raise ValueError(
            f"X_val and y_val have inconsistent numbers of samples, {n_samples} and {len(y_val)}. In a search: "
            f"{SEARCH_REMEDY}"
        )
