"""What the models beside the networks share: folds, losses of rows held out, and the spread of columns."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..utils._folds import Split, splits_of_members
from ..utils._statistics import power_of_two_unit

INTERNAL_FOLDS = 8
# Columns are divided by their standard deviation, so that one penalty suits the spreads of pooled sequences as well,
# but by no less than this, so that a column that hardly varied in training does not decide everything later.
MIN_SPREAD = 0.05


def internal_splits(classes: np.ndarray | None, weight: np.ndarray, units: np.ndarray | None) -> list[Split]:
    """Folds of the rows of positive weight, stratified by class; rows of one unit are in one of them."""
    used = np.flatnonzero(weight)
    if units is not None:
        units = units[used] if len(np.unique(units[used])) > 1 else None
    if len(used) < 2:
        return []
    found = splits_of_members(
        INTERNAL_FOLDS,
        len(used),
        0,
        n_folds=INTERNAL_FOLDS,
        rows=np.arange(len(used)),
        copies=units,
        classes=None if classes is None else classes[used],
    )
    return distinct_splits([(used[train], used[held_out]) for train, held_out in found])


def distinct_splits(splits: Sequence[Split]) -> list[Split]:
    """Leave out splits that come again, as they do where there are more members than folds."""
    return list({(train.tobytes(), held_out.tobytes()): (train, held_out) for train, held_out in splits}.values())


def merged_folds(splits: list[Split], n: int) -> list[Split]:
    """Make about so many splits of them, that hold out what some of them do and train on what all of these do."""
    merged = []
    for chunk in range(min(n, len(splits))):
        part = [split for k, split in enumerate(splits) if chunk_of(k, len(splits), n) == chunk]
        train = functools.reduce(np.intersect1d, [train for train, _ in part])
        if 2 * len(train) < min(len(train) for train, _ in part):
            return splits  # those of a splitter whose parts for training have little in common
        merged.append((train, functools.reduce(np.union1d, [held_out for _, held_out in part])))
    return merged


def chunk_of(k: int, n_splits: int, n: int) -> int:
    """Which of n merged splits a split is a part of."""
    return k if n_splits <= n else k * n // n_splits


def out_of_fold(
    splits: Sequence[Split], predictions: list[np.ndarray], shape: tuple[int, ...], *, logarithms: bool = False
) -> np.ndarray:
    """Means of the predictions of rows held out, or of what they are the logarithms of; NaN where there are none."""
    total, count = np.full(shape, -np.inf if logarithms else 0.0), np.zeros((shape[0], 1))
    for (_, held_out), values in zip(splits, predictions, strict=True):
        total[held_out] = np.logaddexp(total[held_out], values) if logarithms else total[held_out] + values
        count[held_out] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total - np.log(count) if logarithms else total / count, np.nan)


def pointwise_loss(error: np.ndarray, loss: str) -> np.ndarray:
    """Loss of each error of a regressor."""
    size = np.abs(error)
    if loss == "absolute_error":
        return size
    return error**2 / 2 if loss == "squared_error" else np.where(size < 1, error**2 / 2, size - 0.5)


def spread_of(design: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Standard deviation of each column; one where it is constant."""
    share = weight / weight.sum()
    largest = np.abs(design).max(axis=0, initial=0)
    if not np.isfinite(largest).all():
        raise ValueError('X has values too large to be summed or squared. Rescale them, or leave scaling="auto".')
    unit = power_of_two_unit(largest).astype(design.dtype)
    design = design / unit
    spread = unit * np.sqrt(share @ (design - share @ design) ** 2)
    spread[spread < 1e-6] = 1
    return np.maximum(spread, MIN_SPREAD).astype(design.dtype, copy=False)
