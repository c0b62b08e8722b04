"""A modality in a few words, however long it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from ._containers import is_missing, is_text, n_samples_of

# Cells that are looked through for missing rows: 50 ms. Of more, and of what is still on disk, nothing is counted.
MAX_COUNTED_CELLS = 2**24


def shown_value(value: Any) -> str:
    """Describe a modality in two or three words."""
    if value is None:
        return "None"
    n_samples = n_samples_of(value)
    if is_text(value):
        return f"{n_samples} texts"
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return f"{n_samples} entries"
    kind = "sparse" if sparse.issparse(value) else "array" if isinstance(value, np.ndarray) else type(value).__name__
    return f"{kind} {value.shape}"


def described(value: Any) -> tuple[str, str, str]:
    """Return what a modality is, of which type, and how many of its rows are missing."""
    if value is None:
        return "None", "", "all"
    dtypes = sorted({str(dtype) for dtype in np.ravel(getattr(value, "dtypes", getattr(value, "dtype", "")))})
    return shown_value(value), ", ".join(dtypes[:3]) + (", ..." if len(dtypes) > 3 else ""), _n_missing(value)


def _n_missing(value: Any) -> str:
    """How many rows have nothing observed; nothing is said where that takes long."""
    on_disk = isinstance(value, np.memmap) or isinstance(getattr(value, "base", None), np.memmap)
    if on_disk or sparse.issparse(value) or np.size(value) > MAX_COUNTED_CELLS:
        return ""
    if value.ndim == 1:
        return str(sum(map(_is_missing_row, value)))
    missing = np.asarray(pd.isna(value))
    return str(int(missing.reshape(len(missing), -1).all(axis=1).sum())) if missing.size else "0"


def _is_missing_row(item: Any) -> bool:
    """Whether a text, a sequence, or one number is missing."""
    if is_missing(item):
        return True
    return isinstance(item, np.ndarray) and item.dtype.kind in "fcO" and bool(np.all(pd.isna(item)))
