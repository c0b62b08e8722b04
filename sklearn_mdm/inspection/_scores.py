"""Scores of a fitted estimator from some of the modalities, the others having been taken away or re-drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from inspect import signature
from numbers import Integral
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _num_samples, column_or_1d

from ..estimators import MDMFusionClassifier, MDMFusionRegressor
from ..estimators._target import complete_target
from ..utils._arguments import check_rows, named
from ..utils._typing import RandomState
from ..utils._unwrap import final_estimator
from ._views import ModalityColumns, ModalityViews, complete_views, partners

# What validate_params checks in all functions that score subsets.
PARAMETER_CHECKS = {
    "n_repeats": [Interval(Integral, 2, None, closed="left")],
    "modalities": [Mapping, None],
    "random_state": ["random_state"],
}


class SubsetScores:
    """Score from each subset of modalities, and how much it varies, by the parameters of :func:`modality_shapley`."""

    def __init__(
        self,
        estimator: BaseEstimator,
        X: Any,
        y: Any,
        scoring: str | Callable[..., Any] | None,
        removal: Literal["missing", "redraw"],
        n_repeats: int,
        modalities: ModalityColumns | None,
        random_state: RandomState,
    ) -> None:
        predictor, _ = final_estimator(estimator)
        with named("X"):
            views = ModalityViews(X, modalities, estimator)
        if y is not None:
            with named("y"):
                check_rows("y", _num_samples(y), views.n_samples)
                y = complete_target(predictor, X, y)
        self.views, self.y = complete_views(views, y, modalities, estimator)
        if isinstance(scoring, (list, tuple, set, Mapping)):
            raise ValueError(f"scoring must be one metric here, got {scoring!r}. Call this once for each.")
        scoring = default_scoring(estimator) if scoring is None else scoring
        self.estimator, self.scorer, self.removal = estimator, check_scoring(estimator, scoring=scoring), removal
        if y is None and not _accepts(self.scorer, estimator, X):
            raise ValueError(f"y is required by this scoring ({scoring!r}), got None. Pass the targets of X.")
        n, random = self.views.n_samples, check_random_state(random_state)
        if n < 2:
            raise ValueError(f"{n} sample with every modality observed is too few to compare; pass at least 2.")
        self.partners = [next(partners(n, 1, random)) for _ in range(n_repeats)]
        self.samples = [_bootstrap(n, self._classes(), random) for _ in range(n_repeats)]
        self._cache: dict[tuple[Hashable, ...], np.ndarray] = {}

    def _classes(self) -> np.ndarray | None:
        """Class of each sample of a classifier with one output, else None."""
        classifies = hasattr(self.estimator, "__sklearn_tags__") and is_classifier(self.estimator)
        if self.y is None or not classifies or type_of_target(self.y) not in ("binary", "multiclass"):
            return None
        return column_or_1d(self.y)

    @property
    def names(self) -> list[Hashable]:
        """Modality names."""
        return self.views.names

    def __call__(self, kept: tuple[Hashable, ...]) -> np.ndarray:
        """Return the score from these modalities, then those of the repeats: (1 + n_repeats,)."""
        if kept not in self._cache:
            scores = self._missing(kept) if self.removal == "missing" else self._redrawn(kept)
            if len(kept) == len(self.names) and not np.isfinite(scores[0]):
                raise ValueError(
                    f"the score of {type(self.estimator).__name__} is {scores[0]} with every modality: this scoring is "
                    "not defined on these samples, as ROC AUC is not where y has one class. Pass others."
                )
            self._cache[kept] = scores
        return self._cache[kept]

    def _redrawn(self, kept: tuple[Hashable, ...]) -> np.ndarray:
        redrawn = [name for name in self.names if name not in kept]
        if not redrawn:
            everything = self.views.take(np.arange(self.views.n_samples))
            return np.repeat(self._score(self.estimator, everything, self.y), 1 + len(self.partners))
        scores = [self._score(self.estimator, self.views.redrawn(redrawn, rows), self.y) for rows in self.partners]
        return np.array([np.mean(scores), *scores])

    def _missing(self, kept: tuple[Hashable, ...]) -> np.ndarray:
        missing = [name for name in self.names if name not in kept]
        everything = np.arange(self.views.n_samples)
        if not kept:
            # With nothing observed there is no prediction: every sample is given that of another one.
            score = self._score_of_rows(self.views.take(everything))
            whole = [score(partner, everything) for partner in self.partners]
            parts = [score(partner[rows], rows) for partner, rows in zip(self.partners, self.samples, strict=True)]
            return np.array([np.mean(whole), *parts])
        try:
            score = self._score_of_rows(self.views.without(missing))
            scores = [score(rows, rows) for rows in (everything, *self.samples)]
        except (TypeError, ValueError) as error:
            if not missing:
                raise
            raise ValueError(
                f"{type(self.estimator).__name__} does not predict without the modalities {missing}, which were set to "
                "NaN (or None). Use modality_importance, which re-draws modalities instead, or put something before it "
                f"that fills them, such as a SimpleImputer. Its error: {error}"
            ) from error
        if missing and not np.isfinite(scores[0]):
            raise ValueError(
                f"the score of {type(self.estimator).__name__} without the modalities {missing} is {scores[0]}. Use an "
                "estimator that takes missing modalities, or modality_importance."
            )
        return np.array(scores)

    def _score_of_rows(self, X: Any) -> Callable[[np.ndarray, np.ndarray], float]:
        """Return the score of rows of X for the targets of rows of y, as a function."""
        # A scorer of scikit-learn reads predictions only, which are made once; any other may look at X.
        reads_predictions = hasattr(self.scorer, "_score_func")
        predicted = Predicted(self.estimator, X) if reads_predictions else self.estimator

        def score(rows: np.ndarray, y_rows: np.ndarray) -> float:
            y = None if self.y is None else _safe_indexing(self.y, y_rows)
            return self._score(predicted, rows if reads_predictions else _safe_indexing(X, rows), y)

        return score

    def _score(self, estimator: BaseEstimator, X: Any, y: Any) -> float:
        score = self.scorer(estimator, X) if y is None else self.scorer(estimator, X, y)
        if np.ndim(score) != 0 or isinstance(score, Mapping):
            raise ValueError(f"scoring must return one number, got {score!r}.")
        return float(score)


def _accepts(function: Any, *args: Any) -> bool:
    """Whether a function can be called with these arguments and no others."""
    try:
        signature(function).bind(*args)
    except TypeError:
        return False
    return True


def _bootstrap(n: int, classes: np.ndarray | None, random: np.random.RandomState) -> np.ndarray:
    """Return rows of a bootstrap sample: (n,); within each class, as many scores need every one of them."""
    if classes is None:
        return random.randint(n, size=n)
    groups = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    return np.concatenate([group[random.randint(len(group), size=len(group))] for group in groups])


class Predicted:
    """A fitted estimator whose X are rows of samples that it predicts once: a bootstrap then costs no predictions."""

    def __init__(self, estimator: BaseEstimator, X: Any) -> None:
        self._estimator, self._X, self._outputs = estimator, X, {}  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.__dict__["_estimator"], name)
        if name not in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            return attribute

        def rows_of_output(rows: np.ndarray) -> Any:
            if name not in self._outputs:
                self._outputs[name] = attribute(self._X)
            output = self._outputs[name]
            return [each[rows] for each in output] if isinstance(output, list) else output[rows]

        rows_of_output.__name__ = name  # scorers ask for it
        return rows_of_output


def default_scoring(estimator: BaseEstimator) -> str | None:
    """Name what ``estimator.score`` measures, where that is known, so that it can be read off predictions."""
    while True:
        if hasattr(estimator, "best_estimator_") and getattr(estimator, "scoring", "") is None:
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        else:
            break
    known = {
        ClassifierMixin.score: "accuracy",
        MDMFusionClassifier.score: "accuracy",
        RegressorMixin.score: "r2",
        MDMFusionRegressor.score: "r2",
    }
    return known.get(getattr(type(estimator), "score", None))
