"""The paper's table, and what goes with it, as tables that a page of the documentation includes."""

from __future__ import annotations

import numpy as np
from _paper_models import MEASURES, SYSTEMS, TERMS, WITHOUT
from _quality_page import grid, measured
from _quality_summary import holm
from scipy.stats import ttest_1samp

# Figure -> (heading, factor, digits, whether more is better).
FIGURES = {
    "acc7": ("Acc7 ↑", 100, 1, True),
    "acc2": ("Acc2 ↑", 100, 1, True),
    "binary": ("binary ↑", 100, 1, True),
    "mae": ("MAE ↓", 1, 3, False),
    "pearson": ("Corr ↑", 1, 3, True),
}
ALPHA = 0.05
LINEAR = "linear"  # the baseline beside them


def values_of(runs, figure):
    return np.array([run["figures"][figure] for run in runs if figure in run["figures"]])


def compared(runs, base, figure, more_is_better):
    """(p of a paired t test over seeds, whether the mean is better); None with less than two seeds.

    Runs of a seed share initial weights and splits, so that they are pairs.
    """
    if min(len(runs), len(base)) < 2:
        return None
    difference = values_of(runs, figure) - values_of(base, figure)
    p = float(ttest_1samp(difference, 0).pvalue) if np.ptp(difference) else 1.0
    return p, bool((difference.mean() > 0) == more_is_better)


def mark(test):
    return "" if test is None or test[0] >= ALPHA else " \\*" if test[1] else " \\†"


def shown(runs, figure, test=None):
    _, factor, digits, _ = FIGURES.get(figure, FIGURES["mae"])
    values = factor * values_of(runs, figure)
    if not len(values):
        return ""
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 and np.ptp(values) else ""
    return f"{values.mean():.{digits}f}{spread}{mark(test)}"


def ours_of(by_label, *, committee=False):
    """{(system, term): runs} of single networks, or of committees."""
    words = {label: label.split(", ") for label in by_label if label != LINEAR}
    return {tuple(found[:2]): by_label[label] for label, found in words.items() if (len(found) > 2) == committee}


def systems_of(keys):
    """In the order of the page."""
    found = {key[0] for key in keys}
    return [system for system in SYSTEMS if system in found]


def table_of(title, by_label, *, committee):
    """The paper's columns, a row for each system and term, and what the marks in it come to."""
    figures = [figure for figure in FIGURES if any(figure in runs[0]["figures"] for runs in by_label.values())]
    rows, tests = [], []
    ours = ours_of(by_label, committee=committee)
    for system in systems_of(ours):
        for term in TERMS:
            if (system, term) not in ours:
                continue
            row = [f"``{system}``" if term == TERMS[0] else "", "without" if term == TERMS[0] else term]
            for figure in figures:
                base = ours.get((system, TERMS[0]))
                test = None
                if term != TERMS[0] and base:
                    test = compared(ours[system, term], base, figure, FIGURES[figure][3])
                    tests += [] if test is None else [test]
                row.append(shown(ours[system, term], figure, test))
            rows.append(row)
    if LINEAR in by_label:
        rows.append(["ridge, pooled", "", *(shown(by_label[LINEAR], figure) for figure in figures)])
    header = ["system", "term", *(FIGURES[figure][0] for figure in figures)]
    return grid(title, header, rows, counted(tests))


def counted(tests):
    if not tests:
        return ""
    better = sum(p < ALPHA and good for p, good in tests)
    worse = sum(p < ALPHA and not good for p, good in tests)
    left = sum(p < ALPHA for p in holm([p for p, _ in tests]))
    return (
        f"Of {len(tests)} comparisons with no term, {better} are marked better and {worse} worse; by chance alone,\n"
        f"some {ALPHA * len(tests) / 2:.1f} would be each. After Holm's correction, significant: {left or 'none'}.\n"
    )


def absent_table(title, by_label, name):
    """Errors where a modality is absent from what is judged, a column for each term."""
    figure = WITHOUT + name
    ours = {key: runs for key, runs in ours_of(by_label).items() if figure in runs[0]["figures"]}
    rows, tests = [], []
    for system in systems_of(ours):
        row, base = [f"``{system}``"], ours.get((system, TERMS[0]))
        for term in TERMS:
            runs = ours.get((system, term), [])
            test = compared(runs, base, figure, False) if runs and base and term != TERMS[0] else None
            tests += [] if test is None else [test]
            row.append(shown(runs, figure, test))
        rows.append(row)
    return grid(title, ["system", "without", *MEASURES], rows, counted(tests)) if rows else ""


def chosen_table(title, chosen, by_label):
    """Errors with a weight that was chosen, beside those without the term."""
    rows, tests = [], []
    for system in systems_of(label.split(", ") for label in chosen):
        base = by_label.get(f"{system}, {TERMS[0]}", [])
        row = [f"``{system}``", shown(base, "mae")]
        for measure in MEASURES:
            found = chosen.get(f"{system}, {measure}")
            test = compared(found["runs"], base, "mae", False) if found and base else None
            tests += [] if test is None else [test]
            row.append(f"{shown(found['runs'], 'mae', test)} ({found['lam']:g})" if found else "")
        rows.append(row)
    return grid(title, ["system", "without", *(f"{m} (lam)" for m in MEASURES)], rows, counted(tests))


def write_page(path, content):
    """Write the tables, from what the JSON file holds."""
    results = content["results"]
    parts = [".. These tables are written by benchmarks/paper.py; what is changed here is lost.\n"]
    for name, by_label in results.items():
        parts.append(table_of(f"``{name}``, one network", by_label, committee=False))
        if any(label.endswith("committee") for label in by_label):
            parts.append(table_of(f"``{name}``, the defaults around each system", by_label, committee=True))
    if content["chosen"]:
        by_label = results["mosi_text_audio"]
        parts.append(chosen_table("``mosi_text_audio``, MAE with a chosen ``lam``", content["chosen"], by_label))
    for name, by_label in results.items():
        parts.append(absent_table(f"``{name}``, MAE where the text is absent", by_label, "text"))
    options = f"--only {' '.join(results)} --seeds {content['seeds']} --page {path}"
    parts.append(f"{measured(content)} To reproduce::\n\n    python benchmarks/paper.py --data DIR {options}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(part for part in parts if part))
    print(f"written to {path}")
