"""What each member of a committee is trained on, and which rows it has never seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..dependency._copies import hash_rows
from ._samples import Samples

# Columns of a modality, and steps of a sequence, by which a row is recognised.
HASHED_COLUMNS, HASHED_STEPS = 64, 8


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
        hashes = _hashes(arrays)
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.held_out = hashes[order], held_out[order]

    def among(self, arrays: Iterable[np.ndarray]) -> np.ndarray:
        """Say which members held out these samples, (n, n_members): all of them if they were not in the fit."""
        known, place = self._find(_hashes(arrays))
        return np.where(known[:, None], self.held_out[place], True)

    def kept(self, arrays: Iterable[np.ndarray], held_out: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Give samples that were in the fit, or whose group was, the fold that they had."""
        known, place = self._find(_hashes(arrays))
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


def _hashes(arrays: Iterable[np.ndarray]) -> np.ndarray:
    parts: list[np.ndarray] = []
    for array in arrays:
        columns = np.linspace(0, array.shape[-1] - 1, min(array.shape[-1], HASHED_COLUMNS)).astype(int)
        part = array[..., columns]
        if part.ndim == 3:
            part = _some_steps(part)
        # As float32, so that data are recognised in either floating type.
        with np.errstate(over="ignore"):
            parts.append(np.nan_to_num(part.reshape(len(part), -1).astype(np.float32)))
    return hash_rows(parts)


def _some_steps(array: np.ndarray) -> np.ndarray:
    """Steps (n, HASHED_STEPS, d) of sequences (n, T, d), from the first to the last that is observed.

    Not of the longest: that depends on the other rows. Not the first few, which padding in front makes equal.
    """
    if not array.shape[1]:
        return np.zeros((len(array), HASHED_STEPS, array.shape[2]))
    seen = ~np.isnan(array).all(axis=2)
    last = array.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)  # of a row without any step it does not matter
    last = np.where(seen.any(axis=1), last, 0)
    steps = np.arange(HASHED_STEPS) * last[:, None] // (HASHED_STEPS - 1)
    return array[np.arange(len(array))[:, None], steps]


def never_trained_on(splits: Sequence[tuple[np.ndarray, np.ndarray]], n_samples: int) -> np.ndarray:
    """Say which rows no member was trained on: bool (n_samples, n_members)."""
    held_out = np.ones((n_samples, len(splits)), dtype=bool)
    for k, (train, _) in enumerate(splits):
        held_out[train, k] = False
    return held_out
