"""The linear member and the weights of what a committee averages."""

import itertools
import pickle
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold
from skorch.callbacks import Callback

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.encoders._mlp import mean_and_std
from sklearn_mdm.estimators._blend import Blend, views_of, weighted
from sklearn_mdm.estimators._blend_fit import model_outputs
from sklearn_mdm.estimators._critic_imputer import weighted_means
from sklearn_mdm.net._inference import evaluate

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture
def blended(estimator):
    """Builds a committee of two groups of networks, a linear and a kernel member."""
    settings = {
        "n_estimators": 4,
        "scaling": "auto",
        "linear_member": True,
        "kernel_member": True,
        "early_stopping": True,
        "lam": 0,
    }
    return lambda **parameters: estimator(**{**settings, **parameters})


def out_of_fold(fitted):
    return getattr(fitted, "oof_prediction_" if hasattr(fitted, "n_outputs_") else "oof_decision_function_")


def test_prediction__is_the_weighted_mean_of_networks_and_models(blended, X, y):
    fitted = blended().fit(X, y)
    observed = fitted._read_later(X)
    members = [
        evaluate(net, observed, partial(fitted._to_batch, group=fitted._group_of(k)), "prediction")
        for k, net in enumerate(fitted._member_nets())
    ]
    parts = np.stack([*members, *model_outputs(fitted, fitted._blend, observed)])
    weights = np.repeat(fitted._blend.weights, [2, 2, 1, 1]) / np.array([2, 2, 2, 2, 1, 1])
    if hasattr(fitted, "classes_"):
        expected = np.tensordot(weights, np.exp(log_softmax(parts, axis=2)), 1)
        assert_allclose(fitted.predict_proba(X), expected, rtol=1e-9)
    else:
        assert_allclose(fitted.predict(X), fitted._in_units_of_y(np.tensordot(weights, parts, 1)).ravel(), rtol=1e-9)
    assert list(fitted.blend_weights_) == ["robust", "rank", "linear", "kernel"]
    assert np.isfinite(out_of_fold(fitted)).all()
    other = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(other.predict(X), fitted.predict(X))


def test_a_linear_truth__is_left_to_the_linear_member():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(300, 10)), "b": rng.normal(size=(300, 10))}
    y = X["a"].sum(1) - X["b"][:, 0] + 0.1 * rng.normal(size=300)
    parameters = {"n_estimators": 4, "scaling": "standard", "lam": 0, "max_epochs": 10, "random_state": 0}
    parameters["kernel_member"] = False
    with_it = MDMFusionRegressor(linear_member=True, **parameters).fit(X, y)
    without = MDMFusionRegressor(linear_member=False, **parameters).fit(X, y)
    assert with_it.blend_weights_["linear"] > 0.95
    assert with_it.oof_score_ > 0.99 > without.oof_score_
    assert not hasattr(without, "blend_weights_")


@pytest.mark.parametrize(("n_estimators", "cv"), [(2, None), (4, KFold(4))])
def test_networks_that_hold_out_different_folds__are_weighed_together(n_estimators, cv):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(200, 5)), "b": rng.normal(size=(200, 5))}
    y = X["a"].sum(1) - X["b"][:, 0] + 0.1 * rng.normal(size=200)
    parameters = {"scaling": "auto", "kernel_member": False, "lam": 0, "max_epochs": 2, "random_state": 0}
    fitted = MDMFusionRegressor(n_estimators=n_estimators, cv=cv, **parameters).fit(X, y)
    robust, rank, *linear = fitted.blend_weights_.values()
    assert robust == rank and sum(linear) > 0.9
    assert_allclose(sum(fitted.blend_weights_.values()), 1, rtol=1e-12)


def test_a_chunk_that_fails__leaves_the_blend_as_it_was(blended, X, y):
    fitted = blended().fit(X, y)
    before, weights = fitted.predict(X), fitted.blend_weights_
    fitted.set_params(lr=1e300)
    with pytest.raises(FloatingPointError):
        fitted.partial_fit(X, y)
    assert_array_equal(fitted.predict(X), before)
    assert fitted.blend_weights_ == weights
    fitted.set_params(lr=1e-3).partial_fit(X, y)
    assert not hasattr(fitted, "blend_weights_")


class StopInFirstEpoch(Callback):
    def on_grad_computed(self, net, **kwargs):
        if net.n_updates_:
            raise KeyboardInterrupt


def test_training_that_ends_in_its_first_epoch__has_even_weights(blended, X, y):
    fitted = blended(callbacks=[StopInFirstEpoch()], batch_size=8).fit(X, y)
    assert set(fitted.blend_weights_.values()) == {0.25}
    assert not hasattr(fitted, "oof_score_") and not hasattr(fitted, "_held_out_outputs")


def test_weights__without_anything_held_out_are_even(blended, X, y):
    fitted = blended(early_stopping=False).fit(X, y)
    assert_allclose(list(fitted.blend_weights_.values()), 0.25)
    given = blended().fit(X, y, X_val=X, y_val=y)
    assert not hasattr(given, "oof_score_") and sum(given.blend_weights_.values()) == pytest.approx(1)
    fitted.partial_fit(X, y)
    assert not hasattr(fitted, "blend_weights_")
    assert np.isfinite(fitted.predict(X)).all()


def test_a_missing_modality__is_zero_and_known_not_to_be_there(blended, X, y):
    fitted = blended(scaling="standard").fit(X, y)
    observed = fitted._read_later({"audio": X["audio"][:5]})
    _, text = views_of(fitted._to_batch(observed, fitted.net_.dtype))
    assert_array_equal(text.columns, 0)
    assert not text.seen.any()


def test_auto__leaves_large_tables_to_the_networks(blended, X, y, monkeypatch):
    auto = {"linear_member": "auto", "kernel_member": "auto"}
    assert list(blended(**auto).fit(X, y)._blend.models) == ["linear", "kernel"]
    monkeypatch.setattr("sklearn_mdm.estimators._blend_fit.MAX_KERNEL_ROWS", 50)
    assert list(blended(**auto).fit(X, y)._blend.models) == ["linear"]
    monkeypatch.setattr("sklearn_mdm.estimators._blend_fit.MAX_INPUTS", 3)
    assert list(blended(**auto).fit(X, y)._blend.models) == []


def test_design__of_a_sequence_is_its_mean_and_spread(estimator, sequences, y):
    fitted = estimator(n_estimators=2, linear_member=True, max_epochs=1).fit(sequences, y)
    batch = fitted._to_batch(fitted._read_later(sequences), fitted.net_.dtype)
    design = np.hstack([view.columns for view in views_of(batch)])
    key = fitted._keys["steps"]
    pooled = mean_and_std(batch.X[key], batch.mask[key]).numpy()
    columns = design[:, :4] if next(iter(batch.X)) == key else design[:, 3:]
    assert_allclose(columns, pooled - [0, 0, 1, 1], rtol=1e-9, atol=1e-12)
    assert_array_equal(columns[~batch.mask[key].any(1).numpy()], 0)


def test_weighted__leaves_out_what_is_not_there():
    nan = np.nan
    outputs = [np.array([[1.0], [nan], [nan], [5.0]]), np.array([[3.0], [3.0], [nan], [7.0]])]
    found = weighted(outputs, np.array([0.25, 0.75]), weighted_means)
    assert_allclose(found, [[2.5], [3.0], [nan], [6.5]])
    # A group without weight speaks where no other does.
    assert_allclose(weighted(outputs, np.array([1.0, 0.0]), weighted_means), [[1.0], [3.0], [nan], [5.0]])


def test_what_has_no_weight__is_not_computed(blended, X, y):
    fitted = blended().fit(X, y)
    parts = [*range(2), *fitted._blend.models]
    rows = {name: x[:5] for name, x in X.items()}
    predict = getattr(fitted, "predict_proba", fitted.predict)
    for used in itertools.product([0.0, 1.0], repeat=4):
        if any(used):
            weights = np.array(used) / sum(used)
            fitted._blend = Blend(fitted._blend.models, weights)
            observed = fitted._read_later(rows)
            found = fitted._outputs_of(observed, weights > 0)
            every = fitted._outputs_of(observed, np.ones(4, dtype=bool))
            assert len(found) == sum(used) and len(every) == len(parts)
            expected = weighted(every, weights, fitted._average_outputs)
            assert_allclose(fitted._applied(observed, "prediction"), expected, rtol=1e-12)
            assert np.isfinite(predict(rows)).all()


def test_what_has_no_weight__speaks_where_the_others_overflow(regressor, X, y, monkeypatch):
    fitted = regressor(n_estimators=4, scaling="auto", linear_member=True, kernel_member=False).fit(X, y)
    fitted._blend = Blend(fitted._blend.models, np.array([0.0, 0.0, 1.0]))
    networks = Blend(fitted._blend.models, np.array([0.5, 0.5, 0.0]))
    linear = fitted._blend.models["linear"]
    outputs = linear.outputs
    monkeypatch.setattr(
        linear, "outputs", lambda views: np.where(np.arange(len(X["audio"]))[:, None] == 3, np.nan, outputs(views))
    )
    found = fitted.predict(X)
    fitted._blend = networks
    assert_allclose(found[3], fitted.predict(X)[3], rtol=1e-12)


def test_a_default_with_these__beats_its_parts_on_diabetes():
    data, y = load_diabetes(return_X_y=True)
    views = {"body": slice(0, 4), "serum": slice(4, 10)}
    shared = {"modalities": views, "lam": 0, "random_state": 0, "n_estimators": 4}
    plain = MDMFusionRegressor(**shared, scaling="standard", linear_member=False, kernel_member=False).fit(data, y)
    blended = MDMFusionRegressor(**shared).fit(data, y)
    assert blended.oof_score_ > plain.oof_score_


def test_dropout__is_over_after_a_chunk(regressor, X, y):
    fitted = regressor(n_estimators=4, scaling="auto", lam=0.1, encoder=MLPEncoder(dropout=0.5)).fit(X, y)
    fitted.predict(X)
    fitted.partial_fit(X, y)
    for method in (fitted.predict, fitted.transform):
        assert_array_equal(method(X), method(X))


def test_completed_samples__give_half_of_the_weight_to_the_networks():
    models = {"linear": None, "kernel": None}
    assert_allclose(Blend(models, np.array([0.1, 0.3, 0.0, 0.6])).weights_of_completed, [0.175, 0.525, 0.0, 0.3])
    assert_allclose(Blend(models, np.array([0.0, 0.0, 0.2, 0.8])).weights_of_completed, [0.25, 0.25, 0.1, 0.4])
    assert_allclose(Blend({}, np.array([0.2, 0.8])).weights_of_completed, [0.2, 0.8])
    assert_allclose(Blend(models, np.full(4, 0.25), np.eye(4)[0]).weights_of_completed, [1, 0, 0, 0])


@pytest.mark.parametrize(("n_lacking", "learned"), [(150, True), (50, False)])
def test_completed_samples__have_weights_of_their_own_where_training_has_enough_of_them(n_lacking, learned):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(250, 4)), "b": rng.normal(size=(250, 3))}
    y = X["a"].sum(axis=1)
    X["b"][:n_lacking] = np.nan
    fitted = MDMFusionRegressor(n_estimators=4, scaling="standard", max_epochs=3, random_state=0).fit(X, y)
    assert fitted.score({"a": X["a"]}, y) > 0.99 if learned else fitted.score({"a": X["a"]}, y) < 0.9
    # What is held out is predicted with the weights that predict has.
    residuals = y - fitted.oof_prediction_
    assert (np.abs(residuals[:n_lacking]).mean() < 0.1) == learned
    assert np.abs(residuals[n_lacking:]).mean() < 0.1
