"""Scale and location mixtures of Gaussian modalities: heavy tails, and two populations."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ..utils._typing import RandomState
from ._closed_forms import draw_gaussians, gaussian_truth, quadratic_form, squared_length, t_entropy, t_log_density
from ._common import ReturnLogRatio, as_result, check_between, check_counts

# Of the Monte Carlo truth: draws at once, the fewest and the most in all, and the standard error to reach.
DRAWS_AT_ONCE, MIN_DRAWS, MAX_DRAWS = 20_000, 200_000, 2_000_000
MAX_ERROR, MAX_RELATIVE_ERROR = 0.002, 0.001


def make_multivariate_t(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    n_features: int = 1,
    rho: float = 0.5,
    df: float = 3.0,
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make heavy-tailed modalities that jointly follow a multivariate t distribution.

    Samples of :func:`make_correlated_gaussians` are each divided by :math:`\sqrt{w / \nu}`, with one
    :math:`w \sim \chi^2_\nu` for all modalities. The common scale is a dependency of its own: with
    :math:`h_d` the entropy of d standard t features of :math:`\nu` degrees of freedom,

    .. math:: TC = TC_{\mathrm{Gauss}}(\rho) + m\, h_d - h_{m d}

    which is positive even at :math:`\rho = 0`.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=3
        Number of modalities m.
    n_features : int, default=1
        Features d of each modality.
    rho : float, default=0.5
        Correlation of the Gaussians, between -1 / (m - 1) and 1.
    df : float, default=3.0
        Degrees of freedom, from 0.1 (values beyond are too large to be numbers) to a million (tails of a Gaussian).
        Variances are infinite up to 2, and means do not exist up to 1.
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
    .. [1] Arellano-Valle, Contreras-Reyes, Genton, "Shannon Entropy and Mutual Information for Multivariate
       Skew-Elliptical Distributions", Scandinavian Journal of Statistics 40, 2013.

    Examples
    --------
    >>> from sklearn_mdm.datasets import make_multivariate_t
    >>> X, truth = make_multivariate_t(200, rho=0.0, df=3, random_state=0)
    >>> X["audio"].shape, round(truth, 3)
    ((200, 1), 0.11)
    """
    check_counts(n_samples=(n_samples, 1), n_modalities=(n_modalities, 2), n_features=(n_features, 1))
    m, d = n_modalities, n_features
    rho = check_between("rho", rho, -1 / (m - 1), 1.0)
    df = check_between("df", df, 0.1, 1e6, closed="both")
    random = check_random_state(random_state)
    z = draw_gaussians(n_samples, m, d, rho, random)
    scale = np.sqrt(df / random.chisquare(df, size=(n_samples, 1)))
    gaussian = gaussian_truth(m, d, rho)
    truth = gaussian + m * t_entropy(d, df) - t_entropy(m * d, df)

    def log_ratio(xs: list[np.ndarray]) -> np.ndarray:
        joint = gaussian + t_log_density(quadratic_form(xs, rho), m * d, df)
        return joint - sum(t_log_density(squared_length(x), d, df) for x in xs)

    return as_result([x * scale for x in z], truth, log_ratio, return_log_ratio)


def make_gaussian_mixture(
    n_samples: int = 1000,
    *,
    n_modalities: int = 3,
    n_features: int = 1,
    rho: float = 0.8,
    shift: float = 0.0,
    return_log_ratio: ReturnLogRatio = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    r"""Make modalities from two equally likely Gaussian populations whose correlations differ in sign.

    In the first population all features have mean ``shift`` and are correlated as in
    :func:`make_correlated_gaussians`. In the second all means are ``-shift``, and correlations with the first modality
    have the opposite sign. At ``shift=0`` the first modality is uncorrelated with the others and depends on them all
    the same.

    The total correlation has no closed form. It is the mean of the exact log density ratio over at least 200,000
    draws with a seed of its own, continued up to two million until the standard error is below 0.002 nats or 0.1 % of
    the value.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_modalities : int, default=3
        Number of modalities m.
    n_features : int, default=1
        Features d of each modality.
    rho : float, default=0.8
        Correlation within the first population, between -1 / (m - 1) and 1.
    shift : float, default=0.0
        Mean of all features in the first population, at most a thousand either way; its negative is that in the
        second.
    return_log_ratio : bool or "callable", default=False
        Whether to return the true log density ratio too, at the samples or as a function of X.
    random_state : int, RandomState instance or None, default=None
        Source of randomness of the samples; the truth does not depend on it.

    Returns
    -------
    X, truth, log_ratio : ModalityDict, float, and array of shape (n_samples,) or callable
        As of :func:`make_correlated_gaussians`; the truth has the standard error above.

    References
    ----------
    .. [1] Czyż, Grabowski, Vogt, Marx, "On the Properties and Estimation of Pointwise Mutual Information Profiles",
       TMLR 2025, for mixtures whose dependency is known up to the error of a Monte Carlo mean.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm.datasets import make_gaussian_mixture
    >>> X, truth = make_gaussian_mixture(2000, n_modalities=2, random_state=0)
    >>> bool(abs(np.corrcoef(X["audio"][:, 0], X["visual"][:, 0])[0, 1]) < 0.1), round(truth, 1)
    (True, 0.2)
    """
    check_counts(n_samples=(n_samples, 1), n_modalities=(n_modalities, 2), n_features=(n_features, 1))
    rho = check_between("rho", rho, -1 / (n_modalities - 1), 1.0)
    shift = check_between("shift", shift, -1e3, 1e3, closed="both")
    parameters = (n_modalities, n_features, rho, shift)
    xs = _draw_mixture(n_samples, *parameters, check_random_state(random_state))
    return as_result(xs, _mixture_truth(*parameters), lambda xs: _mixture_log_ratio(xs, rho, shift), return_log_ratio)


def _draw_mixture(n: int, m: int, d: int, rho: float, shift: float, random: np.random.RandomState) -> list[np.ndarray]:
    first, *others = draw_gaussians(n, m, d, rho, random)
    sign = np.where(random.uniform(size=(n, 1)) < 0.5, 1.0, -1.0)
    return [sign * (first + shift), *(x + sign * shift for x in others)]


def _mixture_log_ratio(xs: list[np.ndarray], rho: float, shift: float) -> np.ndarray:
    # Powers of 2 pi cancel.
    m, d = len(xs), xs[0].shape[1]
    first, *others = xs
    plus = quadratic_form([x - shift for x in xs], rho)
    minus = quadratic_form([-first - shift, *(x + shift for x in others)], rho)
    joint = np.logaddexp(-0.5 * plus, -0.5 * minus) - math.log(2) + gaussian_truth(m, d, rho)
    for x in xs:
        lengths = [-0.5 * squared_length(x + s) for s in (shift, -shift)]
        joint = joint - (np.logaddexp(*lengths) - math.log(2))
    return joint


@lru_cache(maxsize=256)
def _mixture_truth(m: int, d: int, rho: float, shift: float) -> float:
    random = np.random.RandomState(20_230)
    n, total, squares = 0, 0.0, 0.0
    while True:
        values = _mixture_log_ratio(_draw_mixture(DRAWS_AT_ONCE, m, d, rho, shift, random), rho, shift)
        n, total, squares = n + DRAWS_AT_ONCE, total + values.sum(), squares + (values**2).sum()
        mean = total / n
        error = math.sqrt(max(squares / n - mean**2, 0.0) / n)
        precise = error <= max(MAX_ERROR, MAX_RELATIVE_ERROR * mean)
        if n >= MAX_DRAWS or (n >= MIN_DRAWS and precise):
            return float(mean)
