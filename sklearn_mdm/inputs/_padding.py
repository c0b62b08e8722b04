"""Padding of sequences with NaN, and zero padding, which is told from data by the user and not guessed at."""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from ._arrays import _pad_ragged, check_numbers
from ._containers import as_samples
from ._observed import Observed
from ._on_disk import OnDisk


def pad_sequences(sequences: Any, *, n_steps: int | None = None) -> np.ndarray:
    """Bring sequences to one number of steps, with NaN after their end.

    Estimators take lists of sequences of unequal length as they are. What needs this is a system that reads several
    modalities step by step, and so the same number of steps in each, where sequences of one sample end at different
    steps.

    Parameters
    ----------
    sequences : list of array-like of shape (n_steps_i, n_features), or array of shape (n_samples, n_steps, n_features)
        One sequence per sample; None where it was not observed.
    n_steps : int, default=None
        Number of steps of the result; None takes that of the longest sequence.

    Returns
    -------
    ndarray of shape (n_samples, n_steps, n_features)
        A copy, of type float32 or float64.

    Raises
    ------
    ValueError
        If something is observed after ``n_steps``, the samples differ in their number of features, none of them is
        observed, or they hold infinite values.
    TypeError
        If sequences are sparse.

    See Also
    --------
    zero_padding_to_nan : Turns the zero padding of an array into NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import pad_sequences
    >>> audio = [np.ones((2, 1)), None, np.ones((3, 1))]
    >>> pad_sequences(audio, n_steps=4)[:, :, 0]
    array([[ 1.,  1., nan, nan],
           [nan, nan, nan, nan],
           [ 1.,  1.,  1., nan]])
    """
    if sparse.issparse(sequences):
        raise TypeError(f"sequences are sparse ({type(sequences).__name__}); expected dense arrays.")
    sequences = as_samples(sequences)
    ragged = getattr(sequences, "dtype", None) == object and sequences.ndim == 1
    array = _pad_ragged("sequences", sequences) if ragged else sequences
    if len(np.shape(array)) != 3:
        raise ValueError(
            f"sequences have shape {np.shape(array)}; expected a list of (n_steps_i, n_features) arrays or "
            "(n_samples, n_steps, n_features)."
        )
    array = check_numbers("sequences", array)
    if array.shape[2] == 0:
        raise ValueError("sequences have no features: no sample is observed. Leave the modality out.")
    if n_steps is None:
        return np.array(array)
    if not isinstance(n_steps, numbers.Integral) or n_steps < 1:
        raise ValueError(f"n_steps must be a positive integer or None, got {n_steps!r}.")
    late = np.argwhere(~np.isnan(array[:, n_steps:]).all(axis=2))
    if len(late):
        raise ValueError(
            f"n_steps={n_steps}, but {len(np.unique(late[:, 0]))} of {len(array)} sequences are longer (first: sample "
            f"{late[0, 0]}). Cut them, or pass a larger n_steps."
        )
    return pad_steps(array[:, :n_steps], n_steps)


def zero_padding_to_nan(sequences: Any, *, lengths: Any = None, where: str = "end") -> np.ndarray:
    """Turn the zero padding of sequences into NaN, which is how padding is told from values.

    Parameters
    ----------
    sequences : array-like of shape (n_samples, n_steps, n_features)
        Sequences, padded to the same number of steps.
    lengths : array-like of int of shape (n_samples,), default=None
        Number of steps of each sequence, where it is known: later steps become NaN whatever they hold, and no other.
    where : {"end", "anywhere"}, default="end"
        Without ``lengths``: which of the steps whose features are all zero become NaN. "end" takes those after the
        last step that holds anything else, "anywhere" takes all of them, for sequences that are padded at the
        beginning or have gaps.

    Returns
    -------
    ndarray of shape (n_samples, n_steps, n_features)
        A copy with NaN for padding: of the same type for float32 and float64, otherwise of float64.

    Raises
    ------
    ValueError
        If sequences do not have three dimensions, hold infinite values, or lengths do not fit them.
    TypeError
        If sequences are sparse.

    See Also
    --------
    ModalityTransformer : Transforms the time steps that are not NaN.

    Notes
    -----
    A sample whose steps are all zero, or whose length is 0, becomes wholly NaN: this modality counts as missing for it.
    Use it before anything that shifts values, such as standardisation, after which padding is no longer zero. A step
    of true values that happen to be all zero cannot be told from padding: pass ``lengths`` if there may be any. Steps
    that are NaN already stay so, and "end" looks past them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import zero_padding_to_nan
    >>> video = np.array([[[1, 2], [0, 0], [3, 4]], [[5, 6], [0, 0], [0, 0]]])
    >>> zero_padding_to_nan(video)[:, :, 0]
    array([[ 1.,  0.,  3.],
           [ 5., nan, nan]])
    >>> zero_padding_to_nan(video, where="anywhere")[:, :, 0]
    array([[ 1., nan,  3.],
           [ 5., nan, nan]])
    >>> zero_padding_to_nan(video, lengths=[3, 2])[:, :, 0]
    array([[ 1.,  0.,  3.],
           [ 5.,  0., nan]])
    """
    if where not in ("end", "anywhere"):
        raise ValueError(f"where must be 'end' or 'anywhere', got {where!r}.")
    if sparse.issparse(sequences):
        raise TypeError(f"sequences are sparse ({type(sequences).__name__}); expected a dense array.")
    sequences = as_samples(sequences)
    shape = np.shape(sequences)
    if len(shape) != 3:
        raise ValueError(
            f"sequences have shape {shape}; expected (n_samples, n_steps, n_features). A list of arrays of unequal "
            "length needs no padding: pass it to the estimator as it is."
        )
    padded = np.array(check_numbers("sequences", sequences))
    n_samples, n_steps, _ = padded.shape
    if lengths is None:
        empty = ((padded == 0) | np.isnan(padded)).all(axis=-1)
        # Going backwards, a step is at the end for as long as nothing but empty steps has been seen.
        is_padding = empty if where == "anywhere" else np.logical_and.accumulate(empty[:, ::-1], axis=1)[:, ::-1]
    else:
        if where != "end":
            raise ValueError(f"where={where!r} looks for padding, but lengths says where it is. Pass only one of them.")
        is_padding = np.arange(n_steps) >= _checked_lengths(lengths, n_samples, n_steps)[:, None]
    padded[is_padding] = np.nan
    return padded


def _checked_lengths(lengths: Any, n_samples: int, n_steps: int) -> np.ndarray:
    lengths = np.asarray(lengths)
    if lengths.shape != (n_samples,):
        raise ValueError(
            f"lengths has shape {lengths.shape}; expected ({n_samples},), one number of steps per sequence."
        )
    if n_samples and lengths.dtype.kind not in "iu":
        raise ValueError(f"lengths must be integers, got {lengths.dtype}. Convert them with astype(int).")
    outside = (lengths < 0) | (lengths > n_steps)
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(
            f"lengths must be between 0 and the {n_steps} steps of sequences, got {lengths[first]} for sample {first} "
            f"({int(outside.sum())} of {n_samples} are outside)."
        )
    return lengths


def on_one_axis(observed: Observed) -> Observed:
    """Pad sequences that end together in every sample to one number of steps.

    Lists of them differ where the longest sample lacks a modality, which systems that read all at once must not mind.
    """
    sequences = {name: array for name, array in observed.arrays.items() if array.ndim == 3}
    n_steps = max((array.shape[1] for array in sequences.values()), default=0)
    short = {name: array for name, array in sequences.items() if array.shape[1] < n_steps}
    if not short:
        return observed
    masks = {name: np.ones(array.shape[:2], dtype=bool) for name, array in sequences.items()}
    masks |= {name: mask for name, mask in observed.masks.items() if name in sequences and mask is not None}
    last = np.stack([ends(mask) for mask in masks.values()])
    if ((last > 0) & (last < last.max(axis=0))).any():
        return observed
    return replace(
        observed,
        arrays=observed.arrays | {name: pad_steps(array, n_steps) for name, array in short.items()},
        masks=observed.masks
        | {name: np.pad(masks[name], ((0, 0), (0, n_steps - array.shape[1]))) for name, array in short.items()},
        cells={
            name: np.pad(missing, ((0, 0), (0, n_steps - missing.shape[1]), (0, 0)))
            if name in short and isinstance(missing, np.ndarray)
            else missing
            for name, missing in observed.cells.items()
        },
    ).with_cells_on_disk()


def ends(mask: np.ndarray) -> np.ndarray:
    """Number of steps up to the last observed one of each sample, (n_samples,); 0 without any."""
    return np.where(mask.any(axis=1), mask.shape[1] - mask[:, ::-1].argmax(axis=1), 0)


def pad_steps(array: Any, n_steps: int) -> Any:
    """Put NaN after sequences (n, T, d), up to this number of steps."""
    if isinstance(array, OnDisk):
        return array.padded(n_steps)
    return np.pad(array, ((0, 0), (0, n_steps - array.shape[1]), (0, 0)), constant_values=np.nan)
