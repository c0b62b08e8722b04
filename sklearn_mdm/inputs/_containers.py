"""A dict of modalities that can be indexed by sample, and what it takes for any value to be indexed like that."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

__all__: list[str] = []


def as_samples(value: Any) -> Any:
    """Return value in a form whose first axis can be indexed; ragged lists and texts become 1-D object arrays."""
    if value is None or hasattr(value, "iloc"):
        return value
    if sparse.issparse(value):
        return value.tocsr()  # not every sparse format can be indexed
    if hasattr(value, "shape") and not isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, np.ndarray):
        return value
    value = list(value)
    # Any string decides, for NumPy would turn ["fine", nan] into the texts "fine" and "nan".
    if any(isinstance(item, str) for item in value) or all(item is None for item in value) or _is_ragged(value):
        samples = np.empty(len(value), dtype=object)
        samples[:] = value
        return samples
    return np.asarray(value)


def _is_ragged(value: list) -> bool:
    shapes = {None if item is None else np.shape(item) for item in value if not _is_ragged_item(item)}
    return len(shapes) > 1 or any(_is_ragged_item(item) for item in value) or any(_is_tokens(item) for item in value)


def _is_ragged_item(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return len({np.shape(step) for step in item}) > 1
    return False


def _is_tokens(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and any(isinstance(token, str) for token in item)


def n_samples_of(value: Any) -> int:
    shape = getattr(value, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise ValueError("expected one entry per sample, got a single number.")
        return int(shape[0])
    return len(value)


def common_length(values: Mapping[Hashable, Any]) -> int:
    lengths = {name: n_samples_of(value) for name, value in values.items() if value is not None}
    if values and not lengths:
        raise ValueError(f"every modality ({', '.join(map(repr, values))}) is None: at least one must have values.")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise ValueError(f"modalities must have the same number of samples, one entry per sample: {found}.")
    return next(iter(lengths.values()), 0)


def is_multiindex_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame) and isinstance(X.columns, pd.MultiIndex)


def split_container(X: Any) -> dict[Hashable, Any] | None:
    """Return the raw modalities of a mapping or of a (modality, feature) frame, or None for a flat X."""
    if sparse.issparse(X):  # before Mapping: scipy's DOK matrices are dicts
        return None
    if isinstance(X, Mapping):
        return {name: X[name] for name in X}
    if is_multiindex_frame(X):
        if X.columns.nlevels != 2:
            raise ValueError(
                f"the columns of X have {X.columns.nlevels} levels; expected two: (modality, feature). Drop or join "
                "levels so that the first names the modality."
            )
        first = X.columns.get_level_values(0)
        blocks = {name: X.loc[:, first == name] for name in first.unique()}
        return {name: block.set_axis(block.columns.get_level_values(1), axis=1) for name, block in blocks.items()}
    return None


def is_text(value: Any) -> bool:
    """Whether value holds strings or token lists, one per sample."""
    if value is None or sparse.issparse(value) or len(np.shape(value)) != 1:
        return False
    if isinstance(getattr(value, "dtype", None), pd.StringDtype):
        return True
    items = np.asarray(value)
    if items.dtype.kind in "UST":
        return True
    return items.dtype == object and any(isinstance(item, str) or _is_tokens(item) for item in items)


def row_labels(X: Any) -> pd.Index | None:
    """Row labels of X, of the first of its data frames where there are several; None without any."""
    frames = X.values() if isinstance(X, Mapping) else [X]
    return next((frame.index for frame in frames if isinstance(frame, pd.DataFrame)), None)
