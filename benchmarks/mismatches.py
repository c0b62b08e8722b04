"""How well samples whose modalities do not belong together are found, beside the true log ratio where it is known.

A tenth or a half of the samples are re-paired: all modalities, or one that is re-drawn. The AUROC is that of the
pointwise dependency, true samples against these.

- clean: the critic is fitted on other samples, none of them re-paired (``rank_samples``).
- contaminated: it is fitted on the samples that are searched, in five folds (``pointwise_``). Each value is from a
  critic that saw the other folds, in which the same share of samples is re-paired.

    python benchmarks/mismatches.py
    python benchmarks/mismatches.py --data DIR    # mfeat.npz too: six views of digits; its test part is not read
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import ONE_NETWORK, environment, table, write_json
from sklearn.metrics import roc_auc_score

from sklearn_mdm import DependencyEstimator, MDMFusionClassifier, ModalityDict
from sklearn_mdm.datasets import load_mmsa, make_correlated_gaussians
from sklearn_mdm.inspection import rank_samples

NATS = (1.0, 2.0, 4.0)
SHARES = (0.1, 0.5)


def contaminate(X, redrawn, share, seed):
    """Return X with a share of its samples re-paired with each other, and which ones these are."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(X))[: round(share * len(X))]
    bad = np.zeros(len(X), dtype=bool)
    bad[chosen] = True
    mixed = {}
    for offset, (name, values) in enumerate(X.items()):
        mixed[name] = values.copy()
        if redrawn in ("all", name):
            # Offsets differ, so no two modalities of a re-paired sample are from the same one.
            mixed[name][chosen] = values[np.roll(chosen, offset + 1)]
    return ModalityDict(mixed), bad


def auroc(bad, values):
    return float(roc_auc_score(~bad, values))


def values_of(estimator, X):
    return rank_samples(estimator, X, n_negatives=1, random_state=0).sort_values("sample")["value"]


def gaussians(seed, n):
    for nats in NATS:
        X, _, log_ratio = make_correlated_gaussians(
            2 * n, n_features=2, total_correlation=nats, return_log_ratio="callable", random_state=seed
        )
        clean = DependencyEstimator(random_state=seed).fit(X[:n])
        for redrawn in ("all", "visual"):
            for share in SHARES:
                mixed, bad = contaminate(X[n:], redrawn, share, seed)
                yield {
                    "data": f"gaussians, {nats:g} nats",
                    "redrawn": redrawn,
                    "share": share,
                    "truth": auroc(bad, log_ratio(mixed)),
                    "clean": auroc(bad, values_of(clean, mixed)),
                    "contaminated": auroc(bad, DependencyEstimator(cv=5, random_state=seed).fit(mixed).pointwise_),
                }


def mfeat(seed, folder):
    data = load_mmsa(folder / "mfeat.npz")
    train, valid = data.train, data.valid
    critics = {
        "DependencyEstimator": DependencyEstimator(random_state=seed).fit(train.X),
        "MDMFusionClassifier": MDMFusionClassifier(**ONE_NETWORK, random_state=seed).fit(train.X, train.y),
    }
    for redrawn in ("all", "pix"):
        for share in SHARES:
            mixed, bad = contaminate(valid.X, redrawn, share, seed)
            searched, searched_bad = contaminate(train.X, redrawn, share, seed)
            for name, critic in critics.items():
                row = {"data": f"mfeat, {name}", "redrawn": redrawn, "share": share}
                row["clean"] = auroc(bad, values_of(critic, mixed))
                if name == "DependencyEstimator":
                    folds = DependencyEstimator(cv=5, random_state=seed).fit(searched)
                    row["contaminated"] = auroc(searched_bad, folds.pointwise_)
                yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with mfeat.npz")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (3)")
    parser.add_argument("--samples", type=int, default=2000, help="Gaussian samples to fit on, and to search (2000)")
    parser.add_argument("--out", default="results/mismatches.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(args.seeds):
            sources = [gaussians(seed, args.samples), *([mfeat(seed, args.data)] if args.data else [])]
            for source in sources:
                for row in source:
                    runs.append({"seed": seed, **row})
                    print(runs[-1], flush=True)
    kinds = {}
    for run in runs:
        kinds.setdefault((run["data"], run["redrawn"], f"{run['share']:.0%}"), []).append(run)
    rows = [
        [*kind, *(shown([run.get(key) for run in group]) for key in ("truth", "clean", "contaminated"))]
        for kind, group in kinds.items()
    ]
    print(f"\nAUROC, mean over {args.seeds} seeds (lowest)")
    table(["data", "redrawn", "re-paired", "truth", "clean", "contaminated"], rows)
    write_json(args.out, {"environment": environment(), "runs": runs})


def shown(values):
    return "" if None in values else f"{np.mean(values):.3f} ({min(values):.3f})"


if __name__ == "__main__":
    main()
