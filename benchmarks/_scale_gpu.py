"""Sections of ``scale.py`` on a GPU: steps beside a bare loop, and whether ``device="auto"`` takes what is faster."""

from __future__ import annotations

import time
from typing import ClassVar
from unittest import mock

import _reference_loop as reference
import numpy as np
import torch
from _common import ONE_NETWORK
from skorch.callbacks import Callback

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.net import MDMNet
from sklearn_mdm.net._step_graphs import StepGraphs

BATCH, EPOCHS, REPEATS = 64, 4, 3
BARE = {"encoder": MLPEncoder(dropout=0.0), "fusion": ConcatFusion(dropout=0.0), "scaling": "standard"}
WAYS = {
    "one network": ONE_NETWORK | BARE,
    "eight members": {"n_estimators": 8, "linear_member": False, "kernel_member": False} | BARE,
    "eight members, by default": {"n_estimators": 8},
}
# n, members, batch, fusion, lam, settings: where one device is much faster, and where they are near each other.
GRID = [
    *((n, members, 64, "concat", lam, {}) for n in (100, 300, 1000, 5000) for members in (1, 8) for lam in (0.0, 0.03)),
    *((n, members, 512, "concat", 0.03, {}) for n in (1000, 5000) for members in (1, 8)),
    *((n, 1, 64, "memory", 0.03, {}) for n in (100, 1000)),
    *((1000, members, batch, "tensor", 0.03, {}) for members in (1, 8) for batch in (64, 512)),
    (1000, 1, 64, "misa", 0.03, {}),
    *((1000, 8, 64, "concat", lam, {"missing": True}) for lam in (0.0, 0.03)),
    *((1000, 1, batch, "concat", 0.03, {"missing": True}) for batch in (64, 512)),
    (1000, 8, 64, "concat", 0.03, {"measure": "wasserstein"}),
]


class Clock(Callback):
    """Seconds of each epoch, once the GPU has done what it was told."""

    seconds: ClassVar[list[float]] = []  # of the last training: estimators copy callbacks

    def on_epoch_begin(self, net, **kwargs):
        torch.cuda.synchronize()
        self.start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        torch.cuda.synchronize()
        Clock.seconds.append(time.perf_counter() - self.start)


def data(n, steps=None, missing=False):
    rng = np.random.default_rng(0)
    shape = (n, 50) if steps is None else (n, steps, 20)
    X = {name: rng.standard_normal(shape, dtype=np.float32) for name in ("audio", "visual", "text")}
    first = {name: x.reshape(n, -1)[:, 0] for name, x in X.items()}
    if missing:
        X["text"][::5] = np.nan
    return X, first["audio"] + first["visual"] * first["text"]


def bare_loop(X, y, lam):
    """Seconds of an epoch of the frozen loop with all of it on the GPU; rows are drawn on the CPU, as it does."""
    xs, target = [torch.from_numpy(x).cuda() for x in X.values()], torch.from_numpy(y).cuda()[:, None]
    select, repair, model, critic, zeros = (
        torch.Tensor.index_select,
        reference.repair,
        reference.Model,
        reference.Critic,
        torch.zeros,
    )
    config = {"lam": lam, "unroll": 1, "measure": "kl", "batch_size": BATCH, "epochs": 1}
    with (
        mock.patch.object(torch.Tensor, "index_select", lambda x, axis, rows: select(x, axis, rows.to(x.device))),
        mock.patch.object(reference, "repair", lambda *args: tuple(part.cuda() for part in repair(*args))),
        mock.patch.object(reference, "Model", lambda *args, **kwargs: model(*args, **kwargs).cuda()),
        mock.patch.object(reference, "Critic", lambda *args, **kwargs: critic(*args, **kwargs).cuda()),
        mock.patch.object(torch, "zeros", lambda *args, **kwargs: zeros(*args, **{**kwargs, "device": "cuda"})),
    ):
        seconds = []
        for _ in range(REPEATS):
            torch.cuda.synchronize()
            start = time.perf_counter()
            reference.train(xs, target, **config)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return min(seconds)


def epoch(X, y, device="cuda", **settings):
    """Seconds of the fastest epoch after the first, in which graphs are made."""
    Clock.seconds = []
    options = {"batch_size": BATCH, "max_epochs": EPOCHS, "early_stopping": False, "random_state": 0, "device": device}
    MDMFusionRegressor(**options, callbacks=[Clock()], **settings).fit(X, y)
    return min(Clock.seconds[1:])


def steps(n):
    """Steps of the package beside those of a bare loop without the term, by graphs and kernel by kernel."""
    X, y = data(n)
    n_steps = -(-n // BATCH)
    bare, with_term = bare_loop(X, y, 0.0), bare_loop(X, y, 0.1)
    rows = [
        {"lam": lam, "what": "bare loop", "us a step": 1e6 * value / n_steps, "/ bare, lam 0": value / bare}
        for lam, value in ((0.0, bare), (0.1, with_term))
    ]
    for lam in (0.0, 0.1):
        for name, settings in WAYS.items():
            by_graphs = epoch(X, y, lam=lam, **settings)
            with mock.patch.object(StepGraphs, "same_work", lambda *args: False):
                eager = epoch(X, y, lam=lam, **settings)
            row = {"lam": lam, "what": name, "us a step": 1e6 * by_graphs / n_steps, "/ bare, lam 0": by_graphs / bare}
            rows.append({**row, "kernel by kernel / bare": eager / bare})
    return rows


def fit(X, y, device, **settings):
    """Seconds of the whole fit, and of the epochs in it, and the device that it took."""
    epochs, inner = [], MDMNet.partial_fit

    def timed(self, *args, **kwargs):
        start = time.perf_counter()
        inner(self, *args, **kwargs)
        epochs.append(time.perf_counter() - start)
        return self

    with mock.patch.object(MDMNet, "partial_fit", timed):
        start = time.perf_counter()
        model = MDMFusionRegressor(device=device, random_state=0, **settings).fit(X, y)
        whole = time.perf_counter() - start
    return whole, epochs[0], next(model.net_.module_.parameters()).device.type


def devices():
    """Fits on either device, and which of them ``device="auto"`` takes."""
    rows = []
    fit(*data(300), "cuda", max_epochs=1)
    for n, members, batch, fusion, lam, settings in GRID:
        settings = dict(settings)
        X, y = data(n, 20 if fusion == "memory" else None, settings.pop("missing", False))
        settings |= {"n_estimators": members, "batch_size": batch, "fusion": fusion, "lam": lam, "max_epochs": 10}
        *gpu, _ = fit(X, y, "cuda", **settings)
        *cpu, _ = fit(X, y, "cpu", **settings)
        chosen = fit(X, y, "auto", **{**settings, "max_epochs": 1})[2]
        taken = gpu if chosen == "cuda" else cpu
        rows.append(
            {
                "n": n,
                "members": members,
                "batch": batch,
                "system": fusion
                + (" wasserstein" if "measure" in settings else "")
                + (" missing" if np.isnan(X["text"]).any() else ""),
                "lam": lam,
                "GPU / CPU, epochs": gpu[1] / cpu[1],
                "GPU / CPU, fit": gpu[0] / cpu[0],
                "auto": chosen,
                "auto / best, fit": taken[0] / min(gpu[0], cpu[0]),
            }
        )
        print(rows[-1], flush=True)
    return rows
