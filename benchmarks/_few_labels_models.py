"""The models of the benchmark of few labels: ours, with and without the rows that have no label, and four baselines.

The baselines read the standardised concatenation of the views (sequences as mean and standard deviation); means and
scales are those of all rows, with and without labels. Logistic regression, alone and in self-training, chooses C by
stratified folds where every class has five labels, and has C = 1 where it has fewer: there is nothing to choose it by.
Of label spreading nobody knows the number of neighbours: each is a model of its own, and the best of them on the rows
that are judged is an oracle.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from _quality_baselines import ALPHAS, CS, Baseline, flatten
from _quality_models import Ours
from _quality_tasks import keep
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

# Labels a class from which C is chosen by folds.
ENOUGH = 5
NEIGHBOURS = (3, 5, 7, 10, 20)
FIXED = 7
THRESHOLD = 0.8
WITHOUT = "without_"


class Few(Ours):
    """A fusion estimator that has the rows without labels, or not, and is also judged without each modality in turn."""

    def __init__(self, params, *, unlabelled):
        super().__init__(params)
        self.unlabelled = unlabelled
        self.traits = ("few", "unlabelled" if unlabelled else "labelled")

    def further(self, fit):
        return {"X_unlabeled": fit.unlabelled} if self.unlabelled and fit.unlabelled is not None else {}

    def more(self, estimator, fit, judge):
        names = list(judge.X) if len(judge.X) > 1 else []
        kept = {name: [other for other in names if other != name] for name in names}
        return {"rows": {WITHOUT + name: estimator.predict(keep(judge.X, views)) for name, views in kept.items()}}


def _prepare():
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())


def _with_unlabelled(fit, X):
    return X if fit.unlabelled is None else np.vstack([X, flatten(fit.unlabelled)])


def _fit_labelled(model, fit, X):
    """Fitted on the labelled rows, standardised by all."""
    return make_pipeline(FrozenEstimator(_prepare().fit(_with_unlabelled(fit, X))), model).fit(X, fit.y)


def _fit_all(model, fit, X):
    """Fitted on all rows, where scikit-learn marks those without a label by -1."""
    both = _with_unlabelled(fit, X)
    y = np.concatenate([fit.y, np.full(len(both) - len(X), -1)])
    return make_pipeline(_prepare(), model).fit(both, y)


def linear(fit, X, classes, folds, seed):
    if not classes:
        return _fit_labelled(RidgeCV(ALPHAS, cv=None if fit.groups is None else folds), fit, X)
    if folds is None or np.unique(fit.y, return_counts=True)[1].min() < ENOUGH:
        return _fit_labelled(LogisticRegression(C=1.0, max_iter=1000), fit, X)
    options = {"scoring": "accuracy", "max_iter": 1000, "l1_ratios": (0,), "use_legacy_attributes": False}
    return _fit_labelled(LogisticRegressionCV(Cs=CS, cv=folds, **options), fit, X)


def forest(fit, X, classes, folds, seed):
    model = RandomForestClassifier if classes else RandomForestRegressor
    return _fit_labelled(model(n_estimators=300, random_state=seed), fit, X)


def self_training(fit, X, classes, folds, seed):
    found = linear(fit, X, classes, folds, seed)[-1]
    C = float(np.ravel(found.C_ if hasattr(found, "C_") else found.C)[0])
    return _fit_all(SelfTrainingClassifier(LogisticRegression(C=C, max_iter=1000), threshold=THRESHOLD), fit, X)


class Spreading(LabelSpreading):
    """Label spreading that is undecided, and takes the first class, where no label reaches any neighbour of a row."""

    def predict_proba(self, X):
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(super().predict_proba(X), nan=1 / len(self.classes_))


def spreading(k, fit, X, classes, folds, seed):
    return _fit_all(Spreading(kernel="knn", n_neighbors=k, alpha=0.2, max_iter=200), fit, X)


LABELLED, UNLABELLED = "labelled rows only", "with unlabelled rows"
ORACLE = "spreading, oracle k"
SPREADING = {f"spreading, k={k}": Baseline(partial(spreading, k), seeded=False) for k in NEIGHBOURS}
# With few labels "auto" is 1; with many it is chosen.
OURS = {LABELLED: Few({}, unlabelled=False), UNLABELLED: Few({"lam": "auto"}, unlabelled=True)}
BASELINES = {
    "linear": Baseline(linear, seeded=False),
    "forest": Baseline(forest, seeded=True),
    "self-training": Baseline(self_training, seeded=False),
    **SPREADING,
}
CLASSES_ONLY = ("self-training", *SPREADING)
MODELS = {**OURS, **BASELINES}
