"""The states of texts below a gate, computed once where the layers that make them are frozen."""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_memory

from ...utils._whole_files import whole_file

# Tokens of a pass; more of them need more memory and are no faster.
MAX_TOKENS_PER_PASS = 4096
# Below the directory of ``memory``.
FOLDER = "sklearn_mdm_states"
DIGEST_SIZE = hashlib.sha256().digest_size

Compute = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def states_folder(memory: Any) -> Path | None:
    """Return the folder of the states that ``memory`` keeps, which need not be there; None if it keeps none."""
    if isinstance(memory, (str, os.PathLike)):
        location = os.fspath(memory)  # check_memory would make folders here, and fail where it cannot
        if not location or "\0" in location:
            raise ValueError(f"MAGFusion has a directory as memory, got {location!r}.")
    else:
        location = None if memory is None else check_memory(memory).location
    return None if location is None else Path(location, FOLDER)


def cached_states(
    rows: Sequence[np.ndarray], compute: Compute, width: int, memory: Any, fingerprint: str
) -> list[np.ndarray]:
    """States (n_tokens_i, width) of texts of tokens (n_tokens_i, n_columns), each distinct one computed at most once.

    ``compute`` maps texts of similar length to their states; ``memory`` is where these are kept for other calls and
    processes, and ``fingerprint`` says what they depend on besides the text. What was kept counts only if it is whole;
    where nothing can be kept there is one warning, and the states are those that were computed.
    """
    # One file a text: folds of a cross-validation then share them. Calls cached by joblib take ten times as long to
    # look up, for they describe their arguments and pickle their results.
    folder = states_folder(memory)
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
    n_absent, failures = len(absent), []
    by_length = sorted(absent, key=lambda key: len(absent[key]))
    while by_length:
        longest = len(absent[by_length[-1]])
        chosen = by_length[-max(1, MAX_TOKENS_PER_PASS // longest) :]
        del by_length[-len(chosen) :]
        for key, states in zip(chosen, compute([absent[key] for key in chosen]), strict=True):
            if not np.isfinite(states).all():
                raise ValueError(
                    "the backbone of MAGFusion turns a text into states that are NaN or infinite, in its frozen layers "
                    "already. The text is not the reason: check the weights of the backbone, or take another one."
                )
            found[key] = states
            if folder is not None:
                try:
                    _write(folder / key, states)
                except OSError as error:
                    failures.append(error)
    if failures:
        warnings.warn(
            f"MAGFusion(memory=...) could not keep the states of {len(failures)} of {n_absent} texts in {str(folder)!r}"
            f" ({failures[0].strerror or failures[0]}). Nothing is wrong with this result, but they will be computed "
            "again. Make room there, or name a directory that can be written to.",
            UserWarning,
            stacklevel=2,
        )
    return [found[key] for key in keys]


# A file is the digest of its name and of the numbers, and the numbers: nothing in it says how much to read, and nothing
# is to be parsed. (safetensors and .npy have headers for that, and no digest.)


def _digest(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + content).digest()


def _read(path: Path, n_tokens: int, width: int) -> np.ndarray | None:
    """Return the states in a file; None if it is not there, or not what was written under this name."""
    size = DIGEST_SIZE + n_tokens * width * 4
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            content = file.read(size)
    except OSError:
        return None
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if digest != _digest(path, content):
        return None
    states = np.frombuffer(content, dtype="<f4").reshape(n_tokens, width)
    return states if np.isfinite(states).all() else None


def _write(path: Path, states: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = states.astype("<f4").tobytes()
    # Another process may be reading or writing the same text. One that is killed leaves a part for each of its threads,
    # which nobody reads; a crash of the system leaves files whose digests tell.
    with whole_file(path, durable=False) as file:
        file.write(_digest(path, content) + content)
