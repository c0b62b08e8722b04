"""What the size of data costs: memory and time of fits and predictions with data on disk, beside the same in memory.

Memory is that of a process beyond its start, in GB, without pages of files (RssAnon of Linux, looked at a hundred times
a second): the operating system lends those to a memory map while nobody else needs them. Each line is measured in a
process of its own, on one thread beside the one that reads ahead. Times and memory in a ratio are those of a memory map
over those of arrays in memory.

    python benchmarks/scale.py [--only disk] [--rows 2000000] [--members 8 1] [--out results/scale.json]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from _common import ONE_NETWORK, environment, table, write_json

WIDTHS = {"audio": 50, "visual": 50, "text": 50}
# Rows that are made and written at a time, and seconds between two looks at the memory.
ROWS_WRITTEN, PATIENCE = 100_000, 0.01


# -- data on disk -----------------------------------------------------------------------------------------------------


def written(folder, n):
    """Write a memory map of each modality, and the targets, without ever holding them whole."""
    rng = np.random.default_rng(0)
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype=np.float32, shape=(n, width))
        for name, width in WIDTHS.items()
    }
    y = np.empty(n, dtype=np.float32)
    for start in range(0, n, ROWS_WRITTEN):
        rows = slice(start, min(start + ROWS_WRITTEN, n))
        shared = rng.standard_normal((rows.stop - start, 1), dtype=np.float32)
        for file in files.values():
            file[rows] = shared + rng.standard_normal((rows.stop - start, file.shape[1]), dtype=np.float32)
        y[rows] = shared[:, 0] + rng.standard_normal(rows.stop - start, dtype=np.float32)
    for file in files.values():
        file.flush()
    np.save(folder / "y.npy", y)


def opened(folder, *, mapped):
    """Return X, on disk or in memory, and y."""
    X = {name: np.load(folder / f"{name}.npy", mmap_mode="r" if mapped else None) for name in WIDTHS}
    return X, np.load(folder / "y.npy")


def anonymous_memory():
    """Memory of this process that belongs to no file, in GB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e9


def measured(call):
    """Seconds that a call takes, and the most memory beyond what is in use before, in GB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed would be used again and not seen
    before, peak, over = anonymous_memory(), 0.0, threading.Event()

    def watch():
        nonlocal peak
        while not over.wait(PATIENCE):
            peak = max(peak, anonymous_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    over.set()
    watcher.join()
    return seconds, max(peak, anonymous_memory()) - before


def model(members, **settings):
    import torch

    from sklearn_mdm import MDMFusionRegressor

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    own = ONE_NETWORK if members == 1 else {"n_estimators": members}
    return MDMFusionRegressor(max_epochs=1, random_state=0, **(own | settings))


def fit_and_predict(folder, mapped, members, queue):
    """Measure a fit of one epoch, and predictions of all rows."""
    X, y = opened(folder, mapped=mapped)
    few = {name: np.array(x[:20_000]) for name, x in X.items()}
    small = model(members).fit(few, y[:20_000])
    small.predict(few)  # what is done once only
    predicted = measured(lambda: small.predict(X))
    queue.put((measured(lambda: model(members).fit(X, y)), predicted))


def chunk_and_epoch(folder, members, queue):
    """Measure partial_fit on a chunk of a stream, and an epoch of the net alone on the same rows."""
    X, y = opened(folder, mapped=True)
    half, n = len(y) // 2, min(len(y) // 2, ROWS_WRITTEN)
    first, second = ({name: x[start : start + n] for name, x in X.items()} for start in (0, half))
    estimator = model(members).partial_fit(first, y[:n])
    epoch, inner = [], estimator.net_.partial_fit

    def timed(data):
        start = time.perf_counter()
        inner(data)
        epoch.append(time.perf_counter() - start)

    estimator.net_.partial_fit = timed
    whole, _ = measured(lambda: estimator.partial_fit(second, y[half : half + n]))
    queue.put((whole, epoch[0]))


def in_process(function, *arguments):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=function, args=(*arguments, queue))
    process.start()
    while True:
        try:
            return queue.get(timeout=1)
        except Exception as error:  # of an empty queue
            if not process.is_alive() and queue.empty():
                raise SystemExit(f"{function.__name__} ended without a result") from error


def disk(options):
    """Fits and predictions from memory maps beside those of arrays in memory, and partial_fit beside an epoch."""
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    rows = []
    try:
        written(folder, options.rows)
        for members in options.members:
            found = {}
            for mapped in (True, False) if options.in_memory else (True,):
                found[mapped] = in_process(fit_and_predict, folder, mapped, members)
            for at, what in enumerate(("fit, one epoch", "predict")):
                seconds, peak = found[True][at]
                row = {"members": members, "what": what, "s a million rows": seconds / options.rows * 1e6, "GB": peak}
                if options.in_memory:
                    row["time ratio"], row["GB in memory"] = seconds / found[False][at][0], found[False][at][1]
                rows.append(row)
                print(row, flush=True)
            whole, epoch = in_process(chunk_and_epoch, folder, members)
            rows.append({"members": members, "what": "partial_fit / its epoch", "time ratio": whole / epoch})
            print(rows[-1], flush=True)
    finally:
        shutil.rmtree(folder)
    return rows


def _shown(value):
    return f"{value:.3g}" if isinstance(value, float) else value


SECTIONS = {"disk": disk}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=list(SECTIONS))
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--members", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--in-memory", action=argparse.BooleanOptionalAction, default=True, help="measure that, too")
    parser.add_argument("--folder", help="where memory maps are written; that of temporary files by default")
    parser.add_argument("--out", type=Path, default=Path("results/scale.json"))
    options = parser.parse_args()
    found = {name: SECTIONS[name](options) for name in options.only}
    for rows in found.values():
        columns = list(rows[0])
        table(columns, [[_shown(row.get(column, "")) for column in columns] for row in rows])
    write_json(options.out, {"environment": environment(), "rows": options.rows, **found})


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
