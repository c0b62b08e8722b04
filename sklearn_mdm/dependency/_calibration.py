"""From what a critic says to a log density ratio that holds on new rows: weights, a cap and a normaliser."""

from __future__ import annotations

import math

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ..utils._statistics import log_mean_exp

# Likelihood ratio, on the scale of a chi-squared variable, that calibration takes for chance.
NOISE = 4.0
# Quantiles of the values on true rows that may cap them.
CAPS = (1.0, 0.995, 0.99, 0.98, 0.95, 0.9)


def logistic_weights(joint: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Non-negative weights of a logistic regression of rows against negatives on the parts of the log ratio.

    They are shrunk by their likelihood ratio: the parts were chosen by their success on the same rows, so a little of
    it is chance.

    ``joint`` (n_parts, n) holds the parts of rows, ``product`` (n_parts, n_product) those of negatives.
    """
    t = np.concatenate([joint, product], axis=1)
    labels = np.r_[np.ones(joint.shape[1]), np.zeros(product.shape[1])]
    # Every row counts as often as it has negatives.
    sample_weight = np.where(labels == 1, 1.0, joint.shape[1] / product.shape[1])
    weights, scale = np.zeros(len(t)), t.std(1)
    used = scale > 0
    while used.any():
        columns = (t[used] / scale[used, None]).T
        logistic = LogisticRegression(C=1e4).fit(columns, labels, sample_weight=sample_weight)
        found = logistic.coef_[0]
        if (found >= 0).all():
            gain = math.log(2) - log_loss(labels, logistic.predict_proba(columns), sample_weight=sample_weight)
            ratio = 2 * gain * sample_weight.sum()
            weights[used] = max(0.0, 1 - NOISE / ratio) * found / scale[used] if ratio > 0 else 0.0
            break
        used[np.flatnonzero(used)[found.argmin()]] = False
    return weights


def best_cap(joint: np.ndarray, product: np.ndarray) -> float:
    """Cap with the largest bound of Donsker and Varadhan: few negatives far outside the data otherwise decide it."""

    def value(cap: float) -> float:
        return np.minimum(joint, cap).mean() - log_mean_exp(np.minimum(product, cap))

    return max(np.quantile(joint, CAPS), key=value)


def log_normalizer(values: np.ndarray, index: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """Logarithm of the mean of exp(values) over negatives, and its standard error.

    Negatives share samples: the variance is that of the sum over all negatives which contain one sample (or group),
    added over modalities: the first-order term of a generalised U-statistic. ``index`` (n_modalities, n_product) holds
    the rows that negatives were made of, ``groups`` the independent units of these rows.
    """
    level = log_mean_exp(values)
    relative = np.exp(values - level) - 1
    unit = None if groups is None else np.unique(groups, return_inverse=True)[1]
    variance = 0.0
    for rows in index:
        of_units = np.bincount(rows if unit is None else unit[rows], weights=relative)
        variance += (of_units**2).sum() / len(relative) ** 2
    return level, math.sqrt(variance)
