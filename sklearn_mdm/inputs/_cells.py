"""Single cells that were not observed, in rows that were: what they are filled with, and the word about it."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass

import numpy as np

from ..utils._warnings import warn_caller
from ._observed import Observed

# Numbers of which a mean is taken at a time.
MAX_NUMBERS_AVERAGED = 2**20


@dataclass(frozen=True, eq=False)
class CellFilling:
    """What fills the cells of one modality that were not observed, learned in fit.

    Indicators tell a network which cells were filled. There is one for each column that had such cells in fit, as in
    :class:`sklearn.impute.MissingIndicator`: with one for a column that was complete then, a network would have learned
    nothing, and read noise.

    Parameters
    ----------
    center : array of shape (n_features,)
        What cells are filled with, in the units of what is filled.
    indicated : array of int of shape (n_indicators,)
        Columns that have an indicator.
    unknown : array of int
        Columns without a single value in fit, which are filled whatever they hold later.
    """

    center: np.ndarray
    indicated: np.ndarray
    unknown: np.ndarray

    def __call__(self, values: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        """Fill cells of values (..., n_features) and put the indicators, 0 or 1, behind the features.

        Returns values themselves where there is nothing to do.
        """
        if missing is None:
            if not len(self.indicated) and not len(self.unknown):
                return values
            missing = np.zeros(values.shape, dtype=bool)
        if len(self.unknown):
            missing = missing.copy()
            missing[..., self.unknown] = True
        filled = np.where(missing, self.center.astype(values.dtype), values)
        if not len(self.indicated):
            return filled
        return np.concatenate([filled, missing[..., self.indicated].astype(values.dtype)], axis=-1)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a sample once it is filled."""
        return (*shape[:-1], shape[-1] + len(self.indicated))


def fit_fillings(
    X: Observed, rows: np.ndarray, sample_weight: np.ndarray | None, *, scaled: Collection[Hashable]
) -> dict[Hashable, CellFilling]:
    """Learn from some rows of X what fills the cells of each modality.

    Parameters
    ----------
    X : Observed
        Samples.
    rows : array of int of shape (n_rows,)
        Those to learn from.
    sample_weight : array of shape (n_rows,) or None
        Their weights in the means.
    scaled : collection of str or int
        Modalities whose cells are filled after scaling, which puts the training centre at zero. Those of the others
        are filled with the mean of what was observed.
    """
    fillings = {}
    for name, array in X.arrays.items():
        center, none = np.zeros(array.shape[-1]), np.empty(0, dtype=int)
        if name not in scaled:
            center = _mean(X, name, rows, sample_weight)
        counts = _missing_counts(X, name, rows)
        if counts is None:
            fillings[name] = CellFilling(center, none, none)
            continue
        n_missing, n_seen = counts
        unknown = np.flatnonzero(n_missing == n_seen)
        fillings[name] = CellFilling(center, np.flatnonzero(n_missing), unknown)
        warn_of_unknown(name, unknown, X.columns.get(name))
    return fillings


def fit_filling_of_columns(
    name: Hashable, columns: np.ndarray, missing: np.ndarray | None, *, median: bool
) -> CellFilling:
    """Learn what fills the cells of columns (n, d), without indicators: their means, or medians."""
    none = np.empty(0, dtype=int)
    if not len(columns):
        return CellFilling(np.zeros(columns.shape[1]), none, none)
    if missing is None:
        return CellFilling((np.median if median else np.mean)(columns, axis=0), none, none)
    unknown = np.flatnonzero(missing.all(axis=0))
    known = np.where(missing, np.nan, columns)
    known[:, unknown] = 0.0
    warn_of_unknown(name, unknown, None)
    return CellFilling((np.nanmedian if median else np.nanmean)(known, axis=0), none, unknown)


def warn_of_unknown(name: Hashable, unknown: np.ndarray, columns: list | None) -> None:
    """Say which columns have no value to learn from."""
    if len(unknown):
        found = [j if columns is None else columns[j] for j in unknown.tolist()]
        warn_caller(
            f"modality {name!r}: nothing is observed of {len(found)} columns ({_some(found)}) in the samples that are "
            "learned from, so that whatever they hold later is not read either. Leave them out.",
            UserWarning,
        )


def warn_of_filled(X: Observed, fill: str) -> None:
    """Say how many cells of the complete samples are filled, and with what, where dependency is read."""
    found = {name: int(missing[X.complete].sum()) for name, missing in X.cells.items()}
    parts = [
        f"{n} of {X.arrays[name][0].size * int(X.complete.sum())} of modality {name!r}"
        for name, n in found.items()
        if n
    ]
    if parts:
        warn_caller(
            f"cells that were not observed are filled with the training {fill}: {', '.join(parts)}. What is reported "
            "is the dependency of the filled data.",
            UserWarning,
        )


def _missing_counts(X: Observed, name: Hashable, rows: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Missing cells of each column in observed rows or steps, and how many of these there are; None without any."""
    cells, mask, array = X.cells.get(name), X.masks[name], X.arrays[name]
    if cells is None:
        return None
    chosen = cells[rows]
    if not chosen.any():
        return None
    n_seen = int(np.prod(chosen.shape[:-1])) if mask is None else int(mask[rows].sum())
    return chosen.reshape(-1, array.shape[-1]).sum(axis=0), n_seen


def _mean(X: Observed, name: Hashable, rows: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """Mean of what was observed of each column, zero where nothing was."""
    array, mask, cells = X.arrays[name], X.masks[name], X.cells.get(name)
    width = array.shape[-1]
    total, share = np.zeros(width), np.zeros(width)
    size = max(1, MAX_NUMBERS_AVERAGED // array[:1].size)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        values = array[chosen]
        seen = np.ones(values.shape, dtype=bool) if cells is None else ~cells[chosen]
        if mask is not None:
            seen &= mask[chosen][..., None]
        weight = np.ones(len(chosen)) if sample_weight is None else sample_weight[start : start + size]
        weight = weight.reshape(-1, *[1] * (array.ndim - 1))
        with np.errstate(over="ignore", invalid="ignore"):
            total += (np.where(seen, values, 0) * weight).reshape(-1, width).sum(axis=0)
        share += (seen * weight).reshape(-1, width).sum(axis=0)
    return np.divide(total, share, out=np.zeros(width), where=share > 0)


def _some(found: list, most: int = 5) -> str:
    return ", ".join(map(repr, found[:most])) + (", ..." if len(found) > most else "")
