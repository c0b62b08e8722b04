"""The results of the benchmark of quality as a page of the documentation."""

from __future__ import annotations

import numpy as np
from _quality_baselines import BASELINES, FIVE, OPTIONAL
from _quality_tasks import SUITES

INTRODUCTION = """\
How good are the default estimators, beside five families of scikit-learn models that were tuned by folds, on data that
were not made for them? The error is 1 - accuracy, or the mean absolute error where y is a number. The best of the five
is that with the least error on the test part of each task: nobody knows it before."""

METHOD = """\
**Tasks.** Some data sets come in several variants: ``name:k`` keeps k labelled rows a class and drops the others;
``pooled`` has sequences as mean and standard deviation over their steps. ``mosi_bclstm_cv`` is the test part of
``mosi_bclstm`` in five folds by video. Groups (videos, speakers, blocks of images) are never cut.

**Ours.** ``default`` has the default parameters in every task, but for ``early_stopping=False`` in ``mosi_bclstm``,
whose features have seen the labels of its training part. ``lam=0`` is without the dependency term; ``f`` and
``wasserstein`` are two other measures of it.

**Theirs.** All read the views side by side, standardised, with means for what is missing (boosting takes it as it is).
Settings are chosen by five folds up to 500 rows and by three beyond, the same folds for all; where there are too few
rows for folds, the first setting is taken.

.. csv-table::
   :header-rows: 1

   "model", "tuned"
   "linear", "logistic regression: 7 values of C, by accuracy, and by log loss for probabilities; ridge: 15 of alpha"
   "boosting", "HistGradientBoosting: 31 or 7 leaves; with more than 50 classes not tuned"
   "forest", "300 trees: sqrt or 0.3 of the features"
   "SVM", "RBF kernel: three values of C, two widths; probabilities calibrated on the folds"
   "MLP", "a hidden layer of 100: three values of alpha; targets standardised"
   "stacking", "one linear model a view, and one on their predictions; not among the five"
"""

LIMITS = """\
* **Small data.** No task has 4,000 training rows, up to which a kernel model takes part in a committee. With few
  samples it often has most of the weight: :doc:`committee` has figures with and without it. Nothing here speaks for
  larger data, where the networks do without it.
* **Few data sets.** Tasks that are variants of one data set are not independent: counts and tests over tasks look surer
  than they are. Most are vectors of features, and classes; of regression there is little.
* **Test parts were looked at once** with these defaults, at the end, all seeds together. Settings were chosen by
  validation parts and folds inside the training parts of these data sets (see :doc:`committee`), so they are at home
  here: on data of another kind, expect less. Which kinds of models are in a committee goes back to earlier prototypes,
  which had been compared on test parts of such tasks. Of the sets of scikit-learn each seed draws another split, and
  the examples of this documentation use them, too.
* **Lightly tuned** is not as good as can be. Somebody who knows a data set would transform its features, and search
  longer.
* **Seconds** are those of one thread, for the others with the search for their settings, for ours with the critic that
  reports dependency. A single fit of a scikit-learn model with given settings takes a fraction of that.
* **The dependency term** by itself is judged by ``lam=0`` beside ``default``, where that is in the tables, and not by
  the distance to other models.
"""

LICENCES = """\
The data are not shipped with the package. ``mfeat`` (digits, six sets of features) and ``leaves100`` (leaves of 100
species) are of the UCI repository, under the licence CC BY 4.0: use with attribution. ``breast_tcga`` (subtypes of
tumours) is open-access data of The Cancer Genome Atlas, as in the R package mixOmics (GPL). ``rosmap`` (Alzheimer's
disease) holds processed values of a study whose original data are under data-use terms. CMU-MOSI (``mosi_*``),
ICT-MMMO (``mmmo``) and POM (``pom``), reviews on video, are distributed for research. Of the images of ``scene15`` and
``landuse`` only descriptors are used, for which no terms are stated. The other sets come with scikit-learn. Whoever
uses them should look up the terms at the source, and cite it."""


def grid(title, header, rows, note=""):
    """A csv-table; a cell that may hold a comma or a mark is quoted."""
    quoted = [", ".join('"' + str(cell).replace('"', '""') + '"' for cell in row) for row in [header, *rows]]
    lines = [f".. csv-table:: {title}", "   :header-rows: 1", ""]
    return "\n".join([*lines, *("   " + line for line in quoted), "", note, ""])


def _heading(title):
    return f"{title}\n{'=' * len(title)}\n\n"


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
    return [
        ("At least as good as the best of the five", f"{summary['at_least_the_best']} of {n} tasks"),
        (
            "Log loss over the least of the five, geometric mean (with 0.005 added to both)",
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


def _standing(content, summary):
    """Each of the six by itself: rank, error beside the best of the five, cost."""
    rows = []
    for label, rank in summary["mean_ranks"].items():
        ours = label == summary["model"]
        ratio = summary["ratio_to_best"] if ours else summary["ratio_of_each_to_best"][label]
        cost = content["overview"].get(label)
        seconds = f"{cost['median_seconds']:.1f} / {cost['longest_seconds']:.0f}" if cost else "-"
        rows.append([label, f"{rank:.2f}", f"{ratio:.3f}", seconds])
    return rows


def _behind(summary):
    """Where a baseline has less error, most first: in words."""
    found = {task: summary["against"][best]["by_task"][task]["ratio"] for task, best in summary["best"].items()}
    worse = sorted((task for task in found if found[task] > 1), key=lambda task: -found[task])
    named = [f"{task} ({found[task]:.2f} x {summary['best'][task]})" for task in worse]
    return f"More error than the best of the five, with 0.005 added to both: {', '.join(named) or 'nowhere'}.\n"


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
        f"python benchmarks/quality.py --data DIR --seeds {content['seeds']}{only} \\\n"
        "        --page docs/user_guide/quality.rst"
    )
    parts = [
        ".. This page is written by benchmarks/quality.py; what is changed here is lost.\n",
        "=======\nQuality\n=======\n",
        INTRODUCTION + "\n",
    ]
    if summary:
        title = f"``{summary['model']}`` and the five on {len(summary['tasks'])} tasks"
        header = ["model", "mean rank of six", "error over the best of the five", "seconds of a fit (median / longest)"]
        note = "Errors are compared with 0.005 added to both; the geometric mean over tasks.\n"
        parts.append(grid(title, header, _standing(content, summary), note))
        parts.append(grid(f"More of ``{summary['model']}``", ["figure", "value"], _verdict(summary), _behind(summary)))
    parts += [
        _heading("What this does not say") + LIMITS,
        _heading("How it was measured") + METHOD,
        f"{measured(content)} To reproduce:\n\n.. code-block:: bash\n\n    {command}\n",
        _heading("Task by task"),
    ]
    if summary:
        header = [
            "beside",
            "ratio of errors",
            "tasks better / equal / worse",
            "significantly better / worse",
            "p over tasks",
        ]
        note = (
            "Ratio: geometric mean of (error + 0.005) / (the other's + 0.005). Significant: sign-flip test over\n"
            "judged samples (over groups, where samples come in groups), below 5 % after Holm's correction for the\n"
            "number of tasks. The last column is Wilcoxon's signed-rank test over tasks, corrected for the number of\n"
            "models.\n"
        )
        parts.append(grid("Beside each model", header, _against(summary), note))
    best = "The least is bold. The best of five is known with hindsight only.\n"
    parts.append(grid("Error", ["task", *labels], _by_task(content, tasks, labels, "error", 4, bold=True), best))
    if summary:
        header = ["task", "best of the five", *FIVE]
        note = "Below zero: less error than the baseline. A star: significant, as above.\n"
        title = f"Difference of ``{summary['model']}`` to each baseline, in paired standard errors"
        parts.append(grid(title, header, _differences(summary), note))
    classes = [task for task in tasks if content["kinds"][task] == "classes"]
    if classes:
        rows = _by_task(content, classes, labels, "log_loss", 3, bold=True)
        parts.append(grid("Log loss", ["task", *labels], rows))
    for name, title, digits in (
        ("slowest_fit", "Seconds of a fit, tuning included (the longest, where a task has several folds)", 1),
        ("memory", "Megabytes by which the process grew at its peak", 0),
    ):
        parts.append(grid(title, ["task", *labels], _by_task(content, tasks, labels, name, digits, bold=False)))
    parts.append(_scores(content, tasks, labels))
    parts.append(_heading("Data") + LICENCES + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(part for part in parts if part))
    print(f"written to {path}")


def measured(content, others=(*BASELINES, *OPTIONAL)):
    """Which commits were measured when, and on what; of our estimators, as baselines are kept from run to run."""
    cells = [
        run["environment"]
        for models in content["results"].values()
        for label, runs in models.items()
        if label not in others
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
    return grid("Further figures of regression", ["task", "figure", *labels], rows) if rows else ""
