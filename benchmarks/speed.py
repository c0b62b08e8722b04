"""Speed of training on a CPU, against a bare torch loop and against skorch's default way of loading data.

Three ways to do the same updates on three modalities of 74, 47 and 300 features (1284 samples, float32, one thread):

a. ``reference``: the hand-written loop of ``_reference_loop.py``;
b. ``sklearn-mdm``: ``MDMFusionRegressor.fit``. Compared is the time inside ``net.partial_fit``, that is all epochs with
   batches, history and callbacks. The whole ``fit`` is given too: it adds validation of X and y, standardisation,
   construction and, at ``lam > 0``, the reporting critic, which the reference does not have;
c. ``DataLoader``: the same net, critic and train step on skorch's own ``Dataset``; torch's ``DataLoader`` makes model
   batches sample by sample, and critic batches are fetched and collated likewise. Timed is ``net.partial_fit``.

Repetitions are interleaved (a b c a b c ...) so that a busy machine slows all alike; medians are reported. The overhead
share is ``(b - a) / (c - a)``: how much of what skorch adds to the loop is left.

    python benchmarks/speed.py
    python benchmarks/speed.py --only kl --repeats 3
    python benchmarks/speed.py --only "kl, unroll 1" --profile
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import cProfile
import pstats
import statistics
import time
from itertools import product
from unittest import mock

import _reference_loop
import numpy as np
import torch
from _common import ONE_NETWORK, environment, table, write_json
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, default_collate

from sklearn_mdm import MDMFusionRegressor, MDMNet
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion
from sklearn_mdm.net._data import Batch

DIMS = {"audio": 74, "visual": 47, "text": 300}
N_SAMPLES = 1284
BATCH_SIZES = (32, 128)
LAM = 0.1
TERMS = [("lam 0", 0.0, 1, "kl")] + [
    (f"{measure}, unroll {unroll}", LAM, unroll, measure)
    for measure, unroll in product(("kl", "f", "wasserstein"), (1, 5))
]
clock = time.perf_counter
TARGETS = {"ratio at lam=0": 1.2, "ratio at lam>0": 1.1, "overhead share": 0.35}


def make_data(seed=0):
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(N_SAMPLES, dim)).astype(np.float32) for name, dim in DIMS.items()}
    y = sum(x[:, 0] for x in X.values()) + rng.normal(size=N_SAMPLES)
    return X, y.astype(np.float32)


def run_reference(X, y, config, epochs):
    """Seconds of the bare loop, construction of model and optimizers included."""
    xs, target = [torch.from_numpy(x) for x in X.values()], torch.from_numpy(y)[:, None]
    start = clock()
    _reference_loop.train(xs, target, epochs=epochs, **config)
    return clock() - start


def make_estimator(config, epochs):
    """One network, as the bare loop has it, which trains for all epochs."""
    return MDMFusionRegressor(
        **ONE_NETWORK,
        encoder=MLPEncoder(dropout=0.0),
        fusion=ConcatFusion(dropout=0.0),
        **config,
        max_epochs=epochs,
        early_stopping=False,
        tol=0,
        n_iter_no_change=10**9,
        device="cpu",
        random_state=0,
    )


def run_estimator(X, y, config, epochs):
    """Seconds inside net.partial_fit, and of the whole fit."""
    loop = []
    partial_fit = MDMNet.partial_fit

    def timed(self, *args, **kwargs):
        start = clock()
        partial_fit(self, *args, **kwargs)
        loop.append(clock() - start)
        return self

    estimator = make_estimator(config, epochs)
    with mock.patch.object(MDMNet, "partial_fit", timed):
        start = clock()
        estimator.fit(X, y)
        whole = clock() - start
    if estimator.n_iter_ != epochs:
        raise RuntimeError(f"trained for {estimator.n_iter_} epochs instead of {epochs}")
    return loop[0], whole


class SampleDataset(Dataset):
    """skorch's dataset, which hands out one sample at a time; offers what MDMNet needs for critic batches."""

    complete = None

    def batch(self, rows):
        return collate([self[row] for row in rows.tolist()])[0]


def collate(samples):
    """torch's default collation, in the form that MDMNet's train step takes."""
    X, y = default_collate(samples)
    return Batch(X, None, None, None), y


def run_data_loader(X, y, config, epochs):
    """Seconds inside net.partial_fit when batches are collated from samples."""
    torch.manual_seed(0)
    net = MDMNet(
        ConcatFusion(dropout=0.0).build(
            {name: (dim,) for name, dim in DIMS.items()}, n_outputs=1, encoder=MLPEncoder(dropout=0.0)
        ),
        torch.nn.MSELoss(reduction="none"),
        **config,
        max_epochs=epochs,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=1e-2,
        optimizer__fused=True,
        optimizer_critic__lr=1e-3,
        optimizer_critic__fused=True,
        critic__hidden_dims=(64, 64),
        dataset=SampleDataset,
        iterator_train=DataLoader,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=collate,
        callbacks__print_log=None,
    ).initialize()
    data = SampleDataset(X, y[:, None])
    start = clock()
    net.partial_fit(data)
    return clock() - start


def measure_config(X, y, config, epochs, repeats):
    """Median seconds of each contender, after one warm-up of each."""
    seconds = {"reference": [], "loop": [], "fit": [], "data_loader": []}
    for repeat in range(repeats + 1):
        a = run_reference(X, y, config, epochs)
        b, whole = run_estimator(X, y, config, epochs)
        c = run_data_loader(X, y, config, epochs)
        if repeat:
            for name, value in zip(seconds, (a, b, whole, c), strict=True):
                seconds[name].append(value)
    return seconds


def summarize(name, config, seconds, epochs):
    median = {key: statistics.median(values) for key, values in seconds.items()}
    a, b, c = median["reference"], median["loop"], median["data_loader"]
    steps = epochs * -(-N_SAMPLES // config["batch_size"])
    return {
        "name": name,
        **config,
        "epochs": epochs,
        "steps": steps,
        "seconds": seconds,
        "ms_per_epoch": {key: 1e3 * value / epochs for key, value in median.items()},
        "us_per_step": {key: 1e6 * value / steps for key, value in median.items()},
        "ratio": b / a,
        "ratio_quartiles": np.percentile(np.divide(seconds["loop"], seconds["reference"]), [25, 75]).tolist(),
        "ratio_fit": median["fit"] / a,
        "overhead_share": (b - a) / (c - a),
    }


def print_results(results):
    header = ["configuration", "batch", "a us/step", "b us/step", "c us/step", "a ms/ep", "b ms/ep", "c ms/ep"]
    header += ["fit ms/ep", "b/a", "quartiles", "target", "share", "fit/a"]
    rows = []
    for r in results:
        step, epoch = r["us_per_step"], r["ms_per_epoch"]
        target = TARGETS["ratio at lam>0" if r["lam"] else "ratio at lam=0"]
        low, high = r["ratio_quartiles"]
        rows.append(
            [r["name"], r["batch_size"]]
            + [f"{step[key]:.0f}" for key in ("reference", "loop", "data_loader")]
            + [f"{epoch[key]:.1f}" for key in ("reference", "loop", "data_loader", "fit")]
            + [f"{r['ratio']:.3f}", f"{low:.2f}-{high:.2f}", f"{target}", f"{r['overhead_share']:.3f}"]
            + [f"{r['ratio_fit']:.2f}"]
        )
    print("\na: bare torch loop, b: sklearn-mdm (training loop), c: skorch with DataLoader, fit: whole fit of b")
    table(header, rows)
    print(f"share = (b - a) / (c - a), target {TARGETS['overhead share']}")


def profile(X, y, name, config, epochs, top):
    """Print the functions in which the training of (b) spends its time."""
    steps = epochs * -(-N_SAMPLES // config["batch_size"])
    run_estimator(X, y, config, 1)
    profiler = cProfile.Profile()
    partial_fit = MDMNet.partial_fit
    with mock.patch.object(MDMNet, "partial_fit", lambda *args, **kw: profiler.runcall(partial_fit, *args, **kw)):
        make_estimator(config, epochs).fit(X, y)
    functions = sorted(pstats.Stats(profiler).stats.items(), key=lambda item: -item[1][2])[:top]
    print(f"\n{name}, batch {config['batch_size']}: time inside net.partial_fit, under a profiler (which slows Python)")
    rows = [
        [f"{1e6 * own / steps:.1f}", f"{1e6 * cumulative / steps:.1f}", f"{calls / steps:.1f}", _label(function)]
        for function, (_, calls, own, cumulative, _) in functions
    ]
    table(["own us/step", "with callees", "calls/step", "function"], rows)


def _label(function):
    file, line, name = function
    return name if file == "~" else f"{'/'.join(file.split(os.sep)[-2:])}:{line} {name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", "--output", default="results/speed.json", help="JSON file to write (%(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="repetitions after the warm-up (%(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each repetition (%(default)s)")
    parser.add_argument("--only", default="", help='configurations whose name contains this, such as "lam 0" or "kl"')
    parser.add_argument("--batch-size", type=int, nargs="+", default=BATCH_SIZES, help="batch sizes (32 128)")
    parser.add_argument("--profile", action="store_true", help="show where the time of (b) goes instead of comparing")
    parser.add_argument("--top", type=int, default=45, help="functions to show with --profile (%(default)s)")
    parser.add_argument("--cpu-time", action="store_true", help="processor instead of wall time, on a busy machine")
    args = parser.parse_args()

    global clock
    clock = time.process_time if args.cpu_time else time.perf_counter
    torch.set_num_threads(1)
    X, y = make_data()
    results = []
    for (name, lam, unroll, measure), batch_size in product(TERMS, args.batch_size):
        if args.only not in name:
            continue
        config = {"lam": lam, "unroll": unroll, "measure": measure, "batch_size": batch_size}
        if args.profile:
            profile(X, y, name, config, args.epochs, args.top)
            continue
        seconds = measure_config(X, y, config, args.epochs, args.repeats)
        results.append(summarize(name, config, seconds, args.epochs))
        r = results[-1]
        print(f"{name}, batch {batch_size}: b/a {r['ratio']:.3f}, overhead share {r['overhead_share']:.3f}", flush=True)
    if results:
        print_results(results)
        content = {"environment": environment(), "clock": clock.__name__, "targets": TARGETS}
        write_json(args.out, {**content, "results": results})


if __name__ == "__main__":
    main()
