"""Label spreading beside networks, against scikit-learn's on the same graph and against labels that are left out."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.semi_supervised import LabelSpreading

from sklearn_mdm.estimators import _spreading_member
from sklearn_mdm.estimators._spreading_member import ALPHA, MIN_SHARE, PRIOR, SpreadingMember
from sklearn_mdm.estimators._views import View

N, LABELLED, N_CLASSES = 90, 30, 3


def samples(n=N, seed=0, missing=0.3):
    """Two modalities, the second missing in some rows, and the classes of all rows."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % N_CLASSES
    a = 2 * np.eye(N_CLASSES)[y] + rng.normal(size=(n, N_CLASSES))
    b = 3 * rng.normal(size=(n, 4)) + y[:, None]
    seen = rng.random(n) >= missing
    return [View(a, None), View(np.where(seen[:, None], b, 0), seen)], y


def fitted(views, y, *args, n_classes=N_CLASSES):
    return SpreadingMember("log_loss", n_classes).fit(views, y, *args)


def distances_by_hand(views, others, own):
    """Distances by loops over rows, columns by their deviations in ``own`` and modalities by their medians there."""
    total, count = np.zeros((2, len(views[0].columns), len(others[0].columns)))
    for view, other, train in zip(views, others, own, strict=True):
        spread = train.columns.std(axis=0)

        def root_mean_square(x, z, spread=spread):
            return np.array([[np.sqrt(np.mean(((row - to) / spread) ** 2)) for to in z] for row in x])

        def seen(of):
            return np.ones(len(of.columns), dtype=bool) if of.seen is None else of.seen

        rows = train.columns[seen(train)]
        median = np.median(root_mean_square(rows, rows)[np.triu_indices(len(rows), 1)])
        both = np.outer(seen(view), seen(other))
        total += np.where(both, root_mean_square(view.columns, other.columns) / median, 0)
        count += both
    return np.where(count, total / np.maximum(count, 1), np.inf)


def graph_by_hand(views):
    """Weights of the edges, and scales of the rows."""
    distance = distances_by_hand(views, views, views)
    order = (distance + np.diag(np.full(len(distance), np.inf))).argsort(axis=1)
    scale = distance[np.arange(len(order)), order[:, 6]]
    weights = np.zeros_like(distance)
    for i, row in enumerate(order):
        for j in row[:5]:
            weights[i, j] = weights[j, i] = np.exp(-(distance[i, j] ** 2) / scale[i] / scale[j])
    return weights, scale


def with_prior(spread, share):
    return (1 - PRIOR) * spread / spread.sum(axis=1, keepdims=True) + PRIOR * share


def test_rows_have_the_labels_of_scikit_learns_label_spreading():
    views, y = samples()
    weights, _ = graph_by_hand(views)
    train = np.arange(10, LABELLED)
    member = fitted(views, y[:LABELLED], None, [(train, np.arange(10))])
    model = LabelSpreading(kernel=lambda a, b: weights, alpha=ALPHA, max_iter=1000, tol=1e-12)
    model.fit(np.zeros((N, 1)), np.where(np.isin(np.arange(N), train), y, -1))
    # In scikit-learn, rows are normalised and classes are not: their sums come from what spread.
    root = np.sqrt(weights.sum(axis=0))
    labels = np.where(np.isin(np.arange(N), train)[:, None], np.eye(N_CLASSES)[y], 0)
    spread = np.linalg.solve(np.eye(N) - ALPHA * weights / np.outer(root, root), labels)
    assert_allclose(spread / spread.sum(axis=1, keepdims=True), model.label_distributions_, atol=1e-9)
    share = labels.mean(axis=0) / labels.mean(axis=0).sum()
    expected = with_prior(spread * share / spread.sum(axis=0), share)
    assert_allclose(np.exp(member.oof[:10]), expected[:10], atol=1e-9)
    assert np.isnan(member.oof[10:]).all()


def test_new_rows_have_the_mean_of_their_neighbours():
    (views, y), (new, _) = samples(), samples(20, seed=1)
    member = fitted(views, y[:LABELLED])
    weights, scale = graph_by_hand(views)
    root = np.sqrt(weights.sum(axis=0))
    labels = np.where(np.arange(N)[:, None] < LABELLED, np.eye(N_CLASSES)[y], 0)
    spread = np.linalg.solve(np.eye(N) - ALPHA * weights / np.outer(root, root), labels)
    spread = spread / spread.sum(axis=0) / N_CLASSES / root[:, None]
    distance = distances_by_hand(new, views, views)
    expected = []
    for row in distance:
        near = row.argsort()[:5]
        own = np.exp(-(row[near] ** 2) / np.sort(row)[6] / scale[near])
        expected.append(own @ spread[near])
    expected = with_prior(np.array(expected), np.full(N_CLASSES, 1 / N_CLASSES))
    assert_allclose(np.exp(member.outputs(new)), expected, atol=1e-9)


@pytest.mark.parametrize("splitter", [KFold(4, shuffle=True, random_state=0), TimeSeriesSplit(3)])
def test_rows_held_out_are_predicted_as_if_they_had_no_label(splitter):
    views, y = samples()
    weight = np.random.default_rng(2).uniform(0.2, 2, size=LABELLED)
    splits = list(splitter.split(y[:LABELLED]))
    member = fitted(views, y[:LABELLED], weight, [*splits, *splits])
    for train, held_out in splits:
        order = np.r_[train, np.setdiff1d(np.arange(N), train)]
        again = fitted([view.take(order) for view in views], y[train], weight[train])
        spread = again.spread_labels[order.argsort()[held_out]]
        assert_allclose(np.exp(member.oof[held_out]), with_prior(spread, again.share), atol=1e-9)
    never = np.setdiff1d(np.arange(LABELLED), np.concatenate([held_out for _, held_out in splits]))
    assert np.isnan(member.oof[never]).all()


def test_rows_that_several_splits_hold_out_have_the_mean():
    views, y = samples()
    splits = [(np.arange(10), np.arange(10, 30)), (np.arange(20, 30), np.arange(15))]
    first, second = (np.exp(fitted(views, y[:LABELLED], None, [split]).oof) for split in splits)
    found = np.exp(fitted(views, y[:LABELLED], None, splits).oof)
    assert_allclose(found, np.nanmean([first, second], axis=0))


def test_weights_are_of_labels_alone():
    views, y = samples()
    weight = np.r_[np.zeros(6), np.full(LABELLED - 6, 3.0)]
    splits = [(np.arange(12, LABELLED), np.arange(12))]
    member = fitted(views, y[:LABELLED], weight, splits)
    order = np.r_[6:N, :6]
    fewer = fitted([view.take(order) for view in views], y[6:LABELLED], None, [(np.arange(6, 24), np.arange(6))])
    assert_allclose(member.oof[6:12], fewer.oof[:6], atol=1e-9)
    assert np.isfinite(member.oof[:6]).all()
    assert_allclose(member.outputs(views), fewer.outputs(views), atol=1e-9)


def test_rows_without_a_label_help():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:1000]
    X, y = X[order], y[order]
    views, new = ([View(part[:, :32], None), View(part[:, 32:], None)] for part in (X[:800], X[800:]))
    alone, together = (fitted([view.take(slice(n)) for view in views], y[:50], n_classes=10) for n in (50, 800))
    losses = [log_loss(y[800:], np.exp(member.outputs(new))) for member in (alone, together)]
    assert losses[1] < 0.8 * losses[0]
    # What is predicted out of fold says how good new predictions are, but for the labels that are fewer.
    assert (together.oof.argmax(axis=1) == y[:50]).mean() == pytest.approx(
        (together.outputs(new).argmax(axis=1) == y[800:]).mean(), abs=0.1
    )


def test_what_was_not_observed_is_not_read():
    (a, b), y = samples()
    member = fitted([a, b], y[:LABELLED])
    (new_a, new_b), _ = samples(20, seed=1)
    nothing = np.zeros(20, dtype=bool)
    for kept in (0, 1):
        pair = [View(new_a.columns, None), View(new_b.columns, np.ones(20, dtype=bool))]
        pair[1 - kept] = View(pair[1 - kept].columns, nothing)
        found = member.outputs(pair)
        pair[1 - kept] = View(pair[1 - kept].columns + 7, nothing)
        assert_array_equal(member.outputs(pair), found)
    neither = member.outputs([View(new_a.columns, nothing), View(new_b.columns, nothing)])
    assert_allclose(np.exp(neither), np.full((20, N_CLASSES), 1 / N_CLASSES), atol=1e-9)


def test_rows_that_share_no_modality_say_nothing_of_each_other():
    rng = np.random.default_rng(0)
    y, first = np.arange(40) % 2, np.arange(80) % 40 < 20
    y[:20] = 0
    views = [View(rng.normal(size=(80, 3)), first), View(rng.normal(size=(80, 3)), ~first)]
    splits = [(np.arange(20), np.arange(20, 40))]
    member = SpreadingMember("log_loss", 2).fit(views, y, None, splits)
    assert_allclose(np.exp(member.oof[20:]), np.tile([1.0, 0], (20, 1)), atol=1e-9)  # the shares in the fold
    assert_allclose(np.exp(member.outputs(views))[first[:80], 1], PRIOR * member.share[1], atol=1e-9)


def degenerate():
    """Names, views, classes of the rows with a label, and numbers of classes."""
    (a, b), y = samples()
    copies = np.repeat(a.columns[:9], 10, axis=0)
    nowhere = np.zeros(N, dtype=bool)
    return {
        "constant": ([View(np.ones((N, 2)), None)], y[:LABELLED], 3),
        "copies": ([View(copies, None)], y[:LABELLED], 3),
        "copies and one more": ([View(np.r_[np.zeros((N - 1, 2)), [[1, 2]]], None)], y[:LABELLED], 3),
        "two rows": ([a.take(slice(2)), b.take(slice(2))], y[:2], 3),
        "one row": ([a.take(slice(1))], y[:1], 3),
        "fewer rows than neighbours": ([a.take(slice(4))], y[:3], 3),
        "all labelled": ([a, b], y, 3),
        "no modality anywhere": ([View(0 * a.columns, nowhere)], y[:LABELLED], 3),
        "one modality nowhere": ([a, View(0 * b.columns, nowhere)], y[:LABELLED], 3),
        "one class": ([a, b], 0 * y[:LABELLED] + 1, 3),
        "a class of one row": ([a, b], np.r_[3, y[1:LABELLED]], 5),
        "far row": ([View(np.r_[a.columns[:-1], [[1e100] * 3]], None)], y[:LABELLED], 3),
        "single precision": ([a._replace(columns=a.columns.astype(np.float32))], y[:LABELLED], 3),
    }


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_rows_have_finite_logarithms(name):
    views, y, n_classes = degenerate()[name]
    member = fitted(views, y, n_classes=n_classes)
    if len(y) > 1:
        assert np.isfinite(member.oof).all()
        assert_allclose(np.exp(member.oof).sum(axis=1), 1, atol=1e-6)
    for size in (1, 1e10, 1e200):
        with np.errstate(over="ignore"):  # in single precision
            new = [view._replace(columns=(size * view.columns).astype(view.columns.dtype)) for view in views]
        found = member.outputs(new)
        assert found.dtype == views[0].columns.dtype
        assert found.min() > np.log(PRIOR * MIN_SHARE) - 1
        assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-6)
    assert member.outputs([view.take(slice(0)) for view in views]).shape == (0, n_classes)


def test_constant_rows_have_the_shares_of_the_classes():
    y = np.repeat([0, 1], [30, 10])
    member = fitted([View(np.ones((200, 2)), None)], y, n_classes=2)
    assert_allclose(np.exp(member.outputs([View(np.ones((1, 2)), None)])), [[0.75, 0.25]], atol=1e-9)
    assert_allclose(np.exp(member.oof)[:, 1], 0.25, atol=0.03)  # folds are of unequal shares


def test_order_of_rows_and_size_of_blocks_do_not_matter(monkeypatch):
    views, y = samples()
    views = [view._replace(columns=view.columns.round()) for view in views]  # with ties
    order = np.r_[np.random.default_rng(0).permutation(LABELLED), np.arange(N - 1, LABELLED - 1, -1)]
    splits = list(KFold(5).split(y[:LABELLED]))
    member = fitted(views, y[:LABELLED], None, splits)
    found = member.outputs(views)
    monkeypatch.setattr(_spreading_member, "KERNELS_AT_ONCE", 7 * N)
    place = order.argsort()
    again = fitted([v.take(order) for v in views], y[order[:LABELLED]], None, [(place[a], place[b]) for a, b in splits])
    assert_allclose(again.oof, member.oof[order[:LABELLED]], atol=1e-9)
    assert_allclose(again.outputs(views), found, atol=1e-9)
    assert_allclose(pickle.loads(pickle.dumps(member)).outputs(views), found, atol=1e-9)
