"""The dependency of single samples, and of samples put together from several, as a fitted estimator sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.base import BaseEstimator

from ..dependency._encoded_rows import RowRatio, row_ratios
from ..dependency._estimator import DependencyEstimator
from ..dependency._member_critics import readers
from ..estimators._dependency_mixin import DependencyMixin
from ..exceptions import SeenSamplesWarning
from ..utils._unwrap import final_estimator
from ..utils._warnings import warn_caller
from ._views import partners

# Rows that are read at a time.
ROWS_READ = 2048
# Most rows that are put together with each other. Of so many, shares are known to half a percentage point.
MAX_TOGETHER = 10_000
# Most negatives in a null: more would not make it any better known than these rows do.
MAX_NULL = 40_000
# Most members of a committee that say what a sample owes to a modality, as each is asked about every draw.
MOST_MEMBERS = 4

# Reads some of the complete samples, by their number, into what critics read: an array for each modality.
Take: TypeAlias = Callable[[np.ndarray], list[np.ndarray]]


class PointwiseRatio:
    """Estimated log density ratio of samples and of what is put together from them, as a fitted estimator sees it.

    Of X only the ``n`` samples that are ``complete`` have a value. They are read in blocks; many of them in single
    precision, where that is enough: values are known to ``precision`` nats.

    A committee speaks of a row of its fit by those members that held it out. What is put together from several rows
    counts as a variant of one of them, and is read by whoever reads that one.
    """

    def __init__(self, estimator: BaseEstimator, X: Any) -> None:
        self._estimator = estimator
        self._final, _ = final_estimator(estimator)
        self._critics = _critics_of(self._final)
        self._take, self.complete, self._held_out_by = self._read(X)
        self.names: list[Hashable] = list(self._final.modalities_)
        self.n = int(self.complete.sum())
        self._single = self.n > MAX_TOGETHER
        self.precision = 1e-4 if self._single else 1e-9

    def joint(self) -> np.ndarray:
        """Return the values of the complete samples of X: (n,)."""
        ratios, read = self._ratios()
        total = np.zeros(self.n)
        for rows, z in self._blocks():
            for ratio, own in _of_each(ratios, read[rows]):
                total[rows][own] += ratio.values(ratio.encode([part[own] for part in z]))
        return total / read.sum(1)

    def together(self, rows: np.ndarray, indices: Sequence[np.ndarray]) -> np.ndarray:
        """Return values of what is put together from these rows.

        Each index (n_modalities, n) holds, of n variants of the n rows, the place among ``rows`` that each modality is
        from. Returns values (n_indices, n).
        """
        z, (ratios, read) = self._take(rows), self._ratios()
        read, total = read[rows], np.zeros((len(indices), len(rows)))
        for ratio, own in _of_each(ratios, read):
            features = ratio.encode(z)
            for values, index in zip(total, indices, strict=True):
                values[own] += ratio.values(features, index[:, own])
        return total / read.sum(1)

    def attribution(self, others: list[np.ndarray]) -> np.ndarray:
        """Return how much values fall when a modality is from each of the others (n_others, k_j): (n, n_modalities)."""
        (ratios, read), m = self._ratios(MOST_MEMBERS), len(self.names)
        features = {ratio: ratio.encode(others) for ratio, _ in _of_each(ratios, read)}
        attribution, dtype = np.empty((self.n, m)), torch.float32 if self._single else torch.float64
        for rows, z in self._blocks():
            joint, redrawn = np.zeros(len(z[0])), torch.zeros(m, len(z[0]), len(others[0]), dtype=dtype)
            for ratio, own in _of_each(ratios, read[rows]):
                encoded = ratio.encode([part[own] for part in z])
                joint[own] += ratio.values(encoded)
                for j, values in enumerate(redrawn):
                    values[own] += torch.from_numpy(ratio.each(encoded, j, features[ratio]))
            n_readers = read[rows].sum(1)
            mean = torch.logsumexp(redrawn / torch.from_numpy(n_readers).to(dtype)[:, None], 2).numpy()
            attribution[rows] = (joint / n_readers - mean + np.log(len(others[0]))).T
        return attribution

    def null(self, n_negatives: int, random: np.random.RandomState) -> np.ndarray:
        """Return the values of so many negatives of each sample, or of fewer, of some of many: (n_sets, n_rows)."""
        rows = self.some(random)
        n_sets = min(n_negatives, -(-MAX_NULL // len(rows)))
        return self.together(rows, list(self.negatives(len(rows), n_sets, random)))

    def some(self, random: np.random.RandomState) -> np.ndarray:
        """Return the rows that are put together with each other: all of them, or a random part of many."""
        m = len(self.names)
        if self.n < m:
            raise ValueError(
                f"X has {self.n} samples with every modality observed, and at least {m} are needed to make "
                "negatives of them. Pass more samples."
            )
        return np.arange(self.n) if self.n <= MAX_TOGETHER else np.sort(random.permutation(self.n)[:MAX_TOGETHER])

    def redrawings(self, n: int, j: int, n_draws: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
        """Yield indices of n rows with modality j from other rows: (n_modalities, n)."""
        own = np.arange(n)
        for rows in partners(n, n_draws, random):
            yield np.stack([rows if i == j else own for i in range(len(self.names))])

    def negatives(self, n: int, n_negatives: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
        """Yield indices of n rows in which no two modalities belong together: (n_modalities, n)."""
        for _ in range(n_negatives):
            yield np.stack([np.arange(n), *partners(n, len(self.names) - 1, random)])

    def background(self, X: Any, n_draws: int, random: np.random.RandomState) -> list[np.ndarray]:
        """Return some complete samples of X, or of those that the estimator keeps: (n_draws, k_j) for each modality."""
        if X is None:
            if not hasattr(self._final, "_reference"):  # of an earlier version
                raise ValueError("the estimator keeps no samples to draw from. Pass a background, or fit it again.")
            return [part[:n_draws] for part in self._final._reference]
        take, complete, _ = self._read(X, new=False)
        if not complete.any():
            raise ValueError("no sample of the background has every modality observed: there is nothing to draw from.")
        return take(random.permutation(int(complete.sum()))[:n_draws])

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Put rows of complete samples where they are in X, with NaN for the others."""
        full = np.full((len(self.complete), *values.shape[1:]), np.nan)
        full[self.complete] = values
        return full

    def _ratios(self, most_members: int | None = None) -> tuple[list[RowRatio], np.ndarray]:
        """Return what reads samples, and which samples each reads, whose value is the mean: bool (n, n_ratios)."""
        ratios = [ratio for critic in self._critics for ratio in row_ratios(critic, single=self._single)]
        if self._held_out_by is None:
            return ratios, np.ones((self.n, len(ratios)), dtype=bool)
        return ratios, readers(self._held_out_by, most_members)

    def _blocks(self) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """Yield rows, and what critics read of them."""
        for start in range(0, self.n, ROWS_READ):
            rows = slice(start, min(start + ROWS_READ, self.n))
            yield rows, self._take(np.arange(rows.start, rows.stop))

    def _read(self, X: Any, *, new: bool = True) -> tuple[Take, np.ndarray, np.ndarray | None]:
        """Return what reads complete samples of X, which these are, and of a committee which members held them out.

        Samples that should be ``new``, and were trained on, are warned of.
        """
        final, (_, X) = self._final, final_estimator(self._estimator, X)
        if isinstance(final, DependencyMixin):
            observed = final._read_modalities(X).loaded()
            complete = np.flatnonzero(observed.complete)
            held_out_by = final._held_out_by(observed, complete).get("held_out_by") if new else None
            return lambda rows: final._represent(observed, complete[rows]), observed.complete, held_out_by
        arrays, is_complete = final._read(X)
        if new and (seen := int(final._seen.among(arrays).sum())):
            warn_caller(
                f"{seen} of {len(arrays[0])} samples were trained on in fit, and look more dependent than new ones. "
                "pointwise_ holds values of those that were not; with cv, of all.",
                SeenSamplesWarning,
            )
        return lambda rows: [a[rows] for a in arrays], is_complete, None


def _of_each(ratios: Sequence[RowRatio], read: np.ndarray) -> Iterator[tuple[RowRatio, np.ndarray]]:
    """Yield what reads any of the rows, by ``read`` (n_rows, n_ratios), and which rows it reads."""
    for ratio, own in zip(ratios, read.T, strict=True):
        if own.any():
            yield ratio, np.flatnonzero(own)


def _critics_of(final: BaseEstimator) -> Sequence[Any]:
    """Critics, whose mean is the value of a sample."""
    if isinstance(final, DependencyMixin):
        return [final._critic()]
    if isinstance(final, DependencyEstimator):
        final._check_pointwise()
        return final.critics_
    raise TypeError(
        f"{type(final).__name__} says nothing about the dependency of samples. Pass a fitted MDMFusionClassifier, "
        "MDMFusionRegressor or DependencyEstimator, or a pipeline or search around one."
    )
