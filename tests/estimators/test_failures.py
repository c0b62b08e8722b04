"""What goes wrong in training and how much of an earlier fit it costs: nothing."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_mdm import MDMNet
from sklearn_mdm.dependency._density_ratio import TrainedCritic
from sklearn_mdm.net._committee import CommitteeNet

nan = np.nan
# Of samples that were fitted, here and there: the numbers must repeat, not tell of new ones.
pytestmark = [
    pytest.mark.usefixtures("quick_reports"),
    pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning"),
]


def started(estimator, X, y, **parameters):
    """An estimator that has seen one batch."""
    model = estimator(**parameters)
    return model.partial_fit(X, y, **({"classes": [0, 1, 2]} if hasattr(model, "predict_proba") else {}))


def diverge(model, X, y, how):
    lr = model.lr
    with pytest.raises(FloatingPointError):
        if how == "lr":
            model.set_params(lr=1e300).partial_fit(X, y)
        elif how == "last step":
            model.set_params(lr=1e300, batch_size=60).partial_fit(X, y)
        else:
            model.set_params(lr=1e300, warm_start=True, max_epochs=4).fit(X, y)
    model.set_params(lr=lr, batch_size=16)


@pytest.mark.parametrize("how", ["lr", "last step", "warm start"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_bad_batch__leaves_net_and_optimizers_bit_for_bit(estimator, X, y, how, optimizer, members, same_parameters):
    model, other = (started(estimator, X, y, lam=1.0, optimizer=optimizer, n_estimators=members) for _ in range(2))
    diverge(model, X, y, how)
    assert same_parameters(model, other)
    for part in ("optimizer_", "optimizer_critic_"):
        states = [getattr(m.net_, part).state_dict()["state"] for m in (model, other)]
        torch.testing.assert_close(*states, rtol=0, atol=0)
    assert len(model.history_) == len(model.net_.history) == model.n_iter_ == 1
    assert model.loss_curve_ == other.loss_curve_
    assert_array_equal(model.predict(X), other.predict(X))
    for m in (model, other):
        m.partial_fit(X, y)
    assert same_parameters(model, other)
    assert model.loss_curve_ == other.loss_curve_ and model.n_iter_ == 2


def test_an_unreadable_batch__leaves_the_net_too(estimator, X, y, same_parameters):
    model, other = (started(estimator, X, y, lam=1.0) for _ in range(2))
    for bad in ({"video": X["text"]}, {**X, "text": np.full((60, 2), np.inf)}):
        with pytest.raises(ValueError):
            model.partial_fit(bad, y)
    for m in (model, other):
        m.partial_fit(X, y)
    assert same_parameters(model, other)


def test_a_restored_estimator__can_be_stored_and_copied(estimator, X, y):
    model = started(estimator, X, y, lam=1.0)
    diverge(model, X, y, "lr")
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert all(parameter.requires_grad for parameter in model.net_.critic_.parameters())


def test_a_report__survives_a_bad_batch(estimator, X, y):
    model = estimator(lam=1.0).fit(X, y)
    values = model.pointwise_dependency(X)
    diverge(model, X, y, "lr")
    assert_array_equal(model.pointwise_dependency(X), values)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def press_ctrl_c(monkeypatch, at_step, members):
    """Interrupt the training in a step, counted from 1 over all epochs."""
    net = MDMNet if members == 1 else CommitteeNet
    train_step, steps = net.train_step, []

    def interrupted(self, batch, **fit_params):
        steps.append(1)
        if len(steps) == at_step:
            raise KeyboardInterrupt
        return train_step(self, batch, **fit_params)

    monkeypatch.setattr(net, "train_step", interrupted)


# Three steps an epoch, or four without validation: in the first epoch, the second, and the third and last.
@pytest.mark.parametrize(
    ("at_step", "epoch", "members"),
    [
        (2, 1, 1),
        (5, 2, 1),
        (9, 3, 1),
        pytest.param(2, 1, 3, marks=pytest.mark.slow),
        (5, 2, 3),
        pytest.param(9, 3, 3, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c__keeps_what_was_learned(estimator, X, y, monkeypatch, at_step, epoch, early_stopping, members):
    press_ctrl_c(monkeypatch, at_step, members)
    model = estimator(lam=1.0, early_stopping=early_stopping, n_estimators=members)
    with pytest.warns(UserWarning, match=f"interrupted in epoch {epoch}"):
        assert model.fit(X, y) is model
    assert model.n_iter_ == len(model.loss_curve_) == epoch
    assert np.isfinite(model.transform(X)).all()
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    with pytest.raises(ValueError, match="fit_dependency"):
        model.dependency_score(X)
    assert np.isfinite(model.fit_dependency(X).dependency_score(X))
    model.partial_fit(X, y).fit(X, y)
    assert model.n_iter_ == 3


def test_ctrl_c__weights_are_those_of_the_best_epoch_so_far(regressor, X, y, monkeypatch, members, same_parameters):
    shorter = regressor(max_epochs=2, early_stopping=True, n_estimators=members).fit(X, y)
    press_ctrl_c(monkeypatch, 8, members)  # in the third epoch
    model = regressor(max_epochs=9, early_stopping=True, n_estimators=members)
    with pytest.warns(UserWarning, match="interrupted in epoch 3"):
        model.fit(X, y)
    assert same_parameters(model, shorter)


def test_ctrl_c_before_the_first_update__is_not_fitted(estimator, X, y, monkeypatch, members):
    press_ctrl_c(monkeypatch, 1, members)
    model = estimator(n_estimators=members)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_ctrl_c_in_a_warm_start__goes_on_from_the_earlier_fit(estimator, X, y, monkeypatch, members):
    model = estimator(lam=1.0, warm_start=True, n_estimators=members).fit(X, y)
    press_ctrl_c(monkeypatch, 2, members)
    with pytest.warns(UserWarning, match="interrupted in epoch 4"):
        model.fit(X, y)
    assert np.isfinite(model.transform(X)).all()
    with pytest.raises(ValueError, match="fit_dependency"):
        model.pointwise_dependency(X)


def test_ctrl_c_while_the_reporting_critic_is_trained__keeps_the_net(estimator, X, y, monkeypatch, same_parameters):
    def interrupted(self, *args):
        raise KeyboardInterrupt

    expected = estimator(lam=1.0).fit(X, y)
    monkeypatch.setattr(TrainedCritic, "fit", interrupted)
    with pytest.warns(UserWarning, match="fit_dependency"):
        model = estimator(lam=1.0).fit(X, y)
    assert same_parameters(model, expected) and model.n_iter_ == 3


@pytest.mark.parametrize("first", [True, False])
def test_ctrl_c_in_partial_fit__keeps_the_net_and_ends_the_loop(estimator, X, y, monkeypatch, first, members):
    parameters = {"lam": 1.0, "n_estimators": members}
    model = estimator(**parameters) if first else started(estimator, X, y, **parameters)
    press_ctrl_c(monkeypatch, 3, members)
    classes = {"classes": np.unique(y)} if first and is_classifier(model) else {}
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y, **classes)
    assert np.isfinite(model.transform(X)).all()
    model.partial_fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


# ---------------------------------------------------------------------------------------------------------------------


def test_a_failed_fit__is_not_fitted(estimator, X, y, members):
    model = estimator(n_estimators=members)
    for attempt in range(2):
        with pytest.raises(FloatingPointError):
            model.set_params(lr=1e300, max_epochs=4).fit(X, y)
        for call in (check_is_fitted, lambda m: m.get_feature_names_out(), lambda m: m.predict(X)):
            with pytest.raises(NotFittedError):
                call(model)
        if attempt == 0:  # the second failure is one after a fit that went well
            model.set_params(lr=1e-3).fit(X, y)
            check_is_fitted(model)
            assert len(model.get_feature_names_out()) == 8 * members


# --- values beyond the range of numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.float64, 1e200), (np.float64, -1e308), (np.float64, 1.7e308), (np.float32, 3e38)]
)
@pytest.mark.parametrize(
    "rows",
    [
        [4],
        [4, 5, 6],
        list(range(60)),
    ],
)
def test_values_of_any_size__are_standardised_or_name_the_modality(estimator, X, y, dtype, value, rows):
    X = {name: array.astype(dtype) for name, array in X.items()}
    X["text"][rows, 0] = value * (-1.0) ** np.arange(len(rows))  # of both signs
    try:
        fitted = estimator(max_epochs=1).fit(X, y)
    except ValueError as error:  # differences are no numbers
        assert abs(value) > 1e308 and "'text' has values too large" in str(error)
    else:  # never as if they were not observed
        assert np.isfinite(fitted.scalers_["text"].scale_).all()
        assert np.isfinite(fitted.pointwise_dependency(X)).all()


@pytest.mark.parametrize("value", [1e300, -1e308])
def test_values_too_large_for_the_fitted_scale__name_the_modality(estimator, X, y, value):
    X["text"] = 1e-30 * X["text"]
    fitted = estimator(max_epochs=1).fit(X, y)
    X["text"][7, 0] = value
    for method in (fitted.predict, fitted.transform, fitted.pointwise_dependency, fitted.dependency_score):
        with pytest.raises(ValueError, match=r"'text' has values too large"):
            method(X)


def test_dependency_of_codes_that_are_not_finite__is_an_error(estimator, X, y):
    fitted = estimator(max_epochs=1).fit(X, y)
    with torch.no_grad():
        for parameter in fitted.net_.module_.parameters():
            parameter.mul_(100)
    X["text"][7] = [1e308, -1e308]
    for method in (fitted.pointwise_dependency, fitted.dependency_score, fitted.fit_dependency):
        with pytest.raises(ValueError, match=r"not finite|too large|too far"):
            method(X)  # NaN would read as a missing modality


@pytest.mark.parametrize("scaling", ["standard", None])
def test_finite_values_without_a_finite_prediction__are_an_error(estimator, X, y, scaling):
    fitted = estimator(scaling=scaling, max_epochs=1).fit(X, y)
    with torch.no_grad():
        for parameter in fitted.net_.module_.parameters():
            parameter.mul_(100)
    X["text"][7] = [1e308, -1e308]
    for method in (fitted.predict, fitted.transform):
        with pytest.raises(ValueError, match=r"of 1 samples are not finite \(first: sample 7\)"):
            method(X)


def test_a_validation_loss_out_of_range__is_named_with_its_epoch(regressor, X, y):
    X_val = {name: 1e200 * value for name, value in X.items()}
    model = regressor()
    with pytest.raises(FloatingPointError, match=r"non-finite task loss .* validation samples in epoch 1\b"):
        model.fit(X, y, X_val=X_val, y_val=y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_a_validation_loss_of_nan__is_named_with_its_epoch(estimator, X, y, monkeypatch):
    get_loss = MDMNet.get_loss

    def broken(self, *args, training=False, **kwargs):
        loss = get_loss(self, *args, training=training, **kwargs)
        return loss if training or len(self.history) < 2 else nan * loss

    monkeypatch.setattr(MDMNet, "get_loss", broken)
    with pytest.raises(FloatingPointError, match=r"\(nan\) on the validation samples in epoch 2\b"):
        estimator(early_stopping=True).fit(X, y)


# --- weights that leave nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["standard", None])
def test_a_modality_in_rows_of_weight_zero_only__is_named(estimator, X, y, scaling):
    X["text"][10:] = nan
    weight = np.r_[np.zeros(10), np.ones(50)]
    with pytest.raises(ValueError, match=r"'text' is observed in none of the 50 samples"):
        estimator(scaling=scaling).fit(X, y, sample_weight=weight)


def test_one_positive_weight__is_as_few_as_one_sample(estimator, X, y):
    with pytest.raises(ValueError, match=r"only 1 sample has a positive sample_weight"):
        estimator().fit(X, y, sample_weight=np.eye(60)[3])
