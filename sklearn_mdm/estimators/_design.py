"""All modalities side by side as one matrix, for models that are linear in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np

from ._scaling import MAX_NUMBERS_AT_ONCE


def design_of(
    arrays: Mapping[Hashable, np.ndarray],
    masks: Mapping[Hashable, np.ndarray | None],
    scale: Callable[[Hashable, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Put scaled modalities side by side.

    A sequence is summarised by the mean and the standard deviation of each feature over its observed steps, less those
    of all steps of a standardised feature, 0 and 1. So what was not observed is zero everywhere.

    Parameters
    ----------
    arrays : mapping of name to array of shape (n_samples, n_features) or (n_samples, n_steps, n_features)
        What a mask hides is of no meaning, and may be NaN.
    masks : mapping of name to array of bool of shape (n_samples,) or (n_samples, n_steps), or None
        Rows or time steps that were observed; None where all were.
    scale : callable
        ``scale(name, rows)`` scales rows (n_rows, n_features) of a modality.

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
        size = max(1, MAX_NUMBERS_AT_ONCE // max(1, int(np.prod(array.shape[1:]))))
        for at in range(0, len(array), size):
            rows = slice(at, at + size)
            seen = np.ones(array[rows].shape[:-1], dtype=bool) if mask is None else mask[rows]
            values = np.zeros(array[rows].shape, dtype=design.dtype)
            if seen.any():
                values[seen] = scale(name, array[rows][seen])
            design[rows, start:end] = _mean_and_std(values, seen) if array.ndim == 3 else values
    return design


def _mean_and_std(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Means and standard deviations less one, (n, 2 d), over the steps (n, T) that were seen of values (n, T, d)."""
    n_seen = seen.sum(axis=1, keepdims=True)
    weight = (seen / np.maximum(n_seen, 1)).astype(values.dtype)
    mean = np.einsum("nt,ntd->nd", weight, values)
    std = np.sqrt(np.einsum("nt,ntd->nd", weight, (values - mean[:, None]) ** 2))
    return np.concatenate([mean, np.where(n_seen > 0, std - 1, 0)], axis=1)
