"""What is left of a prediction when all but two views, or all but one, are missing that were there in training.

Every model is fitted once a seed with all views and judged with views taken away: every subset of two views and every
single view, each the average over its subsets, beside all of them. Tables give accuracies in %, means over seeds with
95 % intervals of Student's t, and the seconds of a prediction with all views and of one without the first.

    python benchmarks/missing_modalities.py --data DIR --seeds 10 --jobs 16
    python benchmarks/missing_modalities.py --data DIR --validate --seeds 2 --only digits --models default mean

Data: ``digits`` (three bands of the images of scikit-learn), ``mfeat`` (six views), ``rosmap`` (three) and
``breast_tcga``, whose training samples have a third view, protein, that no test sample has: on the test part "two" is
all that there is.

Models: our estimators as they are, with ``missing="mean"``, with ``modality_dropout=0.3`` (and the mean), and with
both; logistic regression on standardised features, where what is missing is filled with the mean; and gradient
boosting, which takes NaN as it is. The last two are tuned as in ``quality.py``, whose tasks, splits and baselines these
are. Seeds vary the networks, and the samples where a task has no test part of its own (``digits``): elsewhere intervals
are about training, and models without random numbers have none.

With ``--validate`` no test part is read: models are judged on parts of the development rows. Each look at a test part
is appended to ``test_evaluations.jsonl`` beside ``--out``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import append_line, commit, environment, now, processor, table, write_json
from _quality_baselines import BASELINES, flatten, folds_of
from _quality_models import our_estimator, parse_setting
from _quality_tasks import Part, Task, keep, load_task, quarters
from joblib import Parallel, delayed
from scipy.stats import t
from threadpoolctl import threadpool_limits

DROPOUT = {"modality_dropout": 0.3}
# Parameters of a fit of ours, and how it predicts; None stands for the baseline of that name.
MODELS = {
    "default": ({}, "auto"),
    "mean": ({}, "mean"),
    "dropout": (DROPOUT, "mean"),
    "dropout, auto": (DROPOUT, "auto"),
    "linear": None,
    "boosting": None,
}
TASKS = ("digits", "mfeat", "rosmap", "breast_tcga")
KEPT = {"all": None, "two": 2, "one": 1}
# Samples of which the seconds are taken.
TIMED = 5000


# -- data ------------------------------------------------------------------------------------------------------------


def load(name, folder, validate):
    """The task of a data set."""
    if name != "breast_tcga":
        return load_task(name, folder, validate)
    views = ("mirna", "mrna", "protein")
    with np.load(folder / "breast_tcga.npz") as data:
        dev = Part({view: data[f"train_{view}"].astype(np.float32) for view in views}, data["train_y"].astype(int))
        if validate:
            return Task("classes", lambda seed: quarters(dev, True, seed), splits_vary=True)
        X = {view: data[f"test_{view}"].astype(np.float32) for view in views[:2]}
        X["protein"] = np.full((len(X["mrna"]), dev.X["protein"].shape[1]), np.nan, dtype=np.float32)
        test = Part(X, data["test_y"].astype(int))
    return Task("classes", lambda seed: iter([(dev, test)]))


def subsets_of(part):
    """Views that are kept: {"all": [(all there are)], "two": pairs, "one": single views}, without repeats."""
    there = [name for name, x in part.X.items() if not np.isnan(x).all()]
    found = {kept: list(itertools.combinations(there, n or len(there))) for kept, n in KEPT.items()}
    if len(there) == len(part.X):
        return found
    return {kept: subsets for kept, subsets in found.items() if kept != "all"}  # some view is never there


# -- models ----------------------------------------------------------------------------------------------------------


def fitted(label, params, task, part, seed):
    """A model that is fitted to all views: from X to classes."""
    if MODELS[label] is None:
        folds = folds_of(part, classes=True, seed=seed)
        model = BASELINES[label].fit(part, flatten(part.X), True, folds, seed if task.splits_vary else 0)
        return lambda X: model.predict(flatten(X))
    own, missing = MODELS[label]
    model = our_estimator("classes", {**own, "missing": missing, **params}, seed)
    return model.fit(part.X, part.y, groups=part.groups).predict


def seconds_of(predict, X):
    """Processor seconds of a prediction for some thousand samples: the least of three."""
    rows = np.resize(np.arange(len(next(iter(X.values())))), TIMED)
    X, taken = {name: x[rows] for name, x in X.items()}, []
    for _ in range(3):
        start = time.process_time()
        predict(X)
        taken.append(time.process_time() - start)
    return min(taken)


def evaluate(name, folder, validate, label, params, seed):
    """Accuracies of one model with one seed by what is kept, and its seconds."""
    torch.set_num_threads(1)
    task = load(name, folder, validate)
    right, seconds = {}, {}
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # of convergence
        for fit, judge in task.folds(seed):
            start = time.process_time()
            predict = fitted(label, params, task, fit, seed)
            seconds["fit"] = seconds.get("fit", 0.0) + time.process_time() - start
            for kept, subsets in subsets_of(judge).items():
                found = [predict(keep(judge.X, views)) == judge.y for views in subsets]
                right.setdefault(kept, []).append(np.mean(found, axis=0))
        seconds["plain"] = seconds_of(predict, fit.X)
        seconds["absent"] = seconds_of(predict, keep(fit.X, list(fit.X)[1:]))
    return {kept: float(np.concatenate(parts).mean()) for kept, parts in right.items()}, seconds


# -- tables ----------------------------------------------------------------------------------------------------------


def interval(values):
    """Mean and half the width of its 95 % interval over seeds; None with a single one."""
    n, mean = len(values), float(np.mean(values))
    return mean, float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None


def print_task(name, views, results):
    """Accuracies in %, and seconds."""
    rows, summary = [], {}
    for label, runs in results.items():
        row, summary[label] = [label], {}
        for kept in KEPT:
            if kept not in runs[0][0]:
                row.append("")
                continue
            mean, half = summary[label][kept] = interval([100 * found[kept] for found, _ in runs])
            row.append(f"{mean:.1f}" + (f" ±{half:.1f}" if half else ""))
        took = {key: float(np.median([seconds[key] for _, seconds in runs])) for key in ("fit", "plain", "absent")}
        summary[label] |= {"seconds": took}
        rows.append([*row, *(f"{took[key]:.3f}" for key in took), f"{took['absent'] / took['plain']:.1f}"])
    print(
        f"\n{name} ({', '.join(views)}): accuracy in %, mean with 95 % interval over seeds, by the views that are left"
    )
    print(f"seconds of a fit, of predicting {TIMED} samples, and of that without the first view")
    table(["model", *KEPT, "fit", "plain", "absent", "times"], rows)
    return summary


# -- command line ----------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each model (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS, metavar="NAME", help="data sets")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS], metavar="NAME", help="models")
    parser.add_argument("--out", "--output", type=Path, help="JSON file (results/missing_modalities.json)")
    parser.add_argument("--validate", action="store_true", help="use no test part")
    parser.add_argument("--params", nargs="*", default=[], metavar="NAME=VALUE", help="of all of our fits, for a trial")
    args = parser.parse_args()
    name = "missing_modalities_validation.json" if args.validate else "missing_modalities.json"
    out = args.out or Path("results", name)

    start, params = time.perf_counter(), parse_setting(args.params)
    tasks = {name: load(name, args.data, args.validate) for name in args.only}
    units = [(name, label, seed) for name in tasks for label in args.models for seed in range(args.seeds)]
    parallel = Parallel(n_jobs=args.jobs, return_as="generator", batch_size=1, pre_dispatch="all")
    found = parallel(delayed(evaluate)(n, args.data, args.validate, label, params, s) for n, label, s in units)
    results: dict = {name: {} for name in tasks}
    for (name, label, seed), (accuracy, seconds) in zip(units, found, strict=True):
        results[name].setdefault(label, []).append((accuracy, seconds))
        shown = ", ".join(f"{kept} {value:.4f}" for kept, value in accuracy.items())
        print(f"{name}, seed {seed}, {label}: {shown} ({seconds['fit']:.1f} s)", flush=True)
        if not args.validate:
            record = {"time": now(), "commit": commit(), "benchmark": "missing_modalities", "data": name, "seed": seed}
            append_line(out.parent / "test_evaluations.jsonl", {**record, "model": label, "accuracy": accuracy})

    views = {name: list(next(task.folds(0))[0].X) for name, task in tasks.items()}
    summary = {name: print_task(name, views[name], by_model) for name, by_model in results.items()}
    print(f"{time.perf_counter() - start:.0f} s in all")
    content = {"environment": {**environment(), "processor": processor()}, "validate": args.validate}
    content |= {"seeds": args.seeds, "params": params, "views": views, "results": results, "summary": summary}
    write_json(out, content)


if __name__ == "__main__":
    main()
