"""Row labels: evidence of which rows belong together, in X, beside it, and in what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype

from ._tables import NO_LABELS, as_pandas


def labels_of(value: Any) -> pd.Index | None:
    """Row labels of one table, series or labelled array; None if it has none."""
    if hasattr(value, "obs_names"):
        return pd.Index(value.obs_names)
    if hasattr(value, "indexes") and hasattr(value, "dims"):
        return value.indexes.get(value.dims[0]) if value.dims else None
    index = getattr(as_pandas(value), "index", None) if hasattr(value, "iloc") else None
    return index if isinstance(index, pd.Index) and index.name != NO_LABELS else None


def row_labels(X: Any) -> pd.Index | None:
    """Row labels that the tables of X have in common; None without any.

    Raises
    ------
    ValueError
        If two of them disagree.
    """
    modalities = X.items() if isinstance(X, Mapping) else [(None, X)]
    found: pd.Index | None = None
    first = None
    for name, value in modalities:
        labels = labels_of(value)
        if labels is None:
            continue
        if found is not None:
            check_labels(found, labels, f"modality {first!r}", f"modality {name!r}")
        if found is None or (_says_nothing(found, labels) and not _says_nothing(labels, found)):
            found, first = labels, name
    return found


def check_beside(X_labels: pd.Index | None, X_name: str = "X", /, **beside: Any) -> None:
    """Check the row labels of X, y, weights and groups, which belong to the same samples, against each other."""
    known, known_name = X_labels, X_name
    for name, value in beside.items():
        labels = labels_of(value)
        if labels is None:
            continue
        if known is not None:
            check_labels(known, labels, known_name, name)
        if known is None or (_says_nothing(known, labels) and not _says_nothing(labels, known)):
            known, known_name = labels, name


def check_labels(expected: pd.Index, found: pd.Index, expected_name: str, found_name: str) -> None:
    """Reject labels that differ in value or order; default ones that share nothing with the others say nothing."""
    if len(expected) != len(found) or same_labels(expected, found):  # another length is another error
        return
    if (_says_nothing(expected, found) or _says_nothing(found, expected)) and not expected.isin(found).any():
        return
    differ = np.array([a != b for a, b in zip(expected, found, strict=True)])
    row = int(np.argmax(differ))
    here, there = found.tolist()[row], expected.tolist()[row]
    raise ValueError(
        f"the row labels of {found_name} and {expected_name} disagree, in {int(differ.sum())} of {len(found)} rows: "
        f"first at position {row}, {here!r} in {found_name} and {there!r} in {expected_name}. Rows are paired by "
        "position. Bring them into one order first, with found.reindex(expected.index) or by joining the tables, "
        "pandas.concat({name: table, ...}, axis=1); if the order is right and the labels are not, drop them with "
        "reset_index(drop=True)."
    )


def same_labels(a: pd.Index, b: pd.Index) -> bool:
    """Whether two indexes hold the same labels in the same order, whatever their types."""
    return a is b or a.equals(b) or a.astype(object).equals(b.astype(object))


def _says_nothing(labels: pd.Index, others: pd.Index) -> bool:
    """Whether labels are a default index, or rows of one beside labels that are no integers."""
    if isinstance(labels, pd.RangeIndex) and labels.start == 0 and labels.step == 1:
        return True
    return labels.name is None and is_integer_dtype(labels.dtype) and not is_integer_dtype(others.dtype)
