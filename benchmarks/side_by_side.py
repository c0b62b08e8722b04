"""Whether fits keep their time on a busy machine and in a search, what the reporting critic costs, and equal bits.

Times are ratios inside one run, so that they mean the same on every machine. All but the first section want a machine
with nothing else to do.

    python benchmarks/side_by_side.py [--out results/side_by_side.json] [--only threads search report bits]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import ONE_NETWORK, environment, table, write_json
from joblib import Parallel, delayed
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor, ModalityDict
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion

BUSY = 2
REPEATS = 5


def views(n, width=20):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 1), dtype=np.float32)
    X = {name: z + rng.standard_normal((n, width), dtype=np.float32) for name in ("audio", "visual", "text")}
    return X, z[:, 0] + 0.1 * rng.standard_normal(n, dtype=np.float32)


class Clock(Callback):
    """Notes when the epochs begin and end."""

    def __init__(self):
        self.times = []

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **kwargs):
        self.times.append(time.perf_counter())

    def on_train_end(self, net, **kwargs):
        self.times.append(time.perf_counter())


def regressor(**parameters):
    parts = {"encoder": MLPEncoder(dropout=0.0), "fusion": ConcatFusion(dropout=0.0)}
    return MDMFusionRegressor(lam=0.1, random_state=0, device="cpu", **{**ONE_NETWORK, **parts, **parameters})


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# --- beside busy processes -----------------------------------------------------------------------------------------


def fit_and_estimate():
    X, y = views(1000)
    regressor(max_epochs=10, n_iter_no_change=10).fit(X, y)
    DependencyEstimator(max_updates=200, random_state=0).fit(X)


def child():
    warnings.simplefilter("ignore")
    X, y = views(200)
    regressor(max_epochs=1).fit(X, y)  # libraries are loaded by now
    print(seconds(fit_and_estimate))


def threads():
    """Median seconds of a fit and a DependencyEstimator beside busy processes, in units of those with one thread."""
    command = [sys.executable, __file__, "--child"]
    free = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    environments = {"default": free, "one": {**free, "OMP_NUM_THREADS": "1"}}
    taken = {name: [] for name in environments}
    with contextlib.ExitStack() as stack:
        for _ in range(BUSY):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        for _ in range(REPEATS):
            for name, env in environments.items():
                found = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=600)
                taken[name].append(float(found.stdout))
    return {f"default threads / one, beside {BUSY} busy": np.median(taken["default"]) / np.median(taken["one"])}


# --- in a search ---------------------------------------------------------------------------------------------------


def search():
    """Seconds of a search by two warm workers, in units of a serial one."""
    X, y = views(1000)
    X = ModalityDict(X)

    def run(n_jobs):
        grid = {"lam": [0.0, 0.1], "lr": [1e-3, 3e-3]}
        return GridSearchCV(regressor(max_epochs=10), grid, cv=3, n_jobs=n_jobs).fit(X, y)

    run(2)  # warms the workers
    pairs = [(seconds(lambda: run(2)), seconds(lambda: run(1))) for _ in range(3)]
    return {"search by two workers / serial": float(np.median([two / one for two, one in pairs]))}


# --- the reporting critic ------------------------------------------------------------------------------------------


def report(sizes=((1000, 20), (100_000, 2), (400_000, 1))):
    """Seconds of a whole fit, in units of its epochs."""
    found = {}
    for n, epochs in sizes:
        X, y = views(n)
        ratios = []
        for _ in range(REPEATS if n < 10_000 else 1):
            clock = Clock()
            model = regressor(max_epochs=epochs, n_iter_no_change=epochs, callbacks=[clock])
            whole = seconds(lambda model=model, X=X, y=y: model.fit(X, y))
            ratios.append(whole / (clock.times[-1] - clock.times[0]))
        found[f"fit / its {epochs} epochs, n={n}"] = float(np.median(ratios))
    return found


# --- the same bits -------------------------------------------------------------------------------------------------


def digest(_=None):
    warnings.simplefilter("ignore")
    X, y = views(300)
    model = regressor(max_epochs=3, encoder=MLPEncoder((16,), 8, dropout=0.3), modality_dropout=0.2).fit(X, y)
    dependency = DependencyEstimator(max_updates=50, random_state=0).fit(X)
    parts = (model.predict(X), model.pointwise_dependency(X), dependency.pointwise_)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def bits():
    """1 where fits side by side give the bits of a serial one and leave torch's generator alone."""
    serial, state = digest(), torch.get_rng_state()
    runs = {"threads": lambda: Parallel(4, backend="threading")(delayed(digest)(i) for i in range(4))}
    for name in ("fork", "spawn"):
        runs[name] = lambda name=name: pool(name)
    runs["loky"] = lambda: Parallel(2)(delayed(digest)(i) for i in range(4))
    if importlib.util.find_spec("distributed"):
        runs["dask"] = dask
    found = {}
    for name, run in runs.items():
        same = set(run()) == {serial} and torch.equal(torch.get_rng_state(), state)
        found[f"equal bits, {name}"] = float(same)
    return found


def pool(name):
    with multiprocessing.get_context(name).Pool(2) as workers:
        return workers.map_async(digest, range(4)).get(600)


def dask():
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster, Client(cluster) as client:
        client.upload_file(str(Path(__file__).with_name("_common.py")))
        client.upload_file(str(Path(__file__)))
        return client.gather(client.map(digest, range(8), pure=False))


SECTIONS = {"threads": threads, "search": search, "report": report, "bits": bits}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child()
        return
    warnings.simplefilter("ignore")
    fit_and_estimate()  # libraries are loaded by now
    found = {}
    for name in args.only:
        found |= SECTIONS[name]()
    table(["what", "value"], [[name, f"{value:.2f}"] for name, value in found.items()])
    if args.out:
        write_json(args.out, {"environment": environment(), "values": found})


if __name__ == "__main__":
    main()
