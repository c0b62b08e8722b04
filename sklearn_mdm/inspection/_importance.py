"""How much a score owes to each modality: permutation importance and Shapley values."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..utils._typing import RandomState
from ._scores import PARAMETER_CHECKS, SubsetScores
from ._views import ModalityColumns

# What subsets of the names are worth, each a tuple in the order of the names: a number, or several at once.
Game: TypeAlias = Callable[[tuple], np.ndarray]


@validate_params(PARAMETER_CHECKS, prefer_skip_nested_validation=True)
def modality_importance(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    *,
    scoring: str | Callable[..., Any] | None = None,
    n_repeats: int = 10,
    modalities: ModalityColumns | None = None,
    random_state: RandomState = None,
) -> pd.DataFrame:
    """Permutation importance of whole modalities.

    A modality is taken from other samples, all of its features together, and the fall of the score is its importance.
    Works for any fitted estimator on any form of X; :func:`sklearn.inspection.permutation_importance` takes neither
    dicts nor several columns at once.

    Parameters
    ----------
    estimator : object
        Fitted estimator, pipeline or search.
    X : dict, ModalityDict, data frame or array
        Samples, best ones that the estimator was not fitted on. Those with a missing modality are left out, with a
        warning.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
        Their targets; None for a scoring that does without.
    scoring : str, callable or None, default=None
        One metric, as for :func:`~sklearn.model_selection.cross_val_score`. None takes the estimator's own score.
    n_repeats : int, default=10
        Times that each modality is re-drawn.
    modalities : dict, default=None
        Columns of each modality where X is a 2-D array or a flat frame, as in
        :class:`~sklearn.compose.ColumnTransformer`. None takes those that the estimator was fitted with.
    random_state : int, RandomState instance or None, default=None
        Source of the re-drawn samples.

    Returns
    -------
    table : DataFrame
        Indexed by modality: ``importance``, the fall of the score, and ``std``, its standard deviation over the
        repeats.

    Raises
    ------
    ValueError
        If X holds fewer than two modalities or complete samples, or y is None and the scoring needs it.

    See Also
    --------
    modality_shapley : Shares out what redundant modalities have in common.
    modality_drop : Scores without modalities, for estimators that take missing ones.

    Notes
    -----
    Of two modalities that say the same, an estimator may use one or both: a low importance does not mean that a
    modality is uninformative.

    References
    ----------
    .. [1] Gat, Schwartz, Schwing, "Perceptual Score: What Data Modalities Does Your Model Perceive?", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_mdm.inspection import modality_importance
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2))
    >>> model = LinearRegression().fit(X, X[:, 0])
    >>> modality_importance(model, X, X[:, 0], modalities={"used": [0], "unused": [1]}, random_state=0).round(1)
              importance  std
    modality
    unused           0.0  0.0
    used             2.0  0.1
    """
    scores = SubsetScores(estimator, X, y, scoring, "redraw", n_repeats, modalities, random_state)
    names = tuple(scores.names)
    falls = [scores(names) - scores(tuple(other for other in names if other != name)) for name in names]
    return _table(names, falls, "importance")


@validate_params(
    PARAMETER_CHECKS
    | {
        "removal": [StrOptions({"redraw", "missing"})],
        "max_subsets": [Interval(Integral, 4, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def modality_shapley(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    *,
    scoring: str | Callable[..., Any] | None = None,
    removal: Literal["redraw", "missing"] = "redraw",
    n_repeats: int = 10,
    max_subsets: int = 256,
    modalities: ModalityColumns | None = None,
    random_state: RandomState = None,
) -> pd.DataFrame:
    r"""Shapley values of the modalities: a score shared out among them.

    With :math:`v(S)` the score from the modalities S, each gets the average of what it adds,

    .. math:: \phi_j = \sum_{S \not\ni j} \frac{|S|! \, (m - |S| - 1)!}{m!} \left(v(S \cup \{j\}) - v(S)\right)

    so that the values add up to the score from all modalities minus that from none, and modalities that do the same get
    the same.

    Parameters
    ----------
    estimator : object
        Fitted estimator, pipeline or search.
    X : dict, ModalityDict, data frame or array
        Samples, best ones that the estimator was not fitted on. Those with a missing modality are left out, with a
        warning.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
        Their targets; None for a scoring that does without.
    scoring : str, callable or None, default=None
        One metric, as for :func:`~sklearn.model_selection.cross_val_score`. None takes the estimator's own score.
    removal : {"redraw", "missing"}, default="redraw"
        What becomes of the modalities outside S. ``"redraw"``: all of them are those of one other sample, which any
        estimator takes. ``"missing"``: they are not observed, as in :func:`modality_drop`.
    n_repeats : int, default=10
        Draws of other samples, or bootstrap samples with ``removal="missing"``.
    max_subsets : int, default=256
        Scores to compute at most. If there are more subsets, as there are of nine modalities, values are averages over
        random orders of the modalities and their reverse instead of over all orders; they still add up.
    modalities : dict, default=None
        Columns of each modality where X is a 2-D array or a flat frame, as in
        :class:`~sklearn.compose.ColumnTransformer`. None takes those that the estimator was fitted with.
    random_state : int, RandomState instance or None, default=None
        Source of the samples, and of orders where they are drawn.

    Returns
    -------
    table : DataFrame
        Indexed by modality: ``value``, and ``std``, its standard deviation over the repeats (the error of drawn orders
        is not in it). ``table.attrs["full"]`` is the score from all modalities, ``table.attrs["empty"]`` that from
        none: each sample then gets the prediction of another one.

    Raises
    ------
    ValueError
        As :func:`modality_importance`; with ``removal="missing"`` also if the estimator does not predict with missing
        modalities.

    References
    ----------
    .. [1] Shapley, "A value for n-person games", Contributions to the Theory of Games II, 1953.
    .. [2] Parcalabescu, Frank, "MM-SHAP: A Performance-agnostic Metric for Measuring Multimodal Contributions in Vision
       and Language Models & Tasks", ACL 2023, which shares out single predictions instead of a score.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_mdm.inspection import modality_shapley
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2))
    >>> y = X[:, 0] + X[:, 1]
    >>> model = LinearRegression().fit(X, y)
    >>> table = modality_shapley(model, X, y, modalities={"a": [0], "b": [1]}, random_state=0)
    >>> table["value"].round().to_dict()
    {'a': 1.0, 'b': 1.0}
    >>> bool(np.isclose(table["value"].sum(), table.attrs["full"] - table.attrs["empty"]))
    True
    """
    scores = SubsetScores(estimator, X, y, scoring, removal, n_repeats, modalities, random_state)
    names = tuple(scores.names)
    if 2 ** len(names) <= max_subsets:
        values = exact_shapley(scores, names)
    else:
        values = sampled_shapley(scores, names, max_subsets // len(names), check_random_state(random_state))
    table = _table(names, values, "value")
    table.attrs = {"full": float(scores(names)[0]), "empty": float(scores(())[0])}
    return table


def exact_shapley(v: Game, names: tuple) -> list[np.ndarray]:
    """Shapley value of each name in a game."""
    m = len(names)
    values: list[Any] = [0.0] * m
    for bits in range(2**m):
        subset = tuple(name for i, name in enumerate(names) if bits >> i & 1)
        for j in range(m):
            if not bits >> j & 1:
                larger = tuple(name for i, name in enumerate(names) if (bits | 1 << j) >> i & 1)
                weight = math.factorial(len(subset)) * math.factorial(m - len(subset) - 1) / math.factorial(m)
                values[j] = values[j] + weight * (v(larger) - v(subset))
    return values


def sampled_shapley(v: Game, names: tuple, n_orders: int, random: np.random.RandomState) -> list[np.ndarray]:
    """Average of what each name adds to those before it, over random orders and their reverse."""
    m, n_pairs = len(names), max(1, n_orders // 2)
    values: list[Any] = [0.0] * m
    for _ in range(n_pairs):
        order = random.permutation(m)
        for each in (order, order[::-1]):
            before = v(())
            for position, j in enumerate(each):
                subset = tuple(names[i] for i in sorted(each[: position + 1]))
                after = v(subset)
                values[j] = values[j] + (after - before) / (2 * n_pairs)
                before = after
    return values


def _table(names: tuple, values: list[np.ndarray], column: str) -> pd.DataFrame:
    rows = [(value[0], value[1:].std(ddof=1)) for value in values]
    return pd.DataFrame(rows, columns=[column, "std"], index=pd.Index(names, name="modality", dtype=object))
