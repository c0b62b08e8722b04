"""The fold that each member of a committee holds out."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv

from ._splits import named

# Rows to train on, and rows that are held out.
Split = tuple[np.ndarray, np.ndarray]


def splits_of_members(
    n_members: int,
    n_samples: int,
    seed: int,
    *,
    n_folds: int,
    rows: np.ndarray,
    cv: Any = None,
    groups: np.ndarray | None = None,
    copies: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> list[Split]:
    """Return the rows that each member is trained on, and those that it holds out.

    Parameters
    ----------
    n_members : int
        Number of members; more than there are folds go through them again.
    n_samples : int
        Number of samples that a splitter is told of.
    seed : int
        Seed of the folds.
    n_folds : int
        Number of folds without ``cv``, if there are as many groups.
    rows : array of int of shape (n_rows,)
        Which of them there are; what is returned are positions in ``rows``.
    cv : int, splitter or iterable of splits, default=None
        Number of the folds, or what makes them.
    groups : array of shape (n_rows,), default=None
        Rows of one group are in one fold.
    copies : array of shape (n_rows,), default=None
        Without groups and splitter, rows that are copies of one another, which are in one fold, too: the one in which a
        single row of their weight would be.
    classes : array of shape (n_rows,), default=None
        Class of each row, which folds have in equal parts as far as that goes.

    Raises
    ------
    ValueError
        If there is a single group, or a splitter does not hold out samples that it does not train on, or cuts groups.
    """
    if cv is None or isinstance(cv, Integral):
        splits = _folds(max(2, n_folds) if cv is None else int(cv), len(rows), seed, groups, copies, classes)
    else:
        place = np.full(n_samples, -1)
        place[rows] = np.arange(len(rows))
        y, units = (None if of_rows is None else of_rows[np.maximum(place, 0)] for of_rows in (classes, groups))
        if y is not None and (place < 0).any():
            # Those that are not there would take the places of a class in the folds: they are a class of their own.
            y = np.where(place < 0, y.max() + 1, y)
        with named("cv"):
            found = list(check_cv(cv).split(np.zeros((n_samples, 1)), np.zeros(n_samples) if y is None else y, units))
        splits = [tuple(place[part][place[part] >= 0] for part in split) for split in found]
        _check(splits, groups)
    return [splits[k % len(splits)] for k in range(n_members)]


def _folds(
    n: int,
    n_samples: int,
    seed: int,
    groups: np.ndarray | None,
    copies: np.ndarray | None,
    classes: np.ndarray | None,
) -> list[Split]:
    if groups is None:
        return _dealt_out(n, np.arange(n_samples) if copies is None else copies, seed, classes)
    units = len(np.unique(groups))
    if units < 2:
        raise ValueError(
            "every member holds out whole groups, but all samples are in one group. Pass X_val and y_val, or set "
            "early_stopping=False."
        )
    n = min(n, units)
    stratified = classes is not None and np.unique(classes, return_counts=True)[1].max() >= n
    splitter: Any = StratifiedGroupKFold if stratified else GroupKFold
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        found = splitter(n_splits=n, shuffle=True, random_state=seed).split(np.zeros((n_samples, 1)), classes, groups)
        return [split for split in found if len(split[1])]  # a fold of groups may stay empty


def _dealt_out(n: int, units: np.ndarray, seed: int, classes: np.ndarray | None) -> list[Split]:
    """Deal units out class by class, in random order within each.

    In equal parts also of classes with fewer samples than there are folds, for which StratifiedKFold has none.
    """
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))  # of units in the order in which they come
    first, n = np.sort(first), min(n, len(first))
    random = np.random.RandomState(seed).permutation(len(first))
    order = random if classes is None else random[np.argsort(classes[first][random], kind="stable")]
    of_unit = np.empty(len(first), dtype=int)
    of_unit[order] = np.arange(len(first)) % n
    fold = of_unit[place][unit]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n)]


def _check(splits: list[Split], groups: np.ndarray | None) -> None:
    if not splits or any(not len(part) for split in splits for part in split):
        raise ValueError(
            "cv must give labelled samples to train on and to hold out in every fold, and one fold or more. With NaN "
            "in y, pass samples without a label as X_unlabeled instead: cv then splits labelled ones alone."
        )
    if any(len(np.intersect1d(*split)) for split in splits):
        raise ValueError("cv holds out samples that it trains on. Use a splitter whose two parts have none in common.")
    if groups is not None and any(np.isin(groups[held_out], groups[train]).any() for train, held_out in splits):
        raise ValueError("cv cuts groups. Use a splitter that keeps them together, such as GroupKFold.")
