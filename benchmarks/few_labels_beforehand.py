"""Can the gain of rows without labels be foretold from a committee of labelled rows?

On development rows alone: a committee is fitted to the labelled rows, with folds, and read; another is fitted with up
to 600 rows without labels; both are judged on other development rows. Rank correlations over tasks, means over seeds.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
from _common import environment, table, write_json
from _quality_tasks import load_task
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, log_loss

from sklearn_mdm import MDMFusionClassifier

TASKS = [
    *("mfeat:2", "digits:2", "leaves100:1", "scene15:3", "landuse:3", "breast_tcga:5", "rosmap:25", "wine:2"),
    *("mfeat:5", "digits:5", "leaves100:3", "breast_cancer:5", "scene15:10", "landuse:10"),
]
MOST = 600
SIGNS = ("dependency", "agreement", "kappa", "oof_loss")


def signs_of(model, y, rows):
    """What is known without a further label: dependency, agreement of single modalities, loss out of fold."""
    probabilities = model.oof_decision_function_
    there = np.isfinite(probabilities).all(axis=1)
    alone = [model.predict({name: x}) for name, x in rows.items()]
    pairs = list(itertools.combinations(alone, 2))
    return {
        # With few rows nothing reports it.
        "dependency": model.dependency_score(rows) if hasattr(model, "reporting_critic_") else np.nan,
        "agreement": np.mean([accuracy_score(a, b) for a, b in pairs]),
        "kappa": np.mean([cohen_kappa_score(a, b) for a, b in pairs]),
        "oof_loss": log_loss(y[there], probabilities[there], labels=model.classes_),
    }


def compare(task, seed):
    """Signs, and errors without and with rows that have no label."""
    fit, judge = next(iter(task.folds(seed)))
    n = len(next(iter(fit.unlabelled.values())))
    chosen = np.random.default_rng(seed).permutation(n)[:MOST]
    rows = {name: x[chosen] for name, x in fit.unlabelled.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few rows there is much to say
        without = MDMFusionClassifier(lam=1, early_stopping=True, random_state=seed).fit(fit.X, fit.y)
        quick = MDMFusionClassifier(lam=1, n_estimators=4, max_epochs=25, random_state=seed)
        quick.fit(fit.X, fit.y, X_unlabeled=rows)
        errors = {name: 1 - m.score(judge.X, judge.y) for name, m in (("without", without), ("with", quick))}
        signs = signs_of(without, fit.y, rows)
    ratio = (errors["with"] + 0.005) / (errors["without"] + 0.005)
    return {name: float(value) for name, value in {**errors, "log_ratio": np.log(ratio), **signs}.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=2, help="draws of the labels (%(default)s)")
    parser.add_argument("--only", nargs="+", default=TASKS, metavar="NAME", help="tasks, as of few_labels.py")
    parser.add_argument("--out", type=Path, default=Path("results", "few_labels_beforehand.json"))
    args = parser.parse_args()
    start, means = time.perf_counter(), {}
    for name in args.only:
        task = load_task(name + "+", args.data, validate=True)
        runs = [compare(task, seed) for seed in range(args.seeds)]
        means[name] = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        print(name, *(f"{key} {value:.3f}" for key, value in means[name].items()), flush=True)
    found = {}
    for sign in SIGNS:
        x, ratio = np.array([(mean[sign], mean["log_ratio"]) for mean in means.values()]).T
        there = np.isfinite(x)
        if there.sum() > 3:
            rho, p = spearmanr(x[there], ratio[there])
            low, high = np.tanh(np.arctanh(rho) + np.array([-1.96, 1.96]) / np.sqrt(there.sum() - 3))
            found[sign] = dict(rho=rho, low=low, high=high, p=p, tasks=int(there.sum()))
    print("\nrank correlation with the ratio of errors, with / without: negative, the more the better")
    table(
        ["sign", "tasks", "rho", "95 %", "p"],
        [
            [sign, f["tasks"], f"{f['rho']:+.2f}", f"{f['low']:+.2f} to {f['high']:+.2f}", f"{f['p']:.2f}"]
            for sign, f in found.items()
        ],
    )
    print(f"{time.perf_counter() - start:.0f} s in all")
    write_json(args.out, {"environment": environment(), "seeds": args.seeds, "tasks": means, "correlations": found})


if __name__ == "__main__":
    main()
