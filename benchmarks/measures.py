"""What an epoch of each dependency measure costs beside one of "kl", with six views, in ratios of processor time.

    python benchmarks/measures.py
    python benchmarks/measures.py --only kl infonce --members 1 --repeats 5

1,200 samples of six views as wide as those of the multiple features data set, ten classes, batches of 64, one thread,
concatenation, a fixed number of epochs. Only the epochs are timed, for a single network and for a committee; of several
repeats the fastest counts. The whole fit, with its out-of-fold predictions and reporting critic, is not.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
from _common import ONE_NETWORK, commit, environment, now, table, write_json

from sklearn_mdm import MDMFusionClassifier
from sklearn_mdm.measures import MEASURES
from sklearn_mdm.net import MDMNet

WIDTHS = {"fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6}


def make_data(n=1200, n_classes=10, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    X = {name: rng.normal(size=(n_classes, d))[y] + 2 * rng.normal(size=(n, d)) for name, d in WIDTHS.items()}
    return {name: x.astype(np.float32) for name, x in X.items()}, y


def seconds_of_epochs(X, y, measure, members, epochs):
    """Processor time of training alone, by epoch."""
    spent = [0.0]
    loop = MDMNet.run_single_epoch

    def timed(*args, **kwargs):
        start = time.process_time()
        loop(*args, **kwargs)
        spent[0] += time.process_time() - start

    model = MDMFusionClassifier(
        fusion="concat",
        measure=measure,
        lam=0.1,
        max_epochs=epochs,
        early_stopping=False,
        random_state=0,
        **{**ONE_NETWORK, "n_estimators": members},
    )
    with mock.patch.object(MDMNet, "run_single_epoch", timed):
        model.fit(X, y)
    return spent[0] / epochs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--out", type=Path, default=Path("results/measures.json"))
    options = parser.parse_args()
    X, y = make_data()
    names = list(dict.fromkeys(["kl", *options.only]))
    best: dict = {}
    warnings.simplefilter("ignore")
    for _ in range(options.repeats):  # side by side, so that a busy moment meets all of them
        for members in options.members:
            for name in names:
                found = seconds_of_epochs(X, y, name, members, options.epochs)
                best[members, name] = min(best.get((members, name), np.inf), found)
    ratios = {m: {name: best[m, name] / best[m, "kl"] for name in names} for m in options.members}
    print(f"\nAn epoch beside one of kl, {options.epochs} epochs of {len(y)} samples, six views")
    header = ["measure", *(f"{m} member{'s' * (m > 1)}" for m in options.members)]
    table(header, [[name, *(f"{ratios[m][name]:.2f}" for m in options.members)] for name in names])
    print("kl: " + ", ".join(f"{1000 * best[m, 'kl']:.0f} ms ({m})" for m in options.members))
    write_json(options.out, {"date": now(), "commit": commit(), "environment": environment(), "ratios": ratios})


if __name__ == "__main__":
    main()
