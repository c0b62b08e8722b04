"""Which samples are held out: for validation, or for a critic to be calibrated on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils.validation import column_or_1d

from ..exceptions import TooFewSamplesError


def validation_split(
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


def held_out_rows(n_samples: int, fraction: float, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Choose a random part of the rows, or of whole groups, for the critic not to be trained on: bool (n_samples,)."""
    if groups is not None and len(np.unique(groups)) < 2:
        raise TooFewSamplesError(
            "whole groups are held out from the critic, but all samples are in one group. Pass more groups, or "
            "groups=None."
        )
    if groups is None:
        rows = np.random.default_rng(seed).permutation(n_samples)[: math.ceil(fraction * n_samples - 1e-9)]
    else:
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
        _, rows = next(splitter.split(np.zeros(n_samples), groups=groups))
    held_out = np.zeros(n_samples, dtype=bool)
    held_out[rows] = True
    return held_out


def fewest_rows(n_modalities: int) -> int:
    """Fewest rows on which negatives say anything."""
    return max(n_modalities, 4)


def check_rows(name: str, n_found: int, n_samples: int, of: str = "X") -> None:
    """Reject an argument that has not one entry for each sample of another."""
    if n_found != n_samples:
        raise ValueError(
            f"Found inconsistent numbers of samples: {name} has {n_found} samples, {of} has {n_samples}. Pass one "
            "entry for each sample."
        )


@contextmanager
def named(argument: str) -> Iterator[None]:
    """Say which argument cannot be read, where the error that says why does not."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", str(error)):
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{argument}: {error}") from error


def read_groups(groups: Any, n_samples: int) -> np.ndarray | None:
    """Validate groups as one label per sample."""
    if groups is None:
        return None
    if np.ndim(groups) != 1 and np.shape(groups)[1:] != (1,):
        raise ValueError(f"groups has shape {np.shape(groups)}; expected one label per sample, ({n_samples},).")
    groups = column_or_1d(groups)
    check_rows("groups", len(groups), n_samples)
    if pd.isna(groups).any():
        raise ValueError(f"groups has {int(pd.isna(groups).sum())} missing labels; every sample needs one.")
    try:
        np.unique(groups)
    except TypeError:  # of types that have no order, such as numbers beside strings
        groups = pd.factorize(groups)[0]
    return groups
