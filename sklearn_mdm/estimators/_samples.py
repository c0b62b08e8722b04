"""Samples as fit passes them on: X with targets, weights and groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _check_sample_weight

from ..inputs._containers import as_samples
from ..inputs._numbers import check_no_odd_numbers
from ..inputs._observed import Observed
from ..utils._arguments import check_rows

MAX_WEIGHT = 1e100


@dataclass(frozen=True, eq=False)
class Samples:
    """Some rows of X that have labels, and what belongs to them; beside them all rows that have none.

    Parameters
    ----------
    X : Observed
        All samples that were passed, labelled ones first; parts of them share it.
    y : array of shape (n_rows,) or (n_rows, n_outputs)
        Targets of the rows; NaN where a row lacks some of several outputs.
    weight : array of shape (n_rows,) or None
        Their weights.
    groups : array of shape (n_rows,) or None
        Their groups.
    rows : array of int of shape (n_rows,)
        Their positions in X.
    passed : array of int
        Positions in what was passed, where X may lack samples, of all that have labels; the same for all parts.
    n_passed : int
        Number of samples that were passed with a target.
    copies : array of shape (n_rows,) or None
        What each row is a copy of, if any is one of another.
    unlabelled : array of int of shape (n_unlabelled,) or None
        Positions in X of samples without a label, those of X_unlabeled among them; the same for all parts.
    unlabelled_weight : array of shape (n_unlabelled,) or None
        Weights of these in the scaling.
    unlabelled_groups : array of shape (n_unlabelled,) or None
        Groups of these; those of X_unlabeled are groups of their own.
    """

    X: Observed
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None
    rows: np.ndarray
    passed: np.ndarray
    n_passed: int
    copies: np.ndarray | None = None
    unlabelled: np.ndarray | None = None
    unlabelled_weight: np.ndarray | None = None
    unlabelled_groups: np.ndarray | None = None

    def take(self, part: np.ndarray) -> Samples:
        """Return some of the rows."""
        return replace(
            self,
            y=self.y[part],
            weight=None if self.weight is None else self.weight[part],
            groups=None if self.groups is None else self.groups[part],
            rows=self.rows[part],
            copies=None if self.copies is None else self.copies[part],
        )

    def with_rest(self, weight: np.ndarray | None, groups: np.ndarray | None) -> Samples:
        """Add what is known of the samples of X behind the rows, which have no label.

        Weights and groups are those of all that were passed with a target; others have the mean weight, and are groups
        of their own.
        """
        n, n_rest = len(self.y), len(self.X) - len(self.y)
        of_rest, group_of_rest = None, None
        if self.weight is not None:
            of_rest = np.full(n_rest, self.weight.mean())
            if weight is not None:
                # As class_weight makes those of labelled ones larger or smaller.
                of_rest[: len(weight) - n] = weight[n:] * self.weight.mean() / weight[:n].mean()
        if groups is not None:
            groups = np.unique(groups, return_inverse=True)[1]
            group_of_rest = groups.max() + 1 + np.arange(n_rest)
            group_of_rest[: len(groups) - n] = groups[n:]
            groups = groups[:n]
        return replace(
            self,
            groups=groups,
            unlabelled=np.arange(n, n + n_rest),
            unlabelled_weight=of_rest,
            unlabelled_groups=group_of_rest,
        )

    def with_unlabelled(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows, then all that have no label: positions in X, and their weights in the scaling."""
        if self.unlabelled is None:
            return self.rows, self.weight
        weight = None if self.weight is None else np.r_[self.weight, self.unlabelled_weight]
        return np.r_[self.rows, self.unlabelled], weight

    @property
    def units(self) -> np.ndarray | None:
        """Rows that are never separated: groups, or else copies of one another."""
        return self.copies if self.groups is None else self.groups

    @property
    def complete(self) -> np.ndarray:
        """Rows with every modality observed: bool (n_rows,)."""
        return self.X.complete[self.rows]


def read_weight(sample_weight: Any, n: int, of: str = "X") -> np.ndarray | None:
    """Validate one weight per sample: none negative, and not all of them zero."""
    if sample_weight is None:
        return None
    sample_weight = as_samples(sample_weight)
    check_no_odd_numbers("sample_weight", sample_weight)
    if np.ndim(sample_weight) != 1:
        raise ValueError(f"sample_weight has shape {np.shape(sample_weight)}; expected one weight per sample, ({n},).")
    check_rows("sample_weight", len(sample_weight), n, of)
    weight = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64)
    if (weight < 0).any():
        raise ValueError(f"sample_weight has {int((weight < 0).sum())} negative values; weights must be >= 0.")
    if not weight.any():
        raise ValueError("every sample_weight is zero: there is nothing to fit.")
    return weight


def weight_unit(weight: np.ndarray | None) -> float:
    """What weights are to be divided by: one, unless sums of their products would leave the range of numbers."""
    largest = 1.0 if weight is None else float(weight.max())
    return largest if 0 < largest <= 1 / MAX_WEIGHT or largest >= MAX_WEIGHT else 1.0


def moderate_weight(weight: np.ndarray | None, unit: float) -> np.ndarray | None:
    """Divide weights by their unit; those of no consequence beside the largest are zero."""
    if weight is None:
        return None
    with np.errstate(over="ignore", under="ignore"):
        weight = weight if unit == 1 else weight / unit
    largest = weight.max()
    if not 0 < largest < np.inf:
        raise ValueError("sample_weight cannot be compared with that of the first call: their ratio is out of range.")
    return weight if weight.min() > largest / MAX_WEIGHT else np.where(weight > largest / MAX_WEIGHT, weight, 0)


def check_all_seen(train: Samples) -> None:
    """Reject training samples all of which lack a modality."""
    for name, seen in zip(train.X.names, train.X.rows[train.rows].any(axis=0), strict=True):
        if not seen:
            raise ValueError(
                f"modality {name!r} is observed in none of the {len(train.y)} samples that are left to train on, "
                "without those of zero weight and those that are held out for validation. Leave it out, or pass "
                "X_val and y_val or early_stopping=False."
            )


# What searches do to fit parameters, and the way around it.
SEARCH_REMEDY = (
    "GridSearchCV and cross_validate cut every fit parameter that has as many rows as X. Pass X_val and X_unlabeled as "
    "plain dicts, which go whole, and both X_val and y_val with another number of rows than X: leave a row out."
)


def check_not_cut_like(X: Any, **others: Any) -> None:
    """Reject further samples that were cut to the rows of X, which happens in a search without a word."""
    rows, labels = getattr(X, "_rows", None), getattr(X, "index", None)
    for name, other in others.items():
        if other is None or other is X:
            continue
        other_rows, other_labels = getattr(other, "_rows", None), getattr(other, "index", None)
        same_rows = rows is not None and other_rows is not None and np.array_equal(rows, other_rows)
        same_labels = (
            isinstance(labels, pd.Index)
            and isinstance(other_labels, pd.Index)
            and not isinstance(labels, pd.RangeIndex)
            and labels.equals(other_labels)
        )
        if same_rows or same_labels:
            raise ValueError(f"{name} holds the very rows that X does, {len(other)} of them. {SEARCH_REMEDY}")


def check_validation_size(n_samples: int, y_val: Any) -> None:
    """Reject targets of another number of rows than the validation samples."""
    if hasattr(y_val, "__len__") and len(y_val) != n_samples:
        raise ValueError(
            f"Found inconsistent numbers of samples: y_val has {len(y_val)} samples, X_val has {n_samples}. In a "
            f"search: {SEARCH_REMEDY}"
        )
