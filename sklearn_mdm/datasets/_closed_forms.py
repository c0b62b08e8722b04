"""Draws, densities and total correlations that the makers share."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import digamma, gammaln


def draw_gaussians(n: int, m: int, d: int, rho: float, random: np.random.RandomState) -> list[np.ndarray]:
    """Draw m arrays (n, d) of standard normals, of correlation rho between arrays, feature by feature."""
    noise = random.normal(size=(m, n, d))
    # The symmetric root of the covariance: it has one value on differences between modalities, one on their mean.
    on_differences, on_mean = math.sqrt(1 - rho), math.sqrt(1 + (m - 1) * rho)
    return list(on_differences * noise + (on_mean - on_differences) * noise.mean(axis=0))


def gaussian_truth(m: int, d: int, rho: float) -> float:
    """Total correlation of equicorrelated Gaussians, in nats."""
    return 0.5 * d * (-(m - 1) * math.log1p(-rho) - math.log1p((m - 1) * rho))


def quadratic_form(xs: list[np.ndarray], rho: float) -> np.ndarray:
    """Squared Mahalanobis length of rows under equicorrelated Gaussians."""
    m, mean = len(xs), np.mean(xs, axis=0)
    differences = squared_length(np.hstack([x - mean for x in xs]))
    return differences / (1 - rho) + m * squared_length(mean) / (1 + (m - 1) * rho)


def squared_length(x: np.ndarray) -> np.ndarray:
    """Squared length of rows."""
    return np.square(x).sum(axis=1)


def gaussian_log_ratio(xs: list[np.ndarray], rho: float) -> np.ndarray:
    """Log density ratio of joint and product for rows of equicorrelated Gaussians, in nats."""
    truth = gaussian_truth(len(xs), xs[0].shape[1], rho)
    return truth + 0.5 * (squared_length(np.hstack(xs)) - quadratic_form(xs, rho))


def _t_constant(d: int, df: float) -> float:
    return float(gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * math.log(df * math.pi))


def t_entropy(d: int, df: float) -> float:
    """Entropy of d standard t features, in nats."""
    return float((df + d) / 2 * (digamma((df + d) / 2) - digamma(df / 2)) - _t_constant(d, df))


def t_log_density(squares: np.ndarray, d: int, df: float) -> np.ndarray:
    """Log density of a t distribution up to its scale matrix's determinant."""
    return _t_constant(d, df) - (df + d) / 2 * np.log1p(squares / df)
