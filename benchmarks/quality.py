"""Quality of the default estimators on real data, beside lightly tuned scikit-learn models.

Every model is fitted on the development rows of each data set and judged on the test part, once for every seed, each
in a process of its own with one thread. What is done is kept (``--cache``) and not done again, so that a run that was
interrupted, or for which ``--minutes`` were too few, goes on where it ended; ``--minutes 0`` only reports. Each new
look at a test part is appended to ``test_evaluations.jsonl`` beside ``--out``.

With ``--validate`` no test part is read: models are judged on parts of the development rows, for choosing settings.
Such looks are appended to ``validation_looks.jsonl``.

    python benchmarks/quality.py --data DIR --jobs 16
    python benchmarks/quality.py --data DIR --only rosmap wine mfeat:5 --seeds 1 --models linear forest default
    python benchmarks/quality.py --data DIR --validate --baselines --set --set lam=0.1 --set lam=0.3 n_iter_no_change=5
    python benchmarks/quality.py --data DIR --minutes 0 --page docs/user_guide/quality.rst

Tasks are in ``_quality_tasks.py`` (any ``name:k`` keeps k labelled rows a class, ``name:30%`` removes so many cells;
``cells.py`` is about these), baselines in
``_quality_baselines.py``, what the summary says in ``_quality_summary.py``. Figures: error (1 - accuracy, or mae) and
log_loss; mae, pearson; acc7: agreement after clipping to [-3, 3] and rounding; acc2: agreement in sign, samples with
y = 0 left out; binary: agreement on y > 3.5; accuracy; skill: share of the error of the best constant that is gone;
dependency: nats on the part that is judged, with its standard error (from ``fit_dependency`` where ``lam=0``); seconds
of fits (tuning included) and of predictions; memory: MB by which the process grew at its peak. Predictions of all folds
are pooled first.
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
from _quality_baselines import BASELINES, FIVE, OPTIONAL
from _quality_cells import plan, results_of
from _quality_models import METRICS, MODELS, OURS, Ours, our_estimator, parse_setting
from _quality_page import write_page
from _quality_summary import overview, summarize
from _quality_tasks import BUNDLED, FILES, SUITES, is_task


def print_task(name, kind, results):
    """Figures of all models on one task."""
    shown = ("log_loss", "skill", "dependency", "dependency_std", "epochs", "seconds", "memory")
    columns = [*METRICS[kind], *shown]
    rows = []
    for label, runs in results.items():
        row = [label]
        for column in columns:
            values = [record["figures"][column] for record, _ in runs if column in record["figures"]]
            digits = 1 if column in ("epochs", "seconds", "memory") else 3
            spread = f" ±{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 and column in METRICS[kind] else ""
            row.append(f"{np.mean(values):.{digits}f}{spread}" if values else "-")
        rows.append(row)
    print(f"\n{name}: mean ± standard deviation over seeds")
    table(["model", *columns], rows)


def print_overview(rows, tasks):
    print(f"\nover {len(tasks)} tasks; ratios are geometric means of (error + 0.005) / (that of the best of the five,")
    print(f"or of {next(iter(rows))!r}, + 0.005), ranks are among six; seconds of single fits, memory in MB")
    columns = ["ratio_to_first", "ratio_to_best", "mean_rank", "at_least_the_best", "log_loss_ratio_to_best"]
    columns += ["mean_skill", "median_seconds", "longest_seconds", "most_memory"]
    body = []
    for label, figures in rows.items():
        values = [figures.get(column) for column in columns]
        body.append([label, *("-" if v is None else str(v) if isinstance(v, int) else f"{v:.3f}" for v in values)])
    table(["model", *columns], body)


def print_summary(summary):
    print(f"\n{summary['model']!r} on {len(summary['tasks'])} tasks")
    ranks = ", ".join(f"{label} {rank:.2f}" for label, rank in summary["mean_ranks"].items())
    print(f"mean rank of six: {ranks}")
    print(f"at least as good as the best of the five: {summary['at_least_the_best']}")
    each = ", ".join(f"{label} {ratio:.3f}" for label, ratio in summary["ratio_of_each_to_best"].items())
    print(f"ratio to the best of the five: {summary['ratio_to_best']:.3f} ({each})")
    if "log_loss_ratio_to_best" in summary:
        print(f"ratio of log loss to the least of the five: {summary['log_loss_ratio_to_best']:.3f}", end="; ")
        print(f"{summary['log_loss_ratio_to_best_plus_eps']:.3f} with 0.005 added to both", end="; ")
        print(f"to that of the best by error: {summary['log_loss_ratio_to_best_by_error']:.3f}")
    worst = summary["worst_beside_linear"]
    for unit, name in (("relative", "relatively"), ("standard_errors", "in standard errors")):
        print(f"worst beside the linear model, {name}: {worst[unit]['value']:+.3f} ({worst[unit]['task']})")
    print(f"worse than it by more than 2 % and a standard error: {', '.join(worst['beyond_margin']) or 'nowhere'}")
    columns = ("ratio", "better", "equal", "worse", "significantly_better", "significantly_worse", "p_over_tasks_holm")
    rows = [
        [label, *(f"{found[c]:.3f}" if isinstance(found[c], float) else found[c] for c in columns)]
        for label, found in summary["against"].items()
    ]
    table(["against", *columns], rows)


def choose_models(args):
    """The models by label: settings that are tried, and those that have a name."""
    settings = {" ".join(assignments) or "default": Ours(parse_setting(assignments)) for assignments in args.set}
    named = args.models or ((*OURS, *BASELINES) if not args.validate else () if settings else tuple(OURS))
    return {**settings, **{label: MODELS[label] for label in (*named, *(FIVE if args.baselines else ()))}}


def parse_args():
    def task(name):
        if name not in SUITES and not is_task(name):
            known = ", ".join([*SUITES, *FILES, *BUNDLED])
            raise argparse.ArgumentTypeError(f"{name!r} is none of {known}, nor one of them with :k, :pooled or :k%%")
        return name

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each model (%(default)s)")
    parser.add_argument(
        "--only", nargs="+", type=task, default=["main"], metavar="NAME", help="tasks, or " + ", ".join(SUITES)
    )
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, metavar="NAME", help=f"of {', '.join(MODELS)} (all but {[*OPTIONAL]})"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument(
        "--backend",
        choices=("dask", "ray"),
        help="of joblib, instead of processes of this machine: the cluster of DASK_SCHEDULER_ADDRESS or RAY_ADDRESS, "
        "whose workers see the same folders and have benchmarks/ on their PYTHONPATH, or one of --jobs workers here",
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no fit after so many")
    parser.add_argument("--cache", type=Path, help="folder for what is done (quality_cells, beside --out)")
    parser.add_argument("--out", "--output", type=Path, help="JSON file (results/quality.json or validation.json)")
    parser.add_argument("--page", type=Path, help="write a page of the documentation")
    parser.add_argument("--validate", action="store_true", help="use no test part")
    parser.add_argument(
        "--set",
        nargs="*",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --validate, a setting to try (one table row); repeat it to compare, leave it empty for the defaults",
    )
    parser.add_argument("--baselines", action="store_true", help="with --validate, run the scikit-learn models too")
    args = parser.parse_args()
    if (args.set or args.baselines) and not args.validate:
        parser.error("--set and --baselines need --validate: settings are not chosen on test parts")
    if args.page and args.validate:
        parser.error("--page is of test parts")
    args.out = args.out or Path("results", "validation.json" if args.validate else "quality.json")
    args.cache = args.cache or args.out.parent / "quality_cells"
    args.names = list(dict.fromkeys(n for name in args.only for n in SUITES.get(name, [name])))
    return args, parser


def main():
    args, parser = parse_args()
    start = time.perf_counter()
    models = choose_models(args)
    cells, tasks = plan(args.names, models, args.seeds, folder=args.cache, data=args.data, validate=args.validate)
    if not tasks:
        parser.error("nothing to run")
    for kind in {task.kind for task in tasks.values()}:
        for model in models.values():
            if isinstance(model, Ours):
                our_estimator(kind, model.params, 0)  # a wrong name is an error now, not in every process
    results = results_of(cells, args, "quality")

    for name, task in tasks.items():
        print_task(name, task.kind, {label: results[name, label] for label in models if (name, label) in results})
    rows, shared = overview(results, list(tasks), [x for x in models if any(label == x for _, label in results)])
    if rows:
        print_overview(rows, shared)
    judged = next((label for label, model in models.items() if isinstance(model, Ours)), None)
    summary = None
    if judged is not None:
        summary = summarize(results, list(tasks), judged, [x for x in models if x not in (judged, *FIVE)])
    if summary is not None:
        print_summary(summary)
    print(f"{time.perf_counter() - start:.0f} s in all")
    content = {
        "environment": {**environment(), "processor": processor()},
        "validate": args.validate,
        "seeds": args.seeds,
        "params": {label: model.params for label, model in models.items()},
        "kinds": {name: task.kind for name, task in tasks.items()},
        "results": {
            name: {
                label: [record for record, _ in results[name, label]] for label in models if (name, label) in results
            }
            for name in tasks
        },
        "overview": rows,
        "summary": summary,
    }
    write_json(args.out, content)
    if args.page:
        write_page(args.page, content)


if __name__ == "__main__":
    main()
