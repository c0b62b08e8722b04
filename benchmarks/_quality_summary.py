"""What the cells say together: ranks, ratios to the baselines, and paired tests.

The error of a task is 1 - accuracy or the mean absolute error, its mean over seeds. Ratios are geometric means over
tasks of (error + 0.005) / (other error + 0.005); "the best" is the best of the five baselines on each task by itself,
chosen with hindsight. Differences are paired by judged sample, each averaged over the seeds that judged it; their
standard error takes samples for independent; the tests do not: they flip the signs of whole groups where there are
any. P values of one family (one baseline, all tasks; all baselines) are corrected by Holm's method.
"""

from __future__ import annotations

import numpy as np
from _quality_baselines import FIVE
from scipy.stats import rankdata, wilcoxon

EPS = 0.005
FLIPS = 10_000
ALPHA = 0.05
MARGIN = 1.02  # of the linear model's error, which may be reached beside one standard error


def mean_figure(runs, name):
    """Mean over seeds; None where a run has no such figure."""
    values = [record["figures"].get(name) for record, _ in runs]
    return None if None in values else float(np.mean(values))


def paired(runs, others, loss="error"):
    """Differences of two models, one for each judged sample: mean over seeds; and the groups of the samples."""
    found = [(a["row"], a["group"], a[loss] - b[loss]) for (_, a), (_, b) in zip(runs, others, strict=True)]
    rows, groups, differences = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, first, where = np.unique(rows, return_index=True, return_inverse=True)
    return np.bincount(where, differences) / np.bincount(where), groups[first]


def standard_error(differences):
    return float(np.std(differences, ddof=1) / np.sqrt(len(differences)))


def sign_flip(differences, groups, seed=0):
    """Two-sided p value of a mean difference of zero, by random signs of groups."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], differences)
    sums = sums[np.abs(sums) > 1e-12]
    rng = np.random.default_rng(seed)
    least = abs(sums.sum()) - 1e-9
    reached = 0
    for _ in range(FLIPS // 1000):
        reached += int((np.abs(rng.choice([-1.0, 1.0], size=(1000, len(sums))) @ sums) >= least).sum())
    return (1 + reached) / (1 + FLIPS)


def holm(p_values):
    """P values corrected for their number by Holm's method, in their order."""
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(order), 0, -1))
    result = np.empty(len(order))
    result[order] = np.minimum(corrected, 1.0)
    return result.tolist()


def geometric(values):
    return float(np.exp(np.mean(np.log(values))))


def errors_of(cells, tasks, labels, figure="error"):
    return np.array([[mean_figure(cells[task, label], figure) for label in labels] for task in tasks], dtype=float)


def against(cells, tasks, judged, other):
    """One model beside another, task by task."""
    by_task = {}
    for task in tasks:
        mine, theirs = (mean_figure(cells[task, label], "error") for label in (judged, other))
        differences, groups = paired(cells[task, judged], cells[task, other])
        by_task[task] = {
            "ratio": (mine + EPS) / (theirs + EPS),
            "difference": mine - theirs,
            "standard_error": standard_error(differences),
            "p": sign_flip(differences, groups),
        }
    corrected = holm([found["p"] for found in by_task.values()])
    for found, p in zip(by_task.values(), corrected, strict=True):
        found["p_holm"] = p
    gaps = np.array([found["difference"] for found in by_task.values()])
    real = np.array(corrected) < ALPHA
    ratios = [found["ratio"] for found in by_task.values()]
    return {
        "ratio": geometric(ratios),
        "better": int((gaps < 0).sum()),
        "equal": int((gaps == 0).sum()),
        "worse": int((gaps > 0).sum()),
        "significantly_better": int((real & (gaps < 0)).sum()),
        "significantly_worse": int((real & (gaps > 0)).sum()),
        "p_over_tasks": float(wilcoxon(np.log(ratios)).pvalue) if len(ratios) > 1 and np.any(gaps) else 1.0,
        "by_task": by_task,
    }


def standing(cells, tasks, judged):
    """Ranks and ratios of one model among the five baselines, over tasks where all of them are there."""
    errors = errors_of(cells, tasks, (judged, *FIVE))
    best = errors[:, 1:].argmin(axis=1)
    best_errors = errors[np.arange(len(tasks)), 1 + best]
    found = {
        "mean_ranks": dict(zip((judged, *FIVE), rankdata(errors, axis=1).mean(axis=0).tolist(), strict=True)),
        "at_least_the_best": int((errors[:, 0] <= best_errors).sum()),
        "ratio_to_best": geometric((errors[:, 0] + EPS) / (best_errors + EPS)),
        "best": {task: FIVE[i] for task, i in zip(tasks, best, strict=True)},
        "ratio_of_each_to_best": {
            label: geometric((errors[:, 1 + i] + EPS) / (best_errors + EPS)) for i, label in enumerate(FIVE)
        },
    }
    losses = errors_of(cells, tasks, (judged, *FIVE), "log_loss")
    classes = ~np.isnan(losses[:, 0])
    if classes.any():
        own, rest = losses[classes, 0], losses[classes, 1:]
        found["log_loss_ratio_to_best"] = geometric(own / rest.min(axis=1))
        found["log_loss_ratio_to_best_plus_eps"] = geometric((own + EPS) / (rest.min(axis=1) + EPS))
        found["log_loss_ratio_to_best_by_error"] = geometric(own / rest[np.arange(len(rest)), best[classes]])
    return found


def summarize(cells, tasks, judged, others=()):
    """The standing of one model, and paired tests beside the baselines and further models; None without tasks."""
    tasks = [task for task in tasks if all((task, label) in cells for label in (judged, *FIVE))]
    if not tasks:
        return None
    summary = {"model": judged, "tasks": tasks, **standing(cells, tasks, judged), "against": {}}
    for label in (*FIVE, *others):
        shared = [task for task in tasks if (task, label) in cells]
        if shared:
            summary["against"][label] = against(cells, shared, judged, label)
    corrected = holm([found["p_over_tasks"] for found in summary["against"].values()])
    for found, p in zip(summary["against"].values(), corrected, strict=True):
        found["p_over_tasks_holm"] = p
    linear = errors_of(cells, tasks, ("linear",))[:, 0]
    summary["worst_beside_linear"] = _worst(linear, summary["against"]["linear"]["by_task"])
    return summary


def _worst(linear, by_task):
    """Where the model loses most to the linear one, and where by more than is allowed."""
    names = list(by_task)
    gaps, spread = (np.array([found[key] for found in by_task.values()]) for key in ("difference", "standard_error"))
    relative = gaps / np.maximum(linear, EPS)
    in_errors = np.divide(gaps, spread, out=np.zeros_like(gaps), where=spread > 0)
    missed = gaps > (MARGIN - 1) * linear + spread
    return {
        "relative": {"task": names[relative.argmax()], "value": float(relative.max())},
        "standard_errors": {"task": names[in_errors.argmax()], "value": float(in_errors.max())},
        "beyond_margin": [name for name, over in zip(names, missed, strict=True) if over],
    }


def overview(cells, tasks, labels):
    """A row of figures for every model, over the tasks that all of them have."""
    tasks = [task for task in tasks if all((task, label) in cells for label in labels)]
    rows = {}
    for label in labels if tasks else ():
        errors = errors_of(cells, tasks, (label, labels[0]))
        seconds = errors_of(cells, tasks, (label,), "slowest_fit")[:, 0]
        rows[label] = {
            "mean_skill": float(errors_of(cells, tasks, (label,), "skill").mean()),
            "ratio_to_first": geometric((errors[:, 0] + EPS) / (errors[:, 1] + EPS)),
            "median_seconds": float(np.median(seconds)),
            "longest_seconds": float(seconds.max()),
            "most_memory": float(errors_of(cells, tasks, (label,), "memory").max()),
        }
        if label not in FIVE and set(FIVE) <= set(labels):
            found = standing(cells, tasks, label)
            keys = ("ratio_to_best", "at_least_the_best", "log_loss_ratio_to_best")
            rows[label] |= {key: found[key] for key in keys if key in found}
            rows[label]["mean_rank"] = found["mean_ranks"][label]
    return rows, tasks
