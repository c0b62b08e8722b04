"""The results of ``trust.py`` as tables that a page of the documentation includes.

    python benchmarks/_trust_page.py results/trust*.json

Sections, and the runs of one, may be spread over several files of the same parameters; of equal runs the last counts.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from _quality_page import grid
from scipy import stats
from trust import LEVEL, NEAR, SLACK, ZERO, column, fired_in, groups_of, judged, key_of, mean_of, sd_of, share, shown


def number(value, digits=3):
    return "infinite" if value == np.inf else shown(value, digits)


def by_cell(runs, figures):
    """A row of each cell and number of samples that gave values, and of figures of its runs."""
    groups = {key: group for key, group in groups_of(runs).items() if len(column(group, "value"))}
    return [[cell, n, len(group), *figures(group)] for (cell, n), group in groups.items()]


def all_tasks(runs):
    rows = []
    for n in sorted({r["n"] for r in runs}):
        group = [r for r in runs if r["n"] == n]
        values, errors, stds = judged(group)
        row = [len(groups_of(group)), n, len(values), number(np.abs(errors).mean()), f"{errors.mean():+.3f}"]
        row += [share(np.abs(errors) <= bound) for bound in (NEAR, 2 * stds + SLACK)]
        rows.append([*row, share(errors > 2 * stds + SLACK), int((np.abs(values) < ZERO).sum())])
    return rows


def estimate(group):
    truth, value = group[0]["truth"], mean_of(group, "value")
    return [*map(number, (truth, value, value - truth, mean_of(group, "std"), sd_of(group))), fired_in(group)]


def worst_tasks(runs):
    return sorted(by_cell(runs, estimate), key=lambda row: -abs(float(row[5])))[:8]


def held(group):
    (values, errors, stds), sd = judged(group), sd_of(group)
    shares = share(np.abs(values - values.mean()) <= 2 * stds), share(np.abs(errors) <= 2 * stds + SLACK)
    numbers = map(number, (group[0]["truth"], values.mean(), sd))
    return [*numbers, number(stds.mean() / sd if sd else None, 2), *shares]


def tested(group):
    values, ps = column(group, "value"), column(group, "pvalue")
    uniform = None if group[0]["truth"] else float(stats.kstest(ps, "uniform").pvalue)
    numbers = [number(x) for x in (group[0]["truth"], values.mean(), np.abs(values).mean(), np.abs(values).max())]
    return [*numbers, share(np.abs(values) <= 2 * column(group, "std")), number(uniform, 2), share(ps <= LEVEL)]


def spread(group):
    values = column(group, "value")
    numbers = (group[0]["truth"], values.mean(), values.min(), values.max(), mean_of(group, "std"))
    return [*map(number, numbers), number(mean_of(group, "coefficient")), fired_in(group)]


def costs(group):
    seconds = float(np.median(column(group, "seconds")))
    return [number(seconds, 1), *map(number, (group[0]["truth"], mean_of(group, "value"), mean_of(group, "std")))]


# Section, title, header, rows from runs, note.
TABLES = [
    ("tasks", "Tasks of known mutual information", "tasks, n, runs, mean absolute error, mean error, within .10, "
     "within 2 std + .03, further above, read as none", all_tasks, "In nats. Read as none: below .01 nats."),
    ("tasks", "The eight tasks of the largest errors", "task, n, runs, truth, value, error, std, sd, warnings",
     worst_tasks, "Means over runs; std is the standard error, sd the standard deviation of values over runs."),
    ("coverage", "What value ± 2 std holds", "data, n, runs, truth, mean, sd, std / sd, mean held, truth held",
     partial(by_cell, figures=held), "Mean: of the values of all runs. The truth is held if within 2 std + .03 nats."),
    ("independent", "Independent views, and a weak correlation", "data, n, runs, truth, mean, mean size, largest, "
     "holds 0, KS p, p at most .05", partial(by_cell, figures=tested), "KS p: are the p-values spread evenly?"),
    ("copies", "Views that nearly determine each other, real tables, odd columns", "data, n, runs, truth, value, "
     "least, most, std, coefficient, warnings", partial(by_cell, figures=spread), "Truth -: nobody knows it."),
    ("cost", "Seconds of a fit to two views of ten columns", "data, n, runs, seconds, truth, value, std",
     partial(by_cell, figures=costs), "One fit after the other, median of runs."),
]  # fmt: skip


def measured(files):
    """Which commits were measured when, and on what, with what parameters."""
    (params,) = {json.dumps(content["settings"]["params"]) for content in files}
    found = [
        (e["commit"], e["time"][:10], f"{e.get('processor', e['machine'])} ({e['cpus']} cores)", f"torch {e['torch']}")
        for e in (content["environment"] for content in files)
    ]
    where = ", ".join(" and ".join(dict.fromkeys(values)) for values in zip(*found, strict=True))
    return f"Commit {where}, one thread a fit.{'' if params == '{}' else f' Parameters: {params}.'}"


def write_page(path, contents):
    parts = [".. These tables are written by benchmarks/_trust_page.py; what is changed here is lost.\n"]
    for section, title, header, rows, note in TABLES:
        files = [content for content in contents if content["results"].get(section)]
        runs = list({key_of(r): r for content in files for r in content["results"][section]}.values())
        if runs:
            parts.append(grid(title, header.split(", "), rows(runs), f"{note} {measured(files)}\n"))
    path.write_text("\n".join(parts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="JSON files that trust.py wrote")
    parser.add_argument("--page", type=Path, default="docs/user_guide/dependency_figures.inc", help="(%(default)s)")
    given = parser.parse_args()
    write_page(given.page, [json.loads(file.read_text()) for file in given.files])
