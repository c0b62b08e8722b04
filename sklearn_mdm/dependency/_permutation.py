"""A test of independence: the mean log ratio of samples among those after their modalities are permuted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ..utils._statistics import check_finite, log_mean_exp

# Rows that a test looks at, which bounds its time: with one critic, and with one per part of a decomposition, each of
# which encodes every permutation anew.
MAX_TEST_ROWS = 2000
MAX_TEST_ROWS_OF_PARTS = 500


class PermutationTest(NamedTuple):
    r"""Result of :meth:`sklearn_mdm.DependencyEstimator.permutation_test`.

    Parameters
    ----------
    statistic : float
        Mean log ratio of the samples: the value that the estimator gives them.
    pvalue : float
        Share of the permutations, the samples as they are counted as one, whose mean log ratio is at least as large.
    null_distribution : array of shape (n_permutations,)
        What the samples' value would be with each permutation, centred at zero; see Notes.

    Notes
    -----
    The mean log ratio of permuted samples is far below zero, as a ratio says that they do not belong together. The null
    distribution has in its place the bound of Donsker and Varadhan for samples of that mean,
    :math:`\sup_a a \bar s - \log E_Q[e^{a s}]`, with a minus sign where the mean is below that of all permutations.
    It grows with the mean, and so leaves the p-value as it is. The statistic is shrunk by what chance may have done,
    the null distribution is not, so ``pvalue`` is not the share of it above the statistic.

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

    def __repr__(self) -> str:
        return (
            f"PermutationTest(statistic={self.statistic:.4g}, pvalue={self.pvalue:.4g}, "
            f"n_permutations={len(self.null_distribution)})"
        )


class PermutedCritic(Protocol):
    """Anything that gives rows a value, and each of them evidence, as they are and with their modalities permuted."""

    def permutations(self, arrays: Sequence[np.ndarray], orders: Sequence[np.ndarray]) -> np.ndarray:
        """Return the evidence in each of several orders (n_modalities, n_rows): (n_orders, n_rows)."""

    def score(self, arrays: Sequence[np.ndarray]) -> float:
        """Return the value of rows."""


def independence_test(
    critics: Sequence[PermutedCritic], arrays: Sequence[np.ndarray], n_permutations: int, most: int, seed: int
) -> PermutationTest:
    """Compare rows that no critic has seen, of many rows the most, with permutations of them.

    The statistic is the value of all of them.
    """
    random = np.random.default_rng(seed)
    rows = random.permutation(len(arrays[0]))[:most]
    own = np.arange(len(rows))
    permuted = [
        np.stack([own, *(random.permutation(len(rows)) for _ in range(len(arrays) - 1))]) for _ in range(n_permutations)
    ]
    tested, orders = [array[rows] for array in arrays], [np.tile(own, (len(arrays), 1)), *permuted]
    evidence = np.mean([critic.permutations(tested, orders) for critic in critics], axis=0)
    return compare_means(evidence, float(np.mean([critic.score(arrays) for critic in critics])))


def compare_means(values: np.ndarray, statistic: float) -> PermutationTest:
    """Compare the mean of the first row of values (1 + n_permutations, n_samples) with those of permutations."""
    means = values.mean(1)
    check_finite([*means, statistic], "values of the critic on samples or permutations of them")  # NaN is never larger
    # Sums in another order differ in their last digits; a tie must count as one.
    tolerance = 1e-9 * max(1.0, float(np.abs(means).max()))
    pvalue = (1 + (means[1:] >= means[0] - tolerance).sum()) / len(means)
    return PermutationTest(statistic, float(pvalue), _signed_bounds(means[1:], values[1:].ravel()))


def _signed_bounds(means: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Largest bound that a multiple of log ratios, which have these values under permutations, reaches at each mean."""
    center, scale = permuted.mean(), permuted.std()
    if not scale:
        return np.zeros(len(means))
    z = (permuted - center) / scale
    above = np.geomspace(1e-4, 10, 200)
    multiples = np.concatenate([-above[::-1], above])
    level = np.array([log_mean_exp(a * z) for a in multiples])
    gaps = (means - center) / scale
    return np.sign(gaps) * np.maximum(np.max(np.outer(gaps, multiples) - level, axis=1), 0)
