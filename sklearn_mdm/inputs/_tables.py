"""Tables of any library as pandas frames, and every other container as an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

# Name of the index of a frame whose rows have no labels, such as those of polars; it survives whatever selects rows.
NO_LABELS = "no row labels"


def as_pandas(value: Any) -> Any:
    """Return a table of polars, pyarrow, xarray, AnnData or the like as a pandas frame; anything else as it is."""
    if isinstance(value, (pd.DataFrame, pd.Series, Mapping)):  # such as a Dataset of xarray, which is none
        return value
    if isinstance(value, np.ndarray):  # of named fields, such as HDF5 has
        return _without_labels(pd.DataFrame.from_records(value)) if value.dtype.names else value
    if hasattr(value, "obs_names") and hasattr(value, "var_names"):
        X = value.X.toarray() if hasattr(value.X, "toarray") else np.asarray(value.X)
        return pd.DataFrame(X, index=pd.Index(value.obs_names), columns=list(value.var_names))
    if hasattr(value, "lazy") and hasattr(value, "collect"):  # a query of polars
        value = value.collect()
    if hasattr(value, "lazy") and hasattr(value, "get_columns"):  # polars, whose own conversion needs pyarrow
        columns = {name: _column_of_polars(value[name]) for name in value.columns}
        return _without_labels(pd.DataFrame(columns, index=range(value.shape[0]), copy=False))
    if hasattr(value, "coords") and hasattr(value, "dims"):
        return _of_xarray(value)
    if hasattr(value, "to_pandas"):
        frame = value.to_pandas()
        return _without_labels(frame) if callable(getattr(value, "index", print)) else frame
    return value


def _without_labels(frame: Any) -> Any:
    frame.index = pd.RangeIndex(len(frame), name=NO_LABELS)
    return frame


def _column_of_polars(column: Any) -> Any:
    if str(column.dtype).startswith(("Categorical", "Enum")):
        categories = list(column.dtype.categories) if str(column.dtype).startswith("Enum") else None
        return pd.Categorical(column.to_list(), categories=categories)
    values = column.to_numpy()
    return values if values.ndim == 1 else list(values)


def _of_xarray(value: Any) -> Any:
    """Arrays of two dimensions as frames, if they have labels; with more they stay as they are, which keeps them."""
    indexes = [value.indexes.get(dim) for dim in value.dims]
    if value.ndim != 2 or all(index is None for index in indexes):
        return np.asarray(value) if value.ndim < 3 or indexes[0] is indexes[-1] is None else value
    frame = pd.DataFrame(np.asarray(value), columns=indexes[1])
    return _without_labels(frame) if indexes[0] is None else frame.set_axis(indexes[0], axis=0)


def as_array(value: Any) -> Any:
    """Return what has a shape as an array; masked entries become NaN, or None where there is no NaN."""
    if isinstance(value, np.ma.MaskedArray):
        mask, kind = np.ma.getmaskarray(value), value.dtype.kind
        if not mask.any():
            return value.data
        filled: Any = value.data.astype(value.dtype if kind in "fcmM" else np.float64 if kind in "biu" else object)
        filled[mask] = "NaT" if kind in "mM" else None if filled.dtype == object else np.nan
        return filled
    if hasattr(value, "detach"):  # a tensor of torch, which may carry gradients or lie on a GPU
        if value.is_meta:
            raise ValueError("a tensor of torch on the device meta holds no values")
        value = value.detach().cpu()
        value = value.to_dense() if value.is_sparse else value
        return value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()
    return np.asarray(value)
