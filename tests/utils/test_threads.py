"""Threads: few where passes are small, and those of everybody else left alone."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import sklearn_mdm
from sklearn_mdm import MDMNet
from sklearn_mdm.utils._threads import SMALL_PASS, one_thread, threads_for

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_one_thread__inside_and_only_if_small():
    layer = torch.nn.Linear(99, 10)  # 1000 parameters
    few = SMALL_PASS // 1000
    with threads_for([layer], few):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    for modules, n_rows in (([layer], few + 1), ([layer, layer], few)):
        with threads_for(modules, n_rows):
            assert torch.get_num_threads() == 3
    with pytest.raises(RuntimeError), threads_for([layer], 1):
        raise RuntimeError
    assert torch.get_num_threads() == 3


def test_large_work__uses_the_threads_of_the_caller_inside_small_work():
    layer = torch.nn.Linear(99, 10)
    with one_thread():
        assert torch.get_num_threads() == 1
        with threads_for([layer], SMALL_PASS):
            assert torch.get_num_threads() == 3
            with threads_for([layer], 1):
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1


def test_a_thread_that_was_never_used__is_limited_too():
    def work(found):
        with one_thread():
            torch.randn(300, 300) @ torch.randn(300, 300)
            found.append(torch.get_num_threads())
        found.append(torch.get_num_threads())

    found = []
    thread = threading.Thread(target=work, args=(found,))
    thread.start()
    thread.join()
    assert found == [1, 3]


POOLS = """
import multiprocessing, os, sys
import numpy as np, torch
from sklearn_mdm import DependencyEstimator, MDMFusionRegressor
if sys.argv[1] == "set":
    torch.set_num_threads(2)
rng = np.random.default_rng(0)
X = {name: rng.normal(size=(2000, 30)).astype("f4") for name in ("audio", "text")}
def work(_):
    model = MDMFusionRegressor(n_estimators=1, lam=0.1, max_epochs=1, random_state=0, device="cpu")
    model.fit(X, X["text"][:, 0])
    DependencyEstimator(cv=None, max_updates=20, random_state=0).fit(X).score(X)
    return float(model.fit_dependency(X).predict(X).sum() + model.dependency_score(X))
if __name__ == "__main__":
    before = len(os.listdir("/proc/self/task"))
    here = work(0)
    assert len(os.listdir("/proc/self/task")) == before, "a pool of threads was opened"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(work, range(2)).get(100) == [here, here]
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
@pytest.mark.parametrize("how", ["default", "set"])
def test_a_small_fit__opens_no_pool_that_a_forked_child_would_wait_for(how):
    environment = {**os.environ, "PYTHONPATH": str(Path(sklearn_mdm.__file__).parents[1]), "PYTHONWARNINGS": "ignore"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.pop(name, None)
    subprocess.run([sys.executable, "-c", POOLS, how], env=environment, check=True, timeout=200)


@pytest.mark.filterwarnings("ignore::sklearn_mdm.exceptions.SeenSamplesWarning")
def test_fit_and_predict__leave_the_number_of_threads(estimator, X, y, monkeypatch):
    inside = []
    train_step = MDMNet.train_step

    def spy(self, batch, **fit_params):
        inside.append(torch.get_num_threads())
        return train_step(self, batch, **fit_params)

    monkeypatch.setattr(MDMNet, "train_step", spy)
    fitted = estimator(lam=1.0).fit(X, y)
    assert set(inside) == {1}
    assert torch.get_num_threads() == 3
    for method in (fitted.predict, fitted.transform, fitted.fit_dependency, fitted.dependency_score):
        method(X)
        assert torch.get_num_threads() == 3
    with pytest.raises(FloatingPointError):
        fitted.set_params(lr=1e300).fit(X, y)
    assert torch.get_num_threads() == 3


def test_another_thread__keeps_its_own(regressor, X, y):
    seen, done = [], threading.Event()

    def watch():
        torch.set_num_threads(3)  # for this thread
        while not done.is_set():
            seen.append(torch.get_num_threads())
            done.wait(1e-3)

    other = threading.Thread(target=watch)
    other.start()
    try:
        regressor(lam=1.0).fit(X, y).fit_dependency(X).predict(X)
    finally:
        done.set()
        other.join()
    assert set(seen) == {3} and len(seen) > 1
