"""What is left of a prediction when modalities are missing at predict time, which they were not in training.

    python benchmarks/robustness.py --data DIR --seeds 10 --jobs 32
    python benchmarks/robustness.py --data DIR --seeds 1 --only digits --params max_epochs=5
    python benchmarks/robustness.py --data DIR --validate --set lam=0 --set modality_dropout=0.3 missing=skip

Strata: nothing dropped; the view that is best alone; the one that is worst alone; one random view of each sample; all
but one random view of each sample. Which view is best and worst is decided by cross-validated linear models on training
samples. Each model is fitted once per fold and seed, and predicts all strata.

Data: ``mfeat`` and ``rosmap`` (their test parts), ``digits`` (three bands of the images of scikit-learn, half of them
held out) and ``mosi`` (752 utterances, five folds by video, predictions pooled) are ranked. ``paper`` stands beside
them: text dropped on the train and test parts of ``mosi_bclstm``, whose training features have seen the labels.

The tables: error (1 - accuracy, or mean absolute error) by data set and stratum; average ranks by stratum, with the
Friedman test and the critical difference of Nemenyi's (Demsar, "Statistical Comparisons of Classifiers over Multiple
Data Sets", JMLR 7, 2006), over data sets and over pairs of data set and seed (these are not independent, so that their
critical difference is too small); and what is lost against ``lam=0`` with nothing dropped, paired by seed, with lower
95 % bounds. Seeds vary the network and, where there are folds, not the samples: the bounds are about training.

With ``--validate`` no test part is read: validation parts, and splits of training parts, for choosing settings. Each
look at a test part is appended to ``test_evaluations.jsonl`` beside ``--out``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import ONE_NETWORK, append_line, commit, environment, now, table, write_json
from _quality_baselines import BASELINES, columns_of, flatten
from _quality_models import our_estimator, parse_setting
from _quality_tasks import Part, Task, load_task
from joblib import Parallel, delayed
from scipy.stats import friedmanchisquare, rankdata, studentized_range, t
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# Chosen with --validate.
RATE = 0.3
DROPOUT = {"modality_dropout": RATE}
# (parameters of a fit, {label: missing= of its predictions}); missing="critic" trains the same network as "mean".
FITS = [
    ({"lam": 0}, {"lam=0": "mean"}),
    ({"measure": "kl", "missing": "critic"}, {"mdm kl": "mean", "mdm kl, critic": "critic"}),
    ({"measure": "f"}, {"mdm f": "mean"}),
    ({"measure": "wasserstein"}, {"mdm wasserstein": "mean"}),
    ({"lam": 0, **DROPOUT}, {"dropout": "mean"}),
    (
        {"measure": "kl", "missing": "critic", **DROPOUT},
        {"mdm kl + dropout": "mean", "mdm kl + dropout, critic": "critic"},
    ),
]
REFERENCE, JUDGED = "lam=0", "mdm kl + dropout"
STRATA = ["nothing", "best view", "worst view", "random view", "all but one"]
RANKED = ["mfeat", "rosmap", "digits", "mosi"]
# Most that may be lost with nothing dropped: accuracy points, and per cent of the error in regression.
MARGIN = {"classes": 0.5, "sentiment": 1.0}


# -- data ------------------------------------------------------------------------------------------------------------


def digits(validate):
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32)
    bands = {"top": images[:, :3], "middle": images[:, 3:5], "bottom": images[:, 5:]}
    part = Part({name: band.reshape(len(y), -1) for name, band in bands.items()}, y)
    fit, judge = (
        part.take(rows) for rows in train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=0)
    )
    if not validate:
        return Task("classes", lambda seed: iter([(fit, judge)]))

    def folds(seed):
        rows = train_test_split(np.arange(len(fit.y)), test_size=0.3, stratify=fit.y, random_state=seed)
        yield fit.take(rows[0]), fit.take(rows[1])

    return Task("classes", folds, splits_vary=True)


TASK_NAMES = {"mfeat": "mfeat", "rosmap": "rosmap", "mosi": "mosi_bclstm_cv", "paper": "mosi_bclstm"}


def load(name, folder, validate):
    """The task of a data set; None where there is nothing to validate on."""
    if name == "digits":
        return digits(validate)
    return load_task(TASK_NAMES[name], folder, validate)


def views_by_worth(task):
    """Views from the best to the worst alone, by linear models on the training samples of the first fold."""
    fit, _ = next(task.folds(0))
    if task.kind == "classes":
        model, scoring = LogisticRegression(C=0.1, max_iter=300), "accuracy"
    else:
        model, scoring = RidgeCV(np.logspace(-2, 5, 15)), "neg_mean_absolute_error"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence
        scores = {
            name: cross_val_score(
                make_pipeline(StandardScaler(), model),
                flatten({name: x}),
                fit.y,
                groups=fit.groups,
                scoring=scoring,
                cv=3,
            ).mean()
            for name, x in fit.X.items()
        }
    return sorted(scores, key=scores.get, reverse=True)


def dropped(name, order, n, rng):
    """Views that each stratum drops: {stratum: bool (n, n_views)}, views in the order of ``order``."""
    one = np.eye(len(order), dtype=bool)
    if name == "paper":
        return {"nothing": np.zeros((n, len(order)), bool), "text": np.tile([v == "text" for v in order], (n, 1))}
    random, kept = (one[rng.integers(len(order), size=n)] for _ in range(2))
    masks = [np.zeros((n, len(order)), bool), np.tile(one[0], (n, 1)), np.tile(one[-1], (n, 1)), random, ~kept]
    return dict(zip(STRATA, masks, strict=True))


def stacked(part, order, masks):
    """One part that holds the samples of all strata, one after the other."""
    X = {}
    for view, x in part.X.items():
        copies = [x.copy() for _ in masks]
        for copy, mask in zip(copies, masks.values(), strict=True):
            copy[mask[:, order.index(view)]] = np.nan
        X[view] = np.concatenate(copies)
    return Part(X, np.tile(part.y, len(masks)))


# -- models ----------------------------------------------------------------------------------------------------------


def run_ours(task, params, labels, fit, judge, seed):
    """Predictions of one fit by label, and its seconds."""
    estimator = our_estimator(task.kind, {**ONE_NETWORK, **(task.params or {}), **params}, seed)
    start = time.perf_counter()
    estimator.fit(fit.X, fit.y, groups=fit.groups)
    predictions, seconds = {}, {"fit": time.perf_counter() - start}
    for label, missing in labels.items():
        start = time.perf_counter()
        estimator.set_params(missing=missing)
        predictions[label] = columns_of(estimator, judge.X) if task.kind == "classes" else estimator.predict(judge.X)
        seconds[label] = time.perf_counter() - start
    return predictions, seconds


def evaluate(name, folder, validate, model, order, seed):
    """Errors of one model (a name of a baseline, or an entry of FITS) with one seed: {label: {stratum: error}}."""
    torch.set_num_threads(1)
    task = load(name, folder, validate)
    y, predictions, seconds = [], {}, 0.0
    for fold, (fit, judge) in enumerate(task.folds(seed)):
        masks = dropped(name, order, len(judge.y), np.random.default_rng([seed, fold]))
        every = stacked(judge, order, masks)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence
            if isinstance(model, str):
                found, _, details = BASELINES[model].run(task, fit, every, seed)
                found, seconds = {model: found}, seconds + details["seconds"]
            else:
                found, took = run_ours(task, *model, fit, every, seed)
                seconds += sum(took.values())
        y.append(judge.y)
        for label, prediction in found.items():
            predictions.setdefault(label, []).append(prediction.reshape(len(masks), len(judge.y), -1))
    y = np.concatenate(y)
    errors = {}
    for label, parts in predictions.items():
        by_stratum = np.concatenate(parts, axis=1)
        errors[label] = {stratum: error(task.kind, y, p) for stratum, p in zip(masks, by_stratum, strict=True)}
    return errors, seconds


def error(kind, y, prediction):
    """1 - accuracy, or the mean absolute error."""
    if kind == "classes":
        return float((prediction.argmax(axis=1) != y).mean())
    return float(np.abs(y - prediction.ravel()).mean())


def constant_error(task):
    """Of the most frequent class, or the median, of all that is judged: a floor that says when nothing is left."""
    y = np.concatenate([judge.y for _, judge in task.folds(0)])
    if task.kind == "classes":
        return 1 - np.unique(y, return_counts=True)[1].max() / len(y)
    return float(np.abs(y - np.median(y)).mean())


# -- statistics ------------------------------------------------------------------------------------------------------


def critical_difference(n_models, n_blocks, alpha=0.05):
    """Difference of average ranks that Nemenyi's test takes for real (Demsar, 2006, Section 3.2.2)."""
    q = studentized_range.ppf(1 - alpha, n_models, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_models * (n_models + 1) / (6 * n_blocks)))


def rank_models(losses):
    """Average ranks (1 is best) of models (columns) over blocks (rows), p-value of Friedman, critical difference."""
    losses = np.asarray(losses)
    p = float(friedmanchisquare(*losses.T).pvalue) if len(losses) > 1 else float("nan")
    return rankdata(losses, axis=1).mean(axis=0), p, critical_difference(losses.shape[1], len(losses))


def paired_difference(kind, reference, errors):
    """Gain over the reference, in accuracy points or per cent of its error, and its lower 95 % bound over seeds."""
    reference, errors = np.asarray(reference), np.asarray(errors)
    gain = 100 * (reference - errors) / (1 if kind == "classes" else reference.mean())
    n = len(gain)
    bound = gain.mean() - t.ppf(0.95, n - 1) * gain.std(ddof=1) / np.sqrt(n) if n > 1 else float("nan")
    return float(gain.mean()), float(bound)


# -- tables ----------------------------------------------------------------------------------------------------------


def print_errors(name, kind, constant, results):
    """Mean error over seeds and its standard deviation, by model and stratum."""
    strata = list(next(iter(results.values()))[0])
    rows = []
    for label, runs in results.items():
        cells = [[run[stratum] for run in runs] for stratum in strata]
        spread = [f" ±{np.std(cell, ddof=1):.4f}" if len(cell) > 1 else "" for cell in cells]
        rows.append([label, *(f"{np.mean(cell):.4f}{s}" for cell, s in zip(cells, spread, strict=True))])
    unit = "1 - accuracy" if kind == "classes" else "mean absolute error"
    print(f"\n{name}: {unit}; {constant:.4f} for the best constant")
    table(["dropped:", *strata], rows)


def print_ranks(results, labels):
    """Average ranks by stratum, over data sets and over pairs of data set and seed."""
    summary = {}
    for unit in ("data sets", "data sets x seeds"):
        by_stratum = {}
        for stratum in STRATA:
            losses = np.array(
                [[[run[stratum] for run in by_model[label]] for label in labels] for by_model in results.values()]
            )
            losses = losses.mean(axis=2) if unit == "data sets" else losses.transpose(0, 2, 1).reshape(-1, len(labels))
            ranks, p, difference = rank_models(losses)
            best = labels[int(ranks.argmin())]
            by_stratum[stratum] = {
                "ranks": dict(zip(labels, ranks.tolist(), strict=True)),
                "friedman_p": p,
                "critical_difference": difference,
                "blocks": len(losses),
                "best": best,
                "tied_with_best": [
                    label for label, r in zip(labels, ranks, strict=True) if r - ranks.min() < difference
                ],
            }
        summary[unit] = by_stratum
        blocks = next(iter(by_stratum.values()))["blocks"]
        print(f"\naverage ranks over {blocks} {unit}; * best, = tied with it (Nemenyi, 0.05)")
        rows = []
        for label in labels:
            row = [label]
            for stratum in STRATA:
                found = by_stratum[stratum]
                mark = "*" if label == found["best"] else "=" if label in found["tied_with_best"] else " "
                row.append(f"{found['ranks'][label]:.2f} {mark}")
            rows.append(row)
        rows.append(["Friedman p", *(f"{by_stratum[s]['friedman_p']:.1e}" for s in STRATA)])
        rows.append(["critical difference", *(f"{by_stratum[s]['critical_difference']:.2f}" for s in STRATA)])
        table(["dropped:", *STRATA], rows)
        if JUDGED in labels:
            lost = [s for s in STRATA if JUDGED not in by_stratum[s]["tied_with_best"]]
            print(f"{JUDGED}: {'best or tied in every stratum' if not lost else 'behind in: ' + ', '.join(lost)}")
    return summary


def print_losses(results, kinds, labels):
    """Gains over the reference with nothing dropped."""
    summary, rows = {}, []
    for label in labels:
        if label == REFERENCE:
            continue
        row, gains = [label], {}
        for name, by_model in results.items():
            runs, reference = ([run["nothing"] for run in by_model[key]] for key in (label, REFERENCE))
            mean, bound = paired_difference(kinds[name], reference, runs)
            gains[name] = {"gain": mean, "lower_95": bound, "kept": bool(bound > -MARGIN[kinds[name]])}
            row.append(f"{mean:+.2f} (> {bound:+.2f})")
        summary[label] = gains
        rows.append([*row, "yes" if all(gain["kept"] for gain in gains.values()) else "no"])
    print(f"\ngain over {REFERENCE} with nothing dropped: accuracy points, or % of the error; lower 95 % bounds")
    table(["model", *results, "bounds above -0.5 points, -1 %"], rows)
    return summary


# -- command line ----------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each model (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=[*RANKED, "paper"], default=[*RANKED, "paper"], metavar="NAME")
    parser.add_argument("--out", "--output", type=Path, help="JSON file (results/robustness.json)")
    parser.add_argument("--validate", action="store_true", help="use no test part")
    parser.add_argument("--params", nargs="*", default=[], metavar="NAME=VALUE", help="of all of our fits, for a trial")
    parser.add_argument(
        "--set",
        nargs="*",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --validate, a setting to try instead of those of the benchmark; repeat it to compare",
    )
    args = parser.parse_args()
    if args.set and not args.validate:
        parser.error("--set needs --validate: settings are not chosen on test parts")
    name = "robustness_validation.json" if args.validate else "robustness.json"
    out = args.out or Path("results", name)

    start = time.perf_counter()
    settings = [(parse_setting(assignments), " ".join(assignments) or "defaults") for assignments in args.set]
    fits = [(params, {label: params.get("missing", "mean")}) for params, label in settings] or FITS
    fits = [({**params, **parse_setting(args.params)}, labels) for params, labels in fits]
    models = [*fits, *([] if args.set else ["linear", "boosting"])]
    tasks = {name: load(name, args.data, args.validate) for name in args.only}
    tasks = {name: task for name, task in tasks.items() if task is not None}
    kinds = {name: task.kind for name, task in tasks.items()}
    parallel = Parallel(n_jobs=args.jobs, return_as="generator", batch_size=1, pre_dispatch="all")
    orders = dict(zip(tasks, parallel(delayed(views_by_worth)(task) for task in tasks.values()), strict=True))
    # The slowest first, so that none is left over at the end.
    units = [(name, model, seed) for name in tasks for model in models for seed in range(args.seeds)]
    units.sort(key=lambda unit: (unit[0] != "mosi", isinstance(unit[1], str)))
    found = parallel(delayed(evaluate)(n, args.data, args.validate, model, orders[n], s) for n, model, s in units)

    results: dict = {name: {} for name in tasks}
    worked = 0.0
    for (name, model, seed), (errors, seconds) in zip(units, found, strict=True):
        worked += seconds
        for label, by_stratum in errors.items():
            results[name].setdefault(label, []).append(by_stratum)
        shown = "; ".join(f"{label}: {e['nothing']:.4f}" for label, e in errors.items())
        print(f"{name}, seed {seed}, {shown} ({seconds:.1f} s)", flush=True)
        if not args.validate:
            record = {"time": now(), "commit": commit(), "benchmark": "robustness", "data": name, "seed": seed}
            params = model if isinstance(model, str) else model[0]
            append_line(out.parent / "test_evaluations.jsonl", {**record, "params": params, "errors": errors})

    for name, by_model in results.items():
        order = ", ".join(orders[name])
        print_errors(f"{name} ({order})", kinds[name], constant_error(tasks[name]), by_model)
    ranked = {name: by_model for name, by_model in results.items() if name in RANKED}
    labels = list(next(iter(results.values())))
    ranks = print_ranks(ranked, labels) if ranked and len(labels) > 2 else None
    gains = print_losses(results, kinds, labels) if REFERENCE in labels and args.seeds > 1 else None
    print(f"{time.perf_counter() - start:.0f} s in all, {worked / 60:.1f} core minutes of fits and predictions")
    content = {"environment": environment(), "validate": args.validate, "seeds": args.seeds, "views": orders}
    content |= {"fits": fits, "results": results, "ranks": ranks, "gains": gains, "core_minutes": worked / 60}
    write_json(out, content)


if __name__ == "__main__":
    main()
