"""skorch's own checkpoints in fusion estimators: what they restore, and that they say what they cannot."""

import json
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, Checkpoint, LoadInitState, TrainEndCheckpoint

from sklearn_mdm.exceptions import CheckpointWarning

from .interrupted_fits import Kill, Killed

pytestmark = [
    pytest.mark.usefixtures("quick_reports"),
    pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning"),
]

CRITIC = {"f_critic": "critic.pt", "f_optimizer_critic": "optimizer_critic.pt"}
KINDS = pytest.mark.parametrize(
    "parameters",
    [
        {"n_estimators": 1, "early_stopping": False},
        {"n_estimators": 1, "early_stopping": True},
        {"n_estimators": 3},
        {"n_estimators": 3, "early_stopping": False},
        {"n_estimators": 2, "lam": [0.0, 0.3]},
        {"n_estimators": 3, "optimizer": "sgd", "linear_member": True},
    ],
    ids=lambda parameters: ", ".join(map(str, parameters.values())),
)


class Epochs(Callback):
    """Counts the epochs that are trained."""

    numbers: ClassVar[list] = []

    def on_epoch_begin(self, net, **kwargs):
        self.numbers.append(len(net.history))


@pytest.fixture(autouse=True)
def trained():
    Epochs.numbers.clear()
    return Epochs.numbers


@KINDS
def test_load_init_state__trains_the_rest(estimator, X, y, tmp_path, parameters, trained):
    def build(*more, max_epochs=5):
        checkpoint = Checkpoint(dirname=tmp_path, monitor=None, **CRITIC)
        callbacks = [checkpoint, LoadInitState(checkpoint), Epochs(), *more]
        return estimator(**parameters, max_epochs=max_epochs, n_iter_no_change=20, callbacks=callbacks)

    with pytest.raises(Killed):
        build(Kill("batch", 4)).fit(X, y)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 3
    trained.clear()
    model = build().fit(X, y)
    assert trained == [4, 5]
    assert model.n_iter_ == len(model.loss_curve_) == 5
    whole = estimator(**parameters, max_epochs=5, n_iter_no_change=20).fit(X, y)
    assert_array_equal(model.loss_curve_, whole.loss_curve_)
    for member in getattr(model.net_, "members_", []):
        assert len(member.history) == 5

    # A complete one trains nothing, and is fitted; a longer one goes on.
    trained.clear()
    model = build().fit(X, y)
    assert trained == [] and model.n_iter_ == 5
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.dependency_score(X)) if model.lam_ else True
    model = build(max_epochs=7).fit(X, y)
    assert trained == [6, 7] and model.n_iter_ == 7


@KINDS
def test_train_end_checkpoint__holds_what_stopping_went_back_to(estimator, X, y, tmp_path, parameters, same_parameters):
    checkpoint = TrainEndCheckpoint(dirname=tmp_path, **CRITIC)
    parameters = {**parameters, "lam": 0.3}
    callbacks = [checkpoint, LoadInitState(checkpoint)]
    first = estimator(**parameters, max_epochs=6, lr=0.05, callbacks=callbacks).fit(X, y)
    again = estimator(**parameters, max_epochs=first.n_iter_, lr=0.05, callbacks=callbacks).fit(X, y)
    assert same_parameters(first, again)
    assert again.n_iter_ == first.n_iter_
    assert_array_equal(first.transform(X), again.transform(X))


@KINDS
def test_load_best__is_a_fitted_estimator(estimator, X, y, tmp_path, parameters, same_parameters):
    stops = parameters.get("early_stopping") is not False
    monitor = "valid_loss_best" if stops and "early_stopping" in parameters else "train_loss_best"
    checkpoint = Checkpoint(dirname=tmp_path, monitor=monitor, load_best=True, **CRITIC)
    model = estimator(**parameters, max_epochs=5, lr=0.05, callbacks=[checkpoint]).fit(X, y)
    assert 1 <= model.n_iter_ <= 5
    assert np.isfinite(model.transform(X)).all()
    if stops and "lam" not in parameters:  # the best epoch of each member has the last word
        assert same_parameters(model, estimator(**parameters, max_epochs=5, lr=0.05).fit(X, y))


def test_load_best_without_a_history__error(estimator, X, y, tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor="train_loss_best", load_best=True, f_history=None)
    with pytest.raises(ValueError, match="f_history, which is None"):
        estimator(callbacks=[("best", checkpoint)]).fit(X, y)


@pytest.mark.parametrize("kind", [Checkpoint, TrainEndCheckpoint])
def test_checkpoint_that_cannot_write__says_so_once(kind, estimator, X, y, tmp_path, members):
    path = tmp_path / "folder" / "params.pt"
    options = {"monitor": None} if kind is Checkpoint else {"fn_prefix": ""}
    checkpoint = kind(f_params=str(path), f_optimizer=None, f_criterion=None, f_history=None, **options)
    model = estimator(n_estimators=members, callbacks=[checkpoint])
    with pytest.warns(CheckpointWarning, match=rf"could not be written to {path} \(.*training goes on") as told:
        model.fit(X, y)
    assert sum(each.category is CheckpointWarning for each in told) == 1
    assert model.n_iter_ == 3 and np.isfinite(model.transform(X)).all()
    expected = estimator(n_estimators=members).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))


def test_folder_that_cannot_be_made__error(estimator, X, y, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        estimator(callbacks=[Checkpoint(dirname=tmp_path / "file" / "folder")]).fit(X, y)


def test_load_init_state__partial_fit_and_warm_start__error(regressor, X, y, tmp_path, members):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    model = regressor(n_estimators=members, warm_start=True, callbacks=[checkpoint, LoadInitState(checkpoint)])
    with pytest.raises(ValueError, match="LoadInitState goes on from a file"):
        model.partial_fit(X, y)
    model.fit(X, y)
    with pytest.raises(ValueError, match="LoadInitState goes on from a file"):
        model.fit(X, y)
    # Without it both go on from the estimator, and checkpoints are written.
    model.set_params(callbacks=[checkpoint]).fit(X, y).partial_fit(X, y)
    assert model.n_iter_ == 7
    assert len(json.loads((tmp_path / "history.json").read_text())) == 7
