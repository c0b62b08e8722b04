"""The scikit-learn models that ours are compared with, each lightly tuned by folds of what is fitted.

All read the standardised concatenation of the views (sequences as mean and standard deviation over the observed
steps); missing values are filled with the mean, but for boosting, which takes them as they are. Folds are stratified,
keep groups together, and are the same for all models; where there are too few rows for folds, the first setting is
taken. Targets of regression are standardised for the models whose settings depend on their scale.
"""

from __future__ import annotations

import logging
import time
from functools import partial

import numpy as np
from _quality_tasks import pool, splitter
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

CS = np.logspace(-4, 2, 7)
ALPHAS = np.logspace(-2, 5, 15)
# Settings; the first one is taken where nothing can be tuned.
GRIDS = {
    "boosting": {"max_leaf_nodes": [31, 7]},
    "forest": {"max_features": ["sqrt", 0.3]},
    "SVC": {"C": [10.0, 1.0, 100.0]},
    "SVR": {"C": [1.0, 0.1, 10.0]},
    "MLP": {"alpha": [1e-4, 1e-2, 1.0]},
}


def flatten(X):
    """All features side by side; sequences as mean and standard deviation over the observed steps."""
    return np.hstack([pool(x) for x in X.values()]).astype(np.float64)


def scaled(model):
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def folds_of(part, *, classes, seed):
    """Splits for tuning: five folds up to 500 rows, else three; None where there are too few rows."""
    found = splitter(part, 5 if len(part.y) <= 500 else 3, classes=classes, seed=seed)
    return None if found is None else list(found.split(part.y, part.y, part.groups))


class Pair:
    """Classes from one model, probabilities from another, or where that is None all for the class."""

    def __init__(self, of_classes, of_probabilities):
        self.of_classes, self.of_probabilities = of_classes, of_probabilities
        self.classes_ = of_classes.classes_

    def predict(self, X):
        return self.of_classes.predict(X)

    def predict_proba(self, X):
        if self.of_probabilities is not None:
            return self.of_probabilities.predict_proba(X)
        return np.eye(len(self.classes_))[np.searchsorted(self.classes_, self.predict(X))]


def _linear(fit, X, classes, folds, scoring="accuracy"):
    """The linear model on standardised features."""
    if not classes:
        # By leave-one-out, unless that would cut groups.
        return scaled(RidgeCV(ALPHAS, cv=None if fit.groups is None else folds)).fit(X, fit.y)
    if folds is None:
        return scaled(LogisticRegression(C=0.1, max_iter=1000)).fit(X, fit.y)
    options = {"scoring": scoring, "max_iter": 1000, "l1_ratios": (0,), "use_legacy_attributes": False}
    return scaled(LogisticRegressionCV(Cs=CS, cv=folds, **options)).fit(X, fit.y)


def linear(fit, X, classes, folds, seed):
    """Tuned by accuracy for classes and by log loss for probabilities: what is best for one is bad for the other."""
    found = _linear(fit, X, classes, folds)
    return Pair(found, _linear(fit, X, classes, folds, "neg_log_loss")) if classes else found


def _searched(name, model, y, X, folds, classes, prefix):
    """The model with the setting of its grid that the folds prefer, by accuracy or absolute error."""
    grid = {prefix + key: values for key, values in GRIDS[name].items()}
    if name in ("SVC", "SVR"):
        grid[prefix + "gamma"] = [1 / X.shape[1], 0.25 / X.shape[1]]  # scikit-learn's default, and wider
    if folds is None:
        return model.set_params(**{key: values[0] for key, values in grid.items()}).fit(X, y)
    scoring = "accuracy" if classes else "neg_mean_absolute_error"
    return GridSearchCV(model, grid, scoring=scoring, cv=folds).fit(X, y).best_estimator_


def boosting(fit, X, classes, folds, seed):
    model = (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(random_state=seed)
    if classes and len(np.unique(fit.y)) > 50:
        folds = None  # a fit grows so many trees a step that folds would take a quarter of an hour
    return _searched("boosting", model, fit.y, X, folds, classes, "")


def forest(fit, X, classes, folds, seed):
    model = (RandomForestClassifier if classes else RandomForestRegressor)(n_estimators=300, random_state=seed)
    step = type(model).__name__.lower() + "__"
    return _searched("forest", scaled(model), fit.y, X, folds, classes, step)


def mlp(fit, X, classes, folds, seed):
    if classes:
        model = scaled(MLPClassifier(max_iter=300, random_state=seed))
        return _searched("MLP", model, fit.y, X, folds, classes, "mlpclassifier__")
    network = MLPRegressor(max_iter=300, random_state=seed)
    model = TransformedTargetRegressor(scaled(network), transformer=StandardScaler())
    return _searched("MLP", model, fit.y, X, folds, classes, "regressor__mlpregressor__")


def svm(fit, X, classes, folds, seed):
    """Probabilities are decision values, calibrated by the folds that tuned the model."""
    if not classes:
        model = TransformedTargetRegressor(scaled(SVR()), transformer=StandardScaler())
        return _searched("SVR", model, fit.y, X, folds, classes, "regressor__svr__")
    found = _searched("SVC", scaled(SVC()), fit.y, X, folds, classes, "svc__")
    if folds is None:
        return Pair(found, None)
    return Pair(found, CalibratedClassifierCV(clone(found), cv=folds, ensemble=False).fit(X, fit.y))


def stacking(fit, X, classes, folds, seed):
    """One linear model a view, each tuned as the one on all of them, and one on their predictions."""
    views, start = [], 0
    for name, x in fit.X.items():
        width = pool(x[:1]).shape[1]
        columns, start = list(range(start, start + width)), start + width
        tuned = _linear(fit, X[:, columns], classes, folds)[-1]
        if classes:
            C = tuned.C_ if hasattr(tuned, "C_") else tuned.C
            model = LogisticRegression(C=float(np.ravel(C)[0]), max_iter=1000)
        else:
            model = Ridge(alpha=tuned.alpha_)
        views.append((name, make_pipeline(ColumnTransformer([(name, "passthrough", columns)]), scaled(model))))
    if folds is None:
        return _linear(fit, X, classes, None)
    last = LogisticRegression(max_iter=1000) if classes else RidgeCV(ALPHAS)
    return (StackingClassifier if classes else StackingRegressor)(views, last, cv=folds).fit(X, fit.y)


class Baseline:
    """A model that reads all features side by side."""

    def __init__(self, fit, *, seeded):
        self.fit, self.seeded, self.params = fit, seeded, {}

    def run(self, task, fit, judge, seed):
        """(what ``predict_proba`` or ``predict`` says of the judged part, its classes or values, details)."""
        classes = task.kind == "classes"
        # Models without random numbers tune by the same folds every time, too.
        seed = seed if self.seeded or task.splits_vary else 0
        X, judged = flatten(fit.X), flatten(judge.X)
        start = time.perf_counter()
        model = self.fit(fit, X, classes, folds_of(fit, classes=classes, seed=seed), seed)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        values = model.predict(judged)
        details = {"seconds": seconds, "predict_seconds": time.perf_counter() - start}
        return (columns_of(model, judged) if classes else values), values, details


def columns_of(model, X):
    """Probabilities of the classes 0, 1, ..., also of those that were not in the training data."""
    found = model.predict_proba(X)
    probabilities = np.zeros((len(found), int(max(model.classes_)) + 1))
    probabilities[:, np.asarray(model.classes_, dtype=int)] = found
    return probabilities


BASELINES = {
    "linear": Baseline(linear, seeded=False),
    "boosting": Baseline(boosting, seeded=False),
    "forest": Baseline(forest, seeded=True),
    "SVM": Baseline(svm, seeded=False),
    "MLP": Baseline(mlp, seeded=True),
    "stacking": Baseline(stacking, seeded=False),
}
FIVE = ("linear", "boosting", "forest", "SVM", "MLP")
# With pytabkit, which is no requirement: defaults that were tuned on other data, and its own validation split.
PYTABKIT = {"RealMLP": "RealMLP_TD", "TabM": "TabM_D"}


def _pytabkit(prefix, fit, X, classes, folds, seed):
    from pytabkit import models

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    model = getattr(models.sklearn.sklearn_interfaces, f"{prefix}_{'Classifier' if classes else 'Regressor'}")
    return scaled(model(device="cpu", n_threads=1, random_state=seed)).fit(X, fit.y)


OPTIONAL = {name: Baseline(partial(_pytabkit, prefix), seeded=True) for name, prefix in PYTABKIT.items()}
