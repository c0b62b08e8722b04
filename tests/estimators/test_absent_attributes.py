"""Attributes that only some fits make: where they are absent, the error says why, and hasattr stays False."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_mdm import DependencyEstimator, ModalityTransformer, load

ABSENT = ("oof_score_", "lam_path_", "reporting_critic_", "imputer_", "blend_weights_", "feature_names_in_")
FOLDS = "is there when folds held rows out: "


def fits(name):
    """How an estimator is fitted that lacks an attribute."""

    def fit(model, X, y):
        if name == "partial_fit":
            known = {"classes": np.unique(y)} if hasattr(model, "predict_proba") else {}
            return model.partial_fit(X, y, **known)
        if name == "X_val":
            return model.fit(X, y, X_val=X, y_val=y)
        if name == "goes on":
            return model.fit(X, y).set_params(warm_start=True, early_stopping="auto").fit(X, y)
        if name == "few rows":
            return model.fit({key: value[:15] for key, value in X.items()}, y[:15])
        if name == "few labels":
            return model.fit(X, np.where(np.arange(len(y)) < 45, y, np.nan))
        if name == "one modality":
            return model.fit({"audio": X["audio"]}, y)
        return model.fit(X, y)

    return fit


def message(model, name):
    with pytest.raises(AttributeError) as caught:
        getattr(model, name)
    return str(caught.value)


# What is fitted how, with what, the attribute, and what the error says.
CASES = [
    ("regressor", "fit", {}, "oof_prediction_", "a single network predicts no row out of fold. Set n_estimators to 2"),
    ("classifier", "fit", {}, "oof_decision_function_", "a single network predicts no row out of fold"),
    ("classifier", "fit", {"n_estimators": 2}, "oof_prediction_", "out of fold is oof_decision_function_"),
    ("regressor", "fit", {"n_estimators": 2}, "oof_decision_function_", "out of fold is oof_prediction_"),
    ("regressor", "fit", {"n_estimators": 2, "early_stopping": False}, "oof_score_", FOLDS + "early_stopping=False"),
    ("regressor", "X_val", {"n_estimators": 2}, "oof_score_", FOLDS + "X_val and y_val took the place"),
    ("regressor", "partial_fit", {"n_estimators": 2}, "oof_score_", FOLDS + "partial_fit trains every network"),
    ("regressor", "few rows", {"n_estimators": 2}, "oof_score_", "15 rows with a label are fewer than the 20 needed"),
    (
        "classifier",
        "few labels",
        {"n_estimators": 2},
        "oof_score_",
        r"a class here has \d+ rows with a label, of at least 30 needed .* Give a cv",
    ),
    ("regressor", "goes on", {"n_estimators": 2, "early_stopping": False}, "oof_score_", "Set warm_start=False"),
    ("regressor", "fit", {}, "lam_path_", 'lam_path_ is there after lam="auto"'),
    ("regressor", "fit", {"lam": [0, 0.1]}, "lam_path_", "60 rows with a label are fewer than the 100 needed"),
    ("regressor", "X_val", {"lam": [0.1]}, "lam_path_", "several lam and at least 50 held-out rows"),
    ("classifier", "X_val", {"lam": [0.1]}, "lam_path_", "several lam and at least 5 of every class held-out rows"),
    ("regressor", "one modality", {"lam": "auto"}, "lam_path_", "no dependency whose weight"),
    ("regressor", "fit", {"lam": 0}, "reporting_critic_", r"lam_ is 0, .* Call fit_dependency\(X\)"),
    ("regressor", "partial_fit", {"lam": 1.0}, "reporting_critic_", "partial_fit never does"),
    ("regressor", "one modality", {"lam": 0}, "reporting_critic_", "no dependency to report"),
    ("regressor", "fit", {"lam": 0}, "imputer_", "completes rows by the critic that reports: lam_ is 0"),
    ("regressor", "fit", {"lam": 1.0, "missing": "mean"}, "imputer_", 'is there with missing="auto" or "critic"'),
    ("regressor", "fit", {}, "blend_weights_", "a single network is averaged with nothing"),
    ("regressor", "partial_fit", {"n_estimators": 2}, "blend_weights_", "after partial_fit"),
    ("regressor", "fit", {"n_estimators": 2, "lam": 0}, "blend_weights_", "one group of networks and no model beside"),
    ("regressor", "fit", {}, "feature_names_in_", "after a fit on a data frame"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "how", "parameters", "name", "told"), CASES)
def test_absent_attribute__says_why(request, X, y, kind, how, parameters, name, told):
    model = fits(how)(request.getfixturevalue(kind)(**parameters), X, y)
    with pytest.raises(AttributeError, match=f"'{type(model).__name__}' object has no attribute '{name}': .*{told}"):
        getattr(model, name)
    assert not hasattr(model, name) and getattr(model, name, None) is None and name not in dir(model)
    check_is_fitted(model)


def test_absent_attributes__copies_and_files__say_the_same(regressor, X, y, tmp_path):
    model = regressor(n_estimators=2, early_stopping=False, lam=0).fit(X, y)
    model.save(tmp_path / "model.mdm")
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), load(tmp_path / "model.mdm")):
        assert [message(other, name) for name in ABSENT] == [message(model, name) for name in ABSENT]
    assert not any(hasattr(clone(model), name) for name in ABSENT)


def test_absent_attribute__not_fitted__says_so(estimator):
    assert message(estimator(), "oof_score_").endswith("no attribute 'oof_score_': it is not fitted. Call fit first.")
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator())


def test_attributes_that_were_absent__are_there_after_what_the_error_says(regressor, X, y):
    model = regressor(n_estimators=2, lam=0).fit(X, y).fit_dependency(X)
    assert model.reporting_critic_ is not None and model.imputer_ is not None and np.isfinite(model.oof_score_)
    few = {name: value[:15] for name, value in X.items()}
    assert np.isfinite(regressor(n_estimators=3, cv=3).fit(few, y[:15]).oof_score_)
    model = regressor(n_estimators=2, lam=0, linear_member=True).fit(X, y)
    assert set(model.blend_weights_) == {"standard", "linear"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_reasons__after_a_training_that_failed__are_those_of_the_fit_before(regressor, X, y):
    model = regressor(n_estimators=2, lam=0).fit(X, y)
    before = {name: message(model, name) for name in ("lam_path_", "blend_weights_")}
    with pytest.raises(FloatingPointError):
        model.set_params(lr=1e30).partial_fit(X, y)
    assert {name: message(model, name) for name in before} == before and np.isfinite(model.oof_score_)


def test_properties_of_subclasses__that_miss_something_else__say_what(regressor, X, y):
    class Own(type(regressor())):
        @property
        def imputer_(self):
            return self.no_such_thing

    model = Own(**regressor(lam=0).get_params(deep=False)).fit(X, y)
    assert message(model, "imputer_") == "'Own' object has no attribute 'no_such_thing'"


def test_other_absent_attributes__are_those_of_python(regressor):
    assert message(regressor(), "coef_") == "'MDMFusionRegressor' object has no attribute 'coef_'"


@pytest.mark.parametrize("model", [DependencyEstimator(max_updates=1, cv=None), ModalityTransformer()])
@pytest.mark.filterwarnings("ignore")
def test_feature_names__are_there_where_the_error_says(model, X):
    assert "is not fitted" in message(model, "feature_names_in_")
    assert "after a fit on a data frame" in message(model.fit(X), "feature_names_in_")
    frames = {name: pd.DataFrame(value).add_prefix("c") for name, value in X.items()}
    assert clone(model).fit(frames).feature_names_in_[0] == "audio__c0"
    flat = pd.concat([frame.add_prefix(name) for name, frame in frames.items()], axis=1)
    modalities = {"audio": slice(0, 3), "text": slice(3, 5)}
    assert clone(model).set_params(modalities=modalities).fit(flat).feature_names_in_[0] == "audioc0"
