"""Cross-fitting: which samples each critic is given, and the value that is read on the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, check_cv

from ..critic import MultilinearCritic
from ..exceptions import DependencyWarning, TooFewSamplesError
from ..measures import Measure
from ..utils._splits import fewest_rows, held_out_rows
from ..utils._statistics import check_finite, standard_error
from ._calibration import NOISE, bound_weights, std_factor
from ._copies import Copies
from ._decomposition import SummedCritic
from ._density_ratio import EVALUATION_SETS, MOST_NEGATIVES, TrainedCritic
from ._reliability import find_warnings

# Of the samples that a critic is given, those that it is not trained on but that validate and calibrate it.
VALIDATION_FRACTION = 0.2
# Training rows that are looked at for the gap between them and held-out ones.
MAX_GAP_ROWS = 2000

# Folds of "auto", and from how many samples on there are fewer: a fold costs the same then, and gains less.
FOLDS, FEW_FOLDS, MANY = 5, 3, 3000
# Held-out rows of all folds that weights are found on.
WEIGHING_ROWS = 4000

Split = tuple[np.ndarray, np.ndarray]
Found = dict[type[DependencyWarning], str]


def split_folds(
    n_samples: int,
    cv: Any,
    held_out_fraction: float,
    *,
    groups: np.ndarray | None,
    copies: Copies,
    seed: int,
    min_rows: int,
) -> list[Split]:
    """Return pairs of rows to train and calibrate on, and rows that are held out: by ``cv``, or else one pair.

    Samples of one group are on one side, and so are copies: a splitter that knows of none is not trained on those of
    what it holds out. A held-out part has ``min_rows`` or more, the other twice as many. With "auto" there are five
    folds, and three of many samples.
    """
    n_units = n_samples if copies.groups is None else len(np.unique(copies.groups))
    if n_units < 3:
        raise TooFewSamplesError(
            f"{n_units} groups are too few: some are trained on, others validate, and others are read. Pass three or "
            "more, or groups=None."
        )
    if isinstance(cv, str):  # "auto"
        # Groups are told from each other, so a fold has two or more if there are enough.
        cv = max(3, min(FEW_FOLDS if n_samples > MANY else FOLDS, n_samples // min_rows, n_units // 2))
    if cv is None:
        most = 1 - 2 * min_rows / n_samples
        held_out = held_out_rows(n_samples, min(held_out_fraction, most), seed, copies.groups)
        splits = [(np.flatnonzero(~held_out), np.flatnonzero(held_out))]
    else:
        if isinstance(cv, Integral):
            groups = copies.groups
            cv = KFold(cv, shuffle=True, random_state=seed) if groups is None else GroupKFold(cv)
        try:
            splits = list(check_cv(cv).split(np.zeros((n_samples, 1)), groups=groups))
        except TypeError as error:
            raise ValueError(f"cv={cv!r} needs class labels, of which there are none here. Use KFold, say.") from error
        splits = [(np.arange(n_samples)[train], np.arange(n_samples)[rest]) for train, rest in splits]  # or masks
        if not splits or any(len(np.intersect1d(train, rest)) for train, rest in splits):
            raise ValueError("cv must hold out samples that it does not train on, in one fold or more.")
        if np.bincount(np.concatenate([rest for _, rest in splits]), minlength=n_samples).max() > 1:
            raise ValueError("cv holds out some samples more than once; use a splitter whose folds do not overlap.")
        if groups is not None and any(np.isin(groups[train], groups[rest]).any() for train, rest in splits):
            raise ValueError("cv cuts groups. Use a splitter that keeps them together, such as GroupKFold.")
        splits = [(copies.left_out(train, rest), rest) for train, rest in splits]
    for train, rest in splits:
        if len(train) < 2 * min_rows or len(rest) < min_rows:
            raise TooFewSamplesError(
                f"{len(train)} samples are there to train and calibrate on and {len(rest)} are held out; at least "
                f"{2 * min_rows} and {min_rows} are needed. Change held_out_fraction or cv, or pass more samples"
                f"{', copies of others not counted' if copies.found else ''}."
            )
    return splits


class CrossFit(NamedTuple):
    """Critics of all folds, with the value on held-out rows, its standard error, log ratios, and warnings."""

    critics: list[SummedCritic]
    value: float
    std: float
    pointwise: np.ndarray
    warnings: Found


def cross_fit(
    make_critic: Callable[[], SummedCritic],
    measure: Measure,
    arrays: list[np.ndarray],
    splits: Iterable[Split],
    *,
    groups: np.ndarray | None,
    batch_size: int,
    seed: int,
) -> CrossFit:
    """Train a critic on one part of each split, and read the value on the other.

    With several splits, weights are found on the held-out rows of all of them, which are many more than those that a
    critic is validated on.
    """
    folds = [_Fold(make_critic(), arrays, split, groups, seed) for split in splits]
    factor = _share_weights(folds) if measure.density_ratio and len(folds) > 1 else 1.0
    pointwise, influence = np.full(len(arrays[0]), np.nan), np.full(len(arrays[0]), np.nan)
    values = [fold.read(measure, pointwise, influence) for fold in folds]
    sizes = np.array([len(fold.held_out) for fold in folds])
    weights = sizes / sizes.sum()
    means, stds = np.transpose(values)
    std = float(np.linalg.norm(weights * stds))
    if measure.total_correlation and measure.density_ratio:
        read = ~np.isnan(influence)
        units = None if groups is None else groups[read]
        # What chance makes of a value that is 0 and stays it, or of one at its limit, shows in no spread.
        least = NOISE / (2 * (read.sum() if units is None else len(np.unique(units))))
        std = max(factor * standard_error(influence[read], units), float(least))
    value = float(weights @ means)
    check_finite([value, std], "values of the critic on held-out samples")
    return CrossFit(
        [fold.critic for fold in folds], value, std, pointwise, _warnings_of(folds, measure, weights, batch_size)
    )


class _Fold:
    """A critic that is trained on one part of the rows, and the others."""

    def __init__(
        self, critic: SummedCritic, arrays: list[np.ndarray], split: Split, groups: np.ndarray | None, seed: int
    ) -> None:
        train, self.held_out = split
        used, self.rest = [a[train] for a in arrays], [a[self.held_out] for a in arrays]
        used_groups = None if groups is None else groups[train]
        self.groups = None if groups is None else groups[self.held_out]
        fraction = max(VALIDATION_FRACTION, fewest_rows(len(arrays)) / len(train))
        validation = held_out_rows(len(train), fraction, seed, used_groups)
        self.critic = critic.fit(used, validation)
        seen = np.random.default_rng(seed).permutation(np.flatnonzero(~validation))[:MAX_GAP_ROWS]
        self.seen = [a[seen] for a in used]

    def read(self, measure: Measure, pointwise: np.ndarray, influence: np.ndarray) -> tuple[float, float]:
        """Value and standard error on the held-out rows, whose log ratios and influence are filled in."""
        found = self.critic.normalize(self.rest, self.groups)
        if measure.pointwise:
            pointwise[self.held_out] = self.critic.pointwise(self.rest)
        if measure.density_ratio:
            influence[self.held_out] = found
        self.parts = self.critic.scores_of_parts(self.rest, self.groups)
        # Parts share their rows: their errors are added as if they went together.
        value, std = np.sum(list(self.parts.values()), axis=0)
        return value, std


def _share_weights(folds: list[_Fold]) -> float:
    """Give the critics of all folds, part by part of the total, the weights of the largest bound on held-out rows.

    Returns what the standard error is to be multiplied by for their shrinkage.
    """
    factors = []
    n_rows = max(1, WEIGHING_ROWS // len(folds))
    for name in folds[0].critic.parts:
        members = [(fold.critic.critics[name], fold.critic.read_by(name, fold.rest), fold) for fold in folds]
        contrasts = [critic.contrasts(z, fold.groups, n_rows) for critic, z, fold in members]
        weights, shrinkage = bound_weights([contrast for each in contrasts for contrast in each])
        factors.append(std_factor(shrinkage))
        for (critic, _, _), each in zip(members, contrasts, strict=True):
            critic.weigh(weights, each)
    return max(factors)


def _warnings_of(folds: list[_Fold], measure: Measure, weights: np.ndarray, batch_size: int) -> Found:
    """What the value deserves: of all folds, as a single one has few samples, and strays."""
    found: Found = {}
    n_held_out = min(len(fold.held_out) for fold in folds)
    seen = [fold.critic.scores_of_parts(fold.seen) for fold in folds]
    for name, part in folds[0].critic.parts.items():
        value = float(weights @ [fold.parts[name][0] for fold in folds])
        seen_value = float(weights @ [parts[name][0] for parts in seen])
        for fold in folds:
            critic = fold.critic.critics[name]
            found |= find_warnings(
                value,
                seen_value,
                min(n_held_out, MOST_NEGATIVES),
                critic.curve_,
                in_nats=measure.total_correlation,
                limit=_limit(critic, len(part), min(batch_size, n_held_out)),
            )
    return found


def _limit(critic: TrainedCritic, n_modalities: int, n_rows: int) -> float | None:
    """Largest value that the measure can take on batches of so many rows."""
    if not hasattr(critic.measure, "limit"):
        return None
    n_negatives = None if isinstance(critic.network_, MultilinearCritic) else EVALUATION_SETS
    return critic.measure.limit(n_rows, n_modalities, n_negatives)
