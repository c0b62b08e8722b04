"""The results of the benchmark of few labels as tables that a page of the documentation includes."""

from __future__ import annotations

import numpy as np
from _few_labels_models import BASELINES, FIXED, LABELLED, ORACLE, SPREADING
from _quality_page import grid, measured

SHOWN = {
    LABELLED: LABELLED,
    "linear": "logistic regression",
    "forest": "random forest",
    "self-training": "self-training",
    f"spreading, k={FIXED}": f"label spreading, k = {FIXED}",
    ORACLE: "label spreading, best k",
}
SIGNIFICANT = """\
The seed draws which rows keep their labels. Ratio: geometric mean over tasks of (error + .005) / (the other's + .005).
Significant: paired t test over seeds, below 5 % after Holm's correction for the number of tasks. P over seeds: t test
of the seeds' mean log ratios; over tasks: Wilcoxon's signed-rank test. The best k of label spreading is that of the
rows that are judged, one for each set and number of labels: nobody knows it before."""


def _shown(label):
    return SHOWN.get(label, label)


def _set_and_labels(name):
    """The two first cells of a row: the data set, and how many labels a class it has."""
    base, number = name.rsplit(":", 1)
    return [base, f"{100 * float(number):.0f} %" if number.startswith(".") else number]


def _bold_least(values):
    """Numbers as text, the least of them bold."""
    texts = ["-" if value is None else f"{value:.4f}" for value in values]
    there = [value for value in values if value is not None]
    least = f"{min(there):.4f}" if there else None
    return [f"**{text}**" if text == least else text for text in texts]


def _error(content, name, label):
    runs = content["results"][name].get(label)
    return None if not runs else float(np.mean([run["figures"]["error"] for run in runs]))


def _errors(content, labels):
    return [
        [*_set_and_labels(name), *_bold_least([_error(content, name, label) for label in labels])]
        for name in content["results"]
    ]


def _absent(content, labels):
    rows = []
    for name, by_label in content["absent"].items():
        found = [by_label.get(label) for label in labels]
        if any(values is not None for values in found):
            means = [None if values is None else float(np.mean(values)) for values in found]
            rows.append([*_set_and_labels(name), *_bold_least(means)])
    return rows


def _comparisons(groups):
    rows = []
    for group, compared in groups.items():
        for other, found in compared.items():
            rows.append(
                [
                    group,
                    _shown(other),
                    f"{found['ratio']:.3f}",
                    f"{found['at_least_as_good']} of {found['tasks']}",
                    ", ".join(found["worse_by_5_percent"]) or "none",
                    f"{found['significantly_better']} / {found['significantly_worse']}",
                    f"{found['p_over_seeds']:.2g} / {found['p_over_tasks']:.2g}",
                ]
            )
    return rows


def write_page(path, content):
    """Write the tables, from what the JSON file holds."""
    there = {label for by_label in content["results"].values() for label in by_label}
    ours = [label for label in content["params"] if label not in BASELINES and label in there]
    labels = [*ours, *(label for label in SHOWN if label in there and label not in ours)]
    parts = [".. These tables are written by benchmarks/few_labels.py; what is changed here is lost.\n"]
    header = ["labels a class", "beside", "ratio of errors", "at least as good", "worse by more than 5 %"]
    header += ["significantly better / worse", "p over seeds / tasks"]
    for label, groups in content["summary"].items():
        if label != LABELLED and groups:
            parts.append(grid(f"Ours {label}, beside the others", header, _comparisons(groups), SIGNIFICANT + "\n"))
    columns = ["set", "labels a class", *map(_shown, labels)]
    parts.append(grid("Error, mean over seeds", columns, _errors(content, labels), "The least is bold.\n"))
    rows = _absent(content, ours)
    if rows:
        title = "Error of ours where a modality is absent, mean over modalities and seeds"
        parts.append(grid(title, ["set", "labels a class", *map(_shown, ours)], rows))
    command = f"python benchmarks/few_labels.py --data DIR --seeds {content['seeds']} --page {path}"
    parts.append(f"{measured(content, (*BASELINES, *SPREADING, ORACLE))} To reproduce::\n\n    {command}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
    print(f"written to {path}")
