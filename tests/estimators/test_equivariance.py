"""Units do not matter: shifting and scaling features or targets shifts and scales predictions and logs, no more."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

LOSS_POWER = {"squared_error": 2, "huber": 2, "absolute_error": 1}


@pytest.fixture
def y(X):
    return X["audio"].sum(1) + X["text"][:, 0] ** 2


@pytest.fixture
def y2(X, y):
    return np.c_[y, X["text"].sum(1), np.abs(X["audio"][:, 0])]


@pytest.mark.parametrize("loss", LOSS_POWER)
@pytest.mark.parametrize(("scale", "members"), [(2.0**-20, 1), (0.5, 1), (4.0, 1), (2.0**30, 1), (4.0, 3)])
def test_scaling_y_by_a_power_of_two__is_exact(regressor, X, y, loss, scale, members):
    parameters = {"loss": loss, "n_estimators": members, "early_stopping": members > 1}
    one, other = regressor(**parameters).fit(X, y), regressor(**parameters).fit(X, scale * y)
    assert_array_equal(other.predict(X), scale * one.predict(X))
    assert_array_equal(other.transform(X), one.transform(X))
    assert_array_equal(np.array(other.loss_curve_), scale ** LOSS_POWER[loss] * np.array(one.loss_curve_))
    assert other.dependency_curve_ == one.dependency_curve_


@pytest.mark.parametrize("loss", LOSS_POWER)
@pytest.mark.parametrize(
    ("scale", "shift", "members"),
    [
        (3.0, -7.0, 1),
        (1e-6, 1e-3, 1),
        (1e9, 1e9, 1),
        (3.0, -7.0, 3),
        pytest.param(1e9, 1e9, 3, marks=pytest.mark.slow),
    ],
)
def test_shifting_and_scaling_y__shifts_and_scales_predictions(regressor, X, y, loss, scale, shift, members):
    parameters = {"loss": loss, "early_stopping": True, "validation_fraction": 0.2, "max_epochs": 15, "lr": 0.01}
    parameters["n_estimators"] = members
    one, other = regressor(**parameters).fit(X, y), regressor(**parameters).fit(X, scale * y + shift)
    assert_allclose(other.predict(X), scale * one.predict(X) + shift, rtol=1e-7, atol=1e-7 * scale)
    for curve in ("loss_curve_", "validation_loss_curve_"):
        expected = scale ** LOSS_POWER[loss] * np.array(getattr(one, curve))
        assert_allclose(getattr(other, curve), expected, rtol=1e-6)
    assert other.n_iter_ == one.n_iter_
    assert other.score(X, scale * y + shift) == pytest.approx(one.score(X, y), abs=1e-6)
    if members > 1:
        assert_allclose(other.oof_prediction_, scale * one.oof_prediction_ + shift, rtol=1e-7, atol=1e-7 * scale)
        assert other.oof_score_ == pytest.approx(one.oof_score_, abs=1e-6)


@pytest.mark.parametrize("loss", LOSS_POWER)
def test_scaling_each_output__scales_each_prediction(regressor, X, y2, loss, members):
    scale, shift = np.array([0.5, 8.0, 1024.0]), np.array([0.0, 3.0, -100.0])
    parameters = {"loss": loss, "n_estimators": members, "early_stopping": members > 1}
    one, other = regressor(**parameters).fit(X, y2), regressor(**parameters).fit(X, scale * y2 + shift)
    assert_allclose(other.predict(X), scale * one.predict(X) + shift, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("loss", LOSS_POWER)
def test_loss_curve_of_several_outputs__is_the_loss_in_their_own_units(regressor, X, y2, loss):
    # With one batch and steps too small to matter, the log is the loss of the prediction.
    fitted = regressor(loss=loss, max_epochs=1, batch_size=60, lr=1e-12, lam=0).fit(X, y2)
    error = np.abs(fitted.predict(X) - y2)
    if loss == "huber":  # its threshold is in standard deviations of each target
        scale = fitted.target_scaler_.scale_
        expected = scale**2 * np.where(error < scale, (error / scale) ** 2 / 2, error / scale - 0.5)
    else:
        expected = error ** LOSS_POWER[loss]
    assert fitted.loss_curve_[0] == pytest.approx(expected.mean(), rel=1e-6)


@pytest.mark.parametrize("members", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("factor", [16.0, 3.0])
def test_early_stopping_of_several_outputs__does_not_depend_on_their_units(regressor, factor, members):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(300, 3)) for name in "ab"}
    y = np.c_[X["a"][:, 0] + 0.5 * rng.normal(size=300), X["b"][:, 0] ** 2 + rng.normal(size=300)]
    parameters = {"max_epochs": 60, "early_stopping": True, "n_iter_no_change": 3, "lr": 0.01, "n_estimators": members}
    fits = [regressor(**parameters).fit(X, y * scale) for scale in ([1, 1], [factor**3, 1], [1, factor**3])]
    assert len({fit.n_iter_ for fit in fits}) == 1
    assert_allclose(fits[1].predict(X) / [factor**3, 1], fits[0].predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lam", [0, 1.0])
def test_scaling_features_by_powers_of_two__changes_nothing(estimator, X, y, lam, members):
    target = (y > np.median(y)).astype(int)
    scaled = {"audio": X["audio"] * [2.0, 0.25, 2.0**40], "text": X["text"] * 2.0**-30}
    parameters = {"lam": lam, "n_estimators": members, "early_stopping": members > 1}
    one, other = estimator(**parameters).fit(X, target), estimator(**parameters).fit(scaled, target)
    assert_array_equal(other.transform(scaled), one.transform(X))
    assert_array_equal(other.predict(scaled), one.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("measure", ["kl", "f", "wasserstein"])
def test_shifting_and_scaling_features__changes_nothing(estimator, X, y, measure, members):
    target = (y > np.median(y)).astype(int)
    moved = {"audio": X["audio"] * [3.0, 1e-5, 1e6] + [1.0, -1e-5, 1e6], "text": X["text"] * 0.1 + 100}
    parameters = {"lam": 1.0, "measure": measure, "n_estimators": members, "early_stopping": members > 1}
    one, other = estimator(**parameters).fit(X, target), estimator(**parameters).fit(moved, target)
    assert_allclose(other.transform(moved), one.transform(X), rtol=1e-7, atol=1e-7)
    assert_allclose(other.pointwise_dependency(moved), one.pointwise_dependency(X), rtol=1e-5, atol=1e-5)


def test_scaling_sequences__changes_nothing(regressor, sequences, members):
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    moved = {"vector": sequences["vector"] * 7 - 3, "steps": sequences["steps"] * [1e4, 1e-4] + [1e4, 0]}
    parameters = {"n_estimators": members, "early_stopping": members > 1}
    one, other = regressor(**parameters).fit(sequences, y), regressor(**parameters).fit(moved, y)
    assert_allclose(other.predict(moved), one.predict(sequences), rtol=1e-7, atol=1e-7)


def test_weights__enter_standardisation(regressor, X, y):
    weight = np.r_[np.zeros(20), np.ones(20), np.full(20, 3.0)]
    fitted = regressor(lam=0).fit(X, y, sample_weight=weight)
    mean = np.average(X["audio"], axis=0, weights=weight)
    assert_allclose(fitted.scalers_["audio"].mean_, mean)
    assert_allclose(fitted.target_scaler_.mean_, np.average(y, weights=weight))


def test_without_standardisation__predictions_follow_the_raw_units(regressor, X, y):
    fitted = regressor(scaling=None).fit(X, y)
    assert fitted.scalers_ == {} and fitted.target_scaler_ is None
    scaled = regressor(scaling=None).fit(X, 1000 * y)
    assert not np.allclose(scaled.predict(X), 1000 * fitted.predict(X), rtol=0.1)


def test_float32__agrees_with_float64_to_single_precision(estimator, X, y, members):
    target = (y > np.median(y)).astype(int)
    single = {name: value.astype(np.float32) for name, value in X.items()}
    parameters = {"n_estimators": members, "early_stopping": members > 1}
    one, other = estimator(**parameters).fit(X, target), estimator(**parameters).fit(single, target)
    # Weights are drawn in single precision in either case; training only rounds differently.
    assert_allclose(other.transform(single), one.transform(X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scaling", ["standard", "robust", "rank"])
@pytest.mark.parametrize("exponent", [-1000, 540])
def test_units_of_modalities_beyond_those_of_squares__do_not_matter(regressor, X, y, scaling, exponent):
    parameters = {"scaling": scaling, "n_estimators": 2, "linear_member": True, "early_stopping": True}
    one = regressor(**parameters).fit(X, y)
    scaled = {name: np.ldexp(values, exponent) for name, values in X.items()}
    other = regressor(**parameters).fit(scaled, y)
    assert_allclose(other.predict(scaled), one.predict(X), rtol=1e-7, atol=1e-7)
    assert other.score(scaled, y) == pytest.approx(one.score(X, y), abs=1e-7)
    # Samples of the fit are recognised, and answered by members that held them out.
    assert other.dependency_score(scaled) == pytest.approx(one.dependency_score(X), abs=1e-6)


@pytest.mark.parametrize("exponent", [-1000, -540, 500])
def test_units_of_y_beyond_those_of_squares__do_not_matter(regressor, X, y, exponent):
    parameters = {"n_estimators": 2, "linear_member": True, "early_stopping": True}
    one, other = regressor(**parameters).fit(X, y), regressor(**parameters).fit(X, np.ldexp(y, exponent))
    assert_allclose(np.ldexp(other.predict(X), -exponent), one.predict(X), rtol=1e-7, atol=1e-7)
    assert other.oof_score_ == pytest.approx(one.oof_score_, abs=1e-7)
    assert other.score(X, np.ldexp(y, exponent)) == pytest.approx(one.score(X, y), abs=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_column_smaller_than_any_number_of_its_type__counts_as_constant(regressor, X, y, dtype):
    X = {name: values.astype(dtype) for name, values in X.items()}
    X["audio"][:, 0] = 0
    X["audio"][0, 0] = np.finfo(dtype).smallest_subnormal
    assert np.isfinite(regressor(scaling="standard").fit(X, y).predict(X)).all()
