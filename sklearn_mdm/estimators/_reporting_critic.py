"""The critic that reports the dependency of a fitted net: trained after it, calibrated on rows that it did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dependency._copies import Copies
from ..dependency._density_ratio import TrainedCritic, fit_together
from ..dependency._member_critics import MemberCritics
from ..exceptions import TooFewSamplesError
from ..measures import KL
from ..utils._splits import fewest_rows, held_out_rows

# Updates of a critic that fit_dependency trains.
DEPENDENCY_UPDATES = 2000
# Rows of an update, and negatives of each, of one critic and of the critics of several members. The mean of these is as
# large and as certain with half of the rows, if not with fewer negatives too, for three quarters of the time.
ALONE = {"batch_size": 128, "n_negatives": 4}
OF_MEMBERS = {"batch_size": 64, "n_negatives": 8}
# Share of the rows that calibrate it, where none are given.
CALIBRATION_FRACTION = 1 / 3
# Fewer rows than these are too few to calibrate on; some that the net was trained on are better then.
MIN_UNSEEN_ROWS = 30


def train_reporting_critic(
    z: Sequence[np.ndarray],
    *,
    groups: np.ndarray | None = None,
    copies: Copies | None = None,
    held_out: np.ndarray | None = None,
    n_updates: int,
    thrifty: bool = False,
    seed: int,
) -> TrainedCritic:
    """Train a critic on one part of the rows of representations z, (n, k_j) each, and calibrate it on the other.

    The other part is ``held_out``, or a random third, in whole groups where there are any. ``copies`` that groups do
    not hold together are, and ``held_out`` is not used if it cuts them. A ``thrifty`` critic spends less
    where there is much data.
    """
    held_out, groups = rows_to_calibrate(z, groups, copies, held_out, seed)
    return _normalized(_critic(n_updates, thrifty, seed, ALONE).fit(z, held_out), z, groups, held_out)


def train_reporting_critics(
    z_by_member: Sequence[Sequence[np.ndarray]],
    *,
    groups_by_member: Sequence[np.ndarray | None] | None = None,
    copies_by_member: Sequence[Copies | None] | None = None,
    held_out_by_member: Sequence[np.ndarray | None] | None = None,
    n_updates: int,
    thrifty: bool = False,
    seeds: Sequence[int],
) -> MemberCritics:
    """Train a critic for each of several members, in one pass; see :func:`train_reporting_critic`.

    Each has its own rows, of which it reads the member's representations.
    """
    given = (by or [None] * len(seeds) for by in (groups_by_member, copies_by_member, held_out_by_member))
    parts = [rows_to_calibrate(*own) for own in zip(z_by_member, *given, seeds, strict=True)]
    critics = [_critic(n_updates, thrifty, seed, OF_MEMBERS) for seed in seeds]
    fit_together(critics, z_by_member, [held_out for held_out, _ in parts])
    for critic, z, (held_out, groups) in zip(critics, z_by_member, parts, strict=True):
        _normalized(critic, z, groups, held_out)
    return MemberCritics(critics)


def rows_to_calibrate(
    z: Sequence[np.ndarray],
    groups: np.ndarray | None,
    copies: Copies | None,
    held_out: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows to calibrate on, which no critic is trained on, and groups of all rows."""
    if copies is not None and copies.warnings:
        groups = copies.groups
        if groups is None or held_out is None or np.isin(groups[held_out], groups[~held_out]).any():
            held_out = None
    n, fewest = len(z[0]), 3 * fewest_rows(len(z))
    if n < fewest:
        raise TooFewSamplesError(
            f"{n} samples have every modality observed; the critic needs at least {fewest}. Pass more samples."
        )
    return held_out_rows(n, CALIBRATION_FRACTION, seed, groups) if held_out is None else held_out, groups


def enough_unseen(unseen: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray | None:
    """Add others to the rows that a member did not see, where these are too few to calibrate on: bool (n_rows,).

    None if there is none, or no other.
    """
    n, n_unseen = len(unseen), int(unseen.sum())
    if not 0 < n_unseen < n:
        return None
    rest = np.flatnonzero(~unseen)
    wanted = CALIBRATION_FRACTION * n - n_unseen
    if n_unseen >= MIN_UNSEEN_ROWS or wanted <= 0 or (groups is not None and len(np.unique(groups[rest])) < 2):
        return unseen
    held_out = unseen.copy()
    held_out[rest] = held_out_rows(len(rest), wanted / len(rest), seed, None if groups is None else groups[rest])
    return held_out


def _critic(n_updates: int, thrifty: bool, seed: int, batch: dict[str, int]) -> TrainedCritic:
    return TrainedCritic(
        KL(),
        kind="encoded",
        hidden_dims=(64, 64, 64),
        n_updates=n_updates,
        batch_size=batch["batch_size"],
        n_negatives=batch["n_negatives"],
        n_components=4,
        refit=False,
        thrifty=thrifty,
        seed=seed,
    )


def _normalized(
    critic: TrainedCritic, z: Sequence[np.ndarray], groups: np.ndarray | None, held_out: np.ndarray
) -> TrainedCritic:
    critic.normalize([part[held_out] for part in z], None if groups is None else groups[held_out])
    return critic
