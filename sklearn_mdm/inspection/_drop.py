"""What is lost when modalities are missing at prediction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from ._scores import SubsetScores


@validate_params(
    {
        "n_repeats": [Interval(Integral, 2, None, closed="left")],
        "max_subsets": [Interval(Integral, 1, None, closed="left")],
        "modalities": [Mapping, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def modality_drop(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    scoring: Any = None,
    n_repeats: int = 50,
    max_subsets: int = 20,
    modalities: Mapping[Hashable, Any] | None = None,
    random_state: Any = None,
) -> pd.DataFrame:
    """Score a fitted estimator without each subset of the modalities.

    The modalities that are left out are not observed at all: NaN in arrays and data frames, None in lists. Nothing is
    trained; an estimator that was never shown a missing modality is judged as it is.

    Parameters
    ----------
    estimator : object
        Fitted estimator that predicts from samples with missing modalities: a fusion estimator, or any other, such as a
        pipeline that imputes NaN, or a search around one.
    X : dict, ModalityDict, data frame or array
        Samples, best ones that the estimator was not fitted on. Those that lack a modality already are left out, with
        a warning.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
        Their targets; None for a scoring that does without.
    scoring : str, callable or None, default=None
        One metric, as for :func:`~sklearn.model_selection.cross_val_score`. None takes the estimator's own score.
    n_repeats : int, default=50
        Bootstrap samples for the standard errors, drawn within classes for a classifier, whose sizes count
        as given. Predictions are made once for each subset.
    max_subsets : int, default=20
        Most subsets of each size that are looked at; of more, that many are drawn at random. 20 is enough for all
        subsets of up to six modalities.
    modalities : dict, default=None
        Columns of each modality where X is a 2-D array or a flat frame, as in
        :class:`~sklearn.compose.ColumnTransformer`. None takes those that the estimator was fitted with.
    random_state : int, RandomState instance or None, default=None
        Source of the bootstrap samples, and of subsets where they are drawn.

    Returns
    -------
    table : DataFrame
        One row per subset, the first with everything kept, by number of modalities left out. ``kept`` and ``dropped``
        are tuples of names; ``score``; ``change``, the score minus that of the first row; ``score_std`` and
        ``change_std``, their bootstrap standard errors. The samples are the same in all rows, so a change may be far
        better known than a score.

    Raises
    ------
    ValueError
        If the estimator does not predict with missing modalities, X holds fewer than two, or y is None and the scoring
        needs it.

    See Also
    --------
    modality_importance : Re-draws modalities instead, which any estimator takes.
    ModalityDropDisplay : Picture of this table.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn_mdm.inspection import modality_drop
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=400)
    >>> X = np.column_stack([y + 0.1 * rng.normal(size=400), rng.normal(size=400)])
    >>> model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X[:200], y[:200])
    >>> table = modality_drop(model, X[200:], y[200:], modalities={"signal": [0], "noise": [1]}, random_state=0)
    >>> table[["kept", "score"]].round(2)
                  kept  score
    0  (noise, signal)   1.00
    1        (signal,)   1.00
    2         (noise,)   0.55
    """
    scores = SubsetScores(
        estimator,
        X,
        y,
        scoring=scoring,
        removal="missing",
        n_repeats=n_repeats,
        modalities=modalities,
        random_state=random_state,
    )
    names = tuple(scores.names)
    everything = scores(names)
    rows = []
    for dropped in [(), *_subsets(names, max_subsets, check_random_state(random_state))]:
        kept = tuple(name for name in names if name not in dropped)
        score, change = scores(kept), scores(kept) - everything
        rows.append((kept, dropped, score[0], score[1:].std(ddof=1), change[0], change[1:].std(ddof=1)))
    return pd.DataFrame(rows, columns=["kept", "dropped", "score", "score_std", "change", "change_std"])


def _subsets(names: tuple, most: int, random: np.random.RandomState) -> list[tuple]:
    """Subsets to leave out, smaller ones first: of each size all, or as many as allowed."""
    subsets: list[tuple] = []
    for size in range(1, len(names)):
        if math.comb(len(names), size) <= most:
            subsets += itertools.combinations(names, size)
            continue
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < most:
            drawn.add(tuple(sorted(random.permutation(len(names))[:size].tolist())))
        subsets += [tuple(names[j] for j in chosen) for chosen in sorted(drawn)]
    return subsets
