"""Label spreading beside the members of a committee: a classifier on a graph of all rows, with and without a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..utils._folds import Split
from ._distances import distances, squared_norms
from ._held_out import distinct_splits, internal_splits, out_of_fold, spread_of
from ._kernel_member import KERNELS_AT_ONCE, MIN_SHARE
from ._views import View

# Neighbours that a row is joined to, and the one whose distance is the scale of the row. Ties all count.
N_NEIGHBORS, SCALE_NEIGHBOR = 5, 7
# Share of a row's labels that comes from its neighbours.
ALPHA = 0.9
# Share of the classes' shares in all probabilities: labels of few neighbours are never sure.
PRIOR = 1e-3
# Smallest scale of a row, which copies surround, where one is the median distance.
MIN_SCALE = 1e-3


@dataclass(eq=False)
class SpreadingMember:
    r"""Label spreading [1]_ on the graph of the nearest neighbours of all rows, those without a label among them.

    .. math:: F = (I - \alpha D^{-1/2} W D^{-1/2})^{-1} Y, \quad
        W_{ij} = \exp\left(-\frac{d_{ij}^2}{s_i s_j}\right)

    for rows i and j of which one is among the five nearest of the other, and zero elsewhere; D is diagonal, the sums of
    W. The distance d is the mean over the modalities observed in both rows of their Euclidean distances, each by its
    median; s_i that of the seventh neighbour [2]_. Each class then has its share of the labels, as in [3]_.

    Parameters
    ----------
    loss : {"log_loss"}
        There is no regressor.
    n_classes : int
        Number of classes.

    Attributes
    ----------
    oof : array of shape (n_labelled, n_classes)
        Log-probabilities without the label of the row. NaN in rows that no split holds out. Where several do, the
        logarithm of mean probabilities.
    spread_labels : array of shape (n_samples, n_classes)
        Labels of all rows after spreading, as new rows read them from their neighbours: by the root of the neighbour's
        degree, as the graph is normalised.
    share : array of shape (n_classes,)
        Share of each class in the weight of the labels.

    References
    ----------
    .. [1] Zhou, Bousquet, Lal, Weston and Schoelkopf, "Learning with Local and Global Consistency", NIPS 2003.
    .. [2] Zelnik-Manor and Perona, "Self-Tuning Spectral Clustering", NIPS 2004.
    .. [3] Zhu, Ghahramani and Lafferty, "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions", ICML
       2003.
    """

    loss: str
    n_classes: int
    oof: np.ndarray = field(init=False)
    spread_labels: np.ndarray = field(init=False)
    share: np.ndarray = field(init=False)
    scale: np.ndarray = field(init=False)
    views: list[View] = field(init=False)
    spreads: list[np.ndarray] = field(init=False)
    squares: list[np.ndarray] = field(init=False)
    medians: list[float] = field(init=False)

    def fit(
        self,
        views: Sequence[View],
        y: np.ndarray,
        weight: np.ndarray | None = None,
        splits: Sequence[Split] = (),
        units: np.ndarray | None = None,
    ) -> SpreadingMember:
        """Spread all labels, and those of each split.

        Parameters
        ----------
        views : sequence of View
            Scaled features of each modality: those of the rows with a label, then those of all others.
        y : array of int of shape (n_labelled,)
            Indices of the classes.
        weight : array of shape (n_labelled,), default=None
            Weights of the labels. A row whose label weighs nothing is one without.
        splits : sequence of (trained on, held out)
            Rows with a label; without any, folds are made here.
        units : array of shape (n_labelled,), default=None
            Rows of one unit, a group or copies of a sample, are in one of those folds.
        """
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
        splits = distinct_splits(splits) or internal_splits(y, weight, units)
        everywhere = np.ones(len(views[0].columns))
        self.spreads = [spread_of(view.columns, everywhere) for view in views]
        self.views = self._scaled(views)
        self.squares = [squared_norms(view.columns) for view in self.views]
        self.medians = [_median(view) for view in self.views]
        distance = self._distances(self.views)
        np.fill_diagonal(distance, np.inf)  # no row is a neighbour of its own
        near, self.scale = _neighbors(distance)
        affinity = _affinity(distance, near | near.T, self.scale, self.scale)
        degree = affinity.sum(axis=1)
        degree[degree == 0] = 1
        root = np.sqrt(degree)

        affinity *= -ALPHA / root
        affinity /= root[:, None]
        affinity[np.diag_indices_from(affinity)] = 1
        factor = cho_factor(affinity.T, overwrite_a=True, check_finite=False)
        labels = np.zeros((len(root), self.n_classes))
        labels[np.arange(len(y)), y] = weight

        def solve(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Labels after those of some rows spread, and the shares of the classes in these."""
            known = np.zeros_like(labels)
            known[rows] = labels[rows]
            share = known.sum(axis=0) / max(known.sum(), np.finfo(float).tiny)
            spread = cho_solve(factor, known, check_finite=False)
            return spread * share / np.maximum(spread.sum(axis=0), np.finfo(float).tiny), share

        found = [solve(train) for train, _ in splits]
        log_p = [_log_p(spread[rows], share) for (spread, share), (_, rows) in zip(found, splits, strict=True)]
        self.oof = out_of_fold(splits, log_p, (len(y), self.n_classes), logarithms=True)
        spread, self.share = solve(np.arange(len(y)))
        self.spread_labels = spread / root[:, None]
        return self

    def outputs(self, views: Sequence[View]) -> np.ndarray:
        """Log-probabilities (n_samples, n_classes)."""
        scaled = self._scaled(views)
        n, size = len(views[0].columns), max(1, KERNELS_AT_ONCE // len(self.scale))
        values = np.empty((n, self.n_classes))
        for start in range(0, n, size):
            rows = slice(start, start + size)
            distance = self._distances([view.take(rows) for view in scaled])
            near, scale = _neighbors(distance)
            np.matmul(_affinity(distance, near, scale, self.scale), self.spread_labels, out=values[rows])
        return _log_p(values, self.share).astype(views[0].columns.dtype, copy=False)

    def _scaled(self, views: Sequence[View]) -> list[View]:
        return [View(view.columns / spread, view.seen) for view, spread in zip(views, self.spreads, strict=True)]

    def _distances(self, views: Sequence[View]) -> np.ndarray:
        """Mean distances (n, n_samples) from all rows of fit; infinite where no modality was observed in both."""
        total = np.zeros((len(views[0].columns), len(self.views[0].columns)))
        count = np.zeros_like(total)
        for view, own, squares, median in zip(views, self.views, self.squares, self.medians, strict=True):
            distance = distances(view.columns, own.columns, squares)
            distance /= median
            distance[np.isnan(distance)] = np.inf  # from values whose squares are out of range
            both = np.ones(1, dtype=bool) if view.seen is None else view.seen[:, None]
            if own.seen is not None:
                both = both & own.seen
            np.add(total, distance, out=total, where=both)
            count += both
        total[count == 0] = np.inf
        total /= np.maximum(count, 1)
        return total


def _median(view: View) -> float:
    """Median distance of the rows where a modality was observed, save copies; one where all are."""
    if view.seen is not None:
        view = view.take(view.seen)
    distance = distances(view.columns, view.columns, squared_norms(view.columns))
    distance = distance[(distance > 0) & (distance < np.inf)]
    return float(np.median(distance, overwrite_input=True)) if len(distance) else 1.0


def _neighbors(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which are the nearest of each row, bool (n, n_others), and what the scale (n,) of each is."""
    at = [min(k, distance.shape[1]) - 1 for k in (N_NEIGHBORS, SCALE_NEIGHBOR)]
    ordered = np.partition(distance, at, axis=1)[:, :SCALE_NEIGHBOR]
    ordered[ordered == np.inf] = -np.inf
    nearest, scale = ordered[:, :N_NEIGHBORS].max(axis=1), ordered.max(axis=1)
    return distance <= nearest[:, None], np.maximum(scale, MIN_SCALE)


def _affinity(distance: np.ndarray, joined: np.ndarray, scale: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Weights of the edges (n, n_others) between rows that are joined, from their distances and scales."""
    affinity = np.zeros_like(distance)
    rows, columns = np.nonzero(joined)
    found = distance[rows, columns]
    with np.errstate(over="ignore"):  # of rows far from all others
        affinity[rows, columns] = np.exp(-(found / scale[rows]) * (found / others[columns]))
    return affinity


def _log_p(spread: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Log-probabilities from labels after spreading; those of the shares in rows that no label reached."""
    share = np.maximum(share, MIN_SHARE)
    share = share / share.sum()
    total = spread.sum(axis=1, keepdims=True)
    reached = total > np.finfo(float).tiny
    p = np.where(reached, spread / np.where(reached, total, 1), share)
    return np.log((1 - PRIOR) * p + PRIOR * share)
