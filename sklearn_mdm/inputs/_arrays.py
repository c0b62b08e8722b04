"""One modality as numbers: a float array with NaN where nothing was observed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from ._containers import as_samples, is_text

__all__: list[str] = []

FLOAT_DTYPES = [np.float64, np.float32]


SPARSE_REMEDY = (
    "reduce it to a dense array first, for example with sklearn.decomposition.TruncatedSVD "
    "(ModalityTransformer applies it to one modality)"
)


def as_float_array(name: Hashable, value: Any, owner: str) -> np.ndarray:
    """Read one modality as a float array (n, d) or (n, T, d), with NaN where nothing was observed."""
    label = f"modality {name!r}"
    if sparse.issparse(value):
        raise TypeError(f"{label} is sparse ({type(value).__name__}), but {owner} needs dense data: {SPARSE_REMEDY}.")
    value = as_samples(value)
    if is_text(value):
        raise ValueError(
            f"{label} holds text, but {owner} needs numbers here. Encode it first, for example with "
            f"ModalityTransformer({{{name!r}: make_pipeline(TfidfVectorizer(), TruncatedSVD(100))}}); "
            f"fusion=MAGFusion(text={name!r}, backbone=...) reads it as it is."
        )
    if getattr(value, "ndim", None) == 1 and getattr(value, "dtype", None) == object:
        return _pad_ragged(label, value)
    if len(np.shape(value)) not in (2, 3):
        raise ValueError(
            f"{label} has shape {np.shape(value)}; expected (n_samples, n_features), (n_samples, n_steps, n_features) "
            "or a list of (n_steps_i, n_features) arrays. Use array.reshape(-1, 1) if it is a single feature."
        )
    array = check_numbers(label, value)
    if array.shape[-1] == 0:
        raise ValueError(f"{label} has 0 features (shape {array.shape}); at least one is required.")
    return array


def check_numbers(label: str, value: Any) -> np.ndarray:
    """Convert value to a float array that may hold NaN but nothing infinite; errors start with the label."""
    if type(value) is np.ndarray and value.dtype in FLOAT_DTYPES:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(value.sum()):
                return value  # as check_array would, which takes longer than the prediction of a row
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # its quick look for infinities is a sum, which may overflow
            return check_array(
                value,
                dtype=FLOAT_DTYPES,
                ensure_all_finite="allow-nan",
                allow_nd=True,
                ensure_min_samples=0,
                ensure_min_features=0,
                input_name=label,
            )
    except (TypeError, ValueError, OverflowError) as error:
        if label in str(error):
            raise
        raise type(error)(f"{label}: {error}") from error


def _pad_ragged(label: str, samples: np.ndarray) -> np.ndarray:
    """Stack a list of (T_i, d) arrays, or of (d,) rows, into one array; None and missing steps become NaN."""
    arrays: list[np.ndarray | None] = []
    for i, item in enumerate(samples):
        if item is None or (isinstance(item, float) and np.isnan(item)):
            arrays.append(None)
            continue
        if len(np.shape(item)) not in (1, 2):
            raise ValueError(
                f"{label}, sample {i} has shape {np.shape(item)}; each sample of a list must be an array "
                "(n_steps_i, n_features) or (n_features,), or None where it was not observed."
            )
        is_row = len(np.shape(item)) == 1
        item = check_numbers(f"{label}, sample {i}", np.atleast_2d(item))
        arrays.append(item[0] if is_row else item)
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
