"""The dependency of single samples and of negatives made of them, as a fitted estimator sees it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator

from ..dependency._decomposition import SummedCritic
from ..dependency._density_ratio import TrainedCritic
from ..dependency._estimator import DependencyEstimator
from ..dependency._member_critics import MemberCritics
from ..estimators._dependency_mixin import DependencyMixin
from ..exceptions import SeenSamplesWarning
from ..utils._unwrap import final_estimator
from ..utils._warnings import warn_caller
from ._views import partners

# Most rows that a critic reads at once, unless the samples alone are more.
MAX_ROWS = 65_536

# Reads X into what critics read, an array for each modality of the complete samples, and says which those are.
Read: TypeAlias = Callable[[Any], tuple[list[np.ndarray], np.ndarray]]


class PointwiseCritic(Protocol):
    """Anything that gives samples a log density ratio."""

    def pointwise(self, z: list[np.ndarray]) -> np.ndarray:
        """Return the log density ratio of each row, in nats: (n,)."""


class PointwiseRatio:
    """Estimated log density ratio of samples and of negatives, as a fitted estimator sees it.

    Modalities of the samples of X may be replaced by those of other samples of X, or of the background if there is one.
    The ``n`` samples of X that are ``complete`` have a value; those of the background are numbered from n on.
    """

    def __init__(self, estimator: BaseEstimator, X: Any, background: Any = None) -> None:
        final, read, critics = _find_critics(estimator)
        z, self.complete = read(X)
        self.names: list[Hashable] = list(final.modalities_)
        self.n, self.n_background = int(self.complete.sum()), 0
        if isinstance(final, DependencyEstimator) and (seen := int(final._seen.among(z).sum())):
            warn_caller(
                f"{seen} of {self.n} samples were trained on in fit, and look more dependent than new ones. pointwise_ "
                "holds values of those that were not; with cv, of all.",
                SeenSamplesWarning,
            )
        if background is not None:
            more, complete = read(background)
            z, self.n_background = [np.concatenate(pair) for pair in zip(z, more, strict=True)], int(complete.sum())
        self._critics = [_innermost(critic, z) for critic in critics]

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Return the log density ratio in nats of samples that have modality j from row ``index[j, i]``: (n,)."""
        if not index.shape[1]:
            return np.empty(0)
        return np.mean([_pointwise(critic, z, index) for critic, z in self._critics], axis=0)

    def joint(self) -> np.ndarray:
        """Return the values of the complete samples of X: (n,)."""
        return self(np.tile(np.arange(self.n), (len(self.names), 1)))

    def each(self, indices: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the values of each of several indices (n_modalities, n): several at once, as encoding costs most."""
        indices = iter(indices)
        while group := list(itertools.islice(indices, max(1, MAX_ROWS // max(self.n, 1)))):
            yield from self(np.hstack(group)).reshape(len(group), -1)

    def redrawings(self, j: int, n_draws: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
        """Yield indices with modality j from other samples, of the background if there is one: (n_modalities, n)."""
        if self.n_background:
            draws = _background_rows(self.n, self.n_background, n_draws, random)
        else:
            self.check_enough(2)
            draws = partners(self.n, n_draws, random)
        own = np.arange(self.n)
        return (np.stack([rows if i == j else own for i in range(len(self.names))]) for rows in draws)

    def negatives(self, n_negatives: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
        """Yield indices in which no two modalities belong together: (n_modalities, n)."""
        m = len(self.names)
        self.check_enough(m)
        return (np.stack([np.arange(self.n), *partners(self.n, m - 1, random)]) for _ in range(n_negatives))

    def null(self, n_negatives: int, random: np.random.RandomState) -> np.ndarray:
        """Return the values of negatives: (n_negatives, n)."""
        return np.array(list(self.each(self.negatives(n_negatives, random))))

    def check_enough(self, fewest: int) -> None:
        """Reject X if it has fewer complete samples than these, from which others can be drawn."""
        if self.n < fewest:
            raise ValueError(
                f"X has {self.n} samples with every modality observed, and at least {fewest} are needed to make "
                "negatives of them. Pass more samples."
            )

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Put rows of complete samples where they are in X, with NaN for the others."""
        full = np.full((len(self.complete), *values.shape[1:]), np.nan)
        full[self.complete] = values
        return full


def _find_critics(estimator: BaseEstimator) -> tuple[BaseEstimator, Read, Sequence[PointwiseCritic]]:
    """Return the estimator that has critics, a function that reads X into what they read, and the critics."""
    final, _ = final_estimator(estimator)
    if isinstance(final, DependencyMixin):
        return final, lambda X: final._represent_complete(final_estimator(estimator, X)[1]), [final._critic()]
    if isinstance(final, DependencyEstimator):
        final._check_pointwise()
        return final, lambda X: final._read(final_estimator(estimator, X)[1]), final.critics_
    raise TypeError(
        f"{type(final).__name__} says nothing about the dependency of samples. Pass a fitted MDMFusionClassifier, "
        "MDMFusionRegressor or DependencyEstimator, or a pipeline or search around one."
    )


def _innermost(critic: PointwiseCritic, z: list[np.ndarray]) -> tuple[PointwiseCritic, list[np.ndarray]]:
    """Return what is inside a sum of a single critic that reads the modalities one by one, and what it reads."""
    if isinstance(critic, SummedCritic) and len(critic.critics) == 1:
        ((inner, inner_z),) = critic.each(z)
        if isinstance(inner, TrainedCritic):
            return inner, inner_z
    return critic, z


def _pointwise(critic: PointwiseCritic, z: list[np.ndarray], index: np.ndarray) -> np.ndarray:
    if isinstance(critic, TrainedCritic | MemberCritics):  # which encode each row once
        return critic.log_ratio(z, index) - critic.log_normalizer_
    return critic.pointwise([values[rows] for values, rows in zip(z, index, strict=True)])


def _background_rows(n: int, n_background: int, n_draws: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
    """Yield a background row for each of n samples, none of which gets the same one twice."""
    order, start = n + random.permutation(n_background), random.randint(n_background, size=n)
    for offset in random.permutation(n_background)[:n_draws]:
        yield order[(start + offset) % n_background]
