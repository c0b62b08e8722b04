"""What X and its modalities come in: dicts, frames, lists, texts; told apart, and made to be indexed by rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from ._tables import as_array, as_pandas


def as_samples(value: Any) -> Any:
    """Return value in a form whose first axis can be indexed.

    Tables become pandas frames; ragged lists, lists of tables and texts 1-D object arrays. What a mask hides becomes
    NaN or None.
    """
    if value is None or isinstance(value, (pd.DataFrame, pd.Series)):
        return value
    if sparse.issparse(value):
        return value.tocsr()  # not every sparse format can be indexed
    check_sequence(value)
    value = as_pandas(value)
    if hasattr(value, "iloc") or hasattr(value, "indexes"):
        return value
    if hasattr(value, "shape") or hasattr(value, "__array__"):
        return as_array(value)
    value = [as_item(item) for item in value]
    # Any string decides, for NumPy would turn ["fine", nan] into the texts "fine" and "nan".
    if (
        any(isinstance(item, str) or hasattr(item, "iloc") for item in value)
        or all(item is None for item in value)
        or _is_ragged(value)
    ):
        samples = np.empty(len(value), dtype=object)
        for i, item in enumerate(value):
            samples[i] = item
        return samples
    return np.asarray(value)


def check_sequence(value: Any) -> None:
    """Reject what has no entry for each sample, in an order, however often it is read."""
    found = f"expected one entry per sample, got an object of type {type(value).__name__}"
    if isinstance(value, Mapping):
        raise TypeError(
            f"{found}, of which only the keys would be read. Pass list(mapping.values()), or a "
            "data frame if its values are columns."
        )
    if isinstance(value, Set):
        raise TypeError(f"{found}, which has no order. Pass a list or an array in the order of the samples.")
    if isinstance(value, Iterator):
        raise TypeError(f"{found}, which can be read once only. Pass list(...) of it.")
    is_sequence = isinstance(value, Iterable) or hasattr(value, "shape") or hasattr(value, "__array__")
    if isinstance(value, (str, bytes)) or not (is_sequence or hasattr(value, "__getitem__")):
        raise TypeError(f"{found}. Pass a list or an array.")


def as_item(item: Any) -> Any:
    """Return a sample of a list, or a number in it, as NumPy understands it."""
    if isinstance(item, (str, list, tuple, int, float)) or item is None or type(item) is np.ndarray:
        return item
    if is_missing(item) or item is np.ma.masked:
        return None
    item = as_pandas(item)
    return item if hasattr(item, "iloc") or not hasattr(item, "shape") else as_array(item)


def is_missing(item: Any) -> bool:
    """Whether a single entry says that nothing was observed: None, NaN, NaT or pandas.NA."""
    return item is None or (not isinstance(item, (list, tuple)) and np.ndim(item) == 0 and bool(pd.isna(item)))


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
    return len(value if hasattr(value, "__len__") else as_samples(value))


def common_length(values: Mapping[Hashable, Any]) -> int:
    lengths = {name: n_samples_of(value) for name, value in values.items() if value is not None}
    if values and not lengths:
        raise ValueError(f"every modality ({', '.join(map(repr, values))}) is None: at least one must have values.")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        remedy = _remedy_of_lengths(values)
        raise ValueError(f"modalities must have the same number of samples, one entry per sample: {found}.{remedy}")
    return next(iter(lengths.values()), 0)


def _remedy_of_lengths(values: Mapping[Hashable, Any]) -> str:
    """What probably happened: tables that each lack other samples, or one sample that lost its first axis."""
    tables = [value for value in values.values() if isinstance(value, (pd.DataFrame, pd.Series))]
    if any(not isinstance(table.index, pd.RangeIndex) for table in tables):
        return (
            " Bring all tables to the same rows with table.reindex(ids): rows of NaN, where a table lacks a sample, "
            "mean that it was not observed."
        )
    if all(
        isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiub" for value in values.values()
    ):
        return " A sample on its own is a row of each, array[i : i + 1]."
    return ""


def is_multiindex_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame) and isinstance(X.columns, pd.MultiIndex)


def split_container(X: Any) -> dict[Hashable, Any] | None:
    """Return the raw modalities of a mapping, MuData or (modality, feature) frame, or None for a flat X."""
    if sparse.issparse(X):  # before Mapping: scipy's DOK matrices are dicts
        return None
    if isinstance(X, Mapping):
        return dict(X.items())  # a SliceDict takes integers for samples
    if isinstance(getattr(X, "mod", None), Mapping):  # MuData, whose modalities may lack samples, and their order
        tables = {name: as_pandas(table) for name, table in X.mod.items()}
        return {name: table.reindex(pd.Index(X.obs_names)) for name, table in tables.items()}
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
