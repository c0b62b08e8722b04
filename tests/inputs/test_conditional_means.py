"""What missing cells are expected to be, given their row, and which columns say something by missing them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_mdm.inputs._conditional_means import fit_conditional_means
from sklearn_mdm.inputs._telling_cells import telling_columns

nan = np.nan


def table(n=400, d=30, share=0.3, seed=0):
    """Rows (n, d) of four factors and noise, whole and with missing cells."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)) @ rng.normal(size=(4, d)) + 0.3 * rng.normal(size=(n, d)) + 5
    return x, np.where(rng.random(x.shape) < share, nan, x)


def test_two_columns__are_a_ridge_regression_by_hand():
    """Means 2 and 20, deviations 1 and 10 of the columns; the correlation is 4 / (4 + 10), the variances 1 + 2 / 4."""
    x = np.array([[1.0, 10.0], [1.0, 10.0], [3.0, 30.0], [3.0, 30.0]])
    means = fit_conditional_means(x, None)
    assert_allclose(means.center, [2.0, 20.0], rtol=1e-12)
    rows = np.array([[nan, 40.0], [3.0, nan], [nan, nan], [7.0, 7.0]])
    slope = (4 / 14) / 1.5
    expected = [[2 + 2 * slope, 40.0], [3.0, 20 + 10 * slope], [2.0, 20.0], [7.0, 7.0]]
    assert_allclose(means(rows, np.isnan(rows)), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_rows__are_solved_each_for_itself(share):
    _, holes = table(share=share)
    means, missing = fit_conditional_means(holes, None), np.isnan(holes)
    expected = holes.copy()
    for row, m in zip(expected, missing, strict=True):
        inner, outer = means.precision[np.ix_(m, m)], means.precision[np.ix_(m, ~m)]
        row[m] = means.center[m] - np.linalg.solve(inner, outer @ (row - means.center)[~m])
    found = means(holes, missing)
    # Residuals of 1e-6.
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert_array_equal(found[~missing], holes[~missing])
    assert_allclose(means(holes[7:9], missing[7:9]), found[7:9], rtol=1e-10)


def test_factors__are_found():
    """The noise, .3, is what remains at best; the deviations of the columns are near 2."""
    x, holes = table()
    missing = np.isnan(holes)
    error = np.sqrt(((fit_conditional_means(holes, None)(holes, missing) - x)[missing] ** 2).mean())
    assert error < 0.5 and x.std() > 1.8


def test_noise__is_filled_with_means():
    """Of 60 independent columns in 60 rows, regressions would find much that is not there."""
    x = np.random.default_rng(0).normal(size=(60, 60))
    missing = np.random.default_rng(1).random(x.shape) < 0.3
    filled = fit_conditional_means(np.where(missing, nan, x), None)(x, missing)
    assert ((filled - x)[missing] ** 2).mean() < 1.15 * (x[missing] ** 2).mean()


def test_weights__are_repeats_up_to_what_is_added():
    _, holes = table(n=4000, d=5)
    weight = np.random.default_rng(1).integers(1, 4, size=4000).astype(float)
    weighted, repeated = (
        fit_conditional_means(holes, weight),
        fit_conditional_means(np.repeat(holes, weight.astype(int), axis=0), None),
    )
    assert_allclose(weighted.center, repeated.center, rtol=1e-12)
    missing = np.isnan(holes)
    assert np.abs(weighted(holes, missing) - repeated(holes, missing)).mean() < 0.01
    scaled = fit_conditional_means(holes, 1e-30 * weight)
    assert_allclose(scaled.precision, weighted.precision, rtol=1e-10)


def test_constant_and_empty_columns__are_filled_with_their_centre():
    _, holes = table()
    holes[:, 3], holes[:, 4] = nan, np.where(np.isnan(holes[:, 4]), nan, 7.0)
    means = fit_conditional_means(holes, None)
    filled = means(holes, np.isnan(holes))
    assert np.isfinite(filled).all()
    assert_allclose(filled[:, 3], 0.0, atol=1e-12)
    assert_allclose(filled[:, 4], 7.0, rtol=1e-12)


def test_columns_never_seen_together__say_nothing_of_each_other():
    x, _ = table(d=2)
    x[:200, 0], x[200:, 1] = nan, nan
    means = fit_conditional_means(x, None)
    assert_allclose(means(x, np.isnan(x))[:200, 0], means.center[0], rtol=1e-10)


@pytest.mark.parametrize("factor", [1e200, 1e-300])
def test_squares_out_of_range__are_none_or_finite(factor):
    _, holes = table()
    means = fit_conditional_means(holes * factor, None)
    assert means is None or np.isfinite(means(holes * factor, np.isnan(holes))).all()


def test_units__make_no_difference():
    _, holes = table()
    units = np.logspace(-6, 6, holes.shape[1])
    expected = fit_conditional_means(holes, None)(holes, np.isnan(holes))
    found = fit_conditional_means(holes * units, None)(holes * units, np.isnan(holes)) / units
    assert_allclose(found, expected, rtol=1e-6)


# --- which columns say something -------------------------------------------------------------------------------------


def missing_cells(n=300):
    """Columns of missing cells: three at random, one for y = 1, one in 4 rows of y = 1 only, one everywhere."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, size=n)
    missing = rng.random((n, 6)) < 0.3
    missing[:, 3] = rng.random(n) < np.where(y == 1, 0.6, 0.2)
    missing[:, 4] = np.arange(n) < np.flatnonzero(y == 1)[3] + 1
    missing[:, 4] &= y == 1
    missing[:, 5] = True
    return missing.astype(float), y


@pytest.mark.parametrize(
    "target",
    [
        lambda y: (y, True),
        lambda y: (np.array([0.0, 5.0, -1.0])[y][:, None], False),
        lambda y: (np.c_[np.arange(len(y)) % 7, np.exp(9.0 * (y == 1))], False),
        lambda y: (np.where(np.arange(len(y)) % 5 == 0, nan, y == 1)[:, None], False),
    ],
    ids=["classes", "values", "outputs", "some unlabelled"],
)
def test_telling_columns__are_those_that_depend_on_the_target(target):
    missing, y = missing_cells()
    y, classes = target(y)
    assert telling_columns(missing, y, classes=classes).tolist() == [3]


@pytest.mark.parametrize("classes", [True, False])
def test_target_that_does_not_vary__is_told_by_none(classes):
    missing, y = missing_cells()
    y = np.zeros(len(y), dtype=int)
    assert not len(telling_columns(missing, y if classes else y[:, None].astype(float), classes=classes))
    every = np.arange(len(y))
    assert not len(telling_columns(missing, every, classes=True))


def test_columns_at_random__are_rarely_found():
    """In one of twenty tables, by Benjamini and Hochberg."""
    rng = np.random.default_rng(0)
    found = [
        len(telling_columns((rng.random((100, 20)) < 0.3) * 1.0, rng.integers(0, 2, 100), classes=True)) > 0
        for _ in range(200)
    ]
    assert np.mean(found) < 0.1
