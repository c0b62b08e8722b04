"""How good every fusion system is at its defaults, with ``lam=0`` and with each measure, on real data.

``mosi_bclstm`` for the systems that read vectors; ``mosi_text_audio`` (words beside a vector per utterance, which is
repeated for every word where a system reads all modalities word by word), ``mmmo`` (audio and visual) and
``mmmo_trimodal`` for all. Beside them ridge regression on pooled features, as in ``quality.py``, and on TF-IDF of the
transcripts where there are any. See ``quality.py`` for the files, the figures, and the log of looks at a test part.

    python benchmarks/fusion_quality.py --data DIR --jobs 2
    python benchmarks/fusion_quality.py --data DIR --only concat misa --tasks mmmo --terms lam=0 kl --seeds 1
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _common import ONE_NETWORK, append_line, commit, environment, now, table, write_json
from _quality_baselines import BASELINES
from _quality_models import Ours, evaluate
from _quality_tasks import load_task
from joblib import Parallel, delayed
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

TERMS = {"lam=0": {"lam": 0}, **{measure: {"measure": measure} for measure in ("kl", "f", "wasserstein")}}
STEP_BY_STEP = ("ef_lstm", "memory", "multi_attention")
SYSTEMS = ("concat", "late", "tensor", "low_rank", "misa", *STEP_BY_STEP)
TASKS = ("mosi_bclstm", "mosi_text_audio", "mmmo", "mmmo_trimodal")
FIGURES = ("acc7", "acc2", "binary", "mae", "pearson", "dependency", "epochs", "seconds")


def load(data, name, *, step_by_step=False):
    task = load_task(name, data)
    return repeat_vectors(task) if step_by_step and name == "mosi_text_audio" else task


def repeat_vectors(task):
    """Put vectors to every word."""

    def repeat(part):
        words = ~np.isnan(part.X["text"]).all(axis=2, keepdims=True)
        part.X = {n: np.where(words, x[:, None], np.nan) if x.ndim == 2 else x for n, x in part.X.items()}
        return part

    folds = task.folds
    task.folds = lambda seed: (tuple(map(repeat, parts)) for parts in folds(seed))
    return task


class TranscriptRidge:
    """Ridge regression on TF-IDF of words and pairs of words; reads transcripts instead of the modalities."""

    def __init__(self, data):
        with np.load(data / "mosi_text_audio.npz") as arrays:
            self.transcripts = [arrays[f"{split}_transcript"] for split in ("train", "valid", "test")]
        self.params = {}

    def run(self, task, fit, judge, seed):
        start = time.perf_counter()
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), Ridge(alpha=1.0))
        model.fit(np.concatenate(self.transcripts[:2]), fit.y)
        seconds = time.perf_counter() - start
        values = model.predict(self.transcripts[2])
        details = {"seconds": seconds, "predict_seconds": time.perf_counter() - start - seconds}
        return values, values, details


def plan(args):
    """Every (task, system, term, seed), the slow ones first."""
    runs = []
    for name in args.tasks:
        # A system of sequences would see vectors as a single step.
        systems = [s for s in args.only if s not in STEP_BY_STEP or name != "mosi_bclstm"]
        runs += [(name, system, term, seed) for system in systems for term in args.terms for seed in range(args.seeds)]
        runs.append((name, "ridge", "-", 0))
        if name == "mosi_text_audio":
            runs.append((name, "ridge on TF-IDF", "-", 0))
    return sorted(runs, key=lambda run: (run[0] != "mosi_text_audio", run[1] not in STEP_BY_STEP))


def run(data, name, system, term, seed):
    torch.set_num_threads(1)
    task = load(data, name, step_by_step=system in STEP_BY_STEP)
    if system == "ridge":
        model = BASELINES["linear"]
    elif system == "ridge on TF-IDF":
        model = TranscriptRidge(data)
    else:
        plain = {"fusion__dropout": 0.0} if system in ("concat", "late") else {}
        model = Ours({**ONE_NETWORK, "fusion": system, **plain, **TERMS[term]})
    figures, _ = evaluate(task, model, seed)
    print(f"{name}: {system} {term} {seed}: mae {figures['mae']:.3f}, {figures['seconds']:.0f} s", flush=True)
    record = {"data": name, "system": system, "term": term, "params": model.params, "task_params": task.params}
    return {**record, "seed": seed, "figures": figures}


def print_results(results):
    for name in dict.fromkeys(result["data"] for result in results):
        rows = {}
        for result in results:
            if result["data"] == name:
                rows.setdefault((result["system"], result["term"]), []).append(result["figures"])
        columns = [figure for figure in FIGURES if any(figure in runs[0] for runs in rows.values())]
        body = []
        for label, runs in sorted(rows.items()):
            cells = []
            for column in columns:
                values = [run[column] for run in runs if column in run]
                spread = f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.3f}{spread}" if values else "-")
            body.append([*label, len(runs), *cells])
        print(f"\n{name}: mean ± standard deviation over seeds")
        table(["system", "term", "seeds", *columns], body)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument(
        "--only", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="SYSTEM", help=", ".join(SYSTEMS)
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--terms", nargs="+", choices=TERMS, default=list(TERMS), metavar="TERM", help=", ".join(TERMS))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each model (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results/fusion_quality.json"), help="JSON file (%(default)s)")
    args = parser.parse_args()

    results = []
    for result in Parallel(n_jobs=args.jobs, return_as="generator")(delayed(run)(args.data, *r) for r in plan(args)):
        results.append(result)
        append_line(
            args.out.parent / "test_evaluations.jsonl", {"time": now(), "commit": commit(), "model": "fusion", **result}
        )
    print_results(results)
    write_json(args.out, {"environment": environment(), "results": results})


if __name__ == "__main__":
    main()
