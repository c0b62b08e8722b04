"""Which samples of a fit train the members, and which decide when each of them stops: passed, held out, or none."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inputs._labels import check_beside
from ..utils._arguments import named
from ..utils._folds import Split, splits_of_members
from ..utils._splits import validation_split
from ._absent import PASSED, why_none_held_out
from ._few_labels import has_few_labels
from ._members import Folds, Part, never_trained_on
from ._samples import Samples, check_validation_size

# With fewer samples, early_stopping="auto" keeps them all for training: of a single member, and of a committee, whose
# members together are trained on all.
MIN_SAMPLES_TO_SPLIT, MIN_SAMPLES_TO_FOLD = 100, 20


def split(
    estimator: Any, samples: Samples, X_val: Any, y_val: Any, earlier: Folds | None
) -> tuple[list[Part], Folds | None]:
    """Return the part of each member, and the folds of a committee, if its members hold out any.

    ``earlier`` are the folds of the last fit, which samples keep in a warm start. Where no fold is held out, the
    estimator is left the reason, ``_not_held_out``.
    """
    if (X_val is None) != (y_val is None):
        given, other = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
        raise ValueError(f"{given} was passed without {other}; stopping needs both.")
    wants_split = X_val is None and _wants_split(estimator, samples)
    if estimator.cv is not None and not wants_split:
        given = "X_val" if X_val is not None else "early_stopping=False"
        raise ValueError(f"cv says what to hold out, and with {given} nothing is. Leave out one of the two.")
    if not wants_split:
        valid = None if X_val is None else _read_validation(estimator, X_val, y_val)
        estimator._not_held_out = PASSED
        if X_val is None:
            fewest = _fewest_to_split(estimator)
            estimator._not_held_out = why_none_held_out(estimator.early_stopping, samples.y, fewest)
        return [Part(samples, valid)] * estimator._n_members, None
    if estimator._n_members > 1 or estimator.cv is not None:
        splits, folds = _member_splits(estimator, samples, earlier)
    else:
        one = validation_split(
            len(samples.y),
            estimator.validation_fraction,
            estimator._seed,
            groups=samples.groups,
            stratify=estimator._stratify(samples.y),
        )
        splits, folds = [one], None
    return [Part(samples.take(train), samples.take(held_out)) for train, held_out in splits], folds


def _wants_split(estimator: Any, samples: Samples) -> bool:
    if estimator.early_stopping == "auto":
        enough = len(samples.y) >= _fewest_to_split(estimator)
        return estimator.cv is not None or (enough and not has_few_labels(estimator, samples))
    return bool(estimator.early_stopping)


def _fewest_to_split(estimator: Any) -> int:
    """Labelled samples from which on ``early_stopping="auto"`` holds some out."""
    return MIN_SAMPLES_TO_SPLIT if estimator._n_members == 1 else MIN_SAMPLES_TO_FOLD


def _read_validation(estimator: Any, X_val: Any, y_val: Any) -> Samples:
    with named("X_val"):
        observed = estimator._schema.read(estimator, X_val)
    check_beside(observed.index, "X_val", y_val=y_val)
    with named("y_val"):
        check_validation_size(len(observed), y_val)
        y_val, labelled = estimator._read_target(y_val, len(observed), reset=False)
    observed = observed if labelled.all() else observed.take(np.flatnonzero(labelled))
    weight = estimator._target_weight(y_val, None, reset=False)
    rows = np.arange(len(observed))
    return Samples(observed, y_val, weight, None, rows, rows, len(rows))


def _member_splits(estimator: Any, samples: Samples, earlier: Folds | None) -> tuple[list[Split], Folds]:
    splits = splits_of_members(
        estimator._n_members,
        samples.n_passed,
        estimator._seed,
        n_folds=-(-estimator._n_members // len(estimator._scalings)),
        rows=samples.passed,
        cv=estimator.cv,
        groups=samples.groups,
        copies=samples.copies,
        classes=estimator._stratify(samples.y),
    )
    held_out = never_trained_on(splits, len(samples.y))
    hashes = samples.X.hashes[: len(samples.y)]
    if earlier is not None and estimator.cv is None:
        # In a warm start, no member may be trained on what its stopping was decided by.
        held_out = earlier.kept(hashes, held_out, samples.groups)
        splits = [(np.flatnonzero(~column), np.flatnonzero(column)) for column in held_out.T]
        if not all(len(part) for split in splits for part in split):
            raise ValueError(
                "these samples keep the folds that they had in the last fit, which leaves a member nothing to "
                "train on, or nothing to hold out. Pass X_val and y_val, more samples, or set warm_start=False."
            )
    return splits, Folds(hashes, held_out)
