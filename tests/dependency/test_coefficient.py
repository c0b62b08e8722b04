"""Nats as a coefficient from 0 to 1."""

import numpy as np
import pytest

from sklearn_mdm import DependencyEstimator
from sklearn_mdm.datasets import make_correlated_gaussians
from sklearn_mdm.dependency._coefficient import coefficient, coefficient_with_std


@pytest.mark.parametrize(
    ("nats", "expected"),
    [(-3.0, 0), (0.0, 0), (-np.log1p(-(0.5**2)) / 2, 0.5), (2.9, 0.99849), (400.0, 1), (np.nan, np.nan)],
)
def test_coefficient__of_gaussians_is_their_correlation(nats, expected):
    assert coefficient(nats) == pytest.approx(expected, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("nats", [0.1, 0.7, 2.0])
def test_standard_error__of_a_small_one_is_that_of_the_delta_method(nats):
    step = 1e-6
    slope = (coefficient(nats + step) - coefficient(nats - step)) / (2 * step)
    assert coefficient_with_std(nats, 1e-3) == pytest.approx((coefficient(nats), slope * 1e-3), rel=1e-3)


@pytest.mark.parametrize(("nats", "std"), [(0.0, 0.1), (-0.05, 0.1), (-1.0, 0.1)])
def test_standard_error__about_zero_is_finite(nats, std):
    assert coefficient_with_std(nats, std) == (0, coefficient(nats + std) / 2)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")
@pytest.mark.parametrize(("measure", "has_one"), [("kl", True), ("infonce", True), ("wasserstein", False)])
def test_dependency_estimator__has_one_for_total_correlation(measure, has_one):
    X, _ = make_correlated_gaussians(200, rho=0.8, random_state=0)
    estimator = DependencyEstimator(measure, max_updates=20, random_state=0).fit(X)
    expected = coefficient(estimator.dependency_) if has_one else np.nan
    assert estimator.coefficient_ == pytest.approx(expected, nan_ok=True)
