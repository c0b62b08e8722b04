"""The last step of a fit: critics that report dependency, trained on rows of it and calibrated on what was held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..dependency._copies import Copies, copies_of
from ..dependency._reliability import warn_all
from ..exceptions import TooFewSamplesError
from ..inputs._observed import Observed, one_below
from ._members import Part
from ._reporting_critic import DEPENDENCY_UPDATES, MIN_UNSEEN_ROWS, enough_unseen
from ._samples import Samples

# Samples that the reporting critic is trained and calibrated on. With more, the value moves by less than its standard
# error, which is half as large again with 4,000 to calibrate on as with 10,000.
MAX_REPORT_TRAINING, MAX_REPORT_CALIBRATION = 20_000, 4_000

# Representations (n, k_m) of some rows of X, by modality.
Represent = Callable[[Observed, np.ndarray], list[np.ndarray]]


def report(estimator: Any, samples: Samples, parts: Sequence[Part]) -> None:
    """Train the critics that report dependency on what the members were trained on, if that is enough."""
    if estimator.lam_ == 0 or len(estimator.modalities_) == 1:
        return
    rows_of = _rows_of_folds if estimator._has_folds() else _rows_of_one_split
    reported = rows_of(samples, parts, estimator._represent, estimator._seed)
    # Of a member on average, as each trained for a while of its own.
    epochs = estimator.history_[len(estimator.history_) - estimator._epochs_run :]
    trained = [np.isfinite(epoch.get("train_task_loss_of_members", [0.0])).mean() for epoch in epochs]
    batches = [epoch.get("train_batch_count", 0) for epoch in epochs]
    updates = round(sum(share * n for share, n in zip(trained, batches, strict=True)))
    try:
        # A fifth as many updates as the model had cost an eighth of a fit without encoders; halving them lowers
        # values of nonlinear dependency by up to a tenth. Members stop early and share some of the work: a third
        # costs a fifth of their fit, where a fifth halved the value of a few hundred images.
        estimator._train_reporting_critics(
            reported.z,
            hashes=reported.hashes,
            groups=reported.groups,
            copies=reported.copies,
            held_out=reported.held_out,
            n_updates=min(max(1, updates // (5 if estimator._n_members == 1 else 3)), DEPENDENCY_UPDATES),
            thrifty=True,
        )
    except TooFewSamplesError:
        return  # dependency_score asks for fit_dependency with more samples
    train, valid, rows = parts[0].train, parts[0].valid, reported.trained_on
    own = valid is None or valid.X is train.X or copies_of(train.X.arrays.values(), rows, None).found
    if own:  # not only of training samples that were passed as X_val
        warn_all(reported.copies.warnings, stacklevel=4)
    estimator._keep_candidates(train.X, rows, [values[: len(rows)] for values in reported.z])


@dataclass(frozen=True, eq=False)
class ReportedRows:
    """Rows with every modality, and what reporting critics need to know of them.

    Parameters
    ----------
    z : list of arrays of shape (n_rows, k_m)
        Their representations, by modality.
    hashes : array of shape (n_rows,)
        Their hashes.
    groups : array of shape (n_rows,) or None
        Their groups.
    copies : Copies
        Which of them are copies of others.
    held_out : list of arrays of bool of shape (n_rows,), or None
        For each member, the rows to calibrate its critic on; None where it has seen all.
    trained_on : array of int of shape (n_trained,)
        Positions, in X of the training, of those that some member was trained on; these are the first of the rows.
    """

    z: list[np.ndarray]
    hashes: np.ndarray
    groups: np.ndarray | None
    copies: Copies
    held_out: list[np.ndarray | None]
    trained_on: np.ndarray


def _rows_of_folds(samples: Samples, parts: Sequence[Part], represent: Represent, seed: int) -> ReportedRows:
    """Return rows of which each member held out a fold."""
    X = parts[0].train.X
    most = MAX_REPORT_TRAINING + MAX_REPORT_CALIBRATION
    rows, groups = _labelled_first(replace(samples, X=X), most, samples.groups, seed)
    z = represent(X, rows)
    held_out: list[np.ndarray | None] = []
    for member in parts:
        not_seen = np.isin(rows, samples.rows) & ~np.isin(rows, member.train.rows)
        held_out.append(enough_unseen(not_seen, groups, seed + len(held_out)))
    copies = copies_of(list(X.arrays.values()), rows, groups)
    return ReportedRows(z, X.hashes[rows], groups, copies, held_out, rows)


def _rows_of_one_split(samples: Samples, parts: Sequence[Part], represent: Represent, seed: int) -> ReportedRows:
    """Return rows that all members were trained on, and such as decided when all of them stopped, if there are any."""
    train, valid = parts[0].train, parts[0].valid
    trained_on, groups = _labelled_first(train, MAX_REPORT_TRAINING, samples.groups, seed)
    rows, arrays = trained_on, list(train.X.arrays.values())
    z, hashes = represent(train.X, rows), train.X.hashes[rows]
    held_out: list[np.ndarray | None] = [None] * len(parts)
    if valid is not None and valid.complete.sum() >= MIN_UNSEEN_ROWS:
        # Rows that stopped the training never entered a gradient: what holds on them holds on new data.
        unseen = _some_complete(valid, MAX_REPORT_CALIBRATION, seed)
        held_out = [np.repeat([False, True], [len(rows), len(unseen.rows)])] * len(parts)
        z = [np.concatenate(both) for both in zip(z, represent(valid.X, unseen.rows), strict=True)]
        hashes = np.r_[hashes, valid.X.hashes[unseen.rows]]
        if valid.X is train.X:
            rows = np.r_[rows, unseen.rows]
        else:
            some, others = train.X.take(rows).arrays, valid.X.take(unseen.rows).arrays
            arrays = [one_below(some[name], others[name]) for name in train.X.names]
            rows = np.arange(len(rows) + len(unseen.rows))
        if groups is not None:
            groups = None if unseen.groups is None else np.r_[groups, unseen.groups]
    return ReportedRows(z, hashes, groups, copies_of(arrays, rows, groups), held_out, trained_on)


def _labelled_first(
    samples: Samples, most: int, groups: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions in X of samples with every modality, at most so many, labelled ones first; and their groups.

    Of those without a label none is of a group that others have, or the same as one of them: it would be trained
    on where these are calibrated on.
    """
    part = _some_complete(samples, most, seed)
    unlabelled, of_unlabelled = samples.unlabelled, samples.unlabelled_groups
    if unlabelled is None:
        return part.rows, part.groups
    apart = samples.X.complete[unlabelled]
    if groups is not None and of_unlabelled is not None:
        apart = apart & ~np.isin(of_unlabelled, groups)
    more = np.random.default_rng(seed).permutation(np.flatnonzero(apart))[: most - len(part.rows)]
    hashes = samples.X.hashes
    more = np.sort(more[~np.isin(hashes[unlabelled[more]], hashes[part.rows])])
    if part.groups is None or of_unlabelled is None:
        return np.r_[part.rows, unlabelled[more]], None
    return np.r_[part.rows, unlabelled[more]], np.r_[part.groups, of_unlabelled[more]]


def _some_complete(samples: Samples, most: int, seed: int) -> Samples:
    """Samples with every modality, at most so many of them."""
    complete = np.flatnonzero(samples.complete)
    if len(complete) > most:
        complete = np.sort(np.random.default_rng(seed).permutation(complete)[:most])
    return samples.take(complete)
