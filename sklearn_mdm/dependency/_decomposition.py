"""Total correlation as a sum: which parts it has, and one critic for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from ..utils._blocks import in_blocks
from ._density_ratio import TrainedCritic
from ._normal_scores import NormalScores
from ._permutation import MAX_TEST_ROWS_OF_PARTS, draw_permutations

Decomposition: TypeAlias = Literal["line", "tree"]
Group: TypeAlias = tuple[int, ...]


def parts_of(n_modalities: int, decomposition: Decomposition | None) -> list[tuple[Group, ...]]:
    """Groups of modalities whose dependencies add up to the total correlation; a group holds positions.

    "line": each modality with all before it; "tree": halves, recursively; None: all at once.
    """
    everything = tuple(range(n_modalities))
    if decomposition is None:
        return [tuple((j,) for j in everything)]
    if decomposition == "line":
        return [(everything[:j], (j,)) for j in everything[1:]]
    return _halves(everything)


def _halves(group: Group) -> list[tuple[Group, ...]]:
    if len(group) < 2:
        return []
    left, right = group[: (len(group) + 1) // 2], group[(len(group) + 1) // 2 :]
    return [*_halves(left), *_halves(right), (left, right)]


def part_name(part: tuple[Group, ...], names: Sequence[Hashable]) -> str:
    """Return for example "audio, visual; text"."""
    return "; ".join(", ".join(str(names[j]) for j in group) for group in part)


class SummedCritic:
    """One critic per part of the total, on columns that may be ranked first. Values of the parts add up."""

    def __init__(
        self,
        make_critic: Callable[[], TrainedCritic],
        names: Sequence[Hashable],
        decomposition: Decomposition | None,
        *,
        rank: bool,
    ) -> None:
        self.parts = {part_name(part, names): part for part in parts_of(len(names), decomposition)}
        self.critics = {name: make_critic() for name in self.parts}
        self.scores = NormalScores() if rank else None

    def fit(self, arrays: Sequence[np.ndarray], validation: np.ndarray) -> SummedCritic:
        """Train and calibrate the critics; see :meth:`TrainedCritic.fit`."""
        if self.scores is not None:
            self.scores.fit(arrays)
        for critic, representations in self.each(arrays):
            critic.fit(representations, validation)
        return self

    def each(self, arrays: Sequence[np.ndarray]) -> list[tuple[TrainedCritic, list[np.ndarray]]]:
        """Each critic with what it reads of the modalities."""
        if self.scores is not None:
            arrays = self.scores.transform(arrays)
        return [
            (self.critics[name], [np.concatenate([arrays[j] for j in group], axis=1) for group in part])
            for name, part in self.parts.items()
        ]

    def normalize(self, arrays: Sequence[np.ndarray], groups: np.ndarray | None = None) -> SummedCritic:
        """Take the normalisers from these rows."""
        for critic, representations in self.each(arrays):
            critic.normalize(representations, groups)
        return self

    def pointwise(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Log ratio of each row in nats."""
        return in_blocks(lambda some: np.sum([critic.pointwise(z) for critic, z in self.each(some)], axis=0), arrays)

    def scores_of_parts(
        self, arrays: Sequence[np.ndarray], groups: np.ndarray | None = None
    ) -> dict[str, tuple[float, float]]:
        """Value and standard error of each part."""
        found = zip(self.parts, self.each(arrays), strict=True)
        return {name: critic.score(representations, groups) for name, (critic, representations) in found}

    def score(self, arrays: Sequence[np.ndarray]) -> float:
        """Value of the total."""
        return math.fsum(value for value, _ in self.scores_of_parts(arrays).values())

    def permutation_means(self, arrays: Sequence[np.ndarray], n_permutations: int, seed: int) -> np.ndarray:
        """Mean log ratio of rows, then of permutations of their modalities, (1 + n_permutations,)."""
        ((critic, representations), *others) = self.each(arrays)
        if not others:
            return critic.permutation_means(representations, n_permutations, seed)
        rows, orders = draw_permutations(len(arrays[0]), len(arrays), n_permutations, seed, MAX_TEST_ROWS_OF_PARTS)
        return np.array([self._mean([a[rows[j]] for a, j in zip(arrays, order, strict=True)]) for order in orders])

    def _mean(self, arrays: Sequence[np.ndarray]) -> float:
        return math.fsum(critic.evidence(z).mean() for critic, z in self.each(arrays))
