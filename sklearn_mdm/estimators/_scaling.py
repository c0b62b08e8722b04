"""Scaling of X, fitted on the training samples without a copy of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from sklearn.preprocessing import StandardScaler

from ..inputs._observed import Observed
from ..utils._statistics import power_of_two_unit
from ._scalers import NormalScores, RobustScaler

# Numbers that are looked at at a time. Smaller data are standardised in one go, as StandardScaler itself would.
MAX_NUMBERS_AT_ONCE = 2**22
# Rows of which quantiles are taken, of a sequence divided by its steps; with more, evenly spaced ones.
MAX_QUANTILE_ROWS = 20_000
# Below this it is asked whether a column is constant or only small.
SMALLEST_VARIANCE = 1e-230
# Of a constant column, the least scale as a share of its value.
CONSTANT_SCALE = 2.0**-20

Scaling: TypeAlias = Literal["standard", "robust", "rank"]


class Scaler(Protocol):
    """Anything that scales rows of a modality."""

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return scaled rows (n, n_features)."""


def fit_scalers(
    X: Observed,
    rows: np.ndarray,
    sample_weight: np.ndarray | None,
    *,
    unscaled: Collection[Hashable],
    scaling: Scaling = "standard",
) -> dict[Hashable, Scaler]:
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
    scaling : {"standard", "robust", "rank"}, default="standard"
        What to fit.
    """
    scalers: dict[Hashable, Scaler] = {}
    sample_weight = of_mean_one(sample_weight)
    for name in X.names:
        if name in unscaled:
            continue
        if scaling == "standard":
            scalers[name] = _fit_standard(X, name, rows, sample_weight)
        else:
            most = max(1, MAX_QUANTILE_ROWS // (X.arrays[name].shape[1] if X.arrays[name].ndim == 3 else 1))
            some = np.linspace(0, len(rows) - 1, most).astype(int) if len(rows) > most else np.arange(len(rows))
            weight = None if sample_weight is None else sample_weight[some]
            scaler: Any = {"robust": RobustScaler, "rank": NormalScores}[scaling]
            scalers[name] = scaler(*_observed_rows(X, name, rows[some], weight))
    return scalers


def _fit_standard(X: Observed, name: Hashable, rows: np.ndarray, sample_weight: np.ndarray | None) -> StandardScaler:
    array = X.arrays[name]
    n_steps = array.shape[1] if array.ndim == 3 else 1
    size = max(1, MAX_NUMBERS_AT_ONCE // (n_steps * array.shape[-1]))
    everything = np.array_equal(rows, np.arange(len(X)))  # which takes no copy

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            chosen = part if everything else rows[part]
            yield _observed_rows(X, name, chosen, None if sample_weight is None else sample_weight[part])

    scaler = standard_scaler(parts)
    # What is no number in X's own type would divide by zero.
    scaler.scale_[scaler.scale_.astype(array.dtype) == 0] = 1.0
    return scaler


def standard_scaler(parts: Callable[[], Iterable[tuple[np.ndarray, np.ndarray | None]]]) -> StandardScaler:
    """Fit a scaler to rows (n, n_columns), NaN where there is no value, and their weights, in parts.

    Columns of which squares would leave the range of numbers have their moments taken in a unit of their own.
    """
    scaler, constant = _moments(parts(), None)
    if not (np.isfinite(scaler.var_) & (scaler.var_ > SMALLEST_VARIANCE)).all():
        largest = np.zeros(len(scaler.var_))
        for values, _ in parts():
            largest = np.fmax(largest, np.fmax.reduce(np.abs(values), axis=0, initial=0))
        unit = power_of_two_unit(largest)
        if (unit != 1).any():
            scaler, constant = _moments(parts(), unit)
            scaler.mean_ *= unit
            scaler.scale_ *= unit
            with np.errstate(over="ignore", under="ignore"):
                scaler.var_ *= unit**2
    if constant.any():
        _scale_constant(scaler, constant, parts())
    return scaler


def _scale_constant(
    scaler: StandardScaler, constant: np.ndarray, parts: Iterable[tuple[np.ndarray, np.ndarray | None]]
) -> None:
    """Give columns without a spread, whose scale is one in any unit, the size of what differs from the mean.

    That may be samples with next to no weight. Where nothing differs it is one, which the rounding of a large mean must
    not be far above.
    """
    mean = scaler.mean_[constant]
    farthest = np.zeros(len(mean))
    for values, _ in parts:
        with np.errstate(over="ignore"):
            gaps = np.abs(values[:, constant] - mean)
        farthest = np.fmax(farthest, np.fmax.reduce(gaps, axis=0, initial=0))
    rounding = CONSTANT_SCALE * np.abs(mean)
    one = np.maximum(scaler.scale_[constant], rounding)
    scaler.scale_[constant] = np.where((farthest > rounding) & np.isfinite(farthest), farthest, one)


def _moments(
    parts: Iterable[tuple[np.ndarray, np.ndarray | None]], unit: np.ndarray | None
) -> tuple[StandardScaler, np.ndarray]:
    """Fit a scaler, and say which columns it takes for constant."""
    # Arrays inside, whatever sklearn.set_config(transform_output=...) says.
    scaler = StandardScaler().set_output(transform="default")
    for values, weight in parts:
        if not len(values):
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            scaler.partial_fit(values if unit is None else values / unit, sample_weight=weight)
        _forget_unseen(scaler)
    with np.errstate(invalid="ignore"):  # rounding may make it less than nothing
        return scaler, scaler.scale_ != np.sqrt(scaler.var_)


def _observed_rows(
    X: Observed, name: Hashable, rows: np.ndarray | slice, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Observed rows, or steps, of a modality, (n, n_features), and their weights."""
    array, mask = X.arrays[name], X.masks[name]
    values = array[rows].reshape(-1, array.shape[-1])
    if weight is not None and array.ndim == 3:
        weight = np.repeat(weight, array.shape[1])
    if mask is None:
        return values, weight
    seen = mask[rows].ravel()
    return values[seen], None if weight is None else weight[seen]


def _forget_unseen(scaler: StandardScaler) -> None:
    """Give columns without a value so far the moments of nothing: NaN would stay when values come."""
    unseen = np.broadcast_to(scaler.n_samples_seen_ == 0, scaler.mean_.shape)
    scaler.mean_[unseen], scaler.var_[unseen], scaler.scale_[unseen] = 0.0, 0.0, 1.0


def of_mean_one(weight: np.ndarray | None) -> np.ndarray | None:
    """Divide weights by the power of two next to their mean, which changes no digit.

    What :class:`StandardScaler` takes for constant depends on the sum of weights. All weights are divided at once, as
    those of parts must stay comparable.
    """
    return None if weight is None else weight / np.ldexp(1.0, np.frexp(weight.mean())[1] - 1)


def standardize(scaler: StandardScaler, values: np.ndarray) -> np.ndarray:
    """Return ``scaler.transform(values)`` without its validation, which takes longer than a prediction."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.array(values)
        scaled -= scaler.mean_.astype(scaled.dtype)
        scaled /= scaler.scale_.astype(scaled.dtype)
    return scaled


def scale(scalers: Mapping[Hashable, Scaler], name: Hashable, rows: np.ndarray) -> np.ndarray:
    """Scale rows (n, n_features) of a modality, if it has a scaler.

    Raises
    ------
    ValueError
        If a value is too large for the scale of the training data.
    """
    scaler = scalers.get(name)
    if scaler is None:
        return rows
    scaled = standardize(scaler, rows) if isinstance(scaler, StandardScaler) else scaler.transform(rows)
    if np.isinf(scaled).any():
        raise ValueError(
            f"modality {name!r} has values too large for the scale of the data passed to fit. Check its units, or clip "
            "it."
        )
    return scaled
