r"""Completing samples with training samples, drawn by what the critic says of the two together.

The critic behind ``dependency_score`` estimates the ratio of densities :math:`e^{s(z)} = p(z_1..z_m) / \prod_j p(z_j)`.
If a sample lacks the modalities S and has the modalities O, then

.. math:: p(z_S \mid z_O) \;\propto\; p(z_S) \, \frac{e^{s(z_O, z_S)}}{e^{s_S(z_S)}}, \qquad
          e^{s_S(z_S)} = E_{\prod_{j \in O} p(z_j)} \big[ e^{s(z_O, z_S)} \big]

where :math:`s_S` is the same log ratio for the modalities S alone: zero for a single one. Training samples are draws
from :math:`p(z_S)`, so these fractions are the weights of importance sampling.

What is drawn is the number of a training sample: every member of a committee then reads its own representations of it.
Members draw by turns, so that together they see many samples, each of them few.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy.linalg import eigh
from scipy.special import logsumexp, softmax

from ..dependency._density_ratio import TrainedCritic
from ..inputs._observed import Observed
from ..inputs._padding import pad_steps

# Training samples that are kept, of which all are weighted.
MAX_CANDIDATES = 256
# Of these, as many are drawn by their weights for each sample: by all members together, and at least and most by each.
DRAWS, FEWEST, MOST = 24, 3, 16
# Members whose critics are asked: they judge alike, and what they are asked takes as long as a prediction.
JUDGES = 3
# Where the draws begin in the cumulative weights. Even weights have their steps at multiples of 1 / MAX_CANDIDATES,
# where rounding would decide; this is none.
OFFSET = 0.381966
# Samples that are completed at a time.
SAMPLES_AT_ONCE = 1024
# Patterns of missing modalities of which is kept what critics make of the candidates, and most numbers of each. For a
# few rows, it takes half as long as all the rest of a prediction.
MAX_KEPT, MAX_NUMBERS_KEPT = 8, 2**18


def check_imputer(estimator: Any, complete: np.ndarray) -> None:
    """Reject samples that lack a modality, where nothing was fitted to complete them with."""
    if not hasattr(estimator, "imputer_") and not complete.all():
        raise ValueError(
            f"{int((~complete).sum())} of {len(complete)} samples lack a modality, and there is no critic, or no "
            'training sample, for missing="critic" to complete them with. fit provides both with this setting, '
            "lam > 0 and enough samples that have every modality; partial_fit never does. Call fit_dependency(X) "
            'with training data first, or set_params(missing="auto"), which then takes the mean.'
        )


class CriticImputer:
    """Complete training samples whose parts take the place of what a sample lacks.

    Each member has a critic. The representations z, (n, n_members * k_j) a modality, are those of all members side by
    side. X holds the samples themselves, where representations are not enough to predict from.
    """

    def __init__(self, critics: Sequence[TrainedCritic], z: Sequence[np.ndarray], X: Observed | None = None) -> None:
        self.critics = list(critics)
        self.z = list(z)
        self.X = X

    def patterns(self, seen: np.ndarray, members: Sequence[int]) -> Iterator[tuple[np.ndarray, Completion]]:
        """Samples that lack the same modalities, and what completes them for these members.

        ``seen`` (n_samples, n_modalities) says what was observed.
        """
        for pattern in np.unique(seen, axis=0):
            yield np.flatnonzero((seen == pattern).all(axis=1)), self._completion(pattern, members)

    def _completion(self, seen: np.ndarray, members: Sequence[int]) -> Completion:
        """What completes samples of one pattern; that of all members, which predictions ask for, is kept if small."""
        if list(members) != list(range(len(self.critics))):
            return Completion(self, seen, members)
        kept, pattern = _completions.setdefault(self, {}), seen.tobytes()
        found = kept.get(pattern)
        if found is None:
            found = Completion(self, seen, members)
            if len(kept) < MAX_KEPT and found.size <= MAX_NUMBERS_KEPT:
                kept[pattern] = found
        return found


class Completion:
    """Completes samples that lack the same modalities, for some members of which the representations are side by side.

    What is drawn is in the order of the samples; weights (n, 1) and where the run of each sample starts come with it.
    """

    def __init__(self, imputer: CriticImputer, seen: np.ndarray, members: Sequence[int]) -> None:
        self.X = imputer.X  # not the imputer itself, which would never be let go
        self.seen = seen
        self.kept = np.flatnonzero(seen).tolist()
        self.members = list(members)
        # (n_candidates, n_members, k_j) a modality
        self.z = [part.reshape(len(part), len(imputer.critics), -1)[:, self.members] for part in imputer.z]
        self.order = _order(np.concatenate([self.z[j][:, 0] for j in np.flatnonzero(~seen)], axis=1))
        self.judges = []
        n_judges = min(JUDGES, len(self.members))
        for place in (len(self.members) * i // n_judges for i in range(n_judges)):  # of all groups of members
            critic = imputer.critics[self.members[place]]
            z = [part[self.order, place] for part in self.z]
            candidates = critic.encode(z, np.flatnonzero(~seen).tolist())
            among_missing = np.zeros(len(self.order))
            if (~seen).sum() > 1:
                every = critic.log_ratio_each(critic.encode(z, self.kept), candidates)
                np.fill_diagonal(every, -np.inf)
                # The log ratio of the missing ones alone: a mean over what others were observed with.
                among_missing = logsumexp(every, axis=0) - np.log(max(len(every) - 1, 1))
            self.judges.append((critic, place, candidates, among_missing))
        self.size = sum(part.numel() for judge in self.judges for features in judge[2] for part in features)

    def representations(self, z: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Complete representations z (n_samples, n_members * k_j), each member its own draws."""
        n, n_members = len(z[0]), len(self.members)
        n_draws = min(max(FEWEST, DRAWS // n_members), MOST)
        drawn = self.choose(z, n_draws * n_members).reshape(n * n_draws, n_members)
        # Of the draws in their order, a member takes an early one of the first few, a late one of others.
        turns = np.arange(n_members) + n_members // n_draws * np.arange(n_draws)[:, None]
        drawn = np.take_along_axis(drawn, np.tile(turns % n_members, (n, 1)), axis=1)
        completed = [
            np.repeat(part, n_draws, axis=0) if there else own[drawn, np.arange(n_members)].reshape(n * n_draws, -1)
            for part, own, there in zip(z, self.z, self.seen, strict=True)
        ]
        return completed, np.full((n * n_draws, 1), 1 / n_draws), np.arange(0, n * n_draws, n_draws)

    def samples(self, z: Sequence[np.ndarray], X: Observed) -> tuple[Observed, np.ndarray, np.ndarray]:
        """Complete samples X, of representations z: all members read the same, and none twice."""
        n, n_candidates = len(X), len(self.order)
        drawn = np.arange(n)[:, None] * n_candidates + self.choose(z, MOST)
        found, counts = np.unique(drawn, return_counts=True)
        rows, candidates = np.divmod(found, n_candidates)
        starts = np.searchsorted(rows, np.arange(n))
        assert self.X is not None
        return complete(X, rows, self.X, candidates), counts[:, None] / MOST, starts

    def choose(self, z: Sequence[np.ndarray], n_draws: int) -> np.ndarray:
        """Draw candidates by their weights, (n_samples, n_draws), in their order."""
        cumulative = softmax(self.log_weights(z), axis=1).cumsum(axis=1)
        cumulative[:, -1] = 1.0
        # Systematic resampling: of the points (i + OFFSET) / n_draws, those that fall on each candidate.
        ends = np.ceil(n_draws * cumulative - OFFSET).astype(np.intp)
        counts = np.diff(ends, axis=1, prepend=0)
        return np.repeat(np.tile(self.order, len(ends)), counts.ravel()).reshape(len(ends), n_draws)

    def log_weights(self, z: Sequence[np.ndarray]) -> np.ndarray:
        """Weights of all candidates in their order, (n_samples, n_candidates), as logarithms up to a constant.

        Representations z, (n_samples, n_members * k_j), are arbitrary where a modality is missing.
        """
        ratios = []
        for critic, place, candidates, among_missing in self.judges:
            own = critic.encode([np.split(part, len(self.members), axis=1)[place] for part in z], self.kept)
            ratios.append(critic.log_ratio_each(own, candidates) - among_missing)
        return np.mean(ratios, axis=0)


# Beside the imputers, of which it is no part that is pickled.
_completions: WeakKeyDictionary[CriticImputer, dict[bytes, Completion]] = WeakKeyDictionary()


def _order(z: np.ndarray) -> np.ndarray:
    """Put candidates in the order of the first principal component of the representations that a sample lacks.

    Draws at even distances then represent them all. In random order their average strays: by a tenth of the mean
    squared error, where independent modalities made all weights even.
    """
    z = z - z.mean(axis=0)
    z = np.ldexp(z, -np.frexp(np.abs(z).max(initial=0))[1])  # squares of huge ones would be no numbers
    last = z.shape[1] - 1
    return (z @ eigh(z.T @ z, subset_by_index=[last, last])[1][:, 0]).argsort(kind="stable")


def complete(X: Observed, rows: np.ndarray, others: Observed, candidates: np.ndarray) -> Observed:
    """Rows of X, with the missing modalities of those candidates among the others.

    Sequences, which may end at different steps, are brought to one number of steps.
    """
    own, other = X.take(rows), others.take(candidates)
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
