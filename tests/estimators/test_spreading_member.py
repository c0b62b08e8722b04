"""Label spreading beside networks, against scikit-learn's on the same graph and against labels that are left out."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.semi_supervised import LabelSpreading

from sklearn_mdm.estimators._spreading_member import ALPHA, MIN_SHARE, PRIOR, SpreadingMember
from sklearn_mdm.estimators._views import View

N, LABELLED, N_CLASSES = 90, 30, 3


def samples(n=N, seed=0, missing=0.3):
    """Two modalities, the second missing in some rows, of three classes, by name in all rows."""
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
        rest = np.setdiff1d(np.arange(N), train)
        order = np.r_[train, rest]
        moved = [view.take(order) for view in views]
        # One label more, of hardly any weight, whose row is held out: what it is does not matter.
        again = fitted(moved, y[order[: len(train) + 1]], np.r_[weight[train], 1e-12], [])
        place = np.searchsorted(order[len(train) :], held_out)
        few = SpreadingMember("log_loss", N_CLASSES).fit(
            moved,
            y[order[:LABELLED]],
            np.r_[weight[train], np.zeros(LABELLED - len(train))],
            [(np.arange(len(train)), len(train) + place)],
        )
        assert_allclose(few.oof[len(train) + place], member.oof[held_out], atol=1e-9)
        assert_allclose(again.spread_labels, few.spread_labels, atol=1e-6)
    never = np.setdiff1d(np.arange(LABELLED), np.concatenate([held_out for _, held_out in splits]))
    assert np.isnan(member.oof[never]).all()


def test_rows_that_several_splits_hold_out_have_the_mean():
    views, y = samples()
    splits = [(np.arange(10), np.arange(10, 30)), (np.arange(20, 30), np.arange(15))]
    first, second = (np.exp(fitted(views, y[:LABELLED], None, [split]).oof) for split in splits)
    found = np.exp(fitted(views, y[:LABELLED], None, splits).oof)
    assert_allclose(found, np.nanmean([first, second], axis=0))
