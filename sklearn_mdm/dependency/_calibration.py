"""From what a critic says to a log density ratio that holds on new rows: weights of its parts, and a normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from ._contrasts import Contrast, KeptModality

# Likelihood ratio, on the scale of a chi-squared variable, that is taken for chance for each part that has a weight.
NOISE = 4.0
# Spread in nats up to which a part says nothing.
SAYS_NOTHING = 1e-4
# Most standard deviations of rows that a weighted part may have: more change nothing where rows are told apart.
MAX_SPREAD = 1000.0
# Penalty of the square of a weighted part's standard deviation, over the number of rows: where a part tells all rows
# apart, only this keeps its weight finite.
RIDGE = 0.1
# How far in nats s may fall below its median on the rows that weights are found on before it only does as a logarithm:
# few rows that the parts are wrong about would decide a mean.
DEPTH = 12.0

Limits: TypeAlias = tuple[float, float]


def bound_weights(contrasts: Sequence[Contrast]) -> tuple[np.ndarray, float]:
    r"""Non-negative weights w of the parts with the largest contrastive bound, and what they were shrunk by.

    .. math:: \frac1n \sum_i \Big( s_i - \log \frac{e^{s_i} + \sum_k e^{s_{ik}}}{1 + K} \Big), \quad
              s = \sum_q w_q t_q

    which is concave in w, at most :math:`\log(K + 1)`, and hangs on no single negative. Weights are shrunk by their
    likelihood ratio: the parts were chosen by their success, so a little of it is chance.
    """
    n_parts = len(contrasts[0].own)
    scale = np.array([_spread(contrasts, q) for q in range(n_parts)])
    used, n = scale > SAYS_NOTHING, sum(contrast.own.shape[1] for contrast in contrasts)
    weights = np.zeros(n_parts)
    if not used.any():
        return weights, 0.0
    parts = [
        Contrast(c.own[used] / scale[used, None], c.others[used] / scale[used, None, None], c.allowed)
        for c in contrasts
    ]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        found = [_contrastive_loss(contrast, w) for contrast in parts]
        penalty = RIDGE * (w**2).sum() / 2
        slope = np.sum([slope for _, slope in found], axis=0) + RIDGE * w
        return (sum(value for value, _ in found) + penalty) / n, slope / n

    start = np.full(used.sum(), 0.1)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, MAX_SPREAD)] * len(start))
    ratio, shrinkage = -2 * best.fun * n, 0.0
    if ratio > 0:
        shrinkage = max(0.0, 1 - NOISE * np.count_nonzero(best.x) / ratio)
        weights[used] = shrinkage * best.x / scale[used]
    return weights, shrinkage


def std_factor(shrinkage: float) -> float:
    """Times the standard error at fixed weights, for weights that are shrunk by 1 - c / v where v is the bound.

    The bound is about v (2 f - f^2) with weights shrunk by f, whose derivative by v is 2 f - f^2 + 2 (1 - f)^2; at
    fixed weights it is f.
    """
    return 2 - shrinkage + 2 * (1 - shrinkage) ** 2 / shrinkage if shrinkage else 1.0


def limits_of(weights: np.ndarray, contrasts: Sequence[Contrast]) -> Limits:
    """Where s is bent and where it ends, from the rows that weights were found on."""
    own = np.concatenate([weights @ contrast.own for contrast in contrasts])
    return float(np.median(own)) - DEPTH, float(own.max())


def bounded(s: np.ndarray, limits: Limits) -> np.ndarray:
    """End s at the upper limit, and let it fall as a logarithm below the lower one, so that an order stays one."""
    low, high = limits
    s = np.minimum(s, high)
    below = s < low
    s[below] = low - np.log1p(low - s[below])
    return s


def _spread(contrasts: Sequence[Contrast], part: int) -> float:
    own, others = (np.concatenate([getattr(c, name)[part].ravel() for c in contrasts]) for name in ("own", "others"))
    return float(max(own.std(), 1e-3 * others.std()))  # the latter is far larger where a part tells rows apart


def _contrastive_loss(contrast: Contrast, w: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the bound, summed over rows, and its derivatives by the weights."""
    own, level, share = contrast_rows(contrast, w)
    of_own = np.exp(own - level)
    slope = contrast.own @ (1 - of_own) - np.tensordot(contrast.others, share, axes=([1, 2], [0, 1]))
    return float((level - own).sum() - np.log1p(contrast.allowed.sum(1)).sum()), -slope


def contrast_rows(
    contrast: Contrast, w: np.ndarray, limits: Limits = (-np.inf, np.inf)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return s of rows (n,), the logarithm of the sum of e^s over them and their negatives, and these' shares in it."""
    own = bounded(w @ contrast.own, limits)
    others = bounded(np.tensordot(w, contrast.others, 1), limits)
    others[~contrast.allowed] = -np.inf
    level = np.logaddexp(own, logsumexp(others, axis=1)) if others.shape[1] else own
    return own, level, np.exp(others - level[:, None])


def log_normalizers(contrasts: Sequence[KeptModality], weights: np.ndarray, limits: Limits) -> np.ndarray:
    """Normalise rows in every modality that they keep in turn: influence of each on the mean logarithm, (n_rows,).

    The normaliser of a row is the mean of e^s over it and its negatives. That gives a tighter bound than one normaliser
    of all rows, and at most the logarithm of the number of negatives. A row counts in its own normaliser and, as a part
    of negatives, in those of others: the first-order terms of a generalised U-statistic, whose mean is that of the
    logarithms.
    """
    influence = np.zeros(contrasts[0].n_rows)
    for kept in contrasts:
        excess = np.zeros(kept.others.shape[1])
        for rows, contrast in kept.blocks():
            _, level, share = contrast_rows(contrast, weights, limits)
            n_others = contrast.allowed.sum(1)
            influence[rows] += level - np.log1p(n_others)
            usual = share.sum(1) / np.maximum(n_others, 1)
            excess += (share - usual[:, None] * contrast.allowed).sum(0)
        for index in kept.others:
            np.add.at(influence, index, excess)
    return influence / len(contrasts)
