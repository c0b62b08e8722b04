"""Samples without labels, in y and as X_unlabeled."""

import pickle
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import ModalityDict, ModalityTransformer
from sklearn_mdm.estimators import _base, _net_data
from sklearn_mdm.exceptions import UnusedSamplesWarning

pytestmark = pytest.mark.usefixtures("quick_reports")
UNLABELLED = np.arange(60) % 4 == 0
MORE = {"audio": np.random.default_rng(5).normal(size=(17, 3)), "text": np.random.default_rng(6).normal(size=(17, 2))}
BLEND = {"n_estimators": 3, "linear_member": True, "kernel_member": True}


def some(X, rows):
    return {name: x[rows] for name, x in X.items()}


WAYS = {
    "NaN": lambda y: np.where(UNLABELLED, np.nan, y),
    "None": lambda y: np.where(UNLABELLED, None, y),
    "list": lambda y: [None if none else int(label) for none, label in zip(UNLABELLED, y, strict=True)],
    "masked": lambda y: np.ma.array(y, mask=UNLABELLED),
    "pandas.NA": lambda y: pd.Series(np.where(UNLABELLED, None, y), dtype="Int64"),
    "categories": lambda y: pd.Categorical(np.where(UNLABELLED, None, y)),
}


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
def test_missing_labels__of_any_form__are_left_out_of_the_task(estimator, X, y, write):
    alone = dict(lam=0, agreement=0, scaling=None, n_estimators=3, early_stopping=True)
    fitted = estimator(**alone)
    with pytest.warns(UnusedSamplesWarning, match="15 samples without a label train no network, as lam=0"):
        fitted.fit(X, write(y))
    dropped = estimator(**alone).fit(some(X, ~UNLABELLED), y[~UNLABELLED])
    assert_array_equal(fitted.transform(X), dropped.transform(X))
    score = accuracy_score if hasattr(fitted, "classes_") else r2_score
    labelled = y[~UNLABELLED], fitted.predict(X)[~UNLABELLED]
    assert fitted.score(X, write(y)) == pytest.approx(score(*labelled))
    if not hasattr(fitted, "classes_"):  # whose committee has a model that spreads labels
        assert_array_equal(fitted.predict(X), dropped.predict(X))
        assert_allclose(fitted.oof_score_, dropped.oof_score_)
    oof = getattr(fitted, "oof_prediction_", getattr(fitted, "oof_decision_function_", None))
    assert_array_equal(np.isnan(oof.reshape(60, -1)).any(1), UNLABELLED)


def test_classes__beside_missing_labels__are_those_that_are_there(classifier, X, y):
    words = np.array(["no", "yes"], dtype=object)[y % 2]
    cases = [(y % 2, [0, 1], "NaN"), (words, ["no", "yes"], "None"), (y % 2 - 1, [-1, 0], "list")]
    for labels, classes, way in cases:
        assert classifier(lam=0.1).fit(X, WAYS[way](labels)).classes_.tolist() == classes


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(60, np.nan), "labels in 0 of 60"),
        (np.r_[1.0, np.full(59, np.nan)], "labels in 1 of 60"),
        (np.r_[np.inf, 1.0, 0.0, np.full(57, np.nan)], "infinity"),
    ],
)
def test_too_few_labels_and_infinity__are_an_error(estimator, X, y, message):
    with pytest.raises(ValueError, match=message):
        estimator().fit(X, y)
    with pytest.raises(ValueError, match="only one class"):
        raise_for_classes(estimator, X)


def raise_for_classes(estimator, X):
    if not hasattr(estimator(), "class_weight"):
        raise ValueError("only one class")
    estimator().fit(X, np.where(UNLABELLED, np.nan, 1.0))


def datasets_of(fitted, X, y, **given):
    """Fit, and return the dataset of each member, and the estimator."""
    seen = []
    with mock.patch.object(_base, "datasets_of", lambda *args: seen.append(_net_data.datasets_of(*args)) or seen[-1]):
        fitted.fit(X, y, **given)
    train, valid = seen[0]
    return [getattr(part, "datasets", [part]) for part in (train, valid)]


@pytest.mark.parametrize("scaling", ["standard", "auto"])
def test_unlabelled_samples__reach_every_member__and_are_never_held_out(estimator, X, y, members, scaling):
    weight, groups = np.linspace(0, 1, 60), np.arange(60) // 3
    fitted = estimator(lam=0.1, n_estimators=members, scaling=scaling, early_stopping=True)
    train, valid = datasets_of(fitted, X, WAYS["NaN"](y), sample_weight=weight, groups=groups, X_unlabeled=MORE)
    for data in train:
        assert len(data.unlabelled) == UNLABELLED[1:].sum() + 17  # the first has a weight of zero
        assert data.unlabelled.X is data.X
        assert not np.isin(data.unlabelled.rows, data.rows).any()
    assert all(data.unlabelled is None and data.y.isfinite().all() for data in valid)


def test_scaling__reads_all_samples(estimator, X, y):
    fitted = estimator(lam=0.1).fit(X, WAYS["NaN"](y), X_unlabeled=MORE)
    whole = np.concatenate([X["audio"], MORE["audio"]])
    assert_allclose(fitted.scalers_["audio"].mean_, whole.mean(0))
    weight = np.arange(60) + 1.0
    fitted.fit(X, WAYS["NaN"](y), sample_weight=weight, X_unlabeled=MORE)
    mean = weight[~UNLABELLED].mean()
    assert_allclose(fitted.scalers_["audio"].mean_, np.average(whole, axis=0, weights=np.r_[weight, np.full(17, mean)]))


def test_x_unlabeled__may_lack_modalities_and_have_other_numbers_of_steps(estimator, sequences, y):
    longer = np.random.default_rng(0).normal(size=(5, 9, 2))
    for more in ({"steps": longer}, {"vector": sequences["vector"][1:4]}, ModalityDict({"steps": list(longer)})):
        fitted = estimator(lam=0.1).fit(sequences, WAYS["NaN"](y), X_unlabeled=more)
        assert np.isfinite(np.asarray(fitted.predict(sequences), dtype=float)).all()
        assert len(pickle.loads(pickle.dumps(fitted)).predict(sequences)) == 60
        clone(fitted)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_partial_fit_and_warm_start__take_samples_without_labels(estimator, X, y):
    more = {"classes": [0, 1, 2]} if hasattr(estimator(), "class_weight") else {}
    fitted = estimator(lam=0.1).partial_fit(X, WAYS["NaN"](y), **more, X_unlabeled=MORE)
    fitted.partial_fit(X, WAYS["None"](y), X_unlabeled=MORE)
    with pytest.raises(ValueError, match=r"labels in 0 of 60 samples.*beside some"):
        fitted.partial_fit(X, np.full(60, np.nan))
    warm = estimator(lam=0.1, n_estimators=3, warm_start=True).fit(X, WAYS["NaN"](y), X_unlabeled=MORE)
    warm.fit(X, y)
    assert warm.pointwise_dependency(X).shape == (60,)


@pytest.mark.parametrize("parameters", [{"n_estimators": 1}, BLEND, {**BLEND, "loss": "huber"}])
def test_outputs__that_lack_labels_here_and_there__are_learned(regressor, X, parameters):
    level = X["audio"].sum(1)
    y = np.column_stack([level, -level, level + X["text"][:, 0]])
    partly = y.copy()
    partly[UNLABELLED, 0] = partly[1::5, 1] = partly[7] = np.nan
    fitted = regressor(lam=0, agreement=0, max_epochs=40, lr=0.02, **parameters)
    with pytest.warns(UnusedSamplesWarning, match="1 samples"):
        fitted.fit(X, partly)
    expected = [
        r2_score(*(v[~np.isnan(t)] for v in (t, p))) for t, p in zip(partly.T, fitted.predict(X).T, strict=True)
    ]
    assert fitted.score(X, partly) == pytest.approx(np.mean(expected))
    assert fitted.score(X, y) > 0.8
    if parameters["n_estimators"] > 1:
        assert fitted.oof_score_ > 0.7
        assert np.isfinite(np.delete(fitted.oof_prediction_, 7, axis=0)).all()


def test_searches_pipelines_and_routing__carry_x_unlabeled_whole(estimator, X, y):
    whole = ModalityDict(X)
    assert np.isfinite(cross_val_score(estimator(lam=0.1), whole, y, cv=2, params={"X_unlabeled": MORE})).all()
    GridSearchCV(estimator(), {"lam": [0.1]}, cv=2, error_score="raise").fit(whole, y, X_unlabeled=MORE)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = estimator(lam=0.1).set_fit_request(X_unlabeled=True, X_val=True, y_val=True)
        search = GridSearchCV(routed, {"lam": [0.1]}, cv=2, error_score="raise")
        search.fit(whole, y, X_unlabeled=MORE, X_val=some(X, slice(20)), y_val=y[:20])
        steps = [("scale", ModalityTransformer(StandardScaler())), ("fuse", routed)]
        pipeline = Pipeline(steps, transform_input=["X_unlabeled"]).fit(whole, y, X_unlabeled=ModalityDict(MORE))
        assert len(pipeline.predict(whole)) == 60


def test_splitter__is_not_led_by_samples_without_a_label(classifier, X, y):
    y = np.where(np.arange(len(y)) < 30, y % 2, np.nan)  # all others come behind
    fitted = classifier(lam=0.1, n_estimators=3, cv=StratifiedKFold(3)).fit(X, y)
    assert fitted._folds.held_out.sum(0).tolist() == [10, 10, 10]


def test_rules_of_few_labels__need_samples_that_teach(classifier, X, y):
    teaching = classifier(lam=0.1, n_estimators=3).fit(X, y, X_unlabeled=MORE)
    assert not hasattr(teaching, "oof_score_")
    with pytest.warns(UnusedSamplesWarning):
        idle = classifier(lam=0, agreement=0, n_estimators=3).fit(X, y, X_unlabeled=MORE)
    assert hasattr(idle, "oof_score_")


def test_partial_fit__goes_on_with_agreement__after_a_chunk_of_labelled_samples(classifier, X, y):
    model = classifier(lam="auto", agreement="auto")
    found = []
    for more in (MORE, None, MORE):
        found.append(model.partial_fit(X, y, classes=np.unique(y), X_unlabeled=more).agreement_)
    assert found == [1.0, 0.0, 1.0]


def test_weight_of_class__reaches_samples_without_a_label_alike(classifier, X, y):
    y = np.where(UNLABELLED, np.nan, y % 2)
    models = [
        classifier(lam=0.1, class_weight={0.0: 1, 1.0: 5}).fit(X, y, sample_weight=weight)
        for weight in (None, np.ones(60))
    ]
    means = [model.scalers_["audio"].mean_ for model in models]
    assert_allclose(*means)
