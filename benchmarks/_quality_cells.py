"""Cells of a benchmark (a task, a model, a seed): each computed once, in a process of its own, and kept in a folder.

The name of a cell's files ends on a digest of all that its figures hang on: the rows that are fitted and judged, the
model's settings, the source text of the package (of our models) or of the baselines, and the versions of scikit-learn
and torch. A cell that is there is not computed again.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import multiprocessing
import os
import re
import time
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
from _common import append_line, commit, environment, now, processor
from _quality_baselines import OPTIONAL, Baseline
from _quality_models import Ours, evaluate
from _quality_tasks import fingerprint, load_task
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import sklearn_mdm

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Cell:
    task: str
    label: str
    seed: int
    path: Path  # without suffix
    model: Ours | Baseline

    def load(self):
        """(figures, rows), or None where they are not there."""
        try:
            record = json.loads(self.path.with_suffix(".json").read_text())
            with np.load(self.path.with_suffix(".npz")) as rows:
                return record, dict(rows)
        except FileNotFoundError:
            return None


@cache
def _source(file):
    """A digest of the code that a model is made of: a file of baselines, or with None the package."""
    digest = hashlib.sha256(f"{version('scikit-learn')} {version('torch')}".encode())
    root = Path(sklearn_mdm.__file__).parent
    for path in sorted(root.rglob("*.py")) if file is None else [Path(file)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def plan(names, models, n_seeds, *, data, validate, folder):
    """All cells: {(task, label): one a seed}, and the tasks that can be run.

    Where a seed makes no difference, all seeds share one cell.
    """
    cells, tasks = {}, {}
    for name in names:
        task = load_task(name, data, validate)
        if task is None:
            print(f"{name}: left out, it has nothing to validate on")
            continue
        tasks[name] = task
        prints = [fingerprint(task, seed) for seed in range(n_seeds if task.splits_vary else 1)]
        for label, model in models.items():
            ours = isinstance(model, Ours)
            varies = model.seeded or task.splits_vary
            cells[name, label] = row = []
            for seed in range(n_seeds):
                used = seed if varies else 0
                data_print = prints[used if task.splits_vary else 0]
                settings = [*sorted(model.params.items(), key=str), *model.traits] if ours else label
                source = _source(None if ours else inspect.getfile(getattr(model.fit, "func", model.fit)))
                key = hashlib.sha256(repr((data_print, settings, used, source)).encode()).hexdigest()
                words = [name, label, str(used), key[:12]]
                file = "-".join(re.sub(r"[^\w=]+", "_", word)[:60] for word in words)
                row.append(Cell(name, label, used, folder / file, model))
    return cells, tasks


def compute(cell, data, validate):
    """Compute a cell and write its files; what goes wrong is written beside them."""
    torch.set_num_threads(1)
    if cell.label in OPTIONAL:
        importlib.import_module("pytabkit")  # which takes longer than many a fit
    try:
        with threadpool_limits(1):
            figures, rows = evaluate(load_task(cell.task, data, validate), cell.model, cell.seed)
    except Exception:
        cell.path.with_suffix(".error").write_text(traceback.format_exc())
        raise SystemExit(1) from None
    record = {"data": cell.task, "model": cell.label, "params": cell.model.params, "seed": cell.seed}
    record |= {"environment": {**environment(), "processor": processor()}, "figures": figures}
    cell.path.with_suffix(".error").unlink(missing_ok=True)
    # The JSON file comes last and at once: a cell is there with all of its files, or not at all.
    with cell.path.with_suffix(".npz").open("wb") as file:
        np.savez_compressed(file, **rows)
    unfinished = cell.path.with_suffix(".part")
    unfinished.write_text(json.dumps(record))
    unfinished.replace(cell.path.with_suffix(".json"))


def prepare_processes():
    """Set what processes that are started from here find in their environment."""
    for name in THREADS:
        os.environ[name] = "1"
    commit()  # once, before the processes ask
    # The package that was found here, and not one in the folder where this was started: its source is in the digest.
    os.environ["PYTHONSAFEPATH"] = "1"
    package = str(Path(sklearn_mdm.__file__).parent.parent)
    paths = [str(Path(__file__).parent), package, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def run_on_cluster(cells, backend, jobs, *, data, validate, done):
    """Compute cells by joblib's "dask" or "ray" backend, whose workers see the same folders under the same names."""
    prepare_processes()
    for cell in cells:
        cell.path.parent.mkdir(parents=True, exist_ok=True)
    if backend == "dask":
        from dask.distributed import Client

        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        cluster = Client(address) if address else Client(n_workers=jobs, threads_per_worker=1)
    else:
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        cluster = ray.init(num_cpus=None if os.environ.get("RAY_ADDRESS") else jobs, log_to_driver=False)
    with cluster, parallel_config(backend, n_jobs=jobs):
        computed = Parallel()(delayed(is_computed)(cell, data, validate) for cell in cells)
    for cell, found in zip(cells, computed, strict=True):
        print(done(cell) if found else f"{cell.task}: {cell.label}, seed {cell.seed} failed", flush=True)
    return [], [cell for cell, found in zip(cells, computed, strict=True) if not found]


def is_computed(cell, data, validate):
    """Compute a cell in this process; False if that failed."""
    try:
        compute(cell, data, validate)
    except SystemExit:
        return False
    return True


def run(cells, jobs, *, data, validate, seconds, done):
    """Compute cells in so many processes; none starts after ``seconds``. ``done(cell)`` hears of each new one."""
    prepare_processes()
    # Processes are copies of one that has imported everything and nothing else: a start costs little, and the memory
    # that it grows by is the model's.
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        context.set_forkserver_preload(["_quality_preload"])
    waiting, running, failed = list(cells), {}, []
    start = time.monotonic()
    with tqdm(total=len(cells), unit="cell", smoothing=0.05, disable=not cells) as bar:
        while running or (waiting and time.monotonic() - start < seconds):
            while waiting and len(running) < jobs and time.monotonic() - start < seconds:
                cell = waiting.pop(0)
                cell.path.parent.mkdir(parents=True, exist_ok=True)
                process = context.Process(target=compute, args=(cell, data, validate), daemon=True)
                process.start()
                running[process.sentinel] = process, cell
            for sentinel in wait(list(running)):
                process, cell = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    failed.append(cell)
                    bar.write(f"{cell.task}: {cell.label}, seed {cell.seed} failed: {_last_line(cell, process)}")
                else:
                    bar.write(done(cell))
                bar.update()
    return waiting, failed


def _last_line(cell, process):
    path = cell.path.with_suffix(".error")
    return path.read_text().strip().splitlines()[-1] if path.exists() else f"exit code {process.exitcode}"


def results_of(cells, args, benchmark):
    """Compute what is missing of the cells, log each new look, and return the whole rows: {(task, label): loaded}.

    ``args`` are those of the command line: jobs, minutes, data, validate, and out, beside which the looks are logged.
    """
    every = {cell.path: cell for row in cells.values() for cell in row}.values()
    missing = [cell for cell in every if not cell.path.with_suffix(".json").exists()]
    # The slowest first, so that none is left over at the end.
    missing.sort(key=lambda cell: (cell.label not in ("boosting", *OPTIONAL), not isinstance(cell.model, Ours)))
    print(f"{len(every)} cells, {len(missing)} of them to be computed", flush=True)
    log = args.out.parent / ("validation_looks.jsonl" if args.validate else "test_evaluations.jsonl")

    def done(cell):
        record, _ = cell.load()
        append_line(log, {"time": now(), "benchmark": benchmark, "commit": record["environment"]["commit"], **record})
        figures = record["figures"]
        return f"{cell.task}: {cell.label}, seed {cell.seed}: error {figures['error']:.4f} ({figures['seconds']:.1f} s)"

    where = {"data": args.data, "validate": args.validate, "done": done}
    if getattr(args, "backend", None):
        left, failed = run_on_cluster(missing, args.backend, args.jobs, **where)
    else:
        left, failed = run(missing, args.jobs, seconds=60 * args.minutes, **where)
    results = {key: [cell.load() for cell in row] for key, row in cells.items()}
    if left or failed:
        print(f"{len(left)} cells are left to be computed and {len(failed)} failed; only whole rows are reported")
    return {key: runs for key, runs in results.items() if None not in runs}
