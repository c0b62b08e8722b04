"""Modalities that carry discrete facts: a label seen through noise, and bits shared, owned or split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.utils import check_random_state

from ..inputs._modality_dict import ModalityDict
from ..utils._typing import RandomState
from ._common import ReturnLogRatio, as_result, check_between, check_counts, check_total_correlation, modality_names

# Centres are at least one apart, so balls of this radius around them do not touch.
RADIUS = 0.4


def make_shared_latent(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    n_features: int = 2,
    n_classes: int = 5,
    flip: float = 0.1,
    total_correlation: float | None = None,
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make modalities that each show a noisy copy of one hidden class.

    A class is drawn uniformly from K. Each modality takes it as its label, or with probability ``flip`` one of the
    other classes, and shows the label's centre plus noise, uniform in a ball so small that the label can be read off
    the modality without error. So the total correlation of the modalities is that of their labels
    :math:`l_1, \dots, l_m`,

    .. math:: TC = m \log K - H(l_1, \dots, l_m)

    which is summed exactly over the ways in which labels can coincide. At ``flip=0`` it is :math:`(m - 1) \log K`.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=3
        Number of modalities m.
    n_features : int, default=2
        Features d of each modality.
    n_classes : int, default=5
        Number of classes K.
    flip : float, default=0.1
        Probability of another label, between 0 and 1 - 1 / K, where modalities are independent. Ignored if
        ``total_correlation`` is given.
    total_correlation : float, default=None
        Total correlation in nats, at most :math:`(m - 1) \log K`, for which ``flip`` is solved.
    return_log_ratio : bool or "callable", default=False
        Whether to return the true log density ratio too, at the samples or as a function of X.
    random_state : int, RandomState instance or None, default=None
        Source of randomness, also of where the centres lie: distinct points of a grid, other ones in each modality.

    Returns
    -------
    X, truth, log_ratio : ModalityDict, float, and array of shape (n_samples,) or callable
        As of :func:`make_correlated_gaussians`.

    References
    ----------
    .. [1] Lee, Rhee, "A Benchmark Suite for Evaluating Neural Mutual Information Estimators on Unstructured
       Datasets", NeurIPS 2024, for data of known dependency made from a class behind a noisy channel.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_shared_latent
    >>> X, truth = make_shared_latent(200, n_classes=10, flip=0.0, random_state=0)
    >>> round(truth, 3)  # 2 * log(10)
    4.605
    >>> X, truth = make_shared_latent(200, n_classes=10, total_correlation=1.5, random_state=0)
    >>> X["visual"].shape, round(truth, 3)
    ((200, 2), 1.5)
    """
    check_counts(
        n_samples=(n_samples, 1),
        n_modalities=(n_modalities, 2),
        n_features=(n_features, 1),
        n_classes=(n_classes, 2),
    )
    m, k = n_modalities, n_classes
    if total_correlation is None:
        flip = check_between("flip", flip, 0.0, 1 - 1 / k, closed="both")
    else:
        flip = _solve_flip(m, k, total_correlation)
    random = check_random_state(random_state)
    hidden = random.randint(k, size=n_samples)
    centers, xs = [], []
    for _ in range(m):
        flipped = random.uniform(size=n_samples) < flip
        labels = np.where(flipped, (hidden + random.randint(1, k, size=n_samples)) % k, hidden)
        centers.append(_grid_points(k, n_features, random))
        xs.append(centers[-1][labels] + _uniform_in_ball(n_samples, n_features, random))

    def log_ratio(xs: list[np.ndarray]) -> np.ndarray:
        labels = [cdist(x, c).argmin(axis=1) for x, c in zip(xs, centers, strict=True)]
        return _labels_log_ratio(labels, k, flip)

    return as_result(xs, _labels_truth(m, k, flip), log_ratio, return_log_ratio)


def make_partial_information(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    n_redundant: int = 1,
    n_unique: int = 1,
    n_synergistic: int = 1,
    n_parity: int = 0,
    noise: float = 0.5,
    random_state: RandomState = None,
) -> tuple[ModalityDict, np.ndarray, dict[str, float]]:
    r"""Make modalities that know different things about a target.

    Everything is made of fair bits, each of them a column of -1 or 1 plus uniform noise that leaves the sign alone:

    - redundant bits are seen by every modality;
    - unique bits are seen by one modality each;
    - synergistic bits are the exclusive or (XOR) of one independent bit in every modality: no modality, nor all but
      one, knows anything about them;
    - parity bits are one bit in every modality such that the number of ones is even. The target has no part in them:
      modalities depend on each other, though any m - 1 of them are independent.

    The target is the number whose binary digits are the redundant, the unique and the synergistic bits.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=3
        Number of modalities m.
    n_redundant : int, default=1
        Redundant bits.
    n_unique : int, default=1
        Unique bits of each modality.
    n_synergistic : int, default=1
        Synergistic bits.
    n_parity : int, default=0
        Parity bits.
    noise : float, default=0.5
        Largest distance of a column from -1 or 1, below 1.
    random_state : int, RandomState instance or None, default=None
        Source of randomness.

    Returns
    -------
    X : ModalityDict
        Modalities "audio", "visual", "text", "m3" and so on, arrays of shape (n_samples, n_columns), with the
        redundant, unique, synergistic and parity bits in that order.
    y : array of int of shape (n_samples,)
        Target, from 0 to 2 ** (n_redundant + m * n_unique + n_synergistic) - 1.
    truth : dict of str to float
        In nats: "total_correlation" of the modalities, ``(m - 1) * n_redundant + n_parity`` bits; what y shares with
        "one" modality, with "all_but_one" and with "all"; and how the latter divides into "redundant", "unique" and
        "synergistic" information.

    References
    ----------
    .. [1] Williams, Beer, "Nonnegative Decomposition of Multivariate Information", arXiv 1004.2515, 2010.
    .. [2] Liang et al., "Quantifying & Modeling Multimodal Interactions: An Information Decomposition Framework",
       NeurIPS 2023.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_partial_information
    >>> X, y, truth = make_partial_information(200, random_state=0)
    >>> X["audio"].shape, int(y.max()) < 32
    ((200, 3), True)
    >>> {name: round(value, 3) for name, value in truth.items()}
    {'total_correlation': 1.386, 'one': 1.386, 'all_but_one': 2.079, 'all': 3.466,
     'redundant': 0.693, 'unique': 2.079, 'synergistic': 0.693}
    """
    check_counts(
        n_samples=(n_samples, 1),
        n_modalities=(n_modalities, 2),
        n_redundant=(n_redundant, 0),
        n_unique=(n_unique, 0),
        n_synergistic=(n_synergistic, 0),
        n_parity=(n_parity, 0),
    )
    m, n_known = n_modalities, n_redundant + n_modalities * n_unique + n_synergistic
    if n_redundant + n_unique + n_synergistic + n_parity == 0:
        raise ValueError("n_redundant, n_unique, n_synergistic and n_parity are all zero: modalities would be empty.")
    if n_known > 62:
        raise ValueError(f"the target would have {n_known} bits; an integer holds 62.")
    noise = check_between("noise", noise, 0.0, 1.0, closed="left")
    random = check_random_state(random_state)

    def bits(*shape: int) -> np.ndarray:
        return random.randint(2, size=shape)

    shared = bits(n_samples, n_redundant)
    unique = bits(m, n_samples, n_unique)
    split = bits(m, n_samples, n_synergistic)
    parity = bits(m, n_samples, n_parity)
    parity[-1] = parity[:-1].sum(axis=0) % 2
    xs = [2.0 * np.hstack([shared, unique[j], split[j], parity[j]]) - 1 for j in range(m)]
    xs = [x + random.uniform(-noise, noise, x.shape) for x in xs]
    known = np.hstack([shared, *unique, split.sum(axis=0) % 2])
    y = known @ (1 << np.arange(n_known, dtype=np.int64))
    in_bits = {
        "total_correlation": (m - 1) * n_redundant + n_parity,
        "one": n_redundant + n_unique,
        "all_but_one": n_redundant + (m - 1) * n_unique,
        "all": n_known,
        "redundant": n_redundant,
        "unique": m * n_unique,
        "synergistic": n_synergistic,
    }
    X = ModalityDict(dict(zip(modality_names(m), xs, strict=True)))
    return X, y, {name: value * math.log(2) for name, value in in_bits.items()}


# -- labels behind a noisy channel -------------------------------------------------------------------------------------


def _channel(k: int, flip: float) -> tuple[float, float]:
    """Probability of the hidden class, and of each other one."""
    return 1 - flip, flip / (k - 1)


def _labels_truth(m: int, k: int, flip: float) -> float:
    """Total correlation of m labels: their probability depends only on how many of them coincide."""
    right, wrong = _channel(k, flip)
    entropy = 0.0
    for parts in _partitions(m):
        if len(parts) > k:
            continue
        # Which modalities share a label, and which classes these labels are.
        ways = math.factorial(m) * math.perm(k, len(parts))
        for part in parts:
            ways //= math.factorial(part)
        for repeats in Counter(parts).values():
            ways //= math.factorial(repeats)
        p = sum(right**part * wrong ** (m - part) for part in parts) + (k - len(parts)) * wrong**m
        if p > 0:
            entropy -= ways * (p / k) * math.log(p / k)
    return max(m * math.log(k) - entropy, 0.0)


def _partitions(total: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Positive integers, in falling order, that add up to a total."""
    if total == 0:
        yield ()
    for first in range(min(total, largest or total), 0, -1):
        for rest in _partitions(total - first, first):
            yield first, *rest


def _solve_flip(m: int, k: int, total_correlation: float) -> float:
    wanted = check_total_correlation(total_correlation, (m - 1) * math.log(k))
    if wanted == 0:
        return 1 - 1 / k
    if wanted >= _labels_truth(m, k, 0.0):  # which is the highest, up to rounding
        return 0.0
    return brentq(lambda flip: _labels_truth(m, k, flip) - wanted, 0.0, 1 - 1 / k, xtol=1e-15)


def _labels_log_ratio(labels: list[np.ndarray], k: int, flip: float) -> np.ndarray:
    with np.errstate(divide="ignore"):  # labels that cannot differ have probability zero
        right, wrong = np.log(_channel(k, flip))
    hidden = np.arange(k)
    given_hidden = sum(np.where(label[:, None] == hidden, right, wrong) for label in labels)
    return logsumexp(given_hidden, axis=1) + (len(labels) - 1) * math.log(k)


def _grid_points(k: int, d: int, random: np.random.RandomState) -> np.ndarray:
    """Return k distinct points (k, d) with integer coordinates, of a grid no larger than they need."""
    # Ten columns keep any number of points apart; of all columns the grid would be huge.
    n_columns = min(d, 10)
    side = max(2, math.ceil(k ** (1 / n_columns) - 1e-9))  # less the error of a root
    cells = random.permutation(side**n_columns)[:k]
    points = np.stack(np.unravel_index(cells, (side,) * n_columns), axis=1)
    rest = random.randint(side, size=(k, d - n_columns))
    return np.hstack([points, rest]).astype(np.float64)


def _uniform_in_ball(n: int, d: int, random: np.random.RandomState) -> np.ndarray:
    direction = random.normal(size=(n, d))
    length = RADIUS * random.uniform(size=(n, 1)) ** (1 / d)
    return direction / np.linalg.norm(direction, axis=1, keepdims=True) * length
