"""Zero padding of sequences, which is told from data by the user and not guessed at."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from .modalities import check_numbers
from .modality_dict import as_samples

__all__ = ["zero_padding_to_nan"]


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
