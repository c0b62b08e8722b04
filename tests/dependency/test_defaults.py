"""What readers rely on who change nothing: scalings by evidence, strong dependency, none at all."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import LeaveOneGroupOut

from sklearn_mdm import DependencyEstimator
from sklearn_mdm.exceptions import DependencyWarning, RepeatedSamplesWarning, SampleLimitWarning

RNG = np.random.default_rng(0)
A, E = RNG.normal(size=(300, 1)), RNG.normal(size=(300, 1))
CELSIUS = np.round(15 + 10 * A, 1)


def quick(X, **parameters):
    """Defaults, but for what only makes them better."""
    parameters = {"max_updates": 60, "hidden_dims": (32, 32), "n_components": 4, "random_state": 0, **parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DependencyWarning)
        return DependencyEstimator(**parameters).fit(X)


def views(*columns):
    return dict(zip("abc", columns, strict=False))


def with_correlation(rho):
    return views(A, rho * A + np.sqrt(1 - rho**2) * E)


# --- scalings --------------------------------------------------------------------------------------------------------


def test_heavy_tails__are_read_as_ranks():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2)) / np.sqrt(rng.chisquare(1, size=(2000, 1)))
    X = views(z[:, :1], z[:, 1:])
    auto, rank, standard = (quick(X, scaling=name, cv=2) for name in ("auto", "rank", "standard"))
    assert abs(auto.dependency_ - rank.dependency_) < 3 * rank.dependency_std_
    assert abs(auto.dependency_ - 0.224) < 2 * auto.dependency_std_  # Student's t with one degree of freedom
    assert standard.dependency_ < auto.dependency_ - 0.02


@pytest.fixture(scope="module")
def plain():
    return quick(with_correlation(0.8)).dependency_


@pytest.mark.parametrize(
    "warp",
    [
        np.exp,
        pytest.param(np.cbrt, marks=pytest.mark.slow),
        pytest.param(lambda x: np.sinh(3 * x), marks=pytest.mark.slow),
    ],
    ids=["exp", "cbrt", "sinh"],
)
def test_increasing_maps_of_columns__change_little(warp, plain):
    warped = {name: warp(value) for name, value in with_correlation(0.8).items()}
    assert quick(warped).dependency_ == pytest.approx(plain, abs=0.05)


def test_outlier__is_one_sample(plain):
    far = with_correlation(0.8)
    far["a"] = np.where(np.arange(300)[:, None] == 0, 1e9, far["a"])
    assert quick(far).dependency_ == pytest.approx(plain, abs=0.05)
    assert quick(far, scaling="standard").dependency_ == pytest.approx(plain, abs=0.1)


# --- modalities that determine each other ----------------------------------------------------------------------------


def test_rising_correlation__is_rising_dependency():
    found = [quick(with_correlation(rho)) for rho in (0.9, 0.99, 0.999, 1.0)]
    values = [each.dependency_ for each in found]
    assert values == sorted(values) and values[0] == pytest.approx(0.83, abs=0.15)
    assert [("SampleLimitWarning" in each.warnings_) for each in found] == [False, False, True, True]
    assert max(each.dependency_std_ for each in found) < 0.15
    assert values[-1] <= np.log(60)  # the most that 60 held-out samples can show


def test_copies__are_said_to_have_at_least_so_much():
    with pytest.warns(SampleLimitWarning) as warned:
        found = DependencyEstimator(max_updates=100, hidden_dims=(32, 32), random_state=0).fit(with_correlation(1.0))
    (warning,) = warned  # one for all folds, of their value
    assert f"dependency is at least {found.dependency_:.2f} nats" in str(warning.message)
    assert "near log(60)" in str(warning.message)


def test_warnings__are_of_the_value__not_of_a_single_fold():
    # One fold reads 0.98 of what its training rows have as 1.47, which others make up for.
    rng = np.random.default_rng(1)
    a, e = rng.normal(size=(2, 300, 2))
    assert quick(views(a, 0.9 * a + np.sqrt(0.19) * e), random_state=1, max_updates=150).warnings_ == []


@pytest.mark.parametrize(
    ("X", "least"),
    [
        pytest.param(views(CELSIUS, 32 + 1.8 * CELSIUS), 2.5, marks=pytest.mark.slow),
        (views(A, A**2), 1.0),
        (views(A, np.hstack([E, -3 * A])), 2.5),
        (views(A, A, A), 3.5),
        (views(np.sign(A), np.sign(A)), 0.6),  # log(2) = 0.69
        (views(np.hsplit(load_breast_cancer().data, 3)[0], *np.hsplit(load_breast_cancer().data, 3)[1:]), 2.0),
    ],
    ids=["celsius beside fahrenheit", "square", "among noise", "three", "classes", "breast cancer"],
)
def test_functions_of_each_other__have_much_dependency_with_a_small_error(X, least):
    found = quick(X)
    assert least < found.dependency_
    assert 0 <= found.dependency_std_ < 0.2


# --- nothing to find -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["normal", "wide", "heavy", "classes", "three"])
def test_independent_modalities__have_none(kind, seed):
    rng = np.random.default_rng(seed)
    X = {
        "normal": lambda: views(*rng.normal(size=(2, 300, 2))),
        "wide": lambda: views(*rng.normal(size=(2, 300, 40))),
        "heavy": lambda: views(*rng.standard_cauchy(size=(2, 300, 2))),
        "classes": lambda: views(rng.integers(3, size=(300, 1)).astype(float), rng.normal(size=(300, 3))),
        "three": lambda: views(*rng.normal(size=(3, 300, 2))),
    }[kind]()
    assert abs(quick(X, random_state=seed).dependency_) < 0.02


@pytest.mark.parametrize("constant", [np.zeros((300, 2)), np.full((300, 1), 1e6 + 0.1)], ids=["zeros", "large"])
def test_constant_modality__has_none(constant):
    found = quick(views(A, constant))
    assert abs(found.dependency_) < 0.02 and found.warnings_ == []


def test_grouped_copies_of_independent_samples__have_none():
    rows = np.arange(300) // 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepeatedSamplesWarning)
        found = quick(views(A[rows], E[rows]))
    assert abs(found.dependency_) < 2 * found.dependency_std_ + 0.02


@pytest.mark.parametrize(
    ("n_groups", "cv", "n_folds"),
    [(5, "auto", 3), pytest.param(5, LeaveOneGroupOut(), 5, marks=pytest.mark.slow), (60, "auto", 5)],
    ids=str,
)
def test_few_groups__do_not_hide_dependency(n_groups, cv, n_folds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DependencyWarning)
        found = DependencyEstimator(max_updates=60, hidden_dims=(32, 32), n_components=4, cv=cv, random_state=0)
        found.fit(with_correlation(0.8), groups=np.arange(300) % n_groups)
    assert len(found.critics_) == n_folds
    assert found.dependency_ == pytest.approx(0.51, abs=0.15)


# --- which samples ---------------------------------------------------------------------------------------------------


def test_more_samples_than_are_used__have_values_too(monkeypatch):
    monkeypatch.setattr("sklearn_mdm.dependency._estimator.MAX_SAMPLES", 200)
    X = with_correlation(0.9)
    X["a"] = X["a"].copy()
    X["a"][7] = np.nan
    found = quick(X)
    assert len(found.held_out_) == len(set(found.held_out_)) == 200 and 7 not in found.held_out_
    assert np.flatnonzero(np.isnan(found.pointwise_)).tolist() == [7]
    rest = np.setdiff1d(np.arange(300), [*found.held_out_, 7])
    np.testing.assert_allclose(found.pointwise_[rest], found.score_samples(X)[rest])
    assert found.pointwise_[rest].mean() == pytest.approx(found.dependency_, abs=0.2)  # new samples
    assert found.pointwise_[found.held_out_].mean() == pytest.approx(found.dependency_)


@pytest.mark.parametrize(("n", "n_folds"), [(201, 3), (200, 5), (12, 3)])
def test_default_folds__are_fewer_for_many_and_for_very_few_samples(n, n_folds, monkeypatch):
    monkeypatch.setattr("sklearn_mdm.dependency._cross_fitting.MANY", 200)
    found = quick(views(A[:n], E[:n]), max_updates=2)
    assert len(found.critics_) == n_folds and found.held_out_.size == n
    assert type(found.dependency_) is type(found.dependency_std_) is float
