"""All modalities side by side as one matrix, for models that are linear in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

import numpy as np

from ._scaling import MAX_NUMBERS_AT_ONCE


def design_of(
    arrays: Mapping[Hashable, np.ndarray],
    masks: Mapping[Hashable, np.ndarray | None],
    scale: Callable[[Hashable, np.ndarray], np.ndarray],
    center: np.ndarray | None = None,
) -> np.ndarray:
    """Put scaled modalities side by side.

    A sequence is summarised by the mean and the standard deviation of each feature over its observed steps. What was
    not observed is zero everywhere: with a centre, that is the mean of what was.

    Parameters
    ----------
    arrays : mapping of name to array of shape (n_samples, n_features) or (n_samples, n_steps, n_features)
        What a mask hides is of no meaning, and may be NaN.
    masks : mapping of name to array of bool of shape (n_samples,) or (n_samples, n_steps), or None
        Rows or time steps that were observed; None where all were.
    scale : callable
        ``scale(name, rows)`` scales rows (n_rows, n_features) of a modality.
    center : array of shape (n_columns,), default=None
        Subtracted from what was observed: that of ``center_of``.

    Returns
    -------
    design : array of shape (n_samples, n_columns)
    """
    widths = [array.shape[-1] * (2 if array.ndim == 3 else 1) for array in arrays.values()]
    first = next(iter(arrays.values()))
    design = np.zeros((len(first), sum(widths)), dtype=first.dtype)
    ends = np.cumsum(widths)
    for (name, array), start, end in zip(arrays.items(), ends - widths, ends, strict=True):
        mask = masks[name]
        size = max(1, MAX_NUMBERS_AT_ONCE // max(1, math.prod(array.shape[1:])))
        for at in range(0, len(array), size):
            rows = slice(at, at + size)
            seen: np.ndarray = np.ones(array[rows].shape[:-1], dtype=bool) if mask is None else mask[rows]
            row_seen = np.asarray(seen.reshape(len(seen), math.prod(seen.shape[1:])).any(axis=1))
            values = np.zeros(array[rows].shape, dtype=design.dtype)
            if seen.any():
                values[seen] = scale(name, array[rows][seen])
            if array.ndim == 3:
                values = _mean_and_std(values, seen)
            if center is not None:
                values = values - center[start:end].astype(design.dtype)
            design[rows, start:end] = np.where(row_seen[:, None], values, 0)
    return design


def center_of(
    arrays: Mapping[Hashable, np.ndarray],
    masks: Mapping[Hashable, np.ndarray | None],
    design: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Weighted mean (n_columns,) of each column of a design without a centre, over the rows in which it was observed.

    Zero in columns of a modality that no row has.
    """
    weight = np.ones(len(design)) if weight is None else weight
    observed = []
    for name, array in arrays.items():
        mask = masks[name]
        seen = np.ones(len(array), dtype=bool) if mask is None else mask if mask.ndim == 1 else mask.any(axis=1)
        observed += [weight @ seen] * (array.shape[-1] * (2 if array.ndim == 3 else 1))
    return weight @ design / np.maximum(observed, np.finfo(float).tiny)


def _mean_and_std(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Means and standard deviations, (n, 2 d), over the steps (n, T) that were seen of values (n, T, d)."""
    n_seen = seen.sum(axis=1, keepdims=True)
    weight = (seen / np.maximum(n_seen, 1)).astype(values.dtype)
    mean = np.einsum("nt,ntd->nd", weight, values)
    std = np.sqrt(np.einsum("nt,ntd->nd", weight, (values - mean[:, None]) ** 2))
    return np.concatenate([mean, std], axis=1)
