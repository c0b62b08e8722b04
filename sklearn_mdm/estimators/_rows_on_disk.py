"""How many rows on disk are read at a time, and how many at all by what reads every row of data in memory at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..inputs._observed import Observed

# Rows whose representations are there at a time; a multiple of those that critics read at a time.
ROWS_REPRESENTED = 2**14
# Rows that a critic which reports is trained and calibrated on, and among which copies are looked for.
MAX_ROWS_REPORTED = 24_000


def all_at_once(X: Observed, rows: np.ndarray) -> bool:
    """Whether these rows are represented together: those in memory are, however many."""
    return not X.on_disk or len(rows) <= ROWS_REPRESENTED


def runs_of(X: Observed, rows: np.ndarray) -> Iterator[slice]:
    """Runs of rows that are represented together."""
    size = max(1, len(rows)) if all_at_once(X, rows) else ROWS_REPRESENTED
    return (slice(start, start + size) for start in range(0, len(rows), size))


def are_many(X: Observed, rows: np.ndarray) -> bool:
    """Whether these are more rows on disk than are read by what has all of them in memory."""
    return X.on_disk and len(rows) > MAX_ROWS_REPORTED


def some_of(X: Observed, rows: np.ndarray, seed: int) -> np.ndarray:
    """Rows in their order; of many on disk a random part."""
    if not are_many(X, rows):
        return rows
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MAX_ROWS_REPORTED])
