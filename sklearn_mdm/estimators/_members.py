"""What each member of a committee is trained on, and which rows it has never seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ._samples import Samples

# Numbers that are hashed at a time.
NUMBERS_AT_ONCE = 2**20


@dataclass(frozen=True, eq=False)
class Part:
    """Samples that a member is trained on, and those that decide when it stops."""

    train: Samples
    valid: Samples | None


class Folds:
    """Which samples of a fit each member held out; recognises these samples later, by their values.

    Parameters
    ----------
    arrays : iterable of arrays of shape (n_samples, ...)
        Modalities of the samples.
    held_out : array of bool of shape (n_samples, n_members)
        Whether a member was not trained on a sample.
    """

    def __init__(self, arrays: Iterable[np.ndarray], held_out: np.ndarray) -> None:
        hashes = row_hashes(arrays)
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.held_out = hashes[order], held_out[order]

    def among(self, arrays: Iterable[np.ndarray]) -> np.ndarray:
        """Say which members held out these samples, (n, n_members): all of them if they were not in the fit."""
        known, place = self._find(row_hashes(arrays))
        return np.where(known[:, None], self.held_out[place], True)

    def kept(self, arrays: Iterable[np.ndarray], held_out: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Give samples that were in the fit, or whose group was, the fold that they had."""
        known, place = self._find(row_hashes(arrays))
        kept = np.where(known[:, None], self.held_out[place], held_out)
        if groups is not None:
            unit = np.unique(groups, return_inverse=True)[1]
            first = np.full(unit.max() + 1, -1)
            first[unit[known]] = np.flatnonzero(known)
            source = np.where(first[unit] >= 0, first[unit], np.arange(len(unit)))
            kept = kept[source]
        return kept

    def _find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return self.hashes[place] == hashes, place


def row_hashes(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Hash each row by all of its values, of which NaN, such as padding behind a sequence, adds nothing: (n_rows,)."""
    total = np.zeros(0, dtype=np.uint64)
    for j, array in enumerate(arrays):
        if not j:
            total = np.zeros(len(array), dtype=np.uint64)
        # Sums of integers, which wrap around: sums of floating-point numbers would depend on the other rows. The
        # factors of the first steps are the same however many steps there are.
        factors = np.random.default_rng(j).integers(2**64, size=array.shape[1:], dtype=np.uint64)
        size = max(1, NUMBERS_AT_ONCE // max(1, factors.size))
        for start in range(0, len(array), size):
            # As float32, so that data are recognised in either floating type; and without a negative zero.
            with np.errstate(over="ignore"):
                values = np.nan_to_num(array[start : start + size].astype(np.float32)) + np.float32(0)
            total[start : start + size] += (values.view(np.uint32) * factors).reshape(len(values), -1).sum(axis=1)
    return total


def never_trained_on(splits: Sequence[tuple[np.ndarray, np.ndarray]], n_samples: int) -> np.ndarray:
    """Say which rows no member was trained on: bool (n_samples, n_members)."""
    held_out = np.ones((n_samples, len(splits)), dtype=bool)
    for k, (train, _) in enumerate(splits):
        held_out[train, k] = False
    return held_out
