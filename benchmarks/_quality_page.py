"""The results of the benchmark of quality as a page of the documentation."""

from __future__ import annotations

import numpy as np
from _quality_baselines import BASELINES, FIVE, OPTIONAL
from _quality_tasks import SUITES

LICENCES = """\
The data are not shipped with the package. ``mfeat`` and ``leaves100`` are of the UCI repository (CC BY 4.0), the sets
of scikit-learn come with it. ``breast_tcga`` is open-access TCGA data as in mixOmics (GPL); ``rosmap`` holds processed
values of a study whose original data are under data-use terms; CMU-MOSI and ICT-MMMO are distributed for research;
of ``scene15`` and ``landuse`` only descriptors of the images are used, for which no terms are stated. Whoever uses
them should look up and cite their sources."""


def _grid(title, header, rows, note=""):
    """A csv-table; a cell that may hold a comma or a mark is quoted."""
    quoted = [", ".join('"' + str(cell).replace('"', '""') + '"' for cell in row) for row in [header, *rows]]
    lines = [f".. csv-table:: {title}", "   :header-rows: 1", ""]
    return "\n".join([*lines, *("   " + line for line in quoted), "", note, ""])


def _figure(content, task, label, name):
    """Mean over seeds; NaN where it is not there."""
    runs = content["results"][task].get(label, [])
    values = [run["figures"].get(name, np.nan) for run in runs]
    return float(np.mean(values)) if values else float("nan")


def _by_task(content, tasks, labels, name, digits, *, bold):
    rows = []
    for task in tasks:
        values = np.array([_figure(content, task, label, name) for label in labels])
        if np.isnan(values).all():
            continue
        places = digits if np.nanmax(values) < 10 else min(digits, 2)
        shown = ["-" if np.isnan(value) else f"{value:.{places}f}" for value in values]
        least = shown[np.nanargmin(values)]
        rows.append([task, *(f"**{text}**" if bold and text == least else text for text in shown)])
    return rows


def _verdict(summary):
    worst = summary["worst_beside_linear"]
    n = len(summary["tasks"])
    lines = [
        ("Mean rank among the five baselines and itself", f"{summary['mean_ranks'][summary['model']]:.2f} of 6"),
        ("At least as good as the best of the five", f"{summary['at_least_the_best']} of {n} tasks"),
        ("Error over that of the best of the five, geometric mean", f"{summary['ratio_to_best']:.3f}"),
        (
            "Log loss over the least of the five, geometric mean (with .005 added to both)",
            f"{summary.get('log_loss_ratio_to_best', np.nan):.3f} "
            f"({summary.get('log_loss_ratio_to_best_plus_eps', np.nan):.3f})",
        ),
        (
            "Worst beside the linear model",
            f"{100 * worst['relative']['value']:+.1f} % ({worst['relative']['task']}); "
            f"{worst['standard_errors']['value']:+.1f} paired standard errors ({worst['standard_errors']['task']})",
        ),
        ("Worse than it by more than 2 % and a standard error", ", ".join(worst["beyond_margin"]) or "nowhere"),
    ]
    each = (
        (f"{label}, by itself, over the best of the five", r) for label, r in summary["ratio_of_each_to_best"].items()
    )
    return [*lines, *((name, f"{ratio:.3f}") for name, ratio in each)]


def _against(summary):
    rows = []
    for label, found in summary["against"].items():
        tasks = f"{found['better']} / {found['equal']} / {found['worse']}"
        real = f"{found['significantly_better']} / {found['significantly_worse']}"
        rows.append([label, f"{found['ratio']:.3f}", tasks, real, f"{found['p_over_tasks_holm']:.3g}"])
    return rows


def _differences(summary):
    """Difference to each baseline in paired standard errors, with a star where the corrected test is below 5 %."""
    rows = []
    for task in summary["tasks"]:
        row = [task, summary["best"][task]]
        for label in FIVE:
            found = summary["against"][label]["by_task"][task]
            error = found["standard_error"]
            shown = f"{found['difference'] / error:+.1f}" if error else "0"
            row.append(shown + (" \\*" if found["p_holm"] < 0.05 else ""))
        rows.append(row)
    return rows


def write_page(path, content):
    """Write the page, from what the JSON file holds."""
    summary = content["summary"]
    labels = [label for label in content["params"] if any(label in models for models in content["results"].values())]
    tasks = list(content["results"])
    only = "" if tasks == SUITES["main"] else f" --only {' '.join(tasks)}"
    command = (
        f"python benchmarks/quality.py --data DIR --seeds {content['seeds']}{only} --page docs/user_guide/quality.rst"
    )
    parts = [
        ".. This page is written by benchmarks/quality.py; what is changed here is lost.\n",
        "=======\nQuality\n=======\n",
        "How good are the default estimators on data that were not made for them, beside scikit-learn models that\n"
        "were lightly tuned by folds: logistic or ridge regression, gradient boosting, a random forest, a support\n"
        "vector machine and a multilayer perceptron, on the standardised concatenation of the views? ``stacking`` is\n"
        "one linear model a view. Our estimators have one set of defaults, chosen without the test parts.\n",
        f"{_measured(content)} To reproduce::\n\n    {command}\n",
        "The error is 1 - accuracy, or the mean absolute error where y is a number. ``name:k`` keeps k labelled rows\n"
        "a class and drops the others; ``pooled``: sequences as mean and standard deviation over their steps.\n",
    ]
    if summary:
        parts.append(
            _grid(f"``{summary['model']}`` on {len(summary['tasks'])} tasks", ["figure", "value"], _verdict(summary))
        )
        header = [
            "beside",
            "ratio of errors",
            "tasks better / equal / worse",
            "significantly better / worse",
            "p over tasks",
        ]
        note = (
            "Ratio: geometric mean of (error + .005) / (the other's + .005). Significant: sign-flip test over judged\n"
            "samples (over groups, where samples come in groups), below 5 % after Holm's correction for the number of\n"
            "tasks. The last column is Wilcoxon's signed-rank test over tasks, corrected for the number of models.\n"
        )
        parts.append(_grid("Beside each model", header, _against(summary), note))
    best = "The least is bold. The best of five is known with hindsight only.\n"
    parts.append(_grid("Error", ["task", *labels], _by_task(content, tasks, labels, "error", 4, bold=True), best))
    if summary:
        header = ["task", "best of the five", *FIVE]
        note = "Below zero: less error than the baseline. A star: significant, as above.\n"
        title = f"Difference of ``{summary['model']}`` to each baseline, in paired standard errors"
        parts.append(_grid(title, header, _differences(summary), note))
    classes = [task for task in tasks if content["kinds"][task] == "classes"]
    if classes:
        rows = _by_task(content, classes, labels, "log_loss", 3, bold=True)
        parts.append(_grid("Log loss", ["task", *labels], rows))
    for name, title, digits in (
        ("slowest_fit", "Seconds of a fit, tuning included (the longest, where a task is several folds)", 1),
        ("memory", "Megabytes by which the process grew at its peak", 0),
    ):
        parts.append(_grid(title, ["task", *labels], _by_task(content, tasks, labels, name, digits, bold=False)))
    parts.append(_scores(content, tasks, labels))
    parts.append(f"Data\n----\n\n{LICENCES}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(part for part in parts if part))
    print(f"written to {path}")


def _measured(content):
    """Which commits were measured when, and on what; of our estimators, as baselines are kept from run to run."""
    cells = [
        run["environment"]
        for models in content["results"].values()
        for label, runs in models.items()
        if label not in {**BASELINES, **OPTIONAL}
        for run in runs
    ]

    def each(name, length=None):
        return ", ".join(sorted({str(cell[name])[:length] for cell in cells}))

    packages = ", ".join(f"{name} {each(name)}" for name in ("scikit-learn", "torch", "numpy"))
    return (
        f"Commit {each('commit', 12)}, {each('time', 10)}, one thread of {each('processor')},\n"
        f"Python {each('python')}, {packages}. Seeds: {content['seeds']}. A seed draws initial weights, folds\n"
        "and, where there is no fixed test part, the split."
    )


def _scores(content, tasks, labels):
    """What papers report on the tasks of sentiment."""
    rows = []
    for task in tasks:
        for name in ("pearson", "acc7", "acc2", "binary"):
            values = [_figure(content, task, label, name) for label in labels]
            if not np.isnan(values).all():
                rows.append([task, name, *("-" if np.isnan(v) else f"{v:.3f}" for v in values)])
    return _grid("Further figures of regression", ["task", "figure", *labels], rows) if rows else ""
