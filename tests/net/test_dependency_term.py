"""The term ``lam * dependency`` in training: what it reads, what it moves, and what happens when it diverges."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError

from sklearn_mdm import MDMNet
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.measures import KL, FDivergence, Measure, Wasserstein
from sklearn_mdm.net._data import MaskedDataset

MEASURES = {"kl": KL(), "kl unbounded": KL(bound=None), "f": FDivergence(), "wasserstein": Wasserstein()}
SHAPES = {"m0": (3,), "m1": (2,), "m2": (4, 2)}


def build(missing="mean"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConcatFusion((6,), dropout=0.0).build(
            SHAPES, 1, encoder=MLPEncoder((6,), 4, dropout=0.0), missing=missing
        )


def batch(n=12):
    generator = torch.Generator().manual_seed(1)
    X = {name: torch.randn(n, *shape, generator=generator) for name, shape in SHAPES.items()}
    mask = {name: torch.rand(x.shape[:-1], generator=generator) < 0.7 for name, x in X.items()}
    return X, mask


@pytest.mark.parametrize("missing", ["mean", "token", "skip"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_code__is_a_function_of_its_own_modality_only(name, masked, missing):
    module = build(missing).eval()
    X, mask = batch()
    other_X, other_mask = dict(X), dict(mask)
    for other in SHAPES:
        if other != name:
            other_X[other] = 100 * torch.ones_like(X[other])
            other_mask[other] = torch.zeros_like(mask[other])
    a = module(X, mask if masked else None)
    b = module(other_X, other_mask if masked else None)
    assert torch.equal(a.representations[name], b.representations[name])
    assert not torch.equal(a.prediction, b.prediction)
    for other in SHAPES:
        if other != name:
            assert not torch.equal(a.representations[other], b.representations[other])


@pytest.mark.parametrize("measure", MEASURES)
def test_gradient_of_the_term__reaches_every_parameter_of_every_encoder(measure):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MDMNet(build(), measure=MEASURES[measure], critic__hidden_dims=(8,)).initialize()
    net.generators_ = {"negatives": torch.Generator().manual_seed(0)}
    codes = net.module_.represent(*batch(64)[:1])
    (-net._value(list(codes.values()))).backward()
    for name, parameter in net.module_.named_parameters():
        if name.startswith("encoders."):
            assert parameter.grad is not None and parameter.grad.abs().max() > 1e-8, name
        else:
            assert parameter.grad is None, name  # the head is not part of the term


@pytest.mark.parametrize("measure", MEASURES)
def test_the_term__enters_the_training_loss_times_lam(regressor, X, y, measure):
    fitted = regressor(lam=0.3, measure=MEASURES[measure], batch_size=60).fit(X, y)
    history = fitted.history_
    scale = fitted.target_scaler_.scale_[0] ** 2
    for row in history:
        assert row["train_loss"] == pytest.approx(
            row["train_task_loss"] / scale - 0.3 * row["train_dependency"], rel=1e-9
        )


@pytest.mark.parametrize("measure", ["kl", pytest.param("wasserstein", marks=pytest.mark.slow)])
def test_training_with_the_term__raises_the_dependency_between_the_codes(regressor, measure, quick_reports):
    # From the same initial weights, a large lam leads to codes that are more dependent on new data too.
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(1200, 1))
    X = {"a": np.c_[latent, rng.normal(size=(1200, 3))], "b": np.c_[latent, rng.normal(size=(1200, 3))]}
    X["a"][:, 0] += 0.5 * rng.normal(size=1200)
    y = X["a"][:, 1] + X["b"][:, 1]  # what the task needs is independent of what the two share
    train, test = ({name: value[part] for name, value in X.items()} for part in (slice(0, 800), slice(800, None)))

    # Codes of several dimensions: a single one dies under a large lam for some seeds, and there is no way back then.
    def dependency(lam):
        model = regressor(lam=lam, measure=measure, max_epochs=5, lr=0.01, early_stopping=False)
        return model.fit(train, y[:800]).fit_dependency(train).dependency_score(test)

    without = dependency(0)
    assert dependency(10.0) > without + 0.1


def test_lam_0__makes_no_critic_step(estimator, X, y, monkeypatch, parameters_of):
    def forbidden(*args):
        raise AssertionError("a critic step at lam=0")

    monkeypatch.setattr(MDMNet, "_critic_step", forbidden)
    monkeypatch.setattr("sklearn_mdm.net._net.dependency_of", forbidden)
    start = parameters_of(estimator(lam=0, max_epochs=1, lr=1e-300, weight_decay=0).fit(X, y))
    end = parameters_of(estimator(lam=0, max_epochs=5).fit(X, y))
    critic = [name for name in start if name.startswith("critic")]
    assert critic
    for name in critic:
        assert torch.equal(start[name], end[name])
    fitted = estimator(lam=0).fit(X, y)
    assert not fitted.net_.optimizer_critic_.state
    assert np.isnan(fitted.dependency_curve_).all()
    assert not hasattr(fitted, "reporting_critic_")


@pytest.mark.parametrize("measure", MEASURES)
def test_lam_10__stays_finite(estimator, X, y, sequences, measure):
    for data in (X, sequences):
        fitted = estimator(lam=10.0, measure=MEASURES[measure], max_epochs=20, lr=0.01).fit(data, y)
        assert np.isfinite(fitted.loss_curve_).all()
        assert np.isfinite(fitted.dependency_curve_).all()
        assert np.isfinite(fitted.transform(data)).all()


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
@pytest.mark.parametrize(
    "measure", ["kl", "wasserstein", *(pytest.param(name, marks=pytest.mark.slow) for name in ("f", "kl unbounded"))]
)
def test_lam_10__learns_on_real_data(regressor, classifier, measure):
    X, y = load_diabetes(return_X_y=True)
    parameters = {"lam": 10.0, "measure": MEASURES[measure], "max_epochs": 8, "lr": 0.01, "early_stopping": False}
    fitted = regressor(modalities={"body": slice(0, 4), "blood": slice(4, 10)}, **parameters).fit(X, y)
    assert np.isfinite(fitted.loss_curve_).all() and np.isfinite(fitted.dependency_curve_).all()
    assert math.isfinite(fitted.dependency_score(X))
    X, y = load_digits(return_X_y=True)
    X, y = X[::4], y[::4]
    halves = classifier(modalities={"top": slice(0, 32), "bottom": slice(32, 64)}, **parameters).fit(X, y)
    assert halves.score(X, y) > 0.5
    assert np.isfinite(halves.dependency_curve_).all()


def without_net(model, X):
    assert not hasattr(model, "net_")
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("lam", [0, 0.1])
def test_a_diverging_task_loss__stops_naming_it_and_leaves_no_net(estimator, X, y, lam):
    model = estimator(lr=1e30, lam=lam, max_epochs=10)
    with pytest.raises(FloatingPointError, match=r"non-finite task loss .*in epoch [12]\b.*smaller lr"):
        model.fit(X, y)
    without_net(model, X)


def test_a_diverging_term__stops_naming_it_and_leaves_no_net(estimator, X, y):
    model = estimator(critic_lr=1e200, measure=KL(bound=None))
    with pytest.raises(FloatingPointError, match=r"non-finite dependency term .*in epoch 1\b.*critic_lr or lam"):
        model.fit(X, y)
    without_net(model, X)


def test_a_measure_that_returns_nan__is_caught(regressor, X, y):
    class NotANumber(Measure):
        def objective(self, t_joint, t_product):
            return math.nan * t_joint.sum()

    with pytest.raises(FloatingPointError, match="dependency term"):
        regressor(measure=NotANumber()).fit(X, y)


def test_divergence_in_the_very_last_step__is_not_returned_as_a_fit(regressor, X, y):
    model = regressor(lr=1e300, lam=0, max_epochs=1, batch_size=60)
    with pytest.raises(FloatingPointError, match="epoch"):
        model.fit(X, y)
    without_net(model, X)


def test_a_failed_refit__leaves_no_net_of_other_data(estimator, X, y):
    model = estimator().fit(X, y)
    with pytest.raises(FloatingPointError):
        model.set_params(lr=1e30, max_epochs=10).fit(X, y)
    without_net(model, X)
    model.set_params(lr=1e-3).fit(X, y)
    with pytest.raises(ValueError, match="'audio'"):
        model.fit({**X, "audio": X["audio"][:, :0]}, y)
    without_net(model, X)


# --- which rows enter ------------------------------------------------------------------------------------------------


def spy_on_critic(monkeypatch):
    """Record the number of rows of each batch that the critic is trained on, and whether all were complete."""
    seen = []
    critic_step = MDMNet._critic_step

    def spy(self, batch):
        seen.append((len(batch), batch.complete is None or bool(batch.complete.all())))
        return critic_step(self, batch)

    monkeypatch.setattr(MDMNet, "_critic_step", spy)
    return seen


def test_the_critic__sees_complete_rows_only(estimator, X, y, monkeypatch):
    X["text"][::3] = np.nan
    seen = spy_on_critic(monkeypatch)
    estimator(lam=1.0).fit(X, y)
    assert seen and all(complete for _, complete in seen)
    assert all(rows == 16 for rows, _ in seen)


def test_the_term__reads_complete_rows_before_modality_dropout(estimator, X, y, monkeypatch):
    X["text"][::3] = np.nan
    rows = []
    for name in ("_critic_objective", "_value"):
        original = getattr(MDMNet, name)
        spy = lambda self, codes, original=original: (rows.append(len(codes[0])), original(self, codes))[1]  # noqa: E731
        monkeypatch.setattr(MDMNet, name, spy)
    estimator(lam=1.0, batch_size=60, max_epochs=2, modality_dropout=0.9).fit(X, y)
    assert rows == [40, 40] * 2  # critic, model


def test_values_of_incomplete_rows__change_the_task_loss_only(regressor, X, y):
    X["text"][::3] = np.nan
    other = {**X, "audio": np.where(np.arange(60)[:, None] % 3 == 0, 100.0, X["audio"])}
    parameters = {"lam": 1.0, "scaling": None, "batch_size": 60, "max_epochs": 1}
    a, b = (regressor(**parameters).fit(data, y) for data in (X, other))
    assert a.dependency_curve_ == b.dependency_curve_
    assert a.loss_curve_ != b.loss_curve_


@pytest.mark.parametrize("n_complete", [0, 3, 4, 11, 12])
def test_too_few_complete_rows__skip_the_term_and_count(estimator, X, y, n_complete):
    X["text"][n_complete:] = np.nan
    if n_complete == 0:
        X["text"][0], X["audio"][0] = 1.0, np.nan
    model = estimator(lam=1.0, max_epochs=2)
    if n_complete >= 11:
        fitted = model.fit(X, y)
        assert np.isfinite(fitted.dependency_curve_).any()
    else:  # four rows are enough for a critic step, but they never meet in one batch of the model
        with pytest.warns(UserWarning, match=rf"lam=1.0 had no effect.*\({n_complete} of the training") as record:
            fitted = model.fit(X, y)
        assert len(record) == 1 and record[0].filename == __file__
        assert np.isnan(fitted.dependency_curve_).all()
    if n_complete < 4:  # no critic step is made at all
        assert "terms_skipped" not in fitted.history_[-1]
    else:
        skipped = fitted.history_[:, "terms_skipped"]
        assert all(0 < s <= 4 for s in skipped)
    # Three parts of four rows each are the least that a report can be trained and calibrated on.
    assert hasattr(fitted, "reporting_critic_") == (n_complete >= 12)
    if n_complete < 12:
        with pytest.raises(ValueError, match=r"no critic reports dependency.*enough samples.*fit_dependency"):
            fitted.dependency_score(X)
        with pytest.raises(ValueError, match="at least 12"):
            fitted.fit_dependency(X)


def test_steps_of_a_sequence__do_not_make_a_row_incomplete(sequences):
    data = MaskedDataset(sequences)
    assert_array_equal(
        data.complete.numpy(),
        ~np.isnan(sequences["vector"]).all(1) & ~np.isnan(sequences["steps"]).all((1, 2)),
    )


@pytest.mark.parametrize("case", ["small batches", "no complete row"])
def test_a_term_that_was_never_used__warns_once_at_the_call(estimator, X, y, case):
    if case == "no complete row":
        X["text"][:30], X["audio"][30:] = np.nan, np.nan
    parameters = {"batch_size": 2} if case == "small batches" else {}
    n_complete = 60 if case == "small batches" else 0
    first = {"classes": [0, 1, 2]} if hasattr(estimator(), "predict_proba") else {}
    for fit in (estimator(**parameters).fit, lambda X, y: estimator(**parameters).partial_fit(X, y, **first)):
        with pytest.warns(UserWarning, match=rf"lam=0.03 had no effect.*\({n_complete} of the training") as record:
            fit(X, y)
        assert len(record) == 1 and record[0].filename == __file__
    estimator(lam=0, **parameters).fit(X, y)  # asked for nothing


@pytest.mark.parametrize("measure", [KL, FDivergence])
@pytest.mark.parametrize("bound", [-1.0, 0.0, math.nan])
def test_a_bound_that_is_not_positive__is_named(estimator, X, y, measure, bound):
    with pytest.raises(ValueError, match=f"'bound' parameter of .*Got {bound}"):
        estimator(measure=measure(bound=bound)).fit(X, y)
