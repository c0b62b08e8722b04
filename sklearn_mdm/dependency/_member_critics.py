"""The critics of several members of one estimator, whose mean is reported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..utils._statistics import standard_error
from ._density_ratio import TrainedCritic


class MemberCritics:
    """Mean log density ratio of critics that read each their own columns of the representations.

    What they read lies side by side: an array (n_samples, n_members * k_j) for each modality j, whose first k_j columns
    are the first member's. Their measure is one of total correlation whose critic estimates log density ratios.
    """

    # The members' own are part of :meth:`log_ratio`.
    log_normalizer_ = 0.0

    def __init__(self, critics: Sequence[TrainedCritic]) -> None:
        self.critics = list(critics)

    def pointwise(self, representations: Sequence[np.ndarray], held_out_by: np.ndarray | None = None) -> np.ndarray:
        """Estimated log density ratio of each row, in nats; a row's value does not depend on the other rows.

        Parameters
        ----------
        representations : sequence of arrays of shape (n_samples, n_members * k_j)
            One per modality.
        held_out_by : array of bool of shape (n_samples, n_members), default=None
            Members that were not trained on a row, whose mean its value is; of all if there is none.

        Returns
        -------
        values : array of shape (n_samples,)
        """
        return self._pointwise([representations], held_out_by)[0]

    def score(
        self,
        representations: Sequence[np.ndarray],
        groups: np.ndarray | None = None,
        held_out_by: np.ndarray | None = None,
    ) -> tuple[float, float]:
        """Mean of :meth:`pointwise`, and its standard error, for which groups are independent units.

        Members err together, as they read the same rows: the error of the normaliser is the mean of theirs. Where they
        took it from a part of the rows, each from another, that share of it is their own.
        """
        return self.score_of_parts([representations], groups, held_out_by)

    def score_of_parts(
        self,
        parts: Iterable[Sequence[np.ndarray]],
        groups: np.ndarray | None = None,
        held_out_by: np.ndarray | None = None,
    ) -> tuple[float, float]:
        """Return :meth:`score` of representations that come in parts, one below the other."""
        values, looked_for = self._pointwise(parts, held_out_by)
        stds, shares = np.transpose([(c.log_normalizer_std_, c.normalized_share_) for c in self.critics])
        own = math.sqrt((stds**2 * (1 - shares)).sum()) / len(stds)
        normalizer_std = math.hypot(float((stds * np.sqrt(shares)).mean()), own)
        return float(values.mean()), math.hypot(standard_error(looked_for, groups), normalizer_std)

    def log_ratio(self, representations: Sequence[np.ndarray], index: np.ndarray | None = None) -> np.ndarray:
        """Log density ratio of each row, or of each sample that an index puts together, (n,).

        See :meth:`TrainedCritic.log_ratio`; here it is normalised, member by member.
        """
        each = zip(self.critics, self._columns(representations), strict=True)
        return np.mean([critic.log_ratio(z, index) - critic.log_normalizer_ for critic, z in each], axis=0)

    def _columns(self, representations: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Representations that each member reads."""
        parts = [np.split(z, len(self.critics), axis=1) for z in representations]
        return [list(own) for own in zip(*parts, strict=True)]

    def _pointwise(
        self, parts: Iterable[Sequence[np.ndarray]], held_out_by: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of :meth:`pointwise`, and numbers whose spread says how well the mean of these is known."""
        n, n_members = 0, len(self.critics)
        read: list[np.ndarray] = []  # by which members, in each part
        found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in self.critics]
        for z in parts:
            own = slice(n, n + len(z[0]))
            n += len(z[0])
            read.append(np.ones((len(z[0]), n_members), bool) if held_out_by is None else readers(held_out_by[own]))
            for k, (critic, columns, rows) in enumerate(zip(self.critics, self._columns(z), read[-1].T, strict=True)):
                if rows.any():
                    chosen = [part[rows] for part in columns]
                    values = critic.pointwise(chosen)
                    found[k].append((values, critic.looked_for(chosen, values)))
        by = np.concatenate(read)
        total = np.zeros((2, n))
        for pairs, rows in zip(found, by.T, strict=True):
            if pairs:
                values, looked_for = (np.concatenate(each) for each in zip(*pairs, strict=True))
                total[0, rows] += values
                total[1, rows] += looked_for - looked_for.mean() + values.mean()
        mean, spread = total / by.sum(1)
        return mean, spread


def readers(held_out_by: np.ndarray, most: int | None = None) -> np.ndarray:
    """Members whose mean is the value of a row, bool (n_samples, n_members): those that held it out; all if none did.

    With ``most``, no more than so many of them, at even distances.
    """
    read = held_out_by | ~held_out_by.any(1, keepdims=True)
    if most is None:
        return read
    number, n = read.cumsum(1) - 1, read.sum(1, keepdims=True)
    # Of n, those of the numbers floor(i * n / most): i is the first that may be, and is if it does not reach the next.
    return read & (-(-number * most // n) * n < (number + 1) * most)
