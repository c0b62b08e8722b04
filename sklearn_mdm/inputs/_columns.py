"""Which columns of a flat X belong to which modality."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing


def sorted_names(names: Iterable[Hashable]) -> list[Hashable]:
    """Sort modality names, so that neither the order of keys nor of column blocks can matter."""
    names = list(names)
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, numbers.Integral)):
            raise TypeError(f"modality names must be strings or integers, got {name!r} ({type(name).__name__}).")
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def column_positions(X: Any, selector: Any, name: Hashable) -> np.ndarray:
    """Resolve a ColumnTransformer-style selector to column positions."""
    if callable(selector):
        selector = selector(X)
    columns = getattr(X, "columns", None)
    n_columns = X.shape[1] if hasattr(X, "shape") else np.shape(X)[1]
    positions: Any = np.arange(n_columns)[None, :]
    if columns is not None:
        positions = pd.DataFrame(positions, columns=list(columns))
    if isinstance(selector, (list, tuple, np.ndarray)) and len(selector) == 0:
        chosen = np.empty(0, dtype=int)
    else:
        try:
            chosen = np.ravel(_safe_indexing(positions, selector, axis=1))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(
                f"modalities[{name!r}]={selector!r} does not select columns of X ({n_columns} columns): {error}"
            ) from error
    if chosen.size == 0:
        raise ValueError(f"modalities[{name!r}]={selector!r} selects no column of X.")
    return chosen


def resolve_columns(X: Any, modalities: Mapping[Hashable, Any]) -> dict[Hashable, np.ndarray]:
    """Column positions of each modality of a flat X, checked to be disjoint."""
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(f"modalities must map names to column selectors, got {modalities!r}.")
    columns = {name: column_positions(X, modalities[name], name) for name in sorted_names(modalities)}
    seen: dict[int, Hashable] = {}
    for name, positions in columns.items():
        for position in positions.tolist():
            if position in seen:
                raise ValueError(
                    f"column {position} of X is in modality {seen[position]!r} and again in modality {name!r}: a "
                    "shared column makes their dependency infinite. Give each column to one modality."
                )
            seen[position] = name
    return columns
