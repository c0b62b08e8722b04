"""Several weights of the dependency term in one fit: the candidates, the choice among them, and its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from ._members import Part
from ._samples import Samples

# What lam="auto" is where nothing tells the candidates apart: too few samples, or none held out.
DEFAULT_LAM = 0.03
# What it tries.
AUTO_LAMS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
# The same where some samples lack a label.
DEFAULT_LAM_UNLABELLED, AUTO_LAMS_UNLABELLED = 1.0, (0.0, 0.3, 1.0)
# What agreement="auto" is where there is no choice, and what it tries.
DEFAULT_AGREEMENT, AUTO_AGREEMENTS = 1.0, (0.0, 1.0)
# Held-out samples, of the rarest class or of a regressor, below which a choice follows chance.
MIN_SAMPLES_PER_CLASS, MIN_SAMPLES = 5, 50


class Candidate(NamedTuple):
    """Settings of a net that are tried side by side with others; they are compared, and preferred, in their order."""

    lam: float
    agreement: float = 0.0


def candidates_of(lam: Any, agreement: Any = None) -> list[Candidate]:
    """Return the candidates that ``lam`` and ``agreement`` stand for, ascending.

    ``agreement`` is None where every sample has a label.

    Raises
    ------
    ValueError
        If a sequence is empty, or holds anything but finite numbers that are not negative.
    """
    if isinstance(lam, Real):
        return [Candidate(float(lam), _default_agreement(agreement))]
    if isinstance(lam, str):
        return _with_agreement(AUTO_LAMS if agreement is None else AUTO_LAMS_UNLABELLED, agreement)
    values = list(lam)
    if not values:
        raise ValueError('lam is an empty sequence. Pass a number, one number or more in a sequence, or "auto".')
    bad = [value for value in values if not isinstance(value, Real) or not 0 <= float(value) < np.inf]
    if bad:
        raise ValueError(f"lam must hold finite numbers >= 0 where it is a sequence, got {bad} among {values}.")
    return _with_agreement(sorted({float(value) for value in values}), agreement)


def wanted_candidates(
    estimator: Any, samples: Samples, parts: list[Part], *, reset: bool, streamed: bool
) -> list[Candidate]:
    """What an estimator trains side by side, to choose from; one where nothing is there to choose by."""
    if not reset and not isinstance(estimator.lam, Real):
        agreement = candidates_of(0.0, estimator._agreement)[0].agreement
        if estimator._agreement == "auto":
            agreement = getattr(estimator, "_last_agreement", agreement)
        return [Candidate(estimator.lam_, agreement)]  # those that were chosen
    candidates = candidates_of(estimator.lam, estimator._agreement)
    if len(candidates) == 1:
        return candidates
    if len(estimator.modalities_) == 1:
        return candidates[:1]
    held_out = estimator._compared(samples, parts)
    n_classes = estimator._n_net_outputs() if is_classifier(estimator) else None
    if streamed or held_out is None or not can_choose(held_out.y, n_classes):
        return [default_of(estimator.lam, estimator._agreement)]
    return candidates


def _with_agreement(lams: Sequence[float], agreement: Any) -> list[Candidate]:
    if len(lams) > 1 and agreement == "auto":
        return [Candidate(lam, weight) for lam in lams for weight in AUTO_AGREEMENTS]
    return [Candidate(lam, _default_agreement(agreement)) for lam in lams]


def _default_agreement(agreement: Any) -> float:
    if agreement is None:
        return 0.0
    return DEFAULT_AGREEMENT if agreement == "auto" else float(agreement)


def default_of(lam: Any, agreement: Any = None) -> Candidate:
    """Return what is taken without a choice: the default, or of a user's own candidates the last that is no larger."""
    default, weight = DEFAULT_LAM if agreement is None else DEFAULT_LAM_UNLABELLED, _default_agreement(agreement)
    if isinstance(lam, str):
        return Candidate(default, weight)
    lams = [candidate.lam for candidate in candidates_of(lam)]
    return Candidate(max((value for value in lams if value <= default), default=lams[0]), weight)


def can_choose(y: np.ndarray, n_classes: int | None) -> bool:
    """Whether held-out samples with these targets are enough; a regressor has no classes."""
    if n_classes is None:
        return len(y) >= MIN_SAMPLES
    return int(np.bincount(y, minlength=n_classes).min()) >= MIN_SAMPLES_PER_CLASS


@dataclass(frozen=True)
class Comparison:
    """Losses of candidates on held-out samples.

    Parameters
    ----------
    loss : array of shape (n_candidates,)
        Means; infinite where a candidate has samples without a finite loss.
    error : array of shape (n_candidates,)
        Standard errors of the differences to the best.
    chosen : int
        The first that is not worse than the best by more than one of them.
    """

    loss: np.ndarray
    error: np.ndarray
    chosen: int


def compare(losses: np.ndarray, weight: np.ndarray | None = None, units: np.ndarray | None = None) -> Comparison | None:
    """Compare candidates by their losses on the same samples; None where no sample has any.

    Parameters
    ----------
    losses : array of shape (n_candidates, n_samples)
        NaN in samples that no candidate has a loss for.
    weight : array of shape (n_samples,), default=None
        Weights of the samples.
    units : array of shape (n_samples,), default=None
        Which samples belong together, such as those of a patient: their sums are what is independent.
    """
    known = np.isfinite(losses).any(axis=0)
    if weight is not None:
        known &= weight > 0
    if not known.any():
        return None
    losses = losses[:, known]
    share = np.ones(losses.shape[1]) if weight is None else weight[known]
    share = share / share.sum()
    unit = np.arange(len(share)) if units is None else np.unique(units[known], return_inverse=True)[1]
    with np.errstate(invalid="ignore"):
        means = losses @ share
    means[~np.isfinite(means)] = np.inf
    best = int(np.argmin(means))
    errors = np.full(len(losses), np.nan)
    n_units = unit.max() + 1
    for k in np.flatnonzero(np.isfinite(means)) if n_units > 1 else ():
        deviation = losses[k] - losses[best] - (means[k] - means[best])
        of_units = np.bincount(unit, share * deviation)
        errors[k] = np.sqrt(n_units / (n_units - 1) * np.sum(of_units**2))
    errors[best] = 0.0
    with np.errstate(invalid="ignore"):
        not_worse = means - means[best] <= errors
    not_worse[best] = True
    return Comparison(means, errors, int(np.argmax(not_worse)))


def path_frame(
    candidates: Sequence[Candidate], found: Comparison, dependency: Sequence[tuple[float, float]]
) -> pd.DataFrame:
    """Return ``lam_path_``: a row for each candidate, whose dependency has a mean and a standard deviation."""
    means, stds = np.transpose(np.asarray(dependency, dtype=float))
    return pd.DataFrame(
        {
            **{
                name: [getattr(candidate, name) for candidate in candidates]
                for name in Candidate._fields
                if name == "lam" or any(candidate.agreement for candidate in candidates)
            },
            "loss": found.loss,
            "loss_se": found.error,
            "dependency": means,
            "dependency_std": stds,
            "chosen": np.arange(len(candidates)) == found.chosen,
        }
    )
