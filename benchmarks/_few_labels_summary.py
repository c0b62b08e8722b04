"""What the cells of the benchmark of few labels say together: ratios of errors, and paired tests over seeds.

The seed draws which rows keep their labels, so models are compared seed by seed. For each task (a set with a number of
labels) a two-sided paired t test of the errors, corrected by Holm's method for the number of tasks; over tasks, a t
test of the seeds' mean log ratios (do other draws of labels say the same of these sets?) and Wilcoxon's signed-rank
test of the tasks' log ratios (do other sets?). Ratios are those of (error + 0.005), over tasks their geometric mean.
"""

from __future__ import annotations

import numpy as np
from _few_labels_models import FIXED, LABELLED, ORACLE, SPREADING, WITHOUT
from _quality_summary import ALPHA, EPS, geometric, holm
from scipy.stats import ttest_1samp, ttest_rel, wilcoxon

# How much worse a task may be before it is counted.
MARGIN = 1.05
OTHERS = (LABELLED, ORACLE, f"spreading, k={FIXED}", "self-training", "linear", "forest")


def with_oracle(results, tasks):
    """Add label spreading with the number of neighbours that is best on the judged rows: one a task, for all seeds."""
    found = dict(results)
    for task in tasks:
        if _there(results, task, *SPREADING):
            best = min(SPREADING, key=lambda label: errors(results, task, label).mean())
            found[task, ORACLE] = results[task, best]
    return found


def errors(results, task, label):
    """The error of each seed."""
    return np.array([record["figures"]["error"] for record, _ in results[task, label]])


def absent_errors(results, task, label):
    """{modality: the error of each seed where it is absent}."""
    runs = results[task, label]
    names = [name for name in runs[0][1] if name.startswith(WITHOUT)]
    return {name.removeprefix(WITHOUT): np.array([_error(rows, name) for _, rows in runs]) for name in names}


def _error(rows, name):
    if np.issubdtype(rows["y"].dtype, np.integer):
        return float((rows[name] != rows["y"]).mean())
    return float(np.abs(rows[name] - rows["y"]).mean())


def mean_absent(results, task, label):
    """The mean over modalities of the error where one is absent, of each seed; None where there is but one."""
    found = absent_errors(results, task, label)
    return np.mean(list(found.values()), axis=0) if found else None


def _p(test, mine, other):
    """The p value of a test over seeds; 1 with a single seed, or where all differ by the same: there is no spread."""
    if len(mine) < 2 or np.ptp(mine - other) < 1e-12:
        return 1.0
    return float(test(mine, other).pvalue)


def beside(results, tasks, label, other, read=errors):
    """One model beside another over tasks that both have, by what ``read`` says of the seeds; None without any."""
    pairs = {
        task: [read(results, task, x) for x in (label, other)] for task in tasks if _there(results, task, label, other)
    }
    pairs = {task: pair for task, pair in pairs.items() if pair[0] is not None}
    if not pairs:
        return None
    by_task = {}
    for task, (mine, theirs) in pairs.items():
        ratio = (mine.mean() + EPS) / (theirs.mean() + EPS)
        by_task[task] = {"ratio": float(ratio), "p": _p(ttest_rel, mine, theirs)}
    for found, p in zip(by_task.values(), holm([found["p"] for found in by_task.values()]), strict=True):
        found["p_holm"] = p
    ratios = np.array([found["ratio"] for found in by_task.values()])
    real = np.array([found["p_holm"] for found in by_task.values()]) < ALPHA
    by_seed = np.mean([np.log((mine + EPS) / (theirs + EPS)) for mine, theirs in pairs.values()], axis=0)
    worse = [task for task, found in by_task.items() if found["ratio"] > MARGIN]
    return {
        "ratio": geometric(ratios),
        "tasks": len(ratios),
        "at_least_as_good": int((ratios < 1 + 1e-9).sum()),
        "worse_by_5_percent": worse,
        "significantly_better": int((real & (ratios < 1)).sum()),
        "significantly_worse": int((real & (ratios > 1)).sum()),
        "p_over_seeds": _p(ttest_1samp, by_seed, 0.0),
        "p_over_tasks": float(wilcoxon(np.log(ratios)).pvalue) if len(ratios) > 1 and np.any(ratios != 1) else 1.0,
        "by_task": by_task,
    }


def _there(results, task, *labels):
    return all((task, label) in results for label in labels)


def summarize(results, groups, labels):
    """{model of ours: {group of tasks: {other model: comparison}}}, errors with all modalities and with one absent."""
    found = {}
    for label in labels:
        found[label] = {}
        for group, tasks in groups.items():
            compared = {other: beside(results, tasks, label, other) for other in OTHERS if other != label}
            absent = beside(results, tasks, label, LABELLED, mean_absent) if label != LABELLED else None
            compared[f"{LABELLED}, a modality absent"] = absent
            found[label][group] = {other: result for other, result in compared.items() if result is not None}
    return found
