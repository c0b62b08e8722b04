"""Quality of the default estimators where single cells are missing, beside lightly tuned scikit-learn models.

Of five data sets a share of all cells is removed completely at random, of the rows that are fitted and of those that
are judged alike, other cells for every seed. Boosting reads NaN as it is; the linear model, the forest and the SVM fill
cells with the mean of their column. All are those of ``quality.py`` (tasks, tuning, figures), and so is how they are
run: each in a process of its own, what is done is kept (``--cache``), an interrupted run goes on where it ended, and
looks at test parts are appended to ``test_evaluations.jsonl`` beside ``--out``.

With ``--validate`` no test part is read: models are judged on parts of the development rows, for choosing settings.
Such looks are appended to ``validation_looks.jsonl``.

    python benchmarks/cells.py --data DIR --jobs 16
    python benchmarks/cells.py --data DIR --only digits diabetes --seeds 1 --share 0.3 --models linear forest
    python benchmarks/cells.py --data DIR --validate --seeds 3 --set --set scaling=standard

Figures: mean error (1 - accuracy, or the mean absolute error) over seeds, and ratios to the best of the four on each
task, (error + 0.005) / (its error + 0.005), with their geometric means.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import time
from pathlib import Path

import numpy as np
from _common import environment, processor, table, write_json
from _quality_baselines import BASELINES
from _quality_cells import plan, results_of
from _quality_models import Ours, parse_setting
from _quality_summary import EPS, geometric, mean_figure

TASKS = ("digits", "mfeat", "rosmap", "scene15", "diabetes")
FOUR = ("boosting", "linear", "forest", "SVM")


def choose_models(args):
    """The models by label: settings that are tried, then those that have a name."""
    settings = {" ".join(assignments) or "default": parse_setting(assignments) for assignments in args.set}
    known = {"default": Ours({}), **BASELINES}
    named = args.models or (FOUR if settings else ("default", *FOUR))
    ours = {label: Ours(params) for label, params in settings.items()}
    return {**ours, **{label: known[label] for label in named}}


def ratios(results, names, labels):
    """{label: {task: error over that of the best of the four}}, of the tasks that all of the four have."""
    found = {label: {} for label in labels}
    for name in names:
        if not all((name, label) in results for label in FOUR):
            continue
        best = min(mean_figure(results[name, label], "error") for label in FOUR)
        for label in labels:
            if (name, label) in results:
                found[label][name] = (mean_figure(results[name, label], "error") + EPS) / (best + EPS)
    return found


def print_errors(results, names, labels):
    rows = []
    for name in names:
        row = [name]
        for label in labels:
            errors = [record["figures"]["error"] for record, _ in results.get((name, label), [])]
            spread = f" ±{np.std(errors, ddof=1):.3f}" if len(errors) > 1 else ""
            row.append(f"{np.mean(errors):.4f}{spread}" if errors else "-")
        rows.append(row)
    print("\nerrors: mean ± standard deviation over seeds")
    table(["task", *labels], rows)


def print_ratios(found, shares):
    """A row a model: its geometric mean ratio over the tasks of each share, and of all."""
    columns, rows = [f":{share}%" for share in shares], []
    for label, by_task in found.items():
        parts = [[ratio for name, ratio in by_task.items() if name.endswith(end)] for end in columns]
        rows.append([label, *(f"{geometric(part):.3f}" if part else "-" for part in (*parts, [*by_task.values()]))])
    print("\ngeometric mean of (error + 0.005) / (error of the best of the four + 0.005), by share of cells removed")
    table(["model", *columns, "all"], rows)


def percent(text):
    share = round(100 * float(text))
    if not 0 < share < 100:
        raise argparse.ArgumentTypeError(f"expected a share of at least .01 and at most .99, got {text}")
    return share


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each model (%(default)s)")
    parser.add_argument("--share", nargs="+", type=percent, default=[10, 30], help="of cells that are removed (.1 .3)")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS, metavar="NAME", help=", ".join(TASKS))
    known = ("default", *BASELINES)
    parser.add_argument("--models", nargs="+", choices=known, metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no fit after so many")
    parser.add_argument("--cache", type=Path, help="folder for what is done (quality_cells, beside --out)")
    parser.add_argument("--out", "--output", type=Path, help="JSON file (results/cells.json or cells_validation.json)")
    parser.add_argument("--validate", action="store_true", help="use no test part")
    parser.add_argument(
        "--set",
        nargs="*",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --validate, a setting to try (one column); repeat it to compare, leave it empty for the defaults",
    )
    args = parser.parse_args()
    if args.set and not args.validate:
        parser.error("--set needs --validate: settings are not chosen on test parts")
    args.out = args.out or Path("results", "cells_validation.json" if args.validate else "cells.json")
    args.cache = args.cache or args.out.parent / "quality_cells"
    return args


def main():
    args = parse_args()
    start = time.perf_counter()
    models = choose_models(args)
    names = [f"{name}:{share}%" for share in args.share for name in args.only]
    cells, _ = plan(names, models, args.seeds, folder=args.cache, data=args.data, validate=args.validate)
    results = results_of(cells, args, "cells")
    print_errors(results, names, list(models))
    found = ratios(results, names, list(models))
    if any(found.values()):
        print_ratios(found, args.share)
    print(f"{time.perf_counter() - start:.0f} s in all")
    content = {
        "environment": {**environment(), "processor": processor()},
        "validate": args.validate,
        "seeds": args.seeds,
        "params": {label: model.params for label, model in models.items()},
        "results": {
            name: {
                label: [record for record, _ in results[name, label]] for label in models if (name, label) in results
            }
            for name in names
        },
        "ratios_to_best": found,
    }
    write_json(args.out, content)


if __name__ == "__main__":
    main()
