"""What a fit over several values of lam costs, beside a grid search over them and beside the sum of their fits.

    python benchmarks/lam_path.py --data DIR
    python benchmarks/lam_path.py --data DIR --rows 300 --members 4

The digits as three bands, training rows only; the search has five folds and two processes. Wall-clock seconds, one
thread in each process: run it on a machine with nothing else to do. Processor time of the fits, too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path

from _common import commit, environment, now, table, write_json
from _quality_tasks import load_task
from sklearn.model_selection import GridSearchCV

from sklearn_mdm import MDMFusionClassifier, ModalityDict

LAMS = [0.0, 0.03, 0.1, 0.3, 1.0]


def seconds(fit):
    """Wall-clock and processor time of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    fit()
    return time.perf_counter() - wall, time.process_time() - processor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--no-search", action="store_true", help="leave out the search, which takes the longest")
    parser.add_argument("--out", type=Path, default=Path("results/lam_path.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    part, _ = next(iter(load_task("digits", options.data, validate=True).folds(0)))
    part = part.take(slice(options.rows))
    X, y = ModalityDict(part.X), part.y

    def model(lam):
        return MDMFusionClassifier(lam=lam, n_estimators=options.members, random_state=0)

    model(0.03).set_params(max_epochs=1).fit(X, y)  # what only the first fit pays for
    path = model(LAMS)
    found = {"path": seconds(lambda: path.fit(X, y))}
    each = [seconds(lambda lam=lam: model(lam).fit(X, y)) for lam in LAMS]
    found["fits of each"] = tuple(map(sum, zip(*each, strict=True)))
    if not options.no_search:
        search = GridSearchCV(model(0.0), {"lam": LAMS}, cv=5, n_jobs=2)
        found["search"] = (seconds(lambda: search.fit(X, y))[0], float("nan"))
    print(f"\n{len(y)} rows, {options.members} members; lam chosen: {path.lam_:g}")
    print(path.lam_path_.to_string())
    rows = [
        [name, f"{wall:.1f}", f"{wall / found['path'][0]:.2f}", f"{processor:.1f}"]
        for name, (wall, processor) in found.items()
    ]
    table(["", "seconds", "/ path", "processor"], rows)
    record = {"date": now(), "commit": commit(), "environment": environment(), "seconds": found}
    write_json(options.out, record)


if __name__ == "__main__":
    main()
