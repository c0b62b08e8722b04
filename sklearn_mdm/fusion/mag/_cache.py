"""The states of texts below a gate, computed once where the layers that make them are frozen."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_memory

# Tokens of a pass; more of them need more memory and are no faster.
MAX_TOKENS_PER_PASS = 4096
# Below the directory of ``memory``.
FOLDER = "sklearn_mdm_states"

Compute = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def cached_states(
    rows: Sequence[np.ndarray], compute: Compute, width: int, memory: Any, fingerprint: str
) -> list[np.ndarray]:
    """States (n_tokens_i, width) of texts of tokens (n_tokens_i, n_columns), each distinct one computed at most once.

    ``compute`` maps texts of similar length to their states; ``memory`` is where these are kept for other calls and
    processes, and ``fingerprint`` says what they depend on besides the text.
    """
    # One file a text: folds of a cross-validation then share them. Calls cached by joblib take ten times as long to
    # look up, for they describe their arguments and pickle their results.
    location = check_memory(memory).location
    folder = None if location is None else Path(location, FOLDER)
    keys = [hashlib.sha256(fingerprint.encode() + row.tobytes()).hexdigest() for row in rows]
    found: dict[str, np.ndarray] = {}
    absent: dict[str, np.ndarray] = {}
    for key, row in zip(keys, rows, strict=True):
        if key in found or key in absent:
            continue
        states = None if folder is None else _read(folder / key, len(row), width)
        if states is None:
            absent[key] = row
        else:
            found[key] = states
    by_length = sorted(absent, key=lambda key: len(absent[key]))
    while by_length:
        longest = len(absent[by_length[-1]])
        chosen = by_length[-max(1, MAX_TOKENS_PER_PASS // longest) :]
        del by_length[-len(chosen) :]
        for key, states in zip(chosen, compute([absent[key] for key in chosen]), strict=True):
            found[key] = states
            if folder is not None:
                _write(folder / key, states)
    return [found[key] for key in keys]


def _read(path: Path, n_tokens: int, width: int) -> np.ndarray | None:
    try:
        values = np.fromfile(path, dtype="<f4")
    except FileNotFoundError:
        return None
    return values.reshape(n_tokens, width) if values.size == n_tokens * width else None


def _write(path: Path, states: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    states.astype("<f4").tofile(part)
    part.replace(path)  # at once: another process may be reading
