"""Single cells that were not observed, in rows that were: what they are filled with, and the word about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..utils._warnings import warn_caller
from ._conditional_means import ConditionalMeans, fit_conditional_means
from ._observed import Observed
from ._on_disk import OnDisk
from ._telling_cells import telling_columns

# Numbers of which a mean is taken at a time.
MAX_NUMBERS_AVERAGED = 2**20
# Numbers of the evenly spaced rows on disk by which missing cells are asked what they say of the target.
MAX_NUMBERS_ASKED = 2**23
# Columns up to which cells are filled with what their row suggests, and numbers of the evenly spaced rows from which
# that is learned: more of either take longer than they are worth.
MAX_COLUMNS_LEARNED, MAX_NUMBERS_LEARNED_FROM = 1000, 2**21

Columns = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class CellFilling:
    """What fills the cells of one modality that were not observed, learned in fit.

    Indicators tell a network which cells were filled. There is one for each column of which that tells something of
    the target in fit; one for a column that was complete then would be noise to a network that had learned nothing
    from it.

    Parameters
    ----------
    center : array of shape (n_features,)
        What cells are filled with where nothing else is known, in the units of what is filled.
    indicated : array of int of shape (n_indicators,)
        Columns that have an indicator.
    unknown : array of int
        Columns without a single value in fit, which are filled whatever they hold later.
    means : ConditionalMeans, default=None
        What cells are filled with, given the cells of their row, or step, that were observed; None fills all with the
        center.
    """

    center: np.ndarray
    indicated: np.ndarray
    unknown: np.ndarray
    means: ConditionalMeans | None = None

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
        filled = self._filled(values, missing)
        if not len(self.indicated):
            return filled
        return np.concatenate([filled, missing[..., self.indicated].astype(values.dtype)], axis=-1)

    def _filled(self, values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        if self.means is None:
            return np.where(missing, self.center.astype(values.dtype), values)
        filled, missing = values.reshape(-1, values.shape[-1]).copy(), missing.reshape(-1, values.shape[-1])
        rows = np.flatnonzero(missing.any(axis=1))
        filled[rows] = self.means(filled[rows], missing[rows])
        return filled.reshape(values.shape)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a sample once it is filled."""
        return (*shape[:-1], shape[-1] + len(self.indicated))


def find_columns(X: Observed, rows: np.ndarray, y: np.ndarray | None, *, classes: bool) -> dict[Hashable, Columns]:
    """Find the columns of each modality that get an indicator, and those of which nothing is known.

    Parameters
    ----------
    X : Observed
        Samples.
    rows : array of int of shape (n_rows,)
        Those to learn from.
    y : array of shape (n_labelled,) or (n_labelled, n_outputs), or None
        Targets of the first of these rows, by which columns are told whose missing cells say something; None takes all
        that miss some.
    classes : bool
        Whether these are indices of classes.
    """
    found, none = {}, np.empty(0, dtype=int)
    for name in X.names:
        counts = _missing_counts(X, name, rows)
        if counts is None:
            found[name] = none, none
            continue
        n_missing, n_seen = counts
        unknown = np.flatnonzero(n_missing == n_seen)
        indicated = np.flatnonzero(n_missing)
        if y is not None:
            some, of_some = rows[: len(y)], y
            if isinstance(X.arrays[name], OnDisk):
                kept = evenly_spaced(len(some), max(1, MAX_NUMBERS_ASKED // X.arrays[name].shape[-1]))
                some, of_some = some[kept], y[kept]
            shares, there = _missing_shares(X, name, some)
            indicated = telling_columns(shares[there], of_some[there], classes=classes)
        found[name] = indicated, unknown
        warn_of_unknown(name, unknown, X.columns.get(name))
    return found


def fit_fillings(
    X: Observed,
    rows: np.ndarray,
    sample_weight: np.ndarray | None,
    columns: Mapping[Hashable, Columns],
    *,
    scale: Mapping[Hashable, Callable[[np.ndarray], np.ndarray]],
) -> dict[Hashable, CellFilling]:
    """Learn from some rows of X what fills the cells of each modality, and of columns that were complete in these.

    Parameters
    ----------
    X : Observed
        Samples.
    rows : array of int of shape (n_rows,)
        Those to learn from.
    sample_weight : array of shape (n_rows,) or None
        Their weights.
    columns : mapping of name to (indicated, unknown)
        Columns with an indicator, and those of which nothing is known.
    scale : mapping of name to callable
        What scales rows (n, n_features) of a modality, which is done before cells are filled, and puts their centre at
        zero; of those that are scaled.
    """
    fillings = {}
    for name, (indicated, unknown) in columns.items():
        means = None
        if 1 < X.arrays[name].shape[-1] <= MAX_COLUMNS_LEARNED:
            means = fit_conditional_means(*_some_rows(X, name, rows, sample_weight, scale.get(name)))
        if means is not None:
            center = means.center
        elif name in scale:
            center = np.zeros(X.arrays[name].shape[-1])
        else:
            center = _mean(X, name, rows, sample_weight)
        fillings[name] = CellFilling(center, indicated, unknown, means)
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
    complete = np.flatnonzero(X.complete)
    found = {name: int(sum(part.sum() for part in _cells_of(X, name, complete))) for name in X.cells}
    parts = [
        f"{n} of {math.prod(X.arrays[name].shape[1:]) * len(complete)} of modality {name!r}"
        for name, n in found.items()
        if n
    ]
    if parts:
        warn_caller(
            f"cells that were not observed are filled with {fill}: {', '.join(parts)}. What is reported is the "
            "dependency of the filled data.",
            UserWarning,
        )


def _missing_counts(X: Observed, name: Hashable, rows: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Missing cells of each column in observed rows or steps, and how many of these there are; None without any."""
    mask, array = X.masks[name], X.arrays[name]
    if name not in X.cells:
        return None
    counts = np.zeros(array.shape[-1], dtype=int)
    for part in _cells_of(X, name, rows):
        counts += part.reshape(-1, array.shape[-1]).sum(axis=0)
    if not counts.any():
        return None
    return counts, len(rows) * math.prod(array.shape[1:-1]) if mask is None else int(mask[rows].sum())


def _cells_of(X: Observed, name: Hashable, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Missing cells of some rows, so many rows at a time that these need little memory."""
    size = max(1, MAX_NUMBERS_AVERAGED // math.prod(X.arrays[name].shape[1:]))
    for start in range(0, len(rows), size):
        yield X.cells[name][rows[start : start + size]]


def evenly_spaced(n: int, most: int) -> np.ndarray:
    """Positions of all of n, or of so many at even distances."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(int)


def _missing_shares(X: Observed, name: Hashable, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the observed steps of a row in which a cell is missing (n_rows, n_features); rows with such steps."""
    mask, array = X.masks[name], X.arrays[name]
    seen = np.ones((len(rows), *array.shape[1:-1]), dtype=bool) if mask is None else mask[rows]
    if array.ndim == 2:
        return np.concatenate([part.astype(float) for part in _cells_of(X, name, rows)]), seen
    n_steps = seen.sum(axis=1)
    counts = np.concatenate([part.sum(axis=1) for part in _cells_of(X, name, rows)])
    return counts / np.maximum(n_steps, 1)[:, None], n_steps > 0


def _some_rows(
    X: Observed,
    name: Hashable,
    rows: np.ndarray,
    weight: np.ndarray | None,
    scale: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scaled rows or steps (n, n_features) that were observed, evenly spaced ones of many, and their weights."""
    array, mask = X.arrays[name], X.masks[name]
    most = max(1, MAX_NUMBERS_LEARNED_FROM // math.prod(array.shape[1:]))
    if len(rows) > most:
        some = evenly_spaced(len(rows), most)
        rows, weight = rows[some], None if weight is None else weight[some]
    values, width = array[rows], array.shape[-1]
    seen = np.ones(values.shape[:-1], dtype=bool) if mask is None else mask[rows]
    if weight is not None:
        weight = np.broadcast_to(weight.reshape(-1, *[1] * (seen.ndim - 1)), seen.shape)[seen]
    values = values[seen].reshape(-1, width)
    return (values if scale is None else scale(values)).astype(float), weight


def _mean(X: Observed, name: Hashable, rows: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """Mean of what was observed of each column, zero where nothing was."""
    array, mask, cells = X.arrays[name], X.masks[name], X.cells.get(name)
    width = array.shape[-1]
    total, share = np.zeros(width), np.zeros(width)
    size = max(1, MAX_NUMBERS_AVERAGED // math.prod(array.shape[1:]))
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
