"""What a second GPU is worth: the time of a training step of one process and of two, each with a GPU of its own.

Two fits: wide layers on four modalities ("concat"), and fine-tuning of a small transformer with random weights through
a gate ("mag", where transformers is installed). Each is trained by MDMNet on one GPU (whose steps are launched as
graphs), by AcceleratedMDMNet in one process, and in two with the same batch and with twice the batch. "check" compares
parameters after ten steps of one process and of two, in double precision, without the dependency term, whose negatives
are drawn in each share (tests/net/test_accelerated.py has it, too).

    python benchmarks/two_gpus.py           # starts all processes itself, one fit after the other
    python benchmarks/two_gpus.py --tiny    # on CPUs, to see whether it runs
    torchrun --standalone --nproc_per_node 2 benchmarks/two_gpus.py --fit mag
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from _common import table

from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion, MAGFusion
from sklearn_mdm.net import AcceleratedMDMNet, MaskedDataset, MDMNet

# Rows, batch, and widths; of the transformer: layers, width, tokens.
SIZES = {
    False: {"concat": (32768, 8192, 384, 2048), "mag": (4096, 256, 8, 512, 64), "check": (640, 64, 32, 64)},
    True: {"concat": (256, 64, 8, 32), "mag": (64, 16, 2, 32, 8), "check": (640, 64, 8, 16)},
}
EPOCHS, WARM_UP, SECONDS = 8, 3, 240
ROWS = [("concat", 0, 1), ("concat", 1, 1), ("concat", 2, 1), ("concat", 2, 2), ("mag", 0, 1), ("mag", 1, 1)]
ROWS += [("mag", 2, 1), ("mag", 2, 2), ("check", 1, 1), ("check", 2, 1)]


def concat(n, batch_size, width, hidden):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(n, width)) for name in "abcd"}
    fusion = ConcatFusion(hidden_dims=(hidden, hidden), dropout=0.0)
    encoder = MLPEncoder(hidden_dims=(hidden,), out_dim=hidden // 4, dropout=0.0)
    return X, fusion.build(dict.fromkeys(X, (width,)), 1, encoder=encoder), {"batch_size": batch_size}


def mag(n, batch_size, n_layers, width, n_tokens):
    from transformers import BertConfig

    rng = np.random.default_rng(0)
    size = {"hidden_size": width, "num_hidden_layers": n_layers, "intermediate_size": 4 * width}
    config = BertConfig(vocab_size=8000, num_attention_heads=8, **size)
    word, kind = np.broadcast_to(np.arange(n_tokens), (n, n_tokens)), np.zeros((n, n_tokens))
    X = {"text": np.stack([rng.integers(5, 8000, size=(n, n_tokens)), word, kind], axis=-1).astype(np.float32)}
    X["audio"] = rng.normal(size=(n, n_tokens, 74))
    module = MAGFusion(backbone=config, layer=1).build({"text": (n_tokens, 3), "audio": (n_tokens, 74)}, 1)
    return X, module, {"batch_size": batch_size, "lr": 5e-5}


def work(arguments):
    """Train one net in this process, alone or beside others; the main one writes what was found."""
    exact = arguments.fit == "check"
    torch.manual_seed(0)
    sizes = SIZES[arguments.tiny][arguments.fit]
    X, module, options = (mag if arguments.fit == "mag" else concat)(*sizes)
    dtype = torch.float64 if exact else torch.float32
    data = MaskedDataset(X, np.random.default_rng(1).normal(size=(sizes[0], 1)), dtype=dtype)
    options["batch_size"] *= arguments.times
    options |= {"dtype": dtype, "max_epochs": 1 if exact else EPOCHS, "lam": 0.0 if exact else 0.1, "verbose": 0}
    cls, main = MDMNet, True
    if "RANK" in os.environ:
        from accelerate import Accelerator, InitProcessGroupKwargs

        waits = InitProcessGroupKwargs(timeout=timedelta(seconds=120))
        options["accelerator"] = Accelerator(cpu=arguments.tiny, kwargs_handlers=[waits])
        cls, main = AcceleratedMDMNet, options["accelerator"].is_main_process
    else:
        options["device"] = "cpu" if arguments.tiny else "cuda"
    net = cls(module, **options).fit(data)
    step = float(np.median(net.history[:, "dur"][0 if exact else WARM_UP :])) / (sizes[0] // options["batch_size"])
    loss = float(net.history[-1, "train_loss"])
    found = {"step_ms": 1e3 * step, "rows_per_s": options["batch_size"] / step, "loss": loss}
    if main:
        print(found)
    if main and arguments.out:
        found["parameters"] = [parameter.detach().cpu() for parameter in net.module_.parameters()]
        torch.save(found, f"{arguments.out}/found.pt")
    if "accelerator" in options:
        options["accelerator"].end_training()


def launch(fit, n_processes, times, tiny):
    """Train in so many processes, or by MDMNet for none; return what was found and the parameters, or None."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--fit", fit, "--times", str(times), "--out", folder, *["--tiny"] * tiny]
        started = []
        for rank in range(max(1, n_processes)):
            env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n_processes, "LOCAL_WORLD_SIZE": n_processes}
            env = env | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if n_processes else {}
            # NVLink multicast does not start in every container.
            env = {"NCCL_NVLS_ENABLE": "0", **os.environ, **{name: str(value) for name, value in env.items()}}
            with open(f"{folder}/{rank}.txt", "w") as output:
                started.append(subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT))
        end = time.monotonic() + SECONDS
        try:
            while any(process.poll() is None for process in started) and time.monotonic() < end:
                if any(process.poll() for process in started):  # the others would wait for it
                    break
                time.sleep(0.1)
        finally:
            for process in started:
                process.kill()
        if not any(process.wait() for process in started):
            return torch.load(f"{folder}/found.pt")
        for rank in range(len(started)):
            print(f"{fit}, process {rank} of {n_processes}:", Path(folder, f"{rank}.txt").read_text()[-2000:], sep="\n")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", choices=list(SIZES[True]), help="train this one in this process, as torchrun does")
    parser.add_argument("--times", type=int, default=1, help="with --fit: so many times the batch")
    parser.add_argument("--tiny", action="store_true", help="small fits on CPUs")
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit or "RANK" in os.environ:
        arguments.fit = arguments.fit or "concat"
        return work(arguments)
    n_gpus, found, cells = 2 if arguments.tiny else torch.cuda.device_count(), {}, []
    for fit, n_processes, times in ROWS:
        if n_processes > n_gpus or (fit == "mag" and not find_spec("transformers")):
            print(f"{fit}, {n_processes} processes: left out, with {n_gpus} GPUs, or without transformers", flush=True)
            continue
        result = launch(fit, n_processes, times, arguments.tiny)
        if result is not None:
            found[fit, n_processes, times] = result
            first = next(each for key, each in found.items() if key[0] == fit)
            speed_up = result["rows_per_s"] / first["rows_per_s"]
            figures = (
                f"{result['step_ms']:.2f}",
                f"{result['rows_per_s']:.0f}",
                f"{speed_up:.2f}",
                f"{result['loss']:.6f}",
            )
            cells.append([fit, n_processes or "MDMNet", times, *figures])
            print(*cells[-1], flush=True)
    table(["fit", "processes", "x batch", "ms a step", "rows/s", "speed-up", "loss"], cells)
    pair = [found[key]["parameters"] for key in (("check", 1, 1), ("check", 2, 1)) if key in found]
    if len(pair) == 2:
        worst = max(float((one - two).abs().max()) for one, two in zip(*pair, strict=True))
        print(f"check: largest difference of a parameter {worst:.1e}")


if __name__ == "__main__":
    main()
