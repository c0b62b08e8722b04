"""Metrics of sentiment regression: agreement of degrees and of signs, with the rule for zeros spelled out."""

from __future__ import annotations

import warnings
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import f1_score, make_scorer
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, _num_samples, column_or_1d

from .dependency._estimator import DependencyEstimator
from .estimators._dependency_mixin import DependencyMixin
from .utils._arguments import check_rows, named
from .utils._unwrap import final_estimator

__all__ = [
    "SENTIMENT_SCORERS",
    "acc2_score",
    "acc5_score",
    "acc7_score",
    "binary_f1_score",
    "dependency_scorer",
    "pearson_score",
]

Zeros: TypeAlias = Literal["has0", "non0"]
Weights: TypeAlias = ArrayLike | None
# True and predicted values, and weights if there are any.
Checked: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def acc7_score(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: Weights = None) -> float:
    """Agreement of the seven degrees of sentiment from -3 to 3.

    Both sides are clipped to [-3, 3] and rounded to the nearest integer, halves to the even one, as in published
    results on CMU-MOSI and CMU-MOSEI [1]_.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted sentiment.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    score : float
        Between 0 and 1, best at 1.

    References
    ----------
    .. [1] Mao, Yuan, Xu, Yu, Liu, Gao, "M-SENA: An Integrated Platform for Multimodal Sentiment Analysis", ACL 2022,
       whose package MMSA computes it like this.

    Examples
    --------
    >>> from sklearn_mdm.metrics import acc7_score
    >>> acc7_score([3.0, 0.5, -1.4, 2.0], [4.2, -0.5, -1.0, 2.6])  # 0.5 and -0.5 both round to 0, 2.6 to 3
    0.75
    """
    return _agreement_of_degrees(y_true, y_pred, 3, sample_weight)


def acc5_score(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: Weights = None) -> float:
    """Agreement of five degrees of sentiment from -2 to 2: as :func:`acc7_score`, clipped to [-2, 2].

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted sentiment.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    score : float
        Between 0 and 1, best at 1.

    Examples
    --------
    >>> from sklearn_mdm.metrics import acc5_score
    >>> acc5_score([3.0, 0.5, -1.4, 2.0], [1.9, -0.5, -1.0, 1.5])  # 1.5 rounds to 2, the even neighbour
    1.0
    """
    return _agreement_of_degrees(y_true, y_pred, 2, sample_weight)


def acc2_score(y_true: ArrayLike, y_pred: ArrayLike, *, zeros: Zeros, sample_weight: Weights = None) -> float:
    """Agreement of two classes of sentiment.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted sentiment.
    zeros : {"has0", "non0"}
        What becomes of neutral samples, for which there is no common rule. ``"has0"``: negative against non-negative
        (``y >= 0``). ``"non0"``: samples whose true value is 0 are left out, and the rest is negative against positive
        (``y > 0``).
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    score : float
        Between 0 and 1, best at 1. NaN, with a warning, if no sample of positive weight is left.

    Notes
    -----
    A prediction of exactly 0 counts as non-negative with ``"has0"`` and as not positive with ``"non0"``, as in the
    package MMSA. Elsewhere, as in the code published with MAG-BERT, it is positive in both.

    Examples
    --------
    >>> from sklearn_mdm.metrics import acc2_score
    >>> y_true, y_pred = [-1.0, 0.0, 0.0, 2.0], [-0.2, 0.3, -0.1, 1.0]
    >>> acc2_score(y_true, y_pred, zeros="has0")
    0.75
    >>> acc2_score(y_true, y_pred, zeros="non0")
    1.0
    """
    true, pred, weight = _two_classes(y_true, y_pred, zeros, sample_weight)
    return float(np.average(true == pred, weights=weight)) if len(true) else _undefined("acc2_score")


def binary_f1_score(y_true: ArrayLike, y_pred: ArrayLike, *, zeros: Zeros, sample_weight: Weights = None) -> float:
    """F1 of two classes of sentiment, averaged over both with their numbers of samples as weights.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted sentiment.
    zeros : {"has0", "non0"}
        Rule for neutral samples; see :func:`acc2_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    score : float
        Between 0 and 1, best at 1. NaN, with a warning, if no sample of positive weight is left.

    See Also
    --------
    sklearn.metrics.f1_score : F1 of classes, here with ``average="weighted"``.

    Examples
    --------
    >>> from sklearn_mdm.metrics import binary_f1_score
    >>> round(binary_f1_score([-1.0, 0.0, 0.0, 2.0], [-0.2, 0.3, -0.1, 1.0], zeros="has0"), 4)
    0.7667
    """
    true, pred, weight = _two_classes(y_true, y_pred, zeros, sample_weight)
    if not len(true):
        return _undefined("binary_f1_score")
    return float(f1_score(true, pred, average="weighted", sample_weight=weight))


def pearson_score(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: Weights = None) -> float:
    """Pearson's correlation between true and predicted values, "Corr" in the tables of this field.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted values.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    score : float
        Between -1 and 1, best at 1. NaN, with a warning, if either side is constant.

    Examples
    --------
    >>> from sklearn_mdm.metrics import pearson_score
    >>> round(pearson_score([0.0, 1.0, 2.0], [0.1, 0.9, 2.0]), 3)
    0.996
    """
    true, pred, weight = _checked(y_true, y_pred, sample_weight)
    if weight is not None:
        true, pred, weight = true[weight > 0], pred[weight > 0], weight[weight > 0]
    # Extremes, since the deviations of equal values from their mean may be a rounding error instead of zero.
    if not len(true) or true.min() == true.max() or pred.min() == pred.max():
        return _undefined("pearson_score")
    a, b = _standardized(true, weight), _standardized(pred, weight)
    return float(np.clip(np.average(a * b, weights=weight), -1, 1))


def dependency_scorer(estimator: BaseEstimator, X: Any, y: Any = None) -> float:
    """Dependency between the modalities on these samples, as a scorer for searches and cross-validation.

    Parameters
    ----------
    estimator : object
        Fitted fusion estimator or :class:`~sklearn_mdm.DependencyEstimator`, or a pipeline or search around one.
    X : dict, ModalityDict, data frame or array
        Samples.
    y : Ignored
        Present because scorers are passed it.

    Returns
    -------
    score : float
        ``dependency_score(X)`` in nats (``score(X)`` of a DependencyEstimator). NaN for a fusion estimator without a
        reporting critic, as after a fit at ``lam=0``: a scorer trains nothing.

    Raises
    ------
    TypeError
        If the estimator is, or is built around, anything else.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> from sklearn_mdm.metrics import dependency_scorer
    >>> X, truth = make_correlated_gaussians(1000, rho=0.7, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=100, random_state=0).fit(X[:500])
    >>> bool(abs(dependency_scorer(estimator, X[500:]) - truth) < 0.2)
    True
    """
    final, X = final_estimator(estimator, X)
    if isinstance(final, DependencyEstimator):
        return float(final.score(X))
    if not isinstance(final, DependencyMixin):
        raise TypeError(
            "dependency_scorer needs a fusion estimator, such as MDMFusionClassifier, or a DependencyEstimator, alone, "
            f"as the last step of a pipeline or the estimator of a search; got a {type(final).__name__}."
        )
    return float(final.dependency_score(X)) if hasattr(final, "reporting_critic_") else float("nan")


#: Scorers by name, to be passed as ``scoring=SENTIMENT_SCORERS["acc7"]``, or all at once with ``refit="acc7"``.
SENTIMENT_SCORERS: dict[str, Any] = {
    "acc7": make_scorer(acc7_score),
    "acc5": make_scorer(acc5_score),
    "acc2_has0": make_scorer(acc2_score, zeros="has0"),
    "acc2_non0": make_scorer(acc2_score, zeros="non0"),
    "f1_has0": make_scorer(binary_f1_score, zeros="has0"),
    "f1_non0": make_scorer(binary_f1_score, zeros="non0"),
    "pearson": make_scorer(pearson_score),
    "neg_mean_absolute_error": "neg_mean_absolute_error",
}


def _checked(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: Weights) -> Checked:
    """Finite 1-D float arrays of one length, and weights or None."""
    values = []
    for name, y in (("y_true", y_true), ("y_pred", y_pred)):
        with named(name):
            y = check_array(y, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=name)
            values.append(column_or_1d(y))
    check_rows("y_pred", len(values[1]), len(values[0]), "y_true")
    weight = None
    if sample_weight is not None:
        with named("sample_weight"):
            check_rows("sample_weight", _num_samples(sample_weight), len(values[0]), "y_true")
            weight = _check_sample_weight(sample_weight, values[0], ensure_non_negative=True)
    return values[0], values[1], weight


def _agreement_of_degrees(y_true: ArrayLike, y_pred: ArrayLike, highest: int, sample_weight: Weights) -> float:
    true, pred, weight = _checked(y_true, y_pred, sample_weight)
    same = np.round(np.clip(true, -highest, highest)) == np.round(np.clip(pred, -highest, highest))
    return float(np.average(same, weights=weight))


def _two_classes(y_true: ArrayLike, y_pred: ArrayLike, zeros: Zeros, sample_weight: Weights) -> Checked:
    true, pred, weight = _checked(y_true, y_pred, sample_weight)
    if zeros not in ("has0", "non0"):
        raise ValueError(f"zeros must be 'has0' or 'non0', got {zeros!r}.")
    kept = np.ones(len(true), dtype=bool) if weight is None else weight > 0
    if zeros == "non0":
        kept &= true != 0
    true, pred, weight = true[kept], pred[kept], None if weight is None else weight[kept]
    return (true >= 0, pred >= 0, weight) if zeros == "has0" else (true > 0, pred > 0, weight)


def _standardized(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Values of mean 0 and standard deviation 1."""
    deviations = values - np.average(values, weights=weight)
    deviations /= np.abs(deviations).max()  # or squares of tiny ones would be 0, and of huge ones infinite
    return deviations / np.sqrt(np.average(deviations**2, weights=weight))


def _undefined(name: str) -> float:
    reason = "one side is constant" if name == "pearson_score" else "every true value is 0 or has no weight"
    warnings.warn(f"{name} is undefined: {reason}.", UndefinedMetricWarning, stacklevel=3)
    return float("nan")
