"""Parameters and methods of the two estimators, beyond what scikit-learn checks."""

import html
import re
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.datasets import make_classification, make_regression
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from sklearn_mdm import MDMFusionClassifier, MDMFusionRegressor, MDMNet
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.encoders._mlp import mean_and_std
from sklearn_mdm.estimators import _splitting as splitting
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.measures import KL


def part(X, rows):
    return {name: value[rows] for name, value in X.items()}


# --- what is learned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["kl", "f", "wasserstein"])
def test_regression__is_learned_with_every_measure(measure):
    X, y = make_regression(400, 10, n_informative=6, noise=5, random_state=0)
    model = MDMFusionRegressor(
        n_estimators=1,
        modalities={"a": slice(0, 5), "b": slice(5, 10)},
        measure=measure,
        lr=0.01,
        max_epochs=40,
        random_state=0,
    )
    assert model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.9


@pytest.mark.parametrize("measure", ["kl", "f", "wasserstein"])
def test_classification__is_learned_with_every_measure(measure):
    X, y = make_classification(400, 10, n_informative=6, n_classes=3, class_sep=2, random_state=0)
    model = MDMFusionClassifier(
        n_estimators=1,
        modalities={"a": slice(0, 5), "b": slice(5, 10)},
        measure=measure,
        lr=0.01,
        max_epochs=40,
        random_state=0,
    )
    assert model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.75


def test_defaults__learn_an_interaction_between_modalities():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(600, 2)), "b": rng.normal(size=(600, 2))}
    y = X["a"][:, 0] * X["b"][:, 0]
    model = MDMFusionRegressor(n_estimators=1, random_state=0, lr=5e-3).fit(part(X, slice(0, 450)), y[:450])
    assert model.score(part(X, slice(450, None)), y[450:]) > 0.6


def test_fitted_attributes(estimator, X, y):
    fitted = estimator(early_stopping=True, validation_fraction=0.2, max_epochs=4).fit(X, y)
    assert fitted.modalities_ == ["audio", "text"]
    assert fitted.n_features_in_ == 5
    assert isinstance(fitted.net_, MDMNet)
    assert fitted.n_iter_ == len(fitted.history_) == 4
    for curve in ("loss_curve_", "validation_loss_curve_", "dependency_curve_"):
        values = getattr(fitted, curve)
        assert len(values) == 4 and all(isinstance(v, float) for v in values) and np.isfinite(values).all()
    assert not hasattr(fitted, "feature_names_in_")


# --- targets ---------------------------------------------------------------------------------------------------------


def test_several_outputs__are_predicted_as_columns(regressor, X):
    y = np.c_[X["audio"][:, 0], X["text"].sum(1), np.ones(60)]
    fitted = regressor(max_epochs=60, lr=0.02, lam=0).fit(X, y)
    assert fitted.predict(X).shape == (60, 3) and fitted.n_outputs_ == 3
    assert fitted.score(X, y[:, :3]) > 0.5
    assert_allclose(fitted.predict(X)[:, 2], 1, atol=0.5)
    with pytest.raises(ValueError, match=r"y has 2 outputs.*fitted with 3"):
        fitted.partial_fit(X, y[:, :2])


def test_a_column__is_predicted_as_a_column(regressor, X, y):
    column = regressor().fit(X, y[:, None])
    assert column.predict(X).shape == (60, 1)
    assert_array_equal(column.predict(X).ravel(), regressor().fit(X, y).predict(X))


@pytest.mark.parametrize(
    "labels",
    [
        ["low", "mid", "top"],
        [10, -3, 7],
        [0.0, 1.0, 2.0],
        [False, True, True],
        np.array(["x", "y", "zz"], dtype=object),
    ],
)
def test_labels_of_any_kind__come_back_as_they_were(classifier, X, y, labels):
    target = np.asarray(labels)[y]
    fitted = classifier(max_epochs=30, lr=0.02).fit(X, target)
    assert_array_equal(fitted.classes_, np.unique(target))
    predicted = fitted.predict(X)
    assert predicted.dtype == target.dtype
    assert (predicted == target).mean() > 0.6
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (60, len(fitted.classes_))
    assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    assert_array_equal(fitted.classes_[probabilities.argmax(1)], predicted)
    same = classifier(max_epochs=30, lr=0.02).fit(X, np.searchsorted(fitted.classes_, target))
    assert_array_equal(same.predict_proba(X), probabilities)


def test_continuous_targets__are_no_classes(classifier, X, y):
    with pytest.raises(ValueError, match="continuous"):
        classifier().fit(X, y + 0.5 * np.arange(60))


def test_several_outputs__are_no_classes(classifier, X, y):
    with pytest.raises(ValueError, match="1d array"):
        classifier().fit(X, np.c_[y, y])


# --- weights ---------------------------------------------------------------------------------------------------------


def test_a_weight_of_zero__is_a_row_left_out(estimator, X, y, same_parameters):
    used = np.arange(60) % 3 > 0
    weighted = estimator().fit(X, y, sample_weight=used.astype(float))
    assert same_parameters(weighted, estimator().fit(part(X, used), y[used], sample_weight=np.ones(used.sum())))
    assert_allclose(weighted.transform(X), estimator().fit(part(X, used), y[used]).transform(X), rtol=1e-9)


def test_weights__count_relative_to_each_other(estimator, X, y):
    weight = np.random.default_rng(0).uniform(0.5, 2, size=60)
    one, other = (estimator().fit(X, y, sample_weight=factor * weight) for factor in (1, 1024))
    assert_allclose(one.transform(X), other.transform(X), rtol=1e-9)
    assert not np.allclose(one.transform(X), estimator().fit(X, y).transform(X))


def test_a_heavy_sample__is_fitted_best(regressor, X):
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    weight = np.where(np.arange(60) < 5, 100.0, 1.0)
    fitted = regressor(max_epochs=200, lr=0.02, lam=0, n_iter_no_change=200).fit(X, y, sample_weight=weight)
    error = np.abs(fitted.predict(X) - y)
    assert error[:5].mean() < 0.3 * error[5:].mean()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(60), "every sample_weight is zero|at least one non-zero"),
        (-np.ones(60), "60 negative"),
        (np.ones(59), "(?i)sample_weight"),
    ],
)
def test_unusable_weights__are_an_error(estimator, X, y, weight, message):
    with pytest.raises(ValueError, match=message):
        estimator().fit(X, y, sample_weight=weight)


def test_class_weight__is_a_weight_of_its_samples(classifier, X, y, same_parameters):
    by_class = {0: 1.0, 1: 2.0, 2: 5.0}
    fitted = classifier(class_weight=by_class, scaling=None).fit(X, y)
    by_sample = classifier(scaling=None).fit(X, y, sample_weight=np.array([1.0, 2.0, 5.0])[y])
    assert_allclose(fitted.transform(X), by_sample.transform(X), rtol=1e-9)
    with pytest.raises(ValueError, match=r"class_weight names classes \['three'\]"):
        classifier(class_weight={"three": 1.0}).fit(X, y)


def test_balanced_classes__raise_the_rare_one(classifier, X):
    y = (np.arange(60) % 6 == 0).astype(int)  # unrelated to X
    X = {name: 1e-3 * value for name, value in X.items()}  # so small that only the intercept can be learned
    parameters = {"max_epochs": 100, "lr": 0.01, "lam": 0, "scaling": None}
    plain = classifier(**parameters).fit(X, y).predict_proba(X)[:, 1]
    balanced = classifier(class_weight="balanced", **parameters).fit(X, y).predict_proba(X)[:, 1]
    assert_allclose(plain, 1 / 6, atol=0.05)
    assert_allclose(balanced, 1 / 2, atol=0.05)


def test_class_weight_and_sample_weight__multiply(classifier, X, y):
    weight = np.random.default_rng(0).uniform(0.5, 2, size=60)
    both = classifier(class_weight={0: 1, 1: 2, 2: 5}, scaling=None).fit(X, y, sample_weight=weight)
    product = classifier(scaling=None).fit(X, y, sample_weight=weight * np.array([1, 2, 5])[y])
    assert_allclose(both.transform(X), product.transform(X), rtol=1e-9)


# --- validation and stopping -----------------------------------------------------------------------------------------


def test_a_given_validation_set__decides_when_to_stop(estimator, X, y, monkeypatch):
    monkeypatch.setattr(splitting, "validation_split", None)
    train, valid = slice(0, 40), slice(40, 60)
    fitted = estimator(max_epochs=300, lr=0.05, n_iter_no_change=5, lam=0)
    fitted.fit(part(X, train), y[train], X_val=part(X, valid), y_val=y[valid])
    losses = fitted.validation_loss_curve_
    assert fitted.n_iter_ < 300
    assert fitted.n_iter_ == int(np.argmin(losses)) + 6
    if isinstance(fitted, MDMFusionRegressor):  # the best epoch was restored, and the log is in y's units
        assert np.mean((fitted.predict(part(X, valid)) - y[valid]) ** 2) == pytest.approx(min(losses), rel=1e-6)
    else:
        probabilities = fitted.predict_proba(part(X, valid))
        assert -np.log(probabilities[np.arange(20), y[valid]]).mean() == pytest.approx(min(losses), rel=1e-6)


def test_a_validation_set__without_early_stopping_is_only_logged(estimator, X, y):
    fitted = estimator(early_stopping=False, max_epochs=30, lr=0.05, n_iter_no_change=30)
    fitted.fit(part(X, slice(0, 40)), y[:40], X_val=part(X, slice(40, 60)), y_val=y[40:])
    assert fitted.n_iter_ == 30
    assert np.isfinite(fitted.validation_loss_curve_).all()
    without = estimator(early_stopping=False, max_epochs=30, lr=0.05, n_iter_no_change=30)
    assert_array_equal(without.fit(part(X, slice(0, 40)), y[:40]).transform(X), fitted.transform(X))


def test_an_unusable_validation_set__is_an_error(estimator, X, y):
    with pytest.raises(ValueError, match="X_val was passed without y_val"):
        estimator().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="'text' has 3 features"):
        estimator().fit(X, y, X_val={"audio": X["audio"], "text": X["audio"]}, y_val=y)
    with pytest.raises(ValueError, match="inconsistent"):
        estimator().fit(X, y, X_val=X, y_val=y[:-1])
    with pytest.raises(ValueError, match="y_val"):
        estimator().fit(X, y, y_val=y)


def test_a_validation_set_with_unknown_classes__is_an_error(classifier, X, y):
    with pytest.raises(ValueError, match=r"not fitted with: \[7\]"):
        classifier().fit(X, y, X_val=X, y_val=np.full(60, 7))


def test_without_validation__training_stops_once_the_loss_stalls(estimator, X, y):
    fitted = estimator(max_epochs=50, lr=1e-12, n_iter_no_change=4, batch_size=60, lam=0).fit(X, y)
    assert fitted.n_iter_ == 5
    assert np.isnan(fitted.validation_loss_curve_).all()


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_extreme_fractions__leave_something_on_both_sides(estimator, X, y, fraction):
    model = estimator(early_stopping=True, validation_fraction=fraction, max_epochs=1)
    try:
        fitted = model.fit(X, y)
    except ValueError as error:
        assert fraction == 0.99 and "early_stopping=False" in str(error)
    else:
        assert np.isfinite(fitted.validation_loss_curve_).all()


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["kl", "wasserstein"])
@pytest.mark.parametrize("lam", [0, 1.0])
def test_partial_fit__epoch_by_epoch_is_fit(estimator, X, y, lam, measure, same_parameters):
    parameters = {"lam": lam, "measure": measure, "modality_dropout": 0.3, "unroll": 2}
    whole = estimator(max_epochs=4, n_iter_no_change=10, **parameters).fit(X, y)
    stepwise = estimator(max_epochs=77, **parameters)
    for i in range(4):
        stepwise.partial_fit(
            X, y, **({"classes": np.unique(y)} if i == 0 and hasattr(stepwise, "predict_proba") else {})
        )
        assert stepwise.n_iter_ == i + 1
    assert same_parameters(whole, stepwise)
    assert whole.loss_curve_ == stepwise.loss_curve_
    assert_array_equal(whole.predict(X), stepwise.predict(X))


def test_partial_fit__keeps_the_statistics_of_the_first_call(regressor, X, y):
    model = regressor().partial_fit(X, y)
    mean = model.scalers_["audio"].mean_.copy(), model.target_scaler_.mean_.copy()
    shifted = {name: value + 100 for name, value in X.items()}
    model.partial_fit(shifted, y + 100).partial_fit(part(X, slice(0, 1)), y[:1])
    assert_array_equal(model.scalers_["audio"].mean_, mean[0])
    assert_array_equal(model.target_scaler_.mean_, mean[1])
    with pytest.raises(ValueError, match="unknown modalities"):
        model.partial_fit({"video": X["audio"]}, y)
    model.partial_fit({"audio": X["audio"]}, y)  # a modality may be missing


def test_partial_fit_of_classes__the_first_call_names_them(classifier, X, y):
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier().partial_fit(X, y)
    model = classifier().partial_fit(part(X, y < 2), y[y < 2], classes=[2, 0, 1])
    assert model.classes_.tolist() == [0, 1, 2]
    model.partial_fit(X, y).partial_fit(X, y, classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (60, 3)
    with pytest.raises(ValueError, match=r"not fitted with: \[3\]"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="differ from those of the first call"):
        model.partial_fit(X, y, classes=[0, 1])
    model.partial_fit(part(X, y == 1), y[y == 1])  # a call may hold one class only


def test_partial_fit__with_unknown_classes_leaves_the_net_in_place(classifier, X, y, same_parameters):
    model, other = (classifier().partial_fit(X, y, classes=[0, 1, 2]) for _ in range(2))
    with pytest.raises(ValueError):
        model.partial_fit(X, y + 1)
    assert same_parameters(model, other)


def test_partial_fit__weighs_samples(regressor, X, y):
    weight = np.linspace(0, 1, 60)
    a = regressor().partial_fit(X, y, sample_weight=weight)
    assert_array_equal(a.predict(X), regressor(max_epochs=1).fit(X, y, sample_weight=weight).predict(X))


def test_warm_start__goes_on_where_fit_ended(estimator, X, y, same_parameters):
    whole = estimator(max_epochs=6, n_iter_no_change=10).fit(X, y)
    model = estimator(max_epochs=2, n_iter_no_change=10, warm_start=True).fit(X, y)
    net = model.net_
    model.fit(X, y)
    assert model.net_ is net and model.n_iter_ == 4
    model.fit(X, y)
    assert same_parameters(model, whole)
    assert model.loss_curve_ == whole.loss_curve_
    cold = estimator(max_epochs=2).fit(X, y)
    cold_net = cold.net_
    assert cold.fit(X, y).net_ is not cold_net and cold.n_iter_ == 2


def test_warm_start__keeps_statistics_classes_and_modalities(estimator, X, y):
    model = estimator(warm_start=True).fit(X, y)
    mean = model.scalers_["audio"].mean_.copy()
    model.fit({"audio": X["audio"] + 50, "text": X["text"]}, y)
    assert_array_equal(model.scalers_["audio"].mean_, mean)
    with pytest.raises(ValueError, match="unknown modalities"):
        model.fit({"video": X["audio"]}, y)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_warm_start__takes_up_another_lam(estimator, X, y):
    model = estimator(warm_start=True, lam=0).fit(X, y)
    model.set_params(lam=1.0).fit(X, y)
    assert np.isnan(model.dependency_curve_[:3]).all() and np.isfinite(model.dependency_curve_[3:]).all()
    assert np.isfinite(model.dependency_score(X))


def test_warm_start__takes_up_another_learning_rate(estimator, X, y, same_parameters):
    model = estimator(warm_start=True, lam=0).fit(X, y)
    model.set_params(lr=1e-30, weight_decay=0.0).fit(X, y)
    assert same_parameters(model, estimator(lam=0).fit(X, y), of="module")


# --- callbacks, printing, device, optimizer --------------------------------------------------------------------------


def test_callbacks__take_part_and_stay_as_they_were(estimator, X, y):
    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("seen", self.__dict__.setdefault("count_", 0))
            self.count_ += 1

    own = Count()
    model = estimator(callbacks=[own, ("rate", LRScheduler("StepLR", step_size=1, gamma=0.5))])
    model.fit(X, y)
    assert model.history_[:, "seen"] == [0, 1, 2]
    assert model.history_[:, "event_lr"] == [1e-3, 5e-4, 2.5e-4]
    assert not hasattr(own, "count_")
    assert model.fit(X, y).history_[:, "seen"] == [0, 1, 2]


def test_a_callback__may_stop_training(estimator, X, y):
    class Stop(Callback):
        def __init__(self, event):
            self.event = event

        def notify_if(self, event, net):
            if event == self.event and len(net.history) == 2:
                raise KeyboardInterrupt  # skorch's way to stop

        def on_epoch_end(self, net, **kwargs):
            self.notify_if("on_epoch_end", net)

        def on_batch_end(self, net, **kwargs):
            self.notify_if("on_batch_end", net)

    for event in ("on_epoch_end", "on_batch_end"):
        fitted = estimator(callbacks=[Stop(event)]).fit(X, y)
        assert fitted.n_iter_ == 2
        assert np.isfinite(fitted.transform(X)).all()


def test_scoring_callbacks__see_the_validation_set(regressor, X, y):
    model = regressor(early_stopping=True, callbacks=[EpochScoring("r2", lower_is_better=False, name="r2")])
    assert len(model.fit(X, y).history_[:, "r2"]) == 3


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_verbose__prints_a_bar_a_table_or_nothing(estimator, X, y, capfd):
    model = estimator().fit(X, y).fit_dependency(X)
    model.predict(X), model.dependency_score(X), model.partial_fit(X, y)
    assert capfd.readouterr() == ("", "")
    estimator(verbose=1).fit(X, y)
    captured = capfd.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert type(model).__name__ in captured.err and "3/3" in captured.err and "dependency" in captured.err
    estimator(verbose=2).fit(X, y)
    out = capfd.readouterr().out
    assert "train_task_loss" in out and "train_dependency" in out
    assert len(out.strip().splitlines()) == 6  # names, rule, three epochs, why it stopped


class Stop(Callback):
    """Ends the training after its second epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"max_epochs": 2, "early_stopping": False}, r"after epoch 2, with all 2 epochs made.*; best training loss in"),
        (
            {"max_epochs": 2, "early_stopping": True},
            r"after epoch 2, with all 2.*; best validation loss in .*, restored",
        ),
        (
            {"early_stopping": True, "tol": 10.0, "n_iter_no_change": 3},
            r"early, after epoch 4: the validation loss had not fallen by tol=10 for n_iter_no_change=3 epochs; "
            r"best validation loss in epoch 1, restored",
        ),
        (
            {"early_stopping": False, "tol": 10.0, "n_iter_no_change": 3},
            r"early, after epoch 4: the training loss had not fallen by tol=10 for n_iter_no_change=3 epochs; "
            r"best training loss in epoch 1",
        ),
        ({"callbacks": [Stop()]}, r"after epoch 2: a callback ended it; .*"),
    ],
)
def test_verbose__says_when_and_why_training_stopped(parameters, expected, n_estimators, regressor, X, y, capsys):
    settings = {"max_epochs": 20, "lam": 0, **parameters}
    fitted = regressor(**settings, n_estimators=n_estimators, verbose=1).fit(X, y)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(rf"MDMFusionRegressor: stopped {expected}", line), line
    assert f"after epoch {fitted.n_iter_}" in line and line.endswith(".")


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_device(estimator, X, y, device, same_parameters):
    fitted = estimator(device=device).fit(X, y)
    assert fitted.predict(X).shape == y.shape
    if not torch.cuda.is_available():
        assert same_parameters(fitted, estimator().fit(X, y))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", torch.optim.RMSprop, torch.optim.NAdam])
def test_optimizers__by_name_or_as_a_class(estimator, X, y, optimizer):
    fitted = estimator(optimizer=optimizer, max_epochs=20, lr=0.01, weight_decay=0.003, n_iter_no_change=20).fit(X, y)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]
    cls = optimizer if isinstance(optimizer, type) else {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[optimizer]
    assert getattr(cls, "__name__", cls) == type(fitted.net_.optimizer_).__name__
    for group in fitted.net_.optimizer_.param_groups:
        assert group["lr"] == 0.01 and group["weight_decay"] == 0.003


def test_a_users_own_optimizer(estimator, X, y):
    class Plain(torch.optim.Optimizer):
        def __init__(self, params, lr, weight_decay=0.0):
            super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.sub_(p.grad, alpha=group["lr"])

    fitted = estimator(optimizer=Plain, lr=0.05, max_epochs=20, weight_decay=0.0).fit(X, y)
    reference = estimator(optimizer="sgd", lr=0.05, max_epochs=20, weight_decay=0.0).fit(X, y)
    assert_allclose(fitted.transform(X), reference.transform(X), rtol=1e-6, atol=1e-9)


def test_critic_parameters__reach_the_critic(estimator, X, y):
    net = estimator(critic_lr=0.123, critic_hidden_dims=[6, 4], n_negatives=3, unroll=2).fit(X, y).net_
    assert net.optimizer_critic_.param_groups[0]["lr"] == 0.123
    assert [layer.out_features for layer in net.critic_.layers if isinstance(layer, torch.nn.Linear)] == [6, 4, 1]
    assert (net.n_negatives, net.unroll) == (3, 2)


# --- encoders, missing modalities ------------------------------------------------------------------------------------


def test_an_encoder_per_modality(estimator, X, y):
    fitted = estimator(encoder={"text": MLPEncoder(out_dim=7, hidden_dims=(), dropout=0.0), "audio": "mlp"}).fit(X, y)
    assert fitted.net_.module_.code_dims == {"m0": 32, "m1": 7}
    assert estimator(encoder={"text": MLPEncoder(out_dim=7, dropout=0.0)}).fit(X, y).net_.module_.code_dims == {
        "m0": 32,
        "m1": 7,
    }
    with pytest.raises(ValueError, match=r"encoder names modalities \['video'\].*\['audio', 'text'\]"):
        estimator(encoder={"video": "mlp"}).fit(X, y)


def test_encoders__of_modalities_share_no_weights(estimator, y):
    X = {name: np.random.default_rng(0).normal(size=(60, 3)) for name in "ab"}
    encoders = estimator().fit(X, y).net_.module_.encoders.encoders
    weights = [next(encoder.parameters()) for encoder in encoders.values()]
    assert weights[0] is not weights[1] and not torch.equal(*weights)


@pytest.mark.parametrize("missing", ["mean", "token"])
def test_missing__a_modality_that_predicts_y_is_used_where_it_is_there(regressor, missing):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(400, 2)), "b": rng.normal(size=(400, 2))}
    y = X["a"][:, 0] + X["b"][:, 0]
    X["b"][rng.random(400) < 0.5] = np.nan
    fitted = regressor(missing=missing, max_epochs=30, lr=0.01, lam=0, early_stopping=False).fit(X, y)
    there = ~np.isnan(X["b"]).any(1)
    error = (fitted.predict(X) - y) ** 2
    assert error[there].mean() < 0.2
    assert error[~there].mean() < 1.4  # as well as without b: its variance is 1
    assert any("token" in name for name, _ in fitted.net_.module_.named_parameters()) == (missing == "token")


def test_mean__is_the_encoder_of_the_training_mean(estimator, X, y):
    fitted = estimator(missing="mean").fit(X, y)
    at_mean = {**X, "text": np.tile(X["text"].mean(0), (60, 1))}
    assert_allclose(fitted.transform({"audio": X["audio"]}), fitted.transform(at_mean), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_modality_dropout__makes_predictions_hold_without_a_modality(regressor):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=400)
    X = {name: latent[:, None] + 0.3 * rng.normal(size=(400, 2)) for name in "ab"}
    parameters = {"max_epochs": 30, "lr": 0.01, "lam": 0, "early_stopping": False, "missing": "token"}
    error = {
        rate: np.mean(
            [
                np.mean(
                    (regressor(modality_dropout=rate, **parameters).fit(X, latent).predict({n: X[n]}) - latent) ** 2
                )
                for n in "ab"
            ]
        )
        for rate in (0.0, 0.4)
    }
    assert error[0.4] < 0.15 and error[0.4] < 0.7 * error[0.0]


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("lam", -1),
        ("unroll", 0),
        ("missing", "zero"),
        ("modality_dropout", 1.0),
        ("critic_lr", 0),
        ("n_negatives", 0),
        ("lr", -1.0),
        ("batch_size", 0),
        ("max_epochs", 0),
        ("early_stopping", "yes"),
        ("validation_fraction", 1.0),
        ("optimizer", "adagrad"),
        ("callbacks", "none"),
        ("random_state", -1),
    ],
)
def test_values_out_of_range__are_named(estimator, X, y, parameter, value):
    with pytest.raises(InvalidParameterError, match=f"'{parameter}' parameter"):
        estimator(**{parameter: value}).fit(X, y)


@pytest.mark.parametrize("parameter", ["fusion", "encoder", "measure"])
def test_unknown_names_and_objects__are_explained(estimator, X, y, parameter):
    with pytest.raises(ValueError, match=f"{parameter}='magic' is not known. Use one of"):
        estimator(**{parameter: "magic"}).fit(X, y)
    for wrong in (3, KL if parameter == "measure" else MLPEncoder, object()):
        with pytest.raises(TypeError, match=f"{parameter} must be"):
            estimator(**{parameter: wrong}).fit(X, y)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        (MLPEncoder, r"Pass an object of this class, such as MLPEncoder\(\)"),
        (torch.nn.ReLU(), "is what build\\(\\) returns"),
    ],
)
def test_classes_and_modules_for_objects__are_told_what_to_pass(estimator, X, y, wrong, remedy):
    with pytest.raises(TypeError, match=remedy):
        estimator(encoder=wrong).fit(X, y)


def test_repr_and_get_params__show_objects_and_their_parameters(estimator):
    model = estimator(measure=KL(bound=3.0))
    assert model.get_params()["measure__bound"] == 3.0
    assert "KL(bound=3.0)" in repr(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "KL" in model._repr_html_()


@pytest.mark.skipif(not hasattr(BaseEstimator, "_get_fitted_attr_html"), reason="scikit-learn shows no attributes")
def test_html_of_what_is_fitted__has_modalities_and_widths(estimator, X, y):
    page = html.unescape(estimator().fit(X, y)._repr_html_())
    for shown in ("modalities_", "['audio', 'text']", "n_features_per_modality_", "{'audio': 3, 'text': 2}", "lam_"):
        assert shown in page


# --- what stands in for a missing sequence ---------------------------------------------------------------------------


def test_a_sequence_without_steps__is_summarised_as_a_standardised_feature():
    x = torch.randn(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[False] * 5, [True] * 5, [True, False, False, True, False]])
    pooled = mean_and_std(torch.where(mask[:, :, None], x, 0), mask)
    assert pooled[0].tolist() == [0, 0, 1, 1]
    for row, steps in ((1, x[1]), (2, x[2, [0, 3]])):
        expected = torch.cat([steps.mean(0), steps.std(0, correction=0)])
        torch.testing.assert_close(pooled[row], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mean_and_std(x, None)[1], pooled[1])


def test_a_missing_sequence__is_read_as_one_of_mean_0_and_deviation_1(estimator, sequences, y):
    fitted = estimator(missing="mean").fit(sequences, y)
    scaler = fitted.scalers_["steps"]
    # Two steps, one standard deviation to either side of the mean.
    typical = np.tile(np.stack([scaler.mean_ - scaler.scale_, scaler.mean_ + scaler.scale_]), (60, 1, 1))
    X = {"vector": np.nan_to_num(sequences["vector"])}
    assert_allclose(fitted.transform(X), fitted.transform({**X, "steps": typical}), rtol=1e-9, atol=1e-9)


# --- the meaning of weights from batch to batch ----------------------------------------------------------------------


def step_after(model, first, second, parameters_of, **options):
    """How far a second batch moves the module."""
    model.partial_fit(*first, **({"classes": [0, 1, 2]} if hasattr(model, "predict_proba") else {}))
    before = parameters_of(model)
    after = parameters_of(model.partial_fit(*second, **options))
    return torch.cat([(after[name] - before[name]).ravel() for name in before if name.startswith("module")])


PLAIN = {"optimizer": "sgd", "weight_decay": 0.0, "lam": 0, "batch_size": 60, "lr": 0.01}


@pytest.mark.parametrize("factor", [1e-9, 0.5, 3.0])
def test_partial_fit__weights_keep_their_meaning(estimator, X, y, factor, parameters_of):
    one, other = (
        step_after(estimator(**PLAIN), (X, y), (X, y), parameters_of, sample_weight=np.full(60, weight))
        for weight in (1.0, factor)
    )
    assert one.abs().max() > 1e-4
    torch.testing.assert_close(other, factor * one, rtol=1e-6, atol=1e-14)


def test_partial_fit__class_weights_act_on_batches_of_one_class(classifier, X, y, parameters_of):
    first, second = ((part(X, rows), y[rows]) for rows in (y < 2, y == 2))
    one, other = (
        step_after(classifier(class_weight={0: 1.0, 1: 1.0, 2: w}, **PLAIN), first, second, parameters_of)
        for w in (1.0, 10.0)
    )
    assert one.abs().max() > 1e-4
    torch.testing.assert_close(other, 10 * one, rtol=1e-6, atol=1e-14)


def test_partial_fit__refuses_what_a_batch_cannot_know(classifier, X, y):
    with pytest.raises(ValueError, match='class_weight="balanced" would change with every batch'):
        classifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    for classes in ([1], [1, 1]):
        with pytest.raises(ValueError, match="classes must hold at least 2 classes"):
            classifier().partial_fit(X, y, classes=classes)


# --- probabilities ---------------------------------------------------------------------------------------------------


def test_log_probabilities__are_logarithms_and_finite(classifier, X, y):
    fitted = classifier().fit(X, y)
    assert_allclose(fitted.predict_log_proba(X), np.log(fitted.predict_proba(X)), rtol=1e-9)
    far = {name: 1e6 * value for name, value in X.items()}
    assert (fitted.predict_proba(far) == 0).any()
    log_probabilities = fitted.predict_log_proba(far)
    assert np.isfinite(log_probabilities).all() and (log_probabilities < -1000).any()
    single = {name: value.astype(np.float32) for name, value in X.items()}
    assert classifier().fit(single, y).predict_log_proba(single).dtype == np.float32


# --- parameters that are refused, or taken up later ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer": torch.optim.LBFGS}, "optimizer=LBFGS"),
        ({"device": "gpu"}, "device='gpu' is not there"),
        ({"encoder": MLPEncoder(out_dim=0)}, "'out_dim' parameter of MLPEncoder must be .*Got 0"),
        ({"encoder": MLPEncoder(hidden_dims=-3)}, "'hidden_dims' parameter of MLPEncoder must be .*Got -3"),
        ({"encoder": MLPEncoder(hidden_dims=(4, 0))}, r"'hidden_dims' parameter of MLPEncoder must be .*Got \(4, 0\)"),
        ({"fusion": ConcatFusion(hidden_dims=(0,))}, r"'hidden_dims' parameter of ConcatFusion must be .*Got \(0,\)"),
    ],
)
def test_unusable_parts__are_named(estimator, X, y, parameters, message):
    with pytest.raises(ValueError, match=message):
        estimator(**parameters).fit(X, y)


def test_one_hidden_layer__may_be_given_as_a_number(estimator, X, y, same_parameters):
    one, other = (
        estimator(
            encoder=MLPEncoder(hidden_dims=dims, dropout=0.0), fusion=ConcatFusion(hidden_dims=dims, dropout=0.0)
        ).fit(X, y)
        for dims in (16, (16,))
    )
    assert same_parameters(one, other)


def test_warm_start__takes_up_verbose(estimator, X, y, capfd):
    model = estimator(warm_start=True).fit(X, y)
    assert capfd.readouterr() == ("", "")
    model.set_params(verbose=2).fit(X, y)
    assert "train_task_loss" in capfd.readouterr().out
    model.set_params(verbose=1).fit(X, y)
    captured = capfd.readouterr()
    assert "after epoch 9, with all 3 epochs made" in captured.out and "3/3" in captured.err
    model.set_params(verbose=0).fit(X, y)
    assert capfd.readouterr() == ("", "")
