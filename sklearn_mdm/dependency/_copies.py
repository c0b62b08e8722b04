"""Samples that are there more than once: told from data that repeat by nature, and kept together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..exceptions import DependencyWarning, RepeatedSamplesWarning, TooFewSamplesError
from ..inputs._on_disk import OnDisk

# Fewer distinct samples than these are the few values that data can take.
MIN_DISTINCT = 8
# Share of the distinct samples that have a value of a modality to themselves, from which on it is measured, not chosen
# from a few.
MIN_OWN_VALUES = 0.9
# Values that differ by less than this share of their column's spread are one.
RESOLUTION = 1e-6
# Found are by far more pairs than chance makes, if they are so many times it, and so many times a few.
MIN_EXCESS, FEW_PAIRS = 4, 3
# Columns of a modality that are looked at first.
MAX_COLUMNS = 64


class Copies:
    """The copies among samples, and groups that hold them together.

    Parameters
    ----------
    arrays : sequence of arrays of shape (n_samples, d_j)
        Samples.
    groups : array of shape (n_samples,) or None
        Groups that were passed.

    Attributes
    ----------
    found : bool
        Whether there is any.
    groups : array of shape (n_samples,) or None
        Groups that no copy and no given group connects; those that were passed if no copy connects two.
    warnings : dict
        Class and text of the warning that copies deserve, if ``groups`` did not hold them together.
    """

    def __init__(self, arrays: Sequence[np.ndarray], groups: np.ndarray | None) -> None:
        self._copy_of = copy_of = find_copies(arrays)
        self.found = copy_of is not None
        self.groups, self.warnings = groups, dict[type[DependencyWarning], str]()
        if copy_of is None:
            return
        self.groups = keep_together(copy_of, groups)
        if self.groups is not groups:
            self.warnings[RepeatedSamplesWarning] = (
                f"{len(copy_of) - copy_of.max() - 1} of {len(copy_of)} samples repeat others in every value. Copies "
                "are kept together, trained on or read, and count as one in the standard error. Pass groups= if they "
                "come of one recording, speaker or patient, so that its other samples stay with them; else drop them."
            )

    def left_out(self, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Rows to train on, without copies of those held out."""
        return train if self._copy_of is None else train[~np.isin(self._copy_of[train], self._copy_of[held_out])]


def copies_of(arrays: Iterable[np.ndarray], rows: np.ndarray, groups: np.ndarray | None) -> Copies:
    """Copies among some rows of arrays (n_samples, ...), in which NaN is a value too.

    Few columns of wide arrays are looked at first: rows that are equal are so there.
    """
    arrays = list(arrays)
    widths = [math.prod(array.shape[1:]) for array in arrays]
    some = [np.linspace(0, width - 1, min(width, MAX_COLUMNS)).astype(int) for width in widths]
    parts = [np.nan_to_num(_columns(array, rows, chosen)) for array, chosen in zip(arrays, some, strict=True)]
    copies = Copies(parts, groups)
    if not copies.found or all(width <= MAX_COLUMNS for width in widths):
        return copies
    return Copies([np.nan_to_num(array[rows].reshape(len(rows), -1)) for array in arrays], groups)


def _columns(array: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Some of the numbers of some rows."""
    if isinstance(array, OnDisk):
        parts = [part.reshape(len(part), -1)[:, columns] for part in array.parts(rows)]
        return np.concatenate(parts) if parts else np.empty((0, len(columns)), dtype=array.dtype)
    return array.reshape(len(array), -1)[np.ix_(rows, columns)]


def one_of_each(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Leave out samples that are copies of earlier ones, and warn a caller's caller of it."""
    copy_of = find_copies(arrays)
    if copy_of is None:
        return arrays
    first = np.sort(np.unique(copy_of, return_index=True)[1])
    warnings.warn(
        f"{len(copy_of) - len(first)} of {len(copy_of)} samples repeat others in every value; one of each is tested.",
        RepeatedSamplesWarning,
        stacklevel=3,
    )
    return [array[first] for array in arrays]


def find_copies(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Number samples by what they are copies of: int (n_samples,); None if none is a copy.

    Samples that agree in every value of every modality are copies, unless such data repeat by nature: a modality is
    there that is measured. Of those that are not, several different samples share one value, or columns lie on a grid
    that they fill, as classes, counts and one-hot vectors do. Rounded measurements fill one too: they are told by
    whole samples that agree far more often than if the columns of the modality were independent, that is, than all
    pairs times the product of the shares of pairs that agree in a column (of those that others do not determine).

    Where by far more pairs agree up to a millionth of the spread of each column than by chance, that is enough.
    """
    if len(arrays[0]) < MIN_DISTINCT:
        return None
    copy_of = _number(arrays)
    near = [_rounded(array) for array in arrays]
    near_copy_of = _number(near)
    n_near = _n_pairs(near_copy_of) - _n_pairs(copy_of)
    if n_near > MIN_EXCESS * (RESOLUTION * math.comb(len(copy_of), 2) + FEW_PAIRS):
        arrays, copy_of = near, near_copy_of
    first = np.unique(copy_of, return_index=True)[1]
    if len(first) == len(copy_of) or len(first) < MIN_DISTINCT:
        return None
    if not any(_is_measured(array, first, _n_pairs(copy_of)) for array in arrays):
        return None
    # By ranks, which neither the unit of a column nor the order of the samples changes: splits go by these numbers.
    return _number([_ranks(array[first]) for array in arrays])[copy_of]


def keep_together(copy_of: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Groups (n_samples,) that neither a copy nor a given group connects; those given if no copy connects them.

    Raises
    ------
    TooFewSamplesError
        If copies connect all groups.
    """
    if groups is None:
        return copy_of
    _, group_of = np.unique(groups, return_inverse=True)
    n_copies, n_groups = copy_of.max() + 1, group_of.max() + 1
    edges = (np.ones(len(groups)), (copy_of, n_copies + group_of.ravel()))
    n_connected, labels = connected_components(coo_array(edges, shape=(n_copies + n_groups,) * 2), directed=False)
    if n_connected == 1 < n_groups:
        raise TooFewSamplesError(
            f"samples that repeat others in every value connect all {n_groups} groups, so that nothing can be held out "
            "without them. Drop the copies, or those that are in another group than their like."
        )
    return groups if n_connected == n_groups else labels[copy_of]


def hash_rows(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Hash each sample by all of its values: (n_samples,)."""
    return pd.util.hash_pandas_object(pd.DataFrame(np.concatenate(arrays, axis=1)), index=False).to_numpy()


def _number(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Number samples by their values: (n_samples,)."""
    return np.unique(hash_rows(arrays), return_inverse=True)[1].ravel()


def _ranks(array: np.ndarray) -> np.ndarray:
    """Ranks of the distinct values of each column: int (n, d)."""
    return np.stack([np.unique(column, return_inverse=True)[1].ravel() for column in array.T], axis=1)


def _n_pairs(numbers: np.ndarray) -> int:
    """Count pairs of equal numbers."""
    counts = np.bincount(numbers)
    return int((counts * (counts - 1) // 2).sum())


def _rounded(array: np.ndarray) -> np.ndarray:
    """Round each column to a share of its spread, which no outlier moves."""
    array = array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # of the largest numbers there are
        center = np.median(array, axis=0)
        spread = np.abs(array - center)
        step = np.ones(array.shape[1])
        for j, column in enumerate(spread.T):
            if column.any():
                step[j] = max(RESOLUTION * np.median(column[column > 0]), np.finfo(float).tiny)
        return np.round((array - center) / step) * step + 0.0  # no negative zero, which has another hash


def _is_measured(values: np.ndarray, first: np.ndarray, n_found: int) -> bool:
    """Whether a modality is measured, of whose samples those at ``first`` differ, and so many pairs are equal."""
    distinct = values[first]
    if len(np.unique(hash_rows([distinct]))) < MIN_OWN_VALUES * len(distinct):
        return False
    return not all(_fills_a_grid(column) for column in distinct.T) or n_found > MIN_EXCESS * (
        _n_expected_pairs(values) + FEW_PAIRS
    )


def _n_expected_pairs(values: np.ndarray) -> float:
    """Pairs of samples that would be equal if columns were independent, without those that others determine."""
    expected, so_far = float(math.comb(len(values), 2)), np.zeros(len(values), dtype=int)
    for column in values.T:
        numbers = np.unique(column, return_inverse=True)[1].ravel()
        finer = np.unique(so_far * len(values) + numbers, return_inverse=True)[1].ravel()
        if finer.max() > so_far.max():
            expected *= _n_pairs(numbers) / math.comb(len(values), 2)
            so_far = finer
    return expected


def _fills_a_grid(column: np.ndarray) -> bool:
    """Whether values are multiples of one step, and take at least every second of them."""
    values = np.unique(column)
    if len(values) < 2:
        return True
    gaps = np.diff(values)
    steps = gaps / gaps.min()
    return bool(steps.sum() < 2 * len(values) and np.allclose(steps, np.round(steps), rtol=0, atol=1e-3))
