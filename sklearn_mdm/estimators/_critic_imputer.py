r"""Completing samples with training samples, weighted by what the critic says of the two together.

The critic behind ``dependency_score`` estimates the ratio of densities :math:`e^{s(z)} = p(z_1..z_m) / \prod_j p(z_j)`.
If a sample lacks the modalities S and has the modalities O, then

.. math:: p(z_S \mid z_O) \;\propto\; p(z_S) \, \frac{e^{s(z_O, z_S)}}{e^{s_S(z_S)}}, \qquad
          e^{s_S(z_S)} = E_{\prod_{j \in O} p(z_j)} \big[ e^{s(z_O, z_S)} \big]

where :math:`s_S` is the same log ratio for the modalities S alone: zero for a single one. Training samples are draws
from :math:`p(z_S)`, so these fractions are the weights of importance sampling.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from scipy.special import logsumexp, softmax

from ..critic._negatives import offset_indices
from ..dependency._density_ratio import TrainedCritic
from ..inputs._observed import Observed
from ..inputs._padding import pad_steps

# Training samples that are kept, of which all are weighted.
MAX_CANDIDATES = 256
# Of these, as many are drawn by their weights for each sample: a prediction each, however small the other weights are.
DRAWS = 64
# Where the draws begin in the cumulative weights. Even weights have their steps at multiples of 1 / MAX_CANDIDATES,
# where rounding would decide; this is none.
OFFSET = 0.381966
# Negatives of each candidate by which the dependency among several missing modalities is taken out.
PAIRINGS = 64
# Samples that are weighted, or completed, at a time.
SAMPLES_AT_ONCE = 32


class CriticImputer:
    """Complete training samples X, of representations z, that take the place of what a sample lacks.

    The critic is one of log density ratios; the seed is that of its negatives.
    """

    def __init__(self, critic: TrainedCritic, z: Sequence[np.ndarray], X: Observed, *, seed: int) -> None:
        self.critic = critic
        self.z = list(z)
        self.X = X
        self.seed = seed

    def evaluate(
        self,
        evaluate: Callable[[Observed], np.ndarray],
        represent: Callable[[Observed], list[np.ndarray]],
        X: Observed,
        average: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Outputs of the net (n, k), averaged over what a sample may be completed to.

        ``evaluate`` gives the outputs for samples that have every modality, ``represent`` the representations that the
        critic reads, and ``average`` averages outputs, given them, weights (n, 1) and where the run of a sample starts.
        """
        whole, lacking = np.flatnonzero(X.complete), np.flatnonzero(~X.complete)
        parts = [evaluate(X.take(whole))] if len(whole) else []
        X = X.take(lacking)
        rows, candidates, weights = self.draw(represent(X), X.rows)
        ends = np.searchsorted(rows, np.arange(0, len(lacking) + SAMPLES_AT_ONCE, SAMPLES_AT_ONCE))
        for start, end in itertools.pairwise(ends):
            pairs = slice(start, end)
            outputs = evaluate(self.complete(X, rows[pairs], candidates[pairs]))
            parts.append(average(outputs, weights[pairs, None], np.unique(rows[pairs], return_index=True)[1]))
        return np.concatenate(parts)[np.concatenate([whole, lacking]).argsort()]

    def draw(self, z: Sequence[np.ndarray], seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choose candidates for samples of which ``seen`` (n_samples, n_modalities) says what was observed.

        Returns pairs of samples, in their order, and candidates that complete them, with weights that add up to one for
        each sample. Representations z are arbitrary where a modality is missing.
        """
        weights = softmax(self.log_weights(z, seen), axis=1)
        counts = np.empty_like(weights)
        for pattern in np.unique(seen, axis=0):
            lacking, order = np.flatnonzero((seen == pattern).all(axis=1)), self._order(pattern)
            cumulative = weights[np.ix_(lacking, order)].cumsum(axis=1)
            cumulative[:, -1] = 1.0
            # Systematic resampling: of the points (i + OFFSET) / DRAWS, those that fall on each candidate.
            counts[np.ix_(lacking, order)] = np.diff(np.ceil(DRAWS * cumulative - OFFSET), axis=1, prepend=0.0)
        rows, candidates = np.nonzero(counts)
        return rows, candidates, counts[rows, candidates] / DRAWS

    def log_weights(self, z: Sequence[np.ndarray], seen: np.ndarray) -> np.ndarray:
        """Weights of all candidates for each sample, (n_samples, n_candidates), as logarithms up to a constant."""
        groups = [slice(start, start + SAMPLES_AT_ONCE) for start in range(0, len(seen), SAMPLES_AT_ONCE)]
        log_weights = np.concatenate([self._log_ratio([part[group] for part in z], seen[group]) for group in groups])
        for pattern in np.unique(seen, axis=0):
            if (~pattern).sum() > 1:
                log_weights[(seen == pattern).all(axis=1)] -= self._log_ratio_among_missing(pattern)
        return log_weights

    def _order(self, seen: np.ndarray) -> np.ndarray:
        """Put candidates in the order of the first principal component of the representations that are not in ``seen``.

        Draws at even distances then represent them all. In random order their average strays: by a tenth of the mean
        squared error, where independent modalities made all weights even.
        """
        z = np.concatenate([part for part, there in zip(self.z, seen, strict=True) if not there], axis=1)
        z = z - z.mean(axis=0)
        return (z @ np.linalg.svd(z, full_matrices=False)[2][0]).argsort(kind="stable")

    def _log_ratio(self, z: Sequence[np.ndarray], seen: np.ndarray) -> np.ndarray:
        """Log ratio of each sample completed with each candidate, (n_samples, n_candidates)."""
        n, n_candidates = len(seen), len(self.z[0])
        own = np.repeat(np.arange(n), n_candidates)
        candidate = n + np.tile(np.arange(n_candidates), n)
        index = np.where(np.repeat(seen, n_candidates, axis=0).T, own, candidate)
        both = [np.concatenate(pair) for pair in zip(z, self.z, strict=True)]
        return self.critic.log_ratio(both, index).reshape(n, n_candidates)

    def _log_ratio_among_missing(self, seen: np.ndarray) -> np.ndarray:
        """Log ratio of the modalities that are not in ``seen``, for each candidate."""
        n_candidates = len(self.z[0])
        generator = torch.Generator().manual_seed(self.seed)
        paired = offset_indices(n_candidates, 1 + int(seen.sum()), PAIRINGS, generator).numpy()
        index = np.empty((len(seen), paired.shape[1]), dtype=np.int64)
        index[~seen], index[seen] = paired[0], paired[1:]
        by_candidate = self.critic.log_ratio(self.z, index)[paired[0].argsort(kind="stable")]
        return logsumexp(by_candidate.reshape(n_candidates, PAIRINGS), axis=1) - np.log(PAIRINGS)

    def complete(self, X: Observed, rows: np.ndarray, candidates: np.ndarray) -> Observed:
        """Rows of X, with the missing modalities of the candidates.

        Sequences, which may end at different steps, are brought to one number of steps.
        """
        own, other = X.take(rows), self.X.take(candidates)
        n_steps = max(own.n_steps, other.n_steps)
        arrays: dict[Hashable, np.ndarray] = {}
        masks: dict[Hashable, np.ndarray | None] = {}
        cells: dict[Hashable, np.ndarray] = {}
        for j, name in enumerate(X.names):
            a, b, keep = own.arrays[name], other.arrays[name], own.rows[:, j, None]
            if a.ndim == 3:
                seen = [_padded_mask(part.arrays[name], part.masks[name], n_steps) for part in (own, other)]
                masks[name] = np.where(keep, *seen)
                a, b, keep = pad_steps(a, n_steps), pad_steps(b, n_steps), keep[..., None]
            else:
                masks[name] = None
            arrays[name] = np.where(keep, a, b)
            missing = [part.cells.get(name) for part in (own, other)]
            if any(each is not None for each in missing):
                cells[name] = np.where(keep, *(_padded_cells(each, arrays[name].shape) for each in missing))
        return Observed(arrays, masks, cells)


def _padded_mask(array: np.ndarray, mask: np.ndarray | None, n_steps: int) -> np.ndarray:
    mask = np.ones(array.shape[:2], dtype=bool) if mask is None else mask
    return np.pad(mask, ((0, 0), (0, n_steps - mask.shape[1])))


def _padded_cells(missing: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if missing is None:
        return np.zeros(shape, dtype=bool)
    return np.pad(missing, [(0, most - n) for most, n in zip(shape, missing.shape, strict=True)])


def weighted_means(values: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means of runs of rows, which begin at ``starts``; the weights (n, 1) of a run add up to one."""
    return np.add.reduceat(weights * values, starts)
