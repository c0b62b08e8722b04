"""What rows without labels are worth where few rows have one: ours with and without them, beside scikit-learn models.

Of what is fitted, some rows of each class keep their labels, other ones for every seed; the other rows are given
without labels, or not at all. Models are fitted and judged as in ``quality.py``, whose tasks, splits and command line
these are: ``mfeat:2`` has two labels a class, ``mfeat:.9`` those of 90 % of the rows. What is done is kept
(``--cache``), an interrupted run goes on where it ended, ``--minutes 0`` only reports, and each look at a test part is
appended to ``test_evaluations.jsonl`` beside ``--out``.

With ``--validate`` no test part is read: models are judged on parts of the development rows, for choosing settings.
Such looks are appended to ``validation_looks.jsonl``.

    python benchmarks/few_labels.py --data DIR --jobs 16 --page docs/user_guide/few_labels_figures.inc
    python benchmarks/few_labels.py --data DIR --only mfeat leaves100:3 --seeds 2 --models linear self-training
    python benchmarks/few_labels.py --data DIR --validate --only small --set lam=0.3 --set lam=1.0 agreement=1.0

Models are in ``_few_labels_models.py``, ratios and tests in ``_few_labels_summary.py``. Each ``--set`` is ours with
rows without labels; ``--labelled`` are parameters of ours on labelled rows only. Figures: error (1 - accuracy, or the
mean absolute error), with all modalities and, of ours, the mean over modalities of the error where one is absent from
the rows that are judged.
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
from _few_labels_models import BASELINES, CLASSES_ONLY, FIXED, LABELLED, MODELS, ORACLE, OURS, UNLABELLED, Few
from _few_labels_page import write_page
from _few_labels_summary import errors, mean_absent, summarize, with_oracle
from _quality_cells import plan, results_of
from _quality_models import our_estimator, parse_setting
from _quality_tasks import is_task

USUAL = ("1", "2", "5", "10", "20", ".9")
# Labels a class (of regression: in all) of each set; those of the two small numbers, and of nearly all.
SETS = {
    **dict.fromkeys(("mfeat", "digits", "scene15", "landuse", "breast_tcga"), USUAL),
    "leaves100": ("1", "3", "5", ".9"),
    "rosmap": ("25", "50", ".9"),
}
OPTIONAL = {"mosi_text_audio:pooled": ("100",), "diabetes": ("50",)}
FIRST = {**dict.fromkeys(SETS, "2"), "leaves100": "1", "rosmap": "25"}
SECOND = {**dict.fromkeys(SETS, "5"), "leaves100": "3", "rosmap": "25"}


def names_of(labels):
    return [f"{name}:{number}" for name, number in labels.items()]


SUITES = {
    "main": [f"{name}:{number}" for name, numbers in SETS.items() for number in numbers],
    "small": list(dict.fromkeys([*names_of(FIRST), *names_of(SECOND)])),
    "regression": [f"{name}:{number}" for name, numbers in OPTIONAL.items() for number in numbers],
    **{name: [f"{name}:{number}" for number in numbers] for name, numbers in {**SETS, **OPTIONAL}.items()},
}
GROUPS = {
    "2 labels (1 of leaves100, 25 of rosmap)": names_of(FIRST),
    "5 labels (3 of leaves100, 25 of rosmap)": names_of(SECOND),
    "both": SUITES["small"],
    "90 % of the labels": [f"{name}:.9" for name in SETS],
}


def groups_of(names):
    """The groups of tasks that were run; with other tasks, all of them are one more."""
    found = {group: [name for name in tasks if name in names] for group, tasks in GROUPS.items()}
    found = {group: tasks for group, tasks in found.items() if tasks}
    known = {name for tasks in GROUPS.values() for name in tasks}
    return found if known & set(names) else {"all": list(names)}


def print_errors(results, names, labels):
    rows = []
    for name in names:
        row = [name]
        for label in labels:
            values = errors(results, name, label) if (name, label) in results else np.array([])
            spread = f" ±{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            row.append(f"{np.mean(values):.4f}{spread}" if len(values) else "-")
        rows.append(row)
    print("\nerrors: mean ± standard deviation over seeds")
    table(["task", *labels], rows)


def print_absent(results, names, labels):
    rows = []
    for name in names:
        found = [mean_absent(results, name, label) if (name, label) in results else None for label in labels]
        if any(values is not None for values in found):
            rows.append([name, *("-" if values is None else f"{values.mean():.4f}" for values in found)])
    if rows:
        print("\nerrors where a modality is absent from the rows that are judged: mean over modalities and seeds")
        table(["task", *labels], rows)


def print_summary(summary):
    columns = [
        "beside",
        "tasks",
        "ratio",
        "at least as good",
        "5 % worse",
        "sig. better",
        "sig. worse",
        "p seeds",
        "p tasks",
    ]
    for label, groups in summary.items():
        for group, compared in groups.items():
            rows = []
            for other, found in compared.items():
                counts = [len(found["worse_by_5_percent"]), found["significantly_better"], found["significantly_worse"]]
                p_values = [f"{found[key]:.3g}" for key in ("p_over_seeds", "p_over_tasks")]
                row = [other, found["tasks"], f"{found['ratio']:.3f}", found["at_least_as_good"], *counts, *p_values]
                rows.append(row)
            if rows:
                print(f"\n{label!r}, {group}: geometric means of (error + 0.005) / (that of the other + 0.005)")
                table(columns, rows)


def choose_models(args):
    """The models by label: ours on labelled rows, settings that are tried, then those that have a name."""
    settings = {" ".join(assignments) or "default": parse_setting(assignments) for assignments in args.set}
    named = args.models or (LABELLED, *(() if settings else (UNLABELLED,)), *BASELINES)
    known = {**MODELS, LABELLED: Few(parse_setting(args.labelled), unlabelled=False)}
    ours = {label: Few(params, unlabelled=True) for label, params in settings.items()}
    first = {label: known[label] for label in named if label in OURS}
    return {**first, **ours, **{label: known[label] for label in named}}


def parse_args():
    def task(name):
        if name not in SUITES and not (is_task(name + "+") and ":" in name):
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SUITES)}, nor a data set with :k behind")
        return name

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each model (%(default)s)")
    parser.add_argument("--only", nargs="+", type=task, default=["main"], metavar="NAME", help=f"{', '.join(SUITES)}")
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no fit after so many")
    parser.add_argument("--cache", type=Path, help="folder for what is done (few_labels_cells, beside --out)")
    parser.add_argument("--out", "--output", type=Path, help="JSON file (results/few_labels[_validation].json)")
    parser.add_argument("--page", type=Path, help="write the tables of the documentation")
    parser.add_argument("--validate", action="store_true", help="use no test part")
    parser.add_argument(
        "--set",
        nargs="*",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --validate, a setting to try with rows without labels (one column); repeat it to compare",
    )
    parser.add_argument(
        "--labelled", nargs="*", default=[], metavar="NAME=VALUE", help="with --validate, that of labelled rows only"
    )
    args = parser.parse_args()
    if (args.set or args.labelled) and not args.validate:
        parser.error("--set and --labelled need --validate: settings are not chosen on test parts")
    if args.page and args.validate:
        parser.error("--page is of test parts")
    args.out = args.out or Path("results", "few_labels_validation.json" if args.validate else "few_labels.json")
    args.cache = args.cache or args.out.parent / "few_labels_cells"
    args.names = list(dict.fromkeys(n for name in args.only for n in SUITES.get(name, [name])))
    return args, parser


def main():
    args, parser = parse_args()
    start = time.perf_counter()
    models = choose_models(args)
    numbered = [name + "+" for name in args.names]  # the other rows stay, without labels
    cells, tasks = plan(numbered, models, args.seeds, folder=args.cache, data=args.data, validate=args.validate)
    if not tasks:
        parser.error("nothing to run")
    kinds = {name.removesuffix("+"): task.kind for name, task in tasks.items()}
    cells = {(name.removesuffix("+"), label): row for (name, label), row in cells.items()}
    cells = {key: row for key, row in cells.items() if kinds[key[0]] == "classes" or key[1] not in CLASSES_ONLY}
    for kind in set(kinds.values()):
        for model in models.values():
            if isinstance(model, Few):
                our_estimator(kind, model.params, 0)  # a wrong name is an error now, not in every process
    results = with_oracle(results_of(cells, args, "few_labels"), kinds)

    ours = [label for label, model in models.items() if isinstance(model, Few)]
    shown = [*models, ORACLE] if any(key[1] == ORACLE for key in results) else [*models]
    print_errors(results, kinds, shown)
    print_absent(results, kinds, ours)
    summary = summarize(results, groups_of(kinds), ours)
    print_summary(summary)
    print(f"{time.perf_counter() - start:.0f} s in all")
    content = {
        "environment": {**environment(), "processor": processor()},
        "validate": args.validate,
        "seeds": args.seeds,
        "params": {label: model.params for label, model in models.items()},
        "fixed_neighbours": FIXED,
        "kinds": kinds,
        "results": {
            name: {label: [record for record, _ in results[name, label]] for label in shown if (name, label) in results}
            for name in kinds
        },
        "absent": {
            name: {label: _listed(mean_absent(results, name, label)) for label in ours if (name, label) in results}
            for name in kinds
        },
        "summary": summary,
    }
    write_json(args.out, content)
    if args.page:
        write_page(args.page, content)


def _listed(values):
    return None if values is None else values.tolist()


if __name__ == "__main__":
    main()
