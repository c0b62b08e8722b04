"""Which rows trained which members, or their critics, so that they are not taken for new ones."""

from __future__ import annotations

import numpy as np


class TrainingRows:
    """Remembers by which members rows were trained on, and recognises the rows later, by their hashes.

    Nine bytes are kept of a row for up to eight members, once however often it was trained on.

    Parameters
    ----------
    n_members : int
        Number of members.
    """

    def __init__(self, n_members: int) -> None:
        self.n_members = n_members
        self._kept = np.empty(0, dtype=np.uint64), np.empty((0, -(-n_members // 8)), dtype=np.uint8)
        self._later: list[tuple[np.ndarray, np.ndarray]] = []  # what was added since these were sorted
        self._n_added = self._n_equal = 0

    def add(self, hashes: np.ndarray, trained: np.ndarray, *, most: int | None = None) -> None:
        """Add rows, by their hashes (n,), and the members that they trained, bool (n, n_members).

        With ``most``, no more are kept: those with the smallest hashes, which are a random part of all.
        """
        _, counts = np.unique(hashes, return_counts=True)
        self._n_added += len(hashes)
        self._n_equal += int(counts[counts > 1].sum())
        known = trained.any(axis=1)
        self._later.append((hashes[known], np.packbits(trained[known], axis=1)))
        # Sorted when they have doubled: a stream of small batches then costs little more than one of large ones.
        if sum(len(part) for part, _ in self._later) > len(self._kept[0]):
            self._sort(most)

    @property
    def share_equal(self) -> float:
        """Share of the rows that were equal to others added with them: so many new ones are equal to some by chance."""
        return self._n_equal / self._n_added if self._n_added else 0.0

    def trained(self, hashes: np.ndarray) -> np.ndarray:
        """Say which members these rows trained: bool (n, n_members)."""
        known, bits = self._sort()
        if not len(known):
            return np.zeros((len(hashes), self.n_members), dtype=bool)
        place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        found = np.unpackbits(bits[place], axis=1, count=self.n_members).astype(bool)
        return found & (known[place] == hashes)[:, None]

    def _sort(self, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        if self._later:
            hashes, bits = (np.concatenate(parts) for parts in zip(self._kept, *self._later, strict=True))
            order = np.argsort(hashes, kind="stable")
            hashes, first = np.unique(hashes[order], return_index=True)
            if len(hashes):
                bits = np.bitwise_or.reduceat(bits[order], first, axis=0)
            self._kept, self._later = (hashes[:most], bits[:most]), []
        return self._kept
