"""What the estimators cost beside training: looks at NaN, memory beyond X, the latency of predictions, partial_fit.

Each figure is a ratio inside one run, so that it means the same on every machine. It is of a single network, or of a
committee with default parameters where that is said.

    python benchmarks/overhead.py [--out results/overhead.json] [--megabytes 150]
"""

from __future__ import annotations

import argparse
import copy
import functools
import multiprocessing
import time
import warnings
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from _common import ONE_NETWORK, environment, table, write_json
from sklearn.neural_network import MLPRegressor
from skorch.callbacks import Callback

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion

WIDTHS = {"audio": 50, "visual": 50, "text": 50}


def views(n, dtype, widths=WIDTHS):
    rng = np.random.default_rng(0)
    X = {name: rng.standard_normal((n, width), dtype=np.float32).astype(dtype) for name, width in widths.items()}
    return X, sum(x[:, 0] for x in X.values())


def peak_memory(call):
    """Return the most memory that a call takes, in bytes, beyond what is in use before it (Linux)."""

    def status(key):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
        return int(line.split()[1]) * 1024

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    call()
    return status("VmHWM") - before


def median_seconds(call, repeats):
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def looks_at_nan():
    """Calls of np.isnan a modality in one fit."""
    X, y = views(500, np.float64)
    X["audio"][::5] = np.nan
    model = MDMFusionRegressor(**ONE_NETWORK, max_epochs=2, random_state=0, device="cpu")
    with mock.patch.object(np, "isnan", wraps=np.isnan) as isnan:
        model.fit(X, y)
    on_modalities = [call for call in isnan.call_args_list if getattr(call.args[0], "ndim", 0) >= 2]
    return {"isnan a modality, fit": len(on_modalities) / len(X)}


def memory(megabytes):
    """Peak memory beyond X, in units of X (float32, one network), each measured in a process of its own."""
    found = {}
    for widths in (WIDTHS, {"all": sum(WIDTHS.values())}):
        for method in ("fit", "predict"):
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                label = f"{len(widths)} modalit{'y' if len(widths) == 1 else 'ies'}"
                found[f"memory / X, {method}, {label}"] = pool.apply(memory_of, (method, widths, megabytes))
    return found


def memory_of(method, widths, megabytes):
    warnings.simplefilter("ignore")
    X, y = views(int(megabytes * 1e6 / 4 / sum(widths.values())), np.float32, widths)
    model = MDMFusionRegressor(**ONE_NETWORK, max_epochs=1, random_state=0, device="cpu")
    model.fit({name: x[:2000] for name, x in X.items()}, y[:2000])  # libraries are loaded by now
    call = {"fit": lambda: model.fit(X, y), "predict": lambda: model.predict(X)}[method]
    return peak_memory(call) / sum(x.nbytes for x in X.values())


def latency():
    """Seconds of a prediction of one row, and of 500, in units of scikit-learn's MLP.

    A committee computes only what has weight: it is timed as it was fitted, and with equal weights.
    """
    found = {}
    for dtype in (np.float64, np.float32):
        X, y = views(500, dtype)
        joined = np.hstack(list(X.values()))
        mlp = MLPRegressor(hidden_layer_sizes=(64,), max_iter=2, random_state=0).fit(joined, y)
        parameters = {"max_epochs": 2, "lam": 0, "random_state": 0, "device": "cpu"}
        defaults = MDMFusionRegressor(**parameters).fit(X, y)
        even = copy.deepcopy(defaults)
        even._blend = replace(even._blend, weights=np.full(len(even.blend_weights_), 1 / len(even.blend_weights_)))
        models = {
            "one network": MDMFusionRegressor(**{**parameters, **ONE_NETWORK}).fit(X, y),
            "defaults": defaults,
            "defaults, equal weights": even,
        }
        for n, repeats in ((1, 500), (500, 100)):
            some = {name: x[:n] for name, x in X.items()}
            for label, model in models.items():
                calls = functools.partial(model.predict, some), functools.partial(mlp.predict, joined[:n])
                # In turns: what else the machine does slows down both.
                ours, theirs = np.median([[median_seconds(call, 1) for call in calls] for _ in range(repeats)], axis=0)
                found[f"{n} row{'s' * (n > 1)} / MLP, {np.dtype(dtype)}, {label}"] = ours / theirs
    return found


class EpochTimer(Callback):
    """Notes when epochs begin."""

    def __init__(self, clock):
        self.clock = clock

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.clock.append(time.perf_counter())


def partial_fit():
    """Seconds of a partial_fit of 256 rows, in units of an epoch of as many steps inside fit."""
    found = {}
    for label, widths, encoder in (("narrow", WIDTHS, 64), ("1024 wide", WIDTHS, 1024)):
        X, y = views(256, np.float32, widths)
        parameters = {**ONE_NETWORK, "random_state": 0, "device": "cpu", "early_stopping": False}
        parameters["encoder"] = MLPEncoder(hidden_dims=(encoder,), dropout=0.0)
        parameters["fusion"] = ConcatFusion(dropout=0.0)
        model = MDMFusionRegressor(**parameters).partial_fit(X, y)
        clock = []
        tick = EpochTimer(clock)
        whole = MDMFusionRegressor(**parameters, max_epochs=51, n_iter_no_change=51, callbacks=[tick])
        whole.fit(X, y)
        step = median_seconds(functools.partial(model.partial_fit, X, y), 50)
        found[f"partial_fit / epoch, {label}"] = step / float(np.median(np.diff(clock)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--megabytes", type=float, default=150)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {**looks_at_nan(), **latency(), **partial_fit(), **memory(args.megabytes)}
    table(["what", "ratio"], [[name, f"{value:.2f}"] for name, value in found.items()])
    if args.out:
        write_json(args.out, {"environment": environment(), "ratios": found})


if __name__ == "__main__":
    main()
