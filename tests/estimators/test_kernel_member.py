"""The kernel member against scikit-learn's KernelRidge; what it shares with the linear one is in test_linear_member."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import KFold

from sklearn_mdm.estimators._kernel_member import PENALTIES, KernelMember
from sklearn_mdm.estimators._views import View

N = 48


def samples(seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(N, 3)), 2 * rng.normal(size=(N, 5))
    y = np.c_[np.sin(2 * a[:, 0]) + b[:, 0], a[:, 1] ** 2] + 0.3 * rng.normal(size=(N, 2))
    seen = rng.random(N) > 0.3
    return [View(a, None), View(np.where(seen[:, None], b, 0), seen)], y - y.mean(0)


def kernel_by_hand(views, others, spreads):
    total = 0.0
    for view, other, spread in zip(views, others, spreads, strict=True):
        distance = euclidean_distances(view.columns / spread, other.columns / spread)
        both = np.ones(distance.shape) if view.seen is None else np.outer(view.seen, other.seen)
        total = total + both * np.exp(-distance / 5 / np.sqrt(view.columns.shape[1]))
    return total / len(views)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_numbers__are_kernel_ridge_with_the_penalty_that_is_best_in_rows_held_out(loss):
    (views, y), (new, _) = samples(), samples(1)
    splits = list(KFold(3, shuffle=True, random_state=0).split(y))
    member = KernelMember(loss).fit(views, y, None, splits)
    spreads = [view.columns.std(axis=0) for view in views]
    kernel = kernel_by_hand(views, views, spreads)
    losses, predictions = [], []
    for penalty in PENALTIES:
        oof = np.empty_like(y)
        for train, held_out in splits:
            ridge = KernelRidge(alpha=penalty * N, kernel="precomputed")
            mean = y[train].mean(axis=0)
            ridge.fit(kernel[np.ix_(train, train)], y[train] - mean)
            oof[held_out] = ridge.predict(kernel[np.ix_(held_out, train)]) + mean
        size = np.abs(oof - y)
        huber = np.where(size < 1, size**2 / 2, size - 0.5)
        losses.append({"squared_error": size**2, "absolute_error": size, "huber": huber}[loss].mean())
        predictions.append(oof)
    best = int(np.argmin(losses))
    assert member.penalty == PENALTIES[best]
    assert_allclose(member.oof, predictions[best], atol=1e-4)  # features are kept in single precision
    ridge = KernelRidge(alpha=member.penalty * N, kernel="precomputed").fit(kernel, y - y.mean(axis=0))
    expected = ridge.predict(kernel_by_hand(new, views, spreads)) + y.mean(axis=0)
    assert_allclose(member.outputs(new), expected, atol=1e-4)


def test_classes__have_the_factor_of_least_log_loss():
    views, values = samples()
    y = np.digitize(values[:, 0], [-1.5, 1.0])
    member = KernelMember("log_loss", 3).fit(views, y)
    share = np.bincount(y) / N
    raw = (member.oof - np.log(share)) / member.factor  # up to a constant in each row
    losses = [log_loss(y, softmax(np.log(share) + factor * raw, axis=1)) for factor in np.geomspace(0.05, 140, 400)]
    assert log_loss(y, np.exp(member.oof)) <= min(losses) + 1e-6
    assert log_loss(y, np.exp(member.oof)) < log_loss(y, np.tile(share, (N, 1)))


def test_noise__has_the_shares_of_the_classes():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 1, 1], 50)
    member = KernelMember("log_loss", 2).fit([View(rng.normal(size=(200, 4)), None)], y)
    assert_allclose(np.exp(member.outputs([View(rng.normal(size=(5, 4)), None)])[:, 1]), 0.75, atol=0.05)


def test_modalities_that_are_missing__contribute_nothing():
    views, y = samples()
    member = KernelMember("squared_error").fit(views, y)
    (a, _), (b, seen) = views
    nothing = np.zeros(N, dtype=bool)
    alone = [member.outputs([View(a, None), View(b, nothing)]), member.outputs([View(a, nothing), View(b, seen)])]
    both = member.outputs(views)
    assert_allclose(sum(alone), both + y.mean(axis=0), atol=1e-9)
    assert_allclose(member.outputs([View(a, nothing), View(b, nothing)]), np.tile(y.mean(0), (N, 1)), atol=1e-12)
    # What stands where nothing was observed is not read.
    assert_array_equal(member.outputs([View(a, None), View(b + 7, nothing)]), alone[0])


def test_rows_that_are_copies_of_each_other__are_fitted():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1, 30)) + np.repeat([0, 1e-9], [20, 20])[:, None] * rng.normal(size=(40, 30))
    rows = 1e3 * np.repeat(rows, 5, axis=0)
    y = np.arange(200) % 2
    member = KernelMember("log_loss", 2).fit([View(rows, None)], y)
    assert_allclose(np.exp(member.outputs([View(rows, None)])), 0.5, atol=0.1)
    assert np.isfinite(log_softmax(member.oof, axis=1)).all()
