"""Processes that are forked off after large work: OpenMP's pool of threads does not survive that."""

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import sklearn_mdm
from sklearn_mdm.utils import _threads
from sklearn_mdm.utils._threads import LockOfProcess, one_thread

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# What a server or a search does: work that opens the pool, then the same work in forked children.
HEAD = """
import os, sys
import multiprocessing, signal
import numpy as np, torch
from concurrent.futures import ProcessPoolExecutor
from joblib import Parallel, delayed, parallel_config
from sklearn_mdm import DependencyEstimator, MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
signal.alarm(100)  # a hang ends the process, and its children with the group
rng = np.random.default_rng(0)
X = {name: rng.normal(size=(1000, 100)).astype("f4") for name in ("audio", "text")}
y = X["audio"][:, 0] + X["text"][:, 0]
wide = MLPEncoder(hidden_dims=(2048,), out_dim=8)
model = MDMFusionRegressor(
    encoder=wide, n_estimators=1, max_epochs=1, batch_size=512, linear_member=False, random_state=0, device="cpu"
)
before = len(os.listdir("/proc/self/task"))
model.fit(X, y)
assert len(os.listdir("/proc/self/task")) > before, "the fit was to open a pool"
expected = model.predict(X)
def predict(_=0):
    return model.predict(X)
def everything(_=0):
    model.fit_dependency(X).pointwise_dependency(X)
    model.predict({"audio": X["audio"]})
    DependencyEstimator(cv=None, max_updates=20, random_state=0).fit(X).score(X)
    model.fit(X, y)
    return model.predict(X)
"""
WAYS = {
    "fork": """
pid = os.fork()
if pid == 0:
    np.testing.assert_allclose(everything(), expected, rtol=1e-4, atol=1e-5)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
    "gunicorn --preload": """
pids = []
for _ in range(2):
    pids.append(os.fork())
    if pids[-1] == 0:
        np.testing.assert_allclose(predict(), expected, rtol=1e-4, atol=1e-5)
        os._exit(0)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
""",
    "ProcessPoolExecutor": """
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    for found in pool.map(predict, range(2)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
""",
    "spawn and forkserver": """
for how in ("spawn", "forkserver"):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(how)) as pool:
        np.testing.assert_allclose(pool.submit(model.predict, X).result(), expected, rtol=1e-4, atol=1e-5)
""",
    "joblib's multiprocessing": """
with parallel_config("multiprocessing", n_jobs=2):
    for found in Parallel()(delayed(predict)(i) for i in range(2)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
""",
    "joblib's loky": """
with parallel_config("loky", n_jobs=2):
    for found in Parallel()(delayed(model.predict)(X) for i in range(2)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
""",
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists() or (os.cpu_count() or 1) < 2, reason="counts threads on Linux")
@pytest.mark.parametrize("way", WAYS)
def test_a_child_forked_after_large_work__does_not_wait_for_the_pool(way):
    environment = {**os.environ, "PYTHONPATH": str(Path(sklearn_mdm.__file__).parents[1]), "PYTHONWARNINGS": "ignore"}
    environment |= {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + WAYS[way]], env=environment, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_forked_child__finds_locks_open_and_numbers_of_threads_put_back():
    entered, leave = threading.Event(), threading.Event()
    lock = LockOfProcess()

    def hold():
        with one_thread(), lock:
            entered.set()
            leave.wait()

    blas = [library.get_num_threads() for library in _threads._libraries("blas")]
    other = threading.Thread(target=hold)
    other.start()
    entered.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork, from Python 3.12 on
        pid = os.fork()
    if pid == 0:  # no test runs on in the child, whatever happens
        opened = lock._lock.acquire(timeout=5)
        limited = _threads._blas.n_limited
        found = [library.get_num_threads() for library in _threads._libraries("blas")]
        os._exit(0 if opened and _threads._process.forked and (limited, found) == (0, blas) else 1)
    leave.set()
    other.join()
    assert os.waitpid(pid, 0)[1] == 0 and not _threads._process.forked
