"""Which samples are held out to decide when to stop."""

from __future__ import annotations

import math

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit

__all__: list[str] = []


def stopping_split(
    n_samples: int, fraction: float, seed: int, *, groups: np.ndarray | None = None, stratify: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and the rows to hold out.

    Whole groups are held out where groups are given; else classes are stratified, if each has enough members.

    Raises
    ------
    ValueError
        If nothing would be left to train on.
    """
    options = {"n_splits": 1, "test_size": fraction, "random_state": seed}
    rows = np.zeros(n_samples)
    if groups is not None:
        if len(np.unique(groups)) < 2:
            raise ValueError(
                "early stopping holds out whole groups, but all samples are in one group. Pass X_val and y_val, or set "
                "early_stopping=False."
            )
        return next(GroupShuffleSplit(**options).split(rows, groups=groups))
    n_held_out = math.ceil(fraction * n_samples)
    if stratify is not None:
        _, counts = np.unique(stratify, return_counts=True)
        if counts.min() >= 2 and min(n_held_out, n_samples - n_held_out) >= len(counts):
            return next(StratifiedShuffleSplit(**options).split(rows, stratify))
    if n_held_out >= n_samples:
        raise ValueError(
            f"validation_fraction={fraction} of {n_samples} samples leaves none to train on. Set early_stopping=False "
            "or pass X_val and y_val."
        )
    return next(ShuffleSplit(**options).split(rows))
