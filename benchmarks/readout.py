"""Whether the dependency that the fusion estimators report holds on new samples.

Three questions. With one modality's rows permuted, so that modalities are independent: how often is the score within
two standard errors of zero? With ``--data``, on the test part of each data set: is it above minus two standard errors,
does it rise with ``lam`` (Spearman), and does it agree with a DependencyEstimator fitted to the same representations?
What share of a fit does the reporting critic cost?
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from _common import ONE_NETWORK, environment, table, write_json
from _quality_models import our_estimator
from _quality_tasks import Part, Task, load_task
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning

from sklearn_mdm import DependencyEstimator, MDMFusionRegressor
from sklearn_mdm.datasets import make_correlated_gaussians
from sklearn_mdm.estimators import _dependency_mixin as reporting
from sklearn_mdm.exceptions import DependencyWarning

TASKS = ("mosi_bclstm", "mosi_bclstm_cv", "mosi_text_audio", "mmmo", "mmmo_trimodal", "rosmap", "mfeat")
LAMS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


def gaussians(n=5000):
    """Train, validation and test parts of Gaussian modalities; the target needs all of them."""

    def part(seed, n):
        X, _ = make_correlated_gaussians(n, n_features=4, rho=0.5, random_state=seed)
        rng = np.random.default_rng(seed)
        return Part({k: v.astype(np.float32) for k, v in X.items()}, sum(X.values()).sum(1) + rng.normal(size=n))

    fit, judge = part(0, n), part(1, n)
    return Task("sentiment", lambda seed: iter([(fit, judge)]))


def independence(runs, n):
    rows, within = [], 0
    for seed in range(runs):
        X, _ = make_correlated_gaussians(n + 1000, n_features=4, rho=0.5, random_state=seed)
        rng = np.random.default_rng(seed)
        X = {**X, "text": rng.permutation(X["text"])}
        y = sum(X.values())[:, 0]
        fit, new = ({k: v[part] for k, v in X.items()} for part in (slice(0, n), slice(n, None)))
        estimator = MDMFusionRegressor(**ONE_NETWORK, random_state=seed, device="cpu", max_epochs=20)
        # The other two modalities go together, or they would be found to depend, rightly.
        join = lambda Z: {"audio and visual": np.hstack([Z["audio"], Z["visual"]]), "text": Z["text"]}  # noqa: E731
        value, std = estimator.fit(join(fit), y[:n]).dependency_score(join(new), return_std=True)
        within += abs(value) < 2 * std
        rows.append((value, std))
    values = np.array(rows)
    print(f"independent by construction: within two standard errors in {within} of {runs} runs; ", end="")
    print(f"mean {values[:, 0].mean():.4f}, largest {np.abs(values[:, 0]).max():.4f} nats")
    return {"within": int(within), "runs": runs, "values": values.tolist()}


def cost(task, seed=0):
    """Seconds of a fit, and the share of it that the reporting critic takes."""
    spent = []
    train = reporting.train_reporting_critic

    def timed(*args, **kwargs):
        start = time.perf_counter()
        critic = train(*args, **kwargs)
        spent.append(time.perf_counter() - start)
        return critic

    reporting.train_reporting_critic = timed
    try:
        fit, _ = next(iter(task.folds(seed)))
        start = time.perf_counter()
        our_estimator(task.kind, {**ONE_NETWORK, **(task.params or {})}, seed).fit(fit.X, fit.y, groups=fit.groups)
        total = time.perf_counter() - start
    finally:
        reporting.train_reporting_critic = train
    return total, sum(spent) / total


def fresh_value(estimator, fit, judge, seed):
    """Dependency of the same representations, from a DependencyEstimator fitted to the part that is not judged."""
    names = [str(name) for name in estimator.modalities_]

    def representations_of(part):
        return dict(zip(names, estimator._represent(estimator._read_modalities(part.X)), strict=True))

    fresh = DependencyEstimator(cv=None, held_out_fraction=0.2, random_state=seed).fit(representations_of(fit))
    return fresh.critics_[0].scores_of_parts(list(representations_of(judge).values())).popitem()[1]


def on_task(name, task, seeds, *, compare, lams):
    kept = {lam: [] for lam in lams}
    agreement = None
    for seed in range(seeds):
        fit, judge = next(iter(task.folds(seed)))
        for lam in lams:
            estimator = our_estimator(task.kind, {**ONE_NETWORK, **(task.params or {}), "lam": lam}, seed)
            estimator.fit(fit.X, fit.y, groups=fit.groups)
            if lam == 0:
                estimator.fit_dependency(fit.X, groups=fit.groups)
            kept[lam].append(estimator.dependency_score(judge.X, return_std=True))
            if compare and lam == 0.03 and seed == 0:
                agreement = (*kept[lam][-1], *fresh_value(estimator, fit, judge, seed))
    pairs = [(lam, value) for lam, scores in kept.items() for value, _ in scores]
    rho = spearmanr(*zip(*pairs, strict=True)).statistic if len(lams) > 1 else float("nan")
    lowest = min(value / std if std else 0.0 for scores in kept.values() for value, std in scores)
    seconds, share = cost(task)
    return {
        "task": name,
        "lams": {str(lam): scores for lam, scores in kept.items()},
        "spearman": float(rho),
        "lowest_z": float(lowest),
        "agreement": agreement,
        "seconds": seconds,
        "share": share,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets that quality.py reads")
    parser.add_argument("--runs", type=int, default=100, help="fits on independent modalities")
    parser.add_argument("--n", type=int, default=600, help="samples of each of them")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--lams", type=float, nargs="+", default=LAMS)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", DependencyWarning)
    warnings.filterwarnings("ignore", message=".*are left out.*")
    results = {"environment": environment()}
    if args.runs:
        results["independence"] = independence(args.runs, args.n)
    tasks = {"gaussians": gaussians()}
    if args.data:
        tasks |= {name: load_task(name, args.data) for name in TASKS}
    rows, results["tasks"] = [], []
    for name, task in tasks.items():
        if args.tasks and name not in args.tasks:
            continue
        found = on_task(name, task, args.seeds, compare=name in ("gaussians", "mfeat"), lams=tuple(args.lams))
        results["tasks"].append(found)
        means = [f"{np.mean([value for value, _ in scores]):.3f}" for scores in found["lams"].values()]
        agreed = "" if found["agreement"] is None else "{:.3f} ({:.3f}) / {:.3f} ({:.3f})".format(*found["agreement"])
        figures = f"{found['spearman']:.2f}", f"{found['lowest_z']:.1f}", agreed, f"{found['share']:.2f}"
        rows.append((name, *means, *figures))
        print("done", *rows[-1])
    header = (
        "data",
        *(f"lam={lam:g}" for lam in args.lams),
        "Spearman",
        "lowest z",
        "reported / fresh (std)",
        "cost share",
    )
    table(header, rows)
    if args.out:
        write_json(args.out, results)


if __name__ == "__main__":
    main()
