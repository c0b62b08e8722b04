"""Callbacks of scikit-learn follow fit, fold by fold, alone and in searches and pipelines."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mdm import DependencyEstimator, ModalityDict, ModalityTransformer, load

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.DependencyWarning")


class Recorder:
    """Remembers the tasks it is told of."""

    max_propagation_depth = None

    def __init__(self, fail_in=None):
        self.told, self.fail_in, self.expected = [], fail_in, None

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        if type(estimator) is DependencyEstimator:
            self.told.append(f"{context.task_name} begins")
            self.expected = context.max_subtasks if context.task_name == "fit" else self.expected
        if context.task_name == self.fail_in:
            raise RuntimeError("a callback failed")

    def on_fit_task_end(self, estimator, context):
        if type(estimator) is DependencyEstimator:
            self.told.append(f"{context.task_name} ends")
        return True  # a value is read on all folds, or there is none


@pytest.fixture(name="X")
def two_modalities():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(80, 1))
    return {"audio": latent + rng.normal(size=(80, 2)), "text": latent + rng.normal(size=(80, 1))}


def tiny(**parameters):
    return DependencyEstimator(**{"max_updates": 5, "hidden_dims": (8, 8), "random_state": 0, **parameters})


@pytest.mark.parametrize(("cv", "n_folds"), [(None, 1), ("auto", 5), (3, 3), (KFold(2), 2)])
def test_fit__is_told_fold_by_fold__and_values_stay(X, cv, n_folds):
    recorder = Recorder()
    told = tiny(cv=cv).set_callbacks(recorder).fit(X)
    folds = ["fold begins", "fold ends"] * n_folds
    assert recorder.told == ["setup", "fit begins", *folds, "fit ends", "teardown"] and recorder.expected == n_folds
    plain = tiny(cv=cv).fit(X)
    np.testing.assert_array_equal(told.pointwise_, plain.pointwise_)
    assert (told.dependency_, told.dependency_std_) == (plain.dependency_, plain.dependency_std_)
    assert [name for name in vars(told) if "callback" in name] == ["_skl_callbacks"]


def test_permutation_test__which_trains_once_more__is_no_fit(X):
    recorder = Recorder()
    estimator = tiny(cv=2).set_callbacks(recorder).fit(X)
    recorder.told.clear()
    found = estimator.permutation_test(X, n_permutations=9)
    assert not recorder.told and estimator._skl_callbacks == [recorder]
    assert found.pvalue == tiny(cv=2).fit(X).permutation_test(X, n_permutations=9).pvalue


@pytest.mark.parametrize("fail_in", ["fit", "fold"])
def test_callback__that_fails__is_torn_down(X, fail_in):
    recorder = Recorder(fail_in=fail_in)
    estimator = tiny(cv=2).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="a callback failed"):
        estimator.fit(X)
    assert recorder.told[-1] == "teardown" and not hasattr(estimator, "_callback_fit_ctx")
    assert not hasattr(estimator, "critics_")
    recorder.fail_in = None
    assert np.isfinite(estimator.fit(X).dependency_)


def test_search_around_a_pipeline__tells_of_every_fold(X):
    recorder = Recorder()
    pipe = make_pipeline(ModalityTransformer({"audio": StandardScaler()}), tiny(cv=2))
    search = GridSearchCV(pipe, {"dependencyestimator__lr": [1e-3, 1e-2]}, cv=2).set_callbacks(recorder)
    search.fit(ModalityDict(X))
    assert recorder.told.count("fold ends") == 2 * (2 * 2 + 1)
    assert recorder.told.count("setup") == recorder.told.count("teardown") == 1


def test_progress_bar__shows_the_folds(X, capsys):
    pytest.importorskip("rich")
    tiny(cv=2).set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X)
    assert "DependencyEstimator - fit" in capsys.readouterr().out


def test_copies__of_what_was_told(X, tmp_path):
    recorder = Recorder()
    estimator = tiny(cv=None).set_callbacks(recorder).fit(X)
    assert clone(estimator)._skl_callbacks == [recorder]
    restored = pickle.loads(pickle.dumps(estimator))
    estimator.save(tmp_path / "estimator.mdm")
    for other in (restored, load(tmp_path / "estimator.mdm")):
        np.testing.assert_array_equal(other.score_samples(X), estimator.score_samples(X))
    assert not hasattr(estimator.set_callbacks(), "_skl_callbacks")
