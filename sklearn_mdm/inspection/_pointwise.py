"""What the dependency of single samples says: which modality disagrees, and which samples are mismatched."""

from __future__ import annotations

from collections.abc import Hashable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from ..inputs._labels import row_labels
from ..utils._typing import RandomState
from ._pointwise_ratio import PointwiseRatio

POSITIVE = [Interval(Integral, 1, None, closed="left")]


@validate_params({"n_draws": POSITIVE, "random_state": ["random_state"]}, prefer_skip_nested_validation=True)
def pointwise_attribution(
    estimator: BaseEstimator, X: Any, *, background: Any = None, n_draws: int = 64, random_state: RandomState = None
) -> pd.DataFrame:
    r"""Share of each modality in the dependency of each sample.

    How much the estimated log density ratio T falls when one modality is re-drawn from other samples:

    .. math:: \Delta_j(x) = T(x) - \log \frac{1}{n} \sum_{i=1}^n e^{T(x_1, \dots, x_j^{(i)}, \dots, x_m)}

    The draws :math:`x_j^{(i)}` are the same for every sample, so that its values do not depend on the others: alone, it
    has the same ones. With the true ratio this is the pointwise mutual information of modality j and all others,
    :math:`\log p(x) / (p(x_j) \, p(x_{-j}))`. Low values say that the modality does not go with the rest of the sample.

    Parameters
    ----------
    estimator : object
        Fitted fusion estimator or :class:`~sklearn_mdm.DependencyEstimator`, or a pipeline or search around one.
    X : dict, ModalityDict, data frame or array
        Samples, best ones that the estimator was not fitted on; see :func:`rank_samples` for others.
    background : dict, ModalityDict, data frame or array, default=None
        Samples that modalities are re-drawn from. None takes some that the estimator keeps: up to 1,000 that a
        DependencyEstimator held out, up to 256 that a fusion estimator was trained on, or was given in
        ``fit_dependency``.
    n_draws : int, default=64
        Draws n of each modality; all samples of the background if it has fewer. With few draws, and strong
        dependency, values are too high, as :math:`e^T` is then dominated by draws that are not among them; and if a
        sample is itself among the draws, it has none above log n.
    random_state : int, RandomState instance or None, default=None
        Source of the draws from a background. Those without one are always the same.

    Returns
    -------
    attribution : DataFrame of shape (n_samples, n_modalities)
        In nats, a column per modality, rows as in X, with the row labels of X if it has some. NaN where a modality is
        missing.

    Raises
    ------
    ValueError
        If the estimator has no critic that reports dependency, or no sample of the background is complete.

    See Also
    --------
    rank_samples : Orders samples by how well their modalities go together.
    modality_importance : How much a score owes to each modality.

    Notes
    -----
    With a committee, T is the mean over four of its members (all, if there are fewer), as each is asked about every
    draw; for a sample of the fit, over at most four of those that held it out. Draws may be samples that these were
    trained on: nothing warns of a background. More than 10,000 samples are read in single precision: values are then
    known to about 1e-4 nats.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> from sklearn_mdm.inspection import pointwise_attribution
    >>> X, truth = make_correlated_gaussians(1000, rho=0.9, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=100, random_state=0).fit(X[:500])
    >>> odd = {"audio": [[1.0]], "visual": [[-1.0]], "text": [[1.0]]}
    >>> pointwise_attribution(estimator, odd, background=X[500:], random_state=0).idxmin(axis=1)[0]
    'visual'
    """
    ratio = PointwiseRatio(estimator, X)
    attribution = ratio.attribution(ratio.background(background, n_draws, check_random_state(random_state)))
    return pd.DataFrame(ratio.spread(attribution), index=_index_of(X, len(ratio.complete)), columns=ratio.names)


@validate_params({"n_negatives": POSITIVE, "random_state": ["random_state"]}, prefer_skip_nested_validation=True)
def rank_samples(
    estimator: BaseEstimator, X: Any, *, n_negatives: int = 32, random_state: RandomState = None
) -> pd.DataFrame:
    """Order samples by how well their modalities go together, the most incongruent ones first.

    Incongruent samples may be mismatched (a wrong pairing, a shifted recording) or simply unusual (irony). The null
    percentile tells how unusual: it compares a sample with negatives, whose modalities are from different samples.

    Parameters
    ----------
    estimator : object
        Fitted fusion estimator or :class:`~sklearn_mdm.DependencyEstimator`, or a pipeline or search around one.
    X : dict, ModalityDict, data frame or array
        Samples, best ones that the estimator was not fitted on.
    n_negatives : int, default=32
        Negatives made of each sample for the null: ones in which no two modalities belong together. They are no more
        than 40,000 in all, give or take one for each sample, and of more than 10,000 samples they are made of 10,000.
    random_state : int, RandomState instance or None, default=None
        Source of the negatives.

    Returns
    -------
    table : DataFrame
        Sorted; ``table.head()`` holds the most incongruent samples. The index holds the row labels of X if it has
        some, else positions, as in pointwise_attribution. ``sample``: position in X, whatever the index; ``value``: log
        density ratio in nats; ``null_percentile``: percentage of negatives with a lower value, ties by half. A sample
        whose modalities have nothing to do with each other has any percentile with the same probability. Samples with a
        missing modality are last, with NaN.

    Raises
    ------
    ValueError
        If the estimator has no critic that reports dependency, or there are fewer complete samples than modalities.

    Notes
    -----
    Values of samples that the critic was trained on are too high, those of mismatched ones among them too: it learns
    by heart what it sees. To search a data set for mismatches, fit a DependencyEstimator with ``cv`` on it and sort its
    ``pointwise_``, or leave the part that is searched out of the fit. A committee, which holds out folds, speaks of a
    sample of its fit by the members that held it out, as ``pointwise_dependency`` does. They also speak of the
    negatives made of the sample, the other modalities of which are from samples that they may have been trained on. A
    :class:`~sklearn_mdm.exceptions.SeenSamplesWarning` says how many samples nothing held out.

    With a null of 10,000 samples, the standard error of a percentile is half a point at most. More samples than these
    are read in single precision: values are then known to about 1e-4 nats, and count as equal within that.

    Examples
    --------
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> from sklearn_mdm.inspection import rank_samples
    >>> X, truth = make_correlated_gaussians(1000, rho=0.9, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=100, random_state=0).fit(X[:500])
    >>> X["text"][700] *= -1
    >>> int(rank_samples(estimator, X[500:], random_state=0)["sample"].iloc[0])
    200
    """
    ratio = PointwiseRatio(estimator, X)
    values, null = ratio.joint(), np.sort(ratio.null(n_negatives, check_random_state(random_state)), axis=None)
    bounds = values - ratio.precision, values + ratio.precision
    below = (np.searchsorted(null, bounds[0], "left") + np.searchsorted(null, bounds[1], "right")) / 2
    table = pd.DataFrame(
        {
            "sample": np.arange(len(ratio.complete)),
            "value": ratio.spread(values),
            "null_percentile": ratio.spread(100 * below / len(null)),
        }
    )
    table.index = _index_of(X, len(table))
    return table.sort_values("value", kind="stable")


@validate_params({"n_negatives": POSITIVE, "random_state": ["random_state"]}, prefer_skip_nested_validation=True)
def mismatch_test(
    estimator: BaseEstimator, X: Any, *, n_negatives: int = 8, random_state: RandomState = None
) -> pd.DataFrame:
    """How well true samples can be told from mismatched ones by their dependency.

    Parameters
    ----------
    estimator : object
        Fitted fusion estimator or :class:`~sklearn_mdm.DependencyEstimator`, or a pipeline or search around one.
    X : dict, ModalityDict, data frame or array
        Samples whose modalities belong together, best ones that the estimator was not fitted on; see
        :func:`rank_samples` for others. Those with a missing modality are left out. Of more than 10,000, as many are
        drawn at random.
    n_negatives : int, default=8
        Negatives made of each sample.
    random_state : int, RandomState instance or None, default=None
        Source of the negatives.

    Returns
    -------
    table : DataFrame
        Indexed by what was ``redrawn`` from other samples: "all" (no two modalities belong together), then each
        modality alone. ``auroc``: probability that a true sample has a higher value than a mismatched one, 0.5 by
        chance; ``std``: its standard error.

    Raises
    ------
    ValueError
        If the estimator has no critic that reports dependency, there are fewer complete samples than modalities, or a
        modality is named "all".

    Notes
    -----
    It needs no truth, has no unit and cannot be inflated by a critic that overstates itself, which makes it a measure
    of the critic's quality too. The standard error is that of the mean influence of independent samples: what each does
    as a true one, and as a part of mismatched ones in each role that it has there. These are few, whose noise makes it
    too large: by 5 to 31 % on 200 Gaussian samples of 1 to 4 nats with the default ``n_negatives``, and by 21 to 60 %
    with one. It is that of the samples that are looked at: with 10,000, about 0.003.

    Examples
    --------
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> from sklearn_mdm.inspection import mismatch_test
    >>> X, truth = make_correlated_gaussians(1000, rho=0.9, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=100, random_state=0).fit(X[:500])
    >>> mismatch_test(estimator, X[500:], random_state=0).round(1)
             auroc  std
    redrawn
    all        0.9  0.0
    audio      0.8  0.0
    text       0.8  0.0
    visual     0.8  0.0
    """
    random = check_random_state(random_state)
    ratio = PointwiseRatio(estimator, X)
    if "all" in ratio.names:
        raise ValueError(
            "a modality is named 'all', which is what the row is called where every modality is re-drawn. Give it "
            "another name before fit."
        )
    rows = ratio.some(random)
    n, m = len(rows), len(ratio.names)
    indices = [np.tile(np.arange(n), (m, 1)), *ratio.negatives(n, n_negatives, random)]
    roles: dict[Hashable, np.ndarray] = {"all": np.array(indices[1:])}
    for j, name in enumerate(ratio.names):
        drawn = list(ratio.redrawings(n, j, n_negatives, random))
        indices += drawn
        roles[name] = np.array(drawn)[:, [j, j - 1]]  # all modalities but j are from one row
    values = ratio.together(rows, indices)
    nulls = np.split(values[1:], np.cumsum([len(of_kind) for of_kind in roles.values()])[:-1])
    found = [auroc(values[0], null, of_kind) for null, of_kind in zip(nulls, roles.values(), strict=True)]
    redrawn = pd.Index(roles, name="redrawn", dtype=object)
    return pd.DataFrame(found, index=redrawn, columns=["auroc", "std"])


def auroc(values: np.ndarray, null: np.ndarray, roles: np.ndarray) -> tuple[float, float]:
    """Probability that one of values (n,) exceeds one of null (n_negatives, n), and its standard error.

    ``roles`` (n_negatives, n_roles, n) holds the rows that each mismatched sample was put together from. In each role,
    a row is part of mismatched samples, as it is a true one itself: its influence is the sum of what it does as each.
    """
    n, pooled = len(values), null.ravel()
    ranks = rankdata(np.concatenate([values, pooled]))
    above = (ranks[:n] - rankdata(values)) / len(pooled)  # of each true sample: share of the null below it
    below = 1 - (ranks[n:] - rankdata(pooled)) / n  # of each mismatched one: share of true samples above it
    influence = above.copy()
    for rows in np.swapaxes(roles, 0, 1):
        # Every row is there once in each set of negatives.
        influence += np.bincount(rows.ravel(), weights=below, minlength=n) / len(null)
    return float(above.mean()), float(np.sqrt(influence.var(ddof=1) / n))


def _index_of(X: Any, n: int) -> pd.Index:
    labels = row_labels(X)
    return pd.RangeIndex(n) if labels is None else labels
