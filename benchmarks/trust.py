"""Can a reported dependency be trusted: accuracy, its standard error, tests, copies and odd columns, and what it costs.

``DependencyEstimator`` runs with its defaults, or with what ``--params`` changes, on data whose dependency is known
(``_dependency_tasks.py``) or known to be awkward (``_trust_cells.py``). Every run keeps to one thread.

    python benchmarks/trust.py --jobs 16
    python benchmarks/trust.py --only tasks --seeds 1 --params cv=None scaling=rank
    python benchmarks/trust.py --only coverage --n 300 1000 --repeats 50 --limit-seconds 540 --resume

Sections (``--only``):

tasks        40 tasks of known mutual information: errors, and dependency that is read as none
coverage     many repetitions: does value +- 2 std hold the mean of the values, and the truth?
independent  values of independent views, p-values beside the uniform distribution, power at rho 0.2
copies       views that nearly or wholly determine each other, real tables, discrete and constant columns, dates
cost         seconds of a fit as samples become more, one at a time whatever ``--jobs``

Runs go seed by seed, so that those that ``--limit-seconds`` leaves spread over all cells; ``--resume`` keeps the runs
of the JSON file and adds what is missing, which is for one state of the code only. ``_trust_page.py`` writes the tables
of the documentation from such files.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import ast
import json
import math
import re
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from _common import environment, processor, table, write_json
from _trust_cells import INDEPENDENT, WEAK, Cell, copy_cells, independent_normals, level_cells, task_cells
from joblib import Parallel, delayed
from scipy import stats

from sklearn_mdm import DependencyEstimator

clock = time.perf_counter
REPEATS = {300: 200, 1000: 200, 10_000: 50}  # of coverage
N_PERMUTATIONS, LEVEL = 199, 0.05
ZERO, NEAR, SLACK = 0.01, 0.10, 0.03  # nats: read as none, near the truth, and bias that coverage forgives
SIZES = (1000, 3000, 10_000, 30_000, 100_000, 300_000)  # of cost

Run = dict


# -- one run -----------------------------------------------------------------------------------------------------------


def fit(X, seed, params):
    """A fitted estimator, and the names of the warnings it gave, in order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = DependencyEstimator(random_state=seed, **params).fit(X)
    return estimator, list(dict.fromkeys(w.category.__name__ for w in caught))


def pvalue(estimator, X, seed, params):
    """Of samples that the critic has not seen: where fit left none, of the second half after a fit to the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(estimator.permutation_test(X, n_permutations=N_PERMUTATIONS).pvalue)
        except ValueError:
            half = len(X["x"]) // 2
            first = fit({name: x[:half] for name, x in X.items()}, seed, params)[0]
            test = first.permutation_test({name: x[half:] for name, x in X.items()}, n_permutations=N_PERMUTATIONS)
            return float(test.pvalue)


def run(cell: Cell, n: int, seed: int, params: dict, tested: bool) -> Run:
    """One estimate beside the truth; ``tested``: with the p-value of independence."""
    torch.set_num_threads(1)
    X = cell.maker(n, seed)
    record = {"cell": cell.name, "n": n, "seed": seed, "truth": cell.truth}
    start = clock()
    try:
        estimator, fired = fit(X, seed, params)
    except ValueError as error:  # a refusal is an answer too
        return {**record, "refused": str(error)}
    record |= {
        "value": float(estimator.dependency_),
        "std": float(estimator.dependency_std_),
        "coefficient": getattr(estimator, "coefficient_", None),
        "seconds": clock() - start,
        "warnings": fired,
    }
    return {**record, "pvalue": pvalue(estimator, X, seed, params)} if tested else record


def key_of(r: Run):
    return r["cell"], r["n"], r["seed"]


def run_all(args, name, calls, tested=False, jobs=None):
    """Run calls (cell, n, seed) in processes, but for those that are there, until the time is up."""
    done = {key_of(r): r for r in args.earlier.get(name, [])}
    calls = [(cell, n, seed) for cell, n, seed in calls if re.search(args.cells, cell.name)]
    missing = [call for call in calls if (call[0].name, *call[1:]) not in done]

    def in_time():
        for call in missing:
            if clock() - args.start > args.limit_seconds:
                return
            yield delayed(run)(*call, args.params, tested)

    jobs = jobs or args.jobs
    parallel = Parallel(n_jobs=jobs, return_as="generator", batch_size=1, pre_dispatch=jobs)
    for i, r in enumerate(parallel(in_time()), start=1):
        done[key_of(r)] = r
        if i % max(1, len(missing) // 10) == 0:
            print(f"  {i} of {len(missing)} runs, {clock() - args.start:.0f} s", flush=True)
    kept = [done[key] for key in ((cell.name, n, seed) for cell, n, seed in calls) if key in done]
    if len(kept) < len(calls):
        print(f"  {len(calls) - len(kept)} of {len(calls)} runs are left out: the time was up")
    return kept


# -- summaries ---------------------------------------------------------------------------------------------------------


def groups_of(runs):
    """Runs by cell and number of samples, in the order of both."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for r in runs:
        groups.setdefault((r["cell"], r["n"]), []).append(r)
    return groups


def column(runs, key):
    return np.array([r[key] for r in runs if r.get(key) is not None], dtype=float)


def mean_of(runs, key):
    values = column(runs, key)
    return float(values.mean()) if len(values) else None


def sd_of(runs):
    values = column(runs, "value")
    return float(values.std(ddof=1)) if len(values) > 1 else None


def fired_in(runs):
    counts = Counter(name.removesuffix("Warning") for r in runs for name in r.get("warnings", ()))
    counts.update("refused" for r in runs if "refused" in r)
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def shown(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def share(flags):
    return f"{100 * np.mean(flags):.0f} %" if len(flags) else "-"


# -- sections ----------------------------------------------------------------------------------------------------------


def tasks(args):
    sizes = args.n or [10_000]
    runs = run_all(args, "tasks", [(c, n, s) for s in seeds(args, 3) for n in sizes for c in task_cells()])
    rows = []
    for (cell, n), group in groups_of(runs).items():
        value, truth = mean_of(group, "value"), group[0]["truth"]
        error = None if value is None else value - truth
        numbers = [truth, value, error, mean_of(group, "std"), sd_of(group)]
        rows.append([cell, n, *map(shown, numbers), shown(mean_of(group, "seconds"), 1), fired_in(group)])
    table(["task", "n", "truth", "value", "error", "std", "sd", "seconds", "warnings"], rows)
    for n in sizes:
        values, errors, stds = judged([r for r in runs if r["n"] == n])
        if len(errors):
            none, bound = int((np.abs(values) < ZERO).sum()), 2 * stds + SLACK
            print(
                f"n {n}: mean absolute error {np.abs(errors).mean():.3f}, mean error {errors.mean():+.3f}, "
                f"within {NEAR} {share(np.abs(errors) <= NEAR)}, within 2 std + {SLACK} "
                f"{share(np.abs(errors) <= bound)}, more than that above the truth {share(errors > bound)}, "
                f"read as none (below {ZERO}) {none} of {len(errors)}"
            )
    return runs


def judged(runs):
    """Values, errors and standard errors of the runs that gave a value."""
    runs = [r for r in runs if "value" in r]
    values = column(runs, "value")
    return values, values - column(runs, "truth"), column(runs, "std")


def coverage(args):
    sizes = args.n or list(REPEATS)
    calls = [
        (cell, n, seed)
        for seed in range(args.first_seed, args.first_seed + max(args.repeats or 0, *REPEATS.values()))
        for n in sizes
        for cell in level_cells()
        if seed - args.first_seed < (args.repeats or REPEATS.get(n, 50))
    ]
    runs = run_all(args, "coverage", calls)
    rows = []
    for (cell, n), group in groups_of(runs).items():
        values, errors, stds = judged(group)
        if not len(values):
            continue
        mean, sd = float(values.mean()), sd_of(group)
        ratio = float(stds.mean()) / sd if sd else None
        row = [cell, n, len(values), *map(shown, (group[0]["truth"], mean, errors.mean(), sd, stds.mean()))]
        row += [shown(ratio, 2), share(np.abs(values - mean) <= 2 * stds), share(np.abs(errors) <= 2 * stds + SLACK)]
        rows.append([*row, shown(mean_of(group, "seconds"), 1), fired_in(group)])
    header = ["cell", "n", "runs", "truth", "mean", "bias", "sd", "std", "std/sd", "holds mean", "holds truth"]
    table([*header, "seconds", "warnings"], rows)
    print(f"wanted: mean held 90 to 99 %; std/sd at most 1.5; truth held (with {SLACK}) 90 % for n of 1,000 or more")
    return runs


def independent(args):
    cells = [(cell, n) for cell in (*INDEPENDENT, WEAK) for n in args.n or cell.sizes]
    last = args.first_seed + args.runs
    calls = [(cell, n, seed) for seed in range(args.first_seed, last) for cell, n in cells]
    runs = run_all(args, "independent", calls, tested=True)
    rows = []
    for (cell, n), group in groups_of(runs).items():
        values, ps = column(group, "value"), column(group, "pvalue")
        uniform = None if cell == WEAK.name else float(stats.kstest(ps, "uniform").pvalue)
        row = [cell, n, len(values), shown(values.mean()), shown(np.abs(values).mean()), shown(np.abs(values).max())]
        row += [share(np.abs(values) <= 2 * column(group, "std")), shown(uniform), share(ps <= LEVEL)]
        rows.append([*row, shown(mean_of(group, "seconds"), 1), fired_in(group)])
    header = ["cell", "n", "runs", "mean", "mean |value|", "most", "holds 0", "KS p", f"p <= {LEVEL}"]
    table([*header, "seconds", "warnings"], rows)
    print(f"{N_PERMUTATIONS} permutations; KS p: of the p-values against the uniform distribution")
    return runs


def copies(args):
    cells = [(cell, n) for cell in copy_cells() for n in cell.sizes]
    runs = run_all(args, "copies", [(cell, n, seed) for seed in seeds(args, 10) for cell, n in cells])
    rows = []
    for (cell, n), group in groups_of(runs).items():
        values = column(group, "value")
        ends = [float(f(values)) if len(values) else None for f in (np.min, np.max)]
        numbers = [group[0]["truth"], mean_of(group, "value"), sd_of(group), *ends, mean_of(group, "std")]
        rows.append([cell, n, *map(shown, [*numbers, mean_of(group, "coefficient")]), fired_in(group)])
    header = ["cell", "n", "truth", "value", "sd", "least", "most", "std", "coefficient", "warnings"]
    table(header, rows)
    for text in dict.fromkeys(f"{r['cell']}: {r['refused']}" for r in runs if "refused" in r):
        print(f"refused: {text}")
    return runs


def ten_features(n, seed):
    X = independent_normals(n, seed, d=10)
    return {"x": X["x"], "y": 0.3 * X["x"] + math.sqrt(1 - 0.3**2) * X["y"]}


def cost(args):
    cell = Cell("rho 0.3 10x10", ten_features, -5 * math.log1p(-(0.3**2)))
    calls = [(cell, n, seed) for seed in seeds(args, 1) for n in args.n or SIZES]
    runs = run_all(args, "cost", calls, jobs=1)
    rows, before = [], None
    for (name, n), group in groups_of(runs).items():
        seconds = float(np.median(column(group, "seconds")))
        ratio = "-" if before is None else f"{seconds / before[1]:.2f} for {n / before[0]:.1f}"
        values = [shown(group[0]["truth"]), shown(mean_of(group, "value")), shown(mean_of(group, "std"))]
        rows.append([name, n, shown(seconds, 2), shown(1e3 * seconds / n), ratio, *values, fired_in(group)])
        before = n, seconds
    table(["cell", "n", "seconds", "ms/sample", "times", "truth", "value", "std", "warnings"], rows)
    return runs


# -- command line ------------------------------------------------------------------------------------------------------

SECTIONS = {f.__name__: f for f in (tasks, coverage, independent, copies, cost)}


def seeds(args, default):
    return range(args.first_seed, args.first_seed + (args.seeds or default))


def parameter(text):
    """A pair such as ("cv", 5) of "cv=5"; what Python cannot read is a word."""
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", "--output", default="results/trust.json", help="JSON file to write (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME", help="see above")
    parser.add_argument("--params", nargs="+", type=parameter, default=[], metavar="KEY=VALUE", help="of the estimator")
    parser.add_argument("--cells", default="", help="only cells whose name this regular expression finds")
    parser.add_argument("--seeds", type=int, help="of tasks (3), copies (10) and cost (1)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (%(default)s)")
    parser.add_argument("--n", type=int, nargs="+", help="samples, of all sections but copies, in place of their own")
    parser.add_argument("--repeats", type=int, help=f"repetitions of coverage {REPEATS}")
    parser.add_argument("--runs", type=int, default=200, help="runs of the section independent (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--limit-seconds", type=float, default=math.inf, help="start no run after so many seconds")
    parser.add_argument("--resume", action="store_true", help="keep the runs of the JSON file")
    args = parser.parse_args()

    torch.set_num_threads(1)
    args.start, args.params = clock(), dict(args.params)
    results, settings = {}, {"params": args.params}
    if args.resume and Path(args.out).exists():
        content = json.loads(Path(args.out).read_text())
        if content["settings"] != settings:
            parser.error(f"{args.out} is of other settings: {content['settings']}")
        results = content["results"]
    args.earlier = dict(results)
    for name in args.only:
        print(f"\n== {name} ==")
        found = SECTIONS[name](args)
        keys = {key_of(r) for r in found}
        results[name] = [r for r in args.earlier.get(name, []) if key_of(r) not in keys] + found
        # After each section: the whole takes hours on one core.
        ran = {**environment(), "processor": processor()}
        write_json(args.out, {"environment": ran, "settings": settings, "results": results})
    print(f"{clock() - args.start:.0f} s in all")


if __name__ == "__main__":
    main()
