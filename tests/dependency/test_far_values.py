"""A single value far outside its column: neither sets the scale of the others nor makes anything infinite."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mdm import DependencyEstimator
from sklearn_mdm.dependency._batch_value import batch_value, batch_value_error
from sklearn_mdm.dependency._far_values import FarValues
from sklearn_mdm.dependency._permutation import compare_means
from sklearn_mdm.measures import MEASURES

QUICK = {"max_updates": 60, "hidden_dims": (32, 32), "n_components": 2, "random_state": 0}
# Few updates: warnings of critics that are not done are no subject here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")


def make(n=200, rho=0.8, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, 1))
    return {"a": a, "b": rho * a + np.sqrt(1 - rho**2) * rng.normal(size=(n, 1))}


@pytest.mark.parametrize(
    ("measure", "scaling", "cells"),
    [
        pytest.param("kl", "auto", 1e9, marks=pytest.mark.slow),
        pytest.param("kl", "standard", 1e9, marks=pytest.mark.slow),
        ("kl", "standard", [-1e50, 1e305]),
        pytest.param("knife", "auto", 1e9, marks=pytest.mark.slow),
        ("infonce", "auto", [-1e50, 1e305]),
        ("wasserstein", "auto", 1e9),
        pytest.param("wpc", "standard", [-1e50, 1e305], marks=pytest.mark.slow),
    ],
)
def test_few_cells__do_not_hide_dependency(measure, scaling, cells):
    X, spoilt = make(), make()
    spoilt["b"][3 : 3 + np.size(cells), 0] = cells
    clean, found = (DependencyEstimator(measure, scaling=scaling, cv=3, **QUICK).fit(each) for each in (X, spoilt))
    assert clean.dependency_ > 0.1
    assert found.dependency_ > 0.6 * clean.dependency_
    assert np.isfinite(found.dependency_std_)
    assert found.permutation_test(spoilt, 99).pvalue < 0.05
    assert np.isfinite(found.score({name: -values for name, values in spoilt.items()}))


@pytest.mark.parametrize("cell", [pytest.param(1e50, marks=pytest.mark.slow), 1e100])
def test_one_cell__does_not_make_independent_samples_dependent(cell):
    pvalues = []
    for seed in range(12):
        X = make(150, rho=0.0, seed=seed)
        X["b"][0] = cell
        estimator = DependencyEstimator("infonce", max_updates=20, hidden_dims=(16,), random_state=0).fit(X)
        assert abs(estimator.dependency_) < 0.2
        pvalues.append(estimator.permutation_test(X, 19).pvalue)
    # At most .05 with probability .05 each: more than three of 12 have one of .002.
    assert np.sum(np.asarray(pvalues) <= 0.05) <= 3


def test_a_statistic_that_is_no_number__is_an_error():
    values = np.zeros((20, 5))
    for place in ((0, 2), (7, 1)):
        spoilt = values.copy()
        spoilt[place] = np.nan
        with pytest.raises(FloatingPointError, match="permutations of them are not finite"):
            compare_means(spoilt, 0.1)


def test_far_values__are_drawn_in_and_keep_their_order():
    columns = np.random.default_rng(0).normal(size=(1000, 2))
    near = FarValues("a", columns)
    assert near(columns) is columns
    columns[:6, 0] = [-1e300, -1e9, -50.0, 50.0, 1e9, 1e300]
    drawn = near(columns)
    assert_array_equal(drawn[6:], columns[6:])
    assert_array_equal(drawn[:, 0].argsort(kind="stable"), columns[:, 0].argsort(kind="stable"))
    assert np.abs((drawn - near.center_) / near.bound_).max() <= 2
    times = (50.0 - near.center_[0]) / near.bound_[0]
    assert_allclose((drawn[3, 0] - near.center_[0]) / near.bound_[0], 2 - 1 / times)


def test_a_group_of_samples_that_lies_elsewhere__is_left_alone():
    rng = np.random.default_rng(0)
    elsewhere, z = rng.random(2000) < 0.02, rng.normal(size=2000)
    column = np.where(elsewhere, 100 + z, 0.01 * z)[:, None]
    assert_allclose(FarValues("a", column)(column), column, atol=0.2)  # of distances of about 100


def test_dependency_inside_a_group_elsewhere__is_read():
    rng = np.random.default_rng(0)
    elsewhere, z = rng.random(1000) < 0.2, rng.normal(size=1000)
    a, b = 0.01 * rng.normal(size=(2, 1000))
    a[elsewhere] = 100 + z[elsewhere]
    b[elsewhere] = 100 + z[elsewhere] + 0.1 * rng.normal(size=elsewhere.sum())
    X = {"a": a[:, None], "b": b[:, None]}
    # .50 nats of the groups, and .2 times 2.31 inside of one.
    assert DependencyEstimator(scaling="standard", random_state=0, max_updates=300).fit(X).dependency_ > 0.7


@pytest.mark.parametrize(
    ("column", "bound"),
    [
        ([0.0, 0, 0, 0, 0, 0, 1], 10.0),  # mostly one value
        ([3.0] * 7, 30.0),  # a single value
        ([0.0] * 7, 10.0),
        ([np.nan, -1, 1, 3, np.nan, np.nan, np.nan], 20.0),
        ([np.nan] * 7, 10.0),
        ([0.0] + [1.0, -1] * 100 + [71.0] * 4 + [1e9], 70.0),  # one in a hundred is farther
    ],
)
def test_bound__is_that_of_values_off_the_median_or_of_most(column, bound):
    values = np.array(column)[:, None]
    far = FarValues("a", values)
    assert_allclose(far.bound_, bound)
    assert np.isfinite(far(np.array([[1e300]]))).all()
    near = ~(np.abs(values) > 1e8)
    assert_array_equal(far(values)[near], values[near])


@pytest.mark.parametrize("top", [1e308, 1.7e308])
def test_columns_too_large_to_standardise__are_an_error_that_names_the_modality(top):
    X = make(50)
    X["b"] = np.sign(X["b"]) * top
    with pytest.raises(ValueError, match=r"'b' has values too large to standardise\. Rescale or clip them"):
        DependencyEstimator(**QUICK).fit(X)


@pytest.mark.parametrize("exponent", [-1000, pytest.param(500, marks=pytest.mark.slow)])
def test_units__do_not_matter(exponent):
    X = make(100)
    scaled = {name: np.ldexp(values, exponent) for name, values in X.items()}
    one, other = (DependencyEstimator(**QUICK).fit(each) for each in (X, scaled))
    assert other.dependency_ == pytest.approx(one.dependency_, abs=1e-6)
    assert_allclose(other.pointwise_, one.pointwise_, atol=1e-5)


@pytest.mark.parametrize("cv", ["auto", None])
@pytest.mark.parametrize("measure", ["infonce", "wasserstein", "wpc"])
def test_standard_error_of_twelve_samples__is_a_number(measure, cv):
    estimator = DependencyEstimator(measure, cv=cv, **QUICK).fit(make(12))
    assert 0 < estimator.dependency_std_ < 2


@pytest.mark.parametrize("grouped", [False, True])
def test_batch_value_error__is_the_spread_of_values_on_new_samples(grouped):
    import torch

    measure = MEASURES["wasserstein"]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = measure.build_critic([1, 1], (16,), raw=True).double().eval()
    values, errors = [], []
    for seed in range(40):
        n = 60 if grouped else 240
        X, groups = make(n, seed=seed), None
        if grouped:  # four equal samples each
            X, groups = {name: np.repeat(part, 4, axis=0) for name, part in X.items()}, np.repeat(np.arange(n), 4)
        z = [torch.from_numpy(part) for part in X.values()]
        values.append(batch_value(network, measure, z, 128, 0))
        errors.append(batch_value_error(network, measure, z, 128, 0, groups))
    # The spread of 40 values is known up to 11 %; ten blocks make an error of about 24 % each, and a seventh too large.
    assert 0.8 < np.mean(errors) / np.std(values, ddof=1) < 1.6
