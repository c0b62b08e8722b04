"""One modality as numbers: a float array with NaN where nothing was observed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from scipy import sparse

from ._containers import as_item, as_samples, is_missing, is_text
from ._numbers import FLOAT_DTYPES, array_numbers, float_type, frame_numbers, holds_vectors
from ._on_disk import OnDisk, is_on_disk
from ._tables import as_array

SPARSE_REMEDY = (
    "make it a dense array first, with OneHotEncoder(sparse_output=False), ColumnTransformer(sparse_threshold=0) or "
    "array.toarray(), or reduce it to one with sklearn.decomposition.TruncatedSVD (ModalityTransformer applies it to "
    "one modality)"
)


def as_float_array(name: Hashable, value: Any, owner: str, *, stays_on_disk: bool = False) -> Any:
    """Read one modality as a float array (n, d) or (n, T, d), with NaN where nothing was observed.

    With ``stays_on_disk``, what is on disk becomes an :class:`OnDisk`, of which nothing is read yet.
    """
    label = f"modality {name!r}"
    if stays_on_disk and is_on_disk(value):
        return _checked_on_disk(label, OnDisk(value, float_type([value.dtype])))
    if sparse.issparse(value):
        raise TypeError(f"{label} is sparse ({type(value).__name__}), but {owner} needs dense data: {SPARSE_REMEDY}.")
    try:
        value = as_samples(value)
    except (TypeError, ValueError, RuntimeError) as error:  # the last of tensors of torch that hold no values
        kind = ValueError if isinstance(error, RuntimeError) else type(error)
        raise kind(f"{label} cannot be read: {error}") from error
    if isinstance(value, pd.DataFrame) and value.shape[1] == 1 and not value.isna().all(axis=None):
        value = value.iloc[:, 0] if holds_vectors(value.iloc[:, 0]) else value
    if is_text(value):
        raise ValueError(
            f"{label} holds text, but {owner} needs numbers here. Encode it first, for example with "
            f"ModalityTransformer({{{name!r}: make_pipeline(TfidfVectorizer(), TruncatedSVD(100))}}); "
            f"fusion=MAGFusion(text={name!r}, backbone=...) reads it as it is."
        )
    if len(np.shape(value)) == 1 and holds_vectors(value):
        return _with_a_step(_pad_ragged(label, np.asarray(value, dtype=object)))
    if len(np.shape(value)) not in (2, 3):
        remedy = "series.to_frame()" if isinstance(value, pd.Series) else "array.reshape(-1, 1)"
        raise ValueError(
            f"{label} has shape {np.shape(value)}; expected (n_samples, n_features), (n_samples, n_steps, n_features) "
            f"or a list of (n_steps_i, n_features) arrays. Use {remedy} if it is a single feature."
        )
    array = check_numbers(label, value)
    if array.shape[-1] == 0:
        raise ValueError(f"{label} has 0 features (shape {array.shape}); at least one is required.")
    return _with_a_step(array)


def _with_a_step(array: np.ndarray) -> np.ndarray:
    """Return an array with a step of NaN in the place of none at all, which has no NaN to say that nothing is there."""
    if array.ndim < 3 or array.shape[1]:
        return array
    return np.full((len(array), 1, array.shape[2]), np.nan, dtype=array.dtype)


def check_numbers(label: str, value: Any) -> np.ndarray:
    """Convert value to a float array that may hold NaN but nothing infinite; errors start with the label."""
    if type(value) is np.ndarray and value.dtype in FLOAT_DTYPES:
        array = value
    elif isinstance(value, pd.DataFrame):
        array = frame_numbers(label, value)
    else:
        array = array_numbers(label, as_array(value))
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return array  # a sum takes a fraction of the time that looking for infinite values does
    infinite = np.isinf(array)
    if infinite.any():
        where = np.argwhere(infinite)[0]
        columns = getattr(value, "columns", range(array.shape[-1]) if array.ndim else [0])
        n_infinite = int(infinite.sum())
        _refuse_infinite(label, array.dtype, n_infinite, array.size, int(where[0]), columns[int(where[-1])])
    return array


def _checked_on_disk(label: str, array: OnDisk) -> OnDisk:
    found = array.scan
    if found.first_infinite is not None:
        size = len(array) * array.row_size
        _refuse_infinite(label, array.dtype, found.n_infinite, size, *found.first_infinite)
    return array


def _refuse_infinite(label: str, dtype: np.dtype, n: int, size: int, sample: int, column: Any) -> NoReturn:
    raise ValueError(
        f"{label} contains infinity, or a value too large for {dtype}, in {n} of {size} values (first: sample "
        f"{sample}, column {column!r}). Clip it, or set it to NaN if it was not observed."
    )


def _pad_ragged(label: str, samples: np.ndarray) -> np.ndarray:
    """Stack a list of (T_i, d) arrays, or of (d,) rows, into one array; None and missing steps become NaN."""
    arrays: list[np.ndarray | None] = []
    for i, item in enumerate(samples):
        if is_missing(item):
            arrays.append(None)
            continue
        item = _with_missing_steps(as_item(item))
        if isinstance(item, (list, tuple)) and len({np.shape(step) for step in item}) > 1:
            raise ValueError(f"{label}, sample {i} has time steps of different widths. Give each the same features.")
        if len(np.shape(item)) not in (1, 2):
            raise ValueError(
                f"{label}, sample {i} has shape {np.shape(item)}; each sample of a list must be an array "
                "(n_steps_i, n_features) or (n_features,), or None where it was not observed."
            )
        is_row = len(np.shape(item)) == 1
        item = check_numbers(f"{label}, sample {i}", item if hasattr(item, "columns") else np.atleast_2d(item))
        arrays.append(item[0] if is_row else item)
    if any(array is not None and array.ndim == 2 for array in arrays):  # then an empty list is a sequence of no steps
        arrays = [None if array is not None and array.shape == (0,) else array for array in arrays]
    observed = [array for array in arrays if array is not None]
    if not observed:
        return np.full((len(arrays), 1, 0), np.nan)
    dims, widths = {array.ndim for array in observed}, sorted({array.shape[-1] for array in observed})
    if len(dims) > 1 or len(widths) > 1:
        raise ValueError(
            f"{label}: its samples differ in their number of features ({widths}) or of dimensions ({sorted(dims)})."
        )
    n_steps = (max(len(array) for array in observed),) if dims == {2} else ()
    padded = np.full((len(arrays), *n_steps, widths[0]), np.nan, dtype=np.result_type(*observed))
    for row, array in zip(padded, arrays, strict=True):
        if array is not None:
            row[: len(array)] = array
    return padded


def _with_missing_steps(item: Any) -> Any:
    """Put NaN for the steps of a list that are None."""
    if not isinstance(item, (list, tuple)) or not any(step is None for step in item):
        return item
    widths = {len(step) for step in item if np.ndim(step) == 1}
    return [[np.nan] * max(widths) if step is None else step for step in item] if len(widths) == 1 else item


def width_of(value: Any) -> int:
    """Return the number of features; a text counts as one."""
    return 1 if value.ndim == 1 else int(value.shape[-1])


def check_not_sparse(estimator: Any, X: Any) -> None:
    """Reject a sparse X as a whole."""
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed ({type(X).__name__}), but {type(estimator).__name__} needs dense data: "
            f"{SPARSE_REMEDY}."
        )
