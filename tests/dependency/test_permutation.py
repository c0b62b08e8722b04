"""The test of independence: its statistic, its null distribution, its p-values."""

import warnings

import numpy as np
import pytest
from scipy.stats import kstest

from sklearn_mdm import DependencyEstimator
from sklearn_mdm.datasets import make_correlated_gaussians
from sklearn_mdm.dependency._permutation import PermutationTest, compare_means


def tiny(**parameters):
    return DependencyEstimator(**{"max_updates": 20, "hidden_dims": (8, 8), "n_components": 1, "cv": 3, **parameters})


@pytest.fixture(scope="module", params=[None, 3], ids=["one part", "folds"])
def fitted(request):
    X, _ = make_correlated_gaussians(300, rho=0.5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tiny(cv=request.param, random_state=0).fit(X), X


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
def test_statistic__is_the_value_of_the_samples(fitted, monkeypatch):
    estimator, X = fitted
    new, _ = make_correlated_gaussians(300, rho=0.5, random_state=1)
    for most in (2000, 100):  # of which the statistic does not depend
        monkeypatch.setattr("sklearn_mdm.dependency._readings.MAX_TEST_ROWS", most)
        tests = estimator.permutation_test(X, 99), estimator.permutation_test(new, 99)
        values = estimator.dependency_, estimator.score(new)
        for test, value in zip(tests, values, strict=True):
            assert test.statistic == pytest.approx(value, rel=1e-9)
            assert test.pvalue == 1 / 100
            assert test.null_distribution.shape == (99,) and abs(test.null_distribution.mean()) < 0.005
            assert test.null_distribution.max() < value


def test_null_distribution__of_independent_samples_holds_their_value():
    rng = np.random.default_rng(0)
    test = (
        tiny(random_state=0)
        .fit({name: rng.normal(size=(200, 1)) for name in "ab"})
        .permutation_test({name: rng.normal(size=(200, 1)) for name in "ab"})
    )
    assert test.pvalue > 0.05 and abs(test.null_distribution.mean()) < 0.005
    assert np.ptp(test.null_distribution) > 0


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.3, 3.0])
def test_compare_means__pvalue_is_a_share_and_bounds_keep_the_order(shift):
    values = np.random.default_rng(0).normal(-40, 1, size=(200, 50))
    values[0] += shift
    values[1] = values[0][::-1]  # a tie, up to rounding
    test, means = compare_means(values, 0.7), values.mean(1)
    assert test.statistic == 0.7
    assert test.pvalue == pytest.approx((1 + (means[1:] >= means[0] - 1e-7).sum()) / 200)
    ranks = np.argsort(means[1:])
    assert (np.diff(test.null_distribution[ranks]) >= -1e-12).all()
    # Of normal values the bound is half the square of the mean in standard deviations.
    z = (means[2:] - values[1:].mean()) / values[1:].std()
    np.testing.assert_allclose(test.null_distribution[1:], np.sign(z) * z**2 / 2, rtol=0, atol=0.01)


def test_compare_means__of_constant_values__cannot_reject():
    test = compare_means(np.full((20, 5), 0.1), 0.0)
    assert test.pvalue == 1 and (test.null_distribution == 0).all()


def test_repr__is_a_line():
    text = repr(PermutationTest(0.123456789, 0.005, np.zeros(199)))
    assert text == "PermutationTest(statistic=0.1235, pvalue=0.005, n_permutations=199)"


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
def test_groups__are_warned_of_with_folds_too():
    X, _ = make_correlated_gaussians(90, rho=0.5, random_state=0)
    estimator = tiny(random_state=0).fit(X, groups=np.arange(90) // 3)
    with pytest.warns(UserWarning, match="was given groups"):
        estimator.permutation_test(X, 19)


def pvalues_of(n_runs, **parameters):
    """Of training samples of independent modalities; a uniform number spreads each between it and the one below."""
    random, found = np.random.default_rng(0), []
    for seed in range(n_runs):
        X = {name: random.normal(size=(60, 1)) for name in "ab"}
        test = tiny(random_state=seed, **parameters).fit(X).permutation_test(X, 19)
        found.append(test.pvalue - random.uniform(0, 1 / 20))
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
@pytest.mark.parametrize("parameters", [{"cv": 2}, {"cv": "auto", "n_components": 32, "max_updates": 100}], ids=str)
def test_pvalues__of_independent_training_samples_are_uniform(parameters):
    assert kstest(pvalues_of(60, **parameters), "uniform").pvalue > 0.01
