"""Several members: folds, out-of-fold predictions, averages, and what every method means for them."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, PredefinedSplit, TimeSeriesSplit
from skorch.callbacks import Callback, EpochScoring

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, MDMNet, ModalityDict
from sklearn_mdm.callbacks._training import OutOfFold
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.inspection import mismatch_test, modality_drop, pointwise_attribution, rank_samples
from sklearn_mdm.net._inference import evaluate

pytestmark = pytest.mark.usefixtures("quick_reports")

# Networks alone, which read the same.
NETWORKS = {
    "linear_member": False,
    "kernel_member": False,
    "scaling": "standard",
    "encoder": MLPEncoder(dropout=0.0),
    "fusion": ConcatFusion(dropout=0.0),
}

K = 3


@pytest.fixture
def committee(estimator):
    """Builds each estimator with three members that hold out folds."""
    return lambda **parameters: estimator(**{"n_estimators": K, "early_stopping": True, **parameters})


def member_outputs(fitted, X):
    """Outputs of each member, (n_members, n, n_outputs)."""
    observed = fitted._read_later(X)
    return np.stack([evaluate(net, observed, fitted._to_batch, "prediction") for net in fitted.net_.members_])


def held_out(fitted, X):
    return ~fitted._net_rows.trained(fitted._read_later(X).hashes)


def out_of_fold(fitted):
    return getattr(fitted, "oof_prediction_" if hasattr(fitted, "n_outputs_") else "oof_decision_function_")


def test_prediction__is_the_mean_over_members(committee, X, y):
    fitted = committee().fit(X, y)
    outputs = member_outputs(fitted, X)
    assert len(outputs) == K and np.ptp(outputs, axis=0).max() > 0.01
    if hasattr(fitted, "classes_"):
        mean = softmax(outputs, axis=2).mean(0)
        assert_allclose(fitted.predict_proba(X), mean, rtol=1e-12)
        assert_allclose(fitted.predict_log_proba(X), np.log(mean), rtol=1e-9)
        assert_array_equal(fitted.predict(X), fitted.classes_[mean.argmax(1)])
    else:
        assert_allclose(fitted.predict(X), fitted._in_units_of_y(outputs.mean(0)).ravel(), rtol=1e-12)


def test_transform__has_the_members_side_by_side(committee, X, y):
    fitted = committee().fit(X, y)
    one = [evaluate(net, fitted._read_later(X), fitted._to_batch, "fused") for net in fitted.net_.members_]
    fused = fitted.transform(X)
    assert_allclose(fused, np.concatenate(one, axis=1), rtol=1e-12)
    assert len(fitted.get_feature_names_out()) == fused.shape[1]


def test_out_of_fold_predictions__are_those_of_the_member_that_held_a_sample_out(committee, X, y):
    fitted = committee(max_epochs=1).fit(X, y)
    by = held_out(fitted, X)
    assert_array_equal(by.sum(1), 1)
    own = member_outputs(fitted, X)[by.argmax(1), np.arange(len(y))]
    if hasattr(fitted, "classes_"):
        assert_allclose(fitted.oof_decision_function_, softmax(own, axis=1), rtol=1e-9)
        assert fitted.oof_score_ == accuracy_score(y, fitted.classes_[own.argmax(1)])
        counts = [np.bincount(y[column]) for column in by.T]
        assert np.ptp(counts, axis=0).max() <= 1  # stratified
    else:
        assert_allclose(fitted.oof_prediction_, fitted._in_units_of_y(own).ravel(), rtol=1e-9)
        assert fitted.oof_score_ == pytest.approx(r2_score(y, fitted.oof_prediction_))


def test_out_of_fold_predictions__are_not_of_an_epoch_that_their_own_loss_chose():
    keep = OutOfFold([np.array([False, False, True, True])]).initialize()
    epochs = [  # losses of four samples, the first two of which are one half
        [5.0, 5.0, 5.0, 5.0],
        [4.0, 4.0, 6.0, 6.0],  # best for the second half so far, and worse for the first
        [6.0, 6.0, 3.0, 3.0],
        [1.0, 1.0, 9.0, 9.0],
    ]
    for epoch, losses in enumerate(epochs):
        outputs = torch.full((2, 1), float(epoch))
        parts = [(outputs, torch.tensor(losses[:2])), (outputs, torch.tensor(losses[2:]))]
        keep.on_epoch_end(SimpleNamespace(active_=[0], validated_={0: parts}))
    assert_array_equal(keep.outputs_[0].ravel(), [2, 2, 3, 3])


def test_several_outputs__have_a_column_each(regressor, X, y):
    Y = np.c_[y, X["text"]]
    fitted = regressor(n_estimators=K, early_stopping=True).fit(X, Y)
    assert fitted.oof_prediction_.shape == Y.shape
    assert fitted.oof_score_ == pytest.approx(r2_score(Y, fitted.oof_prediction_))


def test_noise__is_not_predicted_out_of_fold():
    scores = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = {name: rng.normal(size=(200, 10)) for name in ("audio", "text")}
        fitted = MDMFusionRegressor(**NETWORKS, n_estimators=5, lam=0, random_state=seed).fit(X, rng.normal(size=200))
        scores.append(fitted.oof_score_)
    # A single one is above zero by chance: its standard deviation is .016. An epoch chosen by the predicted samples
    # themselves would lift the mean by .02.
    assert np.mean(scores) <= 0 and max(scores) < 0.02


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_a_held_out_sample__does_not_reach_its_member(committee, X, y, lam):
    options = {"scaling": None, "lam": lam, "max_epochs": 1, "cv": KFold(K)}
    changed, other = {name: x.copy() for name, x in X.items()}, y.copy()
    for x in changed.values():
        x[40:] = np.random.default_rng(1).normal(size=x[40:].shape)
    other[40:] = np.roll(y[40:], 1)
    one, two = committee(**options).fit(X, y), committee(**options).fit(changed, other)
    same = [np.array_equal(a, b) for a, b in zip(member_outputs(one, X), member_outputs(two, X), strict=True)]
    assert same == [False, False, True]


def test_groups__are_held_out_whole(committee, X, y):
    groups = np.repeat(np.arange(10), 6)
    fitted = committee().fit(X, y, groups=groups)
    by = held_out(fitted, X)
    assert all(len(np.unique(by[groups == group], axis=0)) == 1 for group in range(10))
    assert np.isfinite(out_of_fold(fitted)).all()
    with pytest.raises(ValueError, match="one group"):
        committee().fit(X, y, groups=np.zeros(60))


def test_more_members_than_groups_or_folds__go_through_them_again(committee, X, y):
    groups = np.repeat([0, 1], 30)
    for parameters, fit in (({}, {"groups": groups}), ({"cv": 2}, {})):
        fitted = committee(n_estimators=4, max_epochs=1, **parameters).fit(X, y, **fit)
        by = held_out(fitted, X)
        assert_array_equal(by[:, :2], by[:, 2:])
        assert_array_equal(by.sum(1), 2)
        outputs = member_outputs(fitted, X)
        own = outputs.transpose(1, 0, 2)[by].reshape(60, 2, -1)
        expected = log_softmax(own, axis=2) if hasattr(fitted, "classes_") else own
        if hasattr(fitted, "classes_"):
            assert_allclose(out_of_fold(fitted), np.exp(expected).mean(1), rtol=1e-9)
        else:
            assert_allclose(out_of_fold(fitted), fitted._in_units_of_y(expected.mean(1)).ravel(), rtol=1e-9)


@pytest.mark.parametrize(
    ("cv", "never"),
    [
        (TimeSeriesSplit(3), 15),
        (PredefinedSplit(np.repeat([-1, 0, 1], 20)), 20),
        ([(np.arange(30), np.arange(30, 60))], 30),
        (KFold(3), 0),
        (4, 15),
    ],
    ids=str,
)
def test_cv__makes_the_folds(committee, X, y, cv, never):
    order = np.random.default_rng(0).permutation(60)
    X, y = {name: x[order] for name, x in X.items()}, y[order]
    fitted = committee(cv=cv, lam=0).fit(X, y)
    missing = np.isnan(out_of_fold(fitted).reshape(60, -1)).any(1)
    assert missing.sum() == never
    if not isinstance(cv, int):  # which is in random order
        assert not missing[never:].any()


def test_cv__counts_the_samples_that_were_passed(committee, X, y):
    weight = np.ones(60)
    weight[:7] = 0
    fold = np.repeat([0, 1, 2], 20)
    fitted = committee(cv=PredefinedSplit(fold), lam=0).fit(X, y, sample_weight=weight)
    assert_array_equal(np.isnan(out_of_fold(fitted).reshape(60, -1)).any(1), weight == 0)
    kept = {name: x[7:] for name, x in X.items()}
    same = committee(cv=PredefinedSplit(fold[7:]), lam=0).fit(kept, y[7:])
    assert_allclose(same.transform(X), fitted.transform(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("cv", "fit", "message"),
    [
        (KFold(3), {"X_val": 1}, "cv says what to hold out, and with X_val"),
        ([(np.arange(40), np.arange(30, 60))], {}, "holds out samples that it trains on"),
        ([(np.arange(40), np.arange(0))], {}, "in every fold"),
        ([(np.arange(40), np.arange(40, 60))], {"groups": np.tile([0, 1], 30)}, "cv cuts groups"),
    ],
)
def test_cv_that_cannot_be__is_an_error(committee, X, y, cv, fit, message):
    if "X_val" in fit:
        fit = {"X_val": X, "y_val": y}
    with pytest.raises(ValueError, match=message):
        committee(cv=cv).fit(X, y, **fit)


def test_cv_without_stopping__is_an_error(committee, X, y):
    with pytest.raises(ValueError, match="with early_stopping=False nothing is"):
        committee(cv=3, early_stopping=False).fit(X, y)


def test_cv_with_one_member__gives_it_the_first_fold(estimator, X, y):
    train, valid = next(KFold(4).split(y))
    one = estimator(cv=KFold(4), max_epochs=5).fit(X, y)
    assert not hasattr(one, "oof_score_") and type(one.net_) is MDMNet
    other = estimator(max_epochs=5).fit(
        {name: x[train] for name, x in X.items()},
        y[train],
        X_val={name: x[valid] for name, x in X.items()},
        y_val=y[valid],
    )
    assert_allclose(one.validation_loss_curve_, other.validation_loss_curve_, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize("how", ["X_val", "early_stopping=False", "few samples"])
def test_without_folds__every_member_sees_every_sample(committee, X, y, how):
    parameters, fit = {"early_stopping": {"X_val": True, "early_stopping=False": False}.get(how, "auto")}, {}
    if how == "X_val":
        fit = {"X_val": {name: x[:20] for name, x in X.items()}, "y_val": y[:20]}
    if how == "few samples":
        X, y = {name: x[:19] for name, x in X.items()}, y[:19]
    fitted = committee(**parameters).fit(X, y, **fit)
    assert not any(hasattr(fitted, name) for name in ("oof_score_", "oof_prediction_", "oof_decision_function_"))
    of_members = fitted.history_[:, "train_task_loss_of_members"]
    assert np.shape(of_members)[1] == K and np.ptp(of_members[0]) > 0
    assert np.isfinite(fitted.pointwise_dependency(X)).all()


def test_refit__without_folds_forgets_them(committee, X, y):
    fitted = committee().fit(X, y)
    fitted.set_params(early_stopping=False).fit(X, y)
    assert not hasattr(fitted, "oof_score_") and not hasattr(fitted, "_folds")


def test_warm_start__keeps_folds(committee, X, y):
    fitted = committee(warm_start=True, max_epochs=2).fit(X, y)
    by, losses = held_out(fitted, X), fitted.loss_curve_
    fitted.fit(X, y)
    assert_array_equal(held_out(fitted, X), by)
    assert fitted.loss_curve_[: len(losses)] == losses and fitted.n_iter_ > len(losses)
    rng = np.random.default_rng(1)
    more = {name: np.concatenate([rng.normal(size=x.shape), x[::-1]]) for name, x in X.items()}
    fitted.fit(more, np.r_[y, y[::-1]])
    assert_array_equal(held_out(fitted, X), by)
    assert_array_equal(held_out(fitted, more)[60:], by[::-1])
    assert np.isfinite(out_of_fold(fitted)).all() and len(out_of_fold(fitted)) == 120


def test_warm_start__goes_on_where_fit_ended(committee, X, y, same_parameters):
    never = {"n_iter_no_change": 50, "lam": 0.3}
    once = committee(max_epochs=4, **never).fit(X, y, X_val=X, y_val=y)
    twice = committee(max_epochs=2, warm_start=True, **never).fit(X, y, X_val=X, y_val=y)
    # To return to the best epoch in between would be another course.
    assert twice.loss_curve_[:2] == once.loss_curve_[:2]
    if twice.validation_loss_curve_[1] < twice.validation_loss_curve_[0]:
        twice.fit(X, y, X_val=X, y_val=y)
        assert twice.n_iter_ == 4


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_sequences_padded_in_front__are_recognised(committee, X, y, fill):
    steps = np.full((60, 20, 3), fill)
    steps[:, 12:] = np.random.default_rng(0).normal(size=(60, 8, 3))
    padded = {"audio": steps, "text": np.zeros((60, 1))}
    fitted = committee(warm_start=True, max_epochs=1, lam=0).fit(padded, y)
    by = held_out(fitted, padded)
    assert_array_equal(by.sum(1), 1)
    assert_array_equal(by.sum(0), 20)
    longer = {**padded, "audio": np.pad(steps, [(0, 0), (0, 5), (0, 0)], constant_values=np.nan)}
    assert_array_equal(held_out(fitted, longer), by)
    fitted.fit(padded, y)
    assert_array_equal(held_out(fitted, padded), by)


def test_rows_that_differ_in_few_columns__are_told_apart(committee, y):
    one_hot = {"audio": np.eye(60, 1000), "text": np.ones((60, 1))}
    fitted = committee(max_epochs=1, lam=0).fit(one_hot, y)
    assert_array_equal(held_out(fitted, one_hot).sum(0), 20)
    assert len(np.unique(fitted._folds.hashes)) == 60
    single = {name: -(-x).astype(np.float32) for name, x in one_hot.items()}  # with negative zeros
    assert_array_equal(held_out(fitted, single), held_out(fitted, one_hot))
    assert held_out(fitted, {**one_hot, "audio": np.eye(60, 1000, k=60)}).all()


def test_warm_start__that_leaves_a_member_nothing_is_an_error(committee, X, y):
    fitted = committee(warm_start=True, max_epochs=1, lam=0).fit(X, y)
    rows = held_out(fitted, X)[:, 0]
    before = fitted.transform(X)
    with pytest.raises(ValueError, match="keep the folds that they had in the last fit"):
        fitted.fit({name: x[rows] for name, x in X.items()}, y[rows])
    assert_array_equal(fitted.transform(X), before)
    assert_array_equal(held_out(fitted, X)[:, 0], rows)


@pytest.mark.parametrize("how", ["partial_fit", "early_stopping=False", "X_val"])
def test_warm_start__after_every_sample_trained_every_member_has_nothing_out_of_fold(committee, X, y, how):
    fitted = committee(warm_start=True, max_epochs=1, lam=0)
    if how == "partial_fit":
        fitted.partial_fit(X, y, **({"classes": [0, 1, 2]} if hasattr(fitted, "predict_proba") else {}))
    elif how == "X_val":
        fitted.fit(X, y, X_val=X, y_val=y)
    else:
        fitted.set_params(early_stopping=False).fit(X, y)
    fitted.set_params(early_stopping=True).fit(X, y)
    assert not hasattr(fitted, "oof_score_")
    fitted.set_params(warm_start=False).fit(X, y)
    assert hasattr(fitted, "oof_score_")


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_partial_fit__gives_every_member_every_chunk(committee, X, y):
    fitted = committee(lam=0.1)
    chunks = [slice(0, 30), slice(30, 60), slice(0, 60)]
    for rows in chunks:
        part, target = {name: x[rows] for name, x in X.items()}, y[rows]
        fitted.partial_fit(part, target, **({"classes": [0, 1, 2]} if hasattr(fitted, "predict_proba") else {}))
    assert fitted.n_iter_ == 3 and not hasattr(fitted, "oof_score_")
    assert fitted.predict(X).shape == (60,)
    fitted.fit_dependency(X)
    assert np.isfinite(fitted.dependency_score(X))
    # One member of it is the net that sees the same chunks alone.
    again = pickle.loads(pickle.dumps(fitted))
    for model in (fitted, again):
        model.partial_fit(X, y)
    assert_array_equal(fitted.transform(X), again.transform(X))


def test_a_chunk_that_fails__leaves_the_committee_as_it_was(committee, X, y):
    fitted = committee(lam=0.1).fit(X, y)
    before = fitted.transform(X)
    fitted.set_params(lr=1e300)
    with pytest.raises(FloatingPointError):
        fitted.partial_fit(X, y)
    assert_array_equal(fitted.transform(X), before)
    assert_array_equal(held_out(fitted, X).sum(1), 1)
    fitted.set_params(lr=1e-3).partial_fit(X, y)


def test_a_warm_start_that_fails__leaves_folds_as_they_were(committee, X, y):
    fitted = committee(lam=0.1, warm_start=True).fit(X, y)
    by, before = held_out(fitted, X), fitted.pointwise_dependency(X)
    fitted.set_params(lr=1e300)
    with pytest.raises(FloatingPointError):
        fitted.fit({name: x[:40] + 1 for name, x in X.items()}, y[:40])
    assert_array_equal(held_out(fitted, X), by)
    assert_array_equal(fitted.pointwise_dependency(X), before)


def test_a_fold_of_a_class_without_weight__is_an_error(X):
    y = np.repeat([0, 1], 30)
    model = MDMFusionClassifier(n_estimators=2, cv=KFold(2), class_weight={0: 0.0}, random_state=0)
    with pytest.raises(ValueError, match="class_weight gives every sample of a fold"):
        model.fit(X, y)


def test_dependency__of_a_training_sample_is_told_by_members_that_held_it_out(committee, X, y):
    fitted = committee(lam=0.3, max_epochs=6).fit(X, y)
    rng = np.random.default_rng(3)
    new = {name: rng.normal(size=x.shape) for name, x in X.items()}
    assert held_out(fitted, new).all()

    def by_member(X):
        z = fitted._represent(fitted._read_later(X))
        return np.stack(
            [critic.pointwise(fitted._of_member(z, k)) for k, critic in enumerate(fitted.reporting_critic_.critics)]
        )

    assert_allclose(fitted.pointwise_dependency(new), by_member(new).mean(0), rtol=1e-9)
    own = by_member(X)[held_out(fitted, X).argmax(1), np.arange(60)]
    assert_allclose(fitted.pointwise_dependency(X), own, rtol=1e-9)
    value, std = fitted.dependency_score(X, return_std=True)
    assert value == pytest.approx(own.mean()) and std > 0
    assert fitted.dependency_score(new) == pytest.approx(by_member(new).mean())
    assert np.isfinite(fitted.dependency_score(new, measure="training"))
    single = {name: x.astype(np.float32) for name, x in X.items()}
    assert_allclose(fitted.pointwise_dependency(single), own, atol=1e-3)


def test_missing_modalities__are_completed_by_all_members_together(committee, X, y):
    fitted = committee(lam=0.3, missing="critic", max_epochs=6).fit(X, y)
    lacking = {"audio": X["audio"][:9], "text": np.full((9, 2), np.nan)}
    z = fitted._represent(fitted._read_later(lacking))
    completion = next(fitted.imputer_.patterns(np.array([[True, False]]), range(K)))[1]
    completed, weights, starts = completion.representations(z)
    n_draws = len(weights) // 9
    members = []
    for k, net in enumerate(fitted._member_nets()):
        own = dict(zip(("m0", "m1"), map(torch.from_numpy, fitted._of_member(completed, k)), strict=True))
        with torch.no_grad():
            outputs = copy.deepcopy(net.module_).double().eval().from_representations(own).prediction.numpy()
        members.append(fitted._average_outputs(outputs, weights, starts))
    if hasattr(fitted, "classes_"):
        assert_allclose(fitted.predict_proba(lacking), softmax(members, axis=2).mean(0), rtol=1e-9)
    else:
        assert_allclose(fitted.predict(lacking), fitted._in_units_of_y(np.mean(members, 0)).ravel(), rtol=1e-9)
    assert np.isfinite(fitted.transform(lacking)).all()
    # Members that draw by turns draw, all together, by the weights.
    every = completion.choose(z, n_draws * K)
    text = [fitted._of_member(fitted.imputer_.z, k)[1] for k in range(K)]
    for i in range(9):
        found = [part.reshape(9, n_draws, -1)[i] for part in (fitted._of_member(completed, k)[1] for k in range(K))]
        numbers = [np.abs(text[k][:, None] - found[k]).sum(2).argmin(0) for k in range(K)]
        assert_array_equal(np.sort(np.concatenate(numbers)), np.sort(every[i]))


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy__says_the_same(committee, X, y, copied):
    fitted = committee(lam=0.3, missing="critic").fit(X, y)
    other = copied(fitted)
    lacking = {"audio": X["audio"]}
    for method in ("predict", "transform", "pointwise_dependency"):
        assert_array_equal(getattr(other, method)(X), getattr(fitted, method)(X))
    assert_array_equal(other.predict(lacking), fitted.predict(lacking))
    assert_array_equal(out_of_fold(other), out_of_fold(fitted))


def test_history__has_means_and_every_member(committee, X, y):
    fitted = committee(lam=0.3, max_epochs=30, lr=0.02, n_iter_no_change=2, tol=1e-3).fit(X, y)
    lengths = [len(member.history) for member in fitted.net_.members_]
    assert fitted.n_iter_ == max(lengths) == len(fitted.history_) == len(fitted.loss_curve_)
    for name, curve in (("train", fitted.loss_curve_), ("valid", fitted.validation_loss_curve_)):
        each = np.array(fitted.history_[:, f"{name}_task_loss_of_members"])
        assert_array_equal(np.isfinite(each).sum(0), lengths)
        assert_allclose(curve, np.nanmean(each, axis=1))
    assert np.isfinite(fitted.dependency_curve_).all()


class Watch(Callback):
    """Counts what it is told, and has the net predict."""

    def initialize(self):
        self.batches, self.epochs, self.updates = 0, 0, 0
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        self.batches += training

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        self.updates += 1
        assert sum(1 for name, p in named_parameters if p.grad is not None)

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1
        if self.epochs == 2:
            raise KeyboardInterrupt  # as skorch's own callbacks do to stop


def test_callbacks__see_every_epoch_and_batch_once(committee, X, y):
    fitted = committee(callbacks=[Watch()], max_epochs=5).fit(X, y)
    watch = next(callback for _, callback in fitted.net_.callbacks_ if isinstance(callback, Watch))
    assert fitted.n_iter_ == watch.epochs == 2
    assert watch.batches == watch.updates == 2 * fitted.history_[0, "train_batch_count"]


def test_epoch_scoring__of_validation_samples_is_out_of_fold(regressor, X, y):
    scoring = EpochScoring("neg_mean_squared_error", name="mse", lower_is_better=False)
    fitted = regressor(n_estimators=K, early_stopping=True, callbacks=[scoring], lam=0).fit(X, y)
    # The same predictions as those of the task loss, of standardised targets.
    assert_allclose(np.negative(fitted.history_[:, "mse"]), fitted.history_[:, "valid_loss"], rtol=1e-6)


def test_gridsearch_clones_and_params(committee, X, y):
    search = GridSearchCV(committee(lam=0), {"n_estimators": [1, 2]}, cv=2).fit(ModalityDict(X), y)
    assert search.best_estimator_.n_estimators in (1, 2)
    assert clone(committee(cv=GroupKFold(2))).cv.n_splits == 2
    for bad in ({"n_estimators": 0}, {"n_estimators": 1.5}, {"cv": "folds"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            committee(**bad).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_inspection__takes_a_committee(committee, X, y):
    fitted = committee(lam=0.3, max_epochs=4).fit(X, y)
    assert len(modality_drop(fitted, X, y)) > 1
    assert np.isfinite(pointwise_attribution(fitted, X, random_state=0).to_numpy()).all()
    assert np.isfinite(rank_samples(fitted, X, random_state=0)["value"]).all()
    assert mismatch_test(fitted, X, random_state=0)["auroc"].between(0, 1).all()


def test_verbose__prints_means_alone(committee, X, y, capfd):
    committee(verbose=2, lam=0).fit(X, y)
    out = capfd.readouterr().out
    assert "train_task_loss" in out and "of_members" not in out


def test_classes_of_fewer_samples_than_folds__are_spread_over_some_of_them():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(120, 3)), "b": rng.normal(size=(120, 2))}
    y = np.arange(120) % 40  # three of each
    fitted = MDMFusionClassifier(**NETWORKS, n_estimators=8, lam=0, max_epochs=2, random_state=0).fit(X, y)
    by = ~fitted._net_rows.trained(fitted._read_later(X).hashes)
    assert_array_equal(by.sum(1), 1)
    assert all(np.bincount(y[column], minlength=40).max() <= 1 for column in by.T)
