"""What each member of a committee is trained on, and which rows it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._samples import Samples


@dataclass(frozen=True, eq=False)
class Part:
    """Samples that a member is trained on, and those that decide when it stops."""

    train: Samples
    valid: Samples | None


class Folds:
    """Which samples of a fit each member held out; recognises these samples in a later fit, by their hashes.

    Parameters
    ----------
    hashes : array of shape (n_samples,)
        Hashes of the samples.
    held_out : array of bool of shape (n_samples, n_members)
        Whether a member was not trained on a sample.
    """

    def __init__(self, hashes: np.ndarray, held_out: np.ndarray) -> None:
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.held_out = hashes[order], held_out[order]

    def kept(self, hashes: np.ndarray, held_out: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """Give samples that were in the fit, or whose group was, the fold that they had."""
        known, place = self._find(hashes)
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


def never_trained_on(splits: Sequence[tuple[np.ndarray, np.ndarray]], n_samples: int) -> np.ndarray:
    """Say which rows no member was trained on: bool (n_samples, n_members)."""
    held_out = np.ones((n_samples, len(splits)), dtype=bool)
    for k, (train, _) in enumerate(splits):
        held_out[train, k] = False
    return held_out
