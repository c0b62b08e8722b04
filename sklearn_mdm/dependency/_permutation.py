"""A test of independence: the mean log ratio of samples among those after their modalities are permuted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Rows that a test looks at, which bounds its time: with one critic, and with one per part of a decomposition, each of
# which encodes every permutation anew.
MAX_TEST_ROWS = 2000
MAX_TEST_ROWS_OF_PARTS = 500


class PermutationTest(NamedTuple):
    """Result of :meth:`sklearn_mdm.DependencyEstimator.permutation_test`.

    Parameters
    ----------
    statistic : float
        Mean log ratio of the samples.
    pvalue : float
        Share of the permutations, the samples as they are counted as one, whose mean is at least as large.
    null_distribution : array of shape (n_permutations,)
        Mean log ratio of each permutation.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import DependencyEstimator
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(200, 1)), "b": rng.normal(size=(200, 1))}
    >>> test = DependencyEstimator(max_updates=50, random_state=0).fit(X).permutation_test(X)
    >>> test.pvalue > 0.05
    True
    """

    statistic: float
    pvalue: float
    null_distribution: np.ndarray


def draw_permutations(
    n_samples: int, n_modalities: int, n_permutations: int, seed: int, max_rows: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows that a test looks at, and (n_modalities, n_rows) indices into them: as they are, then permuted."""
    random = np.random.default_rng(seed)
    rows = random.permutation(n_samples)[:max_rows]
    own = np.arange(len(rows))
    permuted = [
        np.stack([own, *(random.permutation(len(rows)) for _ in range(n_modalities - 1))])
        for _ in range(n_permutations)
    ]
    return rows, [np.tile(own, (n_modalities, 1)), *permuted]


def compare_means(means: np.ndarray) -> PermutationTest:
    """Compare the first mean with the others, those of permutations."""
    statistic, null = means[0], means[1:]
    # Sums in another order differ in their last digits; a tie must count as one.
    tolerance = 1e-9 * max(1.0, float(np.abs(means).max()))
    pvalue = (1 + (null >= statistic - tolerance).sum()) / (1 + len(null))
    return PermutationTest(float(statistic), float(pvalue), null)
