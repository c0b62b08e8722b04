"""Speed and memory of the fusion systems at the size of CMU-MOSI, beside mmsa.

Steps of training are timed on three modalities of 74, 47 and 300 features and 50 steps (float32, one thread): with
``lam=0``, with the dependency term at ``unroll=1``, and for the systems that PyPI's ``mmsa`` (2.2.1) has too, its class
of the same widths in its plain loop. The three take turns by the epoch, so that a busy machine slows all alike; medians
are reported. What is timed of ours is the pass over the training batches in ``MDMNet``, of mmsa the loop of its
trainers: a ``DataLoader`` that collates samples, forward, backward, Adam, ``loss.item()``. Peak memory is the largest
resident set of a fresh process that trains for one epoch, beyond that of the libraries; it includes the data, of which
an estimator makes a standardised copy. ``--device cuda`` takes the fourth epoch of a fit of ours, after the
graphs of its steps have been made.

``--lengths mosi`` draws the lengths of sequences as in CMU-MOSI (12 words on average) instead of 50 for all: steps
beyond are NaN for ours, and zeros for mmsa, which has no other way to say so.

mmsa is optional; install it without its dependencies, which its models do not need:

    pip install --no-deps --target DIR mmsa==2.2.1
    PYTHONPATH=DIR python benchmarks/fusion.py
    python benchmarks/fusion.py --only memory --batch-size 32
    PYTHONPATH=DIR python benchmarks/fusion.py --device cuda --lengths full --no-memory

How good they are is for ``paper.py``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
import types
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _common import ONE_NETWORK, environment, table, write_json
from torch.utils.data import DataLoader, Dataset

from sklearn_mdm import MDMFusionRegressor, MDMNet
from sklearn_mdm.encoders import LSTMEncoder, MLPEncoder
from sklearn_mdm.fusion import (
    ConcatFusion,
    EarlyFusionLSTM,
    LateFusion,
    LowRankFusion,
    MemoryFusion,
    MISAFusion,
    MultiAttentionFusion,
    TensorFusion,
)

N_SAMPLES, N_STEPS = 1284, 50
DIMS = {"audio": 74, "text": 300, "visual": 47}
BERT_DIM, VOCABULARY = 768, 1000
BATCH_SIZES = (32, 128)
LAM = 0.1
# Looked up once: stand-ins for its packages, and for transformers, are put in their place later.
MMSA = importlib.util.find_spec("MMSA")
TRANSFORMERS = importlib.util.find_spec("transformers")
TARGETS = {"mmsa / ours": 1.0, "mmsa / ours, memory": 2.0, "with the term / without": 1.6}
clock, device = time.perf_counter, "cpu"


# -- systems ---------------------------------------------------------------------------------------------------------


@dataclass
class System:
    """A fusion system with the widths of mmsa's configuration for MOSI, and mmsa's class for it.

    ``vectors`` are the modalities that are pooled over time before the model sees them, as mmsa does for this model.
    """

    fusion: Any
    encoder: Any = "auto"
    vectors: tuple[str, ...] = ()
    mmsa: str | None = None
    mmsa_args: dict[str, Any] = field(default_factory=dict)


def _layers(shapes, drop):
    return {"shapes": shapes, "drop": drop}


SYSTEMS = {
    "concat": System(ConcatFusion(dropout=0.0)),
    "late": System(LateFusion(dropout=0.0)),
    "ef_lstm": System(
        EarlyFusionLSTM(hidden_dim=128, n_layers=4, dropout=0.5),
        mmsa="EF_LSTM",
        mmsa_args={"seq_lens": N_STEPS, "hidden_dims": 128, "num_layers": 4, "dropout": 0.5},
    ),
    "tensor": System(
        TensorFusion(hidden_dims=(64, 64), dropout=0.5),
        encoder={
            "text": LSTMEncoder(hidden_dim=128, out_dim=32),
            "audio": MLPEncoder((32, 32), 32, dropout=0.3),
            "visual": MLPEncoder((128, 128), 128, dropout=0.3),
        },
        vectors=("audio", "visual"),
        mmsa="TFN",
        mmsa_args={
            "hidden_dims": (128, 32, 128),
            "text_out": 32,
            "post_fusion_dim": 64,
            "dropouts": (0.3, 0.3, 0.3, 0.5),
        },
    ),
    "low_rank": System(
        LowRankFusion(rank=3),
        encoder={
            "text": LSTMEncoder(hidden_dim=128, out_dim=64),
            "audio": MLPEncoder((16, 16), 16, dropout=0.3),
            "visual": MLPEncoder((128, 128), 128, dropout=0.3),
        },
        vectors=("audio", "visual"),
        mmsa="LMF",
        mmsa_args={"hidden_dims": (128, 16, 128), "dropouts": (0.3, 0.3, 0.3, 0.3), "rank": 3},
    ),
    "memory": System(
        # Widths of audio, text, visual.
        MemoryFusion((32, 256, 256), 400, 32, 64, 256, 32, 128, dropout=0.3),
        mmsa="MFN",
        mmsa_args={
            "hidden_dims": (256, 32, 256),
            "memsize": 400,
            "windowsize": 2,
            "NN1Config": _layers(32, 0.2),
            "NN2Config": _layers(64, 0.0),
            "gamma1Config": _layers(256, 0.7),
            "gamma2Config": _layers(32, 0.5),
            "outConfig": _layers(128, 0.0),
        },
    ),
    "multi_attention": System(MultiAttentionFusion()),
    "misa": System(
        MISAFusion(hidden_dim=128, feedforward_dim=2048, dropout=0.2),
        vectors=("text",),
        mmsa="MISA",
        mmsa_args={
            "hidden_size": 128,
            "dropout": 0.2,
            "rnncell": "lstm",
            "use_bert": True,
            "use_finetune": False,
            "transformers": "bert",
            "pretrained": "",
            "use_cmd_sim": True,
            "sim_weight": 1.0,
            "diff_weight": 0.3,
            "recon_weight": 1.0,
            "dataset_name": "mosi",
        },
    ),
}


# -- data ------------------------------------------------------------------------------------------------------------


def make_data(system, lengths, n, seed=0):
    """Modalities with NaN beyond the length of a sequence, a target, and the lengths."""
    rng = np.random.default_rng(seed)
    n_steps = np.full(n, N_STEPS)
    if lengths == "mosi":
        # Median 10, mean 12 words, as in the transcripts of the training part.
        n_steps = np.clip(rng.lognormal(2.3, 0.6, size=n).round().astype(int), 1, N_STEPS)
    X = {name: rng.standard_normal((n, N_STEPS, dim), dtype=np.float32) for name, dim in DIMS.items()}
    y = sum(x[:, 0, 0] for x in X.values()) + rng.normal(size=n)
    for x in X.values():
        x[np.arange(N_STEPS) >= n_steps[:, None]] = np.nan
    for name in system.vectors:
        X[name] = np.nanmean(X[name], axis=1)
    if system.mmsa == "MISA":
        # An average of word vectors, such as BERT's.
        X["text"] = rng.standard_normal((n, BERT_DIM), dtype=np.float32)
    return X, y.astype(np.float32), n_steps


def now():
    """Seconds, once the GPU has done what it was told."""
    if device != "cpu":
        torch.cuda.synchronize()
    return clock()


# -- ours ------------------------------------------------------------------------------------------------------------


def ours(system, X, y, batch_size, lam):
    """Return a function that trains for one epoch and returns its seconds, and the peak memory up to its end."""
    model = MDMFusionRegressor(
        **ONE_NETWORK,
        fusion=system.fusion,
        encoder=system.encoder,
        lam=lam,
        unroll=1,
        loss="absolute_error",
        batch_size=batch_size,
        device=device,
        random_state=0,
    )
    figures = []
    run_single_epoch = MDMNet.run_single_epoch

    def timed(self, iterator, training, **kwargs):
        start = now()
        run_single_epoch(self, iterator, training, **kwargs)
        if training:
            figures.append((now() - start, peak_so_far()))

    def epoch():
        with mock.patch.object(MDMNet, "run_single_epoch", timed):
            if device == "cpu":
                # One epoch; what partial_fit does around it, such as copying X, fit does once.
                model.partial_fit(X, y)
            else:
                # Graphs of steps are made in the first epochs of a fit.
                model.set_params(max_epochs=4, early_stopping=False, n_iter_no_change=9).fit(X, y)
        return figures.pop()

    return epoch


# -- mmsa ------------------------------------------------------------------------------------------------------------


def mmsa_module(name):
    """Import a module of mmsa without the packages around it.

    Its packages import everything, and with it what was left out by --no-deps (transformers, easydict, pynvml, ...).
    None of that is needed by the models that are compared: empty packages and stand-ins take its place.
    """
    location = MMSA.submodule_search_locations[0]
    for package in ("", ".models", ".models.singleTask", ".trains", ".trains.singleTask"):
        if "MMSA" + package not in sys.modules:
            module = types.ModuleType("MMSA" + package)
            module.__path__ = [str(Path(location, *package.split(".")[1:]))]
            sys.modules["MMSA" + package] = module
    if TRANSFORMERS is None:
        transformers = sys.modules.setdefault("transformers", types.ModuleType("transformers"))
        for missing in ("BertModel", "BertTokenizer", "RobertaModel", "RobertaTokenizer"):
            setattr(transformers, missing, None)
    utils = sys.modules.setdefault("MMSA.utils", types.ModuleType("MMSA.utils"))
    utils.MetricsTop, utils.dict_to_str = mock.Mock(), str
    return importlib.import_module("MMSA." + name)


class WordTable(torch.nn.Module):
    """In the place of a pretrained BERT, which would have to be downloaded: fixed vectors of token numbers."""

    def __init__(self, **kwargs):
        super().__init__()
        self.register_buffer("vectors", torch.randn(VOCABULARY, BERT_DIM))

    def forward(self, text):
        return self.vectors[text[:, 0].long()]


class Samples(Dataset):
    """One sample at a time, as mmsa hands them out."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays["y"])

    def __getitem__(self, i):
        return {name: torch.from_numpy(array[i]) for name, array in self.arrays.items()}


def mmsa(system, X, y, n_steps, batch_size):
    """Return a function like that of ``ours`` that trains mmsa's model in the loop of its trainers."""
    args = types.SimpleNamespace(
        feature_dims=tuple(DIMS[name] for name in ("text", "audio", "visual")),
        train_mode="regression",
        num_classes=1,
        **system.mmsa_args,
    )
    module = mmsa_module(f"models.singleTask.{system.mmsa}")
    arrays = {name: np.nan_to_num(x) for name, x in X.items()} | {"y": y[:, None]}
    for name in system.vectors:
        arrays[name] = arrays[name][:, None]  # mmsa keeps one step of what it pools
    torch.manual_seed(0)
    own_losses = None
    if system.mmsa == "MISA":
        module.BertTextEncoder = WordTable
        mask = np.arange(N_STEPS) < n_steps[:, None]
        tokens = np.random.default_rng(0).integers(VOCABULARY, size=mask.shape)
        arrays["text"] = np.stack([tokens, mask, 0 * tokens], axis=1).astype(np.float32)
        own_losses = mmsa_module("trains.singleTask.MISA").MISA(args)
    model = getattr(module, system.mmsa)(args).to(device)
    criterion = torch.nn.L1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(Samples(arrays), batch_size=batch_size, shuffle=True)

    def epoch():
        model.train()
        start = now()
        for batch in loader:
            batch = {name: part.to(device) for name, part in batch.items()}
            optimizer.zero_grad()
            prediction = model(batch["text"], batch["audio"], batch["visual"])["M"]
            loss = criterion(prediction, batch["y"])
            if own_losses is not None:
                own_losses.model = types.SimpleNamespace(Model=model)
                loss = (
                    loss + args.diff_weight * own_losses.get_diff_loss() + args.sim_weight * own_losses.get_cmd_loss()
                )
                loss = loss + args.recon_weight * own_losses.get_recon_loss()
            loss.backward()
            optimizer.step()
            loss.item()
        return now() - start, peak_so_far()

    return epoch


# -- speed -----------------------------------------------------------------------------------------------------------

CONTENDERS = ("lam 0", "kl", "mmsa")


def contender(name, label, batch_size, lengths, n):
    """The training epoch of a system by one of the CONTENDERS; None if mmsa does not have it."""
    system = SYSTEMS[name]
    X, y, n_steps = make_data(system, lengths, n)
    if label != "mmsa":
        return ours(system, X, y, batch_size, LAM if label == "kl" else 0.0)
    if system.mmsa is None or MMSA is None:
        return None
    return mmsa(system, X, y, n_steps, batch_size)


def peak_memory(*arguments):
    """Megabytes that one epoch takes in a fresh process, data and model included."""
    command = [sys.executable, __file__, "--worker", json.dumps(arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def worker(arguments):
    contender("concat", "kl", 4, "full", 8)()  # whatever is loaded at first use
    before = peak_so_far()
    _, peak = contender(*arguments)()
    print(peak - before)


def peak_so_far():
    """Megabytes of the largest resident set of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, which on Linux counts the process that started this one, too.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure(name, batch_size, lengths, args):
    n = N_SAMPLES if args.steps is None else min(args.steps * batch_size, N_SAMPLES)
    steps = -(-n // batch_size)
    epochs = {label: contender(name, label, batch_size, lengths, n) for label in CONTENDERS}
    epochs = {label: epoch for label, epoch in epochs.items() if epoch is not None}
    seconds = {label: [] for label in epochs}
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    for repeat in range(args.repeats + 1):
        for label, epoch in epochs.items():
            value, _ = epoch()
            if repeat:  # after a warm-up
                seconds[label].append(value / steps)
    result = {
        "system": name,
        "batch_size": batch_size,
        "lengths": lengths,
        "load": load,
        "seconds_per_step": seconds,
        "ms_per_step": {label: 1e3 * statistics.median(values) for label, values in seconds.items()},
    }
    if args.memory:
        result["peak_mb"] = {label: peak_memory(name, label, batch_size, lengths, n) for label in epochs}
    ms = result["ms_per_step"]
    result["term_ratio"] = ms["kl"] / ms["lam 0"]
    result["mmsa_ratio"] = ms["mmsa"] / ms["lam 0"] if "mmsa" in ms else None
    return result


def print_speed(results):
    header = ["system", "lengths", "batch", "ms", "ms, kl", "ms, mmsa", "kl / lam 0", "mmsa / ours"]
    header += ["MB", "MB, kl", "MB, mmsa", "load"]
    rows = []
    for r in results:
        ms, mb = r["ms_per_step"], r.get("peak_mb", {})
        ratio = "-" if r["mmsa_ratio"] is None else f"{r['mmsa_ratio']:.2f}"
        rows.append(
            [r["system"], r["lengths"], r["batch_size"]]
            + [f"{ms[label]:.1f}" if label in ms else "-" for label in CONTENDERS]
            + [f"{r['term_ratio']:.2f}", ratio]
            + [f"{mb[label]:.0f}" if label in mb else "-" for label in CONTENDERS]
            + ["-" if r["load"] is None else f"{r['load'][0]:.1f}"]
        )
    print("\nTime per training step and peak memory of training")
    table(header, rows)
    print("; ".join(f"{name}: {value}" for name, value in TARGETS.items()) + " are aimed at")


def speed(args):
    results = []
    for name, lengths, batch_size in product(args.only, args.lengths, args.batch_size):
        results.append(measure(name, batch_size, lengths, args))
        print(
            ", ".join(f"{k} {v:.1f} ms" for k, v in results[-1]["ms_per_step"].items()),
            "-",
            name,
            batch_size,
            flush=True,
        )
    print_speed(results)
    content = {"environment": environment(), "clock": clock.__name__, "targets": TARGETS, "results": results}
    write_json(args.out or "results/fusion.json", content)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM", help=", ".join(SYSTEMS)
    )
    parser.add_argument("--out", "--output", help="JSON file to write (results/fusion.json)")
    parser.add_argument("--batch-size", type=int, nargs="+", default=BATCH_SIZES, help="batch sizes (32 128)")
    parser.add_argument("--lengths", nargs="+", choices=("full", "mosi"), default=["full", "mosi"], help="(full mosi)")
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each after the warm-up (%(default)s)")
    parser.add_argument("--steps", type=int, help="steps per epoch, if fewer than the 1284 samples make")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave out the peak memory")
    parser.add_argument("--cpu-time", action="store_true", help="processor instead of wall time, on a busy machine")
    parser.add_argument("--device", default="cpu", help="on which both train (%(default)s)")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()

    global clock, device
    device = args.device
    clock = time.process_time if args.cpu_time else time.perf_counter
    torch.set_num_threads(1)
    if args.worker:
        worker(args.worker)
    else:
        speed(args)


if __name__ == "__main__":
    main()
