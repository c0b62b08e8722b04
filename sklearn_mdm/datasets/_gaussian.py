"""Gaussian modalities, and what invertible maps make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from sklearn.utils import check_random_state

from ..utils._typing import RandomState
from ._closed_forms import draw_gaussians, gaussian_log_ratio, gaussian_truth, squared_length
from ._common import ReturnLogRatio, as_result, check_between, check_counts, check_total_correlation

# The correlation that total correlations are solved for stays below this: densities further up lose their digits.
MAX_RHO = 1 - 1e-9

Map: TypeAlias = Callable[[np.ndarray], np.ndarray]
# Name of the warp to the warp and its inverse.
WARPS: dict[str, tuple[Map, Map]] = {
    "cube": (lambda x: x**3, np.cbrt),
    "cdf": (ndtr, ndtri),
    "asinh": (np.arcsinh, np.sinh),
}


def make_correlated_gaussians(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    n_features: int = 1,
    rho: float = 0.5,
    total_correlation: float | None = None,
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make Gaussian modalities that are correlated feature by feature.

    All features are standard normal. Feature f of one modality has correlation :math:`\rho` with feature f of every
    other modality, and none with other features. With m modalities of d features the total correlation is

    .. math:: TC = -\frac{d}{2} \left((m - 1) \log(1 - \rho) + \log(1 + (m - 1) \rho)\right)

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=3
        Number of modalities m.
    n_features : int, default=1
        Features d of each modality.
    rho : float, default=0.5
        Correlation, between -1 / (m - 1) and 1. Ignored if ``total_correlation`` is given.
    total_correlation : float, default=None
        Total correlation in nats, for which the non-negative ``rho`` is solved.
    return_log_ratio : bool or "callable", default=False
        Whether to return the true log density ratio too, at the samples or as a function of X.
    random_state : int, RandomState instance or None, default=None
        Source of randomness.

    Returns
    -------
    X : ModalityDict
        Modalities "audio", "visual", "text", "m3" and so on, arrays of shape (n_samples, n_features).
    truth : float
        Total correlation in nats.
    log_ratio : array of shape (n_samples,) or callable
        :math:`\log p(x_1, \dots, x_m) / \prod_j p(x_j)` in nats. Only if ``return_log_ratio``; if that is
        "callable", a function that takes any X of the same modalities, such as negatives.

    References
    ----------
    .. [1] Belghazi et al., "Mutual Information Neural Estimation", ICML 2018, where correlated Gaussians of growing
       dimension are the test bed.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> X, truth = make_correlated_gaussians(200, n_features=4, rho=0.8, random_state=0)
    >>> X
    ModalityDict(audio: array (200, 4), visual: array (200, 4), text: array (200, 4))
    >>> round(truth, 3)
    4.527
    >>> X, truth = make_correlated_gaussians(200, n_features=4, total_correlation=2.0, random_state=0)
    >>> round(truth, 3)
    2.0
    """
    check_counts(n_samples=(n_samples, 1), n_modalities=(n_modalities, 2), n_features=(n_features, 1))
    shape = (n_samples, n_modalities, n_features)
    return _mapped(shape, rho, total_correlation, _unchanged, _unchanged, return_log_ratio, random_state)


def make_warped_gaussians(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    n_features: int = 1,
    rho: float = 0.5,
    total_correlation: float | None = None,
    warp: Literal["cube", "cdf", "asinh"] = "cube",
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make correlated Gaussians whose features have gone through an increasing function.

    Dependency does not change under invertible maps of single modalities, so the truth is that of
    :func:`make_correlated_gaussians`; correlations and tails change, and estimators that assume a shape are misled.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=3
        Number of modalities m.
    n_features : int, default=1
        Features d of each modality.
    rho : float, default=0.5
        Correlation before the warp, between -1 / (m - 1) and 1. Ignored if ``total_correlation`` is given.
    total_correlation : float, default=None
        Total correlation in nats, for which the non-negative ``rho`` is solved.
    warp : {"cube", "cdf", "asinh"}, default="cube"
        The function: the third power (heavy tails), the normal distribution function (uniform features), or the
        inverse hyperbolic sine (light tails).
    return_log_ratio : bool or "callable", default=False
        Whether to return the true log density ratio too, at the samples or as a function of X.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. The same state gives the samples of :func:`make_correlated_gaussians`, warped.

    Returns
    -------
    X, truth, log_ratio : ModalityDict, float, and array of shape (n_samples,) or callable
        As of :func:`make_correlated_gaussians`.

    References
    ----------
    .. [1] Czyż, Grabowski, Vogt, Beerenwinkel, Marx, "Beyond Normal: On the Evaluation of Mutual Information
       Estimators", NeurIPS 2023.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_warped_gaussians
    >>> X, truth = make_warped_gaussians(200, rho=0.5, warp="cdf", random_state=0)
    >>> bool(X["text"].min() > 0), bool(X["text"].max() < 1), round(truth, 3)
    (True, True, 0.347)
    """
    check_counts(n_samples=(n_samples, 1), n_modalities=(n_modalities, 2), n_features=(n_features, 1))
    if warp not in WARPS:
        raise ValueError(f"warp must be one of {sorted(WARPS)}, got {warp!r}.")
    shape = (n_samples, n_modalities, n_features)
    return _mapped(shape, rho, total_correlation, *WARPS[warp], return_log_ratio, random_state)


def make_spirals(
    n_samples: int = 1000,
    *,
    n_modalities: int = 2,
    n_features: int = 2,
    rho: float = 0.8,
    total_correlation: float | None = None,
    speed: float = 1 / 3,
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make correlated Gaussians whose modalities are each wound into a spiral.

    A modality's vector x is rotated in the plane of its first two features by the angle :math:`v |x|^2`, with
    :math:`v` the speed. The map is invertible, so the truth is that of :func:`make_correlated_gaussians`.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=2
        Number of modalities m.
    n_features : int, default=2
        Features d of each modality, at least 2.
    rho : float, default=0.8
        Correlation before the rotation, between -1 / (m - 1) and 1. Ignored if ``total_correlation`` is given.
    total_correlation : float, default=None
        Total correlation in nats, for which the non-negative ``rho`` is solved.
    speed : float, default=1/3
        Radians per squared length, at most a million either way.
    return_log_ratio : bool or "callable", default=False
        Whether to return the true log density ratio too, at the samples or as a function of X.
    random_state : int, RandomState instance or None, default=None
        Source of randomness.

    Returns
    -------
    X, truth, log_ratio : ModalityDict, float, and array of shape (n_samples,) or callable
        As of :func:`make_correlated_gaussians`.

    References
    ----------
    .. [1] Czyż, Grabowski, Vogt, Beerenwinkel, Marx, "Beyond Normal: On the Evaluation of Mutual Information
       Estimators", NeurIPS 2023.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_spirals
    >>> X, truth = make_spirals(200, rho=0.8, random_state=0)
    >>> X, round(truth, 3)
    (ModalityDict(audio: array (200, 2), visual: array (200, 2)), 1.022)
    """
    check_counts(n_samples=(n_samples, 1), n_modalities=(n_modalities, 2), n_features=(n_features, 2))
    speed = check_between("speed", speed, -1e6, 1e6, closed="both")
    shape = (n_samples, n_modalities, n_features)
    wind, unwind = partial(_spiral, speed=speed), partial(_spiral, speed=-speed)
    return _mapped(shape, rho, total_correlation, wind, unwind, return_log_ratio, random_state)


def make_paired_gaussians(
    n_samples: int = 1000,
    *,
    n_pairs: int = 2,
    n_features: int = 20,
    total_correlation: float = 2.0,
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make Gaussian modalities that depend in pairs, the pairs being independent of each other.

    The first modality goes with the second, the third with the fourth, and so on. Feature f of a modality has
    correlation :math:`\rho` with feature f of its partner, so that
    :math:`TC = -\frac{k d}{2} \log(1 - \rho^2)` with k pairs of d features.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_pairs : int, default=2
        Number of pairs k; there are twice as many modalities.
    n_features : int, default=20
        Features d of each modality.
    total_correlation : float, default=2.0
        Total correlation of all modalities in nats, for which the correlation is solved.
    return_log_ratio : bool or "callable", default=False
        Whether to return the true log density ratio too, at the samples or as a function of X.
    random_state : int, RandomState instance or None, default=None
        Source of randomness.

    Returns
    -------
    X, truth, log_ratio : ModalityDict, float, and array of shape (n_samples,) or callable
        As of :func:`make_correlated_gaussians`.

    References
    ----------
    .. [1] Bai, Cheng, Hao, Carin, "Estimating Total Correlation with Mutual Information Estimators", AISTATS 2023:
       two pairs of 20 features, at total correlations of 2 to 10 nats.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_paired_gaussians
    >>> X, truth = make_paired_gaussians(64, total_correlation=4.0, random_state=0)
    >>> list(X), X["m3"].shape, round(truth, 3)
    (['audio', 'visual', 'text', 'm3'], (64, 20), 4.0)
    """
    check_counts(n_samples=(n_samples, 1), n_pairs=(n_pairs, 1), n_features=(n_features, 1))
    # All pairs alike are, for the truth, one pair of all their features.
    rho = _solve_rho(2, n_pairs * n_features, total_correlation)
    random = check_random_state(random_state)
    z = [x for _ in range(n_pairs) for x in draw_gaussians(n_samples, 2, n_features, rho, random)]

    def log_ratio(xs: list[np.ndarray]) -> np.ndarray:
        return np.sum([gaussian_log_ratio(xs[2 * k : 2 * k + 2], rho) for k in range(n_pairs)], axis=0)

    return as_result(z, gaussian_truth(2, n_pairs * n_features, rho), log_ratio, return_log_ratio)


def _solve_rho(m: int, d: int, truth: float) -> float:
    highest = gaussian_truth(m, d, MAX_RHO)
    truth = check_total_correlation(truth, highest)
    return brentq(lambda rho: gaussian_truth(m, d, rho) - truth, 0.0, MAX_RHO, xtol=1e-15, rtol=1e-14)


def _mapped(
    shape: tuple[int, int, int],
    rho: float,
    total_correlation: float | None,
    forward: Map,
    inverse: Map,
    return_log_ratio: ReturnLogRatio,
    random_state: RandomState,
) -> tuple[Any, ...]:
    """Equicorrelated Gaussians of shape (n, m, d), each modality through an invertible map, which leaves the truth."""
    n, m, d = shape
    if total_correlation is not None:
        rho = _solve_rho(m, d, total_correlation)
    else:
        rho = check_between("rho", rho, -1 / (m - 1), 1.0)
    z = draw_gaussians(n, m, d, rho, check_random_state(random_state))

    def log_ratio(xs: list[np.ndarray]) -> np.ndarray:
        return gaussian_log_ratio([inverse(x) for x in xs], rho)

    return as_result([forward(x) for x in z], gaussian_truth(m, d, rho), log_ratio, return_log_ratio)


def _unchanged(x: np.ndarray) -> np.ndarray:
    return x


def _spiral(x: np.ndarray, speed: float) -> np.ndarray:
    angle = speed * squared_length(x)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = x.copy()
    turned[:, 0] = cos * x[:, 0] - sin * x[:, 1]
    turned[:, 1] = sin * x[:, 0] + cos * x[:, 1]
    return turned
