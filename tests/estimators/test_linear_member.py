"""The linear member against scikit-learn's models fitted fold by fold, and convex weights against a grid."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.preprocessing import StandardScaler

from sklearn_mdm.estimators import _linear_member
from sklearn_mdm.estimators._convex_weights import convex_weights
from sklearn_mdm.estimators._held_out import MIN_SPREAD
from sklearn_mdm.estimators._kernel_member import KernelMember
from sklearn_mdm.estimators._linear_member import ABSENT, RIDGE_PENALTIES, LinearMember
from sklearn_mdm.estimators._views import View

LOSSES = ["squared_error", "absolute_error", "huber"]


def regression(n=40, d=6, n_outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.5, 2, size=d)
    y = X @ rng.normal(size=(d, n_outputs)) + rng.normal(size=(n, n_outputs))
    return X, (y - y.mean(0)) / y.std(0), rng.uniform(0.2, 2, size=n)


def classification(n=60, d=5, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.5, 2, size=d)
    y = (2 * X @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(1)
    return X, y, rng.uniform(0.2, 2, size=n)


def spread(X, weight):
    """Divisors of the columns that the member is to use."""
    return StandardScaler().fit(X, sample_weight=weight).scale_


def view(X):
    """All columns as one modality that was observed everywhere."""
    return [View(X, None)]


def folds(n, n_splits=4):
    return list(KFold(n_splits, shuffle=True, random_state=0).split(np.zeros(n)))


@pytest.fixture
def exact(monkeypatch):
    """Let the solver of classifiers converge."""
    monkeypatch.setattr(_linear_member, "LOGISTIC_PENALTIES", _linear_member.LOGISTIC_PENALTIES[1:12:2])
    monkeypatch.setattr(_linear_member, "TOLERANCE", 1e-9)
    monkeypatch.setattr(_linear_member, "MAX_ITERATIONS", 10_000)


# -- ridge regression ------------------------------------------------------------------------------------------------


def ridge_by_hand(X, y, weight, splits, loss):
    """Ridge of scikit-learn for each penalty, target and fold: penalties, out-of-fold predictions, final models."""
    X = X / spread(X, weight)
    total, oof = weight.sum(), np.full((len(RIDGE_PENALTIES), *y.shape), np.nan)
    for at, penalty in enumerate(RIDGE_PENALTIES):
        for train, held_out in splits:
            model = Ridge(alpha=penalty * total, solver="svd").fit(X[train], y[train], weight[train])
            oof[at, held_out] = model.predict(X[held_out]).reshape(-1, y.shape[1])
    size = np.abs(oof - y)
    of_row = {"squared_error": size**2, "absolute_error": size, "huber": np.where(size < 1, size**2 / 2, size - 0.5)}
    best = np.nanmean(of_row[loss] * weight[:, None], axis=1).argmin(axis=0)
    oof = np.stack([oof[at, :, j] for j, at in enumerate(best)], axis=1)
    return RIDGE_PENALTIES[best], oof, Ridge(alpha=RIDGE_PENALTIES[best] * total).fit(X, y, weight)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("d", [1, 6, 30, 39, 90])  # 39: more columns than a fold has rows; 90: than there are rows
def test_ridge_is_scikit_learns_ridge_of_every_fold(d, loss):
    X, y, weight = regression(d=d)
    splits = folds(len(X))
    penalty, oof, ridge = ridge_by_hand(X, y, weight, splits, loss)
    member = LinearMember(loss).fit(view(X), y, weight, splits)
    assert_allclose(member.penalty, penalty)
    assert_allclose(member.oof, oof, atol=1e-6)
    new = regression(d=d, seed=1)[0]
    assert_allclose(member.outputs(view(new)), ridge.predict(new / spread(X, weight)), atol=1e-6)


def test_rows_that_no_split_holds_out_have_no_prediction():
    X, y, weight = regression()
    splits = list(TimeSeriesSplit(4).split(X))
    penalty, oof, _ = ridge_by_hand(X, y, weight, splits, "squared_error")
    member = LinearMember("squared_error").fit(view(X), y, weight, splits)
    assert_array_equal(np.isnan(member.oof[:, 0]), np.arange(len(X)) < 8)
    assert_allclose(member.penalty, penalty)
    assert_allclose(member.oof, oof, atol=1e-8)


def test_rows_that_several_splits_hold_out_have_the_mean(monkeypatch):
    monkeypatch.setattr(_linear_member, "RIDGE_PENALTIES", RIDGE_PENALTIES[12:13])
    X, y, _ = regression()
    splits = [(np.arange(10), np.arange(10, 40)), (np.arange(30, 40), np.arange(20))]
    first, second = (LinearMember("squared_error").fit(view(X), y, None, [split]).oof for split in splits)
    found = LinearMember("squared_error").fit(view(X), y, None, splits).oof
    assert_allclose(found, np.nanmean([first, second], axis=0))


def test_column_that_hardly_varies_is_not_blown_up():
    X, y, weight = regression()
    X[:, 0] *= 1e-4
    member = LinearMember("squared_error").fit(view(X), y, weight, folds(len(X)))
    divisor = np.maximum(spread(X, weight), MIN_SPREAD)
    ridge = Ridge(alpha=member.penalty * weight.sum()).fit(X / divisor, y, weight)
    assert_allclose(member.coef, ridge.coef_.T / divisor[:, None], atol=1e-6)


def test_wide_designs_merge_folds(monkeypatch):
    X, y, _ = regression(n=48, d=6)
    splits = folds(48, 8)
    monkeypatch.setattr(_linear_member, "WIDE", 6)
    merged = [
        (np.setdiff1d(np.arange(48), held), held)
        for held in [np.union1d(splits[k][1], splits[k + 1][1]) for k in range(0, 8, 2)]
    ]
    assert_allclose(
        LinearMember("squared_error").fit(view(X), y, None, splits).oof,
        LinearMember("squared_error").fit(view(X), y, None, merged).oof,
    )


# -- logistic regression ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("d", [5, 80])
@pytest.mark.parametrize("n_splits", [3, 8])  # 8 are merged to choose the penalty
@pytest.mark.usefixtures("exact")
def test_classifier_is_scikit_learns_logistic_regression_of_every_fold(n_classes, d, n_splits):
    X, y, weight = classification(d=d, n_classes=n_classes)
    splits = folds(len(X), n_splits)
    member = LinearMember("log_loss", n_classes).fit(view(X), y, weight, splits)
    C = 1 / (member.penalty[0] * weight.sum() / weight.max())

    scaled = X / spread(X, weight)

    def model(rows):
        return LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(
            scaled[rows], y[rows], weight[rows] / weight.max()
        )

    for train, held_out in splits:
        assert_allclose(np.exp(member.oof[held_out]), model(train).predict_proba(scaled[held_out]), atol=1e-4)
    new = classification(d=d, n_classes=n_classes, seed=1)[0]
    assert_allclose(
        np.exp(member.outputs(view(new))), model(slice(None)).predict_proba(new / spread(X, weight)), atol=1e-4
    )
    assert np.isin(member.penalty, _linear_member.LOGISTIC_PENALTIES).all()


@pytest.mark.usefixtures("exact")
def test_penalty_of_a_classifier_is_the_best_of_all():
    X, y, weight = classification()
    splits, total = folds(len(X), 4), weight.sum()
    losses, scaled = [], X / spread(X, weight)
    for penalty in _linear_member.LOGISTIC_PENALTIES:
        loss = 0
        for train, held_out in splits:
            model = LogisticRegression(C=1 / (penalty * total), tol=1e-9, max_iter=10_000)
            log_p = model.fit(scaled[train], y[train], weight[train]).predict_log_proba(scaled[held_out])
            loss -= weight[held_out] @ log_p[np.arange(len(held_out)), y[held_out]]
        losses.append(loss)
    member = LinearMember("log_loss", 3).fit(view(X), y, weight, splits)
    assert_allclose(member.penalty, _linear_member.LOGISTIC_PENALTIES[np.argmin(losses)])


def test_class_that_a_fold_was_not_trained_on_is_possible():
    X, y, _ = classification()
    y[0] = 3  # a single row of its class
    member = LinearMember("log_loss", 4).fit(view(X), y, None, folds(len(X)))
    assert np.isfinite(member.oof).all()
    assert_allclose(np.exp(member.oof).sum(axis=1), 1)
    assert member.oof[0, 3] == pytest.approx(-np.log(45 + 4))
    assert np.isfinite(member.outputs(view(X))).all()


def test_class_that_no_row_has_is_never_predicted():
    X, y, _ = classification()
    member = LinearMember("log_loss", 5).fit(view(X), y + 1, None, folds(len(X)))
    assert (member.outputs(view(X))[:, [0, 4]] < ABSENT / 2).all()
    assert (np.exp(member.oof)[:, [0, 4]] < 0.03).all()


def test_more_classes_than_half_of_the_rows():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(30), 2)
    X = rng.normal(size=(30, 6))[y] + 0.1 * rng.normal(size=(60, 6))
    splits = [(np.arange(k, 60, 2), np.arange(1 - k, 60, 2)) for k in (0, 1)]
    member = LinearMember("log_loss", 30).fit(view(X), y, None, splits)
    assert (member.oof.argmax(axis=1) == y).mean() > 0.8


def test_single_class_is_certain():
    X, y, _ = classification()
    member = LinearMember("log_loss", 2).fit(view(X), np.ones_like(y), None, folds(len(X)))
    assert_allclose(np.exp(member.outputs(view(X)))[:, 1], 1)


# -- both, and the kernel member --------------------------------------------------------------------------------------


def make(kind, **parameters):
    kind, target = kind
    if target == "classes":
        return kind("log_loss", 3), *classification(**parameters)
    return kind("squared_error"), *regression(**parameters)


KINDS = pytest.mark.parametrize("kind", list(itertools.product([LinearMember, KernelMember], ["classes", "numbers"])))


@KINDS
@pytest.mark.usefixtures("exact")
def test_weights_are_repeats(kind):
    member, X, y, _ = make(kind)
    times = np.random.default_rng(1).integers(1, 4, size=len(X))
    splits, source = folds(len(X)), np.repeat(np.arange(len(X)), times)
    again = [tuple(np.flatnonzero(np.isin(source, part)) for part in split) for split in splits]
    weighted = member.fit(view(X), y, times, splits)
    repeated = make(kind)[0].fit(view(X[source]), y[source], None, again)
    assert_allclose(weighted.penalty, repeated.penalty)
    assert_allclose(weighted.oof[source], repeated.oof, atol=1e-4)
    assert_allclose(weighted.outputs(view(X)), repeated.outputs(view(X)), atol=1e-4)


@KINDS
@pytest.mark.usefixtures("exact")
def test_weights_of_zero_leave_rows_out_and_scale_does_not_matter(kind):
    member, X, y, weight = make(kind)
    weight[:10] = 0
    splits = folds(len(X))
    rest = [tuple(part[part >= 10] - 10 for part in split) for split in splits]
    member.fit(view(X), y, 1e3 * weight, splits)
    fewer = make(kind)[0].fit(view(X[10:]), y[10:], weight[10:], rest)
    assert_allclose(member.penalty, fewer.penalty)
    assert_allclose(member.oof[10:], fewer.oof, atol=1e-4)
    assert np.isfinite(member.oof).all()


@KINDS
@pytest.mark.usefixtures("exact")
def test_order_of_rows_does_not_matter(kind):
    member, X, y, weight = make(kind)
    splits, order = folds(len(X)), np.random.default_rng(2).permutation(len(X))
    place = np.argsort(order)
    member.fit(view(X), y, weight, splits)
    moved = make(kind)[0].fit(view(X[order]), y[order], weight[order], [(place[a], place[b]) for a, b in splits])
    assert_allclose(moved.oof, member.oof[order], atol=1e-4)
    assert_allclose(moved.outputs(view(X)), member.outputs(view(X)), atol=1e-4)


@KINDS
def test_members_that_share_folds_count_once(kind):
    member, X, y, weight = make(kind)
    splits = folds(len(X))
    member.fit(view(X), y, weight, splits)
    again = make(kind)[0].fit(view(X), y, weight, [*splits, *splits])
    assert_array_equal(again.oof, member.oof)


@KINDS
def test_folds_are_made_where_there_are_none(kind):
    member, X, y, weight = make(kind)
    groups = np.arange(len(X)) // 4
    member.fit(view(X), y, weight, units=groups)
    assert np.isfinite(member.oof).all()
    # Rows of one group say nothing of each other: what is predicted for them hangs on other groups alone.
    changed = y.copy()
    changed[:4] = changed[[1, 2, 3, 0]]
    other = make(kind)[0].fit(view(X), changed, weight, units=groups)
    one_factor = isinstance(member, KernelMember) and kind[1] == "classes"  # which all rows together decide
    if np.array_equal(other.penalty, member.penalty) and not one_factor:
        assert_array_equal(other.oof[:4], member.oof[:4])
    one = make(kind)[0].fit(view(X), y, weight, units=np.zeros(len(X)))
    assert np.isfinite(one.oof).all()


@KINDS
def test_degenerate_designs(kind):
    _, X, y, weight = make(kind)
    for design in (np.zeros_like(X), np.hstack([X, X, np.full((len(X), 2), 3.0)]), np.zeros((len(X), 100))):
        member = make(kind)[0].fit(view(design), y, weight, folds(len(X)))
        assert np.isfinite(member.oof).all()
        assert np.isfinite(member.outputs(view(design))).all()
    constant = make(kind)[0].fit(view(np.zeros_like(X)), y, weight, folds(len(X)))
    base = (
        np.log(np.bincount(y, weight) / weight.sum()) if kind[1] == "classes" else np.average(y, axis=0, weights=weight)
    )
    assert_allclose(constant.outputs(view(X[:1] * 0))[0], base, atol=1e-3)


@KINDS
@pytest.mark.parametrize("n", [2, 3])
def test_few_rows(kind, n):
    _, X, y, _ = make(kind)
    member = make(kind)[0].fit(view(X[:n]), y[:n])
    assert np.isfinite(member.outputs(view(X))).all()


@KINDS
@pytest.mark.parametrize("size", [1e10, 1e100, 1e200])
def test_values_far_from_all_others_are_predicted(kind, size):
    member, X, y, weight = make(kind)
    member.fit(view(X), y, weight, folds(len(X)))
    assert np.isfinite(member.outputs(view(size * X))).all()


@KINDS
def test_float32_stays_float32(kind):
    member, X, y, weight = make(kind)
    member.fit(view(X.astype(np.float32)), y if kind[1] == "classes" else y.astype(np.float32), weight, folds(len(X)))
    assert member.outputs(view(X.astype(np.float32))).dtype == np.float32


# -- convex weights --------------------------------------------------------------------------------------------------


def loss_of_mean(w, oof, y, weight, loss):
    if loss == "log_loss":
        p = np.tensordot(w, np.exp(log_softmax(oof, axis=2)), 1)[np.arange(len(y)), y]
        return -np.average(np.log(p), weights=weight)
    size = np.abs(np.tensordot(w, oof, 1) - y)
    of_value = {"squared_error": size**2, "absolute_error": size, "huber": np.where(size < 1, size**2 / 2, size - 0.5)}
    return np.average(of_value[loss].mean(axis=1), weights=weight)


def predictions(loss, n_groups=3, seed=0):
    """Targets, and predictions of groups that err differently."""
    rng = np.random.default_rng(seed)
    if loss == "log_loss":
        _, y, weight = classification(seed=seed)
        oof = 2 * np.eye(3)[y] + rng.normal(size=(n_groups, len(y), 3)) * np.arange(1, n_groups + 1)[:, None, None]
    else:
        _, y, weight = regression(seed=seed)
        oof = y + rng.normal(size=(n_groups, *y.shape)) * np.arange(1, n_groups + 1)[:, None, None]
    return oof, y, weight


@pytest.mark.parametrize("loss", [*LOSSES, "log_loss"])
@pytest.mark.parametrize("seed", range(4))
def test_convex_weights_are_as_good_as_the_best_of_a_grid(loss, seed):
    oof, y, weight = predictions(loss, seed=seed)
    found = convex_weights(oof, y, weight, loss)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    grid = [np.array([a, b, 50 - a - b]) / 50 for a, b in itertools.product(range(51), repeat=2) if a + b <= 50]
    best = min(loss_of_mean(w, oof, y, weight, loss) for w in grid)
    assert loss_of_mean(found, oof, y, weight, loss) <= best + 1e-4
    assert_array_equal(found, convex_weights(oof, y, weight, loss))


@pytest.mark.parametrize("loss", [*LOSSES, "log_loss"])
def test_convex_weights_where_there_is_nothing_to_choose(loss):
    oof, y, weight = predictions(loss)
    assert_array_equal(convex_weights(oof[:1], y, weight, loss), [1])
    assert_array_equal(convex_weights(oof[[0, 0, 0, 0]], y, weight, loss), [0.25] * 4)
    assert_array_equal(convex_weights(oof * np.nan, y, weight, loss), [1 / 3] * 3)
    assert_array_equal(convex_weights(oof, y, 0 * weight, loss), [1 / 3] * 3)


@pytest.mark.parametrize("loss", [*LOSSES, "log_loss"])
def test_convex_weights_leave_out_rows_that_a_group_did_not_predict(loss):
    oof, y, weight = predictions(loss)
    holes = oof.copy()
    holes[0, :5], holes[2, 7, 1] = np.nan, np.nan
    rows = np.isfinite(holes).all(axis=(0, 2))
    assert_array_equal(
        convex_weights(holes, y, weight, loss), convex_weights(oof[:, rows], y[rows], weight[rows], loss)
    )


@pytest.mark.parametrize("loss", [*LOSSES, "log_loss"])
def test_a_group_without_error_has_all_the_weight(loss):
    oof, y, _ = predictions(loss)
    oof[1] = np.where(np.eye(3)[y] > 0, 0, -1e5) if loss == "log_loss" else y
    assert_allclose(convex_weights(oof, y, None, loss), [0, 1, 0], atol=1e-3)
