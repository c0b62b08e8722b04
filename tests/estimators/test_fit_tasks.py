"""Callbacks of scikit-learn follow fit, epoch by epoch, alone and in searches and pipelines."""

import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import ModalityDict, ModalityTransformer, load

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")


class Recorder:
    """Remembers the tasks it is told of; asks to stop after so many epochs."""

    max_propagation_depth = None

    def __init__(self, stop_after=None, fail_in=None):
        self.told, self.stop_after, self.fail_in = [], stop_after, fail_in

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"{type(estimator).__name__} {context.task_name} begins")
        if context.task_name == self.fail_in:
            raise RuntimeError("a callback failed")

    def on_fit_task_end(self, estimator, context):
        self.told.append(f"{type(estimator).__name__} {context.task_name} ends")
        return context.task_name == "epoch" and self.epochs == self.stop_after

    @property
    def epochs(self):
        return sum(" epoch ends" in each for each in self.told)


def expected(name, n_epochs):
    epochs = [f"{name} epoch begins", f"{name} epoch ends"] * n_epochs
    return ["setup", f"{name} fit begins", *epochs, f"{name} fit ends", "teardown"]


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_fit__is_told_epoch_by_epoch(estimator, X, y, n_estimators):
    recorder = Recorder()
    fitted = estimator(n_estimators=n_estimators, lam=0).set_callbacks(recorder).fit(X, y)
    assert recorder.told == expected(type(fitted).__name__, 3)
    recorder.told.clear()
    fitted.set_params(warm_start=True).fit(X, y)
    assert recorder.told == expected(type(fitted).__name__, 3)
    assert not [
        name for name in vars(fitted) if name.startswith("_") and "callback" in name and name != "_skl_callbacks"
    ]


@pytest.mark.parametrize("parameters", [{"lam": 1.0}, {"lam": [0.0, 0.5], "n_estimators": 2}])
def test_fit__with_and_without_callbacks__is_the_same(regressor, X, y, parameters):
    plain = regressor(**parameters).fit(X, y)
    told = regressor(**parameters).set_callbacks(Recorder()).fit(X, y)
    np.testing.assert_array_equal(told.predict(X), plain.predict(X))


def test_epochs__that_early_stopping_leaves_out__are_not_told(regressor, X, y):
    recorder = Recorder()
    fitted = regressor(lam=0, max_epochs=30, tol=10.0, n_iter_no_change=2).set_callbacks(recorder).fit(X, y)
    assert fitted.n_iter_ == 3
    assert recorder.told == expected("MDMFusionRegressor", 3)


def test_callback__may_stop_training(regressor, X, y, capsys):
    fitted = regressor(lam=0, max_epochs=10, verbose=1).set_callbacks(Recorder(stop_after=2)).fit(X, y)
    assert fitted.n_iter_ == 2 and np.isfinite(fitted.predict(X)).all()
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("fail_in", ["fit", "epoch"])
def test_callback__that_fails__is_torn_down(regressor, X, y, fail_in):
    recorder = Recorder(fail_in=fail_in)
    model = regressor(lam=0).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="a callback failed"):
        model.fit(X, y)
    assert recorder.told[-1] == "teardown" and not hasattr(model, "_callback_fit_ctx")
    recorder.fail_in = None
    assert model.fit(X, y).n_iter_ == 3


def test_search_around_a_pipeline__tells_of_every_epoch(regressor, X, y):
    recorder = Recorder()
    pipe = make_pipeline(ModalityTransformer({"audio": StandardScaler()}), regressor(lam=0))
    search = GridSearchCV(pipe, {"mdmfusionregressor__lam": [0, 0.1]}, cv=2).set_callbacks(recorder)
    search.fit(ModalityDict(X), y)
    assert recorder.epochs == 3 * (2 * 2 + 1)
    assert recorder.told.count("ModalityTransformer fit ends") == 2 * 2 + 1
    assert recorder.told.count("setup") == recorder.told.count("teardown") == 1


def test_progress_bar__of_a_search__shows_the_fits(regressor, X, y, capsys):
    pytest.importorskip("rich")
    model = regressor(lam=0).fit(X, y)
    assert capsys.readouterr().out == ""
    bar = callback.ProgressBar(max_propagation_depth=None)
    GridSearchCV(model, {"lam": [0, 0.1]}, cv=2).set_callbacks(bar).fit(ModalityDict(X), y)
    out = capsys.readouterr().out
    assert len(re.findall("MDMFusionRegressor - fit", out)) >= 5


def test_scoring_monitor__scores_what_is_fitted(regressor, X, y):
    monitor = callback.ScoringMonitor(scoring="r2")
    fitted = regressor(lam=0).set_callbacks(monitor).fit(X, y)
    assert monitor.get_logs().data[0]["r2"] == pytest.approx(fitted.score(X, y))


def test_copies__of_what_was_told(regressor, X, y, tmp_path):
    recorder = Recorder()
    fitted = regressor(lam=0).set_callbacks(recorder).fit(X, y)
    assert clone(fitted)._skl_callbacks == [recorder]
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict(X), fitted.predict(X))
    fitted.save(tmp_path / "model.mdm")
    np.testing.assert_array_equal(load(tmp_path / "model.mdm").predict(X), fitted.predict(X))
    assert not hasattr(fitted.set_callbacks(), "_skl_callbacks")
    transformer = ModalityTransformer({"audio": StandardScaler()}).set_callbacks(recorder).fit(X)
    transformer.save(tmp_path / "transformer.mdm")
    assert load(tmp_path / "transformer.mdm").modalities_ == transformer.modalities_
