"""Searches on joblib's backends: scores of a serial run, and X sent once, or as the names of files."""

import contextlib
import pickle

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from sklearn_mdm import MDMFusionRegressor, ModalityDict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the clusters, when they start and end
]
N = 4000
WORKERS = 2
TASKS = 6


@contextlib.contextmanager
def loky():
    with parallel_config("loky", n_jobs=WORKERS):
        yield


@contextlib.contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=2, dashboard_address=None)
    with cluster, distributed.Client(cluster), parallel_config("dask"):
        yield


@contextlib.contextmanager
def ray():
    ray = pytest.importorskip("ray")
    register_ray = pytest.importorskip("ray.util.joblib").register_ray
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with parallel_config("ray", n_jobs=WORKERS):
            yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(N, 1))
    return {name: latent + rng.normal(size=(N, 50)) for name in ("audio", "text")}, latent[:, 0]


def scores(X, y):
    model = MDMFusionRegressor(
        n_estimators=1, linear_member=False, kernel_member=False, early_stopping=False, max_epochs=1, random_state=0
    )
    search = GridSearchCV(model, {"lam": [0.0, 0.1, 0.3]}, cv=2, refit=False, error_score="raise")
    return search.fit(X, y).cv_results_["mean_test_score"]


@pytest.fixture(scope="module")
def serial(data):
    return scores(ModalityDict(data[0]), data[1])


@pytest.fixture
def sent(monkeypatch):
    """Bytes of each ModalityDict that this process pickles."""
    sizes, reduce = [], ModalityDict.__reduce__

    def counting(self):
        how = reduce(self)
        sizes.append(len(pickle.dumps(how)))
        return how

    monkeypatch.setattr(ModalityDict, "__reduce__", counting)
    return sizes


@pytest.mark.parametrize("backend", [loky, dask, ray])
def test_search__on_a_cluster__has_the_scores_of_a_serial_one(backend, data, serial, sent, tmp_path):
    arrays, y = data
    n_bytes = sum(values.nbytes for values in arrays.values())
    for name, values in arrays.items():
        np.save(tmp_path / f"{name}.npy", values)
    X = ModalityDict(arrays)
    files = ModalityDict({name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays})
    with backend():
        np.testing.assert_array_equal(scores(X, y), serial)
        if backend is dask:  # loky puts arrays in a temporary file; ray sends them with each task
            assert len(sent) <= WORKERS and max(sent) < n_bytes + 1000
        sent.clear()
        np.testing.assert_array_equal(scores(files, y), serial)
    assert 0 < sum(sent) < TASKS * 1000
