"""What several members cost beside one, in ratios of processor time inside one run.

    python benchmarks/committee.py
    python benchmarks/committee.py --members 16 --repeats 3

Training is that of the epochs alone, as many for every member; a fit has folds, out-of-fold predictions and, with the
dependency term, a reporting critic for each member too. 1,200 samples, three vectors of 20, 30 and 40 features in
float64, one thread, no dropout and no linear members. Of several repeats the fastest counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from _common import ONE_NETWORK, commit, environment, now, table, write_json

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.encoders import MLPEncoder
from sklearn_mdm.fusion import ConcatFusion, LateFusion
from sklearn_mdm.net import _net
from sklearn_mdm.net._committee import CommitteeNet

WIDTHS = {"audio": 20, "visual": 30, "text": 40}
SETTINGS = {
    "concat": {},
    "late": {"fusion": LateFusion(dropout=0.0)},
    "low_rank": {"fusion": "low_rank"},
    "infonce": {"measure": "infonce"},
    "wasserstein": {"measure": "wasserstein"},
    "misa (one after the other)": {"fusion": "misa"},
}


def make_data(n=1200, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 3))
    X = {
        name: np.c_[shared + rng.normal(size=(n, 3)), rng.normal(size=(n, width - 3))] for name, width in WIDTHS.items()
    }
    return X, shared[:, 0] + 0.3 * shared[:, 1] ** 2


def seconds_of(X, y, members, lam, epochs, settings):
    """Processor time of the epochs, and of the whole fit."""
    spent = [0.0]

    def timed(loop):
        def run(*args, **kwargs):
            start = time.process_time()
            try:
                return loop(*args, **kwargs)
            finally:
                spent[0] += time.process_time() - start

        return run

    owner = CommitteeNet if members > 1 else _net.MDMNet
    loop = owner.fit_loop
    owner.fit_loop = timed(loop)
    parts = {"encoder": MLPEncoder(dropout=0.0), "fusion": ConcatFusion(dropout=0.0)}
    model = MDMFusionRegressor(
        **{**ONE_NETWORK, "n_estimators": members, **parts, **settings},
        lam=lam,
        max_epochs=epochs,
        n_iter_no_change=epochs,
        random_state=0,
    )
    start = time.process_time()
    try:
        model.fit(X, y)
    finally:
        if owner is CommitteeNet:
            del CommitteeNet.fit_loop
        else:
            owner.fit_loop = loop
    return spent[0], time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=["concat"])
    parser.add_argument("--out", type=Path, default=Path("results/committee.json"))
    options = parser.parse_args()
    X, y = make_data()
    rows, records = [], {}
    warnings.simplefilter("ignore")
    for name in options.only:
        best = {}
        for _ in range(options.repeats):
            for lam in (0.0, 0.1):
                for members in (1, options.members):
                    found = seconds_of(X, y, members, lam, options.epochs, SETTINGS[name])
                    best[lam, members] = np.minimum(best.get((lam, members), np.inf), found)
        several = options.members
        ratios = {
            "training, lam 0": best[0.0, several][0] / best[0.0, 1][0],
            "training, lam .1": best[0.1, several][0] / best[0.1, 1][0],
            "fit, lam 0": best[0.0, several][1] / best[0.0, 1][1],
            "fit, lam .1": best[0.1, several][1] / best[0.1, 1][1],
            "fit of all, lam .1 / lam 0": best[0.1, several][1] / best[0.0, several][1],
            "fit of one, lam .1 / lam 0": best[0.1, 1][1] / best[0.0, 1][1],
        }
        records[name] = {key: float(value) for key, value in ratios.items()}
        rows.append([name, *(f"{value:.2f}" for value in ratios.values())])
    print(
        f"\n{options.members} members beside one, {options.epochs} epochs; {best[0.0, 1][1]:.2f} s for a fit with one"
    )
    table(["", *ratios], rows)
    write_json(options.out, {"date": now(), "commit": commit(), "environment": environment(), "ratios": records})


if __name__ == "__main__":
    main()
