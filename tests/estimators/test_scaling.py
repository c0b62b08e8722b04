"""Scaling: robust and rank scalers against definitions, and what members of a committee read."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.preprocessing import StandardScaler

from sklearn_mdm.estimators import _scaling
from sklearn_mdm.estimators._scalers import MAX_SCORE, NormalScores, RobustScaler, weighted_quantiles
from sklearn_mdm.net._inference import evaluate

pytestmark = pytest.mark.usefixtures("quick_reports")

RNG = np.random.default_rng(0)
VALUES = np.c_[RNG.normal(size=201), RNG.lognormal(sigma=2, size=201), RNG.integers(0, 3, size=201), np.ones(201)]


def test_robust__puts_the_median_at_zero_and_draws_in_what_is_far():
    scaler = RobustScaler(VALUES, None)
    low, middle, high = np.quantile(VALUES, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
    z = (VALUES[:, :3] - middle[:3]) / (high - low)[:3]
    assert_allclose(scaler.transform(VALUES)[:, :3], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12)
    assert_array_equal(scaler.transform(VALUES)[:, 3], 0)  # a constant column
    assert_allclose(scaler.transform(np.array([[1e300, -1e300, 1e9, 1e12]])), [[3, -3, 3, 3]], rtol=1e-9)


def test_robust__of_mostly_equal_values_is_divided_by_half_the_range():
    column = np.r_[np.zeros(90), np.arange(1, 11)][:, None]
    z = column / 5
    assert_allclose(RobustScaler(column, None).transform(column), z / np.sqrt(1 + (z / 3) ** 2))


def test_rank__is_the_normal_quantile_of_the_middle_rank():
    scaler = NormalScores(VALUES[:, :3], None)
    expected = np.clip(ndtri((rankdata(VALUES[:, :3], axis=0) - 0.5) / len(VALUES)), -MAX_SCORE, MAX_SCORE)
    assert_allclose(scaler.transform(VALUES[:, :3]), expected, rtol=1e-9, atol=1e-9)
    outside = scaler.transform(np.array([[-1e9, -1e9, -1e9], [1e9, 1e9, 1e9]]))
    assert_allclose(outside, [expected.min(0), expected.max(0)], rtol=1e-9)
    assert_array_equal(NormalScores(np.ones((5, 1)), None).transform(np.array([[1.0], [7.0]])), 0)


def test_rank__of_many_values_interpolates_between_some():
    values = np.random.default_rng(1).lognormal(size=(5000, 1))
    expected = np.clip(ndtri((rankdata(values) - 0.5) / 5000), -MAX_SCORE, MAX_SCORE)
    assert_allclose(NormalScores(values, None).transform(values).ravel(), expected, atol=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rank__is_what_numpy_interpolates(dtype):
    rng = np.random.default_rng(3)
    columns = np.column_stack([rng.normal(size=999), rng.integers(0, 3, 999), np.ones(999), rng.lognormal(size=999)])
    scaler = NormalScores(columns.astype(dtype), None)
    values = np.r_[columns, rng.normal(scale=3, size=(50, 4)), np.full((1, 4), np.nan)].astype(dtype)
    found = scaler.transform(values)
    for j, n_knots in enumerate(np.isfinite(scaler.knots_).sum(axis=1)):
        expected = np.interp(values[:, j], scaler.knots_[j, :n_knots], scaler.scores_[j, :n_knots])
        assert_array_equal(found[:, j], expected.astype(dtype))


def test_rank__of_values_as_far_or_as_close_as_can_be_is_finite():
    far, close = [-1.7e308, 0.0, 1.7e308], [0.0, 5e-324, 1e-323]
    values = np.column_stack([far, close])
    found = NormalScores(values, None).transform(np.r_[values, values / 2])
    assert np.isfinite(found).all()
    assert_allclose(found[:3, 0], ndtri([1 / 6, 1 / 2, 5 / 6]), atol=1e-12)


@pytest.mark.parametrize("scaler", [RobustScaler, NormalScores])
def test_a_weight__is_that_many_rows(scaler):
    weight = np.random.default_rng(2).integers(0, 4, size=len(VALUES))
    repeated = np.repeat(VALUES, weight, axis=0)
    one, other = scaler(VALUES[weight > 0], weight[weight > 0].astype(float)), scaler(repeated, None)
    assert_allclose(one.transform(VALUES), other.transform(VALUES), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scaler", [RobustScaler, NormalScores])
def test_missing_cells__count_for_nothing(scaler):
    holes = VALUES.copy()
    holes[::3, 0] = np.nan
    expected = scaler(VALUES[np.arange(201) % 3 > 0], None).transform(VALUES)[:, 0]
    assert_allclose(scaler(holes, None).transform(VALUES)[:, 0], expected)
    assert np.isfinite(scaler(np.full((4, 1), np.nan), None).transform(np.ones((2, 1)))).all()


def test_quantiles__of_weights_are_those_of_the_inverted_distribution():
    found = weighted_quantiles(VALUES, np.ones(201), (0.0, 0.1, 0.5, 1.0))
    assert_array_equal(found, np.quantile(VALUES, [0.0, 0.1, 0.5, 1.0], axis=0, method="inverted_cdf"))


@pytest.mark.parametrize("scaling", ["standard", "robust", "rank", None])
@pytest.mark.parametrize("members", [1, 2])
def test_the_net__reads_scaled_features(estimator, X, y, scaling, members):
    fitted = estimator(scaling=scaling, n_estimators=members, lam=0).fit(X, y)
    batch = fitted._to_batch(fitted._schema.read(fitted, X), fitted.net_.dtype)
    expected = {
        "standard": lambda x: StandardScaler().fit_transform(x),
        "robust": lambda x: RobustScaler(x, None).transform(x),
        "rank": lambda x: NormalScores(x, None).transform(x),
        None: lambda x: x,
    }[scaling]
    for name, key in fitted._keys.items():
        assert_allclose(batch.X[key].numpy(), expected(X[name]), rtol=1e-9, atol=1e-12)
    assert (fitted.scalers_ == {}) == (scaling is None)


def test_auto__has_half_the_members_read_ranks(estimator, X, y):
    fitted = estimator(scaling="auto", n_estimators=4, early_stopping=True, lam=0.3, max_epochs=4).fit(X, y)
    assert [type(s["audio"]) for s in fitted.scalers_] == [RobustScaler, NormalScores]
    by = ~fitted._net_rows.trained(fitted._read_later(X).hashes)
    assert_array_equal(by[:, :2], by[:, 2:])  # both halves hold out both folds
    assert list(fitted.blend_weights_) == ["robust", "rank"]
    assert sum(fitted.blend_weights_.values()) == pytest.approx(1)
    assert (
        fitted.transform(X).shape[1]
        == 4
        * fitted.net_.module_.members[0](
            *(lambda b: (b.X, b.mask))(fitted._to_batch(fitted._schema.read(fitted, X), fitted.net_.dtype))
        ).fused.shape[1]
    )
    # A monotone map of a feature changes nothing for those that read ranks.
    changed = {**X, "audio": X["audio"] ** 3}
    other = estimator(scaling="auto", n_estimators=4, early_stopping=True, lam=0, max_epochs=4).fit(changed, y)
    same = estimator(scaling="auto", n_estimators=4, early_stopping=True, lam=0, max_epochs=4).fit(X, y)
    for k in (2, 3):
        outputs = [
            evaluate(m._member_nets()[k], m._read_later(x), partial(m._to_batch, group=m._group_of(k)), "prediction")
            for m, x in ((other, changed), (same, X))
        ]
        assert_allclose(*outputs, rtol=1e-7, atol=1e-9)
    assert np.isfinite(fitted.pointwise_dependency(X)).all()
    alone = estimator(scaling="auto", n_estimators=1).fit(X, y)
    assert isinstance(alone.scalers_["audio"], RobustScaler)


@pytest.mark.parametrize("scaling", ["robust", "rank", "auto"])
def test_sequences_and_missing_modalities(estimator, sequences, y, scaling):
    fitted = estimator(scaling=scaling, n_estimators=2, linear_member=True, max_epochs=2).fit(sequences, y)
    assert np.isfinite(fitted.transform(sequences)).all()
    garbage = {name: x.copy() for name, x in sequences.items()}
    assert_array_equal(fitted.predict(garbage), fitted.predict(sequences))


def test_moments_of_weighted_parts__are_those_of_the_whole(regressor, X, y, monkeypatch):
    weight = np.where(np.arange(len(y)) < len(y) // 2, 1.0, 1000.0)  # in each part of another size
    monkeypatch.setattr(_scaling, "MAX_NUMBERS_AT_ONCE", 40)
    scalers = regressor(scaling="standard").fit(X, y, sample_weight=weight).scalers_
    for name, values in X.items():
        mean = np.average(values, axis=0, weights=weight)
        spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weight))
        assert_allclose(scalers[name].mean_, mean, rtol=1e-10, atol=1e-10)
        assert_allclose(scalers[name].scale_, spread, rtol=1e-10)
