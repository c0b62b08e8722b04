"""The states of texts below a gate, computed once where the layers that make them are frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_memory

__all__: list[str] = []

# Tokens of a pass; more of them need more memory and are no faster.
TOKENS_PER_PASS = 4096

Compute = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class _NotCachedError(Exception):
    """There is no entry for this row yet."""


def states_of_row(fingerprint: str, row: np.ndarray, states: np.ndarray | None) -> np.ndarray:
    """Return the states of a text; ``memory`` remembers them under the first two arguments."""
    if states is None:
        raise _NotCachedError
    return states


def cached_states(rows: Sequence[np.ndarray], compute: Compute, memory: Any, fingerprint: str) -> list[np.ndarray]:
    """States of texts, each distinct one computed at most once.

    Parameters
    ----------
    rows : sequence of arrays of int of shape (n_tokens_i, n_columns)
        Tokens of each text.
    compute : callable
        Maps texts of similar length to their states (n_tokens_i, d).
    memory : None, str or object with the interface of joblib.Memory
        Where states are kept from one call to the next, and from one process to another.
    fingerprint : str
        What the states depend on besides the text.
    """
    # One entry a text: folds of a cross-validation then share them. What was computed in a batch is handed to the
    # cached function, which only stores it.
    lookup = check_memory(memory).cache(states_of_row, ignore=["states"])
    found: dict[bytes, np.ndarray] = {}
    absent: dict[bytes, np.ndarray] = {}
    for row in rows:
        key = row.tobytes()
        if key in found or key in absent:
            continue
        try:
            found[key] = lookup(fingerprint, row, None)
        except _NotCachedError:
            absent[key] = row
    by_length = sorted(absent, key=lambda key: len(absent[key]))
    while by_length:
        longest = len(absent[by_length[-1]])
        chosen = by_length[-max(1, TOKENS_PER_PASS // longest) :]
        del by_length[-len(chosen) :]
        for key, states in zip(chosen, compute([absent[key] for key in chosen]), strict=True):
            found[key] = lookup(fingerprint, absent[key], states)
    return [found[row.tobytes()] for row in rows]
