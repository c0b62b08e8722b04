"""Standardisation of X, fitted on the training samples without a copy of them."""

from __future__ import annotations

from collections.abc import Collection, Hashable

import numpy as np
from sklearn.preprocessing import StandardScaler

from ..inputs._observed import Observed

# Numbers that are looked at at a time. Smaller data are standardised in one go, as StandardScaler itself would.
MAX_NUMBERS_AT_ONCE = 2**22
MAX_WEIGHT = 1e100


def fit_scalers(
    X: Observed, rows: np.ndarray, sample_weight: np.ndarray | None, *, unscaled: Collection[Hashable]
) -> dict[Hashable, StandardScaler]:
    """Fit a scaler for each modality to some rows of X.

    Parameters
    ----------
    X : Observed
        Arrays, NaN where nothing was observed.
    rows : array of int of shape (n_rows,)
        Rows to fit to.
    sample_weight : array of shape (n_rows,) or None
        Their weights.
    unscaled : collection of str or int
        Modalities that are left as they are.

    Raises
    ------
    ValueError
        If the moments of a modality overflow.
    """
    scalers = {}
    sample_weight = moderate(sample_weight)
    everything = np.array_equal(rows, np.arange(len(X)))
    for name, array in X.arrays.items():
        if name in unscaled:
            continue
        # Arrays inside, whatever sklearn.set_config(transform_output=...) says.
        scaler = StandardScaler().set_output(transform="default")
        mask, n_steps = X.masks[name], array.shape[1] if array.ndim == 3 else 1
        size = max(1, MAX_NUMBERS_AT_ONCE // (n_steps * array.shape[-1]))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            chosen = part if everything else rows[part]
            values = array[chosen].reshape(-1, array.shape[-1])
            weight = None if sample_weight is None else np.repeat(sample_weight[part], n_steps)
            if mask is not None:
                seen = mask[chosen].ravel()
                if not seen.any():
                    continue
                values, weight = values[seen], None if weight is None else weight[seen]
            with np.errstate(over="ignore", invalid="ignore"):
                scaler.partial_fit(values, sample_weight=weight)
            if name in X.cells:
                _forget_unseen(scaler)
        if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.var_).all()):
            raise ValueError(f"modality {name!r} has values too large to standardise. Rescale or clip them.")
        scalers[name] = scaler
    return scalers


def _forget_unseen(scaler: StandardScaler) -> None:
    """Give columns without a value so far the moments of nothing: NaN would stay when values come."""
    unseen = np.broadcast_to(scaler.n_samples_seen_ == 0, scaler.mean_.shape)
    scaler.mean_[unseen], scaler.var_[unseen], scaler.scale_[unseen] = 0.0, 0.0, 1.0


def moderate(weight: np.ndarray | None) -> np.ndarray | None:
    """Divide weights by the largest, where their products with squares would overflow; only their ratios count."""
    return weight if weight is None or weight.max() < MAX_WEIGHT else weight / weight.max()


def standardize(scaler: StandardScaler, values: np.ndarray) -> np.ndarray:
    """Return ``scaler.transform(values)`` without its validation, which takes longer than a prediction."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.array(values)
        scaled -= scaler.mean_.astype(scaled.dtype)
        scaled /= scaler.scale_.astype(scaled.dtype)
    return scaled


def scale(scalers: dict[Hashable, StandardScaler], name: Hashable, rows: np.ndarray) -> np.ndarray:
    """Standardise rows (n, n_features) of a modality, if it has a scaler.

    Raises
    ------
    ValueError
        If a value is too large for the scale of the training data.
    """
    scaler = scalers.get(name)
    if scaler is None:
        return rows
    scaled = standardize(scaler, rows)
    if np.isinf(scaled).any():
        raise ValueError(
            f"modality {name!r} has values too large for the scale of the data passed to fit. Check its units, or clip "
            "it."
        )
    return scaled
